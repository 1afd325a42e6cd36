//! The backward pass of one head.
#![expect(unsafe_code, reason = "the kernels work on raw pointers")]

use super::head::{
    BLIND, CHUNK, FEATURES, GROUP, Head, KEYS, NV, Parts, Rows, RowsMut, Scratch, causal_bits,
    copy_row, pack_strips, strip_draws, zero_row,
};
use crate::engine::gemm::tile;
use crate::engine::simd::{Kernel, Simd, each, lesser, transpose, with_simd};

/// The gradients of [`super::forward::Forward`].
pub(super) struct Backward<'a> {
    pub(super) head: Head<'a>,
    /// Result of the forward pass, and the gradient that came for it.
    pub(super) out: Rows,
    pub(super) dout: Rows,
    pub(super) dq: RowsMut,
    /// Rows of keys that do not take part become zero.
    pub(super) dk: RowsMut,
    pub(super) dv: RowsMut,
    pub(super) scratch: &'a mut Scratch,
}

impl Backward<'_> {
    /// # Safety
    /// All matrices must have the sizes that `head` states, and nothing else may access the gradients meanwhile.
    pub(super) unsafe fn run(self) {
        with_simd(self);
    }
}

impl Kernel for Backward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        // SAFETY: promised to `Backward::run`.
        unsafe {
            match (S::LANES, self.head.dropout.is_some()) {
                (16, true) => self.chunks::<S, 6, 8, true>(s),
                (16, false) => self.chunks::<S, 6, 8, false>(s),
                (_, true) => self.chunks::<S, 4, 4, true>(s),
                (_, false) => self.chunks::<S, 4, 4, false>(s),
            }
        }
    }
}

/// The parts of the scratch buffer that the strips of a backward pass share.
#[derive(Clone, Copy)]
struct Shared {
    k: *const f32,
    v: *const f32,
    padded: usize,
    /// `q` and `dout` by strips, transposed.
    q: *const f32,
    dout: *const f32,
    lse: *const f32,
    delta: *const f32,
    /// Weights after dropout, and gradients of scores: a chunk of keys by a group of queries.
    weights: *mut f32,
    dscores: *mut f32,
    /// By strips, transposed.
    dq: *mut f32,
    drop_keys: *const [u32; 2],
    /// Decisions for a chunk of keys, see `strip_draws`.
    drops: *mut u32,
}

impl Backward<'_> {
    #[inline(always)]
    unsafe fn chunks<S: Simd, const KR: usize, const CR: usize, const DROP: bool>(self, s: S) {
        let head = self.head;
        let (w, width, keys, n_queries) = (NV * S::LANES, head.width, head.keys(), head.n_queries);
        let padded = width.next_multiple_of(FEATURES);
        let full = width.next_multiple_of(S::LANES);
        let (key_rows, query_rows) = (keys.next_multiple_of(KEYS), n_queries.next_multiple_of(w));
        let mut parts = Parts::new(self.scratch);
        let k = parts.take(key_rows * padded);
        let v = parts.take(key_rows * padded);
        let q = parts.take(query_rows * width);
        let dout = parts.take(query_rows * width);
        let lse = parts.take(query_rows);
        let delta = parts.take(query_rows);
        let dq = parts.take(query_rows * padded);
        let drop_keys = parts.take(2 * keys).cast::<[u32; 2]>();
        let dk = parts.take(key_rows * full);
        let dv = parts.take(key_rows * full);
        let drops = parts.take(CHUNK).cast::<u32>();
        let weights = parts.take(CHUNK * GROUP);
        let dscores = parts.take(CHUNK * GROUP);
        let scale = 1.0 / (width as f32).sqrt();
        // SAFETY: the parts have the sizes that the loops below cover.
        unsafe {
            head.gather(s, head.k, k, padded);
            head.gather(s, head.v, v, padded);
            head.dropout_keys(drop_keys);
            pack_strips(
                s,
                head.q,
                n_queries,
                width,
                w,
                std::f32::consts::LOG2_E * scale,
                q,
            );
            pack_strips(s, self.dout, n_queries, width, w, 1.0, dout);
            // Rows of whole vectors for the products with queries; read in place where they are already.
            let (q_rows, dout_rows) = if full == width {
                (head.q, self.dout)
            } else {
                let (q, dout) = (parts.take(query_rows * full), parts.take(query_rows * full));
                each!(i in n_queries => {
                    copy_row(s, head.q.ptr.add(i * head.q.ld), width, q.add(i * full), full);
                    copy_row(s, self.dout.ptr.add(i * self.dout.ld), width, dout.add(i * full), full);
                });
                (
                    Rows { ptr: q, ld: full },
                    Rows {
                        ptr: dout,
                        ld: full,
                    },
                )
            };
            each!(i in n_queries => {
                *lse.add(i) = *head.lse.add(i);
                let (a, b) = (self.out.ptr.add(i * self.out.ld), self.dout.ptr.add(i * self.dout.ld));
                let mut sum = s.splat(0.0);
                let mut c = 0;
                while c < width {
                    let n = lesser(width - c, S::LANES);
                    sum = s.fma(s.load_part(a.add(c), n), s.load_part(b.add(c), n), sum);
                    c += S::LANES;
                }
                *delta.add(i) = s.sum(sum);
            });
            each!(i in query_rows - n_queries => {
                *lse.add(n_queries + i) = BLIND;
                *delta.add(n_queries + i) = 0.0;
            });
            zero_row(s, dq, query_rows * padded);
            zero_row(s, dk, key_rows * full);
            zero_row(s, dv, key_rows * full);
            let shared = Shared {
                k,
                v,
                padded,
                q,
                dout,
                lse,
                delta,
                weights,
                dscores,
                dq,
                drop_keys,
                drops,
            };
            let mut from = 0;
            while from < keys {
                let to = lesser(from + CHUNK, keys);
                let mut first = 0;
                while first < n_queries {
                    let n = lesser(n_queries - first, GROUP);
                    let mut lane = 0;
                    while lane < n {
                        let at = [first + lane, lane];
                        if n - lane <= S::LANES {
                            backward_strip::<S, KR, CR, 1, DROP>(s, &head, shared, at, from, to);
                        } else {
                            backward_strip::<S, KR, CR, NV, DROP>(s, &head, shared, at, from, to);
                        }
                        lane += w;
                    }
                    let rows = (to - from).next_multiple_of(KEYS);
                    let (dk, dv) = (dk.add(from * full), dv.add(from * full));
                    let dout = dout_rows.ptr.add(first * dout_rows.ld);
                    add_product(s, rows, full, n, weights, GROUP, dout, dout_rows.ld, dv);
                    let q = q_rows.ptr.add(first * q_rows.ld);
                    add_product(s, rows, full, n, dscores, GROUP, q, q_rows.ld, dk);
                    first += GROUP;
                }
                from = to;
            }
            let mut first = 0;
            while first < n_queries {
                let n = lesser(n_queries - first, w);
                let row = if n <= S::LANES { S::LANES } else { w };
                let dq = dq.add(first * padded);
                scale_all(s, dq, padded * row, scale);
                let target = self.dq.ptr.add(first * self.dq.ld);
                transpose(s, dq, row, target, self.dq.ld, width, n);
                first += w;
            }
            scale_all(s, dk, keys * full, scale);
            scatter(s, &head, dk, full, self.dk);
            scatter(s, &head, dv, full, self.dv);
        }
    }
}

/// # Safety
/// `ptr` must hold `n` values, a multiple of the vector length.
#[inline(always)]
unsafe fn scale_all<S: Simd>(s: S, ptr: *mut f32, n: usize, factor: f32) {
    let mut at = 0;
    while at < n {
        // SAFETY: as promised by the caller.
        unsafe { s.store(ptr.add(at), s.mul(s.load(ptr.add(at)), s.splat(factor))) };
        at += S::LANES;
    }
}

/// # Safety
/// `src` must hold the rows of visible keys, `dst` those of all keys.
#[inline(always)]
unsafe fn scatter<S: Simd>(s: S, head: &Head<'_>, src: *const f32, ld: usize, dst: RowsMut) {
    // SAFETY: as promised by the caller.
    unsafe {
        if head.visible.is_some() {
            each!(j in head.n_keys => zero_row(s, dst.ptr.add(j * dst.ld), head.width));
        }
        each!(j in head.keys() => {
            copy_row(s, src.add(j * ld), head.width, dst.ptr.add(head.key(j) * dst.ld), head.width);
        });
    }
}

/// Gradients of scores, and from them those of queries, for a chunk of keys and the strip of queries that starts at
/// `first`, which is the lane `lane` of its group.
///
/// # Safety
/// Called by [`Backward::chunks`] alone, with parts of the sizes made there.
#[inline(always)]
unsafe fn backward_strip<
    S: Simd,
    const KR: usize,
    const CR: usize,
    const N: usize,
    const DROP: bool,
>(
    s: S,
    head: &Head<'_>,
    shared: Shared,
    [first, lane]: [usize; 2],
    from: usize,
    to: usize,
) {
    let Shared {
        k,
        v,
        padded,
        q,
        dout,
        lse,
        delta,
        weights,
        dscores,
        dq,
        drop_keys,
        drops,
    } = shared;
    let (width, w, row) = (head.width, NV * S::LANES, N * S::LANES);
    // SAFETY: rows stay below the padded number of keys, lanes below `w`.
    unsafe {
        let (q, dout) = (q.add(first * width), dout.add(first * width));
        let threshold = if let Some(stream) = head.dropout {
            stream.threshold()
        } else {
            0
        };
        let scale = s.splat(if let Some(stream) = head.dropout {
            stream.scale()
        } else {
            1.0
        });
        let (weights, dscores) = (weights.add(lane), dscores.add(lane));
        let (mut log, mut dot) = ([s.splat(0.0); N], [s.splat(0.0); N]);
        each!(x in N => {
            log[x] = s.load(lse.add(first + x * S::LANES));
            dot[x] = s.load(delta.add(first + x * S::LANES));
        });
        let mut j = from;
        while j < to {
            let mut score = [[s.splat(0.0); N]; KR];
            let mut dweight = [[s.splat(0.0); N]; KR];
            tile::<S, KR, N, false>(s, width, k.add(j * padded), padded, q, w, &mut score);
            tile::<S, KR, N, false>(s, width, v.add(j * padded), padded, dout, w, &mut dweight);
            each!(r in KR => {
                let at = (j + r - from) * GROUP;
                if j + r < to {
                    let bits = if DROP {
                        let drops = drops.add(j + r - from);
                        strip_draws(s, *drop_keys.add(j + r), first, threshold, drops)
                    } else {
                        0
                    };
                    let seen = if let Some(offset) = head.causal {
                        causal_bits(first, head.key(j + r), offset)
                    } else {
                        u32::MAX
                    };
                    each!(x in N => {
                        let mut p = s.exp2(s.sub(score[r][x], log[x]));
                        if head.causal.is_some() {
                            p = s.keep(seen >> (x * S::LANES), p);
                        }
                        let (dropped, dp) = if DROP {
                            let bits = bits >> (x * S::LANES);
                            (
                                s.keep(bits, s.mul(p, scale)),
                                s.keep(bits, s.mul(dweight[r][x], scale)),
                            )
                        } else {
                            (p, dweight[r][x])
                        };
                        s.store(weights.add(at + x * S::LANES), dropped);
                        s.store(dscores.add(at + x * S::LANES), s.mul(p, s.sub(dp, dot[x])));
                    });
                } else if at < CHUNK * GROUP {
                    each!(x in N => {
                        s.store(weights.add(at + x * S::LANES), s.splat(0.0));
                        s.store(dscores.add(at + x * S::LANES), s.splat(0.0));
                    });
                }
            });
            j += KR;
        }
        // The products with queries go by whole blocks of keys.
        let end = (to - from).next_multiple_of(KEYS);
        while j - from < end {
            each!(x in N => {
                let at = (j - from) * GROUP + x * S::LANES;
                s.store(weights.add(at), s.splat(0.0));
                s.store(dscores.add(at), s.splat(0.0));
            });
            j += 1;
        }
        let dq = dq.add(first * padded);
        let mut c = 0;
        while c < width {
            let mut acc = [[s.splat(0.0); N]; CR];
            each!(r in CR => each!(x in N => {
                acc[r][x] = s.load(dq.add((c + r) * row + x * S::LANES));
            }));
            let k = k.add(from * padded + c);
            tile::<S, CR, N, true>(s, to - from, k, padded, dscores, GROUP, &mut acc);
            each!(r in CR => each!(x in N => {
                s.store(dq.add((c + r) * row + x * S::LANES), acc[r][x]);
            }));
            c += CR;
        }
    }
}

/// `c += a b` with `a` of `m` x `k` (`lda` apart), `b` of `k` x `n` (`ldb` apart) and `c` of `m` x `n`; `m` a multiple
/// of [`KEYS`], `n` a multiple of the vector length.
///
/// # Safety
/// The matrices must have these sizes.
#[expect(clippy::too_many_arguments, reason = "a matrix product has that many")]
#[inline(always)]
unsafe fn add_product<S: Simd>(
    s: S,
    m: usize,
    n: usize,
    k: usize,
    a: *const f32,
    lda: usize,
    b: *const f32,
    ldb: usize,
    c: *mut f32,
) {
    let mut col = 0;
    // SAFETY: blocks stay within the matrices.
    unsafe {
        while col < n {
            let (b, left) = (b.add(col), (n - col) / S::LANES);
            if S::LANES == 16 && left >= 4 {
                add_blocks::<S, 6, 4>(s, m, k, a, lda, b, ldb, c.add(col), n);
                col += 4 * S::LANES;
            } else if left >= 2 {
                add_blocks::<S, 6, 2>(s, m, k, a, lda, b, ldb, c.add(col), n);
                col += 2 * S::LANES;
            } else {
                add_blocks::<S, 12, 1>(s, m, k, a, lda, b, ldb, c.add(col), n);
                col += S::LANES;
            }
        }
    }
}

/// # Safety
/// As for [`add_product`], for `NW` vectors of columns.
#[expect(clippy::too_many_arguments, reason = "a matrix product has that many")]
#[inline(always)]
unsafe fn add_blocks<S: Simd, const MR: usize, const NW: usize>(
    s: S,
    m: usize,
    k: usize,
    a: *const f32,
    lda: usize,
    b: *const f32,
    ldb: usize,
    c: *mut f32,
    ldc: usize,
) {
    let mut i = 0;
    while i < m {
        // SAFETY: `m` is a multiple of `MR`.
        unsafe {
            let mut acc = [[s.splat(0.0); NW]; MR];
            let c = c.add(i * ldc);
            each!(r in MR => each!(x in NW => acc[r][x] = s.load(c.add(r * ldc + x * S::LANES))));
            tile::<S, MR, NW, false>(s, k, a.add(i * lda), lda, b, ldb, &mut acc);
            each!(r in MR => each!(x in NW => s.store(c.add(r * ldc + x * S::LANES), acc[r][x])));
        }
        i += MR;
    }
}
