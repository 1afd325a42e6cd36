//! Trains what a comparison needs and does not have yet, one or several runs at a time.

use crate::ui::{Board, BoardRow};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use trimer_core::corpus::Corpus;
use trimer_nn::burn::tensor::Device;
use trimer_train::TrainError;
use trimer_train::{EpochReport, Observer, Outcome, RunConfig, RunDir, StepReport, train_run};

/// One run to train: a configuration on one corpus.
#[derive(Debug)]
pub(super) struct Unit {
    /// As it is shown while it trains.
    pub(super) name: String,
    /// Its run directory.
    pub(super) path: PathBuf,
    /// Which of the corpora.
    pub(super) corpus: usize,
    /// What it is.
    pub(super) config: RunConfig,
}

/// How a unit ended.
pub(super) type Trained = Result<RunDir, TrainError>;

/// Trains all units; `None` when the user asked to stop. One that fails does not end the others.
pub(super) fn train_all(
    units: &[Unit],
    corpora: &[Corpus],
    environment: &serde_json::Value,
    jobs: usize,
    device: &Device,
    stop: &AtomicBool,
) -> Option<Vec<Trained>> {
    let board = Board::new(units.iter().map(|u| u.name.as_str()));
    let next = AtomicUsize::new(0);
    let results: Vec<Mutex<Option<Trained>>> = units.iter().map(|_| Mutex::new(None)).collect();
    crate::jobs::run(jobs, || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(unit) = units.get(at) else { break };
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let row = board.row(at);
            let ended = train_one(unit, &corpora[unit.corpus], environment, device, stop, &row);
            match &ended {
                Ok(Some(_)) => row.done("trained"),
                Ok(None) => row.done("interrupted"),
                Err(error) => row.done(&format!("failed: {error}")),
            }
            let ended = ended.map_or_else(|e| Some(Err(e)), |run| run.map(Ok));
            if let Ok(mut slot) = results[at].lock() {
                *slot = ended;
            }
        }
    });
    board.finish();
    results
        .into_iter()
        .map(|slot| slot.into_inner().ok().flatten())
        .collect()
}

fn train_one(
    unit: &Unit,
    corpus: &Corpus,
    environment: &serde_json::Value,
    device: &Device,
    stop: &AtomicBool,
    row: &BoardRow<'_>,
) -> Result<Option<RunDir>, TrainError> {
    let run = open_or_create(unit, environment)?;
    let mut watcher = Watcher {
        row,
        seeds: run.config.seeds.clone(),
    };
    let device = device.clone().autodiff();
    match train_run(&run, corpus, &device, stop, &mut watcher)? {
        Outcome::Finished => Ok(Some(run)),
        Outcome::Interrupted => Ok(None),
    }
}

/// The run of an earlier start of the same comparison, or a new one.
fn open_or_create(unit: &Unit, environment: &serde_json::Value) -> Result<RunDir, TrainError> {
    if !unit.path.join("config.toml").is_file() {
        return RunDir::create(&unit.path, unit.config.clone(), environment);
    }
    let run = RunDir::open(&unit.path)?;
    let mut known = run.config.clone();
    // The corpus may have been moved since; its content is what counts.
    known.corpus_path.clone_from(&unit.config.corpus_path);
    if known == unit.config {
        return Ok(run);
    }
    let wanted = &unit.config.seeds;
    if wanted.len() > known.seeds.len() && wanted.starts_with(&known.seeds) {
        known.seeds.clone_from(wanted);
        if known == unit.config {
            return run.with_more_seeds(wanted);
        }
    }
    Err(TrainError::Run {
        path: unit.path.clone(),
        reason: "it was trained with other settings, seeds or data than are asked for now".into(),
        hint: "choose another `--out`, or remove this run to train it again".into(),
    })
}

/// Writes a unit's progress into its row of the board.
struct Watcher<'a> {
    row: &'a BoardRow<'a>,
    seeds: Vec<u64>,
}

impl Watcher<'_> {
    fn place(&self, seed: u64) -> String {
        let at = self.seeds.iter().position(|s| *s == seed).unwrap_or(0) + 1;
        format!("seed {seed} ({at}/{})", self.seeds.len())
    }
}

impl Observer for Watcher<'_> {
    fn warning(&mut self, text: &str) {
        self.row.warn(text);
    }

    fn step(&mut self, report: &StepReport) {
        self.row.set(&format!(
            "{}  epoch {}/{}  step {}/{}  {:.0} utterances/s",
            self.place(report.seed),
            report.epoch,
            report.epochs,
            report.step,
            report.steps_per_epoch,
            report.samples_per_s
        ));
    }

    fn epoch(&mut self, seed: u64, report: &EpochReport) {
        let value = report
            .selector
            .map_or_else(String::new, |v| format!("  valid {v:.4}"));
        self.row.set(&format!(
            "{}  epoch {}{value}",
            self.place(seed),
            report.epoch
        ));
    }
}
