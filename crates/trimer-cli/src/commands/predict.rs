//! `trimer predict`: probabilities for utterances of a corpus, or for one utterance's features.

use super::parse::parse_split;
use crate::{Answer, ui, ui::Hinted};
use std::path::PathBuf;
use trimer_core::Modality;
use trimer_core::corpus::Corpus;
use trimer_study::explain::{ExplainOptions, check_pages};
use trimer_study::predict::{PredictOptions, answer, corpus_of_features, rows_of_ids, seed_of};
use trimer_train::RunDir;

/// Arguments of `trimer predict`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("input").args(["corpus", "features"]).required(true).multiple(false))]
pub(crate) struct Args {
    /// The run directory
    run: PathBuf,
    /// Predict the utterances of this corpus
    #[arg(long, value_name = "DIR")]
    corpus: Option<PathBuf>,
    /// Only this split of the corpus
    #[arg(long, value_parser = ["train", "valid", "test"], requires = "corpus")]
    split: Option<String>,
    /// Only this utterance of the corpus; may be repeated
    #[arg(long, value_name = "ID", requires = "corpus", conflicts_with = "split")]
    id: Vec<String>,
    /// Features of one utterance: `text=a.npy`, `audio=b.npy`, `vision=c.npy`; may be repeated
    #[arg(long, value_name = "MODALITY=FILE")]
    features: Vec<String>,
    /// Which of the run's seeds; the first by default
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Judge each utterance from what was said before it (models that read conversations)
    #[arg(long, requires = "corpus")]
    online: bool,
    /// Probabilities as the model gives them, without the temperatures fitted on validation
    #[arg(long)]
    raw: bool,
    /// Mark answers below the confidence that reached this accuracy on validation; 0 to 1
    #[arg(long, value_name = "ACCURACY", conflicts_with = "raw")]
    abstain_at: Option<f64>,
    /// Name the classes that reach their own threshold, the one with the best F1 on validation
    #[arg(long, conflicts_with = "raw")]
    thresholds: bool,
    /// Tell why: what each modality adds (exact Shapley values), what would be said without it, and
    /// where the model looks
    #[arg(long)]
    explain: bool,
    /// Also write the explanations as one HTML page per utterance into this new directory
    #[arg(long, value_name = "DIR", requires = "explain")]
    pages: Option<PathBuf>,
    /// Read at most so many turns at a time (models that read conversations): the turns around the
    /// utterance, or with `--online` the last ones
    #[arg(long, value_name = "N", requires = "corpus", value_parser = clap::value_parser!(u32).range(2..=1_000_000))]
    window: Option<u32>,
    /// Where to compute: cpu, cuda:0 or wgpu
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Answer> {
    let run = RunDir::open(&args.run)?;
    let options = PredictOptions {
        seed: Some(seed_of(&run, args.seed)?),
        online: args.online,
        window: args.window.map(|n| n as usize),
        raw: args.raw,
        abstain_at: args.abstain_at,
        thresholds: args.thresholds,
        device: crate::device::opened(&args.device)?.device,
    };
    let (corpus, rows) = match &args.corpus {
        Some(path) => {
            let corpus = Corpus::open(path)?;
            let rows = chosen_rows(args, &corpus)?;
            (corpus, rows)
        }
        // One utterance is a corpus of one row, which never touches the disk.
        None => (corpus_of_features(&run, &features(args)?)?, vec![0]),
    };
    show(args, &run, &corpus, &rows, &options)?;
    Ok(Answer::Yes)
}

fn show(
    args: &Args,
    run: &RunDir,
    corpus: &Corpus,
    rows: &[usize],
    options: &PredictOptions,
) -> anyhow::Result<()> {
    if let Some(dir) = &args.pages {
        check_pages(dir)?;
    }
    let answers = answer(run, corpus, rows, options)?;
    answers.warnings.iter().for_each(|text| ui::warn(text));
    let why = if args.explain {
        let options = ExplainOptions {
            seed: options.seed,
            raw: options.raw,
            online: options.online,
            device: options.device.clone(),
        };
        Some(trimer_study::explain(run, corpus, rows, &options)?)
    } else {
        None
    };
    if let (Some(dir), Some(why)) = (&args.pages, &why) {
        let pages = why.write_pages(dir)?;
        ui::note(&format!("{} page(s) in {}", pages.len(), dir.display()));
    }
    if args.json {
        let items = (0..answers.len()).map(|i| {
            let mut item = answers.item_json(i);
            if let Some(why) = &why {
                item["explanation"] = why.item_json(i);
            }
            item
        });
        ui::json(&items.collect::<Vec<_>>())?;
    } else if let Some(why) = &why {
        ui::data(&why.to_text());
    } else {
        ui::data(&answers.to_text());
    }
    Ok(())
}

fn chosen_rows(args: &Args, corpus: &Corpus) -> anyhow::Result<Vec<usize>> {
    if !args.id.is_empty() {
        return Ok(rows_of_ids(corpus, &args.id)?);
    }
    Ok(match &args.split {
        Some(name) => corpus.indices(parse_split(name)?),
        None => (0..corpus.len()).collect(),
    })
}

/// The files of `--features`.
fn features(args: &Args) -> anyhow::Result<Vec<(Modality, &str)>> {
    let mut files = Vec::new();
    for pair in &args.features {
        let (name, file) = pair.split_once('=').ok_or_else(|| {
            Hinted::new(
                format!("`--features {pair}` has no `=`"),
                "write for instance `--features text=words.npy`",
            )
        })?;
        files.push((name.parse::<Modality>()?, file));
    }
    Ok(files)
}
