//! The fusion as an operation of Burn's Flex backend, with its backward pass.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Flex, TensorMetadata, backend_extension};
use burn::tensor::Shape;

use super::kernel::{Layout, backward, forward};
use crate::engine::pool::Buffer;
use crate::engine::tensors::{contiguous, tensor, values};

primitives! {
    /// [`super::LfmimFusionInputs`] as backend primitives.
    FusionParts[6] {
        first,
        second,
        third,
        joint,
        stream_weights,
        joint_weights,
    }
}

/// The fused fusion of streams.
#[backend_extension(Flex, Autodiff)]
pub trait LfmimFusionOps: Backend {
    /// See [`crate::lfmim_fusion()`].
    fn lfmim_fusion(
        #[extension_type] parts: FusionParts<Self>,
        layout: Layout,
    ) -> FloatTensor<Self>;
}

impl LfmimFusionOps for Flex {
    fn lfmim_fusion(parts: FusionParts<Self>, layout: Layout) -> FlexTensor {
        run(&parts.into_array().map(contiguous), &layout)
    }
}

impl<C: CheckpointStrategy> LfmimFusionOps for Autodiff<Flex, C> {
    fn lfmim_fusion(parts: FusionParts<Self>, layout: Layout) -> FloatTensor<Self> {
        let parts = parts.into_array();
        let nodes: [_; 6] = std::array::from_fn(|i| parts[i].node());
        let parts = parts.map(|p| contiguous(p.into_primitive()));
        let out = run(&parts, &layout);
        match FusionBackward
            .prepare::<C>(nodes)
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish(State { parts, layout }, out),
            OpsKind::UnTracked(prep) => prep.finish(out),
        }
    }
}

fn run(parts: &[FlexTensor; 6], layout: &Layout) -> FlexTensor {
    let mut out = Buffer::take(layout.batch * layout.time() * layout.d);
    forward(layout, &parts.each_ref().map(values), &mut out);
    tensor(out, Shape::from([layout.batch, layout.time(), layout.d]))
}

#[derive(Debug, Clone)]
struct State {
    parts: [FlexTensor; 6],
    layout: Layout,
}

#[derive(Debug)]
struct FusionBackward;

impl Backward<Flex, 6> for FusionBackward {
    type State = State;

    fn backward(self, ops: Ops<State, 6>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = contiguous(grads.consume::<Flex>(&ops.node));
        let State { parts, layout } = ops.state;
        let slices = parts.each_ref().map(values);
        let mut gradients = slices.map(|x| Buffer::take(x.len()));
        backward(
            &layout,
            &slices,
            values(&dy),
            gradients.each_mut().map(|g| &mut g[..]),
        );
        for ((parent, gradient), part) in ops.parents.into_iter().zip(gradients).zip(&parts) {
            if let Some(node) = parent {
                grads.register::<Flex>(node.id, tensor(gradient, part.shape()));
            }
        }
    }
}
