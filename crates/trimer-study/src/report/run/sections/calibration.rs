//! Whether the probabilities mean what they say, before and after temperature scaling.

use crate::error::Result;
use crate::report::run::evaluated::EvaluatedRun;
use crate::report::run::options::ReportOptions;
use crate::report::run::part::{Part, SectionInfo};
use serde_json::{Map, Value, json};
use trimer_core::Head;
use trimer_core::metrics::Probabilities;
use trimer_core::metrics::calibration::{coverage_curve, ece, reliability, softmax};
use trimer_core::metrics::probability::{brier, log_loss};
use trimer_nn::Task;
use trimer_report::{
    Block, Callout, Cell, Column, LineChart, ReliabilityBar, ReliabilityDiagram, Series, Table,
};
use trimer_train::predict::Predictions;

pub(super) const INFO: SectionInfo = SectionInfo {
    id: "calibration",
    title: "Calibration",
    intro: "Of all predictions made with 80 % confidence, 80 % should be right. Bars below the dashed \
            line belong to a model that is too sure of itself. ECE is the expected calibration error \
            over 15 bins [Guo2017]; ECE, Brier score and log loss are better the lower they are.",
    make,
};

const BINS: usize = 15;
/// The coverage at which the accuracy is told.
const COVERAGE: f64 = 0.8;

/// Labelled probabilities of all seeds, one below the other.
#[derive(Default)]
struct Samples {
    truth: Vec<u32>,
    values: Vec<f64>,
    n_classes: usize,
}

impl Samples {
    fn checked(&self) -> Result<Probabilities<'_>> {
        Ok(Probabilities::new(
            &self.truth,
            &self.values,
            self.n_classes,
        )?)
    }

    /// Adds those of a head that have a label, divided by `temperature` before the softmax.
    fn add(
        &mut self,
        run: &EvaluatedRun<'_>,
        predictions: &Predictions,
        head: Head,
        temperature: f64,
    ) {
        let n = predictions.n_outputs.max(1);
        let column = *run.columns.get(head);
        let Some(outputs) = predictions.outputs.get(head) else {
            return;
        };
        // the softmax of ln p is p: logits differ from it by a constant that drops out
        let scaled = |p: &[f64]| {
            if temperature == 1.0 {
                p.to_vec()
            } else {
                let logits: Vec<f64> = p.iter().map(|p| p.max(f64::MIN_POSITIVE).ln()).collect();
                softmax(&logits, p.len(), temperature)
            }
        };
        for (row, p) in predictions.indices.iter().zip(outputs.chunks(n)) {
            let utterance = &run.corpus.utterances()[*row];
            if matches!(run.task(), Task::MultiBinary { .. }) {
                self.n_classes = 2;
                for (yes, p) in utterance.binary.iter().zip(p) {
                    self.truth.push(u32::from(*yes));
                    self.values.extend(scaled(&[1.0 - p, *p]));
                }
            } else if let Some(class) = *utterance.labels.get(column) {
                self.n_classes = n;
                self.truth.push(class);
                self.values.extend(scaled(p));
            }
        }
    }
}

fn make(run: &EvaluatedRun<'_>, _: &ReportOptions) -> Result<Part> {
    if run.task() == Task::Regression {
        return Ok(Part::left_out("scores have no probabilities"));
    }
    let mut shown = Shown::new();
    for head in run.heads() {
        shown.add(run, head)?;
    }
    if shown.numbers.is_empty() {
        return Ok(Part::left_out("no utterance has a label of a head"));
    }
    let mut blocks = vec![if shown.none_stored {
        Block::Callout(
            Callout::Info,
            "No temperature is stored with this run; only the probabilities as the model gives \
             them are shown."
                .into(),
        )
    } else {
        Block::Paragraph(
            "Temperatures were fitted on validation and are stored with the run; they change no \
             decision."
                .into(),
        )
    }];
    blocks.extend(shown.diagrams);
    blocks.push(Block::Table(shown.table));
    let curve = LineChart::new(
        "Accuracy on the share of the decisions that is answered",
        "share answered, the surest first (%)",
        "accuracy (%)",
    );
    let curve = shown.curves.into_iter().fold(curve, LineChart::series);
    blocks.push(Block::Figure(Box::new(curve)));
    Ok(Part::Shown(blocks, shown.numbers.into()))
}

/// A head's probabilities in one form: what it is called in words, and in JSON.
struct Variant {
    words: &'static str,
    key: &'static str,
    samples: Samples,
}

/// What the section shows, filled head by head.
struct Shown {
    diagrams: Vec<Block>,
    table: Table,
    curves: Vec<Series>,
    numbers: Map<String, Value>,
    none_stored: bool,
}

impl Shown {
    fn new() -> Self {
        Self {
            diagrams: Vec::new(),
            table: Table::new(
                "Heads before and after temperature scaling",
                [
                    Column::text("head"),
                    Column::text("probabilities"),
                    Column::number("ECE", 4),
                    Column::number("Brier score", 4),
                    Column::number("log loss (nat)", 4),
                    Column::number("accuracy (%)", 1),
                    Column::number("accuracy at 80 % coverage (%)", 1),
                ],
            ),
            curves: Vec::new(),
            numbers: Map::new(),
            none_stored: true,
        }
    }

    /// Adds a head that has labels.
    fn add(&mut self, run: &EvaluatedRun<'_>, head: Head) -> Result<()> {
        let raw = samples(run, head, &|_| 1.0);
        if raw.truth.is_empty() {
            return Ok(());
        }
        let temperatures = temperatures(run, head);
        let mut variants = vec![Variant {
            words: "as the model gives them",
            key: "before",
            samples: raw,
        }];
        if let Some(t) = &temperatures {
            self.none_stored = false;
            let at = |seed: u64| {
                let place = run.seeds.iter().position(|(s, _)| *s == seed);
                place.map_or(1.0, |i| t[i])
            };
            variants.push(Variant {
                words: "with temperature",
                key: "after",
                samples: samples(run, head, &at),
            });
        }
        let mut of_head = Map::new();
        for variant in &variants {
            let p = variant.samples.checked()?;
            if head == run.main {
                let title = format!("Reliability of the {head} head, {}", variant.words);
                self.diagrams.push(diagram(title, &p));
            }
            of_head.insert(variant.key.to_owned(), self.row(head, variant.words, &p));
        }
        if let Some(last) = variants.last() {
            let series = coverage(head, &last.samples.checked()?);
            self.curves.push(series);
        }
        of_head.insert("temperatures".into(), json!(temperatures));
        self.numbers
            .insert(head.to_string(), Value::Object(of_head));
        Ok(())
    }

    /// Adds a row to the table; the same as JSON.
    fn row(&mut self, head: Head, words: &str, p: &Probabilities<'_>) -> Value {
        let points = coverage_curve(p);
        let accuracy = points.last().map_or(f64::NAN, |c| c.accuracy);
        let at_coverage = at_coverage(p, COVERAGE);
        let (ece, brier, loss) = (ece(p, BINS), brier(p), log_loss(p));
        self.table.push([
            Cell::from(head.as_str()),
            Cell::from(words),
            Cell::Number(ece),
            Cell::Number(brier),
            Cell::Number(loss),
            Cell::Number(100.0 * accuracy),
            Cell::Number(100.0 * at_coverage),
        ]);
        json!({
            "ece": ece,
            "brier": brier,
            "log_loss": loss,
            "accuracy": accuracy,
            "accuracy_at_80_coverage": at_coverage,
        })
    }
}

/// A head's labelled probabilities of all seeds, each at its temperature.
fn samples(run: &EvaluatedRun<'_>, head: Head, temperature: &dyn Fn(u64) -> f64) -> Samples {
    let mut samples = Samples::default();
    for (seed, predictions) in &run.seeds {
        samples.add(run, predictions, head, temperature(*seed));
    }
    samples
}

/// A head's temperature of every seed, where all have one.
fn temperatures(run: &EvaluatedRun<'_>, head: Head) -> Option<Vec<f64>> {
    let seeds = run.seeds.iter();
    seeds
        .map(|(seed, _)| run.temperature(*seed, head))
        .collect()
}

fn diagram(title: String, p: &Probabilities<'_>) -> Block {
    let bars = reliability(p, BINS).into_iter().map(|bin| ReliabilityBar {
        range: [bin.low, bin.high],
        confidence: bin.confidence,
        accuracy: bin.accuracy,
        n: bin.n,
    });
    Block::Figure(Box::new(ReliabilityDiagram::new(title, bars)))
}

/// Accuracy at the smallest coverage that is at least `target`.
fn at_coverage(p: &Probabilities<'_>, target: f64) -> f64 {
    let points = coverage_curve(p);
    let found = points.iter().find(|c| c.coverage >= target - 1e-12);
    found.map_or(f64::NAN, |c| c.accuracy)
}

/// The curve at whole per cents, from 5 up: below, few decisions make it jump.
fn coverage(head: Head, p: &Probabilities<'_>) -> Series {
    let points: Vec<(f64, f64)> = (5..=100)
        .step_by(5)
        .map(|share| {
            let share = f64::from(share);
            (share, 100.0 * at_coverage(p, share / 100.0))
        })
        .collect();
    Series::new(head.as_str(), points)
}
