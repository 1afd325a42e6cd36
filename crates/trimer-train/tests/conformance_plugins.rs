//! Plug-ins that break one promise each, and which check tells them so.
#![allow(
    clippy::unwrap_used,
    reason = "clippy knows only functions marked as tests, not their helpers"
)]

use serde::{Deserialize, Serialize};
use trimer_train::conformance::{Faults, PLUGIN_CHECKS, Report, check_plugin};
use trimer_train::plugins::{
    GradientMap, Notes, PluginConfigOf, PluginInfo, Step, TrainPlugin, register,
};

const SOUND: usize = 0;
const IDLE: usize = 1;
const FORGETS: usize = 2;
const NAN: usize = 3;
const DROPS: usize = 4;
const SLY: usize = 5;

const IDS: [&str; 6] = ["sound", "idle", "forgets", "nan", "drops", "sly"];

const fn info(kind: usize) -> PluginInfo {
    PluginInfo {
        id: IDS[kind],
        title: "Toy",
        citation: "",
        presets: &["default"],
        summary: "makes gradients smaller from step to step",
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ToyConfig<const KIND: usize> {
    factor: f64,
}

impl<const KIND: usize> PluginConfigOf for ToyConfig<KIND> {
    const INFO: &'static PluginInfo = &info(KIND);

    fn preset(name: &str) -> Option<Self> {
        (name == "default").then_some(Self { factor: 0.5 })
    }

    fn check(&self) -> trimer_train::Result<()> {
        Ok(())
    }

    fn build(&self) -> Box<dyn TrainPlugin> {
        Box::new(Toy::<KIND> {
            factor: self.factor,
            steps: 0,
        })
    }
}

#[derive(Debug)]
struct Toy<const KIND: usize> {
    factor: f64,
    steps: u64,
}

impl<const KIND: usize> TrainPlugin for Toy<KIND> {
    fn info(&self) -> &'static PluginInfo {
        ToyConfig::<KIND>::INFO
    }

    fn after_backward(&mut self, _: &Step<'_>, gradients: &mut GradientMap, _: &mut Notes<'_>) {
        self.steps += 1;
        let factor = match KIND {
            IDLE => return,
            NAN => f64::NAN,
            _ => self.factor / self.steps as f64,
        };
        if KIND == DROPS {
            gradients.pop_first();
        }
        for gradient in gradients.values_mut() {
            *gradient = gradient.clone() * factor;
        }
    }

    fn changes_gradients(&self) -> bool {
        KIND != SLY
    }

    fn state(&self) -> serde_json::Value {
        match KIND {
            FORGETS => serde_json::Value::Null,
            _ => self.steps.into(),
        }
    }

    fn load_state(
        &mut self,
        state: serde_json::Value,
        _: &dyn trimer_train::plugins::ModelView,
    ) -> Result<(), String> {
        self.steps = state.as_u64().unwrap_or(0);
        Ok(())
    }
}

fn checked<const KIND: usize>() -> Result<Report, Faults> {
    register::<ToyConfig<KIND>>().unwrap();
    check_plugin(IDS[KIND])
}

/// A toy is refused by one check, with a fault for every model that takes it.
#[track_caller]
fn refused<const KIND: usize>(check: &str, word: &str) {
    let faults = checked::<KIND>().unwrap_err();
    assert!(faults.faults.iter().any(|f| f.check == check), "{faults}");
    assert!(faults.faults.len() > 10, "{faults}");
    assert!(faults.to_string().contains(word), "{faults}");
}

#[test]
fn a_sound_plugin_passes_every_check_on_every_model_with_gradients() {
    let report = checked::<SOUND>().unwrap_or_else(|faults| panic!("{faults}"));
    for check in PLUGIN_CHECKS {
        assert!(report.of(check.id).any(|entry| entry.cases > 0), "{report}");
    }
    let of = |id: &str| report.of("steps").find(|e| e.subject == id).unwrap();
    assert_eq!(of("sound on lfmim (paper)").cases, 1);
    assert!(of("sound on majority (default)").skipped[0].contains("closed form"));
}

#[test]
fn one_that_does_nothing_must_say_so_and_one_that_says_so_must_do_nothing() {
    refused::<IDLE>(
        "steps",
        "gradients changed in two steps: false; announced: true",
    );
    refused::<SLY>(
        "steps",
        "gradients changed in two steps: true; announced: false",
    );
}

#[test]
fn broken_gradients_and_lost_states_are_named() {
    refused::<NAN>("steps", "NaN");
    refused::<DROPS>("steps", "lose their gradient");
    refused::<FORGETS>("state", "ends with other weights");
}
