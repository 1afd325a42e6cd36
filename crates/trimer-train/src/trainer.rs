//! The only training loop.

use crate::checkpoint::{self, Progress};
use crate::config::label_columns;
use crate::config::parts::Rows;
use crate::config::{RunConfig, Select, SelectOn};
use crate::data::conversation::Order;
use crate::data::corrupt::drop_modalities;
use crate::data::{Loader, Normaliser};
use crate::error::{Result, TrainError};
use crate::json_lines;
use crate::objective::Objective;
use crate::optim::Optimizer;
use crate::plugins::{Chain, Means, PLUGIN_LOG, StepInfo};
use crate::predict::{evaluate, predict};
use crate::step::{Learner, StepSettings};
use burn::module::Module;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use trimer_core::HeadMap;
use trimer_core::corpus::Corpus;
use trimer_core::io::write_atomic;
use trimer_core::metrics::{EvaluationOptions, Metrics};
use trimer_core::random::mix;
use trimer_nn::error::NnError;
use trimer_nn::models::{AnyModel, ClosedForm, FusionModel};
use trimer_nn::recorder::Recorder;
use trimer_nn::weights::load_weights;

/// After a step.
#[derive(Debug, Clone)]
pub struct StepReport {
    /// The run's seed.
    pub seed: u64,
    /// From 1.
    pub epoch: usize,
    /// How many epochs are planned.
    pub epochs: usize,
    /// From 1 within the epoch.
    pub step: usize,
    /// Steps of an epoch.
    pub steps_per_epoch: usize,
    /// Mean loss per head over the epoch so far.
    pub losses: HeadMap<Option<f64>>,
    /// Utterances per second of this sitting.
    pub samples_per_s: f64,
}

/// The metrics of an epoch, per head, as they are logged.
pub type Logged = HeadMap<Option<serde_json::Map<String, serde_json::Value>>>;

/// After an epoch: one line of `log.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochReport {
    /// From 1.
    pub epoch: usize,
    /// Steps done in all.
    pub global_step: u64,
    /// Learning rate of the epoch's last step.
    pub lr: f64,
    /// Weighted sum of the losses, mean over the epoch.
    pub train_loss: f64,
    /// Loss per head, mean over the epoch.
    pub train_losses: HeadMap<Option<f64>>,
    /// What the model adds to the loss besides its heads, by name and weighted, mean over the epoch.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub aux_losses: BTreeMap<String, f64>,
    /// Validation metrics per head.
    pub valid: Logged,
    /// Test metrics per head; only of a run that selects on test.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<Logged>,
    /// The selecting metric's value on the selecting split; absent where it has none.
    pub selector: Option<f64>,
    /// Whether this is the best epoch so far.
    pub is_best: bool,
    /// Seconds since 1970 when the epoch ended.
    pub wall_time: f64,
    /// Utterances per second while training.
    pub samples_per_s: f64,
    /// What plug-ins noted, means over the epoch: by plug-in, quantity and modality.
    #[serde(default, skip_serializing_if = "Means::is_empty")]
    pub plugins: Means,
}

/// Somebody who watches.
pub trait Observer {
    /// Something worth telling once.
    fn message(&mut self, text: &str) {
        let _ = text;
    }
    /// A doubt about data or settings.
    fn warning(&mut self, text: &str) {
        let _ = text;
    }
    /// After each step.
    fn step(&mut self, report: &StepReport) {
        let _ = report;
    }
    /// After each epoch.
    fn epoch(&mut self, seed: u64, report: &EpochReport) {
        let _ = (seed, report);
    }
}

/// Watches nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;
impl Observer for Silent {}

/// Everything that one seed's training needs.
#[derive(Debug)]
pub struct Trainer<'a> {
    /// The resolved run.
    pub config: &'a RunConfig,
    /// The data.
    pub corpus: &'a Corpus,
    /// With autodiff.
    pub device: &'a Device,
    /// The seed's directory.
    pub dir: &'a Path,
    /// Initial values, order and masks follow from it.
    pub seed: u64,
    /// Set from outside to end after the current step.
    pub stop: &'a AtomicBool,
    /// Rows to learn from and to select on.
    pub rows: Rows,
}

/// How a seed's training ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// All epochs done, or stopped early by its own rule.
    Finished,
    /// Asked to stop; a checkpoint tells where.
    Interrupted,
}

/// File of the state to continue from.
pub const LAST: &str = "last.safetensors";
/// File of the selected weights.
pub const BEST: &str = "best.safetensors";
/// File of the epochs' reports.
pub const LOG: &str = "log.jsonl";

struct State {
    learner: Learner,
    normaliser: Normaliser,
    progress: Progress,
}

impl Trainer<'_> {
    /// Trains from the start, or from where the directory's checkpoint stands.
    ///
    /// # Errors
    /// When files cannot be read or written, or the loss stops being a number.
    pub fn train(&self, observer: &mut dyn Observer) -> Result<Ended> {
        let mut state = self.start(observer)?;
        let closed_form = state.learner.model.closed_form();
        if let Some(fit) = closed_form
            && !state.progress.finished
        {
            state = self.fit_closed_form(state, fit, observer);
        }
        if (closed_form.is_some() || self.config.train.epochs == 0) && !state.progress.finished {
            checkpoint::save_weights(
                &self.file(BEST),
                &state.learner.model,
                &state.normaliser,
                &[],
            )?;
            state.progress.finished = true;
            self.save(&mut state)?;
        }
        let objective = Objective::new(
            &self.config.train,
            self.config.task,
            self.corpus,
            &self.rows.train,
        );
        if !state.progress.finished && state.progress.global_step == 0 {
            self.start_plugins(&mut state);
        }
        while !state.progress.finished {
            if self.epoch(&mut state, &objective, observer)? == Ended::Interrupted {
                return Ok(Ended::Interrupted);
            }
        }
        Ok(Ended::Finished)
    }

    /// Shows plug-ins the first batch of the first epoch.
    fn start_plugins(&self, state: &mut State) {
        if state.learner.plugins.is_empty() {
            return;
        }
        let loader = Loader {
            corpus: self.corpus,
            input: &self.config.input,
            normaliser: &state.normaliser,
        };
        let order = Order::Shuffled {
            seed: self.seed,
            epoch: 0,
        };
        let batches = loader.batches(&self.rows.train, self.config.train.batch_size, order);
        if let Some(rows) = batches.first() {
            let plain = self.device.clone().inner();
            let batch = loader.batch(rows, &plain);
            state.learner.plugins.start(&state.learner.model, &batch);
        }
    }

    /// Models with a closed solution see the train split once, in the corpus's order.
    fn fit_closed_form(
        &self,
        mut state: State,
        fit: ClosedForm<AnyModel>,
        observer: &mut dyn Observer,
    ) -> State {
        let cfg = self.config;
        let loader = Loader {
            corpus: self.corpus,
            input: &cfg.input,
            normaliser: &state.normaliser,
        };
        let rows = &self.rows.train;
        let columns = label_columns(cfg.train.unimodal_labels, cfg.task, self.corpus, rows);
        let plain = self.device.clone().inner();
        let mut batches = rows.chunks(256).map(|rows| loader.batch(rows, &plain));
        state.learner.model = fit(state.learner.model, &mut batches, columns);
        observer.message(&format!(
            "seed {}: fitted in closed form on {} utterances; there are no epochs",
            self.seed,
            rows.len()
        ));
        state
    }

    fn start(&self, observer: &mut dyn Observer) -> Result<State> {
        let cfg = self.config;
        // Dropout on a GPU draws from the device's own generator; on the CPU nothing does.
        self.device.seed(mix(self.seed));
        let model = cfg
            .model
            .build(&cfg.input, cfg.task, mix(self.seed), self.device)?;
        let mut learner = Learner {
            model,
            optimizer: Optimizer::new(cfg.train.optimizer.clone()),
            plugins: Chain::new(&cfg.plugins, cfg.input.modalities(), cfg.task),
        };
        let last = self.file(LAST);
        if last.exists() {
            let plain = self.device.clone().inner();
            let (normaliser, progress) = checkpoint::load(&last, &mut learner, &cfg.input, &plain)
                .map_err(|error| match error {
                    TrainError::Nn(NnError::Weights { path, reason }) => TrainError::Run {
                        path,
                        reason: format!("training cannot be continued from it: {reason}"),
                        hint: "restore it, or remove it to train this seed from the start".into(),
                    },
                    other => other,
                })?;
            trim_log(&self.file(LOG), progress.global_step)?;
            let plugins = &mut learner.plugins;
            plugins.resume(&self.file(PLUGIN_LOG), progress.epoch, progress.global_step)?;
            observer.message(&format!(
                "seed {}: continuing after epoch {} and {} steps",
                self.seed, progress.epoch, progress.step
            ));
            return Ok(State {
                learner,
                normaliser,
                progress,
            });
        }
        if !cfg.init_weights.as_os_str().is_empty() {
            learner.model = load_weights(learner.model, &cfg.init_weights)?;
        }
        let modalities = cfg.input.modalities();
        let normaliser = Normaliser::fit(
            cfg.data.normalise,
            self.corpus,
            &self.rows.train,
            modalities,
        );
        let progress = Progress {
            plateau_factor: 1.0,
            ..Progress::default()
        };
        write_atomic(&self.file(LOG), b"")?;
        learner.plugins.resume(&self.file(PLUGIN_LOG), 0, 0)?;
        Ok(State {
            learner,
            normaliser,
            progress,
        })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn epoch(
        &self,
        state: &mut State,
        objective: &Objective,
        observer: &mut dyn Observer,
    ) -> Result<Ended> {
        let cfg = &self.config.train;
        let order = Order::Shuffled {
            seed: self.seed,
            epoch: state.progress.epoch,
        };
        let loader = Loader {
            corpus: self.corpus,
            input: &self.config.input,
            normaliser: &state.normaliser,
        };
        let batches = loader.batches(&self.rows.train, cfg.batch_size, order);
        let (started, first_seen) = (Instant::now(), state.progress.seen);
        let mut lr = 0.0;
        for rows in batches.iter().skip(state.progress.step) {
            lr = self.step(state, objective, rows, batches.len())?;
            let p = &state.progress;
            let samples_per_s = (p.seen - first_seen) as f64 / started.elapsed().as_secs_f64();
            observer.step(&StepReport {
                seed: self.seed,
                epoch: p.epoch + 1,
                epochs: cfg.epochs,
                step: p.step,
                steps_per_epoch: batches.len(),
                losses: p.mean_losses(),
                samples_per_s,
            });
            let due = cfg.checkpoint_steps > 0 && p.step.is_multiple_of(cfg.checkpoint_steps);
            let stopping = self.stop.load(Ordering::Relaxed);
            let amid = p.step < batches.len();
            if (due || stopping) && amid {
                self.save(state)?;
            }
            if stopping && amid {
                return Ok(Ended::Interrupted);
            }
        }
        let samples_per_s =
            (state.progress.seen - first_seen) as f64 / started.elapsed().as_secs_f64();
        self.end_epoch(state, objective, lr, samples_per_s, observer)?;
        let stopping = self.stop.load(Ordering::Relaxed) && !state.progress.finished;
        Ok(if stopping {
            Ended::Interrupted
        } else {
            Ended::Finished
        })
    }

    /// The next step of the epoch. Returns the learning rate.
    fn step(
        &self,
        state: &mut State,
        objective: &Objective,
        rows: &[usize],
        steps_per_epoch: usize,
    ) -> Result<f64> {
        let cfg = &self.config.train;
        let loader = Loader {
            corpus: self.corpus,
            input: &self.config.input,
            normaliser: &state.normaliser,
        };
        let batch = loader.batch(rows, self.device);
        let progress = &mut state.progress;
        let step_seed = mix(self.seed).wrapping_add(mix(progress.global_step));
        let batch = drop_modalities(batch, cfg.modality_dropout, step_seed);
        let at = StepInfo {
            epoch: progress.epoch,
            step: progress.step,
            global_step: progress.global_step,
            seed: step_seed,
        };
        let factor = cfg.schedule.factor_at(
            progress.global_step,
            steps_per_epoch,
            cfg.epochs,
            progress.plateau_factor,
        );
        let settings = StepSettings {
            lr: cfg.lr * factor,
            clip_norm: cfg.clip_norm,
        };
        let mut recorder = Recorder::train(step_seed);
        let learner = &mut state.learner;
        let Some(losses) = learner.step(objective, &batch, at, &mut recorder, settings)? else {
            return Ok(0.0);
        };
        progress.add_step(&losses, rows.len());
        Ok(settings.lr)
    }

    fn end_epoch(
        &self,
        state: &mut State,
        objective: &Objective,
        lr: f64,
        samples_per_s: f64,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let cfg = &self.config.train;
        let (selector, higher) = cfg.selector(self.config.task)?;
        let valid = self.validate(state, objective, &self.rows.valid)?;
        let test = self.validate(state, objective, &self.rows.test)?;
        let deciding = match cfg.select_on {
            SelectOn::Valid => &valid,
            SelectOn::Test => &test,
        };
        let value = deciding
            .get(cfg.select_head)
            .as_ref()
            .and_then(|m| m.scalar(selector));
        let is_best = state.progress.end_epoch(cfg, value, higher);
        let p = &state.progress;
        let report = EpochReport {
            epoch: p.epoch,
            global_step: p.global_step,
            lr,
            train_loss: p.total_sum / p.seen.max(1) as f64,
            train_losses: p.mean_losses(),
            aux_losses: (p.aux_sums.iter())
                .map(|(name, sum)| (name.clone(), sum / p.seen.max(1) as f64))
                .collect(),
            valid: valid.map(|_, m| m.map(|m| without_intervals(&m))),
            test: (cfg.select_on == SelectOn::Test)
                .then(|| test.map(|_, m| m.map(|m| without_intervals(&m)))),
            selector: value,
            is_best,
            wall_time: crate::clock::now(),
            samples_per_s,
            plugins: state.learner.plugins.end_epoch(),
        };
        if cfg.select == Select::Best && p.best.is_none() && p.epoch == 1 {
            observer.warning(&format!(
                "{} {selector} of the {} head has no value after epoch 1; until it has one, the latest epoch is kept",
                cfg.select_on.split(),
                cfg.select_head
            ));
        }
        state.progress.begin_epoch();
        if is_best {
            let about = [
                ("epoch", report.epoch.to_string()),
                ("seed", self.seed.to_string()),
            ];
            checkpoint::save_weights(
                &self.file(BEST),
                &state.learner.model,
                &state.normaliser,
                &about,
            )?;
        }
        // The log first: a line beyond the checkpoint is cut off on resume, a missing one is lost.
        json_lines::append(&self.file(LOG), log_line(&report).as_bytes())?;
        self.save(state)?;
        observer.epoch(self.seed, &report);
        Ok(())
    }

    fn validate(
        &self,
        state: &State,
        objective: &Objective,
        rows: &[usize],
    ) -> Result<HeadMap<Option<Metrics>>> {
        if rows.is_empty() {
            return Ok(HeadMap::default());
        }
        let cfg = self.config;
        let plain = self.device.clone().inner();
        let loader = Loader {
            corpus: self.corpus,
            input: &cfg.input,
            normaliser: &state.normaliser,
        };
        let predictions = predict(
            &state.learner.model.valid(),
            &loader,
            rows,
            cfg.task,
            cfg.train.batch_size,
            &plain,
        );
        let options = EvaluationOptions {
            n_resamples: 0,
            ..EvaluationOptions::default()
        };
        evaluate(
            self.corpus,
            &[&predictions],
            objective.columns(),
            cfg.task,
            &cfg.classes,
            cfg.score_range(),
            &options,
        )
    }

    fn save(&self, state: &mut State) -> Result<()> {
        // First what the checkpoint knows of: lines beyond it are cut off on resume.
        state.learner.plugins.flush(&self.file(PLUGIN_LOG))?;
        checkpoint::save(
            &self.file(LAST),
            &state.learner,
            &state.normaliser,
            &state.progress,
        )
    }
}

fn without_intervals(metrics: &Metrics) -> serde_json::Map<String, serde_json::Value> {
    let all = serde_json::to_value(metrics).unwrap_or_default();
    match all {
        serde_json::Value::Object(map) => map
            .into_iter()
            .filter(|(k, _)| !k.ends_with("_ci"))
            .collect(),
        _ => serde_json::Map::new(),
    }
}

/// The reports in a log; a last line that was cut off is left out.
///
/// # Errors
/// When the file, or a line that was not cut off, cannot be read.
pub fn read_log(path: &Path) -> Result<Vec<EpochReport>> {
    json_lines::read_json_lines(path)
}

fn trim_log(path: &Path, global_step: u64) -> Result<()> {
    let kept: Vec<EpochReport> = if path.exists() {
        read_log(path)?
    } else {
        Vec::new()
    };
    let kept = kept.iter().filter(|r| r.global_step <= global_step);
    Ok(write_atomic(
        path,
        kept.map(log_line).collect::<String>().as_bytes(),
    )?)
}

fn log_line(report: &EpochReport) -> String {
    let mut line = serde_json::to_string(report).unwrap_or_default();
    line.push('\n');
    line
}
