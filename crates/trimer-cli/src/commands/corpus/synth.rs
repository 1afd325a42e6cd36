//! `trimer corpus synth`: a made-up corpus whose best reachable accuracy is known.

use crate::{Answer, ui};
use std::path::PathBuf;
use trimer_core::corpus::synth::SynthSpec;
use trimer_core::{Modality, ModalitySet};

/// Arguments of `trimer corpus synth`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The corpus directory to make
    out: PathBuf,
    /// small (750 utterances), dialogue (4,000 in conversations) or cherma (28,717, about 15 GB)
    #[arg(long, default_value = "small")]
    preset: String,
    /// Another number of utterances than the preset's, at least 10
    #[arg(long, value_name = "N")]
    utterances: Option<usize>,
    /// Make this modality's features noise that shows nothing; may be repeated
    #[arg(long, value_name = "MODALITY", value_parser = ["text", "audio", "vision"])]
    noise: Vec<String>,
    /// Everything random follows from it
    #[arg(long)]
    seed: Option<u64>,
    /// Print the ceiling as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Answer> {
    let mut spec = SynthSpec::preset(&args.preset)?;
    if let Some(n) = args.utterances {
        // A small corpus has fewer speakers, two utterances each at least.
        spec.n_utterances = n;
        spec.n_speakers = spec.n_speakers.min(n / 2);
    }
    spec.seed = args.seed.unwrap_or(spec.seed);
    let noise = args.noise.iter().map(|name| name.parse::<Modality>());
    spec = spec.with_noise(noise.collect::<Result<ModalitySet, _>>()?);
    let bar = ui::bar(spec.n_utterances as u64, "making");
    let path =
        trimer_core::corpus::synth::write(&spec, &args.out, &mut |done, _| bar.set_position(done));
    bar.finish_and_clear();
    let path = path?;
    let ceiling = spec.ceiling();
    if args.json {
        ui::json(
            &serde_json::json!({ "path": path, "utterances": spec.n_utterances, "ceiling": ceiling }),
        )?;
    } else {
        ui::note(&format!(
            "{}: {} utterances",
            path.display(),
            spec.n_utterances
        ));
        ui::data(&super::ceiling_table(&ceiling));
    }
    Ok(Answer::Yes)
}
