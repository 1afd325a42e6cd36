//! What every model and every plug-in must hold, whatever it is: the walk that a new one is put through.
//!
//! ```
//! use trimer_train::conformance;
//!
//! // Built in, or registered by the program: `trimer::models::register::<GmuConfig>()?`.
//! let report = conformance::check_model("utterance_mlp")?;
//! assert!(report.of("outputs").all(|entry| entry.cases > 0));
//! # Ok::<(), conformance::Faults>(())
//! ```
//!
//! Every check runs on every preset of the model, shrunk by the names of its keys ([`Subject::new`]), for
//! the tasks that it learns and the modalities that it reads. All faults are collected. The report says
//! what each check looked at and what it left out, and why; a check that found nothing to look at is a
//! fault. Nothing is printed. A panic of the model is a fault like any other (the program's panic hook runs
//! as always).
//!
//! # What is asked of a model
//!
//! | check | demands | because |
//! |---|---|---|
//! | `entry` | a complete registry entry; every preset passes its own check and can be built | tables, recipes and messages are made of it |
//! | `settings` | the configuration survives TOML; unknown keys are refused at every depth | a run directory must say what was trained, and a misspelt key is a wrong experiment |
//! | `uninitialised` | without initial values, the same parameters, all constant | weights are loaded into such a model |
//! | `outputs` | finite logits `[utterance, output]` per head, a multimodal head | losses, metrics and predictions read them |
//! | `gradients` | each parameter gets a finite, non-zero gradient, or is said to be idle; a step moves it | a parameter that is cut off is trained by nobody, silently |
//! | `padding_content` | what lies under the pad mask changes nothing, if the model says so | predictions must not depend on the neighbours' lengths |
//! | `padding_length` | more padding changes nothing, if the model says so | the same |
//! | `batch_order` | an utterance's output depends neither on its place nor on its neighbours, unless the model says so | evaluation goes in other batches than training |
//! | `weights_file` | weights written and read into another object give the same logits to the bit | whatever matters must be a parameter |
//! | `overfits` | one batch of six utterances is learned | a model that cannot do this can do nothing |
//! | `repeats` | the same seed gives the same losses to the bit, with dropout | runs are reproducible and go on after an interruption |
//! | `modality_sets` | every subset of the modalities works, or is refused by name | `data.modalities` chooses |
//! | `missing_modalities` | utterances without a modality, or without any, give finite logits and gradients | real corpora have gaps, and modality dropout makes them |
//! | `owners` | parameters that a modality owns read that modality alone, and all of it passes through them | plug-ins balance modalities by owner |
//! | `reported_inputs` | every weight reports what it reads | plug-ins look at neurons |
//! | `each_plugin` | every plug-in takes two steps with the model, or says why not | any `--plugin` with any model |
//! | `all_plugins` | all of them together, for every task | the same |
//! | `plugin_states` | interrupted after every step, they end with the same weights | resume is exact |
//!
//! # What is asked of a plug-in
//!
//! | check | demands | because |
//! |---|---|---|
//! | `settings` | a complete entry; every preset survives TOML; unknown keys and presets are refused | as above |
//! | `steps` | on every model that it takes: finite gradients, changed if it says so, notes whose shares sum to one; one model at least takes it | a plug-in that does nothing is not seen otherwise |
//! | `state` | interrupted after every step, the training ends with the same weights | resume is exact |
//!
//! A check is one function and one line of [`CHECKS`] or [`PLUGIN_CHECKS`].

mod checks;
mod learning;
mod modalities;
mod outputs;
mod owners;
mod padding;
mod plugin_steps;
mod plugins;
mod report;
mod settings;
mod subject;
mod walk;

pub use checks::{CHECKS, Check, PLUGIN_CHECKS, PluginCheck};
pub use owners::NOT_WEIGHTS;
pub use plugins::accepts;
pub use report::{Entry, Fault, Faults, Report};
pub use subject::{Subject, difference, logits};
pub use walk::{check_model, check_plugin};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_of_the_documentation_name_every_check_and_no_other() {
        let text = include_str!("mod.rs");
        let rows: Vec<&str> = (text.lines())
            .filter_map(|line| line.strip_prefix("//! | `")?.split('`').next())
            .collect();
        let models = CHECKS.iter().map(|check| check.id);
        let plugins = PLUGIN_CHECKS.iter().map(|check| check.id);
        assert_eq!(rows, models.chain(plugins).collect::<Vec<_>>());
    }

    #[test]
    fn an_id_that_nobody_registered_is_a_fault() {
        for faults in [check_model("gmx"), check_plugin("gmx")] {
            let faults = faults.unwrap_err();
            assert_eq!(faults.faults.len(), 1);
            assert!(faults.to_string().contains("gmx"), "{faults}");
            assert!(faults.faults[0].look_at.contains("register"), "{faults}");
        }
    }
}
