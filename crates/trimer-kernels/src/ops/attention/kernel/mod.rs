//! Scaled dot-product attention, without the matrix of weights.
//!
//! Everything is computed transposed: a strip holds the scores of a few queries (one per lane) against all keys, one
//! key per row. So the softmax needs no sums across lanes, and every product broadcasts from a small matrix of keys or
//! values. The strip lives in the first-level cache; the backward pass computes it again from the saved log-sum-exp.
#![expect(unsafe_code, reason = "the kernels work on raw pointers")]

mod backward;
pub(crate) mod batch;
mod forward;
mod head;
#[cfg(test)]
mod tests;

use std::marker::PhantomData;

use self::backward::Backward;
use self::forward::Forward;
pub(crate) use self::head::Scratch;
use self::head::{Head, Rows, RowsMut};
use crate::engine::dropout_bits::DropoutStream;

/// Rows of features of one sample, `ld` values apart; the heads' features lie side by side from column `at` on.
#[derive(Clone, Copy)]
pub(crate) struct Features<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) ld: usize,
    pub(crate) at: usize,
}

/// Writable rows of features, as [`Features`]; several may lie side by side in the same rows.
pub(crate) struct FeaturesMut<'a> {
    data: *mut f32,
    len: usize,
    ld: usize,
    at: usize,
    end: usize,
    owner: PhantomData<&'a mut [f32]>,
}

impl<'a> FeaturesMut<'a> {
    pub(crate) fn new(data: &'a mut [f32], ld: usize) -> Self {
        let (len, data) = (data.len(), data.as_mut_ptr());
        Self {
            data,
            len,
            ld,
            at: 0,
            end: ld,
            owner: PhantomData,
        }
    }

    /// `N` equal parts of each row side by side, say queries, keys and values.
    pub(crate) fn split(data: &'a mut [f32], ld: usize, parts: usize) -> Vec<Self> {
        assert_eq!(ld % parts, 0, "rows of {parts} equal parts");
        let (len, data, width) = (data.len(), data.as_mut_ptr(), ld / parts);
        let part = |i: usize| {
            let at = i * width;
            Self {
                data,
                len,
                ld,
                at,
                end: at + width,
                owner: PhantomData,
            }
        };
        (0..parts).map(part).collect()
    }

    /// Queries, keys and values side by side.
    pub(crate) fn thirds(data: &'a mut [f32], ld: usize) -> [Self; 3] {
        Self::split(data, ld, 3)
            .try_into()
            .unwrap_or_else(|_| unreachable!("asked for three"))
    }
}

// SAFETY: parts of the same rows never overlap (`head` checks that a part is used within its columns alone), so a part
// may be used in another thread like an exclusive reference.
unsafe impl Send for FeaturesMut<'_> {}

/// Whether `rows` rows with `columns` columns from `at` on lie within `len` values.
fn holds(len: usize, ld: usize, at: usize, rows: usize, columns: usize) -> bool {
    at + columns <= ld && rows * ld <= len
}

impl<'a> Features<'a> {
    fn head(&self, rows: usize, width: usize, head: usize) -> Rows<'a> {
        let at = self.at + head * width;
        assert!(
            holds(self.data.len(), self.ld, at, rows, width),
            "{rows} rows of {width} at {at}"
        );
        Rows::new(self.data.as_ptr().wrapping_add(at), self.ld)
    }
}

impl FeaturesMut<'_> {
    fn head(&mut self, rows: usize, width: usize, head: usize) -> RowsMut<'_> {
        let at = self.at + head * width;
        let fits = at + width <= self.end && holds(self.len, self.ld, at, rows, width);
        assert!(fits, "{rows} rows of {width} at {at}");
        RowsMut::new(self.data.wrapping_add(at), self.ld)
    }
}

/// Attention of one sample, all heads.
#[derive(Clone, Copy)]
pub(crate) struct Sample<'a> {
    pub(crate) n_heads: usize,
    /// Features of one head.
    pub(crate) width: usize,
    pub(crate) n_queries: usize,
    pub(crate) n_keys: usize,
    pub(crate) q: Features<'a>,
    pub(crate) k: Features<'a>,
    pub(crate) v: Features<'a>,
    /// The keys that take part, ascending; `None` = all.
    pub(crate) visible: Option<&'a [u32]>,
    /// With `Some(o)`, query `i` sees key `j` only if `j <= i + o`.
    pub(crate) causal: Option<i64>,
    pub(crate) dropout: Option<DropoutStream>,
    /// Number of the sample in the batch.
    pub(crate) index: usize,
    /// Rows of random bits that each head has to itself: the number of keys of the longest sample.
    pub(crate) dropout_rows: usize,
}

impl<'a> Sample<'a> {
    fn head(&self, head: usize, lse: *mut f32) -> Head<'a> {
        let (n_queries, n_keys, width) = (self.n_queries, self.n_keys, self.width);
        let visible = self.visible;
        assert!(
            visible.is_none_or(|v| v.iter().all(|&j| (j as usize) < n_keys)),
            "keys exist"
        );
        Head {
            n_queries,
            n_keys,
            width,
            q: self.q.head(n_queries, width, head),
            k: self.k.head(n_keys, width, head),
            v: self.v.head(n_keys, width, head),
            visible,
            causal: self.causal,
            dropout: self.dropout,
            first_dropout_row: ((self.index * self.n_heads + head) * self.dropout_rows) as u64,
            lse,
        }
    }

    pub(crate) fn scratch(&self, backward: bool) -> Scratch {
        Scratch::new(self.n_queries, self.n_keys, self.width, backward)
    }

    /// Writes the result, and per head and query what the backward pass needs.
    pub(crate) fn forward(
        &self,
        out: &mut FeaturesMut<'_>,
        lse: &mut [f32],
        scratch: &mut Scratch,
    ) {
        assert_eq!(
            lse.len(),
            self.n_heads * self.n_queries,
            "one value per head and query"
        );
        for head in 0..self.n_heads {
            let lse = lse[head * self.n_queries..].as_mut_ptr();
            let out = out.head(self.n_queries, self.width, head);
            let head = self.head(head, lse);
            // SAFETY: `Features::head` and the assertion above checked the sizes; `Parts` checks the scratch.
            unsafe { Forward { head, out, scratch }.run() }
        }
    }

    /// Writes the gradients of queries, keys and values. `lse` and `out` are those of the forward pass.
    pub(crate) fn backward(
        &self,
        lse: &[f32],
        out: Features<'_>,
        dout: Features<'_>,
        [mut dq, mut dk, mut dv]: [FeaturesMut<'_>; 3],
        scratch: &mut Scratch,
    ) {
        let (n_queries, n_keys, width) = (self.n_queries, self.n_keys, self.width);
        assert_eq!(
            lse.len(),
            self.n_heads * n_queries,
            "one value per head and query"
        );
        for head in 0..self.n_heads {
            let backward = Backward {
                // The backward pass only reads it.
                head: self.head(head, lse[head * n_queries..].as_ptr().cast_mut()),
                out: out.head(n_queries, width, head),
                dout: dout.head(n_queries, width, head),
                dq: dq.head(n_queries, width, head),
                dk: dk.head(n_keys, width, head),
                dv: dv.head(n_keys, width, head),
                scratch,
            };
            // SAFETY: `Features::head` and the assertion above checked the sizes; `Parts` checks the scratch.
            unsafe { backward.run() }
        }
    }
}
