//! The fusion of a primary modality with its auxiliaries. Reconstructed: see the parent module.

use super::{Stream, Support};
use crate::layers::{CrossmodalConfig, CrossmodalEncoder, Initializer};
use crate::recorder::Recorder;
use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::activation::softmax;

/// Cross-modal encoders by role, not by modality: whichever modality is primary, the same encoders
/// serve it, so that the choice may change without new parameters.
#[derive(Module, Debug)]
pub struct Fusion {
    /// Level 1: the first auxiliary modality from the second, and the second from the first. Empty
    /// with one auxiliary modality.
    pub exchange: Vec<CrossmodalEncoder>,
    /// Level 2: the primary modality from the auxiliary ones.
    pub support: Vec<CrossmodalEncoder>,
    /// One number per part of the concatenation; their softmax weighs the parts.
    pub mix: Param<Tensor<1>>,
    #[module(skip)]
    sequential: bool,
}

impl Fusion {
    pub(super) fn new(
        encoder: &CrossmodalConfig,
        modalities: usize,
        support: Support,
        init: &mut Initializer,
    ) -> Self {
        let auxiliaries = modalities - 1;
        let mut encoders = |n: usize| {
            (0..n)
                .map(|_| CrossmodalEncoder::new(encoder, init))
                .collect()
        };
        let exchange = encoders(if auxiliaries == 2 { 2 } else { 0 });
        let support_encoders = encoders(match support {
            Support::Separate => auxiliaries,
            Support::Shared | Support::Sequential => 1,
        });
        Self {
            exchange,
            support: support_encoders,
            mix: init.constant([modalities], 1.0),
            sequential: support == Support::Sequential,
        }
    }

    /// The primary sequence with what each auxiliary one contributes, weighted.
    ///
    /// # Shapes
    /// - `primary`: `[batch, time, d_model]`, also the result's batch and time
    /// - `auxiliaries`: one or two, in descending weight
    /// - result: `[batch, time, (1 + auxiliaries) * d_model]`
    pub(super) fn forward(
        &self,
        primary: &Stream,
        auxiliaries: &[Stream],
        rec: &mut Recorder,
    ) -> Tensor<3> {
        // Level 1.
        let helpers: Vec<Tensor<3>> = match (auxiliaries, &self.exchange[..]) {
            ([first, second], [to_first, to_second]) => vec![
                cross(to_first, first, second, rec),
                cross(to_second, second, first, rec),
            ],
            _ => auxiliaries.iter().map(|a| a.x.clone()).collect(),
        };
        // Level 2.
        let mut parts = vec![primary.x.clone()];
        for (i, (helper, auxiliary)) in helpers.into_iter().zip(auxiliaries).enumerate() {
            let encoder = &self.support[i.min(self.support.len() - 1)];
            let query = if self.sequential {
                parts[i].clone()
            } else {
                primary.x.clone()
            };
            let pad = auxiliary.pad_mask.as_ref();
            parts.push(encoder.forward_cross(query, helper, pad, rec));
        }
        let weights = softmax(self.mix.val(), 0);
        let weighted = parts
            .into_iter()
            .enumerate()
            .map(|(i, part)| part * weights.clone().narrow(0, i, 1).reshape([1, 1, 1]));
        Tensor::cat(weighted.collect(), 2)
    }
}

fn cross(
    encoder: &CrossmodalEncoder,
    target: &Stream,
    source: &Stream,
    rec: &mut Recorder,
) -> Tensor<3> {
    encoder.forward_cross(
        target.x.clone(),
        source.x.clone(),
        source.pad_mask.as_ref(),
        rec,
    )
}
