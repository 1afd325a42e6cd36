//! The interface of a plug-in: what somebody implements who adds one.

use super::log::Notes;
use super::view::{GradientMap, ModelView, Start, Step, StepInfo};
use crate::error::{Result, TrainError};
use burn::module::ParamId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use trimer_nn::models::{ModelInfo, ModelOutput};

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

/// A plug-in of the training loop.
///
/// The loop calls, in the order of the configuration: [`Self::check`] before anything is written,
/// [`Self::start`] before the first step (or [`Self::load_state`] when a run goes on), and in each step
/// [`Self::wants_inputs`] before the forward pass and [`Self::after_backward`] between the backward pass
/// and the clipping of gradients.
///
/// A plug-in draws random numbers from [`StepInfo::seed`] alone and keeps everything that a later step depends
/// on in its [`Self::state`], so that an interrupted run goes on to the bit.
pub trait TrainPlugin: std::fmt::Debug {
    /// The registry entry.
    fn info(&self) -> &'static PluginInfo;

    /// Refuses a model that the plug-in cannot be applied to. `trial` is what the model gives for some
    /// batch.
    ///
    /// # Errors
    /// Names the plug-in, the model and what is missing; see [`refuse`].
    fn check(&self, host: &dyn ModelView, trial: &ModelOutput, start: &Start<'_>) -> Result<()> {
        let _ = (host, trial, start);
        Ok(())
    }

    /// Called once, before the first step of a run.
    fn start(&mut self, start: &Start<'_>) {
        let _ = start;
    }

    /// The layers whose inputs the plug-in wants from the training pass of this step, by the id of their
    /// first parameter; none by default.
    fn wants_inputs(&self, at: StepInfo) -> BTreeSet<ParamId> {
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

    /// Whether the plug-in is there to change gradients; false for one that only measures. The conformance
    /// walk demands that a plug-in does what it says here.
    fn changes_gradients(&self) -> bool {
        true
    }

    /// What later steps depend on.
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
        host: &dyn ModelView,
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
    Err(TrainError::Plugin {
        plugin: plugin.id,
        model: model.id,
        reason: reason.to_owned(),
        hint: hint.to_owned(),
    })
}

/// A registered plug-in's configuration: presets, checking, building.
pub trait PluginConfigOf:
    Serialize + for<'de> Deserialize<'de> + Clone + PartialEq + std::fmt::Debug + Send + Sync + 'static
{
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

    /// The configuration that the conformance walk tries: with it, the plug-in acts within the first two
    /// steps of any model that it takes. The first preset unless that waits longer.
    fn trial() -> Option<Self> {
        Self::preset(Self::INFO.presets.first()?)
    }
}
