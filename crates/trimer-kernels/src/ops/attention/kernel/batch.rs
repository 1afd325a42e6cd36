//! Attention over the samples of a batch, split over threads.

use rayon::prelude::*;

use super::{Features, FeaturesMut, Sample};
use crate::engine::dropout_bits::DropoutStream;

/// Sizes and options of an attention over a batch.
#[derive(Debug)]
pub(crate) struct Shape {
    pub(crate) batch: usize,
    pub(crate) n_queries: usize,
    pub(crate) n_keys: usize,
    pub(crate) d_model: usize,
    pub(crate) n_heads: usize,
    pub(crate) causal: Option<i64>,
    pub(crate) dropout: Option<DropoutStream>,
    pub(crate) visible: Option<Vec<Vec<u32>>>,
}

impl Shape {
    fn sample<'a>(&'a self, index: usize, [q, k, v]: [&'a [f32]; 3]) -> Sample<'a> {
        let of = |x: &'a [f32], time: usize| {
            let size = time * self.d_model;
            Features {
                data: &x[index * size..(index + 1) * size],
                ld: self.d_model,
                at: 0,
            }
        };
        Sample {
            n_heads: self.n_heads,
            width: self.d_model / self.n_heads,
            n_queries: self.n_queries,
            n_keys: self.n_keys,
            q: of(q, self.n_queries),
            k: of(k, self.n_keys),
            v: of(v, self.n_keys),
            visible: self.visible.as_ref().map(|v| v[index].as_slice()),
            causal: self.causal,
            dropout: self.dropout,
            index,
            dropout_rows: self.n_keys,
        }
    }
}

/// Attention of `[batch, time, d_model]` matrices; `lse` takes one value per sample, head and query.
pub(crate) fn forward(shape: &Shape, qkv: [&[f32]; 3], out: &mut [f32], lse: &mut [f32]) {
    let d = shape.d_model;
    out.par_chunks_mut(shape.n_queries * d)
        .zip(lse.par_chunks_mut(shape.n_heads * shape.n_queries))
        .enumerate()
        .with_max_len(1)
        .for_each(|(i, (out, lse))| {
            let sample = shape.sample(i, qkv);
            sample.forward(
                &mut FeaturesMut::new(out, d),
                lse,
                &mut sample.scratch(false),
            );
        });
}

/// Writes the gradients of [`forward`].
pub(crate) fn backward(
    shape: &Shape,
    qkv: [&[f32]; 3],
    lse: &[f32],
    out: &[f32],
    dout: &[f32],
    [dq, dk, dv]: [&mut [f32]; 3],
) {
    let d = shape.d_model;
    let (queries, keys) = (shape.n_queries * d, shape.n_keys * d);
    dq.par_chunks_mut(queries)
        .zip(dk.par_chunks_mut(keys))
        .zip(dv.par_chunks_mut(keys))
        .enumerate()
        .with_max_len(1)
        .for_each(|(i, ((dq, dk), dv))| {
            let sample = shape.sample(i, qkv);
            let of = |x| Features {
                data: x,
                ld: d,
                at: 0,
            };
            let per_sample = shape.n_heads * shape.n_queries;
            sample.backward(
                &lse[i * per_sample..(i + 1) * per_sample],
                of(&out[i * queries..(i + 1) * queries]),
                of(&dout[i * queries..(i + 1) * queries]),
                [dq, dk, dv].map(|x| FeaturesMut::new(x, d)),
                &mut sample.scratch(true),
            );
        });
}
