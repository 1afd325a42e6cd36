//! `trimer predict`: probabilities for utterances of a corpus, or for one utterance's features.

use crate::{Answer, ui, ui::Hinted};
use std::path::PathBuf;
use trimer_core::corpus::{Corpus, Frames, Split, Utterance};
use trimer_core::import::{NonFinite, settle_non_finite};
use trimer_core::store::npy;
use trimer_core::{Head, Modality, ModalityMap};
use trimer_nn::Task;
use trimer_nn::burn::tensor::Device;
use trimer_nn::predict::Predictions;
use trimer_nn::train::RunDir;

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
    /// Where to compute: cpu, cuda:0 or wgpu
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Answer> {
    let run = RunDir::open(&args.run)?;
    let device = crate::device::opened(&args.device)?.device;
    let seed = args
        .seed
        .or(run.config.seeds.first().copied())
        .unwrap_or_default();
    if !run.config.seeds.contains(&seed) {
        let known: Vec<String> = run.config.seeds.iter().map(u64::to_string).collect();
        return Err(Hinted::new(
            format!("the run has no seed {seed}"),
            format!("it has {}", known.join(", ")),
        )
        .into());
    }
    if let Some(path) = &args.corpus {
        let corpus = Corpus::open(path)?;
        let rows = chosen_rows(args, &corpus)?;
        answer(args, &run, &corpus, &rows, seed, &device)
    } else {
        // One utterance is a corpus of one row, which never touches the disk.
        let corpus = corpus_of_one(args, &run)?;
        answer(args, &run, &corpus, &[0], seed, &device)
    }
}

fn answer(
    args: &Args,
    run: &RunDir,
    corpus: &Corpus,
    rows: &[usize],
    seed: u64,
    device: &Device,
) -> anyhow::Result<Answer> {
    let mut predictions = if args.online {
        run.predict_online(seed, corpus, rows, device)?
    } else {
        run.predict(seed, corpus, rows, device)?
    };
    for modality in run.missing_modalities(corpus).iter() {
        ui::warn(&format!(
            "there are no {modality} features: the model sees padding in their place, and its {modality} head is left out"
        ));
        *predictions.outputs.get_mut(modality.into()) = None;
    }
    let classes = &run.config.classes;
    let binary = matches!(run.config.task, Task::MultiBinary { .. });
    if args.json {
        let all: Vec<_> = (0..rows.len())
            .map(|i| as_json(&predictions, i, corpus, classes, binary))
            .collect();
        ui::json(&all)?;
    } else {
        ui::data(&as_table(&predictions, corpus, classes, binary));
    }
    Ok(Answer::Yes)
}

fn chosen_rows(args: &Args, corpus: &Corpus) -> anyhow::Result<Vec<usize>> {
    if !args.id.is_empty() {
        let find = |id: &String| {
            corpus
                .utterances()
                .iter()
                .position(|u| u.id == *id)
                .ok_or_else(|| {
                    let near = trimer_core::error::nearest(
                        id,
                        corpus.utterances().iter().map(|u| u.id.as_str()),
                    );
                    let hint = near.map_or_else(
                        || "ids are in `utterances.parquet`".to_owned(),
                        |n| format!("did you mean `{n}`?"),
                    );
                    anyhow::Error::from(Hinted::new(
                        format!("the corpus has no utterance `{id}`"),
                        hint,
                    ))
                })
        };
        return args.id.iter().map(find).collect();
    }
    Ok(match &args.split {
        Some(name) => corpus.indices(super::eval::parse_split(name)),
        None => (0..corpus.len()).collect(),
    })
}

fn corpus_of_one(args: &Args, run: &RunDir) -> anyhow::Result<Corpus> {
    let mut arrays: ModalityMap<Option<(Vec<f32>, usize)>> = ModalityMap::default();
    for pair in &args.features {
        let (name, file) = pair.split_once('=').ok_or_else(|| {
            Hinted::new(
                format!("`--features {pair}` has no `=`"),
                "write for instance `--features text=words.npy`",
            )
        })?;
        let modality: Modality = name.parse()?;
        let array = npy::read(file.as_ref())?;
        let dim = match *array.shape() {
            [dim] | [_, dim] if !array.is_empty() => dim,
            ref other => {
                return Err(Hinted::new(
                    format!("`{file}` has the shape {other:?}"),
                    "expected [time, feature] or [feature], with one value at least",
                )
                .into());
            }
        };
        let mut values = array.to_f32();
        settle_non_finite(
            NonFinite::Refuse,
            &mut values,
            dim,
            file.as_ref(),
            "utterance",
            modality,
        )?;
        *arrays.get_mut(modality) = Some((values, dim));
    }
    for (modality, wanted) in run.config.input.dims.iter() {
        if let (Some(w), Some((_, dim))) = (wanted, arrays.get(modality))
            && w != dim
        {
            return Err(Hinted::new(
                format!("the model reads {modality} features {w} wide, the file has {dim}"),
                "use features from the same extractor that the model was trained on",
            )
            .into());
        }
    }
    let utterance = Utterance {
        id: "utterance".into(),
        split: Some(Split::Test),
        ..Utterance::default()
    };
    let frames = arrays.map(|_, array| {
        array.map(|(values, dim)| Frames {
            values: values.into(),
            dim,
        })
    });
    Ok(Corpus::of_one(utterance, frames)?)
}

fn as_json(
    p: &Predictions,
    i: usize,
    corpus: &Corpus,
    classes: &[String],
    binary: bool,
) -> serde_json::Value {
    let mut heads = serde_json::Map::new();
    for head in p.heads() {
        let Some(outputs) = p.outputs.get(head) else {
            continue;
        };
        let row = &outputs[i * p.n_outputs..(i + 1) * p.n_outputs];
        let value = if classes.is_empty() {
            serde_json::json!({ "score": row[0] })
        } else {
            let probabilities: serde_json::Map<_, _> = classes
                .iter()
                .cloned()
                .zip(row.iter().map(|p| (*p).into()))
                .collect();
            if binary {
                let yes = said_yes(row, classes);
                let value = serde_json::json!({ "yes": yes, "probabilities": probabilities });
                heads.insert(head.to_string(), value);
                continue;
            }
            let best = trimer_core::metrics::probability::arg_max(row);
            serde_json::json!({ "class": classes[best], "probabilities": probabilities })
        };
        heads.insert(head.to_string(), value);
    }
    serde_json::json!({ "id": corpus.utterances()[p.indices[i]].id, "heads": heads })
}

/// The labels that are more probable than not.
fn said_yes<'a>(probabilities: &[f64], labels: &'a [String]) -> Vec<&'a str> {
    let each = labels.iter().zip(probabilities);
    each.filter(|(_, p)| **p > 0.5)
        .map(|(label, _)| label.as_str())
        .collect()
}

fn as_table(p: &Predictions, corpus: &Corpus, classes: &[String], binary: bool) -> String {
    let heads: Vec<Head> = p.heads().collect();
    let rows: Vec<Vec<String>> = (0..p.indices.len())
        .map(|i| {
            let mut row = vec![corpus.utterances()[p.indices[i]].id.clone()];
            for head in &heads {
                let Some(outputs) = p.outputs.get(*head) else {
                    continue;
                };
                let values = &outputs[i * p.n_outputs..(i + 1) * p.n_outputs];
                row.push(if classes.is_empty() {
                    format!("{:+.3}", values[0])
                } else if binary {
                    said_yes(values, classes).join(", ")
                } else {
                    let best = trimer_core::metrics::probability::arg_max(values);
                    format!("{} {:.3}", classes[best], values[best])
                });
            }
            row
        })
        .collect();
    let head: Vec<&str> = std::iter::once("id")
        .chain(heads.iter().map(|h| h.as_str()))
        .collect();
    ui::table(&head, &rows)
}
