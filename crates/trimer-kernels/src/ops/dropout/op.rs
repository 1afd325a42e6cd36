//! Dropout as an operation of Burn's Flex backend, with its backward pass.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Flex, TensorMetadata, backend_extension};

use super::kernel;
use crate::engine::dropout_bits::DropoutStream;
use crate::engine::pool::Buffer;
use crate::engine::tensors::{contiguous, tensor, values};

/// Options of one call.
#[derive(Debug, Clone)]
pub struct Call {
    pub(super) columns: usize,
    pub(super) stream: Option<DropoutStream>,
    pub(super) rows: Option<Arc<[f32]>>,
}

/// The fused dropout.
#[backend_extension(Flex, Autodiff)]
pub trait DropoutOps: Backend {
    /// See [`crate::dropout()`] and [`crate::add_rows_dropout()`].
    fn fused_dropout(x: FloatTensor<Self>, call: Call) -> FloatTensor<Self>;
}

impl DropoutOps for Flex {
    fn fused_dropout(x: FlexTensor, call: Call) -> FlexTensor {
        infer(x, &call)
    }
}

impl<C: CheckpointStrategy> DropoutOps for Autodiff<Flex, C> {
    fn fused_dropout(x: FloatTensor<Self>, call: Call) -> FloatTensor<Self> {
        let nodes = [x.node()];
        let y = infer(x.into_primitive(), &call);
        match DropoutBackward
            .prepare::<C>(nodes)
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish(call, y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}

fn infer(x: FlexTensor, call: &Call) -> FlexTensor {
    run(&contiguous(x), call, call.rows.as_deref())
}

fn run(x: &FlexTensor, call: &Call, rows: Option<&[f32]>) -> FlexTensor {
    let mut y = Buffer::take(values(x).len());
    kernel::dropout(values(x), rows, call.columns, call.stream.as_ref(), &mut y);
    tensor(y, x.shape())
}

#[derive(Debug)]
struct DropoutBackward;

impl Backward<Flex, 1> for DropoutBackward {
    type State = Call;

    fn backward(self, ops: Ops<Call, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = contiguous(grads.consume::<Flex>(&ops.node));
        let [parent] = ops.parents;
        if let Some(node) = parent {
            // The rows are constants.
            grads.register::<Flex>(node.id, run(&dy, &ops.state, None));
        }
    }
}
