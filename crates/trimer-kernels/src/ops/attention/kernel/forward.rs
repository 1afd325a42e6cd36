//! The forward pass of one head.
#![expect(unsafe_code, reason = "the kernels work on raw pointers")]

use super::head::{
    BLIND, FEATURES, Head, KEYS, NV, Parts, RowsMut, Scratch, causal_bits, pack_strips, strip_draws,
};
use crate::engine::gemm::tile;
use crate::engine::simd::{Kernel, Simd, each, lesser, transpose, with_simd};

/// `out = dropout(softmax(q k^T / sqrt(width))) v` for one head.
pub(super) struct Forward<'a> {
    pub(super) head: Head<'a>,
    pub(super) out: RowsMut,
    pub(super) scratch: &'a mut Scratch,
}

impl Forward<'_> {
    /// # Safety
    /// All matrices must have the sizes that `head` states, and nothing else may access `out` and `lse` meanwhile.
    pub(super) unsafe fn run(self) {
        with_simd(self);
    }
}

impl Kernel for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
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

impl Forward<'_> {
    #[inline(always)]
    unsafe fn strips<S: Simd, const KR: usize, const CR: usize, const DROP: bool>(self, s: S) {
        let head = self.head;
        let (w, width, keys) = (NV * S::LANES, head.width, head.keys());
        let padded = width.next_multiple_of(FEATURES);
        let mut parts = Parts::new(self.scratch);
        let k = parts.take(keys.next_multiple_of(KEYS) * padded);
        let v = parts.take(keys.next_multiple_of(KEYS) * padded);
        let q = parts.take(head.n_queries.next_multiple_of(w) * width);
        let strip = parts.take(keys.next_multiple_of(KEYS) * w);
        let result = parts.take(padded * w);
        let drop_keys = parts.take(2 * keys).cast::<[u32; 2]>();
        let drops = parts.take(keys).cast::<u32>();
        let factor = std::f32::consts::LOG2_E / (width as f32).sqrt();
        // SAFETY: the parts have the sizes that the loops below cover.
        unsafe {
            head.gather(s, head.k, k, padded);
            head.gather(s, head.v, v, padded);
            head.dropout_keys(drop_keys);
            pack_strips(s, head.q, head.n_queries, width, w, factor, q);
            let mut first = 0;
            while first < head.n_queries {
                let q = q.add(first * width);
                let n = lesser(head.n_queries - first, w);
                if n <= S::LANES {
                    // Half a strip: the second vector would be padding alone.
                    forward_strip::<S, KR, CR, 1, DROP>(
                        s, &head, first, n, k, v, padded, q, w, strip, result, drop_keys, drops,
                        self.out,
                    );
                } else {
                    forward_strip::<S, KR, CR, NV, DROP>(
                        s, &head, first, n, k, v, padded, q, w, strip, result, drop_keys, drops,
                        self.out,
                    );
                }
                first += w;
            }
        }
    }
}

/// # Safety
/// Called by [`Forward::strips`] alone, with parts of the sizes made there.
#[expect(
    clippy::too_many_arguments,
    reason = "one step of one loop, split off for its constants"
)]
#[inline(always)]
unsafe fn forward_strip<
    S: Simd,
    const KR: usize,
    const CR: usize,
    const N: usize,
    const DROP: bool,
>(
    s: S,
    head: &Head<'_>,
    first: usize,
    n: usize,
    k: *const f32,
    v: *const f32,
    padded: usize,
    q: *const f32,
    w: usize,
    strip: *mut f32,
    result: *mut f32,
    drop_keys: *const [u32; 2],
    drops: *mut u32,
    out: RowsMut,
) {
    let (width, keys) = (head.width, head.keys());
    let row = N * S::LANES;
    // SAFETY: rows stay below the padded number of keys, lanes below `w`.
    unsafe {
        // Scores, and their maximum per query. The floor keeps queries without keys from becoming NaN.
        let mut max = [s.splat(-BLIND); N];
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
        // Weights before normalisation; their sum leaves dropout aside.
        let mut sum = [s.splat(0.0); N];
        let threshold = if let Some(stream) = head.dropout {
            stream.threshold()
        } else {
            0
        };
        each!(j in keys => {
            let bits = if DROP {
                strip_draws(s, *drop_keys.add(j), first, threshold, drops.add(j))
            } else {
                0
            };
            each!(x in N => {
                let ptr = strip.add(j * row + x * S::LANES);
                let weight = s.exp2(s.sub(s.load(ptr), max[x]));
                sum[x] = s.add(sum[x], weight);
                s.store(ptr, if DROP { s.keep(bits >> (x * S::LANES), weight) } else { weight });
            });
        });
        let scale = if let Some(stream) = head.dropout {
            stream.scale()
        } else {
            1.0
        };
        let mut factors = [0.0; 32];
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
        // Values, transposed: one feature per row.
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
        transpose(
            s,
            result,
            row,
            out.ptr.add(first * out.ld),
            out.ld,
            width,
            n,
        );
    }
}
