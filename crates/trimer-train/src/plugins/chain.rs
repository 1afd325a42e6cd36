//! The plug-ins of a run, in the order of its configuration.

use super::log::{self, Means, Notes, StepLine, Sums};
use super::{GradientMap, ModelView, PluginConfig, Start, Step, StepInfo, TrainPlugin, norms};
use crate::error::Result;
use burn::module::{Module, ParamId};
use burn::tensor::Tensor;
use std::collections::BTreeSet;
use std::path::Path;
use trimer_core::{Head, HeadMap, ModalitySet};
use trimer_nn::batch::Batch;
use trimer_nn::models::{AnyModel, FusionModel, ModelOutput, Task};
use trimer_nn::probe::{self, Inputs};
use trimer_nn::recorder::Recorder;

/// The training loss of an output on a batch, `[1]`.
pub type Criterion<'a> = &'a dyn Fn(&ModelOutput, &Batch) -> Option<Tensor<1>>;

/// The active plug-ins and what they have noted since the last checkpoint.
#[derive(Debug, Default)]
pub struct Chain {
    plugins: Vec<Box<dyn TrainPlugin>>,
    modalities: ModalitySet,
    task: Option<Task>,
    pending: Vec<StepLine>,
    sums: Sums,
}

impl Chain {
    /// The plug-ins of these configurations, for a model that reads `modalities`.
    pub fn new(configs: &[PluginConfig], modalities: ModalitySet, task: Task) -> Self {
        Self::of(
            configs.iter().map(PluginConfig::build).collect(),
            modalities,
            task,
        )
    }

    /// These plug-ins, whether registered or not.
    pub fn of(plugins: Vec<Box<dyn TrainPlugin>>, modalities: ModalitySet, task: Task) -> Self {
        Self {
            plugins,
            modalities,
            task: Some(task),
            ..Self::default()
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.plugins.is_empty()
    }

    fn task(&self) -> Task {
        self.task.unwrap_or(Task::Regression)
    }

    /// Refuses a model that one of the plug-ins cannot be applied to. `batch` is any that the model can
    /// read.
    ///
    /// # Errors
    /// Names the plug-in, the model and what is missing.
    pub fn check(&self, model: &AnyModel, batch: &Batch) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        if model.closed_form().is_some() {
            return super::refuse(
                self.plugins[0].info(),
                model.info(),
                "it is fitted in closed form: there are no gradients to change",
                "choose a model that is trained in epochs",
            );
        }
        let plain = model.valid();
        let trial = plain.forward(batch, &mut Recorder::eval());
        let start = Start {
            host: &plain,
            batch,
            modalities: self.modalities,
            task: self.task(),
        };
        self.plugins
            .iter()
            .try_for_each(|plugin| plugin.check(&plain, &trial, &start))
    }

    /// Before the first step: `batch` is the first of the first epoch.
    pub fn start(&mut self, model: &AnyModel, batch: &Batch) {
        if self.is_empty() {
            return;
        }
        let plain = model.valid();
        let start = Start {
            host: &plain,
            batch,
            modalities: self.modalities,
            task: self.task(),
        };
        for plugin in &mut self.plugins {
            plugin.start(&start);
        }
    }

    /// Runs the training pass `f` and keeps what layers read where a plug-in wants that.
    pub fn watch<T>(&self, at: StepInfo, f: impl FnOnce() -> T) -> (T, Inputs) {
        let wanted: BTreeSet<ParamId> = self
            .plugins
            .iter()
            .flat_map(|plugin| plugin.wants_inputs(at))
            .collect();
        if wanted.is_empty() {
            return (f(), Inputs::default());
        }
        probe::record(Some(wanted), f)
    }

    /// Lets every plug-in change the gradients, in order, and notes what they did.
    pub fn after_backward(
        &mut self,
        model: &AnyModel,
        seen: Pass<'_>,
        gradients: &mut GradientMap,
    ) {
        if self.is_empty() {
            return;
        }
        let plain = model.valid();
        let step = Step {
            host: &plain,
            batch: seen.batch,
            output: seen.output,
            loss: seen.loss,
            inputs: seen.inputs,
            at: seen.at,
            modalities: self.modalities,
            task: self.task(),
            columns: seen.columns,
            criterion: seen.criterion,
        };
        let mut means = Means::new();
        let mut squares = norms::squares(gradients);
        for plugin in &mut self.plugins {
            let mut notes = Notes {
                plugin: plugin.info().id,
                means: &mut means,
            };
            norms::note(&squares, step.host, "before", &mut notes);
            plugin.after_backward(&step, gradients, &mut notes);
            squares = norms::squares(gradients);
            norms::note(&squares, step.host, "after", &mut notes);
        }
        let line = StepLine {
            epoch: seen.at.epoch + 1,
            step: seen.at.step + 1,
            global_step: seen.at.global_step + 1,
            wall_time: crate::clock::now(),
            plugins: means,
        };
        self.sums.add(&line);
        self.pending.push(line);
    }

    /// The means of what was noted over the epoch; the next one starts anew.
    pub fn end_epoch(&mut self) -> Means {
        std::mem::take(&mut self.sums).means()
    }

    /// What was noted since the last [`Self::flush`].
    pub fn pending(&self) -> &[StepLine] {
        &self.pending
    }

    /// Writes what was noted since the last time.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn flush(&mut self, path: &Path) -> Result<()> {
        log::append(path, &self.pending)?;
        self.pending.clear();
        Ok(())
    }

    /// Cuts the file to the steps that a checkpoint knows of, and counts those of the epoch that it is in.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn resume(&mut self, path: &Path, epoch: usize, global_step: u64) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        let mut lines = log::read_plugin_log(path)?;
        lines.retain(|line| line.global_step <= global_step);
        log::rewrite(path, &lines)?;
        self.sums = Sums::default();
        for line in lines.iter().filter(|line| line.epoch == epoch + 1) {
            self.sums.add(line);
        }
        Ok(())
    }

    /// What later steps depend on, in the order of the plug-ins.
    pub fn state(&self) -> serde_json::Value {
        let all = self
            .plugins
            .iter()
            .map(|plugin| serde_json::json!({"id": plugin.info().id, "state": plugin.state()}));
        all.collect()
    }

    /// Puts back what [`Self::state`] gave.
    ///
    /// # Errors
    /// In words, when the state is that of other plug-ins or of another model.
    pub fn load_state(
        &mut self,
        state: serde_json::Value,
        host: &dyn ModelView,
    ) -> std::result::Result<(), String> {
        let serde_json::Value::Array(states) = state else {
            return if self.is_empty() {
                Ok(())
            } else {
                Err("it holds no state of plug-ins".into())
            };
        };
        if states.len() != self.plugins.len() {
            return Err(format!(
                "it holds the state of {} plug-ins, the run has {}",
                states.len(),
                self.plugins.len()
            ));
        }
        for (plugin, mut state) in self.plugins.iter_mut().zip(states) {
            let id = plugin.info().id;
            if state["id"] != id {
                return Err(format!(
                    "it holds the state of {}, expected `{id}`",
                    state["id"]
                ));
            }
            plugin
                .load_state(state["state"].take(), host)
                .map_err(|reason| format!("the state of `{id}`: {reason}"))?;
        }
        Ok(())
    }
}

/// What a training pass had and gave.
#[derive(Clone, Copy)]
pub struct Pass<'a> {
    /// What the model read.
    pub batch: &'a Batch,
    /// What it gave.
    pub output: &'a ModelOutput,
    /// The training loss.
    pub loss: f64,
    /// What layers read, from [`Chain::watch`].
    pub inputs: &'a Inputs,
    /// Where training stands.
    pub at: StepInfo,
    /// Which label column supervises each head.
    pub columns: &'a HeadMap<Head>,
    /// The training loss of any output.
    pub criterion: Criterion<'a>,
}
