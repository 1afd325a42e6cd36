//! The fusion composed of Burn's own operations.

use burn::tensor::Tensor;

use super::LfmimFusionInputs;
use super::kernel::Layout;

pub(crate) fn lfmim_fusion(inputs: LfmimFusionInputs, layout: &Layout) -> Tensor<3> {
    let weight = |w: &Tensor<1>, i: usize| w.clone().narrow(0, i, 1).reshape([1, 1, 1]);
    let mut start = layout.n_tokens;
    let mut parts = vec![inputs.joint.clone().narrow(1, 0, start)];
    for (i, stream) in inputs.streams.into_iter().enumerate() {
        let time = layout.times[i];
        let mut sum = stream * weight(&inputs.stream_weights, i);
        if layout.has_joint {
            let segment = inputs.joint.clone().narrow(1, start, time);
            sum = sum + segment * weight(&inputs.joint_weights, i);
        }
        parts.push(sum);
        start += time;
    }
    Tensor::cat(parts, 1)
}
