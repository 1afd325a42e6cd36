//! OGM-GE: on-the-fly gradient modulation with generalisation enhancement.
//!
//! Source: `[Peng2022]` (CVPR 2022) and its code (`GeWu-Lab/OGM-GE_CVPR2022`).
//!
//! | what | function |
//! |---|---|
//! | scores of one modality alone, from the classifier's parts | [`LateFusion::alone`](trimer_nn::models::LateFusion::alone) |
//! | `s_u`, the summed probability of the true class | [`confidence`] |
//! | `ρ_u = s_u / s_w`, `k_u = 1 - tanh(α ρ_u)` where `ρ_u > 1` | [`coefficients`] |
//! | `g ← k g + ε`, `ε ~ N(0, std(g)²)` | [`OgmGe`] |
//!
//! Deviations, ours: more than two modalities, by the mean of the others; all matrices of an encoder are
//! modulated, not convolution kernels alone (`conv_only`); scores `exp(-|o - y|)` where a score is
//! learned; models whose fusion is no linear classifier but that have heads of their own for each
//! modality are rated by these.

use super::{
    GradientMap, ModelView, Notes, PluginConfigOf, PluginInfo, Start, Step, TrainPlugin, in_order,
    refuse,
};
use crate::error::Result;
use burn::tensor::{Tensor, TensorData, activation::softmax};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};
use trimer_core::{Head, HeadMap, Modality, ModalityMap};
use trimer_nn::config::check_range;
use trimer_nn::models::{LateFusion, ModelOutput, Owner, Task};
use trimer_nn::weights::to_vec;

static INFO: PluginInfo = PluginInfo {
    id: "ogm_ge",
    title: "On-the-fly Gradient Modulation with Generalization Enhancement",
    citation: "Peng et al., Balanced Multimodal Learning via On-the-fly Gradient Modulation, CVPR 2022",
    presets: &["ogm_ge", "ogm"],
    summary: "weakens the encoder of the modality that is surest of the truth, and adds noise to gradients",
};

/// Configuration of [`OgmGe`]. Presets: `ogm_ge`, and `ogm` without noise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OgmGeConfig {
    /// How strongly an imbalance acts; 0.1 for VGGSound, 0.8 for CREMA-D in the source.
    pub alpha: f64,
    /// Whether noise is added to the gradients (the GE part).
    pub noise: bool,
    /// First epoch that is modulated, from 0.
    pub starts: usize,
    /// Last epoch that is modulated, itself included.
    pub ends: usize,
    /// Only tensors with four axes, as in the released code.
    pub conv_only: bool,
}

impl PluginConfigOf for OgmGeConfig {
    const INFO: &'static PluginInfo = &INFO;

    fn preset(name: &str) -> Option<Self> {
        let ogm_ge = Self {
            alpha: 0.1,
            noise: true,
            starts: 0,
            ends: 50,
            conv_only: false,
        };
        match name {
            "ogm_ge" => Some(ogm_ge),
            "ogm" => Some(Self {
                noise: false,
                ..ogm_ge
            }),
            _ => None,
        }
    }

    fn check(&self) -> Result<()> {
        check_range("ogm_ge.alpha", self.alpha, 0.0, 100.0)?;
        check_range("ogm_ge.starts", self.starts as f64, 0.0, 1e9)?;
        Ok(check_range(
            "ogm_ge.ends",
            self.ends as f64,
            self.starts as f64,
            1e9,
        )?)
    }

    fn build(&self) -> Box<dyn TrainPlugin> {
        Box::new(OgmGe::new(self.clone()))
    }
}

/// `s_u`: the probabilities of the true classes, or the closeness to the true scores, summed over the
/// utterances that have a label.
///
/// # Shapes
/// - `logits`: `[utterance, n_outputs]`
pub fn confidence(
    logits: Tensor<2>,
    task: Task,
    labels: &[Option<u32>],
    scores: &[Option<f32>],
) -> f64 {
    let [_, n] = logits.dims();
    if task == Task::Regression {
        let values = to_vec(logits);
        let close = values.iter().zip(scores).filter_map(|(value, truth)| {
            truth.map(|truth| (-f64::from((value - truth).abs())).exp())
        });
        return close.sum();
    }
    let probabilities = to_vec(softmax(logits, 1));
    let of_truth = labels.iter().enumerate().filter_map(|(row, label)| {
        let at = row * n + (*label)? as usize;
        probabilities.get(at).map(|p| f64::from(*p))
    });
    of_truth.sum()
}

/// `ρ_u = s_u / mean of the others` and `k_u` of each modality that has a score. `[Peng2022]`
///
/// Two modalities are treated as in the released code, where a tie weakens the first of them.
pub fn coefficients(
    confidence: &ModalityMap<Option<f64>>,
    alpha: f64,
) -> ModalityMap<Option<[f64; 2]>> {
    let present: Vec<(Modality, f64)> = in_order(trimer_core::ModalitySet::ALL)
        .filter_map(|m| Some((m, (*confidence.get(m))?)))
        .collect();
    let mut all = ModalityMap::<Option<[f64; 2]>>::default();
    for (i, (modality, own)) in present.iter().enumerate() {
        let others = present.iter().filter(|(m, _)| m != modality);
        let mean = others.map(|(_, s)| s).sum::<f64>() / (present.len() - 1).max(1) as f64;
        let ratio = own / mean;
        let tie = present.len() == 2 && i == 0 && ratio >= 1.0;
        let weakened = ratio > 1.0 || tie;
        let k = if weakened {
            1.0 - (alpha * ratio.max(0.0)).tanh()
        } else {
            1.0
        };
        *all.get_mut(*modality) = Some([ratio, k]);
    }
    all
}

/// Gives the noise of a gradient: its path, its standard deviation, the number of values.
type NoiseSource = Box<dyn FnMut(&str, f64, usize) -> Vec<f32>>;

/// The plug-in.
pub struct OgmGe {
    cfg: OgmGeConfig,
    noise: Option<NoiseSource>,
}

impl std::fmt::Debug for OgmGe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OgmGe")
            .field("cfg", &self.cfg)
            .finish_non_exhaustive()
    }
}

impl OgmGe {
    /// With noise from the seed of each step.
    pub const fn new(cfg: OgmGeConfig) -> Self {
        Self { cfg, noise: None }
    }

    /// With noise from elsewhere, to repeat a recorded training.
    #[must_use]
    pub fn with_noise(mut self, noise: impl FnMut(&str, f64, usize) -> Vec<f32> + 'static) -> Self {
        self.noise = Some(Box::new(noise));
        self
    }

    /// The scores of each modality alone and the label column that supervises them.
    fn alone(
        late: Option<LateFusion>,
        output: &ModelOutput,
        columns: HeadMap<Head>,
    ) -> ModalityMap<Option<(Tensor<2>, Head)>> {
        match late {
            Some(late) => late
                .alone(&output.features)
                .map(|_, logits| logits.map(|l| (l, columns.multimodal))),
            None => ModalityMap::from_fn(|m| {
                let head = Head::from(m);
                let logits = output.logits.get(head).clone()?;
                Some((logits.without_autodiff(), *columns.get(head)))
            }),
        }
    }

    /// Whether the gradient of a parameter is modulated, and for which modality.
    fn modality_of(&self, host: &dyn ModelView, path: &str, shape: &[usize]) -> Option<Modality> {
        let matrix = if self.cfg.conv_only {
            shape.len() == 4
        } else {
            shape.len() >= 2
        };
        let in_head = path
            .split('.')
            .any(|part| part == "heads" || part == "head" || part.ends_with("_head"));
        match host.owner(path) {
            Owner::Modality(m) if matrix && !in_head => Some(m),
            _ => None,
        }
    }

    fn modulate(
        &mut self,
        step: &Step<'_>,
        gradients: &mut GradientMap,
        k: &ModalityMap<Option<[f64; 2]>>,
    ) {
        let shapes = step.host.parameter_ids();
        for (i, (path, gradient)) in gradients.iter_mut().enumerate() {
            let Some((_, shape)) = shapes.get(path) else {
                continue;
            };
            let modality = self.modality_of(step.host, path, shape);
            let Some([_, k]) = modality.and_then(|m| *k.get(m)) else {
                continue;
            };
            let scaled = gradient.clone() * k as f32;
            if !self.cfg.noise {
                *gradient = scaled;
                continue;
            }
            let values = to_vec(gradient.clone().without_autodiff());
            let deviation = standard_deviation(&values) + 1e-8;
            let noise = if let Some(source) = &mut self.noise {
                source(path, deviation, values.len())
            } else {
                let mut rng = ChaCha8Rng::seed_from_u64(step.at.seed);
                // A stream of its own for each parameter, beside those of other users.
                rng.set_stream((1 << 32) + i as u64);
                let draw = |_| {
                    let z: f64 = StandardNormal.sample(&mut rng);
                    (deviation * z) as f32
                };
                (0..values.len()).map(draw).collect()
            };
            let noise =
                Tensor::<1>::from_data(TensorData::from(noise.as_slice()), &gradient.device());
            *gradient = scaled + noise;
        }
    }
}

/// Unbiased, in f64; zero for a single value.
fn standard_deviation(values: &[f32]) -> f64 {
    let n = values.len() as f64;
    if n < 2.0 {
        return 0.0;
    }
    let mean = values.iter().map(|x| f64::from(*x)).sum::<f64>() / n;
    let squares = values.iter().map(|x| (f64::from(*x) - mean).powi(2));
    (squares.sum::<f64>() / (n - 1.0)).sqrt()
}

impl TrainPlugin for OgmGe {
    fn info(&self) -> &'static PluginInfo {
        &INFO
    }

    fn check(&self, host: &dyn ModelView, trial: &ModelOutput, start: &Start<'_>) -> Result<()> {
        let model = host.model_info();
        let other = "choose a model with one representation per modality before its classifier, for instance `dialoguegcn` or `mlf_dnn`; `fagm` works with every model of two modalities or more";
        if matches!(start.task, Task::MultiBinary { .. }) {
            return refuse(
                &INFO,
                model,
                "it is not defined for several yes/no labels",
                "predict classes or scores",
            );
        }
        let columns = HeadMap::from_fn(|head| head);
        let alone = Self::alone(host.late(), trial, columns);
        let scored: Vec<Modality> = in_order(start.modalities)
            .filter(|m| alone.get(*m).is_some())
            .collect();
        if scored.len() < 2 {
            return refuse(
                &INFO,
                model,
                "its classifier has no part, and the model no head, for each modality: what one modality alone would say is not known (early fusion)",
                other,
            );
        }
        let parameters = host.parameter_ids();
        for modality in scored {
            let has_own = parameters
                .iter()
                .any(|(path, (_, shape))| self.modality_of(host, path, shape) == Some(modality));
            if !has_own {
                let what = if self.cfg.conv_only {
                    "convolution kernel (`ogm_ge.conv_only=true`)"
                } else {
                    "matrix"
                };
                return refuse(
                    &INFO,
                    model,
                    &format!("no {what} belongs to {modality} alone"),
                    other,
                );
            }
        }
        Ok(())
    }

    fn after_backward(
        &mut self,
        step: &Step<'_>,
        gradients: &mut GradientMap,
        notes: &mut Notes<'_>,
    ) {
        let alone = Self::alone(step.host.late(), step.output, *step.columns);
        let confidence = alone.map(|m, scores| {
            let (logits, column) = scores.filter(|_| step.modalities.contains(m))?;
            let labels = step.batch.labels.get(column);
            let truths = step.batch.scores.get(column);
            Some(confidence(logits, step.task, labels, truths))
        });
        let k = coefficients(&confidence, self.cfg.alpha);
        let acts = (self.cfg.starts..=self.cfg.ends).contains(&step.at.epoch);
        for modality in in_order(step.modalities) {
            let name = modality.as_str();
            if let (Some(score), Some([ratio, k])) = (confidence.get(modality), k.get(modality)) {
                notes.put("score", name, *score);
                notes.put("ratio", name, *ratio);
                notes.put("coefficient", name, if acts { *k } else { 1.0 });
            }
        }
        if acts {
            self.modulate(step, gradients, &k);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn k(audio: f64, vision: f64, text: Option<f64>, alpha: f64) -> ModalityMap<Option<[f64; 2]>> {
        let confidence = ModalityMap {
            text,
            audio: Some(audio),
            vision: Some(vision),
        };
        coefficients(&confidence, alpha)
    }

    /// The numbers of the specification: 1 - tanh(0.2) and 1 - tanh(0.1).
    #[test]
    fn the_surer_modality_is_weakened_and_a_tie_weakens_the_first() {
        let two = k(1.0, 2.0, None, 0.1);
        let [ratio, weakened] = two.vision.unwrap();
        assert_eq!(ratio, 2.0);
        assert!((weakened - 0.802_625).abs() < 1e-6);
        assert_eq!(two.audio.unwrap()[1], 1.0);
        let tie = k(1.0, 1.0, None, 0.1);
        assert!((tie.audio.unwrap()[1] - 0.900_332).abs() < 1e-6);
        assert_eq!(tie.vision.unwrap()[1], 1.0);
    }

    /// With three, each is held against the mean of the two others: 3 / 1.5, 1 / 2.5, 2 / 2.
    #[test]
    fn three_modalities_are_held_against_the_mean_of_the_others() {
        let three = k(3.0, 1.0, Some(2.0), 0.1);
        assert_eq!(three.audio.unwrap()[0], 2.0);
        assert_eq!(three.vision.unwrap(), [0.4, 1.0]);
        assert_eq!(three.text.unwrap(), [1.0, 1.0]);
    }

    #[test]
    fn deviations_are_unbiased() {
        assert!((standard_deviation(&[1.0, 2.0, 3.0]) - 1.0).abs() < 1e-12);
        assert_eq!(standard_deviation(&[4.0]), 0.0);
    }
}
