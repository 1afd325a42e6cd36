//! What every registered model must hold: one test per check of `trimer::conformance::CHECKS`, which walks
//! all presets of all models. A new model is tested without a line here. What depends on files of this
//! repository, pages and recipes, is asked for below.

use trimer::conformance::CHECKS;
use trimer::models::models;
use trimer::train::Overrides;

/// Runs the check of that name on every preset of every model.
#[track_caller]
fn walk(id: &str) {
    let check = CHECKS.iter().find(|check| check.id == id).unwrap();
    let report = check.walk().unwrap_or_else(|faults| panic!("{faults}"));
    let presets: usize = models().iter().map(|info| info.presets.len()).sum();
    assert_eq!(report.entries.len(), presets);
    // Whatever a model may be excused from, some model must be put to the test.
    let cases: usize = report.entries.iter().map(|entry| entry.cases).sum();
    assert!(cases > 0, "`{id}` looked at nothing");
    println!("{report}");
}

/// One test per check, and one that none is missing.
macro_rules! walks {
    ($($id:ident),+ $(,)?) => {
        $(#[test] fn $id() { walk(stringify!($id)); })+

        #[test]
        fn every_check_has_its_test() {
            let ids: Vec<&str> = CHECKS.iter().map(|check| check.id).collect();
            assert_eq!(ids, [$(stringify!($id)),+]);
        }
    };
}

walks!(
    entry,
    settings,
    uninitialised,
    outputs,
    gradients,
    padding_content,
    padding_length,
    batch_order,
    weights_file,
    overfits,
    repeats,
    modality_sets,
    missing_modalities,
    owners,
    reported_inputs,
    each_plugin,
    all_plugins,
    plugin_states,
);

/// Every recipe must be accepted as it is, and every model must have its page.
#[test]
fn recipes_are_accepted_and_every_model_has_its_page() {
    use trimer::corpus::{Corpus, synth};
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for info in models() {
        let page = root.join(format!("docs/models/{}.md", info.id));
        assert!(page.is_file(), "{} has no page", info.id);
    }
    let dir = tempfile::tempdir().unwrap();
    let spec = synth::SynthSpec {
        n_utterances: 40,
        n_speakers: 10,
        ..synth::SynthSpec::preset("small").unwrap()
    };
    let path = synth::write(&spec, &dir.path().join("c"), &mut |_, _| {}).unwrap();
    let corpus = Corpus::open(path).unwrap();
    let mut found = 0;
    for folder in std::fs::read_dir(root.join("recipes")).unwrap() {
        for file in std::fs::read_dir(folder.unwrap().path()).unwrap() {
            let file = file.unwrap().path();
            let id = file.file_stem().unwrap().to_string_lossy().into_owned();
            let mut table: toml::Table =
                toml::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
            // The corpus here has classes and no scores.
            if let Some(toml::Value::Table(data)) = table.get_mut("data") {
                data.remove("task");
            }
            let resolved = Overrides::from_table(table)
                .and_then(|overrides| overrides.resolve(Some(&id), &corpus, vec![1]));
            assert!(
                resolved.is_ok(),
                "{}: {}",
                file.display(),
                resolved.unwrap_err()
            );
            found += 1;
        }
    }
    assert!(found > 0);
}
