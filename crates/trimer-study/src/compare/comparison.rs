//! Systems that are trained for a comparison.

use super::evaluate;
use super::options::{CompareOptions, SystemRuns};
use super::report::ComparisonReport;
use super::systems::{System, check_systems};
use super::training::{Training, Unit};
use crate::environment::environment;
use crate::error::{Result, StudyError};
use crate::observer::StudyObserver;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use trimer_core::corpus::Corpus;
use trimer_train::RunDir;

/// Several systems that are trained under one protocol and compared.
///
/// ```
/// use trimer_core::corpus::{Corpus, synth::{self, SynthSpec}};
/// use trimer_study::{Comparison, Unwatched, compare::System};
///
/// # let dir = tempfile::tempdir()?;
/// # let spec = SynthSpec { n_utterances: 60, n_speakers: 10, ..SynthSpec::preset("small")? };
/// # let path = synth::write(&spec, &dir.path().join("corpus"), &mut |_, _| {})?;
/// let corpus = Corpus::open(&path)?;
/// let report = Comparison::new(&corpus)
///     .models(["majority", "logistic"])
///     .system_with(System::new("logistic").named("text alone").set("data.modalities=[\"text\"]"))
///     .seeds(2)
///     .out(dir.path().join("out"))
///     .run(&mut Unwatched)?;
///
/// assert_eq!(report.reference, "majority");
/// assert_eq!(report.systems.len(), 3);
/// // The reference is tested against nobody, the others against it.
/// assert!(report.systems[0].test.is_none());
/// assert!(report.systems[1].test.is_some_and(|t| (0.0..=1.0).contains(&t.p_holm)));
/// assert!(report.to_text().contains("text alone"));
/// assert!(dir.path().join("out/results.json").is_file());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Comparison<'a> {
    corpora: Vec<&'a Corpus>,
    systems: Vec<System>,
    options: CompareOptions,
    recipes: Option<PathBuf>,
    sets: Vec<String>,
    seeds: Vec<u64>,
    out: Option<PathBuf>,
    jobs: usize,
    stop: Option<&'a AtomicBool>,
}

impl<'a> Comparison<'a> {
    /// A comparison on a corpus, with three seeds and no system yet.
    pub fn new(corpus: &'a Corpus) -> Self {
        Self::of_folds([corpus])
    }

    /// A comparison on the folds of a cross-validation.
    pub fn of_folds(corpora: impl IntoIterator<Item = &'a Corpus>) -> Self {
        Self {
            corpora: corpora.into_iter().collect(),
            systems: Vec::new(),
            options: CompareOptions::default(),
            recipes: None,
            sets: Vec::new(),
            seeds: vec![1, 2, 3],
            out: None,
            jobs: 1,
            stop: None,
        }
    }

    /// One more model, with the settings of its recipe or its defaults.
    pub fn system(self, model: impl Into<String>) -> Self {
        self.system_with(System::new(model))
    }

    /// One more system.
    pub fn system_with(mut self, system: System) -> Self {
        self.systems.push(system);
        self
    }

    /// More systems.
    pub fn systems(mut self, systems: impl IntoIterator<Item = System>) -> Self {
        self.systems.extend(systems);
        self
    }

    /// More models, with the settings of their recipes or their defaults.
    pub fn models<S: Into<String>>(self, models: impl IntoIterator<Item = S>) -> Self {
        self.systems(models.into_iter().map(System::new))
    }

    /// How systems are evaluated and tested.
    pub fn options(mut self, options: CompareOptions) -> Self {
        self.options = options;
        self
    }

    /// Directory of recipes: `DIR/<corpus>/<model>.toml` or `DIR/<model>.toml`.
    pub fn recipes(mut self, dir: impl Into<PathBuf>) -> Self {
        self.recipes = Some(dir.into());
        self
    }

    /// One key of every system, as `train.epochs=10`.
    pub fn set(mut self, key_and_value: impl Into<String>) -> Self {
        self.sets.push(key_and_value.into());
        self
    }

    /// How many seeds are trained, counted up from 1.
    pub fn seeds(self, n: u64) -> Self {
        self.seeds_from(1, n)
    }

    /// How many seeds are trained, counted up from `first`.
    pub fn seeds_from(mut self, first: u64, n: u64) -> Self {
        self.seeds = (first..first.saturating_add(n)).collect();
        self
    }

    /// Directory for runs and tables; the same comparison with the same directory continues.
    pub fn out(mut self, dir: impl Into<PathBuf>) -> Self {
        self.out = Some(dir.into());
        self
    }

    /// Runs to train at a time; results do not depend on it.
    pub fn jobs(mut self, jobs: usize) -> Self {
        self.jobs = jobs.max(1);
        self
    }

    /// Set from outside to end after the current step; everything up to it is saved.
    pub const fn stop(mut self, stop: &'a AtomicBool) -> Self {
        self.stop = Some(stop);
        self
    }

    /// Trains what is not trained yet, evaluates all systems, and writes tables and page.
    ///
    /// A system that cannot be trained does not end the others: [`ComparisonReport::failed`] has it.
    ///
    /// # Errors
    /// When a system cannot be resolved, all of them fail, runs in `out` are others, predictions
    /// cannot be evaluated, or the comparison was asked to stop.
    pub fn run(&self, observer: &mut dyn StudyObserver) -> Result<ComparisonReport> {
        self.check()?;
        let out = self.out.as_ref().ok_or_else(|| {
            StudyError::refused("there is no directory for the runs", "name one with `out`")
        })?;
        if let Some(note) = self.without_recipe(self.systems.iter())? {
            observer.warning(&note);
        }
        let plan = self.plan(out)?;
        let (systems, failed) = self.train(&plan, observer)?;
        evaluate::check_selection(&systems, self.options.select_on, self.options.split)?;
        let mut report = evaluate::evaluate(&systems, &self.corpora, &self.options)?;
        if self.jobs > 1 {
            report.notes.push(format!(
                "Up to {} runs were trained at a time: training times are longer than those of a run alone.",
                self.jobs
            ));
        }
        let note = self.without_recipe(systems.iter().map(|s| &s.system))?;
        report.notes.extend(note);
        report.failed = failed;
        report.write(out)?;
        Ok(report)
    }

    /// Refuses what cannot be compared, before anything is computed.
    fn check(&self) -> Result<()> {
        check_systems(&self.systems)?;
        if let Some(reference) = &self.options.reference
            && !self.systems.iter().any(|s| s.name == *reference)
        {
            let names: Vec<&str> = self.systems.iter().map(|s| s.name.as_str()).collect();
            return Err(StudyError::refused(
                format!("the reference `{reference}` is no system of this comparison"),
                format!("systems: {}", names.join(", ")),
            ));
        }
        let split = self.options.split;
        for corpus in &self.corpora {
            if corpus.indices(split).is_empty() {
                return Err(StudyError::refused(
                    format!(
                        "the corpus `{}` has no {split} split to compare on",
                        corpus.info().name
                    ),
                    "choose a corpus with one, or another split with `split=SPLIT`",
                ));
            }
        }
        Ok(())
    }

    /// Systems that the folder of recipes has nothing for, in words.
    fn without_recipe<'s>(
        &self,
        systems: impl Iterator<Item = &'s System>,
    ) -> Result<Option<String>> {
        let Some(folder) = &self.recipes else {
            return Ok(None);
        };
        let mut names = Vec::new();
        for system in systems {
            if !system.has_recipe(&self.corpora, Some(folder))? {
                names.push(system.name.as_str());
            }
        }
        Ok((!names.is_empty()).then(|| {
            format!(
                "`{}` has no recipe for these systems, which train with the defaults of their models: {}",
                folder.display(),
                names.join(", ")
            )
        }))
    }

    /// What is to be trained, each once; equal settings of two systems are one run.
    fn plan(&self, out: &Path) -> Result<Plan> {
        let mut plan = Plan::default();
        for system in &self.systems {
            let mut of_system = Vec::new();
            for (fold, corpus) in self.corpora.iter().enumerate() {
                let recipes = self.recipes.as_deref();
                let select_on = self.options.select_on;
                let config = system.resolve(corpus, recipes, &self.sets, &self.seeds, select_on)?;
                evaluate::check_unseen(&config, self.options.split)?;
                let same = |u: &Unit| u.corpus == fold && u.config == config;
                let at = plan.units.iter().position(same).unwrap_or_else(|| {
                    let (path, name) = if self.corpora.len() == 1 {
                        (out.join("runs").join(system.dir()), system.name.clone())
                    } else {
                        let fold = format!("fold-{}", fold + 1);
                        let name = format!("{} {fold}", system.name);
                        (out.join("runs").join(fold).join(system.dir()), name)
                    };
                    plan.units.push(Unit {
                        name,
                        path,
                        corpus: fold,
                        config,
                    });
                    plan.units.len() - 1
                });
                of_system.push(at);
            }
            plan.of_systems.push(of_system);
        }
        Ok(plan)
    }

    /// Trains the plan; systems with all of their runs, and why others have none.
    fn train(&self, plan: &Plan, observer: &mut dyn StudyObserver) -> Result<Outcome> {
        let never = AtomicBool::new(false);
        let training = Training {
            corpora: &self.corpora,
            environment: environment(&self.options.device),
            jobs: self.jobs,
            device: &self.options.device,
            stop: self.stop.unwrap_or(&never),
        };
        let Some(ended) = training.run(&plan.units, observer) else {
            return Err(StudyError::Interrupted {
                saved: "everything up to the last step is saved",
            });
        };
        let mut failed = BTreeMap::new();
        let mut systems = Vec::new();
        for (system, wanted) in self.systems.iter().cloned().zip(&plan.of_systems) {
            let runs: Result<Vec<RunDir>, String> = wanted
                .iter()
                .map(|at| ended[*at].as_ref().cloned().map_err(ToString::to_string))
                .collect();
            match runs {
                Ok(runs) => systems.push(SystemRuns { system, runs }),
                Err(reason) => {
                    failed.insert(system.name, reason);
                }
            }
        }
        if systems.is_empty() {
            let reasons: Vec<&str> = failed.values().map(String::as_str).collect();
            return Err(StudyError::refused(
                format!("every system failed: {}", reasons.join("; ")),
                "look at one of them with `trimer train`",
            ));
        }
        Ok((systems, failed))
    }
}

/// What is to be trained, each once, and which of it each system needs, fold by fold.
#[derive(Debug, Default)]
struct Plan {
    units: Vec<Unit>,
    of_systems: Vec<Vec<usize>>,
}

/// Trained systems, and by name why others are not.
type Outcome = (Vec<SystemRuns>, BTreeMap<String, String>);
