//! FAGM: fine-grained adaptive gradient modulation.
//!
//! Source: `[Wang2023Fagm]` (ACM MM 2023) and its code (`iLearn-Lab/MM23-FAGM`); the code is the definition
//! here, since the paper's equations could not be compared.
//!
//! | what | function |
//! |---|---|
//! | which modules read one modality alone | [`decouple`] |
//! | `score_m = loss without m - loss` | [`Fagm::evaluate`] |
//! | `c_m = (r_m - min r)^γ`, `r = softmax(0.1 score)` | [`rules::coefficients`] |
//! | `Δ_m = δ_m - max_{j≠m} δ_j`, `δ_m = mean |A - A without m|` | [`rules::dominance`] |
//! | penalised neurons | [`rules::penalty_mask`], [`rules::penalty`] |
//! | gradients of specific modules times `1 - c_m`, of shared ones times the penalty | [`Fagm::modulate`] |
//!
//! Quirks of the code are keys of the configuration. What it does in any case: a module is rated by its
//! inputs; with padded sequences these include the padding; the pass with all modalities has dropout and
//! those without one have none; networks that run over time are left alone where they are shared
//! (`rnn_mode`).
//!
//! Deviation: the released scripts hook the leaf modules of five models. Here every layer of every model
//! reports what it reads; the rows of several calls count together, except in the five models, where the
//! last call counts as in the scripts. The multi-head attention's joint projection is a module too.

mod decouple;
pub mod rules;

pub use decouple::{Modules, Watched, decouple};

use super::{
    GradientMap, ModelView, Notes, PluginConfigOf, PluginInfo, Start, Step, StepInfo, TrainPlugin,
    in_order, refuse,
};
use crate::error::Result;
use burn::module::ParamId;
use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use trimer_core::{Modality, ModalityMap, ModalitySet};
use trimer_nn::config::check_range;
use trimer_nn::models::{ModelOutput, Owner};
use trimer_nn::probe::Inputs;
use trimer_nn::weights::to_vec;

static INFO: PluginInfo = PluginInfo {
    id: "fagm",
    title: "Fine-grained Adaptive Gradient Modulation",
    citation: "Wang et al., Unlocking the Power of Multimodal Learning for Emotion Recognition in Conversation, ACM MM 2023",
    presets: &["clean", "published"],
    summary: "weakens the gradients of the modality that contributes most, by module and by neuron",
};

/// What happens to the input weights of networks over time that several modalities reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RnnMode {
    /// Nothing: what the released scripts do, since a comparison in them is never true.
    #[default]
    Skip,
    /// Their columns are weakened like those of a linear layer: what was evidently meant. Needs the slow
    /// path of DialogueRNN.
    Ih,
}

/// Which erasure tells the contributions apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Variant {
    /// `late` for models in which modalities meet in the classifier alone, else `inputs`.
    #[default]
    Auto,
    /// Features are zeroed at the input, and layers are watched.
    Inputs,
    /// Representations are zeroed before the classifier; whole encoders are weakened.
    Late,
}

/// Configuration of [`Fagm`]. Presets: `clean`, and `published` with the quirks of the released scripts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FagmConfig {
    /// Fraction of the neurons that a modality dominates which is penalised ("rate").
    pub beta: f64,
    /// Exponent of the coefficients: the smaller, the closer to one are all but the weakest.
    pub gamma: f64,
    /// Steps between evaluations; in between, the last coefficients and penalties hold.
    pub tau: usize,
    /// Factor of the scores inside the softmax.
    pub score_scale: f64,
    /// Where contributions are measured.
    pub variant: Variant,
    /// What happens to shared networks over time.
    pub rnn_mode: RnnMode,
    /// Quirk: inputs count as equal when their sums are, which is what the scripts compare.
    pub signed_sum: bool,
    /// Quirk: weights that are stored input by output are weakened by output where the widths agree, as
    /// those of the graph convolutions in the scripts.
    pub output_columns: bool,
    /// Quirk: in `biddin` with three modalities, the text's mask is that of the vision.
    pub stale_delta: bool,
}

impl PluginConfigOf for FagmConfig {
    const INFO: &'static PluginInfo = &INFO;

    fn preset(name: &str) -> Option<Self> {
        let clean = Self {
            beta: 0.5,
            gamma: 0.5,
            tau: 1,
            score_scale: 0.1,
            variant: Variant::Auto,
            rnn_mode: RnnMode::Skip,
            signed_sum: false,
            output_columns: false,
            stale_delta: false,
        };
        match name {
            "clean" => Some(clean),
            "published" => Some(Self {
                signed_sum: true,
                output_columns: true,
                stale_delta: true,
                ..clean
            }),
            _ => None,
        }
    }

    fn check(&self) -> Result<()> {
        check_range("fagm.beta", self.beta, 0.0, 1.0)?;
        check_range("fagm.gamma", self.gamma, 1e-6, 100.0)?;
        check_range("fagm.tau", self.tau as f64, 1.0, 1e9)?;
        Ok(check_range("fagm.score_scale", self.score_scale, 0.0, 1e3)?)
    }

    fn build(&self) -> Box<dyn TrainPlugin> {
        Box::new(Fagm::new(self.clone()))
    }
}

/// The plug-in.
#[derive(Debug, Clone)]
pub struct Fagm {
    cfg: FagmConfig,
    modules: Modules,
    /// The modules whose inputs are watched in a step.
    wanted: BTreeSet<ParamId>,
    coefficients: ModalityMap<f32>,
    /// By the name of a shared module.
    penalties: BTreeMap<String, Vec<f32>>,
}

/// What is kept between the steps of a run.
#[derive(Serialize, Deserialize)]
struct Saved {
    modules: Modules,
    coefficients: ModalityMap<f32>,
    penalties: BTreeMap<String, Vec<f32>>,
}

impl Fagm {
    /// Before its start.
    pub fn new(cfg: FagmConfig) -> Self {
        Self {
            cfg,
            modules: Modules::default(),
            wanted: BTreeSet::new(),
            coefficients: ModalityMap::default(),
            penalties: BTreeMap::new(),
        }
    }

    /// Which modules read one modality alone, and which are shared.
    pub const fn modules(&self) -> &Modules {
        &self.modules
    }

    /// How much each modality is weakened since the last evaluation.
    pub const fn coefficients(&self) -> &ModalityMap<f32> {
        &self.coefficients
    }

    /// The factor of each input neuron of the shared modules since the last evaluation, by module.
    pub const fn penalties(&self) -> &BTreeMap<String, Vec<f32>> {
        &self.penalties
    }

    fn is_late(&self, host: &dyn ModelView) -> bool {
        match self.cfg.variant {
            Variant::Inputs => false,
            Variant::Late => true,
            Variant::Auto => host.late().is_some_and(|late| late.purely_late),
        }
    }

    /// Finds the ids of the watched modules' parameters.
    fn resolve(&mut self, host: &dyn ModelView) -> std::result::Result<(), String> {
        let ids = host.parameter_ids();
        self.wanted.clear();
        for module in &self.modules.shared {
            let watched = match self.cfg.rnn_mode {
                RnnMode::Skip => !module.recurrent,
                RnnMode::Ih => true,
            };
            if !watched || module.params.iter().all(|(_, axis)| axis.is_none()) {
                continue;
            }
            let (first, _) = &module.params[0];
            let (id, _) = ids
                .get(first)
                .ok_or_else(|| format!("the model has no parameter `{first}`"))?;
            self.wanted.insert(*id);
        }
        Ok(())
    }

    /// Measures what each modality contributes, and where.
    fn evaluate(&mut self, step: &Step<'_>, notes: &mut Notes<'_>) {
        let used: Vec<Modality> = in_order(step.modalities).collect();
        let mut scores = ModalityMap::<Option<f64>>::default();
        let mut inputs = ModalityMap::<Option<Inputs>>::default();
        let late = self.modules.late.then(|| step.host.late()).flatten();
        for &modality in &used {
            let loss = if let Some(late) = &late {
                let mut output = step.output.clone();
                output.logits.multimodal = late.without(modality, &output.features);
                step.loss_of(&output)
            } else {
                let erased = ModalitySet::from_iter([modality]);
                let erased = step.without(erased, Some(self.wanted.clone()));
                *inputs.get_mut(modality) = Some(erased.inputs);
                erased.loss
            };
            *scores.get_mut(modality) = Some(loss - step.loss);
        }
        self.coefficients = rules::coefficients(&scores, self.cfg.score_scale, self.cfg.gamma);
        for &modality in &used {
            let name = modality.as_str();
            let score = (*scores.get(modality)).unwrap_or(f64::NAN);
            notes.put("score", name, score);
        }
        self.penalise(step, &inputs, notes);
    }

    /// The penalty of each neuron of the shared modules.
    fn penalise(
        &mut self,
        step: &Step<'_>,
        without: &ModalityMap<Option<Inputs>>,
        notes: &mut Notes<'_>,
    ) {
        let stale = self.cfg.stale_delta
            && step.host.model_info().id == "biddin"
            && step.modalities == ModalitySet::ALL;
        let mut hits = ModalityMap::<usize>::default();
        let ids = step.host.parameter_ids();
        self.penalties.clear();
        for module in &self.modules.shared {
            let Some(all) = module.seen(step.inputs, &ids) else {
                continue;
            };
            let delta = ModalityMap::from_fn(|m| {
                let erased = without.get(m).as_ref()?.of(all.params.first()?.0)?;
                decouple::mean_difference(&all.inputs, &erased.inputs)
            });
            let masks = ModalityMap::from_fn(|m| {
                rules::dominance(&delta, m).map(|d| rules::penalty_mask(&d, self.cfg.beta))
            });
            for (modality, mask) in masks.iter() {
                let n = mask.iter().flatten().filter(|hit| **hit).count();
                *hits.get_mut(modality) += n;
            }
            let penalty = rules::penalty(&masks, &self.coefficients, stale);
            self.penalties.insert(module.name.clone(), penalty);
        }
        for modality in in_order(step.modalities) {
            if !self.modules.late {
                notes.put("neurons", modality.as_str(), *hits.get(modality) as f64);
            }
        }
    }

    /// Weakens the gradients.
    fn modulate(&self, step: &Step<'_>, gradients: &mut GradientMap) {
        for modality in in_order(step.modalities) {
            let keep = 1.0 - self.coefficients.get(modality);
            for module in self.modules.specific.get(modality) {
                for (path, _) in &module.params {
                    scale(gradients, path, keep);
                }
            }
        }
        let shapes = step.host.parameter_ids();
        for module in &self.modules.shared {
            let Some(penalty) = self.penalties.get(&module.name) else {
                continue;
            };
            for (path, axis) in &module.params {
                let (Some(axis), Some((_, shape))) = (*axis, shapes.get(path)) else {
                    continue;
                };
                let axis = self.penalised_axis(axis, shape, penalty.len());
                scale_along(gradients, path, shape, axis, penalty);
            }
        }
    }

    /// Where a penalty of `width` acts on a parameter whose inputs run along `axis`.
    fn penalised_axis(&self, axis: usize, shape: &[usize], width: usize) -> usize {
        let last = shape.len().saturating_sub(1);
        if self.cfg.output_columns && shape.get(last) == Some(&width) {
            last
        } else {
            axis
        }
    }
}

impl TrainPlugin for Fagm {
    fn info(&self) -> &'static PluginInfo {
        &INFO
    }

    fn check(&self, host: &dyn ModelView, _: &ModelOutput, start: &Start<'_>) -> Result<()> {
        if start.modalities.len() < 2 {
            return refuse(
                &INFO,
                host.model_info(),
                &format!(
                    "it weighs modalities against one another, and the model reads `{}` alone",
                    start.modalities
                ),
                "give the model a second modality, or leave the plug-in away",
            );
        }
        if self.cfg.variant == Variant::Late && host.late().is_none() {
            return refuse(
                &INFO,
                host.model_info(),
                "`fagm.variant=late` needs a linear classifier on one representation per modality",
                "use `fagm.variant=inputs`",
            );
        }
        Ok(())
    }

    fn start(&mut self, start: &Start<'_>) {
        self.modules = if self.is_late(start.host) {
            late_modules(start.host)
        } else {
            decouple(
                start.host,
                start.batch,
                start.modalities,
                self.cfg.signed_sum,
            )
        };
        // The paths come from this very model.
        let _ = self.resolve(start.host);
    }

    fn wants_inputs(&self, at: StepInfo) -> BTreeSet<ParamId> {
        if at.step.is_multiple_of(self.cfg.tau) {
            self.wanted.clone()
        } else {
            BTreeSet::new()
        }
    }

    fn after_backward(
        &mut self,
        step: &Step<'_>,
        gradients: &mut GradientMap,
        notes: &mut Notes<'_>,
    ) {
        if step.at.step.is_multiple_of(self.cfg.tau) {
            self.evaluate(step, notes);
        }
        for modality in in_order(step.modalities) {
            let coefficient = f64::from(*self.coefficients.get(modality));
            notes.put("coefficient", modality.as_str(), coefficient);
        }
        self.modulate(step, gradients);
    }

    fn state(&self) -> serde_json::Value {
        let saved = Saved {
            modules: self.modules.clone(),
            coefficients: self.coefficients,
            penalties: self.penalties.clone(),
        };
        serde_json::to_value(saved).unwrap_or_default()
    }

    fn load_state(
        &mut self,
        state: serde_json::Value,
        host: &dyn ModelView,
    ) -> std::result::Result<(), String> {
        let saved: Saved = serde_json::from_value(state).map_err(|e| e.to_string())?;
        self.modules = saved.modules;
        self.coefficients = saved.coefficients;
        self.penalties = saved.penalties;
        self.resolve(host)
    }
}

/// The encoders of a model whose modalities meet in the classifier: each is one specific module.
fn late_modules(host: &dyn ModelView) -> Modules {
    let late = host.late();
    let in_encoder = |path: &str| late.as_ref().is_none_or(|late| (late.in_encoder)(path));
    let mut specific = ModalityMap::<Vec<Watched>>::default();
    for path in host.parameter_ids().into_keys() {
        if let Owner::Modality(modality) = host.owner(&path)
            && in_encoder(&path)
        {
            specific.get_mut(modality).push(Watched {
                name: path.clone(),
                params: vec![(path, None)],
                recurrent: false,
            });
        }
    }
    Modules {
        late: true,
        specific,
        shared: Vec::new(),
    }
}

/// `g ← k g`.
pub(super) fn scale(gradients: &mut GradientMap, path: &str, factor: f32) {
    if let Some(gradient) = gradients.get_mut(path) {
        *gradient = gradient.clone() * factor;
    }
}

/// `g ← g ⊙ factors` along an axis; where the axis is longer than `factors`, the rest stays as it is.
fn scale_along(
    gradients: &mut GradientMap,
    path: &str,
    shape: &[usize],
    axis: usize,
    factors: &[f32],
) {
    let (Some(gradient), Some(&len)) = (gradients.get_mut(path), shape.get(axis)) else {
        return;
    };
    if factors.len() > len || factors.iter().all(|f| *f == 1.0) {
        return;
    }
    let outer: usize = shape[..axis].iter().product();
    let inner: usize = shape[axis + 1..].iter().product();
    let mut factors = factors.to_vec();
    factors.resize(len, 1.0);
    let factors = TensorData::new(factors, [1, len, 1]);
    let factors = Tensor::<3>::from_data(factors, &gradient.device());
    let scaled = gradient.clone().reshape([outer, len, inner]) * factors;
    *gradient = scaled.reshape([outer * len * inner]);
}

/// The values of several tensors on the host, read at once.
fn read(tensors: Vec<Tensor<1>>) -> Vec<f32> {
    to_vec(Tensor::cat(tensors, 0))
}
