//! The forward pass of one head.
#![expect(unsafe_code, reason = "the kernels work on raw pointers")]

use super::head::{
    BLIND, FEATURES, Head, KEYS, NV, Parts, RowsMut, Scratch, causal_bits, pack_strips,
    strip_random_bits,
};
use crate::engine::gemm::tile;
use crate::engine::simd::{RawKernel, Simd, each, min, transpose, with_simd_raw};

/// `out = dropout(softmax(q k^T / sqrt(width))) v` for one head.
pub(super) struct Forward<'a> {
    pub(super) head: Head<'a>,
    pub(super) out: RowsMut<'a>,
    pub(super) scratch: &'a mut Scratch,
}

impl Forward<'_> {
    /// # Safety
    /// All matrices must have the sizes that `head` states, and nothing else may access `out` and `lse` meanwhile.
    pub(super) unsafe fn run(self) {
        // SAFETY: as promised by the caller.
        unsafe { with_simd_raw(self) }
    }
}

impl RawKernel for Forward<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        // SAFETY: promised to `Forward::run`.
        unsafe {
            match (S::LANES, self.head.dropout.is_some()) {
                (16, true) => self.strips::<S, 12, 8, true>(s),
                (16, false) => self.strips::<S, 12, 8, false>(s),
                (_, true) => self.strips::<S, 6, 4, true>(s),
                (_, false) => self.strips::<S, 6, 4, false>(s),
            }
        }
    }
}

/// The parts of the scratch buffer that the strips of a forward pass share.
#[derive(Clone, Copy)]
struct Shared {
    /// Keys and values, in rows of `padded` features.
    k: *mut f32,
    v: *mut f32,
    padded: usize,
    /// Queries by strips, transposed.
    q: *mut f32,
    /// Scores of one strip, and then its weights.
    strip: *mut f32,
    /// Result of one strip, transposed.
    result: *mut f32,
    drop_keys: *mut [u32; 2],
    /// Decisions for all keys, see `strip_random_bits`.
    drops: *mut u32,
}

impl Shared {
    #[inline(always)]
    fn take(parts: &mut Parts<'_>, head: &Head<'_>, w: usize) -> Self {
        let (width, keys) = (head.width, head.keys());
        let padded = width.next_multiple_of(FEATURES);
        Self {
            k: parts.take(keys.next_multiple_of(KEYS) * padded),
            v: parts.take(keys.next_multiple_of(KEYS) * padded),
            padded,
            q: parts.take(head.n_queries.next_multiple_of(w) * width),
            strip: parts.take(keys.next_multiple_of(KEYS) * w),
            result: parts.take(padded * w),
            drop_keys: parts.take(2 * keys).cast::<[u32; 2]>(),
            drops: parts.take(keys).cast::<u32>(),
        }
    }
}

impl Forward<'_> {
    #[inline(always)]
    unsafe fn strips<S: Simd, const KR: usize, const CR: usize, const DROP: bool>(self, s: S) {
        let Self { head, out, scratch } = self;
        let (w, width) = (NV * S::LANES, head.width);
        let shared = Shared::take(&mut Parts::new(scratch), &head, w);
        let factor = std::f32::consts::LOG2_E / (width as f32).sqrt();
        // SAFETY: the parts have the sizes that the loops below cover.
        unsafe {
            head.gather(s, head.k, shared.k, shared.padded);
            head.gather(s, head.v, shared.v, shared.padded);
            head.dropout_keys(shared.drop_keys);
            pack_strips(s, head.q, head.n_queries, width, w, factor, shared.q);
            let mut first = 0;
            while first < head.n_queries {
                let n = min(head.n_queries - first, w);
                let strip = Strip {
                    head: &head,
                    shared,
                    first,
                    n,
                };
                if n <= S::LANES {
                    // Half a strip: the second vector would be padding alone.
                    strip.run::<S, KR, CR, 1, DROP>(s, &out);
                } else {
                    strip.run::<S, KR, CR, NV, DROP>(s, &out);
                }
                first += w;
            }
        }
    }
}

/// The queries from `first` on, one per lane, of which `n` are no padding.
///
/// # Safety
/// For all its functions: made by [`Forward::strips`] alone, with parts of the sizes made there. Rows stay below the
/// padded number of keys, lanes below the width of a strip.
#[derive(Clone, Copy)]
struct Strip<'a> {
    head: &'a Head<'a>,
    shared: Shared,
    first: usize,
    n: usize,
}

impl Strip<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd, const KR: usize, const CR: usize, const N: usize, const DROP: bool>(
        self,
        s: S,
        out: &RowsMut<'_>,
    ) {
        // SAFETY: see the type.
        unsafe {
            let max = self.scores::<S, KR, N>(s);
            let sum = self.weights::<S, N, DROP>(s, max);
            let factors = self.factors::<S, N>(s, max, sum);
            self.values::<S, CR, N>(s, &factors, out);
        }
    }

    /// Scores, and their maximum per query.
    #[inline(always)]
    unsafe fn scores<S: Simd, const KR: usize, const N: usize>(self, s: S) -> [S::V; N] {
        let Self {
            head,
            shared,
            first,
            ..
        } = self;
        let Shared {
            k, padded, strip, ..
        } = shared;
        let (width, keys, w, row) = (head.width, head.keys(), NV * S::LANES, N * S::LANES);
        // The floor keeps queries without keys from becoming NaN.
        let mut max = [s.splat(-BLIND); N];
        // SAFETY: see the type.
        unsafe {
            let q = shared.q.add(first * width);
            let mut j = 0;
            while j < keys {
                let mut acc = [[s.splat(0.0); N]; KR];
                tile::<S, KR, N, false>(s, width, k.add(j * padded), padded, q, w, &mut acc);
                each!(r in KR => if j + r < keys {
                    if let Some(offset) = head.causal {
                        let bits = causal_bits(first, head.key(j + r), offset);
                        each!(x in N => acc[r][x] = s.select(
                            bits >> (x * S::LANES),
                            acc[r][x],
                            s.splat(f32::NEG_INFINITY),
                        ));
                    }
                    each!(x in N => {
                        max[x] = s.max(max[x], acc[r][x]);
                        s.store(strip.add((j + r) * row + x * S::LANES), acc[r][x]);
                    });
                });
                j += KR;
            }
        }
        max
    }

    /// Weights before normalisation; their sum per query leaves dropout aside.
    #[inline(always)]
    unsafe fn weights<S: Simd, const N: usize, const DROP: bool>(
        self,
        s: S,
        max: [S::V; N],
    ) -> [S::V; N] {
        let Self {
            head,
            shared,
            first,
            ..
        } = self;
        let row = N * S::LANES;
        let mut sum = [s.splat(0.0); N];
        let threshold = if let Some(stream) = head.dropout {
            stream.threshold()
        } else {
            0
        };
        // SAFETY: see the type.
        unsafe {
            each!(j in head.keys() => {
                let bits = if DROP {
                    let (key, drops) = (*shared.drop_keys.add(j), shared.drops.add(j));
                    strip_random_bits(s, key, first, threshold, drops)
                } else {
                    0
                };
                each!(x in N => {
                    let ptr = shared.strip.add(j * row + x * S::LANES);
                    let weight = s.exp2(s.sub(s.load(ptr), max[x]));
                    sum[x] = s.add(sum[x], weight);
                    s.store(ptr, if DROP { s.keep(bits >> (x * S::LANES), weight) } else { weight });
                });
            });
        }
        sum
    }

    /// What each query's sum of values is to be multiplied by. Writes the log-sum-exp.
    #[inline(always)]
    unsafe fn factors<S: Simd, const N: usize>(
        self,
        s: S,
        max: [S::V; N],
        sum: [S::V; N],
    ) -> [f32; 32] {
        let Self { head, first, n, .. } = self;
        let scale = if let Some(stream) = head.dropout {
            stream.scale()
        } else {
            1.0
        };
        let mut factors = [0.0; 32];
        // SAFETY: see the type; a vector has at most 32 lanes.
        unsafe {
            each!(x in N => {
                let (mut sums, mut maxima) = ([0.0; 32], [0.0; 32]);
                s.store(sums.as_mut_ptr(), sum[x]);
                s.store(maxima.as_mut_ptr(), max[x]);
                each!(lane in S::LANES => {
                    let at = x * S::LANES + lane;
                    let seen = sums[lane] > 0.0;
                    factors[at] = if seen { scale / sums[lane] } else { 0.0 };
                    if at < n {
                        *head.lse.add(first + at) =
                            if seen { maxima[lane] + sums[lane].log2() } else { BLIND };
                    }
                });
            });
        }
        factors
    }

    /// Sums of values, transposed (one feature per row), and from there into the result.
    #[inline(always)]
    unsafe fn values<S: Simd, const CR: usize, const N: usize>(
        self,
        s: S,
        factors: &[f32; 32],
        out: &RowsMut<'_>,
    ) {
        let Self {
            head,
            shared,
            first,
            n,
        } = self;
        let Shared {
            v,
            padded,
            strip,
            result,
            ..
        } = shared;
        let (width, keys, row) = (head.width, head.keys(), N * S::LANES);
        // SAFETY: see the type.
        unsafe {
            let mut c = 0;
            while c < width {
                let mut acc = [[s.splat(0.0); N]; CR];
                tile::<S, CR, N, true>(s, keys, v.add(c), padded, strip, row, &mut acc);
                each!(r in CR => each!(x in N => {
                    let factor = s.load(factors.as_ptr().add(x * S::LANES));
                    s.store(result.add((c + r) * row + x * S::LANES), s.mul(acc[r][x], factor));
                }));
                c += CR;
            }
            let target = out.ptr.add(first * out.ld);
            transpose(s, result, row, target, out.ld, width, n);
        }
    }
}
