//! Trains what a comparison needs and does not have yet, one or several runs at a time.

use crate::observer::{RunEvent, SeedPlace, StudyObserver};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use trimer_core::corpus::Corpus;
use trimer_nn::burn::tensor::Device;
use trimer_train::{
    EpochReport, Observer, Outcome, RunConfig, RunDir, StepReport, TrainError, train_run,
};

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

/// How and where units are trained.
pub(super) struct Training<'a> {
    pub(super) corpora: &'a [&'a Corpus],
    pub(super) environment: serde_json::Value,
    pub(super) jobs: usize,
    pub(super) device: &'a Device,
    pub(super) stop: &'a AtomicBool,
}

/// The observer of all runs, which train on threads of their own.
type Shared<'a> = Mutex<&'a mut dyn StudyObserver>;

impl Training<'_> {
    /// Trains all units; `None` when asked to stop. One that fails does not end the others.
    pub(super) fn run(
        &self,
        units: &[Unit],
        observer: &mut dyn StudyObserver,
    ) -> Option<Vec<Trained>> {
        let names: Vec<&str> = units.iter().map(|u| u.name.as_str()).collect();
        observer.runs_begin(&names);
        let shared: Shared<'_> = Mutex::new(observer);
        let next = AtomicUsize::new(0);
        let results: Vec<Mutex<Option<Trained>>> = units.iter().map(|_| Mutex::new(None)).collect();
        crate::jobs::run(self.jobs, || {
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(unit) = units.get(at) else { break };
                if self.stop.load(Ordering::Relaxed) {
                    break;
                }
                let row = Row {
                    shared: &shared,
                    at,
                };
                let ended = self.one(unit, &row);
                row.tell(&match &ended {
                    Ok(Some(_)) => RunEvent::Trained,
                    Ok(None) => RunEvent::Interrupted,
                    Err(error) => RunEvent::Failed(error),
                });
                let ended = ended.map_or_else(|e| Some(Err(e)), |run| run.map(Ok));
                if let Ok(mut slot) = results[at].lock() {
                    *slot = ended;
                }
            }
        });
        if let Ok(observer) = shared.into_inner() {
            observer.runs_end();
        }
        results
            .into_iter()
            .map(|slot| slot.into_inner().ok().flatten())
            .collect()
    }

    fn one(&self, unit: &Unit, row: &Row<'_, '_>) -> Result<Option<RunDir>, TrainError> {
        let run = open_or_create(unit, &self.environment)?;
        let mut watcher = Watcher {
            row,
            seeds: run.config.seeds.clone(),
        };
        let device = self.device.clone().autodiff();
        let corpus = self.corpora[unit.corpus];
        match train_run(&run, corpus, &device, self.stop, &mut watcher)? {
            Outcome::Finished => Ok(Some(run)),
            Outcome::Interrupted => Ok(None),
        }
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
        hint: "choose another `out`, or remove this run to train it again".into(),
    })
}

/// A run's place in what the observer was told.
struct Row<'a, 'o> {
    shared: &'a Shared<'o>,
    at: usize,
}

impl Row<'_, '_> {
    fn tell(&self, event: &RunEvent<'_>) {
        // An observer that panicked in another thread is told nothing more.
        if let Ok(mut observer) = self.shared.lock() {
            observer.run(self.at, event);
        }
    }
}

/// Hands on a run's progress.
struct Watcher<'a, 'o> {
    row: &'a Row<'a, 'o>,
    seeds: Vec<u64>,
}

impl Watcher<'_, '_> {
    fn place(&self, seed: u64) -> SeedPlace {
        SeedPlace {
            seed,
            number: self.seeds.iter().position(|s| *s == seed).unwrap_or(0) + 1,
            of: self.seeds.len(),
        }
    }
}

impl Observer for Watcher<'_, '_> {
    fn warning(&mut self, text: &str) {
        self.row.tell(&RunEvent::Warning(text));
    }

    fn step(&mut self, report: &StepReport) {
        let seed = self.place(report.seed);
        self.row.tell(&RunEvent::Step { report, seed });
    }

    fn epoch(&mut self, seed: u64, report: &EpochReport) {
        let seed = self.place(seed);
        self.row.tell(&RunEvent::Epoch { report, seed });
    }
}
