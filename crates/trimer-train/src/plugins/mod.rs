//! Training plug-ins: they change gradients between the backward pass and the optimizer's step, and
//! nothing else. One file each, and one line in the registry below.
//!
//! | what | where |
//! |---|---|
//! | the interface | [`TrainPlugin`] |
//! | what a plug-in gets to see of a step | [`Step`], [`ModelView`] |
//! | the plug-ins of a run, in their order | [`Chain`] |
//! | the registry, and how a program adds its own | [`plugins`], [`register`], [`PluginConfig`] |
//!
//! A plug-in never changes inference: what it did is in the weights alone. What it did per step is
//! written to `plugins.jsonl` of the run and, as means, to `log.jsonl`.

mod chain;
mod config;
pub mod fagm;
mod interface;
mod log;
mod norms;
pub mod ogm_ge;
mod registry;
mod view;
pub mod watch;

pub use chain::{Chain, Criterion, Pass};
pub use config::PluginConfig;
pub use interface::{PluginConfigOf, PluginInfo, TrainPlugin, refuse};
pub use log::{Means, Notes, PLUGIN_LOG, StepLine, read_plugin_log};
pub(crate) use registry::trial;
pub use registry::{plugins, register};
pub use view::{Erased, GradientMap, ModelView, Parameters, Start, Step, StepInfo, erase};

use registry::Entry;
use trimer_core::{Modality, ModalitySet};

/// The plug-ins of this crate, in the order in which they are listed.
const BUILTIN: &[Entry] = &[
    Entry::of::<fagm::FagmConfig>(),
    Entry::of::<ogm_ge::OgmGeConfig>(),
    Entry::of::<watch::WatchConfig>(),
];

/// Modalities in the order in which plug-ins name them.
fn in_order(modalities: ModalitySet) -> impl Iterator<Item = Modality> {
    trimer_nn::layers::turns::JOINT_ORDER
        .into_iter()
        .filter(move |m| modalities.contains(*m))
}
