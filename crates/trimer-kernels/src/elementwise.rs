//! Dropout of whole tensors, and the sum with constant rows that comes before it.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Dispatch, Flex, TensorMetadata};
use burn::tensor::{Tensor, TensorData};

use crate::dropout::{Site, Stream};
use crate::extension::{KernelOps, contiguous, tensor, values};
use crate::fused::rows;
use crate::path::fused;
use crate::plain;
use crate::pool::Buffer;

/// Options of one call.
#[derive(Debug, Clone)]
pub struct Call {
    columns: usize,
    stream: Option<Stream>,
    rows: Option<Arc<[f32]>>,
}

/// Zeroes each value with probability `p` and scales the others by the inverse of what is kept.
///
/// `seed` is to be different for every place and step.
///
/// # Panics
/// If `p` is not in `0..1`.
pub fn dropout<const D: usize>(x: Tensor<D>, p: f64, seed: u64) -> Tensor<D> {
    let Some(stream) = Stream::new(seed, Site::Values, p) else {
        return x;
    };
    if !fused(&x) || x.shape().num_elements() == 0 {
        return plain::dropout(x, Some(&stream));
    }
    let call = Call {
        columns: x.dims()[D - 1],
        stream: Some(stream),
        rows: None,
    };
    Tensor::from_dispatch(<Dispatch as KernelOps>::fused_dropout(
        x.into_dispatch(),
        call,
    ))
}

/// `Drop(x + rows)`, with the same rows for every sample; `dropout` gives probability and seed as for [`dropout()`].
///
/// # Shapes
/// - `x`, result: `[batch, time, d]`
/// - `rows`: `[time, d]`, row after row; constants, without a gradient
///
/// # Panics
/// If the shapes do not fit together, or the probability is not in `0..1`.
pub fn add_rows_dropout(x: Tensor<3>, rows: &Arc<[f32]>, dropout: Option<(f64, u64)>) -> Tensor<3> {
    let [_, time, d] = x.dims();
    assert_eq!(rows.len(), time * d, "rows for {time} x {d} values");
    let stream = dropout.and_then(|(p, seed)| Stream::new(seed, Site::Values, p));
    if !fused(&x) || x.shape().num_elements() == 0 {
        let rows = TensorData::new(rows.to_vec(), [1, time, d]);
        let rows = Tensor::<3>::from_data(rows, &x.device());
        return plain::dropout(x + rows, stream.as_ref());
    }
    let call = Call {
        columns: d,
        stream,
        rows: Some(Arc::clone(rows)),
    };
    Tensor::from_dispatch(<Dispatch as KernelOps>::fused_dropout(
        x.into_dispatch(),
        call,
    ))
}

pub(crate) fn infer(x: FlexTensor, call: &Call) -> FlexTensor {
    run(&contiguous(x), call, call.rows.as_deref())
}

fn run(x: &FlexTensor, call: &Call, rows: Option<&[f32]>) -> FlexTensor {
    let mut y = Buffer::take(values(x).len());
    rows::dropout(values(x), rows, call.columns, call.stream.as_ref(), &mut y);
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

pub(crate) fn record<C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<Flex, C>>,
    call: Call,
) -> FloatTensor<Autodiff<Flex, C>> {
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
