//! One file that holds everything needed to continue: weights, optimizer, position, selection.

use crate::config::{Select, TrainConfig};
use crate::data::Normaliser;
use crate::error::Result;
use crate::schedule::Shape;
use crate::step::{Learner, StepLosses};
use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use trimer_core::{HeadMap, Modality};
use trimer_nn::batch::InputSpec;
use trimer_nn::error::NnError;
use trimer_nn::models::FusionModel;
use trimer_nn::weights::{
    NamedTensor, Stored, load_state_dict, load_stored, parameters, read_file, read_stored,
    state_dict, write_safetensors,
};

/// Where a run stands.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Epochs that are complete.
    pub epoch: usize,
    /// Steps of the current epoch that are done.
    pub step: usize,
    /// Steps done in all.
    pub global_step: u64,
    /// Sums over the current epoch: loss per head, weighted total, and utterances seen.
    pub loss_sums: HeadMap<f64>,
    /// Heads that had a loss in the current epoch, as far as this process knows: a loss may well be zero.
    #[serde(skip)]
    pub seen_heads: HeadMap<bool>,
    /// Sums over the current epoch: the model's own losses by name.
    #[serde(default)]
    pub aux_sums: BTreeMap<String, f64>,
    /// Sum of the weighted totals.
    pub total_sum: f64,
    /// Utterances seen in the current epoch.
    pub seen: usize,
    /// Best value of the selecting metric so far, with its epoch (from 1).
    pub best: Option<(f64, usize)>,
    /// Epochs since the best.
    pub bad_epochs: usize,
    /// What the plateau schedule has come to.
    pub plateau_factor: f64,
    /// Epochs without improvement as the plateau schedule counts them.
    pub plateau_bad: usize,
    /// Training is over: only selection's result remains to be evaluated.
    pub finished: bool,
}

impl Progress {
    /// Counts an epoch that is over, and tells whether its weights are to be kept. `value` is that of the
    /// selecting metric, if it has one.
    pub fn end_epoch(&mut self, cfg: &TrainConfig, value: Option<f64>, higher: bool) -> bool {
        self.epoch += 1;
        let better = |new: f64, old: f64| if higher { new > old } else { new < old };
        // An infinite value would not survive the checkpoint's JSON.
        let improved =
            value.filter(|v| v.is_finite() && self.best.is_none_or(|(old, _)| better(*v, old)));
        // Where the metric has no value, as a correlation with constant predictions, the latest
        // epoch is kept until one has.
        let is_best = improved.is_some() || cfg.select == Select::Last || self.best.is_none();
        if let Some(v) = improved {
            self.best = Some((v, self.epoch));
            self.bad_epochs = 0;
            self.plateau_bad = 0;
        } else {
            self.bad_epochs += 1;
            self.plateau_bad += 1;
        }
        if cfg.schedule.shape == Shape::Plateau && self.plateau_bad > cfg.schedule.patience {
            self.plateau_factor *= cfg.schedule.factor;
            self.plateau_bad = 0;
        }
        let stop_early =
            cfg.patience > 0 && self.bad_epochs >= cfg.patience && cfg.select == Select::Best;
        self.finished = self.epoch >= cfg.epochs || stop_early;
        is_best
    }

    /// Empties the sums for the next epoch.
    pub fn begin_epoch(&mut self) {
        self.step = 0;
        self.seen = 0;
        self.loss_sums = HeadMap::default();
        self.seen_heads = HeadMap::default();
        self.aux_sums.clear();
        self.total_sum = 0.0;
    }

    /// Mean loss per head over the epoch so far; `None` for heads that the model does not have.
    pub fn mean_losses(&self) -> HeadMap<Option<f64>> {
        HeadMap::from_fn(|h| {
            let sum = *self.loss_sums.get(h);
            // Where an epoch is continued, the sum of what came before tells of a head too.
            (*self.seen_heads.get(h) || sum != 0.0).then(|| sum / self.seen.max(1) as f64)
        })
    }

    /// Counts a step over `n` utterances.
    pub fn add_step(&mut self, losses: &StepLosses, n: usize) {
        for (head, loss) in losses.heads.iter() {
            if let Some(loss) = loss {
                *self.seen_heads.get_mut(head) = true;
                *self.loss_sums.get_mut(head) += loss * n as f64;
            }
        }
        for (name, loss) in &losses.aux {
            *self.aux_sums.entry((*name).to_owned()).or_default() += loss * n as f64;
        }
        self.total_sum += losses.total * n as f64;
        self.step += 1;
        self.global_step += 1;
        self.seen += n;
    }
}

/// Writes a checkpoint that training can continue from.
///
/// # Errors
/// When the file cannot be written; an older one is then still whole.
pub fn save(
    path: &Path,
    learner: &Learner,
    normaliser: &Normaliser,
    progress: &Progress,
) -> Result<()> {
    let mut tensors = BTreeMap::new();
    insert(&mut tensors, "model", state_dict(&learner.model));
    insert(&mut tensors, "optimizer", learner.optimizer.state());
    insert(&mut tensors, "normaliser", normaliser_state(normaliser));
    let progress = serde_json::to_string(progress).map_err(|e| NnError::Weights {
        path: path.to_owned(),
        reason: e.to_string(),
    })?;
    let mut about = vec![("progress", progress)];
    if !learner.plugins.is_empty() {
        about.push(("plugins", learner.plugins.state().to_string()));
    }
    Ok(write_safetensors(path, &tensors, &about)?)
}

/// Writes the weights alone, under the reference's names, with the normalisation.
///
/// # Errors
/// When the file cannot be written; an older one is then still whole.
pub fn save_weights<M: FusionModel>(
    path: &Path,
    model: &M,
    normaliser: &Normaliser,
    about: &[(&str, String)],
) -> Result<()> {
    let mut tensors = state_dict(model);
    insert(&mut tensors, "normaliser", normaliser_state(normaliser));
    Ok(write_safetensors(path, &tensors, about)?)
}

/// Reads what [`save_weights`] wrote. Every parameter is replaced; `model` may be
/// [uninitialised](trimer_nn::models::ModelConfig::build_uninitialised).
///
/// # Errors
/// When the file cannot be read or belongs to another model.
pub fn load_weights<M: FusionModel>(
    path: &Path,
    model: M,
    input: &InputSpec,
) -> Result<(M, Normaliser)> {
    let (mut tensors, _) = read_stored(path)?;
    let bad = |reason| NnError::Weights {
        path: path.to_owned(),
        reason,
    };
    let normaliser = take(&mut tensors, "normaliser");
    let normaliser = normaliser_of(normaliser, Stored::values, input).map_err(bad)?;
    let model = load_stored(model, &tensors).map_err(bad)?;
    Ok((model, normaliser))
}

/// Reads what [`save`] wrote into a learner of the same configuration; moments go to `device`.
///
/// # Errors
/// When the file cannot be read or belongs to another model. The learner is then of no use.
pub fn load(
    path: &Path,
    learner: &mut Learner,
    input: &InputSpec,
    device: &Device,
) -> Result<(Normaliser, Progress)> {
    let (mut tensors, metadata) = read_file(path)?;
    let bad = |reason: String| NnError::Weights {
        path: path.to_owned(),
        reason,
    };
    let progress = metadata
        .get("progress")
        .ok_or_else(|| bad("it holds no training state".into()))?;
    let progress: Progress = serde_json::from_str(progress).map_err(|e| bad(e.to_string()))?;
    let normaliser = take(&mut tensors, "normaliser");
    let normaliser = normaliser_of(normaliser, |t| t.values.clone(), input).map_err(bad)?;
    let weights = take(&mut tensors, "model");
    learner.model = load_state_dict(learner.model.clone(), &weights).map_err(bad)?;
    let state = take(&mut tensors, "optimizer");
    check_optimizer(&learner.model, &state).map_err(bad)?;
    learner.optimizer.load_state(&state, device);
    let state = match metadata.get("plugins") {
        Some(text) => serde_json::from_str(text).map_err(|e| bad(e.to_string()))?,
        None => serde_json::Value::Null,
    };
    let Learner { model, plugins, .. } = learner;
    plugins.load_state(state, model).map_err(bad)?;
    Ok((normaliser, progress))
}

fn insert(
    all: &mut BTreeMap<String, NamedTensor>,
    prefix: &str,
    some: BTreeMap<String, NamedTensor>,
) {
    all.extend(some.into_iter().map(|(k, v)| (format!("{prefix}.{k}"), v)));
}

/// Removes the tensors whose name starts with `prefix.` and gives them without it.
fn take<T>(all: &mut BTreeMap<String, T>, prefix: &str) -> BTreeMap<String, T> {
    let start = format!("{prefix}.");
    let (some, rest) = std::mem::take(all)
        .into_iter()
        .partition(|(k, _)| k.starts_with(&start));
    *all = rest;
    let some: BTreeMap<String, T> = some;
    some.into_iter()
        .map(|(k, v)| (k[start.len()..].to_owned(), v))
        .collect()
}

fn normaliser_state(normaliser: &Normaliser) -> BTreeMap<String, NamedTensor> {
    let mut all = BTreeMap::new();
    for (modality, pair) in normaliser.shift_scale.iter() {
        if let Some((shift, scale)) = pair {
            for (name, values) in [("shift", shift), ("scale", scale)] {
                let tensor = NamedTensor {
                    shape: vec![values.len()],
                    values: values.clone(),
                };
                all.insert(format!("{modality}.{name}"), tensor);
            }
        }
    }
    all
}

/// Refuses moments that do not belong to a parameter of the model.
fn check_optimizer<M: FusionModel>(
    model: &M,
    state: &BTreeMap<String, NamedTensor>,
) -> std::result::Result<(), String> {
    let sizes: BTreeMap<String, usize> = parameters(model)
        .into_iter()
        .map(|(path, (shape, _))| (path, shape.iter().product()))
        .collect();
    let misfit = state
        .iter()
        .find(|(key, tensor)| match key.split_once('.') {
            Some(("first" | "second", path)) => sizes.get(path) != Some(&tensor.values.len()),
            _ => false,
        });
    match misfit {
        Some((key, tensor)) => Err(format!(
            "`optimizer.{key}` has {} values, which is not what its parameter has",
            tensor.values.len()
        )),
        None => Ok(()),
    }
}

fn normaliser_of<T>(
    mut state: BTreeMap<String, T>,
    values: impl Fn(&T) -> Vec<f32>,
    input: &InputSpec,
) -> std::result::Result<Normaliser, String> {
    let mut normaliser = Normaliser::default();
    for modality in Modality::ALL {
        let mut part = |name: &str| {
            state
                .remove(&format!("{modality}.{name}"))
                .map(|t| values(&t))
        };
        if let (Some(shift), Some(scale)) = (part("shift"), part("scale")) {
            let wanted = *input.dims.get(modality);
            if let Some(found) = [shift.len(), scale.len()]
                .into_iter()
                .find(|found| wanted != Some(*found))
            {
                return Err(format!(
                    "`normaliser.{modality}` is {found} wide, the model reads {}",
                    wanted.map_or_else(|| "none".to_owned(), |w| w.to_string())
                ));
            }
            *normaliser.shift_scale.get_mut(modality) = Some((shift, scale));
        }
    }
    Ok(normaliser)
}
