//! The registry of checks: one line each.

use super::report::{Fault, Tally};
use super::subject::Subject;
use super::{learning, modalities, outputs, owners, padding, plugins, settings};
use crate::plugins::{PluginConfig, PluginInfo};

/// One demand on models.
#[derive(Debug)]
pub struct Check {
    /// Name in reports.
    pub id: &'static str,
    /// What it demands, in one sentence.
    pub what: &'static str,
    pub(super) run: fn(&Subject, &mut Tally) -> Result<(), Fault>,
}

const fn check(
    id: &'static str,
    what: &'static str,
    run: fn(&Subject, &mut Tally) -> Result<(), Fault>,
) -> Check {
    Check { id, what, run }
}

/// The checks of models, in the order in which they run.
pub const CHECKS: &[Check] = &[
    check("entry", "the registry entry is complete", settings::entry),
    check(
        "settings",
        "the configuration survives a file and refuses unknown keys",
        settings::settings,
    ),
    check(
        "uninitialised",
        "without initial values it has the same parameters",
        outputs::uninitialised,
    ),
    check(
        "outputs",
        "logits are finite and of the right shape",
        outputs::outputs,
    ),
    check(
        "gradients",
        "every parameter gets a gradient and is moved by it",
        learning::gradients_reach,
    ),
    check(
        "padding_content",
        "what lies under the padding does not matter if it says so",
        padding::padding_content,
    ),
    check(
        "padding_length",
        "more padding does not matter if it says so",
        padding::padding_length,
    ),
    check(
        "batch_order",
        "the rest of a batch and its order do not matter unless it says so",
        outputs::batch_order,
    ),
    check(
        "weights_file",
        "weights survive a file to the bit",
        outputs::weights_file,
    ),
    check("overfits", "it overfits one batch", learning::overfits),
    check(
        "repeats",
        "the same seed gives the same losses",
        learning::repeats,
    ),
    check(
        "modality_sets",
        "every set of modalities works or is refused by name",
        modalities::modality_sets,
    ),
    check(
        "missing_modalities",
        "utterances that lack modalities give finite numbers",
        modalities::missing_modalities,
    ),
    check(
        "owners",
        "parameters belong to the modalities that it says",
        owners::owners,
    ),
    check(
        "reported_inputs",
        "every weight reports what it reads",
        owners::reported_inputs,
    ),
    check(
        "each_plugin",
        "every plug-in takes two steps with it or says why not",
        plugins::each_plugin,
    ),
    check(
        "all_plugins",
        "all plug-ins that take it take two steps together",
        plugins::all_plugins,
    ),
    check(
        "plugin_states",
        "with plug-ins, an interrupted training ends the same",
        plugins::plugin_states,
    ),
];

/// One demand on plug-ins.
#[derive(Debug)]
pub struct PluginCheck {
    /// Name in reports.
    pub id: &'static str,
    /// What it demands, in one sentence.
    pub what: &'static str,
    pub(super) run: PluginRun,
}

/// What a check of plug-ins looks at.
#[derive(Debug, Clone, Copy)]
pub(super) enum PluginRun {
    /// The plug-in by itself.
    Alone(fn(&'static PluginInfo, &PluginConfig, &mut Tally) -> Result<(), Fault>),
    /// The plug-in on each model.
    OnModels(fn(&PluginConfig, &Subject, &mut Tally) -> Result<(), Fault>),
}

/// The checks of plug-ins, in the order in which they run.
pub const PLUGIN_CHECKS: &[PluginCheck] = &[
    PluginCheck {
        id: "settings",
        what: "the configuration survives a file and refuses unknown keys",
        run: PluginRun::Alone(plugins::settings),
    },
    PluginCheck {
        id: "steps",
        what: "it takes two steps with every model that it takes, and does what it says",
        run: PluginRun::OnModels(plugins::steps),
    },
    PluginCheck {
        id: "state",
        what: "an interrupted training ends like one that was not",
        run: PluginRun::OnModels(plugins::state),
    },
];
