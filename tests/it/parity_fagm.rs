//! FAGM against its published scripts: three steps of training with modulation for each host.

use crate::fixture::{Fixture, assert_close, max_abs, names};
use crate::hosts;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use trimer::nn::burn::module::Module;
use trimer::nn::burn::tensor::{Device, activation::log_softmax};
use trimer::nn::models::{AnyModel, FusionModel};
use trimer::nn::weights::{gradients, load_state_dict, parameter_ids, state_dict, to_vec};
use trimer::nn::{ModelOutput, Recorder, Task};
use trimer::train::optim::{Optimizer, OptimizerConfig, Rule};
use trimer::train::plugins::fagm::{Fagm, FagmConfig, RnnMode, rules};
use trimer::train::plugins::{Chain, GradientMap, Pass, PluginConfigOf, StepInfo};
use trimer::{HeadMap, ModalityMap};

const OUTPUT: f32 = 1e-4;
const GRADIENT: f32 = 1e-3;
const GRADIENT_FLOOR: f32 = 5e-6;
/// Names and order of the modalities in the fixtures.
const ORDER: [(&str, &str); 3] = [("audio", "audio"), ("vision", "visual"), ("text", "text")];

/// A fixture's number as it was written, `0.3` and not `0.30000001`.
fn number(value: f32) -> f64 {
    value.to_string().parse().unwrap()
}

#[test]
#[cfg_attr(not(trimer_fixtures), ignore = "needs TRIMER_SHARED or TRIMER_GOLDEN")]
fn the_rules_agree() {
    for name in names("fagm_units") {
        let fixture = Fixture::open(&name);
        let mut checked = BTreeMap::<&str, usize>::new();
        for i in 0.. {
            let Some(input) = fixture.tensors.get(&format!("penalty{i}.input")) else {
                break;
            };
            let rate = number(fixture.get(&format!("penalty{i}.rate")).values[0]);
            let mask = rules::penalty_mask(&input.values, rate);
            let ours: Vec<f32> = mask.iter().map(|hit| f32::from(u8::from(*hit))).collect();
            let reference = &fixture.get(&format!("penalty{i}.mask")).values;
            assert_eq!(&ours, reference, "{name}: penalty{i}, rate {rate}");
            *checked.entry("penalty").or_default() += 1;
        }
        for i in 0.. {
            let Some(scores) = fixture.tensors.get(&format!("coefficient{i}.score")) else {
                break;
            };
            let gamma = number(fixture.get(&format!("coefficient{i}.gamma")).values[0]);
            let at = |j: usize| scores.values.get(j).map(|s| f64::from(*s));
            let scores = ModalityMap {
                audio: at(0),
                vision: at(1),
                text: at(2),
            };
            let c = rules::coefficients(&scores, 0.1, gamma);
            let reference = &fixture.get(&format!("coefficient{i}.c")).values;
            let ours = [c.audio, c.vision, c.text][..reference.len()].to_vec();
            let what = format!("{name}: coefficient{i}");
            assert_close(&what, &ours, reference, OUTPUT, 1e-4);
            *checked.entry("coefficient").or_default() += 1;
        }
        println!("{name}: {checked:?}");
        assert_eq!(checked.len(), 2, "{name}: nothing to check");
    }
}

/// The configuration of a trace, with the quirks of the scripts.
fn config(fixture: &Fixture, rnn_mode: RnnMode) -> FagmConfig {
    let at = |key: &str| fixture.info["modulation"][key].as_f64().unwrap();
    FagmConfig {
        beta: at("beta"),
        gamma: at("gamma"),
        tau: at("tau") as usize,
        score_scale: at("softmax_temperature_factor"),
        rnn_mode,
        ..FagmConfig::preset("published").unwrap()
    }
}

fn optimizer(fixture: &Fixture) -> (Optimizer, f64) {
    let about = &fixture.info["optimizer"];
    assert_eq!(about["kind"], "Adam");
    let at = |value: &Value| value.as_f64().unwrap();
    let cfg = OptimizerConfig {
        rule: Rule::Adam,
        weight_decay: at(&about["weight_decay"]),
        beta1: at(&about["betas"][0]),
        beta2: at(&about["betas"][1]),
        eps: at(&about["eps"]),
        ..OptimizerConfig::default()
    };
    (Optimizer::new(cfg), at(&about["lr"]))
}

/// The name in the reference of the module that a parameter belongs to.
fn module_key(model: &AnyModel, path: &str) -> String {
    let key = model.reference().key(path);
    key.rsplit_once('.').unwrap().0.to_owned()
}

/// Modules of the state by their reference's name, and the path of one parameter.
fn modules(model: &AnyModel, list: &Value) -> BTreeMap<String, String> {
    let modules = list.as_array().unwrap().iter();
    modules
        .map(|module| {
            let path = module["params"][0][0].as_str().unwrap();
            let name = module["name"].as_str().unwrap().to_owned();
            (module_key(model, path), name)
        })
        .collect()
}

fn check_modules(fixture: &Fixture, model: &AnyModel, state: &Value) {
    let name = &fixture.name;
    let kept = |list: &Value| -> BTreeSet<String> {
        let names = list.as_array().unwrap().iter();
        names
            .map(|name| name.as_str().unwrap().to_owned())
            .filter(|name| !model.reference().is_unused(&format!("{name}.weight")))
            .collect()
    };
    let own = |list: &Value| -> BTreeSet<String> { modules(model, list).into_keys().collect() };
    if fixture.info["specific_modules"].is_null() {
        assert_eq!(state["modules"]["late"], true, "{name}: late fusion");
        return;
    }
    for (ours, theirs) in ORDER {
        let expected = kept(&fixture.info["specific_modules"][theirs]);
        let found = own(&state["modules"]["specific"][ours]);
        assert_eq!(found, expected, "{name}: specific to {ours}");
    }
    let expected = kept(&fixture.info["shared_modules"]);
    assert_eq!(own(&state["modules"]["shared"]), expected, "{name}: shared");
}

fn check_gradients(fixture: &Fixture, model: &AnyModel, found: &GradientMap, prefix: &str) {
    let theirs = fixture.with_prefix(prefix);
    let largest = theirs.values().map(|t| max_abs(&t.values));
    let largest = largest.fold(0.0, f32::max);
    let mut seen = 0;
    for (path, grad) in found {
        let key = model.reference().key(path);
        let what = format!("{}: {prefix}{key}", fixture.name);
        let reference = theirs.get(&key).unwrap_or_else(|| panic!("no {what}"));
        let floor = GRADIENT_FLOOR * largest;
        let ours = to_vec(grad.clone());
        assert_close(&what, &ours, &reference.values, GRADIENT, floor);
        seen += 1;
    }
    let wanted = theirs
        .iter()
        .filter(|(key, grad)| !(model.reference().is_unused(key) && max_abs(&grad.values) == 0.0));
    assert_eq!(seen, wanted.count(), "{}: number of {prefix}", fixture.name);
}

/// Coefficients and penalties; with `all`, those of networks over time too.
fn check_state(fixture: &Fixture, model: &AnyModel, state: &Value, step: usize, all: bool) {
    let what = format!("{}: step {step}", fixture.name);
    let coefficient =
        |(ours, _): (&str, &str)| state["coefficients"][ours].as_f64().unwrap() as f32;
    let ours = ORDER.map(coefficient);
    let reference = &fixture.get(&format!("step{step}.coefficient")).values;
    assert_close(
        &format!("{what}: coefficients"),
        &ours,
        reference,
        OUTPUT,
        1e-5,
    );
    let prefix = format!("step{step}.pen.");
    let mut theirs = fixture.with_prefix(&prefix);
    theirs.retain(|key, _| !model.reference().is_unused(&format!("{key}.weight")));
    let shared = modules(model, &state["modules"]["shared"]);
    let mut seen = 0;
    for (key, reference) in &theirs {
        let name = shared
            .get(key)
            .unwrap_or_else(|| panic!("{what}: no module {key}"));
        let Some(ours) = state["penalties"].get(name) else {
            continue;
        };
        let ours = ours.as_array().unwrap().iter();
        let ours: Vec<f32> = ours.map(|x| x.as_f64().unwrap() as f32).collect();
        assert_close(
            &format!("{what}: {key}"),
            &ours,
            &reference.values,
            OUTPUT,
            0.0,
        );
        seen += 1;
    }
    if all {
        assert_eq!(seen, theirs.len(), "{what}: number of penalties");
    } else {
        assert_eq!(
            seen,
            state["penalties"].as_object().unwrap().len(),
            "{what}: penalties"
        );
    }
}

fn check_output(fixture: &Fixture, output: &ModelOutput, batch: &trimer::nn::Batch, step: usize) {
    let what = format!("{}: output of step {step}", fixture.name);
    let reference = fixture.get(&format!("step{step}.output"));
    let logits = output.logits.multimodal.clone().unwrap();
    let [rows, classes] = logits.dims();
    // Some hosts give a row for padding too, by conversation and turn.
    let expected: Vec<f32> = if reference.shape[0] == rows {
        reference.values.clone()
    } else {
        let positions = batch.conversations.as_ref().unwrap().positions();
        let row = |row: usize| reference.values[row * classes..(row + 1) * classes].to_vec();
        positions.into_iter().flat_map(row).collect()
    };
    // They are logarithms of probabilities, or scores.
    let sum: f32 = expected[..classes].iter().map(|x| x.exp()).sum();
    let ours = if (sum - 1.0).abs() < 1e-4 {
        log_softmax(logits, 1)
    } else {
        logits
    };
    assert_close(&what, &to_vec(ours), &expected, OUTPUT, 0.0);
}

/// Runs a trace. With `replay`, every step starts from the reference's parameters and only coefficients
/// and penalties are compared: those of networks over time do not act in the reference.
fn run(fixture: &Fixture, rnn_mode: RnnMode, replay: bool) {
    let device = Device::flex().autodiff();
    let name = &fixture.name;
    let input = hosts::input(fixture, "step0.");
    let n_classes = fixture.usize("/constructor/n_classes");
    let task = Task::Classification { n_classes };
    let model = hosts::config(fixture)
        .build(&input, task, 0, &device)
        .unwrap();
    let mut model = load_state_dict(model, &fixture.with_prefix("param.")).unwrap();
    let fagm = Fagm::new(config(fixture, rnn_mode));
    let mut chain = Chain::of(vec![Box::new(fagm)], input.modalities(), task);
    let first = hosts::batch(fixture, "step0.", &device);
    chain.check(&model, &first).unwrap();
    chain.start(&model, &first);
    check_modules(fixture, &model, &chain.state()[0]["state"]);
    let (mut optimizer, lr) = optimizer(fixture);
    let columns = HeadMap::from_fn(|head| head);
    let steps = (0..100).take_while(|s| fixture.has(&format!("step{s}.loss")));
    let mut n = 0;
    for step in steps {
        n += 1;
        let before = format!("step{}.param_after.", step - step.min(1));
        if replay && step > 0 {
            let mut state = state_dict(&model);
            for (key, tensor) in fixture.with_prefix(&before) {
                if let Some(old) = state.get_mut(&key) {
                    old.values = tensor.values;
                }
            }
            model = load_state_dict(model, &state).unwrap();
        }
        let batch = hosts::batch(fixture, &format!("step{step}."), &device);
        let at = StepInfo {
            step,
            global_step: step as u64,
            ..StepInfo::default()
        };
        let mut rec = Recorder::train(step as u64);
        let (output, inputs) = chain.watch(at, || model.forward(&batch, &mut rec));
        let loss = hosts::loss(
            fixture,
            output.logits.multimodal.clone().unwrap(),
            &batch.labels.multimodal,
        );
        check_output(fixture, &output, &batch, step);
        let value = to_vec(loss.clone());
        let reference = &fixture.get(&format!("step{step}.loss")).values;
        assert_close(
            &format!("{name}: loss {step}"),
            &value,
            reference,
            OUTPUT,
            0.0,
        );
        let mut grads = gradients(&model, loss.backward());
        if !replay {
            check_gradients(fixture, &model, &grads, &format!("step{step}.grad_before."));
        }
        let seen = Pass {
            batch: &batch,
            output: &output,
            loss: f64::from(value[0]),
            inputs: &inputs,
            at,
            columns: &columns,
            criterion: &|output, batch| {
                let logits = output.logits.multimodal.clone()?;
                Some(hosts::loss(fixture, logits, &batch.labels.multimodal))
            },
        };
        chain.after_backward(&model, seen, &mut grads);
        let state = chain.state()[0]["state"].take();
        check_state(fixture, &model, &state, step, rnn_mode == RnnMode::Ih);
        if replay {
            continue;
        }
        check_gradients(fixture, &model, &grads, &format!("step{step}.grad_after."));
        model = optimizer.step(model, grads, lr);
        let after = fixture.with_prefix(&format!("step{step}.param_after."));
        for (key, tensor) in state_dict(&model) {
            let what = format!("{name}: {key} after step {step}");
            // Where a gradient is rounding noise, Adam makes a step of its sign; see the fixture.
            assert_close(&what, &tensor.values, &after[&key].values, OUTPUT, 2e-5);
        }
    }
    println!(
        "{name}: {n} steps, {} parameters",
        parameter_ids(&model).len()
    );
    assert!(n > 0, "{name}: no step");
}

/// Runs every trace, so that all that fail are named.
fn run_all(rnn_mode: RnnMode, replay: bool) {
    let (mut failed, mut ran) = (Vec::new(), 0);
    for name in names("fagm_trace_") {
        let fixture = Fixture::open(&name);
        if replay && fixture.info["shared_modules"].is_null() {
            continue;
        }
        ran += 1;
        if std::panic::catch_unwind(|| run(&fixture, rnn_mode, replay)).is_err() {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
    assert!(ran > 0, "no trace to replay");
}

#[test]
#[cfg_attr(not(trimer_fixtures), ignore = "needs TRIMER_SHARED or TRIMER_GOLDEN")]
fn three_steps_of_every_host_agree() {
    run_all(RnnMode::Skip, false);
}

/// The penalties of recurrent modules, which the scripts compute and never apply.
#[test]
#[cfg_attr(not(trimer_fixtures), ignore = "needs TRIMER_SHARED or TRIMER_GOLDEN")]
fn the_penalties_of_networks_over_time_agree() {
    run_all(RnnMode::Ih, true);
}

/// Evaluation, which the model goes through for the erased passes, draws no dropout and leaves the
/// weights as they are.
#[test]
#[cfg_attr(not(trimer_fixtures), ignore = "needs TRIMER_SHARED or TRIMER_GOLDEN")]
fn the_model_is_left_as_it_is() {
    for name in names("fagm_trace_mmgcn") {
        let fixture = Fixture::open(&name);
        let device = Device::flex().autodiff();
        let input = hosts::input(&fixture, "step0.");
        let task = Task::Classification {
            n_classes: fixture.usize("/constructor/n_classes"),
        };
        let model = hosts::config(&fixture)
            .build(&input, task, 0, &device)
            .unwrap();
        let before = state_dict(&model);
        let fagm = Fagm::new(config(&fixture, RnnMode::Skip));
        let mut chain = Chain::of(vec![Box::new(fagm)], input.modalities(), task);
        chain.start(&model.valid(), &hosts::batch(&fixture, "step0.", &device));
        assert_eq!(state_dict(&model), before);
    }
}
