//! DialogueRNN and BiDDIN against the host models of FAGM: outputs, losses, gradients.

use crate::fixture::{Fixture, assert_close, max_abs, names};
use crate::hosts;
use trimer::nn::burn::module::Module;
use trimer::nn::burn::tensor::{Device, Tensor};
use trimer::nn::losses::{CrossEntropy, Reduction};
use trimer::nn::models::FusionModel;
use trimer::nn::weights::{gradients, load_state_dict, state_dict, to_vec};
use trimer::nn::{Recorder, Task};

const OUTPUT: f32 = 1e-4;
const GRADIENT: f32 = 1e-3;
const GRADIENT_FLOOR: f32 = 2e-5;

fn check(fixture: &Fixture) {
    let device = Device::flex().autodiff();
    let name = &fixture.name;
    let n_classes = fixture.usize("/constructor/n_classes");
    let task = Task::Classification { n_classes };
    let input = hosts::input(fixture, "");
    let model = hosts::config(fixture).build(&input, task, 0, &device);
    let model = model.unwrap();
    let model = load_state_dict(model, &fixture.with_prefix("param.")).unwrap();
    let batch = hosts::batch(fixture, "", &device);

    // Rows of the reference go by conversation and turn, padding included; ours without.
    let arrangement = batch.conversations.as_ref().unwrap();
    let reference = fixture.get("output.log_prob");
    let expected: Vec<f32> = arrangement
        .positions()
        .into_iter()
        .flat_map(|row| reference.values[row * n_classes..(row + 1) * n_classes].to_vec())
        .collect();
    let log_prob =
        |logits: Tensor<2>| to_vec(trimer::nn::burn::tensor::activation::log_softmax(logits, 1));
    let eval = model.valid().forward(&batch, &mut Recorder::eval());
    let train = model.forward(&batch, &mut Recorder::eval());
    for output in [&eval, &train] {
        let ours = log_prob(output.logits.multimodal.clone().unwrap());
        assert_close(&format!("{name}: output"), &ours, &expected, OUTPUT, 0.0);
    }

    let class_weights = fixture
        .has("input.class_weights")
        .then(|| fixture.get("input.class_weights").values.clone());
    let loss = CrossEntropy {
        class_weights,
        ..CrossEntropy::default()
    }
    .forward(
        train.logits.multimodal.unwrap(),
        &batch.labels.multimodal,
        Reduction::Mean,
    );
    let value = to_vec(loss.clone());
    assert_close(
        &format!("{name}: loss"),
        &value,
        &fixture.get("loss").values,
        OUTPUT,
        0.0,
    );

    let theirs = fixture.with_prefix("grad.");
    let largest = theirs
        .values()
        .map(|t| max_abs(&t.values))
        .fold(0.0, f32::max);
    let mut seen = 0;
    for (path, grad) in gradients(&model, loss.backward()) {
        let key = model.reference().key(&path);
        let reference = theirs
            .get(&key)
            .unwrap_or_else(|| panic!("no gradient of `{key}`"));
        assert_close(
            &format!("{name}: gradient of {key}"),
            &to_vec(grad),
            &reference.values,
            GRADIENT,
            GRADIENT_FLOOR * largest,
        );
        seen += 1;
    }
    let wanted = theirs
        .iter()
        .filter(|(key, grad)| !(model.reference().is_unused(key) && max_abs(&grad.values) == 0.0));
    assert_eq!(seen, wanted.count(), "{name}: number of gradients");

    // What we write has the reference's keys, shapes and values.
    for (key, tensor) in state_dict(&model) {
        let reference = fixture.get(&format!("param.{key}"));
        assert_eq!(tensor.shape, reference.shape, "{name}: shape of {key}");
        assert_eq!(tensor.values, reference.values, "{name}: values of {key}");
    }
}

#[test]
#[cfg_attr(not(trimer_fixtures), ignore = "needs TRIMER_SHARED or TRIMER_GOLDEN")]
fn dialoguernn_agrees() {
    for name in names("fagm_dialoguernn_") {
        check(&Fixture::open(&name));
    }
}

#[test]
#[cfg_attr(not(trimer_fixtures), ignore = "needs TRIMER_SHARED or TRIMER_GOLDEN")]
fn biddin_agrees() {
    for name in names("fagm_biddin_") {
        check(&Fixture::open(&name));
    }
}
