//! The backward pass of one head.
#![expect(unsafe_code, reason = "the kernels work on raw pointers")]

use super::head::{
    BLIND, CHUNK, FEATURES, GROUP, Head, KEYS, NV, Parts, Rows, RowsMut, Scratch, causal_bits,
    copy_row, pack_strips, strip_random_bits, zero_row,
};
use crate::engine::gemm::tile;
use crate::engine::simd::{RawKernel, Simd, each, min, transpose, with_simd_raw};

/// The gradients of [`super::forward::Forward`].
pub(super) struct Backward<'a> {
    pub(super) head: Head<'a>,
    /// Result of the forward pass, and the gradient that came for it.
    pub(super) out: Rows<'a>,
    pub(super) dout: Rows<'a>,
    pub(super) dq: RowsMut<'a>,
    /// Rows of keys that do not take part become zero.
    pub(super) dk: RowsMut<'a>,
    pub(super) dv: RowsMut<'a>,
    pub(super) scratch: &'a mut Scratch,
}

impl Backward<'_> {
    /// # Safety
    /// All matrices must have the sizes that `head` states, and nothing else may access the gradients meanwhile.
    pub(super) unsafe fn run(self) {
        // SAFETY: as promised by the caller.
        unsafe { with_simd_raw(self) }
    }
}

impl RawKernel for Backward<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
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
///
/// # Safety
/// For all its functions: made by [`Backward::chunks`] alone, for the head that they are called with.
#[derive(Clone, Copy)]
struct Shared {
    /// Keys and values, in rows of `padded` features.
    k: *mut f32,
    v: *mut f32,
    padded: usize,
    /// `q` and `dout` by strips, transposed.
    q: *mut f32,
    dout: *mut f32,
    lse: *mut f32,
    delta: *mut f32,
    /// By strips, transposed.
    dq: *mut f32,
    drop_keys: *mut [u32; 2],
    /// Gradients of keys and values, in rows of `full` features: whole vectors.
    dk: *mut f32,
    dv: *mut f32,
    full: usize,
    /// Decisions for a chunk of keys, see `strip_random_bits`.
    drops: *mut u32,
    /// Weights after dropout, and gradients of scores: a chunk of keys by a group of queries.
    weights: *mut f32,
    dscores: *mut f32,
}

impl Shared {
    #[inline(always)]
    fn take<S: Simd>(parts: &mut Parts<'_>, head: &Head<'_>) -> Self {
        let (w, width, keys) = (NV * S::LANES, head.width, head.keys());
        let padded = width.next_multiple_of(FEATURES);
        let full = width.next_multiple_of(S::LANES);
        let key_rows = keys.next_multiple_of(KEYS);
        let query_rows = head.n_queries.next_multiple_of(w);
        Self {
            k: parts.take(key_rows * padded),
            v: parts.take(key_rows * padded),
            padded,
            q: parts.take(query_rows * width),
            dout: parts.take(query_rows * width),
            lse: parts.take(query_rows),
            delta: parts.take(query_rows),
            dq: parts.take(query_rows * padded),
            drop_keys: parts.take(2 * keys).cast::<[u32; 2]>(),
            dk: parts.take(key_rows * full),
            dv: parts.take(key_rows * full),
            full,
            drops: parts.take(CHUNK).cast::<u32>(),
            weights: parts.take(CHUNK * GROUP),
            dscores: parts.take(CHUNK * GROUP),
        }
    }

    /// Packs what is read, and makes zero what is added to.
    #[inline(always)]
    unsafe fn fill<S: Simd>(self, s: S, head: &Head<'_>, dout: Rows<'_>) {
        let (w, width, n_queries) = (NV * S::LANES, head.width, head.n_queries);
        let factor = std::f32::consts::LOG2_E * (1.0 / (width as f32).sqrt());
        let key_rows = head.keys().next_multiple_of(KEYS);
        // SAFETY: the sizes of `take`.
        unsafe {
            head.gather(s, head.k, self.k, self.padded);
            head.gather(s, head.v, self.v, self.padded);
            head.dropout_keys(self.drop_keys);
            pack_strips(s, head.q, n_queries, width, w, factor, self.q);
            pack_strips(s, dout, n_queries, width, w, 1.0, self.dout);
            zero_row(s, self.dq, n_queries.next_multiple_of(w) * self.padded);
            zero_row(s, self.dk, key_rows * self.full);
            zero_row(s, self.dv, key_rows * self.full);
        }
    }

    /// Copies the log-sum-exp, and writes what the softmax takes off the gradient of every weight of a query:
    /// `dout . out`.
    #[inline(always)]
    unsafe fn deltas<S: Simd>(self, s: S, head: &Head<'_>, out: Rows<'_>, dout: Rows<'_>) {
        let (width, n_queries) = (head.width, head.n_queries);
        let query_rows = n_queries.next_multiple_of(NV * S::LANES);
        // SAFETY: the sizes of `take`.
        unsafe {
            each!(i in n_queries => {
                *self.lse.add(i) = *head.lse.add(i);
                let (a, b) = (out.ptr.add(i * out.ld), dout.ptr.add(i * dout.ld));
                let mut sum = s.splat(0.0);
                let mut c = 0;
                while c < width {
                    let n = min(width - c, S::LANES);
                    sum = s.fma(s.load_part(a.add(c), n), s.load_part(b.add(c), n), sum);
                    c += S::LANES;
                }
                *self.delta.add(i) = s.sum(sum);
            });
            each!(i in query_rows - n_queries => {
                *self.lse.add(n_queries + i) = BLIND;
                *self.delta.add(n_queries + i) = 0.0;
            });
        }
    }

    /// Gradients that a chunk of keys gives and gets. `q` and `dout` are in rows of whole vectors.
    #[inline(always)]
    unsafe fn chunk<S: Simd, const KR: usize, const CR: usize, const DROP: bool>(
        self,
        s: S,
        head: &Head<'_>,
        [q, dout]: [Rows<'_>; 2],
        [from, to]: [usize; 2],
    ) {
        let (w, full) = (NV * S::LANES, self.full);
        // SAFETY: the sizes of `take`.
        unsafe {
            let mut first = 0;
            while first < head.n_queries {
                let n = min(head.n_queries - first, GROUP);
                let mut lane = 0;
                while lane < n {
                    let strip = Strip {
                        head,
                        shared: self,
                        first: first + lane,
                        lane,
                        from,
                        to,
                    };
                    if n - lane <= S::LANES {
                        strip.run::<S, KR, CR, 1, DROP>(s);
                    } else {
                        strip.run::<S, KR, CR, NV, DROP>(s);
                    }
                    lane += w;
                }
                let rows = (to - from).next_multiple_of(KEYS);
                let (dk, dv) = (self.dk.add(from * full), self.dv.add(from * full));
                let dout_rows = dout.ptr.add(first * dout.ld);
                add_product(
                    s,
                    rows,
                    full,
                    n,
                    self.weights,
                    GROUP,
                    dout_rows,
                    dout.ld,
                    dv,
                );
                let q_rows = q.ptr.add(first * q.ld);
                add_product(s, rows, full, n, self.dscores, GROUP, q_rows, q.ld, dk);
                first += GROUP;
            }
        }
    }

    /// The gradients into their matrices, by the rows of the queries and keys that take part.
    #[inline(always)]
    unsafe fn write<S: Simd>(self, s: S, head: &Head<'_>, [dq, dk, dv]: [&RowsMut<'_>; 3]) {
        let (w, width) = (NV * S::LANES, head.width);
        let scale = 1.0 / (width as f32).sqrt();
        // SAFETY: the sizes of `take`, and of the caller's matrices.
        unsafe {
            let mut first = 0;
            while first < head.n_queries {
                let n = min(head.n_queries - first, w);
                let row = if n <= S::LANES { S::LANES } else { w };
                let strip = self.dq.add(first * self.padded);
                scale_all(s, strip, self.padded * row, scale);
                let target = dq.ptr.add(first * dq.ld);
                transpose(s, strip, row, target, dq.ld, width, n);
                first += w;
            }
            scale_all(s, self.dk, head.keys() * self.full, scale);
            scatter(s, head, self.dk, self.full, dk);
            scatter(s, head, self.dv, self.full, dv);
        }
    }
}

impl Backward<'_> {
    #[inline(always)]
    unsafe fn chunks<S: Simd, const KR: usize, const CR: usize, const DROP: bool>(self, s: S) {
        let Self {
            head, out, dout, ..
        } = self;
        let (width, n_queries, keys) = (head.width, head.n_queries, head.keys());
        let mut parts = Parts::new(self.scratch);
        let shared = Shared::take::<S>(&mut parts, &head);
        // SAFETY: the parts have the sizes that the functions cover.
        unsafe {
            shared.fill(s, &head, dout);
            // Rows of whole vectors for the products with queries; read in place where they are already.
            let full = shared.full;
            let rows = if full == width {
                [head.q, dout]
            } else {
                let n = n_queries.next_multiple_of(NV * S::LANES) * full;
                let (q_rows, dout_rows) = (parts.take(n), parts.take(n));
                each!(i in n_queries => {
                    let (q, dout) = (head.q.ptr.add(i * head.q.ld), dout.ptr.add(i * dout.ld));
                    copy_row(s, q, width, q_rows.add(i * full), full);
                    copy_row(s, dout, width, dout_rows.add(i * full), full);
                });
                [Rows::new(q_rows, full), Rows::new(dout_rows, full)]
            };
            shared.deltas(s, &head, out, dout);
            let mut from = 0;
            while from < keys {
                let to = min(from + CHUNK, keys);
                shared.chunk::<S, KR, CR, DROP>(s, &head, rows, [from, to]);
                from = to;
            }
            shared.write(s, &head, [&self.dq, &self.dk, &self.dv]);
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
unsafe fn scatter<S: Simd>(s: S, head: &Head<'_>, src: *const f32, ld: usize, dst: &RowsMut<'_>) {
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

/// A chunk of keys, `from .. to`, and the strip of queries that starts at `first`, which is the lane `lane` of its group.
///
/// # Safety
/// For all its functions: made by [`Shared::chunk`] alone. Rows stay below the padded number of keys, lanes below the
/// width of a strip.
#[derive(Clone, Copy)]
struct Strip<'a> {
    head: &'a Head<'a>,
    shared: Shared,
    first: usize,
    lane: usize,
    from: usize,
    to: usize,
}

impl Strip<'_> {
    /// Gradients of scores, and from them those of queries.
    #[inline(always)]
    unsafe fn run<S: Simd, const KR: usize, const CR: usize, const N: usize, const DROP: bool>(
        self,
        s: S,
    ) {
        // SAFETY: see the type.
        unsafe {
            self.scores::<S, KR, N, DROP>(s);
            self.queries::<S, CR, N>(s);
        }
    }

    /// Weights, and gradients of scores, into their group.
    #[inline(always)]
    unsafe fn scores<S: Simd, const KR: usize, const N: usize, const DROP: bool>(self, s: S) {
        let Shared {
            k,
            v,
            padded,
            weights,
            dscores,
            ..
        } = self.shared;
        let (width, w) = (self.head.width, NV * S::LANES);
        let dropout = if let Some(stream) = self.head.dropout {
            (stream.threshold(), s.splat(stream.scale()))
        } else {
            (0, s.splat(1.0))
        };
        // SAFETY: see the type.
        unsafe {
            let at = self.first * width;
            let (q, dout) = (self.shared.q.add(at), self.shared.dout.add(at));
            let (weights, dscores) = (weights.add(self.lane), dscores.add(self.lane));
            let (mut lse, mut delta) = ([s.splat(0.0); N], [s.splat(0.0); N]);
            each!(x in N => {
                lse[x] = s.load(self.shared.lse.add(self.first + x * S::LANES));
                delta[x] = s.load(self.shared.delta.add(self.first + x * S::LANES));
            });
            let mut j = self.from;
            while j < self.to {
                let mut score = [[s.splat(0.0); N]; KR];
                let mut dweight = [[s.splat(0.0); N]; KR];
                tile::<S, KR, N, false>(s, width, k.add(j * padded), padded, q, w, &mut score);
                tile::<S, KR, N, false>(s, width, v.add(j * padded), padded, dout, w, &mut dweight);
                each!(r in KR => {
                    let at = (j + r - self.from) * GROUP;
                    if j + r < self.to {
                        let target = [weights.add(at), dscores.add(at)];
                        let row = [score[r], dweight[r]];
                        self.key::<S, N, DROP>(s, j + r, row, [lse, delta], dropout, target);
                    } else if at < CHUNK * GROUP {
                        zero_vectors::<S, N>(s, [weights.add(at), dscores.add(at)]);
                    }
                });
                j += KR;
            }
            // The products with queries go by whole blocks of keys.
            let end = (self.to - self.from).next_multiple_of(KEYS);
            while j - self.from < end {
                let at = (j - self.from) * GROUP;
                zero_vectors::<S, N>(s, [weights.add(at), dscores.add(at)]);
                j += 1;
            }
        }
    }

    /// From a key's scores and gradients of weights its weights after dropout and gradients of scores.
    #[inline(always)]
    unsafe fn key<S: Simd, const N: usize, const DROP: bool>(
        self,
        s: S,
        j: usize,
        [score, dweight]: [[S::V; N]; 2],
        [lse, delta]: [[S::V; N]; 2],
        (threshold, scale): (u16, S::V),
        [weights, dscores]: [*mut f32; 2],
    ) {
        let Self { head, first, .. } = self;
        // SAFETY: see the type.
        unsafe {
            let bits = if DROP {
                let drops = self.shared.drops.add(j - self.from);
                strip_random_bits(s, *self.shared.drop_keys.add(j), first, threshold, drops)
            } else {
                0
            };
            let seen = if let Some(offset) = head.causal {
                causal_bits(first, head.key(j), offset)
            } else {
                u32::MAX
            };
            each!(x in N => {
                let mut p = s.exp2(s.sub(score[x], lse[x]));
                if head.causal.is_some() {
                    p = s.keep(seen >> (x * S::LANES), p);
                }
                let (dropped, dp) = if DROP {
                    let bits = bits >> (x * S::LANES);
                    (
                        s.keep(bits, s.mul(p, scale)),
                        s.keep(bits, s.mul(dweight[x], scale)),
                    )
                } else {
                    (p, dweight[x])
                };
                s.store(weights.add(x * S::LANES), dropped);
                s.store(dscores.add(x * S::LANES), s.mul(p, s.sub(dp, delta[x])));
            });
        }
    }

    /// Adds what the chunk gives to the gradients of queries.
    #[inline(always)]
    unsafe fn queries<S: Simd, const CR: usize, const N: usize>(self, s: S) {
        let Shared { padded, .. } = self.shared;
        let row = N * S::LANES;
        // SAFETY: see the type.
        unsafe {
            let dscores = self.shared.dscores.add(self.lane);
            let dq = self.shared.dq.add(self.first * padded);
            let mut c = 0;
            while c < self.head.width {
                let mut acc = [[s.splat(0.0); N]; CR];
                each!(r in CR => each!(x in N => {
                    acc[r][x] = s.load(dq.add((c + r) * row + x * S::LANES));
                }));
                let k = self.shared.k.add(self.from * padded + c);
                let keys = self.to - self.from;
                tile::<S, CR, N, true>(s, keys, k, padded, dscores, GROUP, &mut acc);
                each!(r in CR => each!(x in N => {
                    s.store(dq.add((c + r) * row + x * S::LANES), acc[r][x]);
                }));
                c += CR;
            }
        }
    }
}

/// # Safety
/// Both must hold `N` vectors.
#[inline(always)]
unsafe fn zero_vectors<S: Simd, const N: usize>(s: S, [a, b]: [*mut f32; 2]) {
    // SAFETY: as promised by the caller.
    unsafe {
        each!(x in N => {
            s.store(a.add(x * S::LANES), s.splat(0.0));
            s.store(b.add(x * S::LANES), s.splat(0.0));
        });
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
