//! Weighted sums of sequences, segment by segment.

use rayon::prelude::*;

use crate::engine::pool::Buffer;
use crate::engine::rows::dot;

/// Most streams of one fusion: text, audio, vision.
pub(crate) const MOST: usize = 3;

/// Sizes of a fusion.
#[derive(Debug, Clone)]
pub struct Layout {
    pub(crate) batch: usize,
    pub(crate) d: usize,
    pub(crate) n_tokens: usize,
    /// Positions of each stream; zero where there is none.
    pub(crate) times: [usize; MOST],
    /// Whether the joint sequence has segments, or tokens alone.
    pub(crate) has_joint: bool,
}

impl Layout {
    /// Positions of the result.
    pub(crate) fn time(&self) -> usize {
        self.n_tokens + self.times.iter().sum::<usize>()
    }

    fn joint_time(&self) -> usize {
        if self.has_joint {
            self.time()
        } else {
            self.n_tokens
        }
    }

    /// Streams in use, each with where its values begin in a sample of the result.
    fn segments(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        let mut start = self.n_tokens * self.d;
        let used = self.times.into_iter().enumerate().filter(|(_, t)| *t > 0);
        used.map(move |(i, time)| {
            let (at, len) = (start, time * self.d);
            start += len;
            (i, at, len)
        })
    }

    fn joint_of<'a>(&self, joint: &'a [f32], sample: usize) -> &'a [f32] {
        let len = self.joint_time() * self.d;
        &joint[sample * len..][..len]
    }
}

/// Writes the fusion of `[stream, stream, stream, joint, stream weights, joint weights]`.
pub(crate) fn forward(layout: &Layout, parts: &[&[f32]; 6], out: &mut [f32]) {
    let [.., joint, stream_weights, joint_weights] = parts;
    let tokens = layout.n_tokens * layout.d;
    out.par_chunks_mut(layout.time() * layout.d)
        .enumerate()
        .for_each(|(sample, out)| {
            let joint = layout.joint_of(joint, sample);
            out[..tokens].copy_from_slice(&joint[..tokens]);
            for (i, at, len) in layout.segments() {
                let out = &mut out[at..at + len];
                let stream = &parts[i][sample * len..(sample + 1) * len];
                let a = stream_weights[i];
                if layout.has_joint {
                    let b = joint_weights[i];
                    let pairs = stream.iter().zip(&joint[at..at + len]);
                    for (out, (z, j)) in out.iter_mut().zip(pairs) {
                        *out = a * z + b * j;
                    }
                } else {
                    for (out, z) in out.iter_mut().zip(stream) {
                        *out = a * z;
                    }
                }
            }
        });
}

/// Writes the gradients of [`forward`] with respect to all six parts.
pub(crate) fn backward(
    layout: &Layout,
    parts: &[&[f32]; 6],
    dy: &[f32],
    gradients: [&mut [f32]; 6],
) {
    let [.., joint, stream_weights, joint_weights] = parts;
    let [d_first, d_second, d_third, d_joint, d_streams, d_joints] = gradients;
    let mut d_parts = [d_first, d_second, d_third].map(<[f32]>::iter_mut);
    let mut sums = Buffer::zeros(layout.batch * 2 * MOST);
    // Each sample gets its own piece of every gradient.
    let mut d_joint_rows = d_joint.chunks_mut((layout.joint_time() * layout.d).max(1));
    let mut sum_rows = sums.chunks_mut(2 * MOST);
    let mut tasks = Vec::with_capacity(layout.batch);
    for (sample, dy) in dy.chunks(layout.time() * layout.d).enumerate() {
        let mut pieces: [&mut [f32]; MOST] = Default::default();
        for (i, _, len) in layout.segments() {
            let rest = std::mem::replace(&mut d_parts[i], [].iter_mut()).into_slice();
            let (piece, rest) = rest.split_at_mut(len);
            pieces[i] = piece;
            d_parts[i] = rest.iter_mut();
        }
        let d_joint = d_joint_rows.next().unwrap_or_default();
        let sums = sum_rows.next().unwrap_or_default();
        tasks.push((sample, dy, pieces, d_joint, sums));
    }
    let tokens = layout.n_tokens * layout.d;
    tasks
        .into_par_iter()
        .for_each(|(sample, dy, mut pieces, d_joint, sums)| {
            d_joint[..tokens].copy_from_slice(&dy[..tokens]);
            let joint = layout.joint_of(joint, sample);
            for (i, at, len) in layout.segments() {
                let dy = &dy[at..at + len];
                let stream = &parts[i][sample * len..(sample + 1) * len];
                scaled(dy, stream_weights[i], pieces[i]);
                sums[i] = dot(dy, stream);
                if layout.has_joint {
                    scaled(dy, joint_weights[i], &mut d_joint[at..at + len]);
                    sums[MOST + i] = dot(dy, &joint[at..at + len]);
                }
                pieces[i] = &mut [];
            }
        });
    for (offset, gradient) in [(0, d_streams), (MOST, d_joints)] {
        for (i, gradient) in gradient.iter_mut().enumerate() {
            let all = sums.chunks(2 * MOST).map(|s| f64::from(s[offset + i]));
            *gradient = all.sum::<f64>() as f32;
        }
    }
}

fn scaled(x: &[f32], factor: f32, out: &mut [f32]) {
    for (out, x) in out.iter_mut().zip(x) {
        *out = factor * x;
    }
}
