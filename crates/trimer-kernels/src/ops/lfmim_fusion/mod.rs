//! LFMIM's layer-wise fusion: one sequence made of several, as weighted sums.

mod kernel;
pub(crate) mod op;
mod plain;
#[cfg(test)]
mod tests;

use burn::backend::Dispatch;
use burn::tensor::Tensor;

use self::kernel::{Layout, MOST};
use self::op::{FusionParts, LfmimFusionOps};
use crate::kernel_path::fused;

/// What [`lfmim_fusion`] joins.
#[derive(Debug, Clone)]
pub struct LfmimFusionInputs {
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
pub fn lfmim_fusion(inputs: LfmimFusionInputs) -> Tensor<3> {
    let [batch, joint_time, d] = inputs.joint.dims();
    let n = inputs.streams.len();
    assert!((1..=MOST).contains(&n), "{n} streams");
    assert_eq!(inputs.stream_weights.dims(), [n], "weights of {n} streams");
    assert_eq!(inputs.joint_weights.dims(), [n], "weights of {n} segments");
    let mut times = [0; MOST];
    for (time, stream) in times.iter_mut().zip(&inputs.streams) {
        let [b, t, width] = stream.dims();
        assert_eq!([b, width], [batch, d], "a stream fused with `joint`");
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
        return plain::lfmim_fusion(inputs, &layout);
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
    Tensor::from_dispatch(<Dispatch as LfmimFusionOps>::lfmim_fusion(parts, layout))
}
