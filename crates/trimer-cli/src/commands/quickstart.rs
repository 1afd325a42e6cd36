//! `trimer quickstart`: the whole way on a small corpus that it makes itself.

use super::train::{environment, parse_recipe, train_to_end};
use crate::ui::{self, Hinted};
use crate::{Answer, report};
use std::path::PathBuf;
use std::time::Instant;
use trimer_core::corpus::synth::SynthSpec;
use trimer_core::corpus::{Corpus, Split};
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
    let opened = crate::device::opened("cpu")?;
    let device = &opened.device;
    let config = parse_recipe(RECIPE)?.resolve(Some("lfmim"), &corpus, vec![args.seed])?;
    let run = RunDir::create(&args.out.join("run"), config, &environment(&opened))?;
    train_to_end(&run, &corpus, device)?;

    ui::note("3/4  judging it on the test split");
    super::eval::show(&run, &corpus, Split::Test, device, false)?;
    if let Some(ceiling) = corpus.ceiling() {
        let rows: Vec<Vec<String>> = ceiling
            .multimodal_from
            .iter()
            .map(|(seen, a)| vec![seen.clone(), format!("{a:.4}")])
            .collect();
        ui::data(&ui::table(
            &["a perfect observer of", "accuracy on the multimodal label"],
            &rows,
        ));
    }

    ui::note("4/4  writing the report");
    let file = args.out.join("report.html");
    let options = report::Options::on_test(device);
    let judged = report::Judged::new(&run, &corpus, "quickstart".into(), &options)?;
    let (page, _) = report::compose(&[judged], &options, &mut |_| {})?;
    page.write(&file)?;
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
