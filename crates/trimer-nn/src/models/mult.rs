//! MulT: the multimodal transformer. Each modality is reinforced by each of the others through
//! directional cross-modal attention, on sequences that need not be aligned.
//!
//! Source: `[Tsai2019]` (ACL 2019, P19-1656) and its released code
//! (`yaohungt/Multimodal-Transformer`); a variant is the port in `thuiar/MMSA`.
//!
//! | what | paper | function |
//! |---|---|---|
//! | temporal convolution | eq. 1 | [`Mult::project`] |
//! | positions | eq. 2 | [`CrossmodalEncoder`] |
//! | cross-modal attention and its layers | eq. 3 to 5 | [`CrossmodalEncoder::forward_cross`] |
//! | self-attention over what reached a modality, last step | section 3.3 | [`Branch::forward`] |
//! | output layers | released code | [`ResidualHead`] |
//!
//! Deviation: with two modalities each target has one source, and everything behind it is half as
//! wide. The paper has three modalities.

use super::checks::{
    check_heads, check_probabilities, check_sizes, check_two_modalities, dim_of, sequence,
};
use super::{FusionModel, ModelConfigOf, ModelInfo, ModelOutput, Owner, Task};
use crate::batch::{Batch, InputSpec, Sampling};
use crate::error::{NnError, Result};
use crate::layers::{
    Conv1d, CrossmodalConfig, CrossmodalEncoder, Initializer, ResidualHead, dropout, last_step,
};
use crate::recorder::Recorder;
use burn::module::Module;
use burn::tensor::{Bool, Tensor};
use serde::{Deserialize, Serialize};
use trimer_core::{HeadMap, Modality, ModalityMap};

static INFO: ModelInfo = ModelInfo {
    id: "mult",
    title: "Multimodal Transformer",
    level: "utterance",
    modalities: &["text", "audio", "vision"],
    tasks: &["classification", "regression", "binary"],
    citation: "Tsai et al., Multimodal Transformer for Unaligned Multimodal Language Sequences, ACL 2019",
    reconstruction: false,
    presets: &[
        "official",
        "paper",
        "mmsa",
        "mmsa_mosei",
        "mmsa_sims",
        "mmsa_sims_v2",
    ],
    summary: "every modality draws from every other through directional cross-modal attention, aligned or not",
};

/// Configuration of [`Mult`]. Presets: [`Self::official`], [`Self::paper`], [`Self::mmsa`] and the
/// MMSA port's settings for its other corpora.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MultConfig {
    /// Width of every projected sequence.
    pub d_model: usize,
    /// Attention heads; divides `d_model`.
    pub n_heads: usize,
    /// Layers of a cross-modal encoder; a memory encoder has three at least.
    pub n_layers: usize,
    /// Modalities that are reinforced by the others; empty = all.
    pub targets: Vec<Modality>,
    /// Width of the temporal convolutions, which shorten a sequence by one less.
    pub kernels: ModalityMap<usize>,
    /// Whether encoders add positions (the MMSA port has none).
    pub positions: bool,
    /// Whether a step is kept from later steps.
    pub future_mask: bool,
    /// Keep padding out of attention and read the last step that is none. Off in all presets: by
    /// definition the model attends to padding.
    pub mask_padding: bool,
    /// Dropout on the raw text features.
    pub p_text: f64,
    /// Dropout on the embedded input of every encoder.
    pub p_embed: f64,
    /// Dropout on attention weights where text is the source, and in the memory encoders.
    pub p_attn: f64,
    /// Dropout on attention weights where audio is the source.
    pub p_attn_audio: f64,
    /// Dropout on attention weights where vision is the source.
    pub p_attn_vision: f64,
    /// Dropout after the ReLU of a layer.
    pub p_relu: f64,
    /// Dropout on the branches of a layer.
    pub p_res: f64,
    /// Dropout in the output layers.
    pub p_out: f64,
}

impl MultConfig {
    /// Defaults of the released code (its authors give them for unaligned CMU-MOSEI).
    pub const fn official() -> Self {
        Self {
            d_model: 30,
            n_heads: 5,
            n_layers: 5,
            targets: Vec::new(),
            kernels: kernels(1, 1, 1),
            positions: true,
            future_mask: true,
            mask_padding: false,
            p_text: 0.25,
            p_embed: 0.25,
            p_attn: 0.1,
            p_attn_audio: 0.0,
            p_attn_vision: 0.0,
            p_relu: 0.1,
            p_res: 0.1,
            p_out: 0.0,
        }
    }

    /// The table in the paper's appendix, column CMU-MOSEI; what it leaves open is as in
    /// [`Self::official`].
    pub fn paper() -> Self {
        Self {
            d_model: 40,
            n_heads: 8,
            n_layers: 4,
            p_text: 0.3,
            p_embed: 0.3,
            p_attn: 0.1,
            p_attn_audio: 0.1,
            p_attn_vision: 0.1,
            p_out: 0.1,
            ..Self::official()
        }
    }

    /// The MMSA port with its settings for CMU-MOSI.
    pub fn mmsa() -> Self {
        Self {
            d_model: 50,
            n_heads: 10,
            n_layers: 4,
            kernels: kernels(5, 5, 5),
            positions: false,
            p_text: 0.5,
            p_embed: 0.2,
            p_attn: 0.3,
            p_attn_audio: 0.2,
            p_attn_vision: 0.0,
            p_relu: 0.0,
            p_res: 0.0,
            p_out: 0.5,
            ..Self::official()
        }
    }

    /// The MMSA port with its settings for CMU-MOSEI.
    pub fn mmsa_mosei() -> Self {
        Self {
            d_model: 30,
            n_heads: 6,
            kernels: kernels(5, 1, 3),
            p_text: 0.3,
            p_embed: 0.0,
            p_attn: 0.4,
            p_attn_audio: 0.0,
            ..Self::mmsa()
        }
    }

    /// The MMSA port with its settings for CH-SIMS.
    pub fn mmsa_sims() -> Self {
        Self {
            n_layers: 2,
            kernels: kernels(5, 1, 1),
            p_text: 0.3,
            p_embed: 0.1,
            p_attn: 0.2,
            p_attn_audio: 0.1,
            p_res: 0.2,
            p_out: 0.1,
            ..Self::mmsa()
        }
    }

    /// The MMSA port with its settings for CH-SIMS v2.
    pub fn mmsa_sims_v2() -> Self {
        Self {
            d_model: 30,
            n_heads: 6,
            kernels: kernels(5, 3, 1),
            p_attn: 0.1,
            p_relu: 0.1,
            p_out: 0.3,
            ..Self::mmsa()
        }
    }

    /// The modalities that are reinforced, in the order text, audio, vision.
    fn chosen_targets(&self, input: &InputSpec) -> Vec<Modality> {
        let wished = |m: &Modality| self.targets.is_empty() || self.targets.contains(m);
        input.modalities().iter().filter(wished).collect()
    }

    /// Steps of a projected sequence.
    fn steps(&self, input: &InputSpec, modality: Modality) -> usize {
        let time = *input.lengths.get(modality);
        if dim_of(input, modality) == self.d_model {
            time // Not projected.
        } else {
            time + 1 - self.kernels.get(modality)
        }
    }

    /// Layers of a memory encoder.
    fn memory_layers(&self) -> usize {
        self.n_layers.max(3)
    }

    const fn p_attn_of(&self, source: Modality) -> f64 {
        match source {
            Modality::Text => self.p_attn,
            Modality::Audio => self.p_attn_audio,
            Modality::Vision => self.p_attn_vision,
        }
    }

    const fn encoder(&self, p_attn: f64, max_time: usize) -> CrossmodalConfig {
        CrossmodalConfig {
            d_model: self.d_model,
            n_heads: self.n_heads,
            n_layers: self.n_layers,
            p_attn,
            p_relu: self.p_relu,
            p_res: self.p_res,
            p_embed: self.p_embed,
            positions: self.positions,
            future_mask: self.future_mask,
            max_time,
        }
    }
}

const fn kernels(text: usize, audio: usize, vision: usize) -> ModalityMap<usize> {
    ModalityMap {
        text,
        audio,
        vision,
    }
}

impl ModelConfigOf for MultConfig {
    type Model = Mult;
    const INFO: &'static ModelInfo = &INFO;

    fn preset(name: &str) -> Option<Self> {
        match name {
            "official" => Some(Self::official()),
            "paper" => Some(Self::paper()),
            "mmsa" => Some(Self::mmsa()),
            "mmsa_mosei" => Some(Self::mmsa_mosei()),
            "mmsa_sims" => Some(Self::mmsa_sims()),
            "mmsa_sims_v2" => Some(Self::mmsa_sims_v2()),
            _ => None,
        }
    }

    fn check(&self) -> Result<()> {
        check_sizes(&[
            ("d_model", self.d_model, 1, 16_384),
            ("n_heads", self.n_heads, 1, 256),
            ("n_layers", self.n_layers, 1, 64),
            ("kernels.text", self.kernels.text, 1, 1024),
            ("kernels.audio", self.kernels.audio, 1, 1024),
            ("kernels.vision", self.kernels.vision, 1, 1024),
        ])?;
        check_probabilities(&[
            ("p_text", self.p_text),
            ("p_embed", self.p_embed),
            ("p_attn", self.p_attn),
            ("p_attn_audio", self.p_attn_audio),
            ("p_attn_vision", self.p_attn_vision),
            ("p_relu", self.p_relu),
            ("p_res", self.p_res),
            ("p_out", self.p_out),
        ])?;
        check_heads(self.d_model, self.n_heads)
    }

    fn check_input(&self, input: &InputSpec) -> Result<()> {
        check_two_modalities("mult", input)?;
        if self.chosen_targets(input).is_empty() {
            return Err(NnError::ConfigRange {
                key: "model.targets".into(),
                value: format!("{:?}", self.targets),
                expected: format!("one at least of the input's `{}`", input.modalities()),
            });
        }
        for modality in input.modalities().iter() {
            let (time, kernel) = (*input.lengths.get(modality), *self.kernels.get(modality));
            if dim_of(input, modality) != self.d_model && time < kernel {
                return Err(NnError::ConfigRange {
                    key: format!("model.kernels.{modality}"),
                    value: kernel.to_string(),
                    expected: format!("1 to {time}, the frames of {modality}"),
                });
            }
        }
        Ok(())
    }

    fn default_input(&self) -> (ModalityMap<usize>, ModalityMap<Sampling>) {
        let lengths = ModalityMap {
            text: 50,
            audio: 375,
            vision: 500,
        };
        (lengths, ModalityMap::default())
    }

    fn forward_flops(&self, input: &InputSpec, task: Task) -> f64 {
        let d = self.d_model;
        let present = input.modalities();
        let memory = (present.len() - 1) * d;
        let mut flops = 0.0;
        for modality in present.iter() {
            let dim = dim_of(input, modality);
            if dim != d {
                let taps = dim * self.kernels.get(modality);
                flops += 2.0 * (self.steps(input, modality) * taps * d) as f64;
            }
        }
        let targets = self.chosen_targets(input);
        for &target in &targets {
            let time = self.steps(input, target);
            for source in present.iter().filter(|s| *s != target) {
                flops +=
                    CrossmodalEncoder::flops(self.n_layers, d, time, self.steps(input, source));
            }
            flops += CrossmodalEncoder::flops(self.memory_layers(), memory, time, time);
        }
        flops + ResidualHead::flops(targets.len() * memory, task.n_outputs())
    }

    fn build(&self, input: &InputSpec, task: Task, init: &mut Initializer) -> Result<Mult> {
        Mult::new(self, input, task, init)
    }
}

/// Everything that belongs to one target modality.
#[derive(Module, Debug)]
pub struct Branch {
    /// From each of the other modalities, in the order text, audio, vision.
    pub cross: Vec<CrossmodalEncoder>,
    /// Self-attention over what reached the target.
    pub memory: CrossmodalEncoder,
    #[module(skip)]
    target: Modality,
    #[module(skip)]
    sources: Vec<Modality>,
}

/// A projected modality.
#[derive(Debug, Clone)]
struct Stream {
    x: Tensor<3>,
    pad_mask: Option<Tensor<2, Bool>>,
}

impl Branch {
    fn new(cfg: &MultConfig, input: &InputSpec, target: Modality, init: &mut Initializer) -> Self {
        let time = cfg.steps(input, target);
        let sources: Vec<_> = input.modalities().iter().filter(|m| *m != target).collect();
        let cross = sources
            .iter()
            .map(|&source| {
                let longest = time.max(cfg.steps(input, source));
                CrossmodalEncoder::new(&cfg.encoder(cfg.p_attn_of(source), longest), init)
            })
            .collect();
        let memory = CrossmodalConfig {
            d_model: sources.len() * cfg.d_model,
            n_layers: cfg.memory_layers(),
            ..cfg.encoder(cfg.p_attn, time)
        };
        Self {
            cross,
            memory: CrossmodalEncoder::new(&memory, init),
            target,
            sources,
        }
    }

    /// What the others tell this modality, at its last step. `[Tsai2019] section 3.3`
    ///
    /// # Shapes
    /// - result: `[batch, sources * d_model]`
    fn forward(&self, streams: &ModalityMap<Option<Stream>>, rec: &mut Recorder) -> Tensor<2> {
        let stream = |m: Modality| {
            streams
                .get(m)
                .as_ref()
                .expect("targets and sources are modalities of the input")
        };
        let target = stream(self.target);
        let reinforced = self.cross.iter().zip(&self.sources).map(|(encoder, &m)| {
            let source = stream(m);
            let x = encoder.forward_cross(
                target.x.clone(),
                source.x.clone(),
                source.pad_mask.as_ref(),
                rec,
            );
            rec.tap(&format!("{}.from_{m}", self.target), &x);
            x
        });
        let reinforced = Tensor::cat(reinforced.collect(), 2); // [batch, time, sources * d_model]
        let pad_mask = target.pad_mask.as_ref();
        last_step(self.memory.forward(reinforced, pad_mask, rec), pad_mask)
    }
}

/// The model. Build it with [`ModelConfigOf::build`] of [`MultConfig`].
#[derive(Module, Debug)]
pub struct Mult {
    /// `None` where text is not read, or has the model's width already.
    pub text_projection: Option<Conv1d>,
    /// As for text.
    pub audio_projection: Option<Conv1d>,
    /// As for text.
    pub vision_projection: Option<Conv1d>,
    /// One per target.
    pub branches: Vec<Branch>,
    /// Output layers.
    pub head: ResidualHead,
    #[module(skip)]
    cfg: MultConfig,
    #[module(skip)]
    reads: Vec<Modality>,
}

impl Mult {
    fn new(
        cfg: &MultConfig,
        input: &InputSpec,
        task: Task,
        init: &mut Initializer,
    ) -> Result<Self> {
        cfg.check_input(input)?;
        let reads: Vec<_> = input.modalities().iter().collect();
        let mut projection = |m: Modality| {
            let dim = (*input.dims.get(m)).filter(|dim| *dim != cfg.d_model)?;
            Some(Conv1d::new(dim, cfg.d_model, *cfg.kernels.get(m), init))
        };
        let text_projection = projection(Modality::Text);
        let audio_projection = projection(Modality::Audio);
        let vision_projection = projection(Modality::Vision);
        let branches: Vec<_> = cfg
            .chosen_targets(input)
            .into_iter()
            .map(|target| Branch::new(cfg, input, target, init))
            .collect();
        let width = branches.len() * (reads.len() - 1) * cfg.d_model;
        Ok(Self {
            text_projection,
            audio_projection,
            vision_projection,
            branches,
            head: ResidualHead::new(width, task.n_outputs(), cfg.p_out, init),
            cfg: cfg.clone(),
            reads,
        })
    }

    const fn projection(&self, modality: Modality) -> Option<&Conv1d> {
        match modality {
            Modality::Text => self.text_projection.as_ref(),
            Modality::Audio => self.audio_projection.as_ref(),
            Modality::Vision => self.vision_projection.as_ref(),
        }
    }

    /// From features to the model's width. `[Tsai2019] eq. 1`
    fn project(&self, modality: Modality, batch: &Batch, rec: &mut Recorder) -> Stream {
        let sequence = sequence(batch, modality);
        let mut x = sequence.values.clone();
        if modality == Modality::Text {
            x = dropout(x, self.cfg.p_text, rec);
        }
        if let Some(projection) = self.projection(modality) {
            x = projection.forward(x);
        }
        let [_, steps, _] = x.dims();
        // A window counts as padding where its first frame does.
        let pad_mask = self
            .cfg
            .mask_padding
            .then(|| sequence.pad_mask.clone().narrow(1, 0, steps));
        Stream { x, pad_mask }
    }
}

impl FusionModel for Mult {
    fn info(&self) -> &'static ModelInfo {
        &INFO
    }

    fn forward(&self, batch: &Batch, rec: &mut Recorder) -> ModelOutput {
        let mut streams = ModalityMap::<Option<Stream>>::default();
        for &modality in &self.reads {
            *streams.get_mut(modality) = Some(self.project(modality, batch, rec));
        }
        let last: Vec<_> = self
            .branches
            .iter()
            .map(|branch| branch.forward(&streams, rec))
            .collect();
        let z = Tensor::cat(last, 1); // [batch, targets * sources * d_model]
        let logits = self.head.forward(z.clone(), rec);
        ModelOutput {
            logits: HeadMap {
                multimodal: Some(logits),
                ..HeadMap::default()
            },
            features: HeadMap {
                multimodal: Some(z),
                ..HeadMap::default()
            },
            aux_losses: Vec::new(),
        }
    }

    fn owner_of(&self, path: &str) -> Owner {
        Owner::from_prefix(path)
    }

    fn state_key(&self, path: &str) -> String {
        let named = |m: Modality| match m {
            Modality::Text => 'l',
            Modality::Audio => 'a',
            Modality::Vision => 'v',
        };
        if let Owner::Modality(m) = Owner::from_prefix(path) {
            let leaf = path.rsplit('.').next().unwrap_or(path);
            return format!("proj_{}.{leaf}", named(m));
        }
        if let Some(rest) = path.strip_prefix("head.") {
            return rest.to_owned();
        }
        let mut parts = path.splitn(3, '.').skip(1);
        let index: Option<usize> = parts.next().and_then(|i| i.parse().ok());
        let branch = index.and_then(|i| self.branches.get(i));
        let (Some(branch), Some(rest)) = (branch, parts.next()) else {
            return path.to_owned();
        };
        let target = named(branch.target);
        if let Some(rest) = rest.strip_prefix("memory.") {
            return format!("trans_{target}_mem.{rest}");
        }
        let cross = rest
            .strip_prefix("cross.")
            .and_then(|rest| rest.split_once('.'))
            .and_then(|(i, rest)| Some((branch.sources.get(i.parse::<usize>().ok()?)?, rest)));
        match cross {
            Some((source, rest)) => format!("trans_{target}_with_{}.{rest}", named(*source)),
            None => path.to_owned(),
        }
    }

    /// Version tags, the tag of the positional table, projections of inputs that have the model's
    /// width, and the memory encoders of modalities that are no target.
    fn is_unused_key(&self, key: &str) -> bool {
        let letters = [
            (Modality::Text, 'l'),
            (Modality::Audio, 'a'),
            (Modality::Vision, 'v'),
        ];
        let idle = |(modality, letter): &(Modality, char)| {
            let unprojected =
                self.projection(*modality).is_none() && key == format!("proj_{letter}.weight");
            let no_target = self.branches.iter().all(|b| b.target != *modality);
            unprojected || no_target && key.starts_with(&format!("trans_{letter}_mem."))
        };
        key.ends_with(".version")
            || key.ends_with("embed_positions._float_tensor")
            || letters.iter().any(idle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::parameter_count;
    use burn::tensor::Device;

    fn mosei() -> InputSpec {
        InputSpec {
            n_speakers: None,
            dims: ModalityMap {
                text: Some(300),
                audio: Some(74),
                vision: Some(35),
            },
            lengths: kernels(50, 50, 50),
            sampling: ModalityMap::default(),
        }
    }

    #[test]
    fn the_published_sizes_have_their_numbers_of_parameters() {
        let mut init = Initializer::new(0, &Device::flex());
        for (cfg, expected) in [
            (MultConfig::official(), 1_073_731),
            (MultConfig::paper(), 1_540_601),
        ] {
            let model = cfg.build(&mosei(), Task::Regression, &mut init).unwrap();
            assert_eq!(parameter_count(&model), expected);
        }
    }

    #[test]
    fn two_modalities_make_two_branches_of_one_source() {
        let mut input = mosei();
        input.dims.text = None;
        let mut init = Initializer::new(0, &Device::flex());
        let model = MultConfig::official()
            .build(&input, Task::Regression, &mut init)
            .unwrap();
        assert_eq!(model.branches.len(), 2);
        assert_eq!(model.head.proj1.weight.dims(), [60, 60]);
        assert_eq!(
            model.state_key("branches.1.cross.0.layers.2.fc1.bias"),
            "trans_v_with_a.layers.2.fc1.bias"
        );
    }

    #[test]
    fn a_kernel_longer_than_the_sequence_is_refused() {
        let mut input = mosei();
        input.lengths.audio = 3;
        let error = MultConfig::mmsa().check_input(&input).unwrap_err();
        assert!(error.to_string().contains("kernels.audio"), "{error}");
    }
}
