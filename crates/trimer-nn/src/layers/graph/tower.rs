//! From the features of a modality to one node per utterance.

use crate::batch::{Batch, Conversations};
use crate::layers::turns::JOINT_ORDER;
use crate::layers::{Initializer, Linear, Recurrent, RecurrentConfig};
use crate::recorder::Recorder;
use burn::module::Module;
use burn::tensor::Tensor;
use trimer_core::{Modality, ModalityMap};

/// A projection and, where the modality has one, a recurrent network over the turns.
#[derive(Module, Debug)]
pub struct TurnTower {
    /// From the features.
    pub linear: Linear,
    /// Over the turns.
    pub context: Option<Recurrent>,
}

impl TurnTower {
    /// `context.d_input` is the width of the projection.
    pub fn new(
        d_features: usize,
        context: &RecurrentConfig,
        reads_context: bool,
        init: &mut Initializer,
    ) -> Self {
        Self {
            linear: Linear::new(d_features, context.d_input, init),
            context: reads_context.then(|| Recurrent::new(context, init)),
        }
    }
}

/// What the references call a modality.
pub const fn letter(modality: Modality) -> char {
    match modality {
        Modality::Text => 'l',
        Modality::Audio => 'a',
        Modality::Vision => 'v',
    }
}

/// Projected features and their context, for each modality that the model reads, in the order audio,
/// vision, text.
///
/// Without `mask_padding` the recurrent network also reads the padding behind a conversation, as the
/// references do.
///
/// # Shapes
/// - result: `[utterance, d]` each, the projection first; the same tensor twice without a context
pub fn turn_nodes(
    towers: &ModalityMap<&Option<TurnTower>>,
    batch: &Batch,
    conversations: &Conversations,
    mask_padding: bool,
    rec: &mut Recorder,
) -> Vec<(Tensor<2>, Tensor<2>)> {
    let mut nodes = Vec::with_capacity(JOINT_ORDER.len());
    for modality in JOINT_ORDER {
        let (Some(tower), Some(sequence)) = (towers.get(modality), batch.sequences.get(modality))
        else {
            continue;
        };
        let values = sequence.values.clone();
        nodes.push(match &tower.context {
            // Half of a batch may be padding, and these features are the widest.
            None => {
                let projection = tower.linear.forward(conversations.unpad(values));
                (projection.clone(), projection)
            }
            Some(context) => {
                let projected = tower.linear.forward_sequence(values);
                let projection = conversations.unpad(projected.clone());
                let mask = mask_padding.then_some(&sequence.pad_mask);
                let states = context.forward(projected, mask, rec).states;
                (projection, conversations.unpad(states))
            }
        });
    }
    nodes
}
