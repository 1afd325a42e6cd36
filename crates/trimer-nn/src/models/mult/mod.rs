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

mod config;

pub use config::MultConfig;

use super::checks::sequence;
use super::{
    FusionModel, Level, ModelConfigOf, ModelInfo, ModelOutput, Owner, ReferenceNames, Task,
    TaskKind,
};
use crate::batch::{Batch, InputSpec};
use crate::error::Result;
use crate::layers::{
    Conv1d, CrossmodalConfig, CrossmodalEncoder, Initializer, ResidualHead, dropout, last_step,
};
use crate::recorder::Recorder;
use burn::module::Module;
use burn::tensor::{Bool, Tensor};
use trimer_core::{HeadMap, Modality, ModalityMap};

static INFO: ModelInfo = ModelInfo {
    id: "mult",
    title: "Multimodal Transformer",
    level: Level::Utterance,
    modalities: &Modality::ALL,
    tasks: &TaskKind::ALL,
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

    fn reference(&self) -> &dyn ReferenceNames {
        self
    }
}

impl ReferenceNames for Mult {
    fn key(&self, path: &str) -> String {
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
    fn is_unused(&self, key: &str) -> bool {
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
    use super::config::kernels;
    use super::*;
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
            model.key("branches.1.cross.0.layers.2.fc1.bias"),
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
