//! Outer products of pairs of vectors, sample by sample, with the dropout on them.
#![expect(unsafe_code, reason = "the kernels work on raw pointers")]

use rayon::prelude::*;

use crate::engine::dropout_bits::DropoutStream;
use crate::engine::pool::Buffer;
use crate::engine::rows::drop_part;
use crate::engine::simd::{Kernel, Simd, each, with_simd};

/// Values that a task writes, and then drops from while they are in the first-level cache.
const TASK: usize = 1 << 12;

/// Lines of one task: a multiple of 32, so that its first value begins a group of dropout's decisions.
fn lines(right: usize) -> usize {
    (TASK / right.max(1)).next_multiple_of(32).max(32)
}

/// `out[b, i, j] = Drop(left[b, i] right[b, j])`.
///
/// # Shapes
/// - `left`: `[batch, n]`, `right`: `[batch, m]`
/// - `out`: `[batch, n m]`, of which `n m` are the columns of the dropout
pub(crate) fn forward(
    [left, right]: [&[f32]; 2],
    [n, m]: [usize; 2],
    dropout: Option<&DropoutStream>,
    out: &mut [f32],
) {
    let lines = lines(m);
    let vectors = left.par_chunks(n).zip(right.par_chunks(m));
    out.par_chunks_mut(n * m).zip(vectors).enumerate().for_each(
        |(sample, (out, (left, right)))| {
            out.par_chunks_mut(lines * m)
                .zip(left.par_chunks(lines))
                .enumerate()
                .for_each(|(task, (out, left))| {
                    with_simd(Product { left, right, out });
                    if let Some(stream) = dropout {
                        drop_part(out, stream, sample as u64, group(task, lines, m));
                    }
                });
        },
    );
}

/// The gradients of [`forward`], written over what was there.
pub(crate) fn backward(
    [left, right]: [&[f32]; 2],
    [n, m]: [usize; 2],
    dropout: Option<&DropoutStream>,
    dout: &[f32],
    [dleft, dright]: [&mut [f32]; 2],
) {
    let lines = lines(m);
    let vectors = left.par_chunks(n).zip(right.par_chunks(m));
    dout.par_chunks(n * m)
        .zip(vectors)
        .zip(dleft.par_chunks_mut(n).zip(dright.par_chunks_mut(m)))
        .enumerate()
        .for_each(|(sample, ((dout, (left, right)), (dleft, dright)))| {
            dright.fill(0.0);
            let mut kept = dropout.map(|_| Buffer::take(lines.min(n) * m));
            let tasks = dout.chunks(lines * m).zip(left.chunks(lines));
            for (task, ((dout, left), dleft)) in tasks.zip(dleft.chunks_mut(lines)).enumerate() {
                let dout = match (&mut kept, dropout) {
                    (Some(kept), Some(stream)) => {
                        let kept = &mut kept[..dout.len()];
                        kept.copy_from_slice(dout);
                        drop_part(kept, stream, sample as u64, group(task, lines, m));
                        kept
                    }
                    _ => dout,
                };
                with_simd(Gradients {
                    left,
                    right,
                    dout,
                    dleft,
                    dright,
                });
            }
        });
}

/// The first group of 32 columns of a task.
fn group(task: usize, lines: usize, m: usize) -> u32 {
    (task * lines * m / 32) as u32
}

struct Product<'a> {
    left: &'a [f32],
    right: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for Product<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (n, m) = (self.left.len(), self.right.len());
        assert_eq!(self.out.len(), n * m, "an outer product of {n} and {m}");
        let whole = m - m % S::LANES;
        let right = self.right.as_ptr();
        each!(i in n => {
            let factor = s.splat(self.left[i]);
            // SAFETY: line `i` of `n` lines of `m` values, checked above.
            unsafe {
                let line = self.out.as_mut_ptr().add(i * m);
                let mut j = 0;
                while j < whole {
                    s.store(line.add(j), s.mul(factor, s.load(right.add(j))));
                    j += S::LANES;
                }
                if whole < m {
                    let part = s.load_part(right.add(whole), m - whole);
                    s.store_part(line.add(whole), m - whole, s.mul(factor, part));
                }
            }
        });
    }
}

struct Gradients<'a> {
    left: &'a [f32],
    right: &'a [f32],
    dout: &'a [f32],
    dleft: &'a mut [f32],
    /// To be added to.
    dright: &'a mut [f32],
}

impl Kernel for Gradients<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (n, m) = (self.left.len(), self.right.len());
        assert_eq!(self.dout.len(), n * m, "an outer product of {n} and {m}");
        assert!(self.dleft.len() == n && self.dright.len() == m);
        let whole = m - m % S::LANES;
        let (right, dright) = (self.right.as_ptr(), self.dright.as_mut_ptr());
        each!(i in n => {
            let factor = s.splat(self.left[i]);
            let mut sum = s.splat(0.0);
            // SAFETY: line `i` of `n` lines of `m` values, and `m` values of both vectors, checked above.
            unsafe {
                let line = self.dout.as_ptr().add(i * m);
                let mut j = 0;
                while j < whole {
                    let d = s.load(line.add(j));
                    sum = s.fma(d, s.load(right.add(j)), sum);
                    s.store(dright.add(j), s.fma(d, factor, s.load(dright.add(j))));
                    j += S::LANES;
                }
                if whole < m {
                    let left = m - whole;
                    let d = s.load_part(line.add(whole), left);
                    sum = s.fma(d, s.load_part(right.add(whole), left), sum);
                    let before = s.load_part(dright.add(whole), left);
                    s.store_part(dright.add(whole), left, s.fma(d, factor, before));
                }
            }
            self.dleft[i] = s.sum(sum);
        });
    }
}
