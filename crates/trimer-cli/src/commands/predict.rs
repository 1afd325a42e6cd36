//! `trimer predict`: probabilities for utterances of a corpus, or for one utterance's features.

use super::explain;
use crate::{Answer, ui, ui::Hinted};
use serde_json::{Value, json};
use std::path::PathBuf;
use trimer_core::corpus::{Corpus, Frames, Split, Utterance};
use trimer_core::import::{NonFinite, resolve_non_finite};
use trimer_core::store::npy;
use trimer_core::{Head, Modality, ModalityMap};
use trimer_nn::Task;
use trimer_nn::burn::tensor::Device;
use trimer_train::RunDir;
use trimer_train::calibrate::Calibration;
use trimer_train::predict::Predictions;

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

/// What turns a run's outputs into answers.
struct Reading<'a> {
    classes: &'a [String],
    task: Task,
    calibration: Option<Calibration>,
    abstain_at: Option<f64>,
    thresholds: bool,
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
    let reading = reading(args, run, seed)?;
    if let Some(dir) = &args.pages {
        explain::check_pages(dir)?;
    }
    let window = args.window.map(|n| n as usize);
    let mut predictions = if args.online || window.is_some() {
        let raw = {
            let parts = trimer_train::run::Parts {
                online: args.online,
                window,
            };
            run.predict_in_parts(seed, corpus, rows, parts, device)?
        };
        match &reading.calibration {
            Some(calibration) => calibration.apply(&raw, run.config.task),
            None => raw,
        }
    } else if args.raw {
        run.predict_raw(seed, corpus, rows, device)?
    } else {
        run.predict(seed, corpus, rows, device)?
    };
    for modality in run.missing_modalities(corpus).iter() {
        ui::warn(&format!(
            "there are no {modality} features: the model sees padding in their place, and its {modality} head is left out"
        ));
        *predictions.outputs.get_mut(modality.into()) = None;
    }
    reading.warn_of_unreachable(&predictions);
    let why = if args.explain {
        let calibration = reading.calibration.as_ref();
        Some(explain::explain(
            run,
            corpus,
            rows,
            seed,
            calibration,
            args.online,
            device,
        )?)
    } else {
        None
    };
    if let (Some(dir), Some(why)) = (&args.pages, &why) {
        explain::write_pages(dir, why)?;
    }
    if args.json {
        let all: Vec<_> = (0..rows.len())
            .map(|i| {
                let mut item = as_json(&predictions, i, corpus, &reading);
                if let Some(why) = &why {
                    item["explanation"] = why.json(i);
                }
                item
            })
            .collect();
        ui::json(&all)?;
    } else if let Some(why) = &why {
        ui::data(&why.table());
    } else {
        ui::data(&as_table(&predictions, corpus, &reading));
    }
    Ok(Answer::Yes)
}

fn reading<'a>(args: &Args, run: &'a RunDir, seed: u64) -> anyhow::Result<Reading<'a>> {
    let task = run.config.task;
    let needs = args
        .abstain_at
        .map(|_| "--abstain-at")
        .or(args.thresholds.then_some("--thresholds"));
    if let (Some(option), Task::Regression) = (needs, task) {
        return Err(Hinted::new(
            format!("`{option}` needs probabilities, and this run predicts scores"),
            "leave it out; `trimer eval` gives the size of the errors",
        )
        .into());
    }
    if let Some(accuracy) = args.abstain_at
        && !(accuracy > 0.0 && accuracy <= 1.0)
    {
        return Err(Hinted::new(
            format!("`--abstain-at {accuracy}` is out of range; expected above 0, at most 1"),
            "write 0.9 for nine right answers of ten",
        )
        .into());
    }
    let calibration = if args.raw {
        None
    } else {
        run.calibration(seed)?
    };
    if calibration.is_none() && !args.raw && task != Task::Regression {
        let hint = format!(
            "`trimer calibrate {}` fits it on validation",
            run.path.display()
        );
        if let Some(option) = needs {
            return Err(Hinted::new(
                format!("`{option}` needs a calibrated run, and seed {seed} is not"),
                hint,
            )
            .into());
        }
        ui::warn(&format!(
            "seed {seed} is not calibrated, its probabilities are raw; {hint}"
        ));
    }
    Ok(Reading {
        classes: &run.config.classes,
        task,
        calibration,
        abstain_at: args.abstain_at,
        thresholds: args.thresholds,
    })
}

impl Reading<'_> {
    const fn is_binary(&self) -> bool {
        matches!(self.task, Task::MultiBinary { .. })
    }

    /// The confidence below which the head keeps silent; infinite where no confidence reached the
    /// wished accuracy, `None` where silence was not asked for.
    fn threshold(&self, head: Head) -> Option<f64> {
        let wish = self.abstain_at?;
        let fitted = self.calibration.as_ref()?.heads.get(head).as_ref()?;
        Some(
            fitted
                .abstain_at(wish)
                .map_or(f64::INFINITY, |p| p.threshold),
        )
    }

    fn warn_of_unreachable(&self, predictions: &Predictions) {
        let Some(wish) = self.abstain_at else { return };
        for head in predictions.heads() {
            let fitted = self
                .calibration
                .as_ref()
                .and_then(|c| c.heads.get(head).as_ref());
            match fitted {
                None => ui::warn(&format!(
                    "the {head} head had no labels in validation: its answers cannot be held back"
                )),
                Some(fitted) if fitted.abstain_at(wish).is_none() => ui::warn(&format!(
                    "no confidence of the {head} head reached an accuracy of {wish} on validation (at most {:.4}): it answers nothing",
                    fitted.highest_accuracy()
                )),
                Some(_) => {}
            }
        }
    }

    /// Classes, or labels, whose probability reaches their own threshold.
    fn reaches(&self, head: Head, row: &[f64]) -> Option<Vec<&str>> {
        let fitted = self.calibration.as_ref().filter(|_| self.thresholds)?;
        let fitted = fitted.heads.get(head).as_ref()?;
        let each = self.classes.iter().zip(row);
        let reached =
            each.filter(|(class, p)| fitted.class_threshold(class).is_some_and(|t| **p >= t));
        Some(reached.map(|(class, _)| class.as_str()).collect())
    }
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
        Some(name) => corpus.indices(super::eval::parse_split(name)?),
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
        resolve_non_finite(
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

fn as_json(p: &Predictions, i: usize, corpus: &Corpus, reading: &Reading<'_>) -> Value {
    let mut heads = serde_json::Map::new();
    for head in p.heads() {
        let Some(row) = p.row(head, i) else { continue };
        heads.insert(head.to_string(), head_json(head, row, reading));
    }
    let mut item = json!({ "id": corpus.utterances()[p.indices[i]].id, "heads": heads });
    if reading.task != Task::Regression {
        item["calibrated"] = reading.calibration.is_some().into();
    }
    item
}

fn head_json(head: Head, row: &[f64], reading: &Reading<'_>) -> Value {
    if reading.task == Task::Regression {
        return json!({ "score": row[0] });
    }
    let probabilities = named(reading.classes, row);
    let threshold = reading.threshold(head);
    let mut value = if reading.is_binary() {
        let yes = said_yes(row, reading.classes);
        json!({ "yes": yes, "probabilities": probabilities })
    } else {
        let best = trimer_core::metrics::probability::arg_max(row);
        json!({ "class": reading.classes[best], "probabilities": probabilities })
    };
    if let Some(threshold) = threshold {
        // One answer per utterance, or one per label.
        let answered = |confidence: f64| confidence >= threshold;
        if reading.is_binary() {
            let each = reading.classes.iter().zip(row);
            let silent = each.filter(|(_, p)| !answered(p.max(1.0 - **p)));
            value["abstains"] = silent.map(|(label, _)| label.as_str()).collect();
        } else {
            value["abstains"] = (!answered(row.iter().copied().fold(0.0, f64::max))).into();
        }
        value["threshold"] = Some(threshold).filter(|t| t.is_finite()).into();
    }
    if let Some(reached) = reading.reaches(head, row) {
        value["reaches"] = reached.into();
    }
    value
}

/// Values by name of their class or label.
pub(super) fn named(classes: &[String], values: &[f64]) -> serde_json::Map<String, Value> {
    let values = values.iter().map(|v| (*v).into());
    classes.iter().cloned().zip(values).collect()
}

/// The labels that are more probable than not.
pub(super) fn said_yes<'a>(probabilities: &[f64], labels: &'a [String]) -> Vec<&'a str> {
    let each = labels.iter().zip(probabilities);
    each.filter(|(_, p)| **p > 0.5)
        .map(|(label, _)| label.as_str())
        .collect()
}

/// An answer in a few letters.
pub(super) fn in_words(row: &[f64], classes: &[String], task: Task) -> String {
    match task {
        Task::Regression => format!("{:+.3}", row[0]),
        Task::MultiBinary { .. } => said_yes(row, classes).join(", "),
        Task::Classification { .. } => {
            let best = trimer_core::metrics::probability::arg_max(row);
            format!("{} {:.3}", classes[best], row[best])
        }
    }
}

fn as_table(p: &Predictions, corpus: &Corpus, reading: &Reading<'_>) -> String {
    let heads: Vec<Head> = p.heads().collect();
    let rows: Vec<Vec<String>> = (0..p.indices.len())
        .map(|i| {
            let mut row = vec![corpus.utterances()[p.indices[i]].id.clone()];
            for head in &heads {
                let Some(values) = p.row(*head, i) else {
                    continue;
                };
                row.push(cell(*head, values, reading));
            }
            row
        })
        .collect();
    let head: Vec<&str> = std::iter::once("id")
        .chain(heads.iter().map(|h| h.as_str()))
        .collect();
    ui::table(&head, &rows)
}

/// An answer, with a question mark in front where it should be held back, and the classes that reach
/// their thresholds in brackets.
fn cell(head: Head, values: &[f64], reading: &Reading<'_>) -> String {
    let mut text = in_words(values, reading.classes, reading.task);
    if let Some(threshold) = reading.threshold(head) {
        if reading.is_binary() {
            let mark = |(label, p): (&String, &f64)| {
                let unsure = if p.max(1.0 - p) < threshold { "?" } else { "" };
                (unsure == "?" || *p > 0.5).then(|| format!("{unsure}{label}"))
            };
            let each = reading.classes.iter().zip(values).filter_map(mark);
            text = each.collect::<Vec<_>>().join(", ");
        } else if values.iter().copied().fold(0.0, f64::max) < threshold {
            text = format!("? {text}");
        }
    }
    match reading.reaches(head, values) {
        Some(reached) => format!("{text} [{}]", reached.join(", ")),
        None => text,
    }
}
