//! The configuration of a registered model without its type.

use super::any::AnyModel;
use super::info::{Level, ModelInfo};
use super::interface::{ModelConfigOf, ReadLimits};
use super::registry;
use crate::batch::InputSpec;
use crate::config::{Tagged, take_id};
use crate::error::{NnError, Result};
use crate::layers::Initializer;
use crate::task::Task;
use burn::tensor::Device;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::any::Any;
use std::fmt::Debug;
use trimer_core::ModalityMap;

/// The configuration of any registered model; in files the key `id` tells which.
///
/// ```
/// use trimer_nn::models::{ModelConfig, lfmim::LfmimConfig};
///
/// let config = ModelConfig::from(LfmimConfig::paper());
/// assert_eq!(config.info().id, "lfmim");
/// assert_eq!(config.get::<LfmimConfig>(), Some(&LfmimConfig::paper()));
/// ```
#[derive(Debug)]
pub struct ModelConfig(Box<dyn OneConfig>);

impl ModelConfig {
    /// The configuration of `id` from a preset and a table of overrides.
    ///
    /// # Errors
    /// Unknown model, preset or key, a value of the wrong type or out of range.
    pub fn resolve(id: &str, preset: Option<&str>, overrides: &toml::Table) -> Result<Self> {
        registry::resolve(id, preset, overrides)
    }

    /// The configuration itself, where its type is known.
    pub fn get<C: ModelConfigOf>(&self) -> Option<&C> {
        self.0.as_any().downcast_ref()
    }

    /// The registry entry.
    pub fn info(&self) -> &'static ModelInfo {
        self.0.info()
    }

    /// Frames per modality that the preset reads at most, and how longer sequences are cut.
    pub fn read_limits(&self) -> ReadLimits {
        self.0.read_limits()
    }

    /// The input that the model has at its default lengths, for features of these widths. Models of
    /// conversations get two speakers.
    pub fn default_input(&self, dims: ModalityMap<Option<usize>>) -> InputSpec {
        let ReadLimits { lengths, sampling } = self.read_limits();
        InputSpec {
            dims,
            lengths,
            sampling,
            n_speakers: self.info().reads_conversations().then_some(2),
        }
    }

    /// Refuses values outside their range.
    ///
    /// # Errors
    /// Names key, value and range.
    pub fn check(&self) -> Result<()> {
        self.0.check()
    }

    /// Refuses values outside their range and an input that the model cannot read.
    ///
    /// # Errors
    /// Names what does not fit.
    pub fn check_input(&self, input: &InputSpec) -> Result<()> {
        check_level(self.info(), input)?;
        self.0.check()?;
        self.0.check_input(input)
    }

    /// Floating-point operations of the matrix products of one utterance's forward pass; NaN where
    /// nobody counted.
    pub fn forward_flops(&self, input: &InputSpec, task: Task) -> f64 {
        self.0.forward_flops(input, task)
    }

    /// Builds the model on `device` with initial values that follow from `seed`.
    ///
    /// # Errors
    /// When the configuration does not fit the input.
    pub fn build(
        &self,
        input: &InputSpec,
        task: Task,
        seed: u64,
        device: &Device,
    ) -> Result<AnyModel> {
        self.build_with(input, task, Initializer::new(seed, device))
    }

    /// Builds the model on `device` with nothing but zeros, for values that will be loaded.
    ///
    /// # Errors
    /// When the configuration does not fit the input.
    pub fn build_uninitialised(
        &self,
        input: &InputSpec,
        task: Task,
        device: &Device,
    ) -> Result<AnyModel> {
        self.build_with(input, task, Initializer::uninitialised(device))
    }

    fn build_with(&self, input: &InputSpec, task: Task, mut init: Initializer) -> Result<AnyModel> {
        self.check_input(input)?;
        self.0.build(input, task, &mut init)
    }
}

impl<C: ModelConfigOf> From<C> for ModelConfig {
    fn from(config: C) -> Self {
        Self(Box::new(config))
    }
}

impl Clone for ModelConfig {
    fn clone(&self) -> Self {
        Self(self.0.boxed_clone())
    }
}

impl PartialEq for ModelConfig {
    fn eq(&self, other: &Self) -> bool {
        self.0.equals(other.0.as_ref())
    }
}

impl Serialize for ModelConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        erased_serde::serialize(self.0.tagged().as_ref(), serializer)
    }
}

impl<'de> Deserialize<'de> for ModelConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let mut table = toml::Table::deserialize(deserializer)?;
        let id = take_id(&mut table).map_err(de::Error::custom)?;
        registry::read(&id, table)
            .map(Self)
            .map_err(de::Error::custom)
    }
}

/// [`ModelConfigOf`] without its type. Every configuration has it.
pub(super) trait OneConfig: Send + Sync + Debug {
    fn as_any(&self) -> &dyn Any;
    fn info(&self) -> &'static ModelInfo;
    fn read_limits(&self) -> ReadLimits;
    fn check(&self) -> Result<()>;
    fn check_input(&self, input: &InputSpec) -> Result<()>;
    fn forward_flops(&self, input: &InputSpec, task: Task) -> f64;
    fn build(&self, input: &InputSpec, task: Task, init: &mut Initializer) -> Result<AnyModel>;
    fn equals(&self, other: &dyn OneConfig) -> bool;
    fn boxed_clone(&self) -> Box<dyn OneConfig>;
    /// The configuration with its `id` in front.
    fn tagged(&self) -> Box<dyn erased_serde::Serialize + '_>;
}

impl<C: ModelConfigOf> OneConfig for C {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn info(&self) -> &'static ModelInfo {
        C::INFO
    }

    fn read_limits(&self) -> ReadLimits {
        ModelConfigOf::read_limits(self)
    }

    fn check(&self) -> Result<()> {
        ModelConfigOf::check(self)
    }

    fn check_input(&self, input: &InputSpec) -> Result<()> {
        ModelConfigOf::check_input(self, input)
    }

    fn forward_flops(&self, input: &InputSpec, task: Task) -> f64 {
        ModelConfigOf::forward_flops(self, input, task)
    }

    fn build(&self, input: &InputSpec, task: Task, init: &mut Initializer) -> Result<AnyModel> {
        let model = ModelConfigOf::build(self, input, task, init)?;
        Ok(AnyModel::new(C::INFO, model))
    }

    fn equals(&self, other: &dyn OneConfig) -> bool {
        other.as_any().downcast_ref() == Some(self)
    }

    fn boxed_clone(&self) -> Box<dyn OneConfig> {
        Box::new(self.clone())
    }

    fn tagged(&self) -> Box<dyn erased_serde::Serialize + '_> {
        Box::new(Tagged {
            id: C::INFO.id,
            config: self,
        })
    }
}

/// Refuses an input that is arranged for models of the other level.
fn check_level(info: &ModelInfo, input: &InputSpec) -> Result<()> {
    let found = match input.n_speakers {
        None => Level::Utterance,
        Some(_) => Level::Conversation,
    };
    if info.level == found {
        return Ok(());
    }
    Err(NnError::ConfigRange {
        key: "input.n_speakers".into(),
        value: input
            .n_speakers
            .map_or_else(|| "none".into(), |n| n.to_string()),
        expected: match info.level {
            Level::Conversation => {
                format!("a number, because `{}` reads conversations", info.id)
            }
            Level::Utterance => format!("none, because `{}` reads utterances", info.id),
        },
    })
}
