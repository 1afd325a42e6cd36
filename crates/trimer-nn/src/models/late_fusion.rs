//! Fusion in the classifier: the scores are a sum of one linear part per modality.

use crate::layers::Linear;
use crate::layers::turns::JOINT_ORDER;
use burn::tensor::Tensor;
use trimer_core::{Head, HeadMap, Modality, ModalityMap};

/// One modality's part of a linear classifier.
#[derive(Debug, Clone)]
pub struct LatePart {
    /// `[n_outputs, width]`.
    pub weight: Tensor<2>,
    /// `[n_outputs]`: the share of the bias, or the bias of its own.
    pub bias: Tensor<1>,
    /// Where the modality's features start in the joint ones; read where the output has none of the
    /// modality alone.
    pub start: usize,
}

/// `logits = Σ_u h_u W_uᵀ + b_u`: how the modalities meet in the classifier.
///
/// Concatenation is the case `[h_1; ..; h_M] Wᵀ + b` with `W` cut into columns and `b_u = b / M`; a sum
/// of one classifier per modality has its own bias in each. `[Peng2022]`
#[derive(Debug, Clone)]
pub struct LateFusion {
    /// Per modality that takes part.
    pub parts: ModalityMap<Option<LatePart>>,
    /// Whether modalities meet nowhere else.
    pub purely_late: bool,
    /// Whether a parameter belongs to the encoder of its modality rather than to the projection in front
    /// of it, which FAGM's late variant leaves alone.
    pub in_encoder: fn(&str) -> bool,
}

impl LateFusion {
    /// A linear classifier on concatenated features of equal width, in [`JOINT_ORDER`], of the
    /// modalities that are `present`.
    pub fn side_by_side(head: &Linear, present: impl Fn(Modality) -> bool) -> Self {
        let [_, joint] = head.weight.dims();
        let modalities: Vec<Modality> = JOINT_ORDER.into_iter().filter(|m| present(*m)).collect();
        let n = modalities.len().max(1);
        let width = joint / n;
        let mut parts = ModalityMap::<Option<LatePart>>::default();
        for (i, modality) in modalities.iter().enumerate() {
            *parts.get_mut(*modality) = Some(LatePart {
                weight: head.weight.val().narrow(1, i * width, width),
                bias: head.bias.val() / n as f64,
                start: i * width,
            });
        }
        Self {
            parts,
            purely_late: false,
            in_encoder: |_| true,
        }
    }

    /// `h_u`, detached.
    ///
    /// # Shapes
    /// - result: `[rows, width]`
    fn feature(
        part: &LatePart,
        modality: Modality,
        features: &HeadMap<Option<Tensor<2>>>,
    ) -> Option<Tensor<2>> {
        let [_, width] = part.weight.dims();
        if let Some(own) = features.get(Head::from(modality)) {
            Some(own.clone().without_autodiff())
        } else {
            let joint = features.multimodal.clone()?.without_autodiff();
            Some(joint.narrow(1, part.start, width))
        }
    }

    /// The scores of each modality alone, `h_u W_uᵀ + b_u`.
    ///
    /// # Shapes
    /// - result: `[rows, n_outputs]` each
    pub fn alone(&self, features: &HeadMap<Option<Tensor<2>>>) -> ModalityMap<Option<Tensor<2>>> {
        ModalityMap::from_fn(|m| {
            let part = self.parts.get(m).as_ref()?;
            let h = Self::feature(part, m, features)?;
            let bias = part.bias.clone().without_autodiff().unsqueeze();
            Some(h.matmul(part.weight.clone().without_autodiff().transpose()) + bias)
        })
    }

    /// The scores with the features of `erased` at zero.
    ///
    /// # Shapes
    /// - result: `[rows, n_outputs]`
    pub fn without(
        &self,
        erased: Modality,
        features: &HeadMap<Option<Tensor<2>>>,
    ) -> Option<Tensor<2>> {
        let alone = self.alone(features);
        let parts = Modality::ALL.into_iter().filter_map(|m| {
            let scores = alone.get(m).clone()?;
            let part = self.parts.get(m).as_ref()?;
            Some(if m == erased {
                let bias = part.bias.clone().without_autodiff().unsqueeze::<2>();
                scores.zeros_like() + bias
            } else {
                scores
            })
        });
        parts.reduce(|a, b| a + b)
    }
}
