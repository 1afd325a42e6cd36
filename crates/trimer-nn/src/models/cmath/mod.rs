//! CMATH (reconstruction): cross-modality augmented transformer with hierarchical variational distillation.
//!
//! Source: `[Zhu2024]` (arXiv 2411.10060), of which neither equations nor code were at hand. The parts and
//! their order are the paper's; their form below is ours, with sizes and training of SDT (`[Ma2024]`), the
//! closest published code. Numbers of the paper are not to be expected of it.
//!
//! | what | specification CMATH | function |
//! |---|---|---|
//! | modality reconstruction: a U-shaped network over the turns, `L_rec` | (1), (2) | [`CmathTower`] |
//! | asymmetric fusion: one modality asks, the others are never changed | (3) | [`Centre`] |
//! | variational fusion: product of experts with a standard normal prior | (4) | [`product_of_experts`] |
//! | fine and coarse classifiers, prior, two levels of distillation | (5), (6) | [`Cmath`] |
//!
//! The losses of the fine classifiers are weighted by `train.beta` like those of all unimodal heads, the
//! others by keys of the configuration.

mod config;

pub use config::CmathConfig;

use super::checks::{dim_of, sequence};
use super::{FusionModel, ModelOutput, Properties, Task};
use crate::batch::{Batch, Conversations, InputSpec};
use crate::layers::graph::rows_tensor;
use crate::layers::turns::{JOINT_ORDER, arrangement, interleaved_positions};
use crate::layers::{
    AttentionMask, Conv1d, Initializer, LayerNorm, Linear, MultiHeadAttention, dropout,
};
use crate::recorder::Recorder;
use burn::module::{Module, Param};
use burn::tensor::activation::{gelu, log_softmax, relu, sigmoid, softmax};
use burn::tensor::{Bool, Device, Tensor, TensorData};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use trimer_core::{Head, HeadMap, Modality};

/// Bounds of a logarithm of a variance.
const LOG_VAR: f64 = 8.0;

/// A convolution over the turns with a kernel of three that keeps their number.
#[derive(Module, Debug)]
pub struct TurnConv {
    /// `[d_output, d_input, 3]` inside.
    pub conv: Conv1d,
    /// `[d_output]`.
    pub bias: Param<Tensor<1>>,
}

impl TurnConv {
    fn new(d_input: usize, d_output: usize, init: &mut Initializer) -> Self {
        let bound = 1.0 / ((3 * d_input) as f64).sqrt();
        Self {
            conv: Conv1d::new(d_input, d_output, 3, init),
            bias: init.uniform([d_output], bound),
        }
    }

    /// # Shapes
    /// - `x`: `[conversation, turn, d_input]`, `real`: `[conversation, turn, 1]`
    /// - result: `[conversation, turn, d_output]`
    fn forward(&self, x: Tensor<3>, real: &Tensor<3>) -> Tensor<3> {
        let [batch, _, d_input] = x.dims();
        let edge = Tensor::zeros([batch, 1, d_input], &x.device());
        let padded = Tensor::cat(vec![edge.clone(), x * real.clone(), edge], 1);
        self.conv.forward(padded) + self.bias.val().unsqueeze()
    }
}

/// What one modality has for itself: projection, and its reconstruction from a compressed code.
#[derive(Module, Debug)]
pub struct CmathTower {
    /// `[d_model, d_features, 1]` inside.
    pub projection: Conv1d,
    /// To half the width.
    pub down1: TurnConv,
    /// To a quarter.
    pub down2: TurnConv,
    /// Back to half.
    pub up1: TurnConv,
    /// Back to the whole width.
    pub up2: TurnConv,
    /// From the code to what enters the fusion.
    pub restore: Linear,
    /// Behind the sum of code and projection.
    pub norm: LayerNorm,
}

impl CmathTower {
    fn new(d_features: usize, d: usize, init: &mut Initializer) -> Self {
        Self {
            projection: Conv1d::new(d_features, d, 1, init),
            down1: TurnConv::new(d, d / 2, init),
            down2: TurnConv::new(d / 2, d / 4, init),
            up1: TurnConv::new(d / 4, d / 2, init),
            up2: TurnConv::new(d / 2, d, init),
            restore: Linear::new(d / 4, d, init),
            norm: LayerNorm::new(d, init),
        }
    }

    /// What enters the fusion, and the squared error of the reconstruction summed over everything real.
    ///
    /// # Shapes
    /// - `x`: `[conversation, turn, d_model]`, `real`: `[conversation, turn, 1]`
    fn forward(&self, x: Tensor<3>, real: &Tensor<3>) -> (Tensor<3>, Tensor<1>) {
        let wide = relu(self.down1.forward(x.clone(), real));
        let code = relu(self.down2.forward(wide.clone(), real)); // [.., d_model / 4]
        let up = relu(self.up1.forward(code.clone(), real)) + wide;
        let rebuilt = self.up2.forward(up, real);
        let error = (rebuilt - x.clone().detach()) * real.clone();
        let z = self.norm.forward(self.restore.forward_sequence(code) + x);
        (z, (error.clone() * error).sum())
    }
}

/// The layers in which one modality is the centre and the others help.
#[derive(Module, Debug)]
pub struct Centre {
    /// From the input upwards.
    pub layers: Vec<CentreLayer>,
}

/// Self attention of the centre, its attention over each helper behind a gate, and a feed-forward part.
#[derive(Module, Debug)]
pub struct CentreLayer {
    /// Of the centre over itself.
    pub self_attn: MultiHeadAttention,
    /// Of the centre over each helper.
    pub cross_attn: Vec<MultiHeadAttention>,
    /// From own and helper's answer to the helper's gate.
    pub gates: Vec<Linear>,
    /// Behind the attentions.
    pub norm1: LayerNorm,
    /// Behind the feed-forward part.
    pub norm2: LayerNorm,
    /// `d_model -> 4 d_model`.
    pub fc1: Linear,
    /// `4 d_model -> d_model`.
    pub fc2: Linear,
}

impl CentreLayer {
    fn new(cfg: &CmathConfig, helpers: usize, init: &mut Initializer) -> Self {
        let d = cfg.d_model;
        let attention = |init: &mut Initializer| {
            MultiHeadAttention::xavier(d, cfg.n_heads, cfg.p_dropout, init)
        };
        Self {
            self_attn: attention(init),
            cross_attn: (0..helpers).map(|_| attention(init)).collect(),
            gates: (0..helpers).map(|_| Linear::new(2 * d, d, init)).collect(),
            norm1: LayerNorm::new(d, init),
            norm2: LayerNorm::new(d, init),
            fc1: Linear::new(d, 4 * d, init),
            fc2: Linear::new(4 * d, d, init),
        }
    }

    /// # Shapes
    /// - all: `[conversation, turn, d_model]`
    fn forward(
        &self,
        h: Tensor<3>,
        helpers: &[Tensor<3>],
        mask: &AttentionMask,
        p: f64,
        rec: &mut Recorder,
    ) -> Tensor<3> {
        let own = self.self_attn.forward(h.clone(), mask, rec);
        let mut help: Option<Tensor<3>> = None;
        for ((attn, gate), z) in self.cross_attn.iter().zip(&self.gates).zip(helpers) {
            let answer = attn.attend(h.clone(), z.clone(), z.clone(), mask, rec);
            let both = Tensor::cat(vec![own.clone(), answer.clone()], 2);
            let passed = sigmoid(gate.forward_sequence(both)) * answer;
            help = Some(match help {
                Some(sum) => sum + passed,
                None => passed,
            });
        }
        let mut sum = h + dropout(own, p, rec);
        if let Some(help) = help {
            sum = sum + dropout(help, p, rec);
        }
        let h = self.norm1.forward(sum);
        let hidden = gelu(self.fc1.forward_sequence(h.clone()));
        self.norm2.forward(h + self.fc2.forward_sequence(hidden))
    }
}

/// A diagonal Gaussian per utterance, `[utterance, d]` each.
#[derive(Debug, Clone)]
pub struct Gaussian {
    /// The means.
    pub mean: Tensor<2>,
    /// The logarithms of the variances.
    pub log_var: Tensor<2>,
}

impl Gaussian {
    /// `KL(self || other)`, the mean over utterances and dimensions, `[1]`.
    pub fn divergence(&self, other: &Self) -> Tensor<1> {
        let distance = self.mean.clone() - other.mean.clone();
        let spread = self.log_var.clone().exp() + distance.clone() * distance;
        let ratio = spread * other.log_var.clone().neg().exp();
        let logs = other.log_var.clone() - self.log_var.clone();
        ((logs + ratio - 1.0) * 0.5).mean()
    }

    /// `KL(self || N(0, 1))`, the mean over utterances and dimensions, `[1]`.
    pub fn divergence_from_prior(&self) -> Tensor<1> {
        let zeros = self.mean.zeros_like();
        self.divergence(&Self {
            mean: zeros.clone(),
            log_var: zeros,
        })
    }

    fn detach(self) -> Self {
        Self {
            mean: self.mean.detach(),
            log_var: self.log_var.detach(),
        }
    }
}

/// The product of Gaussians and a standard normal prior: precisions add up, means are weighted by them.
pub fn product_of_experts(experts: &[Gaussian]) -> Gaussian {
    let mut precision: Option<Tensor<2>> = None;
    let mut weighted: Option<Tensor<2>> = None;
    for expert in experts {
        let own = expert.log_var.clone().neg().exp();
        let mean = own.clone() * expert.mean.clone();
        // The prior has precision one and mean zero.
        precision = Some(precision.map_or_else(|| own.clone() + 1.0, |sum| sum + own.clone()));
        weighted = Some(weighted.map_or_else(|| mean.clone(), |sum| sum + mean.clone()));
    }
    let precision = precision.expect("the model reads two modalities at least");
    let weighted = weighted.expect("the model reads two modalities at least");
    Gaussian {
        mean: weighted / precision.clone(),
        log_var: precision.log().neg(),
    }
}

/// The model. Build it with [`ModelConfigOf::build`](super::ModelConfigOf::build) of [`CmathConfig`].
#[derive(Module, Debug)]
pub struct Cmath {
    /// Reads text only.
    pub text_tower: Option<CmathTower>,
    /// Reads audio only.
    pub audio_tower: Option<CmathTower>,
    /// Reads vision only.
    pub vision_tower: Option<CmathTower>,
    /// One row per speaker, `[n_speakers, d_model]`.
    pub speakers: Param<Tensor<2>>,
    /// One per modality, in the order audio, vision, text.
    pub centres: Vec<Centre>,
    /// To the means of each modality's distribution.
    pub means: Vec<Linear>,
    /// To the logarithms of its variances.
    pub log_vars: Vec<Linear>,
    /// One classifier per modality.
    pub fine_heads: Vec<Linear>,
    /// The classifier of the fused representation.
    pub head: Linear,
    #[module(skip)]
    order: Vec<Modality>,
    #[module(skip)]
    cfg: CmathConfig,
}

impl Cmath {
    fn new(cfg: &CmathConfig, input: &InputSpec, task: Task, init: &mut Initializer) -> Self {
        let reads = input.modalities();
        let order: Vec<Modality> = JOINT_ORDER
            .into_iter()
            .filter(|m| reads.contains(*m))
            .collect();
        let tower = |m: Modality, init: &mut Initializer| {
            reads
                .contains(m)
                .then(|| CmathTower::new(dim_of(input, m), cfg.d_model, init))
        };
        let (d, z, n) = (cfg.d_model, cfg.latent(), order.len());
        let n_speakers = input.n_speakers.unwrap_or(1);
        let layers = |init: &mut Initializer| Centre {
            layers: (0..cfg.n_layers)
                .map(|_| CentreLayer::new(cfg, n - 1, init))
                .collect(),
        };
        Self {
            text_tower: tower(Modality::Text, init),
            audio_tower: tower(Modality::Audio, init),
            vision_tower: tower(Modality::Vision, init),
            speakers: init.normal([n_speakers, d], 1.0),
            centres: (0..n).map(|_| layers(init)).collect(),
            means: (0..n).map(|_| Linear::new(d, z, init)).collect(),
            log_vars: (0..n).map(|_| Linear::new(d, z, init)).collect(),
            fine_heads: (0..n)
                .map(|_| Linear::new(d, task.n_outputs(), init))
                .collect(),
            head: Linear::new(z, task.n_outputs(), init),
            order,
            cfg: cfg.clone(),
        }
    }

    fn tower(&self, modality: Modality) -> &CmathTower {
        let tower = match modality {
            Modality::Text => &self.text_tower,
            Modality::Audio => &self.audio_tower,
            Modality::Vision => &self.vision_tower,
        };
        tower
            .as_ref()
            .expect("every modality of `order` has a tower")
    }

    /// What enters the fusion, per modality, and the loss of their reconstruction.
    fn towers(
        &self,
        batch: &Batch,
        conversations: &Conversations,
        real: &Tensor<3>,
        rec: &mut Recorder,
    ) -> (Vec<Tensor<3>>, Tensor<1>) {
        let device = real.device();
        let turns = conversations.turns();
        let d = self.cfg.d_model;
        let places = interleaved_positions(turns, d, &device);
        let spoken = self.speakers_by_turn(conversations, &device) + places;
        let mut states = Vec::with_capacity(self.order.len());
        let mut errors: Option<Tensor<1>> = None;
        for modality in &self.order {
            let tower = self.tower(*modality);
            let x = tower
                .projection
                .forward(sequence(batch, *modality).values.clone());
            let x = dropout(x + spoken.clone(), self.cfg.p_dropout, rec);
            let (z, error) = tower.forward(x, real);
            states.push(z);
            errors = Some(match errors {
                Some(sum) => sum + error,
                None => error,
            });
        }
        let errors = errors.expect("the model reads two modalities at least");
        let cells = (conversations.speakers.len().max(1) * d) as f64;
        (states, errors / cells)
    }

    /// `[conversation, turn, d_model]`; zero at padding.
    fn speakers_by_turn(&self, conversations: &Conversations, device: &Device) -> Tensor<3> {
        let shape = [conversations.lengths.len(), conversations.turns()];
        let mut rows = vec![0; shape[0] * shape[1]];
        let mut real = vec![0.0_f32; rows.len()];
        for (place, speaker) in conversations
            .positions()
            .into_iter()
            .zip(&conversations.speakers)
        {
            rows[place] = *speaker;
            real[place] = 1.0;
        }
        let taken = self.speakers.val().select(0, rows_tensor(&rows, device));
        let real = Tensor::from_data(TensorData::new(real, [rows.len(), 1]), device);
        (taken * real).reshape([shape[0], shape[1], self.cfg.d_model])
    }

    /// The weighted losses besides those of the classifiers.
    fn losses(
        &self,
        reconstruction: Tensor<1>,
        experts: &[Gaussian],
        fused: &Gaussian,
        coarse: &Tensor<2>,
        fine: &[Tensor<2>],
    ) -> Vec<(&'static str, Tensor<1>)> {
        let cfg = &self.cfg;
        let tau = cfg.temperature;
        let (teacher, teacher_logits) = if cfg.detach_teacher {
            (fused.clone().detach(), coarse.clone().detach())
        } else {
            (fused.clone(), coarse.clone())
        };
        let distribution = experts.iter().map(|expert| teacher.divergence(expert));
        let wanted = softmax(teacher_logits.clone() / tau, 1);
        let log_wanted = log_softmax(teacher_logits / tau, 1);
        let logit = fine.iter().map(|logits| {
            let surplus = log_wanted.clone() - log_softmax(logits.clone() / tau, 1);
            (wanted.clone() * surplus).sum_dim(1).mean() * (tau * tau)
        });
        let sum = |losses: &mut dyn Iterator<Item = Tensor<1>>| losses.reduce(|a, b| a + b);
        [
            (
                "reconstruction",
                cfg.lambda_reconstruction,
                Some(reconstruction),
            ),
            (
                "prior",
                cfg.lambda_prior,
                Some(fused.divergence_from_prior()),
            ),
            (
                "distribution",
                cfg.lambda_distribution,
                sum(&mut { distribution }),
            ),
            (
                "logit",
                cfg.lambda_logit,
                // Deviation: a score is no distribution that could be taught.
                sum(&mut { logit }).filter(|_| coarse.dims()[1] > 1),
            ),
        ]
        .into_iter()
        .filter(|(_, weight, _)| *weight > 0.0)
        .filter_map(|(name, weight, loss)| Some((name, loss? * weight)))
        .collect()
    }
}

impl FusionModel for Cmath {
    fn forward(&self, batch: &Batch, rec: &mut Recorder) -> ModelOutput {
        let conversations = arrangement(batch);
        let p = self.cfg.p_dropout;
        let pad_mask: Tensor<2, Bool> = sequence(batch, self.order[0]).pad_mask.clone();
        let real = pad_mask.clone().bool_not().float().unsqueeze_dim(2);
        let (z, reconstruction) = self.towers(batch, &conversations, &real, rec);
        let mask = AttentionMask {
            pad: Some(pad_mask),
            ..AttentionMask::default()
        };

        let mut logits = HeadMap::<Option<Tensor<2>>>::default();
        let mut features = HeadMap::<Option<Tensor<2>>>::default();
        let (mut experts, mut fine) = (Vec::new(), Vec::new());
        for (i, modality) in self.order.iter().enumerate() {
            let others = z.iter().enumerate().filter(|(j, _)| *j != i);
            let helpers: Vec<Tensor<3>> = others.map(|(_, z)| z.clone()).collect();
            let h = self.centres[i]
                .layers
                .iter()
                .fold(z[i].clone(), |h, layer| {
                    layer.forward(h, &helpers, &mask, p, rec)
                });
            rec.tap(&format!("{modality}_centre.out"), &h);
            let f = conversations.unpad(h); // [utterance, d_model]
            experts.push(Gaussian {
                mean: self.means[i].forward(f.clone()),
                log_var: self.log_vars[i].forward(f.clone()).clamp(-LOG_VAR, LOG_VAR),
            });
            let own = self.fine_heads[i].forward(dropout(relu(f.clone()), p, rec));
            fine.push(own.clone());
            *logits.get_mut(Head::from(*modality)) = Some(own);
            *features.get_mut(Head::from(*modality)) = Some(f);
        }

        let fused = product_of_experts(&experts);
        let coarse = if rec.is_training() {
            let noise = standard_normal(rec.next_seed(), fused.mean.dims(), &fused.mean.device());
            fused.mean.clone() + (fused.log_var.clone() * 0.5).exp() * noise
        } else {
            fused.mean.clone()
        };
        let answer = self.head.forward(coarse.clone());
        let aux_losses = self.losses(reconstruction, &experts, &fused, &answer, &fine);
        logits.multimodal = Some(answer);
        features.multimodal = Some(coarse);
        ModelOutput {
            logits,
            features,
            aux_losses,
        }
    }

    fn properties(&self) -> &dyn Properties {
        self
    }
}

impl Properties for Cmath {
    fn ignores_padding(&self) -> bool {
        true
    }
}

/// Standard normal numbers that follow from the seed.
fn standard_normal(seed: u64, shape: [usize; 2], device: &Device) -> Tensor<2> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let values: Vec<f32> = (0..shape[0] * shape[1])
        .map(|_| StandardNormal.sample(&mut rng))
        .collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::to_vec;

    fn gaussian(mean: f32, log_var: f32) -> Gaussian {
        let device = Device::flex();
        Gaussian {
            mean: Tensor::from_data([[mean]], &device),
            log_var: Tensor::from_data([[log_var]], &device),
        }
    }

    #[test]
    fn experts_make_a_surer_one() {
        // Three of variance one and the prior: a quarter, and three quarters of the mean.
        let fused =
            product_of_experts(&[gaussian(2.0, 0.0), gaussian(2.0, 0.0), gaussian(2.0, 0.0)]);
        assert!((to_vec(fused.mean)[0] - 1.5).abs() < 1e-6);
        assert!((to_vec(fused.log_var)[0].exp() - 0.25).abs() < 1e-6);
    }

    #[test]
    fn a_distribution_does_not_diverge_from_itself() {
        let a = gaussian(0.7, -1.3);
        assert!(to_vec(a.divergence(&a))[0].abs() < 1e-6);
        // ½ (σ² + μ² - 1 - ln σ²)
        let expected = 0.5 * ((-1.3_f32).exp() + 0.49 - 1.0 + 1.3);
        assert!((to_vec(a.divergence_from_prior())[0] - expected).abs() < 1e-6);
    }

    #[test]
    fn noise_is_a_function_of_its_seed() {
        let device = Device::flex();
        let draw = |seed| to_vec(standard_normal(seed, [50, 40], &device));
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        let values = draw(3);
        let mean = values.iter().sum::<f32>() / 2000.0;
        let square = values.iter().map(|x| x * x).sum::<f32>() / 2000.0;
        assert!(mean.abs() < 0.1 && (square - 1.0).abs() < 0.15);
    }
}
