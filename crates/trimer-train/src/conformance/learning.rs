//! Gradients, steps of an optimizer, and whether anything is learned.

use super::report::{Fault, Tally, ensure};
use super::subject::{
    HEADS, N, NO_HEAD, SEED, Subject, class_of, logits, moved, not_finite, objective, score_of,
    values, yes_or_no,
};
use crate::optim::{Optimizer, OptimizerConfig, Rule};
use crate::plugins::{Chain, StepInfo};
use crate::step::{Learner, StepSettings};
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use std::collections::BTreeMap;
use trimer_core::Head;
use trimer_nn::models::{AnyModel, FusionModel, Task};
use trimer_nn::recorder::Recorder;
use trimer_nn::weights::{gradients, is_buffer, parameter_count, parameters};

const CLOSED_FORM: &str = "the model has a closed form and no gradients";

/// Every parameter gets a gradient that is finite and, within four steps with dropout, more than zeros,
/// unless `Properties::is_idle` says that nothing depends on it; and a step of the optimizer moves all that
/// have a slope.
pub(super) fn gradients_reach(subject: &Subject, tally: &mut Tally) -> Result<(), Fault> {
    if subject.is_closed_form() {
        tally.skip(CLOSED_FORM);
        return Ok(());
    }
    let device = Device::flex().autodiff();
    for task in subject.tasks() {
        let model = subject.build_moved(task, &device)?;
        let mut all = parameters(&model);
        all.retain(|path, _| !is_buffer(path));
        let sizes = all
            .values()
            .map(|(shape, _)| shape.iter().product::<usize>());
        let (numbers, counted) = (sizes.sum::<usize>(), parameter_count(&model));
        ensure!(
            numbers == counted,
            "field names of the model: every parameter needs a path of its own",
            "of {counted} numbers that are learned, {numbers} are found by path: two parameters share one"
        );
        let reached = reached(subject, &model, task)?;
        let wrong: Vec<&String> = (all.keys())
            .filter(|path| match reached.get(*path) {
                Some(has_slope) => model.properties().is_idle(path) || !has_slope,
                None => !model.properties().is_idle(path),
            })
            .collect();
        ensure!(
            wrong.is_empty(),
            "the part of `forward` that should use these parameters; or `Properties::is_idle`",
            "{task:?}: no gradient, or zeros alone, or one though said to be idle: {wrong:?}"
        );
        moves(subject, &model, task, &all)?;
        tally.held();
    }
    Ok(())
}

/// The parameters that get a gradient, and whether it ever is more than zeros.
fn reached(
    subject: &Subject,
    model: &AnyModel,
    task: Task,
) -> Result<BTreeMap<String, bool>, Fault> {
    let device = Device::flex().autodiff();
    let mut reached = BTreeMap::new();
    // Dropout can keep a parameter out of one pass, and so can a ReLU that these weights turn off.
    for seed in 0..4 {
        let batch = subject.batch(seed, 0.0, &device);
        let mut rec = Recorder::train(seed);
        let model = moved(model.clone(), seed);
        let (_, grads) = subject.loss_and_gradients(&model, &batch, task, &mut rec)?;
        for (path, grad) in grads {
            let grad = values(&grad);
            let bad = not_finite(&grad);
            ensure!(
                bad.is_none(),
                "roots, logarithms and divisions on the way to this parameter",
                "{task:?}: the gradient of `{path}` has the value {bad:?}"
            );
            *reached.entry(path).or_insert(false) |= grad.iter().any(|g| *g != 0.0);
        }
    }
    Ok(reached)
}

/// One step of SGD changes every parameter that has a slope worth the name.
fn moves(
    subject: &Subject,
    model: &AnyModel,
    task: Task,
    before: &BTreeMap<String, (Vec<usize>, Tensor<1>)>,
) -> Result<(), Fault> {
    const LOOK: &str = "`Param` fields: the module's `map` must reach what its `visit` does";
    let batch = subject.batch(1, 0.0, &Device::flex().autodiff());
    let (_, grads) = subject.loss_and_gradients(model, &batch, task, &mut Recorder::eval())?;
    let steep = |g: &Tensor<1>| values(g).iter().any(|g| g.abs() > 1e-4);
    let moving: Vec<String> = (grads.iter())
        .filter(|(path, g)| before.contains_key(*path) && steep(g))
        .map(|(path, _)| path.clone())
        .collect();
    ensure!(
        !moving.is_empty(),
        "the way from the loss back to the parameters",
        "{task:?}: no gradient is larger than 1e-4, so nothing would move"
    );
    let cfg = OptimizerConfig {
        rule: Rule::Sgd,
        weight_decay: 0.0,
        ..OptimizerConfig::default()
    };
    let after = parameters(&Optimizer::new(cfg).step(model.clone(), grads, 0.5));
    for path in moving {
        let (old, new) = (
            &before[&path].1,
            after.get(&path).map(|(_, new)| values(new)),
        );
        ensure!(
            new.is_some_and(|new| new != values(old)),
            LOOK,
            "{task:?}: `{path}` has a slope but a step of the optimizer does not move it"
        );
    }
    Ok(())
}

/// The losses of a few steps of Adam without dropout, and the model that came out. The heads alone: what a
/// model asks for in addition may pull elsewhere.
fn fit(
    subject: &Subject,
    task: Task,
    steps: usize,
    (lr, init): (f64, u64),
) -> Result<(Vec<f32>, AnyModel), Fault> {
    let device = Device::flex().autodiff();
    let mut model = subject.build_from(task, init, &device)?;
    let batch = subject.batch(1, 0.0, &device);
    let mut optimizer = Optimizer::new(OptimizerConfig {
        weight_decay: 0.0,
        ..OptimizerConfig::default()
    });
    let objective = objective(task);
    let mut losses = Vec::new();
    for _ in 0..steps {
        let output = model.forward(&batch, &mut Recorder::eval());
        let total = objective.total(&objective.losses(&output, &batch), &[]);
        let total = total.ok_or_else(|| Fault::new(HEADS, NO_HEAD.into()))?;
        losses.extend(values(&total));
        let grads = gradients(&model, total.backward());
        model = optimizer.step(model, grads, lr);
    }
    Ok((losses, model))
}

/// A model overfits one batch of six utterances: 400 steps of Adam bring the loss below 0.35 of what it was,
/// and the multimodal head says of every utterance what it was taught.
pub(super) fn overfits(subject: &Subject, tally: &mut Tally) -> Result<(), Fault> {
    if subject.is_closed_form() {
        tally.skip(CLOSED_FORM);
        return Ok(());
    }
    let task = subject.main_task();
    let batch = subject.batch(1, 0.0, &Device::flex());
    let mut tried = Vec::new();
    // ReLUs in a row of so small a model may be dead from the start, or die of large steps.
    for (lr, init) in [(0.01, SEED), (0.002, SEED), (0.002, 4), (0.002, 5)] {
        let (losses, model) = fit(subject, task, 400, (lr, init))?;
        let [Some(first), Some(last)] = [losses.first(), losses.last()] else {
            continue;
        };
        let said = logits(&model.valid(), &batch);
        let wrong = wrong(
            task,
            said.get(&Head::Multimodal).map_or(&[][..], Vec::as_slice),
        );
        if *last < 0.35 * first && wrong == 0 {
            tally.held();
            return Ok(());
        }
        tried.push(format!(
            "seed {init} at the rate {lr}: loss {first} -> {last}, {wrong} of 6 wrong"
        ));
    }
    Err(Fault::new(
        "the way from features to logits: what is cut off, saturated, or the same for all utterances?",
        format!("it does not learn its one batch: {}", tried.join("; ")),
    ))
}

/// Utterances of which the head says something else than it was taught.
fn wrong(task: Task, said: &[f32]) -> usize {
    let best = |logits: &[f32]| {
        let places = logits.iter().enumerate();
        places.max_by(|a, b| a.1.total_cmp(b.1)).map(|(at, _)| at)
    };
    let head = Head::Multimodal;
    if said.is_empty() {
        return N;
    }
    let rows = said.chunks(task.n_outputs()).enumerate();
    rows.filter(|(row, logits)| match task {
        Task::Classification { .. } => best(logits) != Some(class_of(*row, head) as usize),
        Task::Regression => logits
            .iter()
            .any(|x| (x - score_of(*row, head)).abs() > 0.3),
        Task::MultiBinary { .. } => (logits.chunks(2).zip(yes_or_no(*row)))
            .any(|(pair, yes)| best(pair) != Some(usize::from(yes))),
    })
    .count()
}

/// Three training steps with dropout, twice from the same seed, give the same losses to the bit.
pub(super) fn repeats(subject: &Subject, tally: &mut Tally) -> Result<(), Fault> {
    if subject.is_closed_form() {
        tally.skip(CLOSED_FORM);
        return Ok(());
    }
    for task in subject.tasks() {
        let (a, b) = (train(subject, task)?, train(subject, task)?);
        ensure!(
            a == b,
            "random numbers that do not come from `Recorder::next_seed`, and sums in an order that threads decide",
            "{task:?}: the same seed gives the losses {a:?} and {b:?}"
        );
        tally.held();
    }
    Ok(())
}

/// The losses of three training steps.
fn train(subject: &Subject, task: Task) -> Result<Vec<f64>, Fault> {
    let device = Device::flex().autodiff();
    let mut learner = Learner {
        model: subject.build(task, &device)?,
        optimizer: Optimizer::new(OptimizerConfig::default()),
        plugins: Chain::default(),
    };
    let batch = subject.batch(1, 0.0, &device);
    let objective = objective(task);
    let settings = StepSettings {
        lr: 0.01,
        clip_norm: 0.0,
    };
    let mut losses = Vec::new();
    for seed in 0..3 {
        let rec = &mut Recorder::train(seed);
        let step = learner.step(&objective, &batch, StepInfo::default(), rec, settings);
        let step = step.map_err(|e| Fault::new("the loss of one step", e.to_string()))?;
        losses.extend(step.map(|losses| losses.total));
    }
    ensure!(losses.len() == 3, HEADS, "{NO_HEAD}");
    Ok(losses)
}
