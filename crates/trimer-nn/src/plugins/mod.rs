//! Training plug-ins: they change gradients between the backward pass and the optimizer's step, and
//! nothing else. One file each, and one line in the registry below.
//!
//! | what | where |
//! |---|---|
//! | the interface | [`TrainPlugin`] |
//! | what a plug-in gets to see of a step | [`Step`], [`Host`] |
//! | the plug-ins of a run, in their order | [`Chain`] |
//! | the registry | [`PLUGINS`], [`PluginConfig`] |
//!
//! A plug-in never changes inference: what it did is in the weights alone. What it did per step is
//! written to `plugins.jsonl` of the run and, as means, to `log.jsonl`.

mod chain;
pub mod fagm;
mod late;
mod log;
mod norms;
pub mod ogm_ge;
pub mod watch;

pub use chain::{Chain, Criterion, Pass};
pub use late::{LateFusion, LatePart};
pub use log::{Means, Notes, PLUGIN_LOG, StepLine, read_plugin_log};

use crate::batch::{Batch, Sequence};
use crate::config::overlay;
use crate::error::{NnError, Result};
use crate::models::{FusionModel, ModelInfo, ModelOutput, Owner, Task};
use crate::probe::{self, Inputs, Wanted};
use crate::recorder::Recorder;
use crate::weights;
use burn::module::ParamId;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use trimer_core::error::nearest;
use trimer_core::{Head, HeadMap, Modality, ModalitySet};

/// What a registry entry says about its plug-in.
#[derive(Debug, Serialize)]
pub struct PluginInfo {
    /// Name on the command line and in files.
    pub id: &'static str,
    /// Full name.
    pub title: &'static str,
    /// Where it was published; empty for our own.
    pub citation: &'static str,
    /// Names of the presets; the first is the default.
    pub presets: &'static [&'static str],
    /// One sentence.
    pub summary: &'static str,
}

/// Gradients by the path of their parameter, flattened.
pub type GradientMap = BTreeMap<String, Tensor<1>>;

/// Id and shape of parameters by path.
pub type Parameters = BTreeMap<String, (ParamId, Vec<usize>)>;

/// Where training stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct At {
    /// From 0.
    pub epoch: usize,
    /// From 0 within the epoch.
    pub step: usize,
    /// From 0 over all epochs.
    pub global_step: u64,
    /// Random numbers of this step follow from it: a function of the run's seed and the step.
    pub seed: u64,
}

/// A model as plug-ins see it, without its type. Every [`FusionModel`] is one.
pub trait Host {
    /// The registry entry.
    fn model_info(&self) -> &'static ModelInfo;

    /// A pass in evaluation mode, without a graph.
    fn evaluate(&self, batch: &Batch) -> ModelOutput;

    /// Which modality owns the parameter at `path`.
    fn owner(&self, path: &str) -> Owner;

    /// Id and shape of every parameter by path.
    fn parameter_ids(&self) -> Parameters;

    /// How the scores come about where modalities only meet in a linear classifier.
    fn late(&self) -> Option<LateFusion>;

    /// Whether the model has no epochs, and so no gradients.
    fn has_no_steps(&self) -> bool;
}

impl<M: FusionModel> Host for M {
    fn model_info(&self) -> &'static ModelInfo {
        self.info()
    }

    fn evaluate(&self, batch: &Batch) -> ModelOutput {
        self.valid().forward(batch, &mut Recorder::eval())
    }

    fn owner(&self, path: &str) -> Owner {
        self.owner_of(path)
    }

    fn parameter_ids(&self) -> Parameters {
        weights::parameter_ids(self)
    }

    fn late(&self) -> Option<LateFusion> {
        self.valid().late_fusion()
    }

    fn has_no_steps(&self) -> bool {
        self.is_fitted_at_once()
    }
}

/// What is known before the first step.
pub struct Start<'a> {
    /// The model with its initial weights.
    pub host: &'a dyn Host,
    /// The first batch of the first epoch.
    pub batch: &'a Batch,
    /// Modalities that the model reads.
    pub modalities: ModalitySet,
    /// What is predicted.
    pub task: Task,
}

/// A step after its backward pass.
pub struct Step<'a> {
    /// The model as it was in the forward pass.
    pub host: &'a dyn Host,
    /// What it read.
    pub batch: &'a Batch,
    /// What the training pass gave; its tensors carry the graph.
    pub output: &'a ModelOutput,
    /// The training loss of that pass.
    pub loss: f64,
    /// What the layers read in the training pass, as far as some plug-in asked for it.
    pub inputs: &'a Inputs,
    /// Where training stands.
    pub at: At,
    /// Modalities that the model reads.
    pub modalities: ModalitySet,
    /// What is predicted.
    pub task: Task,
    /// Which label column each head answers to.
    pub columns: &'a HeadMap<Head>,
    criterion: Criterion<'a>,
}

/// A pass with modalities erased.
pub struct Erased {
    /// The training loss of its output.
    pub loss: f64,
    /// What it gave.
    pub output: ModelOutput,
    /// What the wanted layers read.
    pub inputs: Inputs,
}

impl Step<'_> {
    /// Runs the model on the batch without `modalities`: their features are zeros, masks stay. In
    /// evaluation mode and without a graph.
    pub fn without(&self, modalities: ModalitySet, wanted: Option<BTreeSet<ParamId>>) -> Erased {
        let batch = erase(self.batch, modalities);
        let (output, inputs) = evaluate(self.host, &batch, wanted);
        Erased {
            loss: self.loss_of(&output),
            output,
            inputs,
        }
    }

    /// The training loss of an output; NaN where there is none.
    pub fn loss_of(&self, output: &ModelOutput) -> f64 {
        (self.criterion)(output, self.batch).map_or(f64::NAN, |loss| {
            weights::to_vec(loss.without_autodiff())
                .first()
                .map_or(f64::NAN, |x| f64::from(*x))
        })
    }
}

/// A pass in evaluation mode; what the wanted layers read is recorded.
fn evaluate(host: &dyn Host, batch: &Batch, wanted: Wanted) -> (ModelOutput, Inputs) {
    if wanted.as_ref().is_some_and(BTreeSet::is_empty) {
        return (host.evaluate(batch), Inputs::default());
    }
    probe::record(wanted, || host.evaluate(batch))
}

/// The batch with zeros for the features of `modalities`; the pad masks stay as they are.
pub fn erase(batch: &Batch, modalities: ModalitySet) -> Batch {
    let mut batch = batch.clone();
    for modality in modalities.iter() {
        if let Some(sequence) = batch.sequences.get_mut(modality) {
            *sequence = Sequence {
                values: sequence.values.zeros_like(),
                pad_mask: sequence.pad_mask.clone(),
            };
        }
    }
    batch
}

/// A plug-in of the training loop.
///
/// The loop calls, in the order of the configuration: [`Self::check`] before anything is written,
/// [`Self::start`] before the first step (or [`Self::load_state`] when a run goes on), and in each step
/// [`Self::wants_inputs`] before the forward pass and [`Self::after_backward`] between the backward pass
/// and the clipping of gradients.
///
/// A plug-in draws random numbers from [`At::seed`] alone and keeps everything that a later step hangs
/// on in its [`Self::state`], so that an interrupted run goes on to the bit.
pub trait TrainPlugin: std::fmt::Debug {
    /// The registry entry.
    fn info(&self) -> &'static PluginInfo;

    /// Refuses a model that the plug-in cannot be applied to. `trial` is what the model gives for some
    /// batch.
    ///
    /// # Errors
    /// Names the plug-in, the model and what is missing; see [`refuse`].
    fn check(&self, host: &dyn Host, trial: &ModelOutput, start: &Start<'_>) -> Result<()> {
        let _ = (host, trial, start);
        Ok(())
    }

    /// Called once, before the first step of a run.
    fn start(&mut self, start: &Start<'_>) {
        let _ = start;
    }

    /// The layers whose inputs the plug-in wants from the training pass of this step, by the id of their
    /// first parameter; none by default.
    fn wants_inputs(&self, at: At) -> BTreeSet<ParamId> {
        let _ = at;
        BTreeSet::new()
    }

    /// Changes the gradients of a step, and notes what it did.
    fn after_backward(
        &mut self,
        step: &Step<'_>,
        gradients: &mut GradientMap,
        notes: &mut Notes<'_>,
    );

    /// What later steps hang on.
    fn state(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    /// Puts back what [`Self::state`] gave.
    ///
    /// # Errors
    /// In words, when the state is not one of this plug-in and model.
    fn load_state(
        &mut self,
        state: serde_json::Value,
        host: &dyn Host,
    ) -> std::result::Result<(), String> {
        let _ = (state, host);
        Ok(())
    }
}

/// The refusal of a model: `reason` says what it lacks.
///
/// # Errors
/// Always.
pub fn refuse(plugin: &PluginInfo, model: &ModelInfo, reason: &str, hint: &str) -> Result<()> {
    Err(NnError::Plugin {
        plugin: plugin.id,
        model: model.id,
        reason: reason.to_owned(),
        hint: hint.to_owned(),
    })
}

/// A registered plug-in's configuration: presets, checking, building.
pub trait PluginConfigOf: Serialize + for<'de> Deserialize<'de> + Clone {
    /// The registry entry.
    const INFO: &'static PluginInfo;

    /// The configuration of a preset of [`PluginInfo::presets`].
    fn preset(name: &str) -> Option<Self>;

    /// Refuses values outside their range.
    ///
    /// # Errors
    /// Names key, value and range.
    fn check(&self) -> Result<()>;

    /// Builds the plug-in.
    fn build(&self) -> Box<dyn TrainPlugin>;
}

/// Writes the configuration enum and the list of plug-ins from one table.
macro_rules! registry {
    ($($variant:ident { $id:literal, $config:ty }),+ $(,)?) => {
        /// The configuration of any registered plug-in; `id` in files tells which.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "id")]
        pub enum PluginConfig {
            $(#[doc = concat!("Configuration of `", $id, "`.")] #[serde(rename = $id)] $variant($config)),+
        }

        /// All registered plug-ins.
        pub static PLUGINS: &[&PluginInfo] = &[$(<$config as PluginConfigOf>::INFO),+];

        impl PluginConfig {
            /// The configuration of `id` from a table of overrides, which may name a `preset`.
            ///
            /// # Errors
            /// Unknown plug-in, preset or key, a value of the wrong type or out of range.
            pub fn resolve(id: &str, overrides: &toml::Table) -> Result<Self> {
                match id {
                    $($id => Ok(Self::$variant(resolve_one::<$config>(overrides)?)),)+
                    _ => Err(unknown_plugin(id)),
                }
            }

            /// The registry entry.
            pub fn info(&self) -> &'static PluginInfo {
                match self { $(Self::$variant(_) => <$config as PluginConfigOf>::INFO),+ }
            }

            /// Refuses values outside their range.
            ///
            /// # Errors
            /// Names key, value and range.
            pub fn check(&self) -> Result<()> {
                match self { $(Self::$variant(c) => c.check()),+ }
            }

            /// Builds the plug-in.
            pub fn build(&self) -> Box<dyn TrainPlugin> {
                match self { $(Self::$variant(c) => c.build()),+ }
            }
        }
    };
}

registry! {
    Fagm { "fagm", fagm::FagmConfig },
    OgmGe { "ogm_ge", ogm_ge::OgmGeConfig },
    Watch { "watch", watch::WatchConfig },
}

fn unknown_plugin(id: &str) -> NnError {
    let ids: Vec<_> = PLUGINS.iter().map(|p| p.id).collect();
    NnError::UnknownKey {
        key: format!("train.plugins: {id}"),
        known: match nearest(id, ids.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("registered plug-ins: {}", ids.join(", ")),
        },
    }
}

fn resolve_one<C: PluginConfigOf>(overrides: &toml::Table) -> Result<C> {
    let id = C::INFO.id;
    let mut overrides = overrides.clone();
    let name = match overrides.remove("preset") {
        None => C::INFO.presets[0].to_owned(),
        Some(toml::Value::String(name)) => name,
        Some(other) => {
            return Err(NnError::ConfigType {
                key: format!("{id}.preset"),
                reason: format!("expected string, found {} `{other}`", other.type_str()),
            });
        }
    };
    let base = C::preset(&name).ok_or_else(|| NnError::ConfigRange {
        key: format!("{id}.preset"),
        value: format!("\"{name}\""),
        expected: format!("one of {}", C::INFO.presets.join(", ")),
    })?;
    let config: C = overlay(id, &base, &overrides)?;
    config.check()?;
    Ok(config)
}

/// Modalities in the order in which plug-ins name them.
fn in_order(modalities: ModalitySet) -> impl Iterator<Item = Modality> {
    crate::layers::turns::JOINT_ORDER
        .into_iter()
        .filter(move |m| modalities.contains(*m))
}
