//! The search for one model: rounds of trials, and the best of them as a recipe.

use super::log::TrialLog;
use super::options::Settings;
use super::space::file_of;
use super::trials::{Best, Rung, Space, Trial, cost, plan, ranked, train_to};
use crate::environment::environment;
use crate::error::{Result, StudyError};
use crate::observer::StudyObserver;
use crate::recipe;
use crate::text::{plain_name, table};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use trimer_core::io::write_atomic;
use trimer_nn::NnError;
use trimer_train::config::Select;
use trimer_train::{Overrides, RunConfig, RunDir, TrainError, TuningRecord};

/// A search for one model.
pub(super) struct Search<'a> {
    settings: &'a Settings<'a>,
    model: &'a str,
    base: Overrides,
    space: Space,
    out: PathBuf,
    dir: PathBuf,
    /// Epochs that all trials may take together.
    budget: usize,
    rungs: Vec<Rung>,
    /// What compares the trials: `valid`, or what is held out of train instead.
    split: String,
    metric: String,
    higher: bool,
    stop: &'a AtomicBool,
}

/// What a search came to.
#[derive(Debug, Clone)]
pub struct TunedModel {
    /// The model's id.
    pub model: String,
    /// The file of the best recipe.
    pub recipe: PathBuf,
    /// What the recipe rests on.
    pub record: TuningRecord,
    /// Every trial at the end of every round; within a round the best come first.
    pub trials: Vec<Trial>,
    /// The keys that were searched over.
    keys: Vec<String>,
    /// The last round.
    last: usize,
}

/// The observer of all trials, which train on threads of their own.
type Shared<'o> = Mutex<&'o mut dyn StudyObserver>;

impl<'a> Search<'a> {
    pub(super) fn new(
        settings: &'a Settings<'a>,
        model: &'a str,
        stop: &'a AtomicBool,
    ) -> Result<Self> {
        let options = &settings.options;
        let out = settings.out.clone().ok_or_else(|| {
            StudyError::refused(
                "there is no directory for the trials",
                "name one with `out`",
            )
        })?;
        let mut base = match settings.recipe.as_ref().and_then(|p| file_of(p, model)) {
            Some(file) => recipe::read(&file)?,
            None => Overrides::default(),
        };
        base.merge(recipe::parse_sets(&settings.sets)?);
        base.tuning = None;
        let text = settings.space.text(model)?;
        let space = Space::parse(&text)?;
        let seeds = vec![options.seed];
        let config = base.clone().resolve(Some(model), settings.corpus, seeds)?;
        if config.train.select == Select::Last {
            return Err(StudyError::refused(
                "a search needs validation to compare trials, and `train.select = last` does not look at it",
                "leave `train.select` at `best`",
            ));
        }
        let (metric, higher) = config.train.selector(config.task)?;
        let epochs = config.train.epochs;
        let budget = options
            .budget
            .in_epochs(options.method, epochs, options.eta);
        let rungs = plan(options.method, budget, epochs, options.eta);
        if rungs.is_empty() {
            return Err(StudyError::refused(
                format!("`budget = {budget}` does not reach for one trial of {epochs} epochs"),
                "raise it, or shorten the training with `train.epochs=N`",
            ));
        }
        let search = Self {
            settings,
            model,
            base,
            space,
            dir: out.join(plain_name(model)),
            out,
            budget,
            rungs,
            split: config.selected_on(),
            metric: metric.to_owned(),
            higher,
            stop,
        };
        search.note_or_check(&text, &config)?;
        Ok(search)
    }

    /// Writes down what is searched, or makes sure that a search found here is the same.
    fn note_or_check(&self, space: &str, config: &RunConfig) -> Result<()> {
        std::fs::create_dir_all(&self.dir).map_err(StudyError::io("create", &self.dir))?;
        let mut config = config.clone();
        config.corpus_path = PathBuf::new();
        let options = &self.settings.options;
        let text = format!(
            "# What is searched; the same command with the same directory continues.\nmethod = \"{}\"\nbudget = {}\neta = {}\nseed = {}\nspace = '''\n{space}'''\n\n[base]\n{}",
            options.method.as_str(),
            self.budget,
            options.eta,
            options.seed,
            toml::to_string(&toml::Table::from_iter([(
                "config".to_owned(),
                toml::Value::String(toml::to_string(&config)?),
            )]))?,
        );
        let file = self.dir.join("search.toml");
        if file.exists() {
            let known = std::fs::read_to_string(&file).map_err(StudyError::io("read", &file))?;
            if known == text {
                return Ok(());
            }
            return Err(StudyError::refused(
                format!("`{}` holds another search", self.dir.display()),
                "choose another `out`, or remove it to search anew",
            ));
        }
        write_atomic(&file, text.as_bytes())?;
        Ok(())
    }

    /// All trials of all rounds, those of a round best first.
    pub(super) fn run(&self, observer: &mut dyn StudyObserver) -> Result<Vec<Trial>> {
        let log = TrialLog::open(&self.dir)?;
        let shared: Shared<'_> = Mutex::new(observer);
        let mut all: Vec<Trial> = Vec::new();
        let mut numbers: Vec<usize> = (0..self.rungs[0].trials).collect();
        for (rung, plan) in self.rungs.iter().enumerate() {
            numbers.truncate(plan.trials);
            tell(
                &shared,
                &format!(
                    "{}: round {} of {}: {} trial(s) to epoch {}",
                    self.model,
                    rung + 1,
                    self.rungs.len(),
                    numbers.len(),
                    plan.epochs
                ),
            );
            let Some(ended) = self.round(rung, plan.epochs, &numbers, &log, &shared)? else {
                return Err(StudyError::Interrupted {
                    saved: "every trial is saved",
                });
            };
            let ended = ranked(ended, self.higher);
            numbers = ended
                .iter()
                .filter(|t| t.value.is_some())
                .map(|t| t.trial)
                .collect();
            all.extend(ended);
            if numbers.is_empty() {
                let reason = all.iter().find_map(|t| t.error.clone()).unwrap_or_default();
                return Err(StudyError::refused(
                    format!("no trial of `{}` came to an end: {reason}", self.model),
                    "narrow the search space; the trials are in `trials.jsonl`",
                ));
            }
        }
        Ok(all)
    }

    /// Trains these trials to the end of a round; `None` when asked to stop.
    fn round(
        &self,
        rung: usize,
        epochs: usize,
        numbers: &[usize],
        log: &TrialLog,
        observer: &Shared<'_>,
    ) -> Result<Option<Vec<Trial>>> {
        let next = AtomicUsize::new(0);
        let done: Mutex<Vec<Trial>> = Mutex::new(Vec::new());
        let failed: Mutex<Option<StudyError>> = Mutex::new(None);
        crate::jobs::run(self.settings.options.jobs.max(1), || {
            while let Some(&trial) = numbers.get(next.fetch_add(1, Ordering::Relaxed)) {
                if self.stop.load(Ordering::Relaxed) {
                    break;
                }
                match self.known_or_new(trial, rung, epochs, log, observer) {
                    Ok(Some(t)) => done.lock().map(|mut d| d.push(t)).unwrap_or_default(),
                    Ok(None) => break,
                    Err(error) => {
                        failed
                            .lock()
                            .map(|mut f| *f = Some(error))
                            .unwrap_or_default();
                        break;
                    }
                }
            }
        });
        if let Ok(Some(error)) = failed.into_inner() {
            return Err(error);
        }
        let done = done.into_inner().unwrap_or_default();
        Ok((done.len() == numbers.len()).then_some(done))
    }

    /// A trial from the log, or trained and logged.
    fn known_or_new(
        &self,
        trial: usize,
        rung: usize,
        epochs: usize,
        log: &TrialLog,
        observer: &Shared<'_>,
    ) -> Result<Option<Trial>> {
        if let Some(known) = log.find(trial, rung) {
            return Ok(Some(known));
        }
        let ended = self.trial(trial, rung, epochs)?;
        if let Some(t) = &ended {
            log.push(t)?;
            let value = t.value.map_or_else(
                || t.error.clone().unwrap_or_else(|| "no value".into()),
                |v| format!("valid {} {v:.4}", self.metric),
            );
            let text = format!(
                "{}: trial {} epoch {}: {value}",
                self.model, t.trial, t.epochs
            );
            tell(observer, &text);
        }
        Ok(ended)
    }

    /// One trial to the end of a round; what its settings do wrong is noted with it.
    fn trial(&self, trial: usize, rung: usize, epochs: usize) -> Result<Option<Trial>> {
        let options = &self.settings.options;
        let drawn = self.space.draw(options.seed, trial);
        let mut record = Trial {
            trial,
            rung,
            epochs,
            split: self.split.clone(),
            metric: self.metric.clone(),
            value: None,
            best_epoch: None,
            settings: drawn.clone(),
            error: None,
        };
        let fail = |mut record: Trial, error: &TrainError| {
            record.error = Some(error.to_string());
            Ok(Some(record))
        };
        let corpus = self.settings.corpus;
        let mut overrides = self.base.clone();
        overrides.merge(Overrides::from_table(drawn)?);
        let config = match overrides.resolve(Some(self.model), corpus, vec![options.seed]) {
            Ok(config) => config,
            // A key that no model has is a mistake of the space, not of one draw.
            Err(
                error @ TrainError::Nn(NnError::UnknownKey { .. } | NnError::ConfigType { .. }),
            ) => {
                return Err(error.into());
            }
            Err(error) => return fail(record, &error),
        };
        let path = self.dir.join("trials").join(format!("{trial:04}"));
        let run = if path.join("config.toml").is_file() {
            RunDir::open(&path)?
        } else {
            RunDir::create(&path, config, &environment(&options.device))?
        };
        let device = options.device.clone().autodiff();
        match train_to(&run, corpus, epochs, &device, self.stop) {
            Ok(None) => Ok(None),
            Ok(Some(Best { value, epoch })) => {
                record.value = value;
                record.best_epoch = epoch;
                Ok(Some(record))
            }
            Err(error @ TrainError::Diverged { .. }) => fail(record, &error),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes the best recipe, with what it rests on.
    pub(super) fn finish(&self, trials: Vec<Trial>) -> Result<TunedModel> {
        let last = self.rungs.len() - 1;
        let best = trials
            .iter()
            .find(|t| t.rung == last && t.value.is_some())
            .ok_or_else(|| StudyError::refused("no trial was trained in full", "raise `budget`"))?;
        let mut overrides = self.base.clone();
        overrides.merge(Overrides::from_table(best.settings.clone())?);
        let corpus = self.settings.corpus;
        let record = TuningRecord {
            method: self.settings.options.method.as_str().into(),
            split: self.split.clone(),
            metric: self.metric.clone(),
            trials: self.rungs[0].trials,
            epochs: cost(&self.rungs),
            seed: self.settings.options.seed,
            value: best.value.unwrap_or(f64::NAN),
            corpus: corpus.info().name.clone(),
            corpus_fingerprint: corpus.fingerprint(),
        };
        let plugins = overrides.plugins.into_iter();
        let mut recipe: toml::Table = plugins
            .map(|(id, keys)| (id, toml::Value::Table(keys)))
            .collect();
        recipe.extend([
            ("model".to_owned(), toml::Value::Table(overrides.model)),
            ("data".to_owned(), toml::Value::Table(overrides.data)),
            ("train".to_owned(), toml::Value::Table(overrides.train)),
            ("tuning".to_owned(), toml::Value::try_from(&record)?),
        ]);
        let text = format!(
            "# {} on {}: trial {} of `trimer tune`, the best on validation.\n\n{}",
            self.model,
            corpus.info().name,
            best.trial,
            toml::to_string(&recipe)?
        );
        let file = self.out.join(format!("{}.toml", self.model));
        write_atomic(&file, text.as_bytes())?;
        Ok(TunedModel {
            model: self.model.to_owned(),
            recipe: file,
            record,
            trials,
            keys: self.space.0.keys().cloned().collect(),
            last,
        })
    }
}

fn tell(observer: &Shared<'_>, text: &str) {
    // An observer that panicked in another thread is told nothing more.
    if let Ok(mut observer) = observer.lock() {
        observer.message(text);
    }
}

impl TunedModel {
    /// Model, recipe, record and all trials.
    pub fn to_json(&self) -> Value {
        json!({
            "model": self.model,
            "recipe": self.recipe,
            "tuning": self.record,
            "trials": self.trials,
        })
    }

    /// The trials that got furthest, best first.
    pub fn to_text(&self) -> String {
        let mut head = vec![
            "trial".to_owned(),
            "epochs".into(),
            format!("valid {}", self.record.metric),
        ];
        head.extend(self.keys.iter().cloned());
        let rows: Vec<Vec<String>> = self
            .trials
            .iter()
            .filter(|t| t.rung == self.last)
            .take(10)
            .map(|t| {
                let mut cells = vec![
                    t.trial.to_string(),
                    t.epochs.to_string(),
                    t.value.map_or_else(|| "-".into(), |v| format!("{v:.4}")),
                ];
                cells.extend(self.keys.iter().map(|key| look_up(&t.settings, key)));
                cells
            })
            .collect();
        let head: Vec<&str> = head.iter().map(String::as_str).collect();
        format!(
            "{}: {} trials, {} epochs in all; test was not opened\n{}",
            self.model,
            self.record.trials,
            self.record.epochs,
            table(&head, &rows)
        )
    }
}

fn look_up(table: &toml::Table, key: &str) -> String {
    let mut value = None;
    let mut table = Some(table);
    for part in key.split('.') {
        value = table.and_then(|t| t.get(part));
        table = value.and_then(toml::Value::as_table);
    }
    value.map_or_else(String::new, ToString::to_string)
}
