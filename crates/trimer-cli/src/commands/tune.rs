//! `trimer tune`: searches settings on validation; test stays closed.

use super::parse::stop_on_ctrl_c;
use crate::Answer;
use crate::ui::{self, Notes};
use std::path::PathBuf;
use trimer_core::corpus::Corpus;
use trimer_study::tune::{Budget, Method, TuneOptions, Tuner};

/// Arguments of `trimer tune`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub(crate) struct Args {
    /// The corpus directory
    #[arg(long, value_name = "DIR")]
    corpus: PathBuf,
    /// Models to tune, ids divided by commas; each gets the whole budget
    #[arg(long, value_name = "LIST", value_delimiter = ',', required = true)]
    models: Vec<String>,
    /// The search space: a TOML file, or a directory with one per model (`DIR/<model>.toml`)
    #[arg(long, value_name = "PATH")]
    space: Option<PathBuf>,
    /// What does not vary: a recipe, or a directory with one per model
    #[arg(long, value_name = "PATH")]
    recipe: Option<PathBuf>,
    /// Change one key of what does not vary; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// `halving` drops poor trials early, `random` trains all in full
    #[arg(long, default_value = "halving", value_parser = ["halving", "random"])]
    method: String,
    /// Epochs that all trials of a model may take together
    #[arg(long, default_value_t = 200, value_name = "EPOCHS")]
    budget: usize,
    /// Halving keeps one of so many trials
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u8).range(2..=10))]
    eta: u8,
    /// Seed of the search and of every trial
    #[arg(long, default_value_t = 1, value_name = "S", value_parser = clap::value_parser!(u64).range(0..=1_000_000_000))]
    seed: u64,
    /// Directory for trials and recipes; the same command with the same directory continues
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Trials to train at a time
    #[arg(long, default_value_t = 1, value_name = "N")]
    jobs: usize,
    /// Where to compute: cpu, cuda:0 or wgpu
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Print JSON: one object per model, with all trials
    #[arg(long)]
    json: bool,
}

const HELP: &str = "\
A search space has the keys of a recipe, each with a range:

    [train]
    lr = { log = [1e-4, 1e-2] }
    batch_size = { choices = [16, 32] }
    label_smoothing = { range = [0.0, 0.2] }
    [model]
    n_layers = { range = [1, 4] }

Writes DIR/<model>.toml, the best recipe, and DIR/<model>/trials.jsonl, every trial. Compare with
them by `trimer compare --models .. --recipes DIR`.";

impl Args {
    /// Trials to train at a time.
    pub(crate) fn jobs(&self) -> usize {
        self.jobs.clamp(1, 64)
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Answer> {
    let options = TuneOptions {
        method: match args.method.as_str() {
            "random" => Method::Random,
            _ => Method::Halving,
        },
        budget: Budget::Epochs(args.budget),
        eta: args.eta.into(),
        seed: args.seed,
        jobs: args.jobs(),
        device: crate::device::opened(&args.device)?.device,
    };
    let corpus = Corpus::open(&args.corpus)?;
    let stop = stop_on_ctrl_c();
    let mut tuner = Tuner::new(&corpus)
        .models(&args.models)
        .options(options)
        .out(&args.out)
        .stop(&stop);
    if let Some(space) = &args.space {
        tuner = tuner.space_file(space);
    }
    if let Some(recipe) = &args.recipe {
        tuner = tuner.recipe(recipe);
    }
    for set in &args.sets {
        tuner = tuner.set(set);
    }
    tuner.check()?;
    let mut results = Vec::new();
    for model in &args.models {
        let tuned = tuner.tune(model, &mut Notes)?;
        ui::note(&format!("best recipe: {}", tuned.recipe.display()));
        if args.json {
            results.push(tuned.to_json());
        } else {
            ui::data(&tuned.to_text());
        }
    }
    if args.json {
        ui::json(&results)?;
    }
    Ok(Answer::Yes)
}
