//! Both operations for Burn's Flex backend, with their backward passes.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Flex, TensorMetadata, backend_extension};
use burn::tensor::Shape;

use super::Links;
use super::kernel::{self, Saved};
use crate::engine::pool::Buffer;
use crate::engine::tensors::{contiguous, tensor, values};

/// The fused operations of the graph.
#[backend_extension(Flex, Autodiff)]
pub trait SimilarityGraphOps: Backend {
    /// See [`crate::similarity_links()`].
    fn similarity_links(x: FloatTensor<Self>, links: Links) -> FloatTensor<Self>;

    /// See [`crate::propagate_links()`].
    fn propagate_links(
        weights: FloatTensor<Self>,
        h: FloatTensor<Self>,
        links: Links,
    ) -> FloatTensor<Self>;
}

impl SimilarityGraphOps for Flex {
    fn similarity_links(x: FlexTensor, links: Links) -> FlexTensor {
        run_links(&contiguous(x), &links).0
    }

    fn propagate_links(weights: FlexTensor, h: FlexTensor, links: Links) -> FlexTensor {
        run_propagate(&[weights, h].map(contiguous), &links)
    }
}

impl<C: CheckpointStrategy> SimilarityGraphOps for Autodiff<Flex, C> {
    fn similarity_links(x: FloatTensor<Self>, links: Links) -> FloatTensor<Self> {
        let nodes = [x.node()];
        let x = contiguous(x.into_primitive());
        let (out, saved) = run_links(&x, &links);
        match LinksBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let state = LinksState {
                    shape: x.shape(),
                    saved: Arc::new(saved),
                    links,
                };
                prep.finish(state, out)
            }
            OpsKind::UnTracked(prep) => prep.finish(out),
        }
    }

    fn propagate_links(
        weights: FloatTensor<Self>,
        h: FloatTensor<Self>,
        links: Links,
    ) -> FloatTensor<Self> {
        let nodes = [weights.node(), h.node()];
        let inputs = [weights, h].map(|t| contiguous(t.into_primitive()));
        let out = run_propagate(&inputs, &links);
        match PropagateBackward
            .prepare::<C>(nodes)
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish(PropagateState { inputs, links }, out),
            OpsKind::UnTracked(prep) => prep.finish(out),
        }
    }
}

fn run_links(x: &FlexTensor, links: &Links) -> (FlexTensor, Saved) {
    let layout = &*links.0;
    let mut out = Buffer::take(layout.values());
    let saved = kernel::links(layout, values(x), x.shape()[1], &mut out);
    (tensor(out, Shape::from([layout.values()])), saved)
}

#[derive(Debug, Clone)]
struct LinksState {
    shape: Shape,
    saved: Arc<Saved>,
    links: Links,
}

#[derive(Debug)]
struct LinksBackward;

impl Backward<Flex, 1> for LinksBackward {
    type State = LinksState;

    fn backward(self, ops: Ops<LinksState, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dout = contiguous(grads.consume::<Flex>(&ops.node));
        let LinksState {
            shape,
            saved,
            links,
        } = ops.state;
        let [parent] = ops.parents;
        if let Some(node) = parent {
            let mut dx = Buffer::take(shape.num_elements());
            kernel::links_backward(&links.0, &saved, shape[1], values(&dout), &mut dx);
            grads.register::<Flex>(node.id, tensor(dx, shape));
        }
    }
}

fn run_propagate([weights, h]: &[FlexTensor; 2], links: &Links) -> FlexTensor {
    let mut out = Buffer::take(values(h).len());
    kernel::propagate(&links.0, values(weights), values(h), h.shape()[1], &mut out);
    tensor(out, h.shape())
}

#[derive(Debug, Clone)]
struct PropagateState {
    inputs: [FlexTensor; 2],
    links: Links,
}

#[derive(Debug)]
struct PropagateBackward;

impl Backward<Flex, 2> for PropagateBackward {
    type State = PropagateState;

    fn backward(self, ops: Ops<PropagateState, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dout = contiguous(grads.consume::<Flex>(&ops.node));
        let PropagateState { inputs, links } = ops.state;
        let mut gradients = inputs.each_ref().map(|x| Buffer::take(values(x).len()));
        kernel::propagate_backward(
            &links.0,
            inputs.each_ref().map(values),
            inputs[1].shape()[1],
            values(&dout),
            gradients.each_mut().map(|g| &mut g[..]),
        );
        for ((parent, gradient), x) in ops.parents.into_iter().zip(gradients).zip(&inputs) {
            if let Some(node) = parent {
                grads.register::<Flex>(node.id, tensor(gradient, x.shape()));
            }
        }
    }
}
