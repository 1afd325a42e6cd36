//! The configuration of a registered plug-in without its type.

use super::interface::{PluginConfigOf, PluginInfo, TrainPlugin};
use super::registry;
use crate::error::Result;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::any::Any;
use std::fmt::Debug;
use trimer_nn::config::Tagged;

/// The configuration of any registered plug-in; in files the key `id` tells which.
#[derive(Debug)]
pub struct PluginConfig(Box<dyn OneConfig>);

impl PluginConfig {
    /// The configuration of `id` from a table of overrides, which may name a `preset`.
    ///
    /// # Errors
    /// Unknown plug-in, preset or key, a value of the wrong type or out of range.
    pub fn resolve(id: &str, overrides: &toml::Table) -> Result<Self> {
        registry::resolve(id, overrides)
    }

    /// The configuration itself, where its type is known.
    pub fn get<C: PluginConfigOf>(&self) -> Option<&C> {
        self.0.as_any().downcast_ref()
    }

    /// The registry entry.
    pub fn info(&self) -> &'static PluginInfo {
        self.0.info()
    }

    /// Refuses values outside their range.
    ///
    /// # Errors
    /// Names key, value and range.
    pub fn check(&self) -> Result<()> {
        self.0.check()
    }

    /// Builds the plug-in.
    pub fn build(&self) -> Box<dyn TrainPlugin> {
        self.0.build()
    }
}

impl<C: PluginConfigOf> From<C> for PluginConfig {
    fn from(config: C) -> Self {
        Self(Box::new(config))
    }
}

impl Clone for PluginConfig {
    fn clone(&self) -> Self {
        Self(self.0.boxed_clone())
    }
}

impl PartialEq for PluginConfig {
    fn eq(&self, other: &Self) -> bool {
        self.0.equals(other.0.as_ref())
    }
}

impl Serialize for PluginConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        erased_serde::serialize(self.0.tagged().as_ref(), serializer)
    }
}

impl<'de> Deserialize<'de> for PluginConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let mut table = toml::Table::deserialize(deserializer)?;
        let id = trimer_nn::config::take_id(&mut table).map_err(de::Error::custom)?;
        registry::read(&id, table)
            .map(Self)
            .map_err(de::Error::custom)
    }
}

/// [`PluginConfigOf`] without its type. Every configuration has it.
pub(super) trait OneConfig: Send + Sync + Debug {
    fn as_any(&self) -> &dyn Any;
    fn info(&self) -> &'static PluginInfo;
    fn check(&self) -> Result<()>;
    fn build(&self) -> Box<dyn TrainPlugin>;
    fn equals(&self, other: &dyn OneConfig) -> bool;
    fn boxed_clone(&self) -> Box<dyn OneConfig>;
    /// The configuration with its `id` in front.
    fn tagged(&self) -> Box<dyn erased_serde::Serialize + '_>;
}

impl<C: PluginConfigOf> OneConfig for C {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn info(&self) -> &'static PluginInfo {
        C::INFO
    }

    fn check(&self) -> Result<()> {
        PluginConfigOf::check(self)
    }

    fn build(&self) -> Box<dyn TrainPlugin> {
        PluginConfigOf::build(self)
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
