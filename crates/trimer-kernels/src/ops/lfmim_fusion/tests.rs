//! The fusion through Burn's interface.

use super::{LfmimFusionInputs, lfmim_fusion};
use crate::testing::gradients::check;

#[test]
fn fusions() {
    for (times, n_tokens, d, has_joint) in [
        ([1, 1, 1], 1, 1, true),
        ([7, 1, 3], 2, 13, true),
        ([7, 2, 1], 1, 33, false),
        ([245, 7, 1], 4, 20, true),
    ] {
        let total = n_tokens + times.iter().sum::<usize>();
        let joint = if has_joint { total } else { n_tokens };
        let batch = 3;
        let mut sizes = vec![(batch * joint * d, 1.0), (3, 1.0), (3, 1.0)];
        sizes.extend(times.map(|t| (batch * t * d, 1.0)));
        check(
            &format!("fusion of {times:?} and {n_tokens} tokens, joint {has_joint}"),
            &sizes,
            |x| {
                let streams = x[3..].iter().zip(times);
                let fused = lfmim_fusion(LfmimFusionInputs {
                    joint: x[0].clone().reshape([batch, joint, d]),
                    streams: streams
                        .map(|(x, t)| x.clone().reshape([batch, t, d]))
                        .collect(),
                    stream_weights: x[1].clone(),
                    joint_weights: x[2].clone(),
                    n_tokens,
                });
                // Without joint states their weights take no part.
                fused + x[2].clone().sum().reshape([1, 1, 1])
            },
            |x| {
                let extra: f64 = x[2].iter().sum();
                let mut out = Vec::new();
                for sample in 0..batch {
                    let at = sample * joint * d;
                    out.extend_from_slice(&x[0][at..at + n_tokens * d]);
                    let mut start = at + n_tokens * d;
                    for (i, time) in times.into_iter().enumerate() {
                        let len = time * d;
                        for (c, z) in x[3 + i][sample * len..(sample + 1) * len]
                            .iter()
                            .enumerate()
                        {
                            let own = if has_joint {
                                x[2][i] * x[0][start + c]
                            } else {
                                0.0
                            };
                            out.push(x[1][i] * z + own);
                        }
                        start += len;
                    }
                }
                out.iter().map(|y| y + extra).collect()
            },
        );
    }
}
