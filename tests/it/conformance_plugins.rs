//! What every registered plug-in must hold with every registered model. The tests walk both registries.

use crate::conformance::{
    Subject, batch, build, input, is_fitted_at_once, reads, subjects, tasks, with_a_surplus_key,
};
use std::collections::BTreeMap;
use trimer::models::{FusionModel, Task, models};
use trimer::nn::Recorder;
use trimer::nn::burn::tensor::Device;
use trimer::nn::models::AnyModel;
use trimer::nn::weights::{gradients, parameters, to_vec};
use trimer::plugins::{Chain, GradientMap, Pass, PluginConfig, StepInfo, plugins};
use trimer::train::TrainError;
use trimer::train::config::TrainConfig;
use trimer::train::objective::Objective;
use trimer::train::optim::{Optimizer, OptimizerConfig};
use trimer::{HeadMap, Hint};

/// Plug-ins that change no gradient.
const ONLY_WATCH: [&str; 1] = ["watch"];

fn config(id: &str, sets: &str) -> PluginConfig {
    PluginConfig::resolve(id, &toml::from_str(sets).unwrap()).unwrap()
}

fn chain(configs: &[PluginConfig], subject: &Subject, task: Task) -> Chain {
    Chain::new(configs, input(subject).modalities(), task)
}

/// One step of training as the trainer takes it; gives the gradients before and after.
fn step(
    model: &mut AnyModel,
    (chain, optimizer): (&mut Chain, &mut Optimizer),
    subject: &Subject,
    task: Task,
    n: usize,
) -> [GradientMap; 2] {
    let objective = Objective::plain(&TrainConfig::default(), task);
    let batch = batch(subject, 1 + n as u64, 0.0, &Device::flex().autodiff());
    let at = StepInfo {
        step: n,
        global_step: n as u64,
        seed: 7 + n as u64,
        ..StepInfo::default()
    };
    let mut rec = Recorder::train(at.seed);
    let (output, inputs) = chain.watch(at, || model.forward(&batch, &mut rec));
    let total = objective.of(&output, &batch).unwrap();
    let loss = f64::from(to_vec(total.clone())[0]);
    assert!(loss.is_finite(), "{}: loss {loss}", subject.name);
    let mut grads = gradients(model, total.backward());
    let before = grads.clone();
    let seen = Pass {
        batch: &batch,
        output: &output,
        loss,
        inputs: &inputs,
        at,
        columns: &HeadMap::from_fn(|head| head),
        criterion: &|output, batch| objective.of(output, batch),
    };
    chain.after_backward(model, seen, &mut grads);
    let after = grads.clone();
    *model = optimizer.step(model.clone(), grads, 1e-3);
    [before, after]
}

fn weights(model: &AnyModel) -> BTreeMap<String, Vec<f32>> {
    let all = parameters(model).into_iter();
    all.map(|(path, (_, value))| (path, to_vec(value)))
        .collect()
}

/// The default preset of every model.
fn hosts() -> Vec<Subject> {
    let mut all = subjects();
    all.dedup_by_key(|subject| subject.info.id);
    all
}

/// The plug-ins that take this model, each alone and all together.
fn chains(subject: &Subject, task: Task, model: &AnyModel) -> Vec<Vec<PluginConfig>> {
    let any = batch(subject, 1, 0.0, &Device::flex());
    let mut fitting = Vec::new();
    for info in plugins() {
        let sets = if info.id == "fagm" {
            "tau = 2\nbeta = 1.0"
        } else {
            ""
        };
        let configs = vec![config(info.id, sets)];
        match chain(&configs, subject, task).check(model, &any) {
            Ok(()) => fitting.extend(configs),
            Err(error @ TrainError::Plugin { .. }) => {
                let text = error.to_string();
                assert!(
                    text.contains(info.id) && text.contains(subject.info.id),
                    "{text}"
                );
                assert!(error.hint().is_some(), "{text}");
            }
            Err(other) => panic!("{}: {other}", subject.name),
        }
    }
    let all = fitting.clone();
    fitting
        .into_iter()
        .map(|one| vec![one])
        .chain([all])
        .collect()
}

#[test]
fn every_plugin_takes_a_step_with_every_model_or_says_why_not() {
    for subject in hosts() {
        let device = Device::flex().autodiff();
        for task in tasks(&subject) {
            let start = build(&subject, task, &device);
            if is_fitted_at_once(&subject) {
                assert_eq!(chains(&subject, task, &start), [vec![]], "{}", subject.name);
                continue;
            }
            let mut chains = chains(&subject, task, &start);
            if task != tasks(&subject)[0] {
                // For other losses all plug-ins together do.
                chains = chains.pop().into_iter().collect();
            }
            for configs in chains {
                let ids: Vec<&str> = configs.iter().map(|c| c.info().id).collect();
                let what = format!("{} with {ids:?}", subject.name);
                let mut model = start.clone();
                let mut optimizer = Optimizer::new(OptimizerConfig::default());
                let mut active = chain(&configs, &subject, task);
                active.start(&model, &batch(&subject, 1, 0.0, &device));
                let mut changed = false;
                for n in 0..2 {
                    let rules = (&mut active, &mut optimizer);
                    let [before, after] = step(&mut model, rules, &subject, task, n);
                    assert!(before.keys().eq(after.keys()), "{what}: other gradients");
                    for (path, gradient) in &after {
                        let finite = to_vec(gradient.clone()).iter().all(|x| x.is_finite());
                        assert!(finite, "{what}: gradient of {path}");
                        changed |= to_vec(gradient.clone()) != to_vec(before[path].clone());
                    }
                }
                // One that changes nothing must be known as such; what all noted is asked for below.
                assert_eq!(
                    changed,
                    ids.iter().any(|id| !ONLY_WATCH.contains(id)),
                    "{what}: gradients changed"
                );
                assert!(!active.pending().is_empty(), "{what}: nothing was noted");
                for line in active.pending() {
                    assert!(
                        line.plugins.keys().eq(ids
                            .iter()
                            .copied()
                            .collect::<std::collections::BTreeSet<_>>())
                    );
                    for (id, quantities) in &line.plugins {
                        let sum: f64 = quantities["share_after"].values().sum();
                        assert!(
                            (sum - 1.0).abs() < 1e-9,
                            "{what}: shares of {id} sum to {sum}"
                        );
                    }
                }
                let values = weights(&model);
                assert!(values.values().flatten().all(|x| x.is_finite()), "{what}");
                println!(
                    "{what}: {} modules",
                    active.state()[0]["state"]["modules"]["shared"]
                        .as_array()
                        .map_or(0, Vec::len)
                );
            }
        }
    }
}

/// FAGM needs two modalities and steps; OGM-GE needs what one modality says alone.
#[test]
fn plugins_fit_where_they_should() {
    let mut fits = BTreeMap::<&str, Vec<&str>>::new();
    for subject in hosts() {
        let task = Task::Classification { n_classes: 3 };
        let model = build(&subject, task, &Device::flex());
        let several = reads(&subject).len() > 1 && !is_fitted_at_once(&subject);
        for configs in chains(&subject, task, &model) {
            if let [only] = &configs[..] {
                fits.entry(only.info().id)
                    .or_default()
                    .push(subject.info.id);
            }
        }
        let fagm = fits
            .get("fagm")
            .is_some_and(|ids| ids.contains(&subject.info.id));
        assert_eq!(fagm, several, "{}", subject.name);
    }
    for id in ["dialoguegcn", "mmgcn", "mm_dfn", "lfmim", "mlf_dnn"] {
        assert!(fits["ogm_ge"].contains(&id), "{id}: {:?}", fits["ogm_ge"]);
    }
    for id in ["dialoguernn", "ef_transformer", "tfn"] {
        assert!(!fits["ogm_ge"].contains(&id), "{id}: {:?}", fits["ogm_ge"]);
    }
    println!("{fits:?} of {} models", models().len());
}

/// A plug-in whose state was put back goes on as the one that was never interrupted, to the bit.
#[test]
fn states_can_be_put_back() {
    let device = Device::flex().autodiff();
    for subject in hosts() {
        if is_fitted_at_once(&subject) {
            continue;
        }
        let task = tasks(&subject)[0];
        let start = build(&subject, task, &device);
        let Some(configs) = chains(&subject, task, &start).pop() else {
            continue;
        };
        let run = |interrupted: bool| {
            let mut model = start.clone();
            let mut optimizer = Optimizer::new(OptimizerConfig::default());
            let mut active = chain(&configs, &subject, task);
            active.start(&model, &batch(&subject, 1, 0.0, &device));
            for n in 0..4 {
                if interrupted && n > 0 {
                    // Another object of the same model has other ids of parameters.
                    let text = active.state().to_string();
                    let fresh = build(&subject, task, &device);
                    model = trimer::nn::weights::map_parameters(fresh, |path, _| {
                        parameters(&model)[path].1.clone()
                    });
                    active = chain(&configs, &subject, task);
                    let state = serde_json::from_str(&text).unwrap();
                    active.load_state(state, &model).unwrap();
                }
                step(&mut model, (&mut active, &mut optimizer), &subject, task, n);
            }
            weights(&model)
        };
        assert_eq!(run(false), run(true), "{}", subject.name);
    }
}

#[test]
fn a_state_of_something_else_is_refused() {
    let subject = subjects()
        .into_iter()
        .find(|s| s.info.id == "mmgcn")
        .unwrap();
    let task = Task::Classification { n_classes: 3 };
    let model = build(&subject, task, &Device::flex());
    let mut active = chain(&[config("fagm", "")], &subject, task);
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
fn a_configuration_survives_a_file_and_unknown_keys_are_refused() {
    for info in plugins() {
        for preset in info.presets {
            let config = config(info.id, &format!("preset = \"{preset}\""));
            let text = toml::to_string(&config).unwrap();
            let back: PluginConfig = toml::from_str(&text).unwrap();
            assert_eq!(back, config, "{text}");
            let table = toml::Table::try_from(&config).unwrap();
            for (place, surplus) in with_a_surplus_key(&table) {
                let read = toml::Value::Table(surplus).try_into::<PluginConfig>();
                assert!(read.is_err(), "{}: `{place}`", info.id);
            }
        }
        let typo = toml::from_str("bet = 1").unwrap();
        assert!(PluginConfig::resolve(info.id, &typo).is_err());
        let preset = toml::from_str("preset = \"other\"").unwrap();
        assert!(PluginConfig::resolve(info.id, &preset).is_err());
    }
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
