//! `trimer quickstart`: the whole way on a small corpus that it makes itself.

use super::train::train_to_end;
use crate::Answer;
use crate::ui::{self, Hinted};
use std::path::PathBuf;
use std::time::Instant;
use trimer_core::corpus::synth::SynthSpec;
use trimer_core::corpus::{Corpus, Split};
use trimer_study::report::run::{ReportOptions, ReportedRun, report};
use trimer_study::{Unwatched, environment, recipe};
use trimer_train::RunDir;

/// The recipe, also a model of how to write one.
const RECIPE: &str = include_str!("../../../../recipes/synth/lfmim.toml");

/// Arguments of `trimer quickstart`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory for corpus, run and report; one from an earlier quickstart is replaced
    #[arg(long, default_value = "quickstart", value_name = "DIR")]
    out: PathBuf,
    /// Everything random follows from it
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Answer> {
    let start = Instant::now();
    let marker = args.out.join("quickstart.txt");
    let occupied = std::fs::read_dir(&args.out).is_ok_and(|mut e| e.next().is_some());
    if occupied && !marker.exists() {
        return Err(Hinted::new(
            format!(
                "`{}` holds something that no quickstart made",
                args.out.display()
            ),
            "name another directory with `--out DIR`",
        )
        .into());
    }
    if occupied {
        std::fs::remove_dir_all(&args.out)?;
    }
    std::fs::create_dir_all(&args.out)?;
    std::fs::write(
        &marker,
        "Made by `trimer quickstart`, which replaces this directory when it runs again.\n",
    )?;

    ui::note("1/4  making a synthetic corpus: three modalities, a label of its own for each");
    let spec = SynthSpec {
        seed: args.seed,
        ..SynthSpec::preset("small")?
    };
    let path = trimer_core::corpus::synth::write(&spec, &args.out.join("corpus"), &mut |_, _| {})?;
    let corpus = Corpus::open(&path)?;
    ui::note(&format!(
        "     {} utterances in {}",
        corpus.len(),
        path.display()
    ));

    ui::note("2/4  training LFMIM");
    let device = &crate::device::opened("cpu")?.device;
    let config = recipe::parse(RECIPE)?.resolve(Some("lfmim"), &corpus, vec![args.seed])?;
    let run = RunDir::create(&args.out.join("run"), config, &environment(device))?;
    train_to_end(&run, &corpus, device)?;

    ui::note("3/4  evaluating it on the test split");
    super::eval::show(&run, &corpus, Split::Test, device, false)?;
    if let Some(ceiling) = corpus.ceiling() {
        ui::data(&super::corpus::ceiling_table(ceiling));
    }

    ui::note("4/4  writing the report");
    let file = args.out.join("report.html");
    let options = ReportOptions {
        device: device.clone(),
        ..ReportOptions::default()
    };
    let shown = ReportedRun {
        run: &run,
        corpus: &corpus,
        name: "quickstart".into(),
    };
    let found = report(&[shown], &options, &mut Unwatched)?;
    found.page.write(&file)?;
    ui::note(&format!(
        "     {}\ndone in {:.0} s; open the report in a browser, then try\n     trimer eval {}\n     trimer predict {} --corpus {} --split test",
        file.display(),
        start.elapsed().as_secs_f64(),
        run.path.display(),
        run.path.display(),
        path.display()
    ));
    Ok(Answer::Yes)
}
