//! Training steps with plug-ins: what they do to gradients, and that they go on after an interruption.

use super::report::{Fault, ensure};
use super::subject::{HEADS, NO_HEAD, Subject, not_finite, objective};
use crate::optim::{Optimizer, OptimizerConfig};
use crate::plugins::{
    Chain, GradientMap, Notes, PluginConfig, PluginInfo, Step, StepInfo, TrainPlugin,
};
use crate::step::{Learner, StepSettings};
use burn::tensor::Device;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use trimer_nn::models::{AnyModel, FusionModel, Owner, Task};
use trimer_nn::recorder::Recorder;
use trimer_nn::weights::{map_parameters, parameters, to_vec};

const ACTS: &str = "`TrainPlugin::after_backward`";

/// Keeps a copy of the gradients as they are at its place in the chain.
#[derive(Debug, Default, Clone)]
struct Tape(Rc<RefCell<GradientMap>>);

static TAPE: PluginInfo = PluginInfo {
    id: "tape",
    title: "Tape",
    citation: "",
    presets: &["default"],
    summary: "keeps a copy of the gradients",
};

impl TrainPlugin for Tape {
    fn info(&self) -> &'static PluginInfo {
        &TAPE
    }

    fn after_backward(&mut self, _: &Step<'_>, gradients: &mut GradientMap, _: &mut Notes<'_>) {
        self.0.borrow_mut().clone_from(gradients);
    }
}

/// A training step as the trainer takes it.
fn step(learner: &mut Learner, subject: &Subject, task: Task, n: usize) -> Result<(), Fault> {
    let batch = subject.batch(1 + n as u64, 0.0, &Device::flex().autodiff());
    let at = StepInfo {
        step: n,
        global_step: n as u64,
        seed: 7 + n as u64,
        ..StepInfo::default()
    };
    let settings = StepSettings {
        lr: 1e-3,
        clip_norm: 0.0,
    };
    let rec = &mut Recorder::train(at.seed);
    let taken = learner.step(&objective(task), &batch, at, rec, settings);
    let taken = taken.map_err(|e| Fault::new(ACTS, e.to_string()))?;
    ensure!(taken.is_some(), HEADS, "{}", NO_HEAD);
    Ok(())
}

/// Two steps: gradients stay finite, none comes or goes, they change if and only if a plug-in is there to
/// change them, and what was done is noted.
pub(super) fn two_steps(
    configs: &[PluginConfig],
    subject: &Subject,
    task: Task,
    model: &AnyModel,
) -> Result<(), Fault> {
    let ids: BTreeSet<&str> = configs.iter().map(|c| c.info().id).collect();
    let what = format!("{ids:?} on {}, {task:?}", subject.name());
    let mut chain: Vec<Box<dyn TrainPlugin>> = configs.iter().map(PluginConfig::build).collect();
    let acts = chain.iter().any(|plugin| plugin.changes_gradients());
    let tapes = [Tape::default(), Tape::default()];
    chain.insert(0, Box::new(tapes[0].clone()));
    chain.push(Box::new(tapes[1].clone()));
    let mut learner = Learner {
        model: model.clone(),
        optimizer: Optimizer::new(OptimizerConfig::default()),
        plugins: Chain::of(chain, subject.input().modalities(), task),
    };
    let first = subject.batch(1, 0.0, &Device::flex());
    learner.plugins.start(model, &first);
    let mut changed = false;
    for n in 0..2 {
        step(&mut learner, subject, task, n)?;
        let [before, after] = [tapes[0].0.take(), tapes[1].0.take()];
        ensure!(
            before.keys().eq(after.keys()),
            ACTS,
            "{what}: parameters lose their gradient or get one"
        );
        for (path, gradient) in after {
            let gradient = to_vec(gradient);
            let bad = not_finite(&gradient);
            ensure!(
                bad.is_none(),
                ACTS,
                "{what}: the gradient of `{path}` has the value {bad:?}"
            );
            changed |= before.get(&path).map(|g| to_vec(g.clone())) != Some(gradient);
        }
    }
    // Where one modality owns all that is owned, there is nothing to balance.
    let balances = owners(model).len() != 1;
    ensure!(
        changed == acts || (acts && !balances),
        "`TrainPlugin::after_backward` and `changes_gradients`; `PluginConfigOf::trial` where it only acts later",
        "{what}: gradients changed in two steps: {changed}; announced: {acts}"
    );
    noted(&what, &ids, &learner.plugins)?;
    for (path, value) in weights(&learner.model) {
        let bad = not_finite(&value);
        ensure!(bad.is_none(), ACTS, "{what}: `{path}` became {bad:?}");
    }
    Ok(())
}

/// The modalities that own a parameter.
fn owners(model: &AnyModel) -> BTreeSet<Owner> {
    let all = parameters(model).into_keys();
    let owners = all.map(|path| model.properties().owner_of(&path));
    owners.filter(|owner| *owner != Owner::Shared).collect()
}

/// Each step has a line, and in it each plug-in the shares of the modalities' gradients.
fn noted(what: &str, ids: &BTreeSet<&str>, chain: &Chain) -> Result<(), Fault> {
    let lines = chain.pending();
    ensure!(
        lines.len() == 2,
        ACTS,
        "{what}: {} of 2 steps noted",
        lines.len()
    );
    for line in lines {
        let mut plugins: BTreeMap<&str, _> = (line.plugins.iter())
            .map(|(id, noted)| (id.as_str(), noted))
            .collect();
        plugins.remove(TAPE.id);
        ensure!(
            plugins.keys().eq(ids.iter()),
            "`TrainPlugin::info`, which must be the registry entry",
            "{what}: {:?} noted something",
            plugins.keys()
        );
        for (id, quantities) in plugins {
            let shares = quantities.get("share_after");
            let sum: f64 = shares.into_iter().flat_map(BTreeMap::values).sum();
            ensure!(
                (sum - 1.0).abs() < 1e-9,
                "`Notes::put`: `share_after` is noted for every plug-in and must not be overwritten",
                "{what}: the shares of {id} sum to {sum}"
            );
        }
    }
    Ok(())
}

fn weights(model: &AnyModel) -> BTreeMap<String, Vec<f32>> {
    let all = parameters(model).into_iter();
    all.map(|(path, (_, value))| (path, to_vec(value)))
        .collect()
}

/// A training that was interrupted after every step ends with the weights of one that was not.
pub(super) fn resumes(
    configs: &[PluginConfig],
    subject: &Subject,
    model: &AnyModel,
) -> Result<(), Fault> {
    let ids: Vec<&str> = configs.iter().map(|c| c.info().id).collect();
    let (whole, pieces) = (
        four_steps(configs, subject, model, false)?,
        four_steps(configs, subject, model, true)?,
    );
    let differ = whole.iter().find(|(path, a)| pieces.get(*path) != Some(*a));
    ensure!(
        differ.is_none(),
        "`TrainPlugin::state` and `load_state`: everything that later steps depend on, and ids of parameters by path, since they change",
        "{ids:?} on {}: a training that was interrupted after every step ends with other weights, `{}` among them",
        subject.name(),
        differ.map_or("", |(path, _)| path.as_str())
    );
    Ok(())
}

fn four_steps(
    configs: &[PluginConfig],
    subject: &Subject,
    model: &AnyModel,
    interrupted: bool,
) -> Result<BTreeMap<String, Vec<f32>>, Fault> {
    const LOOK: &str = "`TrainPlugin::load_state`, which must take what `state` gave";
    let (device, task) = (Device::flex().autodiff(), subject.main_task());
    let chain = || Chain::new(configs, subject.input().modalities(), task);
    let mut learner = Learner {
        model: model.clone(),
        optimizer: Optimizer::new(OptimizerConfig::default()),
        plugins: chain(),
    };
    learner
        .plugins
        .start(model, &subject.batch(1, 0.0, &Device::flex()));
    for n in 0..4 {
        if interrupted && n > 0 {
            // Another object of the same model has other ids of parameters.
            let text = learner.plugins.state().to_string();
            let trained = parameters(&learner.model);
            let fresh = subject.build(task, &device)?;
            learner.model = map_parameters(fresh, |path, value| {
                trained.get(path).map_or(value, |(_, old)| old.clone())
            });
            learner.plugins = chain();
            let state = serde_json::from_str(&text)
                .map_err(|e| Fault::new(LOOK, format!("the state is not read again: {e}")))?;
            (learner.plugins.load_state(state, &learner.model))
                .map_err(|e| Fault::new(LOOK, format!("its own state is refused: {e}")))?;
        }
        step(&mut learner, subject, task, n)?;
    }
    Ok(weights(&learner.model))
}
