//! LFMIM's layer-wise fusion: one sequence made of several, as weighted sums.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Dispatch, ExtensionType, Flex, TensorMetadata};
use burn::tensor::{Shape, Tensor};

use crate::extension::{KernelOps, contiguous, tensor, values};
use crate::fused::fusion::{Layout, MOST, backward, forward};
use crate::path::fused;
use crate::plain;
use crate::pool::Buffer;

/// What [`fuse_streams`] joins.
#[derive(Debug, Clone)]
pub struct FusionInputs {
    /// The joint sequence: tokens, then one segment per stream; or the tokens alone, where there are no joint states
    /// yet. `[batch, n_tokens + time, d]`
    pub joint: Tensor<3>,
    /// `[batch, time of the stream, d]` each, one to three.
    pub streams: Vec<Tensor<3>>,
    /// Weight of each stream, `[streams]`.
    pub stream_weights: Tensor<1>,
    /// Weight of each segment of the joint sequence, `[streams]`; without effect where there are tokens only.
    pub joint_weights: Tensor<1>,
    /// Positions in front that are taken over as they are.
    pub n_tokens: usize,
}

/// `[tokens; a_1 Z_1 + b_1 J_1; a_2 Z_2 + b_2 J_2; ..]` for streams `Z`, segments `J` of the joint sequence, and
/// weights `a`, `b`. `[Sun2023] eq. 3`
///
/// # Shapes
/// - result: `[batch, n_tokens + sum of the streams' times, d]`
///
/// # Panics
/// If the shapes do not fit together, or there are more than three streams.
pub fn fuse_streams(inputs: FusionInputs) -> Tensor<3> {
    let [batch, joint_time, d] = inputs.joint.dims();
    let n = inputs.streams.len();
    assert!((1..=MOST).contains(&n), "{n} streams");
    assert_eq!(inputs.stream_weights.dims(), [n], "weights of {n} streams");
    assert_eq!(inputs.joint_weights.dims(), [n], "weights of {n} segments");
    let mut times = [0; MOST];
    for (time, stream) in times.iter_mut().zip(&inputs.streams) {
        let [b, t, width] = stream.dims();
        assert_eq!([b, width], [batch, d], "a stream beside `joint`");
        *time = t;
    }
    let layout = Layout {
        batch,
        d,
        n_tokens: inputs.n_tokens,
        times,
        has_joint: joint_time != inputs.n_tokens,
    };
    assert!(
        !layout.has_joint || joint_time == layout.time(),
        "`joint` has {joint_time} positions, expected {}",
        layout.time()
    );
    if !fused(&inputs.joint) || batch * d * layout.time() == 0 {
        return plain::fuse_streams(inputs, &layout);
    }
    let mut streams: Vec<_> = inputs.streams;
    // Places that are not needed; their time is zero.
    streams.resize_with(MOST, || Tensor::zeros([1, 1, 1], &inputs.joint.device()));
    let mut streams = streams.into_iter().map(Tensor::into_dispatch);
    let mut next = || streams.next().expect("filled up to three above");
    let parts = FusionParts {
        first: next(),
        second: next(),
        third: next(),
        joint: inputs.joint.into_dispatch(),
        stream_weights: inputs.stream_weights.into_dispatch(),
        joint_weights: inputs.joint_weights.into_dispatch(),
    };
    Tensor::from_dispatch(<Dispatch as KernelOps>::fuse_streams(parts, layout))
}

/// [`FusionInputs`] as backend primitives.
#[derive(ExtensionType, Debug, Clone)]
pub struct FusionParts<B: burn::backend::Backend> {
    first: FloatTensor<B>,
    second: FloatTensor<B>,
    third: FloatTensor<B>,
    joint: FloatTensor<B>,
    stream_weights: FloatTensor<B>,
    joint_weights: FloatTensor<B>,
}

impl<B: burn::backend::Backend> FusionParts<B> {
    fn into_array(self) -> [FloatTensor<B>; 6] {
        [
            self.first,
            self.second,
            self.third,
            self.joint,
            self.stream_weights,
            self.joint_weights,
        ]
    }
}

pub(crate) fn infer(parts: FusionParts<Flex>, layout: &Layout) -> FlexTensor {
    run(&parts.into_array().map(contiguous), layout)
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

pub(crate) fn record<C: CheckpointStrategy>(
    parts: FusionParts<Autodiff<Flex, C>>,
    layout: Layout,
) -> FloatTensor<Autodiff<Flex, C>> {
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
