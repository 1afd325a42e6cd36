//! What every registered plug-in must hold with every registered model: one test per check of
//! `trimer::conformance::PLUGIN_CHECKS`. What is particular to the plug-ins of this repository is asked for
//! below.

use std::collections::BTreeMap;
use trimer::Hint;
use trimer::conformance::{PLUGIN_CHECKS, Subject, accepts};
use trimer::nn::burn::tensor::Device;
use trimer::plugins::{Chain, PluginConfig, plugins};

/// Runs the check of that name on every plug-in.
#[track_caller]
fn walk(id: &str) {
    let check = PLUGIN_CHECKS.iter().find(|check| check.id == id).unwrap();
    let report = check.walk().unwrap_or_else(|faults| panic!("{faults}"));
    for info in plugins() {
        let of = |subject: &str| subject.split(' ').next() == Some(info.id);
        let entries = report.entries.iter().filter(|entry| of(&entry.subject));
        let cases: usize = entries.map(|entry| entry.cases).sum();
        assert!(cases > 0, "`{id}` looked at nothing of {}", info.id);
    }
    println!("{report}");
}

/// One test per check, and one that none is missing.
macro_rules! walks {
    ($($id:ident),+ $(,)?) => {
        $(#[test] fn $id() { walk(stringify!($id)); })+

        #[test]
        fn every_check_has_its_test() {
            let ids: Vec<&str> = PLUGIN_CHECKS.iter().map(|check| check.id).collect();
            assert_eq!(ids, [$(stringify!($id)),+]);
        }
    };
}

walks!(settings, steps, state);

fn config(id: &str, sets: &str) -> PluginConfig {
    PluginConfig::resolve(id, &toml::from_str(sets).unwrap()).unwrap()
}

/// FAGM needs two modalities and steps; OGM-GE needs what one modality says alone.
#[test]
fn plugins_fit_where_they_should() {
    let mut fits = BTreeMap::<&str, Vec<&str>>::new();
    for subject in Subject::hosts().unwrap() {
        let id = subject.info().id;
        for info in plugins() {
            if accepts(info.id, &subject).unwrap() {
                fits.entry(info.id).or_default().push(id);
            }
        }
        let several = subject.modalities().len() > 1 && !subject.is_closed_form();
        assert_eq!(fits["fagm"].contains(&id), several, "{id}");
    }
    for id in ["dialoguegcn", "mmgcn", "mm_dfn", "lfmim", "mlf_dnn"] {
        assert!(fits["ogm_ge"].contains(&id), "{id}: {:?}", fits["ogm_ge"]);
    }
    for id in ["dialoguernn", "ef_transformer", "tfn"] {
        assert!(!fits["ogm_ge"].contains(&id), "{id}: {:?}", fits["ogm_ge"]);
    }
}

#[test]
fn a_state_of_something_else_is_refused() {
    let hosts = Subject::hosts().unwrap();
    let subject = hosts.iter().find(|s| s.info().id == "mmgcn").unwrap();
    let task = subject.main_task();
    let model = subject.build(task, &Device::flex()).unwrap();
    let configs = [config("fagm", "")];
    let mut active = Chain::new(&configs, subject.input().modalities(), task);
    for (state, word) in [
        ("null", "no state"),
        ("[]", "0 plug-ins"),
        (r#"[{"id": "watch", "state": null}]"#, "watch"),
        (r#"[{"id": "fagm", "state": {"modules": 3}}]"#, "fagm"),
    ] {
        let state = serde_json::from_str(state).unwrap();
        let error = active.load_state(state, &model).unwrap_err();
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn typos_get_a_hint_and_values_out_of_range_are_refused() {
    let error = PluginConfig::resolve("fagn", &toml::Table::new()).unwrap_err();
    assert!(error.hint().unwrap().contains("fagm"));
    let error = PluginConfig::resolve("fagm", &toml::from_str("bet = 1").unwrap()).unwrap_err();
    assert!(error.hint().unwrap().contains("fagm.beta"));
    for bad in [
        "beta = 1.5",
        "gamma = 0.0",
        "tau = 0",
        "tau = -1",
        "rnn_mode = \"all\"",
    ] {
        assert!(
            PluginConfig::resolve("fagm", &toml::from_str(bad).unwrap()).is_err(),
            "{bad}"
        );
    }
    for bad in ["alpha = -1", "starts = 5\nends = 4"] {
        assert!(
            PluginConfig::resolve("ogm_ge", &toml::from_str(bad).unwrap()).is_err(),
            "{bad}"
        );
    }
}

/// Every plug-in has a page that names its keys.
#[test]
fn every_plugin_has_its_page() {
    for info in plugins() {
        let page = format!("{}/docs/plugins/{}.md", env!("CARGO_MANIFEST_DIR"), info.id);
        let text = std::fs::read_to_string(&page).unwrap_or_else(|e| panic!("{page}: {e}"));
        for key in toml::Table::try_from(config(info.id, "")).unwrap().keys() {
            assert!(
                key == "id" || text.contains(&format!("`{key}`")),
                "{page}: `{key}`"
            );
        }
    }
}
