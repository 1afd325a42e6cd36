//! LFMIM: layer-wise fusion with modality independence modelling.
//!
//! Every modality has a tower of its own and a label of its own; one multimodal tower reads the
//! states of all of them before each layer. Information flows forward from the unimodal towers to
//! the multimodal one only; gradients flow back.
//!
//! Source: `[Sun2023]` (ACL 2023, 2023.acl-long.39) and the released code `sunjunaimer/LFMIM`, folder
//! `LFMIM0723v2`. The two differ; both are presets of one model here.
//!
//! | what | paper | function |
//! |---|---|---|
//! | projection, positions | eq. 1 | [`Tower::embed`] |
//! | unimodal layers | eq. 2 | [`Tower::step`] |
//! | layer-wise fusion `α Z + ᾱ Z̄` | eq. 3, 4 | [`Lfmim::fuse`] |
//! | pooling, heads | eq. 5 | [`Tower::read_out`] |
//!
//! Deviation: parameters of the released model that never reach its output (`t2m`, `v2m`, `fc_vtom`,
//! `proj_*`, `pe_*`, `me`) are not kept; checkpoints that have them load all the same.

mod config;
mod names;
mod tower;

pub use config::{FusionInit, LfmimConfig, LfmimForm, Pooling};
pub use tower::Tower;

use super::{FusionModel, ModelConfigOf, ModelOutput, Properties, ReferenceNames, Task};
use crate::batch::{Batch, InputSpec, Sequence};
use crate::error::Result;
use crate::layers::{ATTENTION, Initializer, Keys};
use crate::probe;
use crate::recorder::Recorder;
use burn::module::{Module, Param};
use burn::tensor::{Bool, Tensor};
use config::blocks_per_layer;
use trimer_core::{Head, HeadMap, Modality, ModalityMap};
use trimer_kernels::{LfmimFusionInputs, join, lfmim_fusion, on_cpu};

/// The model. Build it with [`ModelConfigOf::build`] of [`LfmimConfig`].
#[derive(Module, Debug)]
pub struct Lfmim {
    /// Reads text only.
    pub text_tower: Option<Tower>,
    /// Reads audio only.
    pub audio_tower: Option<Tower>,
    /// Reads vision only.
    pub vision_tower: Option<Tower>,
    /// Reads the states of the others.
    pub multimodal_tower: Tower,
    /// Paper: weight of the unimodal state, `[layer, modality]` (text, audio, vision as present).
    pub alpha: Option<Param<Tensor<2>>>,
    /// Paper: weight of the multimodal state, `[layer, modality]`.
    pub alpha_bar: Option<Param<Tensor<2>>>,
    /// Released: weights of multimodal and unimodal state per modality, in the order of the
    /// multimodal sequence: `[2 * modalities]`.
    pub fusion: Option<Param<Tensor<1>>>,
    #[module(skip)]
    cfg: LfmimConfig,
}

/// A modality on its way through the layers.
struct Stream<'a> {
    modality: Modality,
    tower: &'a Tower,
    state: Tensor<3>,
    pad_mask: Option<Tensor<2, Bool>>,
    /// What the positions of `state` are.
    keys: Vec<Keys>,
}

impl Lfmim {
    fn new(
        cfg: &LfmimConfig,
        input: &InputSpec,
        task: Task,
        init: &mut Initializer,
    ) -> Result<Self> {
        cfg.check_input(input)?;
        let present = input.modalities();
        let released = cfg.form == LfmimForm::Released;
        let outputs = task.n_outputs();
        let d = cfg.d_model;
        let token = usize::from(released);
        let mut unimodal = ModalityMap::<Option<Tower>>::default();
        let mut joint_time = cfg.n_fusion_tokens;
        for modality in present.iter() {
            let time = input.lengths.get(modality) + token;
            joint_time += time;
            let blocks = cfg.n_layers * blocks_per_layer(cfg, modality);
            let head = [d, d / 2, 32, outputs];
            *unimodal.get_mut(modality) = Some(Tower::new(
                cfg,
                *input.dims.get(modality),
                time,
                blocks,
                &head,
                init,
            ));
        }
        let joint_head = if released {
            vec![(present.len() + 1) * d, 2 * d, 128, 64, outputs]
        } else {
            vec![d, d / 2, 32, outputs]
        };
        let multimodal_tower = Tower::new(cfg, None, joint_time, cfg.n_layers, &joint_head, init);
        let scalars = |n_layers: usize, n: usize, init: &mut Initializer| match cfg.fusion_init {
            FusionInit::Ones => init.constant([n_layers, n], 1.0),
            FusionInit::Normal => init.normal([n_layers, n], 1.0),
        };
        let n = present.len();
        Ok(Self {
            text_tower: unimodal.text,
            audio_tower: unimodal.audio,
            vision_tower: unimodal.vision,
            multimodal_tower,
            alpha: (!released).then(|| scalars(cfg.n_layers, n, init)),
            alpha_bar: (!released).then(|| scalars(cfg.n_layers, n, init)),
            fusion: released.then(|| match cfg.fusion_init {
                FusionInit::Ones => init.constant([2 * n], 1.0),
                FusionInit::Normal => init.normal([2 * n], 1.0),
            }),
            cfg: cfg.clone(),
        })
    }

    /// Order of the modalities in the multimodal sequence.
    const fn joint_order(&self) -> [Modality; 3] {
        match self.cfg.form {
            LfmimForm::Paper => [Modality::Text, Modality::Audio, Modality::Vision],
            LfmimForm::Released => [Modality::Text, Modality::Vision, Modality::Audio],
        }
    }

    const fn tower(&self, modality: Modality) -> Option<&Tower> {
        match modality {
            Modality::Text => self.text_tower.as_ref(),
            Modality::Audio => self.audio_tower.as_ref(),
            Modality::Vision => self.vision_tower.as_ref(),
        }
    }

    /// Projection, tokens and embedding of one modality.
    fn enter<'a>(
        &self,
        modality: Modality,
        tower: &'a Tower,
        sequence: &Sequence,
        rec: &mut Recorder,
    ) -> Stream<'a> {
        let mut x = sequence.values.clone();
        let [batch, time, _] = x.dims();
        let mut keys = vec![(Some(modality), time)];
        if let Some(projection) = &tower.projection {
            x = projection.forward_sequence(x); // [batch, time, d_model]
        }
        let mut pad = sequence.pad_mask.clone();
        if let Some(tokens) = &tower.tokens {
            let [n, d] = tokens.dims();
            keys.insert(0, (None, n));
            x = Tensor::cat(
                vec![tokens.val().unsqueeze::<3>().expand([batch, n, d]), x],
                1,
            );
            let no_pad = Tensor::<2, Bool>::full([batch, n], false, &pad.device());
            pad = Tensor::cat(vec![no_pad, pad], 1);
        }
        let state = tower.embed(x, &self.cfg, rec);
        Stream {
            modality,
            tower,
            state,
            pad_mask: self.cfg.mask_padding.then_some(pad),
            keys,
        }
    }

    /// The unimodal towers' blocks of one layer.
    fn step_streams(&self, streams: &mut [Stream<'_>], layer: usize, rec: &mut Recorder) {
        for stream in streams {
            stream.state = stream.tower.step(
                stream.state.clone(),
                layer,
                blocks_per_layer(&self.cfg, stream.modality),
                stream.pad_mask.as_ref(),
                (stream.modality.as_str(), &stream.keys),
                rec,
            );
        }
    }

    /// The input of the multimodal tower's layer: its tokens, and `α Z + ᾱ Z̄` for each stream.
    /// `[Sun2023] eq. 3`
    ///
    /// `joint` is the tower's state, or in front of the first layer its tokens alone.
    fn fuse(&self, layer: usize, streams: &[Stream<'_>], joint: Tensor<3>) -> Tensor<3> {
        let n = streams.len();
        let row = |p: &Param<Tensor<2>>| p.val().narrow(0, layer, 1).reshape([n]);
        let column = |p: &Param<Tensor<1>>, i| p.val().reshape([n, 2]).narrow(1, i, 1).reshape([n]);
        let (stream_weights, joint_weights) = match (&self.alpha, &self.alpha_bar, &self.fusion) {
            (Some(alpha), Some(bar), _) => (row(alpha), row(bar)),
            // Released code: the first fusion joins the states as they are.
            (_, _, Some(fusion)) if layer > 0 => (column(fusion, 1), column(fusion, 0)),
            _ => {
                let ones = Tensor::ones([n], &joint.device());
                (ones.clone(), ones)
            }
        };
        lfmim_fusion(LfmimFusionInputs {
            joint,
            streams: streams.iter().map(|s| s.state.clone()).collect(),
            stream_weights,
            joint_weights,
            n_tokens: self.cfg.n_fusion_tokens,
        })
    }

    /// The tokens in front of the multimodal sequence, `[batch, n_tokens, d_model]`.
    fn joint_tokens(&self, n: usize, rec: &mut Recorder) -> Tensor<3> {
        let (tower, n_tokens, d) = (
            &self.multimodal_tower,
            self.cfg.n_fusion_tokens,
            self.cfg.d_model,
        );
        let tokens = match &tower.tokens {
            Some(tokens) => tokens.val().unsqueeze::<3>().expand([n, n_tokens, d]),
            None => Tensor::zeros([n, n_tokens, d], &tower.mix.device()),
        };
        if self.cfg.form == LfmimForm::Released {
            tower.embed(tokens, &self.cfg, rec)
        } else {
            tokens
        }
    }

    /// Pooling and heads. `[Sun2023] eq. 5`; `apart` when towers may run side by side.
    fn read_heads(
        &self,
        streams: &[Stream<'_>],
        joint: Tensor<3>,
        pad_mask: Option<&Tensor<2, Bool>>,
        apart: bool,
    ) -> ModelOutput {
        let tower = &self.multimodal_tower;
        let mut logits = HeadMap::default();
        let mut features = HeadMap::default();
        let pooling = self.cfg.pooling;
        let read_streams = || {
            let read = |s: &Stream<'_>| {
                let pooled = s
                    .tower
                    .read_out(s.state.clone(), pooling, s.pad_mask.as_ref());
                (pooled.clone(), s.tower.head.forward(pooled))
            };
            streams.iter().map(read).collect::<Vec<_>>()
        };
        let read_joint = || tower.read_out(joint, pooling, pad_mask);
        let (unimodal, pooled) = if apart {
            join(read_streams, read_joint)
        } else {
            (read_streams(), read_joint())
        };
        for (stream, (pooled, scores)) in streams.iter().zip(unimodal) {
            let head = Head::from(stream.modality);
            *logits.get_mut(head) = Some(scores);
            *features.get_mut(head) = Some(pooled);
        }
        let head_input = match self.cfg.form {
            LfmimForm::Paper => pooled.clone(),
            // Order of the concatenation in the released code: text, audio, vision, multimodal.
            LfmimForm::Released => {
                let unimodal = Modality::ALL
                    .into_iter()
                    .filter_map(|m| features.get(m.into()).clone());
                Tensor::cat(unimodal.chain([pooled.clone()]).collect(), 1)
            }
        };
        logits.multimodal = Some(tower.head.forward(head_input));
        features.multimodal = Some(pooled);
        ModelOutput {
            logits,
            features,
            aux_losses: Vec::new(),
        }
    }
}

impl FusionModel for Lfmim {
    fn forward(&self, batch: &Batch, rec: &mut Recorder) -> ModelOutput {
        let tower = &self.multimodal_tower;
        // In evaluation the recorder hands out no seeds, so what needs nothing of one another may run
        // side by side, unless all of it writes to the recorder or is watched.
        let watched = rec.wants(ATTENTION) || probe::is_active();
        let apart = !rec.is_training() && !watched && on_cpu(&tower.mix.val());
        let enter = |modality: Modality, rec: &mut Recorder| {
            let (tower, sequence) = (self.tower(modality), batch.sequences.get(modality));
            Some(self.enter(modality, tower?, sequence.as_ref()?, rec))
        };
        let [a, b, c] = self.joint_order();
        let entered = if apart {
            let one = |modality| enter(modality, &mut Recorder::eval());
            let (x, (y, z)) = join(|| one(a), || join(|| one(b), || one(c)));
            [x, y, z]
        } else {
            [a, b, c].map(|modality| enter(modality, rec))
        };
        let mut streams: Vec<Stream<'_>> = entered.into_iter().flatten().collect();
        let tokens = self.joint_tokens(batch.len(), rec);
        let n_tokens = self.cfg.n_fusion_tokens;
        let pad_mask = joint_mask(&streams, batch.len(), n_tokens);
        let tokens_first = std::iter::once((None, n_tokens));
        let keys: Vec<Keys> = tokens_first
            .chain(streams.iter().flat_map(|s| s.keys.iter().copied()))
            .collect();

        let mut joint = tokens;
        for layer in 0..self.cfg.n_layers {
            let input = self.fuse(layer, &streams, joint);
            let named = ("multimodal", &keys[..]);
            let step_joint =
                |rec: &mut Recorder| tower.step(input, layer, 1, pad_mask.as_ref(), named, rec);
            if apart {
                (joint, ()) = join(
                    || step_joint(&mut Recorder::eval()),
                    || self.step_streams(&mut streams, layer, &mut Recorder::eval()),
                );
            } else {
                self.step_streams(&mut streams, layer, rec);
                joint = step_joint(rec);
            }
        }

        for stream in &streams {
            let head = Head::from(stream.modality);
            rec.tap(&format!("{head}_tower.out"), &stream.state);
        }
        rec.tap("multimodal_tower.out", &joint);
        self.read_heads(&streams, joint, pad_mask.as_ref(), apart)
    }

    fn properties(&self) -> &dyn Properties {
        self
    }

    fn reference(&self) -> &dyn ReferenceNames {
        self
    }
}

impl Properties for Lfmim {
    fn ignores_padding(&self) -> bool {
        self.cfg.mask_padding
    }
}

/// The pad mask of the multimodal sequence, when the streams have masks.
fn joint_mask(streams: &[Stream<'_>], batch: usize, n_tokens: usize) -> Option<Tensor<2, Bool>> {
    let pads: Vec<_> = streams
        .iter()
        .map(|s| s.pad_mask.clone())
        .collect::<Option<_>>()?;
    let tokens = Tensor::<2, Bool>::full([batch, n_tokens], false, &pads.first()?.device());
    Some(Tensor::cat(
        std::iter::once(tokens).chain(pads).collect(),
        1,
    ))
}
