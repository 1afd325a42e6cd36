//! A plug-in that changes nothing: it notes how large the gradients of each modality are, so that a
//! training without modulation can be compared with one that has it.

use super::{GradientMap, Notes, PluginConfigOf, PluginInfo, Step, TrainPlugin};
use crate::error::Result;
use serde::{Deserialize, Serialize};

static INFO: PluginInfo = PluginInfo {
    id: "watch",
    title: "Gradient watch",
    citation: "",
    presets: &["default"],
    summary: "notes the norm and the share of each modality's gradients, and changes nothing",
};

/// Configuration of [`Watch`]; it has no keys.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatchConfig {}

impl PluginConfigOf for WatchConfig {
    const INFO: &'static PluginInfo = &INFO;

    fn preset(name: &str) -> Option<Self> {
        (name == "default").then(Self::default)
    }

    fn check(&self) -> Result<()> {
        Ok(())
    }

    fn build(&self) -> Box<dyn TrainPlugin> {
        Box::new(Watch)
    }
}

/// The plug-in: norms and shares are noted for every plug-in, before and after it acts; here both are the
/// same.
#[derive(Debug, Clone, Copy)]
pub struct Watch;

impl TrainPlugin for Watch {
    fn info(&self) -> &'static PluginInfo {
        &INFO
    }

    fn after_backward(&mut self, _: &Step<'_>, _: &mut GradientMap, _: &mut Notes<'_>) {}

    fn changes_gradients(&self) -> bool {
        false
    }
}
