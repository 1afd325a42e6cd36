//! `trimer tune`: searches settings on validation; test stays closed.

use super::compare::plain_name;
use super::train::{environment, parse_sets, read_recipe, stop_on_ctrl_c};
use crate::{Answer, ui, ui::Hinted};
use anyhow::Context;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use trimer_core::corpus::Corpus;
use trimer_core::io::write_atomic;
use trimer_nn::device::Opened;
use trimer_nn::{ModelConfig, NnError};
use trimer_train::config::Select;
use trimer_train::json_lines::read_json_lines;
use trimer_train::tune::{Best, Method, Rung, Space, Trial, cost, plan, ranked, train_to};
use trimer_train::{Overrides, RunConfig, RunDir, TrainError, TuningRecord};

/// What is searched when no space is given: what every model has.
const STANDARD_SPACE: &str = "\
[train]
lr = { log = [1e-4, 5e-3] }
batch_size = { choices = [16, 32, 64] }
label_smoothing = { choices = [0.0, 0.1] }
optimizer.weight_decay = { log = [1e-3, 0.2] }
";

/// Arguments of `trimer tune`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub(crate) struct Args {
    /// The corpus directory
    #[arg(long, value_name = "DIR")]
    corpus: PathBuf,
    /// Models to tune, ids divided by commas; each gets the whole budget
    #[arg(long, value_name = "LIST", value_delimiter = ',', required = true)]
    models: Vec<String>,
    /// The search space: a TOML file, or a directory with one per model (`DIR/<model>.toml`)
    #[arg(long, value_name = "PATH")]
    space: Option<PathBuf>,
    /// What does not vary: a recipe, or a directory with one per model
    #[arg(long, value_name = "PATH")]
    recipe: Option<PathBuf>,
    /// Change one key of what does not vary; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// `halving` drops poor trials early, `random` trains all in full
    #[arg(long, default_value = "halving", value_parser = ["halving", "random"])]
    method: String,
    /// Epochs that all trials of a model may take together
    #[arg(long, default_value_t = 200, value_name = "EPOCHS")]
    budget: usize,
    /// Halving keeps one of so many trials
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u8).range(2..=10))]
    eta: u8,
    /// Seed of the search and of every trial
    #[arg(long, default_value_t = 1, value_name = "S", value_parser = clap::value_parser!(u64).range(0..=1_000_000_000))]
    seed: u64,
    /// Directory for trials and recipes; the same command with the same directory continues
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Trials to train at a time
    #[arg(long, default_value_t = 1, value_name = "N")]
    jobs: usize,
    /// Where to compute: cpu, cuda:0 or wgpu
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Print JSON: one object per model, with all trials
    #[arg(long)]
    json: bool,
}

const HELP: &str = "\
A search space has the keys of a recipe, each with a range:

    [train]
    lr = { log = [1e-4, 1e-2] }
    batch_size = { choices = [16, 32] }
    label_smoothing = { range = [0.0, 0.2] }
    [model]
    n_layers = { range = [1, 4] }

Writes DIR/<model>.toml, the best recipe, and DIR/<model>/trials.jsonl, every trial. Compare with
them by `trimer compare --models .. --recipes DIR`.";

impl Args {
    /// Trials to train at a time.
    pub(crate) fn jobs(&self) -> usize {
        self.jobs.clamp(1, 64)
    }
}

/// A search for one model.
struct Search<'a> {
    args: &'a Args,
    model: &'a str,
    corpus: &'a Corpus,
    base: Overrides,
    space: Space,
    dir: PathBuf,
    rungs: Vec<Rung>,
    /// What compares the trials: `valid`, or what is held out of train instead.
    split: String,
    metric: String,
    higher: bool,
    opened: &'a Opened,
    stop: &'a AtomicBool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Answer> {
    let opened = crate::device::opened(&args.device)?;
    let corpus = Corpus::open(&args.corpus)?;
    for (i, model) in args.models.iter().enumerate() {
        ModelConfig::resolve(model, None, &toml::Table::new())?;
        if args.models[..i].contains(model) {
            return Err(Hinted::new(
                format!("`{model}` is named twice"),
                "every model is tuned once",
            )
            .into());
        }
    }
    let stop = stop_on_ctrl_c();
    let mut results = Vec::new();
    for model in &args.models {
        let search = Search::new(args, model, &corpus, &opened, &stop)?;
        let Some(trials) = search.run()? else {
            return Err(Hinted::new(
                "interrupted; every trial is saved",
                "the same command continues",
            )
            .into());
        };
        let record = search.write_best(&trials)?;
        let file = args.out.join(format!("{model}.toml"));
        ui::note(&format!("best recipe: {}", file.display()));
        if args.json {
            results.push(serde_json::json!({
                "model": model,
                "recipe": file,
                "tuning": record,
                "trials": trials,
            }));
        } else {
            ui::data(&search.table(&trials));
        }
    }
    if args.json {
        ui::json(&results)?;
    }
    Ok(Answer::Yes)
}

/// The file of a model, where `path` may be a directory with one per model.
fn file_of(path: &Path, model: &str) -> Option<PathBuf> {
    if !path.is_dir() {
        return Some(path.to_owned());
    }
    let file = path.join(format!("{model}.toml"));
    file.is_file().then_some(file)
}

impl<'a> Search<'a> {
    fn new(
        args: &'a Args,
        model: &'a str,
        corpus: &'a Corpus,
        opened: &'a Opened,
        stop: &'a AtomicBool,
    ) -> anyhow::Result<Self> {
        let mut base = match args.recipe.as_ref().and_then(|p| file_of(p, model)) {
            Some(file) => read_recipe(&file)?,
            None => Overrides::default(),
        };
        base.merge(parse_sets(&args.sets)?);
        base.tuning = None;
        let text = match args.space.as_ref().and_then(|p| file_of(p, model)) {
            Some(file) => std::fs::read_to_string(&file)
                .with_context(|| format!("cannot read the search space `{}`", file.display()))?,
            None => STANDARD_SPACE.to_owned(),
        };
        let space = Space::parse(&text)?;
        let config = base.clone().resolve(Some(model), corpus, vec![args.seed])?;
        if config.train.select == Select::Last {
            return Err(Hinted::new(
                "a search needs validation to compare trials, and `train.select = last` does not look at it",
                "leave `train.select` at `best`",
            )
            .into());
        }
        let (metric, higher) = config.train.selector(config.task)?;
        let method = method(args);
        let rungs = plan(method, args.budget, config.train.epochs, args.eta.into());
        if rungs.is_empty() {
            return Err(Hinted::new(
                format!(
                    "`--budget {}` does not reach for one trial of {} epochs",
                    args.budget, config.train.epochs
                ),
                "raise it, or shorten the training with `--set train.epochs=N`",
            )
            .into());
        }
        let search = Self {
            args,
            model,
            corpus,
            base,
            space,
            dir: args.out.join(plain_name(model)),
            rungs,
            split: config.selected_on(),
            metric: metric.to_owned(),
            higher,
            opened,
            stop,
        };
        search.settle(&text, &config)?;
        Ok(search)
    }

    /// Writes down what is searched, or makes sure that a search found here is the same.
    fn settle(&self, space: &str, config: &RunConfig) -> anyhow::Result<()> {
        std::fs::create_dir_all(&self.dir)?;
        let mut config = config.clone();
        config.corpus_path = PathBuf::new();
        let text = format!(
            "# What is searched; the same command with the same directory continues.\nmethod = \"{}\"\nbudget = {}\neta = {}\nseed = {}\nspace = '''\n{space}'''\n\n[base]\n{}",
            self.args.method,
            self.args.budget,
            self.args.eta,
            self.args.seed,
            toml::to_string(&toml::Table::from_iter([(
                "config".to_owned(),
                toml::Value::String(toml::to_string(&config)?),
            )]))?,
        );
        let file = self.dir.join("search.toml");
        if file.exists() {
            if std::fs::read_to_string(&file)? == text {
                return Ok(());
            }
            return Err(Hinted::new(
                format!("`{}` holds another search", self.dir.display()),
                "choose another `--out`, or remove it to search anew",
            )
            .into());
        }
        write_atomic(&file, text.as_bytes())?;
        Ok(())
    }

    /// All trials of the last round, best first; `None` when asked to stop.
    fn run(&self) -> anyhow::Result<Option<Vec<Trial>>> {
        let known = self.known_trials()?;
        let mut all: Vec<Trial> = Vec::new();
        let mut numbers: Vec<usize> = (0..self.rungs[0].trials).collect();
        for (rung, plan) in self.rungs.iter().enumerate() {
            numbers.truncate(plan.trials);
            ui::note(&format!(
                "{}: round {} of {}: {} trial(s) to epoch {}",
                self.model,
                rung + 1,
                self.rungs.len(),
                numbers.len(),
                plan.epochs
            ));
            let Some(ended) = self.round(rung, plan.epochs, &numbers, &known)? else {
                return Ok(None);
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
                return Err(Hinted::new(
                    format!("no trial of `{}` came to an end: {reason}", self.model),
                    "narrow the search space; the trials are in `trials.jsonl`",
                )
                .into());
            }
        }
        Ok(Some(all))
    }

    fn known_trials(&self) -> anyhow::Result<Vec<Trial>> {
        let file = self.dir.join("trials.jsonl");
        if !file.exists() {
            return Ok(Vec::new());
        }
        // A last line that was cut off is trained (or read) again.
        Ok(read_json_lines(&file)?)
    }

    fn round(
        &self,
        rung: usize,
        epochs: usize,
        numbers: &[usize],
        known: &[Trial],
    ) -> anyhow::Result<Option<Vec<Trial>>> {
        let next = AtomicUsize::new(0);
        let done: Mutex<Vec<Trial>> = Mutex::new(Vec::new());
        let failed: Mutex<Option<anyhow::Error>> = Mutex::new(None);
        let written = Mutex::new(known.to_vec());
        crate::jobs::run(self.args.jobs(), || {
            while let Some(&trial) = numbers.get(next.fetch_add(1, Ordering::Relaxed)) {
                if self.stop.load(Ordering::Relaxed) {
                    break;
                }
                let old = known.iter().find(|t| t.trial == trial && t.rung == rung);
                let ended = match old {
                    Some(old) => Ok(Some(old.clone())),
                    None => self.trial(trial, rung, epochs),
                };
                let logged = ended.and_then(|t| {
                    if let (Some(t), None) = (&t, old) {
                        self.log(&written, t)?;
                    }
                    Ok(t)
                });
                match logged {
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

    /// Appends a trial to the log, whose file is always whole.
    fn log(&self, written: &Mutex<Vec<Trial>>, trial: &Trial) -> anyhow::Result<()> {
        let Ok(mut all) = written.lock() else {
            return Ok(());
        };
        all.push(trial.clone());
        let mut text = String::new();
        for trial in all.iter() {
            text.push_str(&serde_json::to_string(trial)?);
            text.push('\n');
        }
        write_atomic(&self.dir.join("trials.jsonl"), text.as_bytes())?;
        let value = trial.value.map_or_else(
            || trial.error.clone().unwrap_or_else(|| "no value".into()),
            |v| format!("valid {} {v:.4}", self.metric),
        );
        ui::note(&format!(
            "{}: trial {} epoch {}: {value}",
            self.model, trial.trial, trial.epochs
        ));
        Ok(())
    }

    /// One trial to the end of a round; what its settings do wrong is noted with it.
    fn trial(&self, trial: usize, rung: usize, epochs: usize) -> anyhow::Result<Option<Trial>> {
        let settings = self.space.draw(self.args.seed, trial);
        let mut record = Trial {
            trial,
            rung,
            epochs,
            split: self.split.clone(),
            metric: self.metric.clone(),
            value: None,
            best_epoch: None,
            settings: settings.clone(),
            error: None,
        };
        let fail = |mut record: Trial, error: &TrainError| {
            record.error = Some(error.to_string());
            Ok(Some(record))
        };
        let mut overrides = self.base.clone();
        overrides.merge(Overrides::from_table(settings)?);
        let config = match overrides.resolve(Some(self.model), self.corpus, vec![self.args.seed]) {
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
            RunDir::create(&path, config, &environment(self.opened))?
        };
        match train_to(
            &run,
            self.corpus,
            epochs,
            &self.opened.device.clone().autodiff(),
            self.stop,
        ) {
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

    /// The best trial that was trained in full.
    fn best<'t>(&self, trials: &'t [Trial]) -> Option<&'t Trial> {
        let last = self.rungs.len() - 1;
        trials.iter().find(|t| t.rung == last && t.value.is_some())
    }

    /// Writes the best recipe, with what it rests on.
    fn write_best(&self, trials: &[Trial]) -> anyhow::Result<TuningRecord> {
        let best = self
            .best(trials)
            .ok_or_else(|| Hinted::new("no trial was trained in full", "raise `--budget`"))?;
        let mut overrides = self.base.clone();
        overrides.merge(Overrides::from_table(best.settings.clone())?);
        let record = TuningRecord {
            method: method(self.args).as_str().into(),
            split: self.split.clone(),
            metric: self.metric.clone(),
            trials: self.rungs[0].trials,
            epochs: cost(&self.rungs),
            seed: self.args.seed,
            value: best.value.unwrap_or(f64::NAN),
            corpus: self.corpus.info().name.clone(),
            corpus_fingerprint: self.corpus.fingerprint(),
        };
        let recipe = toml::Table::from_iter([
            ("model".to_owned(), toml::Value::Table(overrides.model)),
            ("data".to_owned(), toml::Value::Table(overrides.data)),
            ("train".to_owned(), toml::Value::Table(overrides.train)),
            ("tuning".to_owned(), toml::Value::try_from(&record)?),
        ]);
        let text = format!(
            "# {} on {}: trial {} of `trimer tune`, the best on validation.\n\n{}",
            self.model,
            self.corpus.info().name,
            best.trial,
            toml::to_string(&recipe)?
        );
        let file = self.args.out.join(format!("{}.toml", self.model));
        write_atomic(&file, text.as_bytes())?;
        Ok(record)
    }

    /// The trials that got furthest, best first.
    fn table(&self, trials: &[Trial]) -> String {
        let keys: Vec<&String> = self.space.0.keys().collect();
        let mut head = vec![
            "trial".to_owned(),
            "epochs".into(),
            format!("valid {}", self.metric),
        ];
        head.extend(keys.iter().map(|k| (*k).clone()));
        let last = self.rungs.len() - 1;
        let rows: Vec<Vec<String>> = trials
            .iter()
            .filter(|t| t.rung == last)
            .take(10)
            .map(|t| {
                let mut cells = vec![
                    t.trial.to_string(),
                    t.epochs.to_string(),
                    t.value.map_or_else(|| "-".into(), |v| format!("{v:.4}")),
                ];
                cells.extend(keys.iter().map(|key| look_up(&t.settings, key)));
                cells
            })
            .collect();
        let head: Vec<&str> = head.iter().map(String::as_str).collect();
        format!(
            "{}: {} trials, {} epochs in all; test was not opened\n{}",
            self.model,
            self.rungs[0].trials,
            cost(&self.rungs),
            ui::table(&head, &rows)
        )
    }
}

fn method(args: &Args) -> Method {
    if args.method == "random" {
        Method::Random
    } else {
        Method::Halving
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
