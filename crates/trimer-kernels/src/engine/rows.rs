//! What several operations do to rows: dropout in place, sums of products.
#![expect(unsafe_code, reason = "the kernels work on raw pointers")]

use super::dropout_bits::DropoutStream;
use super::simd::{Kernel, Simd, with_simd};

/// Values per task of an operation that only passes over its data.
pub(crate) const PASS: usize = 1 << 16;

/// Rows of `d` values per task of such an operation.
pub(crate) fn rows_per_pass(d: usize) -> usize {
    (PASS / d.max(1)).max(1)
}

/// Drops from a whole row.
pub(crate) fn drop_row(y: &mut [f32], stream: &DropoutStream, row: u64) {
    drop_part(y, stream, row, 0);
}

/// Drops from a part of a row that begins with a group of 32 columns.
pub(crate) fn drop_part(y: &mut [f32], stream: &DropoutStream, row: u64, group: u32) {
    with_simd(Drop {
        y,
        key: stream.row_key(row),
        threshold: stream.threshold(),
        scale: stream.scale(),
        group,
    });
}

struct Drop<'a> {
    y: &'a mut [f32],
    key: [u32; 2],
    threshold: u16,
    scale: f32,
    group: u32,
}

impl Kernel for Drop<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let scale = s.splat(self.scale);
        let n = self.y.len();
        let y = self.y.as_mut_ptr();
        let (mut at, mut group) = (0, self.group);
        while at < n {
            let mut bits = s.random_bits(self.key, group, self.threshold);
            let end = if n - at < 32 { n } else { at + 32 };
            // SAFETY: `end` is at most the number of values.
            unsafe {
                while at + S::LANES <= end {
                    s.store(y.add(at), s.keep(bits, s.mul(scale, s.load(y.add(at)))));
                    bits = if S::LANES < 32 { bits >> S::LANES } else { 0 };
                    at += S::LANES;
                }
                if at < end {
                    let v = s.keep(bits, s.mul(scale, s.load_part(y.add(at), end - at)));
                    s.store_part(y.add(at), end - at, v);
                    at = end;
                }
            }
            group += 1;
        }
    }
}

/// The sum of products, in sixteen interleaved partial sums so that it can be vectorised.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 16];
    let (a_whole, a_rest) = a.as_chunks::<16>();
    let (b_whole, b_rest) = b.as_chunks::<16>();
    for (a, b) in a_whole.iter().zip(b_whole) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}
