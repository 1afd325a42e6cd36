//! What the models TFN, LMF, MLF-DNN, MLMF and MTFN have in common, in the form of the MMSA code:
//! a sub-network per modality, unimodal heads, the two ways to fuse, and PyTorch's names.
//!
//! Source: `thuiar/MMSA` (`[Mao2022]`), `models/subNets/FeatureNets.py` and the models' own files.

mod heads;
mod low_rank;

pub(super) use heads::SquaredNorm;
pub use heads::{HeadsConfig, L2Config, UnimodalHeads};
pub use low_rank::LowRankFusion;

use super::{Owner, ReadLimits, Task};
use crate::batch::{Batch, InputSpec, Sequence};
use crate::config::check_range;
use crate::error::{NnError, Result};
use crate::layers::{
    BatchNorm1d, CellKind, Initializer, Linear, Recurrent, RecurrentConfig, dropout,
};
use crate::recorder::Recorder;
use burn::module::Module;
use burn::tensor::{Tensor, activation::relu, activation::sigmoid};
use serde::{Deserialize, Serialize};
use trimer_core::{Modality, ModalityMap};
use trimer_kernels::outer_product;

/// The order in which the reference joins the modalities.
const ORDER: [Modality; 3] = [Modality::Audio, Modality::Vision, Modality::Text];

/// Sizes of the three sub-networks in front of the fusion.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubnetConfig {
    /// Hidden width of the text LSTM.
    pub d_text: usize,
    /// Width of the text vector behind it.
    pub d_text_out: usize,
    /// Width of the audio network.
    pub d_audio: usize,
    /// Width of the vision network.
    pub d_vision: usize,
    /// Dropout on the LSTM's last state. MMSA's own setting has no effect, so 0 is its behaviour.
    pub p_text: f64,
    /// Dropout behind the audio network's norm.
    pub p_audio: f64,
    /// Dropout behind the vision network's norm.
    pub p_vision: f64,
    /// Keep padding out of the means over time and of the LSTM. Off in the reference.
    pub mask_padding: bool,
}

impl SubnetConfig {
    /// Refuses values outside their range.
    pub(super) fn check(&self) -> Result<()> {
        for (key, width) in [
            ("d_text", self.d_text),
            ("d_text_out", self.d_text_out),
            ("d_audio", self.d_audio),
            ("d_vision", self.d_vision),
        ] {
            check_width(&format!("subnets.{key}"), width)?;
        }
        for (key, p) in [
            ("p_text", self.p_text),
            ("p_audio", self.p_audio),
            ("p_vision", self.p_vision),
        ] {
            check_dropout(&format!("subnets.{key}"), p)?;
        }
        Ok(())
    }

    /// Width of a modality's vector.
    pub(super) const fn width(&self, modality: Modality) -> usize {
        match modality {
            Modality::Text => self.d_text_out,
            Modality::Audio => self.d_audio,
            Modality::Vision => self.d_vision,
        }
    }

    /// Widths of the vectors that meet in the fusion, in the reference's order.
    pub(super) fn widths(&self, input: &InputSpec) -> Vec<(Modality, usize)> {
        let present = input.modalities();
        let present = ORDER.into_iter().filter(|m| present.contains(*m));
        present.map(|m| (m, self.width(m))).collect()
    }

    /// Floating-point operations of the matrix products.
    pub(super) fn flops(&self, input: &InputSpec) -> f64 {
        let one = |modality: Modality| {
            let Some(dim) = *input.dims.get(modality) else {
                return 0.0;
            };
            match modality {
                Modality::Text => {
                    RecurrentConfig::new(CellKind::Lstm, dim, self.d_text)
                        .flops(*input.lengths.get(modality))
                        + 2.0 * (self.d_text * self.d_text_out) as f64
                }
                Modality::Audio | Modality::Vision => {
                    let d = self.width(modality);
                    2.0 * (dim * d + 2 * d * d) as f64
                }
            }
        };
        ORDER.into_iter().map(one).sum()
    }
}

/// Refuses a width that is zero or absurd.
pub(super) fn check_width(key: &str, width: usize) -> Result<()> {
    check_range(&format!("model.{key}"), width as f64, 1.0, 16_384.0)
}

/// Refuses what is no probability of dropping.
pub(super) fn check_dropout(key: &str, p: f64) -> Result<()> {
    check_range(&format!("model.{key}"), p, 0.0, 0.95)
}

/// Frames that the models read at most: nothing is cut in MMSA, so long enough for its corpora.
pub(super) fn read_limits() -> ReadLimits {
    let lengths = ModalityMap {
        text: 100,
        audio: 512,
        vision: 512,
    };
    ReadLimits {
        lengths,
        sampling: ModalityMap::default(),
    }
}

/// The sub-network of audio and vision: norm, dropout and three layers with ReLU.
/// `[Zadeh2017] sec. 4.1`
#[derive(Module, Debug)]
pub struct SubNet {
    /// On the features.
    pub norm: BatchNorm1d,
    /// `features -> width`.
    pub linear_1: Linear,
    /// `width -> width`.
    pub linear_2: Linear,
    /// `width -> width`.
    pub linear_3: Linear,
}

impl SubNet {
    fn new(d_input: usize, width: usize, init: &mut Initializer) -> Self {
        Self {
            norm: BatchNorm1d::new(d_input, init),
            linear_1: Linear::new(d_input, width, init),
            linear_2: Linear::new(width, width, init),
            linear_3: Linear::new(width, width, init),
        }
    }

    /// `[batch, features]` to `[batch, width]`.
    fn forward(&self, x: Tensor<2>, p: f64, rec: &mut Recorder) -> Tensor<2> {
        let x = dropout(self.norm.forward(x, rec), p, rec);
        let x = relu(self.linear_1.forward(x));
        let x = relu(self.linear_2.forward(x));
        relu(self.linear_3.forward(x))
    }
}

/// The sub-network of text: the last state of an LSTM, and a linear layer. `[Zadeh2017] sec. 4.1`
#[derive(Module, Debug)]
pub struct TextSubNet {
    /// One layer, forward in time.
    pub rnn: Recurrent,
    /// From the last state to the text vector.
    pub linear_1: Linear,
}

/// The sub-networks of the modalities that are present.
#[derive(Module, Debug)]
pub struct Subnets {
    /// Reads the text sequence.
    pub text_subnet: Option<TextSubNet>,
    /// Reads the mean of the audio frames.
    pub audio_subnet: Option<SubNet>,
    /// Reads the mean of the vision frames.
    pub vision_subnet: Option<SubNet>,
    #[module(skip)]
    cfg: SubnetConfig,
}

/// A vector per modality, `[batch, width]`.
pub(super) type Vectors = ModalityMap<Option<Tensor<2>>>;

impl Subnets {
    /// Networks for what the input has, with PyTorch's default initial values.
    pub(super) fn new(cfg: &SubnetConfig, input: &InputSpec, init: &mut Initializer) -> Self {
        let text = input.dims.text.map(|dim| TextSubNet {
            rnn: Recurrent::new(&RecurrentConfig::new(CellKind::Lstm, dim, cfg.d_text), init),
            linear_1: Linear::new(cfg.d_text, cfg.d_text_out, init),
        });
        Self {
            text_subnet: text,
            audio_subnet: input.dims.audio.map(|d| SubNet::new(d, cfg.d_audio, init)),
            vision_subnet: input
                .dims
                .vision
                .map(|d| SubNet::new(d, cfg.d_vision, init)),
            cfg: cfg.clone(),
        }
    }

    /// Whether no output depends on what lies under the pad mask.
    pub(super) const fn masks_padding(&self) -> bool {
        self.cfg.mask_padding
    }

    /// The vectors of a batch. A modality that the model reads and the batch lacks gives zeros.
    pub(super) fn forward(&self, batch: &Batch, rec: &mut Recorder) -> Vectors {
        let masked = self.cfg.mask_padding;
        let text = self.text_subnet.as_ref().map(|net| {
            let Some(sequence) = &batch.sequences.text else {
                return zeros(batch, self.cfg.d_text_out, &net.linear_1);
            };
            let pad = masked.then_some(&sequence.pad_mask);
            let last = net
                .rnn
                .forward(sequence.values.clone(), pad, rec)
                .last_hidden();
            net.linear_1.forward(dropout(last, self.cfg.p_text, rec))
        });
        let mut mean = |net: &SubNet, sequence: Option<&Sequence>, p: f64| {
            let Some(sequence) = sequence else {
                let [width, _] = net.linear_3.weight.dims();
                return zeros(batch, width, &net.linear_3);
            };
            net.forward(mean_over_time(sequence, masked), p, rec)
        };
        let audio = self
            .audio_subnet
            .as_ref()
            .map(|net| mean(net, batch.sequences.audio.as_ref(), self.cfg.p_audio));
        let vision = self
            .vision_subnet
            .as_ref()
            .map(|net| mean(net, batch.sequences.vision.as_ref(), self.cfg.p_vision));
        ModalityMap {
            text,
            audio,
            vision,
        }
    }
}

fn zeros(batch: &Batch, width: usize, near: &Linear) -> Tensor<2> {
    Tensor::zeros([batch.len(), width], &near.weight.device())
}

/// The mean of the frames, `[batch, feature]`: over all of them as the reference does, or over the
/// real ones; zero where there is none.
pub(super) fn mean_over_time(sequence: &Sequence, masked: bool) -> Tensor<2> {
    let [batch, time, feature] = sequence.values.dims();
    if !masked {
        return sequence
            .values
            .clone()
            .mean_dim(1)
            .reshape([batch, feature]);
    }
    let real = sequence
        .pad_mask
        .clone()
        .bool_not()
        .float()
        .reshape([batch, time, 1]);
    let count = real.clone().sum_dim(1).clamp_min(1.0).reshape([batch, 1]);
    (sequence.values.clone() * real)
        .sum_dim(1)
        .reshape([batch, feature])
        / count
}

/// The vectors that are there, in the reference's order.
pub(super) fn in_order(vectors: &Vectors) -> impl Iterator<Item = (Modality, Tensor<2>)> {
    ORDER
        .into_iter()
        .filter_map(|m| Some((m, vectors.get(m).clone()?)))
}

/// `[1; h]`: the constant comes first. `[Zadeh2017] eq. 1`
///
/// # Shapes
/// - `h`: `[batch, width]`, result `[batch, 1 + width]`
pub(super) fn with_one(h: Tensor<2>) -> Tensor<2> {
    let [batch, _] = h.dims();
    Tensor::cat(vec![Tensor::ones([batch, 1], &h.device()), h], 1)
}

/// The outer product of all vectors, each with a constant one, flattened with the last modality
/// running fastest, and dropout with probability `p` on it. `[Zadeh2017] eq. 2`
///
/// # Shapes
/// - result: `[batch, (1 + width) (1 + width) ..]`
pub(super) fn tensor_fusion(vectors: &Vectors, p: f64, rec: &mut Recorder) -> Option<Tensor<2>> {
    let mut all: Vec<Tensor<2>> = in_order(vectors).map(|(_, h)| with_one(h)).collect();
    let last = all.pop()?;
    let first = all.into_iter().reduce(|a, b| outer_product(a, b, None));
    Some(match first {
        None => dropout(last, p, rec),
        Some(first) => {
            let drops = rec.is_training() && p > 0.0;
            outer_product(first, last, drops.then(|| (p, rec.next_seed())))
        }
    })
}

/// Width of [`tensor_fusion`].
pub(super) fn fused_width(cfg: &SubnetConfig, input: &InputSpec) -> usize {
    let widths = cfg.widths(input);
    widths.iter().map(|(_, width)| width + 1).product()
}

/// Refuses an outer product that no machine holds.
pub(super) fn check_fused_width(cfg: &SubnetConfig, input: &InputSpec) -> Result<()> {
    check_range(
        "model.subnets: the outer product's width",
        fused_width(cfg, input) as f64,
        1.0,
        16_777_216.0,
    )
}

/// `low + (high - low) σ(o)` for scores; logits are left alone.
pub(super) fn squash(output: Tensor<2>, [low, high]: [f64; 2], task: Task) -> Tensor<2> {
    match task {
        Task::Classification { .. } | Task::MultiBinary { .. } => output,
        Task::Regression => sigmoid(output) * (high - low) + low,
    }
}

/// Refuses an empty range of scores.
pub(super) fn check_score_range([low, high]: [f64; 2]) -> Result<()> {
    check_range("model.score_range[0]", low, -1e6, 1e6)?;
    check_range("model.score_range[1]", high, low, 1e6)?;
    if low == high {
        return Err(NnError::ConfigRange {
            key: "model.score_range".into(),
            value: format!("[{low}, {high}]"),
            expected: "a lower and a higher number".into(),
        });
    }
    Ok(())
}

/// Our path in the names of the MMSA code.
pub(super) fn state_key(path: &str) -> String {
    let path = Recurrent::state_key(path);
    let rest = ["subnets.", "heads.", "low_rank."]
        .into_iter()
        .find_map(|prefix| path.strip_prefix(prefix))
        .unwrap_or(&path);
    let rest = match rest.strip_prefix("vision_") {
        Some(tail) => format!("video_{tail}"),
        None => rest.to_owned(),
    };
    // `text_head.layers.0.weight` -> `post_text_layer_1.weight`.
    let head = rest.split_once("_head.layers.").and_then(|(name, tail)| {
        let (index, leaf) = tail.split_once('.')?;
        let number = index.parse::<usize>().ok()? + 1;
        Some(format!("post_{name}_layer_{number}.{leaf}"))
    });
    head.unwrap_or(rest)
}

/// Which modality owns a parameter.
pub(super) fn owner_of(path: &str) -> Owner {
    let rest = ["subnets.", "heads.", "low_rank."]
        .into_iter()
        .find_map(|prefix| path.strip_prefix(prefix));
    Owner::from_prefix(rest.unwrap_or(path))
}

/// Constants and counters of the reference that are no parameters here.
pub(super) fn is_unused_key(key: &str) -> bool {
    key.ends_with("num_batches_tracked") || key == "output_range" || key == "output_shift"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::to_vec;
    use burn::tensor::{Device, TensorData};

    #[test]
    fn names_are_those_of_the_reference() {
        for (ours, theirs) in [
            (
                "subnets.vision_subnet.norm.running_var",
                "video_subnet.norm.running_var",
            ),
            (
                "subnets.text_subnet.rnn.layers.0.forward.weight_hh",
                "text_subnet.rnn.weight_hh_l0",
            ),
            ("heads.vision_head.layers.2.bias", "post_video_layer_3.bias"),
            ("fusion_head.layers.0.weight", "post_fusion_layer_1.weight"),
            ("low_rank.vision_factor", "video_factor"),
            ("low_rank.fusion_weights", "fusion_weights"),
        ] {
            assert_eq!(state_key(ours), theirs);
        }
        assert_eq!(
            owner_of("subnets.audio_subnet.norm.weight"),
            Owner::Modality(Modality::Audio)
        );
        assert_eq!(owner_of("fusion_head.layers.0.bias"), Owner::Shared);
    }

    #[test]
    fn the_outer_product_runs_over_the_text_fastest() {
        let device = Device::flex();
        let vector = |x: [f32; 1]| {
            Some(Tensor::from_data(
                TensorData::new(x.to_vec(), [1, 1]),
                &device,
            ))
        };
        let vectors = ModalityMap {
            text: vector([2.0]),
            audio: vector([3.0]),
            vision: vector([5.0]),
        };
        let z = tensor_fusion(&vectors, 0.5, &mut Recorder::eval()).unwrap();
        assert_eq!(to_vec(z), [1.0, 2.0, 5.0, 10.0, 3.0, 6.0, 15.0, 30.0]);
    }

    #[test]
    fn the_mean_may_leave_padding_out() {
        let device = Device::flex();
        let values = vec![1.0, 3.0, 0.0, 7.0, 0.0, 0.0];
        let sequence = Sequence::new(values, [2, 3, 1], &[2, 1], &device);
        assert_eq!(to_vec(mean_over_time(&sequence, true)), [2.0, 7.0]);
        assert_eq!(
            to_vec(mean_over_time(&sequence, false)),
            [4.0 / 3.0, 7.0 / 3.0]
        );
    }
}
