//! Scaled dot-product attention of one head, without the matrix of weights.
//!
//! Everything is computed transposed: a strip holds the scores of a few queries (one per lane) against all keys, one
//! key per row. So the softmax needs no sums across lanes, and every product broadcasts from a small matrix of keys or
//! values. The strip lives in the first-level cache; the backward pass computes it again from the saved log-sum-exp.
#![expect(unsafe_code, reason = "the kernels work on raw pointers")]

use std::marker::PhantomData;

use super::gemm::{lesser, tile};
use crate::dropout::Stream;
use crate::pool::Buffer;
use crate::simd::{Kernel, Simd, each, transpose, with_simd};

/// Vectors of queries side by side in a strip.
const NV: usize = 2;
/// Rows of keys are padded to a multiple of this.
const KEYS: usize = 12;
/// Features are padded to a multiple of this.
const FEATURES: usize = 8;
/// Keys per pass of the backward: two strips of this height share the first-level cache.
const CHUNK: usize = 96;
/// Stands for the log-sum-exp of queries that see no key: makes every weight zero.
const BLIND: f32 = 1e30;

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
        Self { data, len, ld, at: 0, end: ld, owner: PhantomData }
    }

    /// Three equal parts of each row: queries, keys, values.
    pub(crate) fn thirds(data: &'a mut [f32], ld: usize) -> [Self; 3] {
        assert_eq!(ld % 3, 0, "rows of three equal parts");
        let (len, data, width) = (data.len(), data.as_mut_ptr(), ld / 3);
        [0, 1, 2].map(|i| {
            let at = i * width;
            // The parts never overlap: each is used within its columns alone (see `head`).
            Self { data, len, ld, at, end: at + width, owner: PhantomData }
        })
    }
}

/// Whether `rows` rows with `columns` columns from `at` on lie within `len` values.
fn holds(len: usize, ld: usize, at: usize, rows: usize, columns: usize) -> bool {
    at + columns <= ld && rows * ld <= len
}

impl Features<'_> {
    fn head(&self, rows: usize, width: usize, head: usize) -> Rows {
        let at = self.at + head * width;
        assert!(holds(self.data.len(), self.ld, at, rows, width), "{rows} rows of {width} at {at}");
        Rows { ptr: self.data.as_ptr().wrapping_add(at), ld: self.ld }
    }
}

impl FeaturesMut<'_> {
    fn head(&mut self, rows: usize, width: usize, head: usize) -> RowsMut {
        let at = self.at + head * width;
        let fits = at + width <= self.end && holds(self.len, self.ld, at, rows, width);
        assert!(fits, "{rows} rows of {width} at {at}");
        RowsMut { ptr: self.data.wrapping_add(at), ld: self.ld }
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
    pub(crate) dropout: Option<Stream>,
    /// Number of the sample in the batch.
    pub(crate) index: usize,
}

impl<'a> Sample<'a> {
    fn head(&self, head: usize, lse: *mut f32) -> Head<'a> {
        let (n_queries, n_keys, width) = (self.n_queries, self.n_keys, self.width);
        let visible = self.visible;
        assert!(visible.is_none_or(|v| v.iter().all(|&j| (j as usize) < n_keys)), "keys exist");
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
            index: (self.index * self.n_heads + head) as u64,
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
        assert_eq!(lse.len(), self.n_heads * self.n_queries, "one value per head and query");
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
        assert_eq!(lse.len(), self.n_heads * n_queries, "one value per head and query");
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

/// A matrix of rows that lie `ld` apart.
#[derive(Clone, Copy)]
struct Rows {
    ptr: *const f32,
    ld: usize,
}

/// A writable matrix of rows that lie `ld` apart.
#[derive(Clone, Copy)]
struct RowsMut {
    ptr: *mut f32,
    ld: usize,
}

/// What the forward and the backward pass of a head have in common.
#[derive(Clone, Copy)]
struct Head<'a> {
    n_queries: usize,
    n_keys: usize,
    /// Head width.
    width: usize,
    q: Rows,
    k: Rows,
    v: Rows,
    /// The keys that take part, in order; `None` = all.
    visible: Option<&'a [u32]>,
    causal: Option<i64>,
    dropout: Option<Stream>,
    /// Number of this head over samples, `sample * n_heads + head`: where its dropout decisions begin.
    index: u64,
    /// Per query: log2 of the sum of exp2 of scaled scores.
    lse: *mut f32,
}

impl Head<'_> {
    /// Number of keys that take part.
    #[inline(always)]
    fn keys(&self) -> usize {
        match self.visible {
            Some(list) => list.len(),
            None => self.n_keys,
        }
    }

    #[inline(always)]
    fn key(&self, j: usize) -> usize {
        match self.visible {
            Some(list) => list[j] as usize,
            None => j,
        }
    }

    /// Copies the rows of visible keys; rows and columns that pad are zero.
    ///
    /// # Safety
    /// `dst` must hold `keys` (rounded up) rows of `ld` values.
    #[inline(always)]
    unsafe fn gather<S: Simd>(&self, s: S, src: Rows, dst: *mut f32, ld: usize) {
        let keys = self.keys();
        // SAFETY: rows are those of the caller's matrix, columns stay below `width`.
        unsafe {
            each!(j in keys => copy_row(s, src.ptr.add(self.key(j) * src.ld), self.width, dst.add(j * ld), ld));
            each!(j in keys.next_multiple_of(KEYS) - keys => zero_row(s, dst.add((keys + j) * ld), ld));
        }
    }

    /// Writes the key of the dropout of each visible key's row.
    ///
    /// # Safety
    /// `dst` must hold two values per visible key.
    #[inline(always)]
    unsafe fn dropout_keys(&self, dst: *mut [u32; 2]) {
        if let Some(stream) = self.dropout {
            let first = self.index * self.n_keys as u64;
            // SAFETY: as promised by the caller.
            each!(j in self.keys() => unsafe { *dst.add(j) = stream.row_key(first + self.key(j) as u64) });
        }
    }
}

/// # Safety
/// `src` must hold `n` values, `dst` `padded >= n`.
#[inline(always)]
unsafe fn copy_row<S: Simd>(s: S, src: *const f32, n: usize, dst: *mut f32, padded: usize) {
    // SAFETY: as promised by the caller.
    unsafe {
        let mut c = 0;
        while c + S::LANES <= n {
            s.store(dst.add(c), s.load(src.add(c)));
            c += S::LANES;
        }
        while c < n {
            *dst.add(c) = *src.add(c);
            c += 1;
        }
        while c < padded {
            *dst.add(c) = 0.0;
            c += 1;
        }
    }
}

/// # Safety
/// `dst` must hold `n` values.
#[inline(always)]
unsafe fn zero_row<S: Simd>(s: S, dst: *mut f32, n: usize) {
    // SAFETY: as promised by the caller.
    unsafe { copy_row(s, dst, 0, dst, n) }
}

/// Packs rows transposed into strips of `w` rows (`[strip][feature][w]`), times `factor`; lanes that pad are zero.
///
/// # Safety
/// `dst` must hold `n` rounded up to `w`, times `width` values.
#[inline(always)]
unsafe fn pack_strips<S: Simd>(
    s: S,
    src: Rows,
    n: usize,
    width: usize,
    w: usize,
    factor: f32,
    dst: *mut f32,
) {
    // SAFETY: as promised by the caller.
    unsafe {
        let mut i = 0;
        while i < n {
            let rows = lesser(n - i, w);
            let dst = dst.add(i * width);
            transpose(s, src.ptr.add(i * src.ld), src.ld, dst, w, rows, width);
            each!(c in width => {
                each!(v in w - rows => *dst.add(c * w + rows + v) = 0.0);
            });
            let factor = s.splat(factor);
            let mut at = 0;
            while at < width * w {
                s.store(dst.add(at), s.mul(s.load(dst.add(at)), factor));
                at += S::LANES;
            }
            i += w;
        }
    }
}

/// Lanes of a strip that starts at query `first` which see `key`.
#[inline(always)]
fn causal_bits(first: usize, key: usize, offset: i64) -> u32 {
    let blind = key as i64 - offset - first as i64;
    if blind <= 0 {
        u32::MAX
    } else if blind >= 32 {
        0
    } else {
        u32::MAX << blind
    }
}

/// The decisions of the strip of `w` queries that starts at `first`.
#[inline(always)]
fn strip_draws<S: Simd>(s: S, key: [u32; 2], first: usize, threshold: u16) -> u32 {
    s.draws(key, (first / 32) as u32, threshold) >> (first % 32)
}

/// Working memory of a head; one serves any number of heads of the same shape, one after the other.
pub(crate) struct Scratch {
    buffer: Buffer,
}

impl Scratch {
    /// For heads of at most these sizes.
    fn new(n_queries: usize, n_keys: usize, width: usize, backward: bool) -> Self {
        let (queries, keys) = (n_queries.next_multiple_of(32), n_keys.next_multiple_of(KEYS));
        let padded = width.next_multiple_of(32);
        let forward = keys * (2 * padded + 32 + 2) + queries * padded + padded * 32;
        let extra = queries * (5 * padded + 2) + 2 * keys * padded + 2 * CHUNK * 32;
        Self { buffer: Buffer::take(forward + if backward { extra } else { 0 }) }
    }
}

/// Hands out consecutive parts of the scratch buffer.
struct Parts {
    next: *mut f32,
    left: usize,
}

impl Parts {
    fn new(scratch: &mut Scratch) -> Self {
        Self { next: scratch.buffer.as_mut_ptr(), left: scratch.buffer.len() }
    }

    #[inline(always)]
    fn take(&mut self, len: usize) -> *mut f32 {
        assert!(len <= self.left, "scratch of a smaller head");
        let part = self.next;
        self.left -= len;
        // SAFETY: `len` values are left.
        self.next = unsafe { self.next.add(len) };
        part
    }
}

/// `out = dropout(softmax(q k^T / sqrt(width))) v` for one head.
struct Forward<'a> {
    head: Head<'a>,
    out: RowsMut,
    scratch: &'a mut Scratch,
}

impl Forward<'_> {
    /// # Safety
    /// All matrices must have the sizes that `head` states, and nothing else may access `out` and `lse` meanwhile.
    unsafe fn run(self) {
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
                    self::forward_strip::<S, KR, CR, 1, DROP>(
                        s, &head, first, n, k, v, padded, q, w, strip, result, drop_keys, self.out,
                    );
                } else {
                    self::forward_strip::<S, KR, CR, NV, DROP>(
                        s, &head, first, n, k, v, padded, q, w, strip, result, drop_keys, self.out,
                    );
                }
                first += w;
            }
        }
    }
}

/// # Safety
/// Called by [`Forward::strips`] alone, with parts of the sizes made there.
#[expect(clippy::too_many_arguments, reason = "one step of one loop, split off for its constants")]
#[inline(always)]
unsafe fn forward_strip<S: Simd, const KR: usize, const CR: usize, const N: usize, const DROP: bool>(
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
        let threshold = if let Some(stream) = head.dropout { stream.threshold() } else { 0 };
        each!(j in keys => {
            let bits = if DROP { strip_draws(s, *drop_keys.add(j), first, threshold) } else { 0 };
            each!(x in N => {
                let ptr = strip.add(j * row + x * S::LANES);
                let weight = s.exp2(s.sub(s.load(ptr), max[x]));
                sum[x] = s.add(sum[x], weight);
                s.store(ptr, if DROP { s.keep(bits >> (x * S::LANES), weight) } else { weight });
            });
        });
        let scale = if let Some(stream) = head.dropout { stream.scale() } else { 1.0 };
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
        transpose(s, result, row, out.ptr.add(first * out.ld), out.ld, width, n);
    }
}

/// The gradients of [`Forward`].
struct Backward<'a> {
    head: Head<'a>,
    /// Result of the forward pass, and the gradient that came for it.
    out: Rows,
    dout: Rows,
    dq: RowsMut,
    /// Rows of keys that do not take part become zero.
    dk: RowsMut,
    dv: RowsMut,
    scratch: &'a mut Scratch,
}

impl Backward<'_> {
    /// # Safety
    /// All matrices must have the sizes that `head` states, and nothing else may access the gradients meanwhile.
    unsafe fn run(self) {
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
                (_, true) => self.chunks::<S, 2, 4, true>(s),
                (_, false) => self.chunks::<S, 2, 4, false>(s),
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
    /// Weights after dropout, and gradients of scores: a chunk of keys by a strip of queries.
    weights: *mut f32,
    dscores: *mut f32,
    /// By strips, transposed.
    dq: *mut f32,
    drop_keys: *const [u32; 2],
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
        let weights = parts.take(CHUNK * w);
        let dscores = parts.take(CHUNK * w);
        let scale = 1.0 / (width as f32).sqrt();
        // SAFETY: the parts have the sizes that the loops below cover.
        unsafe {
            head.gather(s, head.k, k, padded);
            head.gather(s, head.v, v, padded);
            head.dropout_keys(drop_keys);
            pack_strips(s, head.q, n_queries, width, w, std::f32::consts::LOG2_E * scale, q);
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
                (Rows { ptr: q, ld: full }, Rows { ptr: dout, ld: full })
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
            let shared = Shared { k, v, padded, q, dout, lse, delta, weights, dscores, dq, drop_keys };
            let mut from = 0;
            while from < keys {
                let to = lesser(from + CHUNK, keys);
                let mut first = 0;
                while first < n_queries {
                    let n = lesser(n_queries - first, w);
                    if n <= S::LANES {
                        backward_strip::<S, KR, CR, 1, DROP>(s, &head, shared, first, from, to);
                    } else {
                        backward_strip::<S, KR, CR, NV, DROP>(s, &head, shared, first, from, to);
                    }
                    let row = if n <= S::LANES { S::LANES } else { w };
                    let rows = (to - from).next_multiple_of(KEYS);
                    let (dk, dv) = (dk.add(from * full), dv.add(from * full));
                    let dout = dout_rows.ptr.add(first * dout_rows.ld);
                    add_product(s, rows, full, n, weights, row, dout, dout_rows.ld, dv);
                    let q = q_rows.ptr.add(first * q_rows.ld);
                    add_product(s, rows, full, n, dscores, row, q, q_rows.ld, dk);
                    first += w;
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

/// # Safety
/// Called by [`Backward::chunks`] alone, with parts of the sizes made there.
#[inline(always)]
unsafe fn backward_strip<S: Simd, const KR: usize, const CR: usize, const N: usize, const DROP: bool>(
    s: S,
    head: &Head<'_>,
    shared: Shared,
    first: usize,
    from: usize,
    to: usize,
) {
    let Shared { k, v, padded, q, dout, lse, delta, weights, dscores, dq, drop_keys } = shared;
    let (width, w, row) = (head.width, NV * S::LANES, N * S::LANES);
    // SAFETY: rows stay below the padded number of keys, lanes below `w`.
    unsafe {
        let (q, dout) = (q.add(first * width), dout.add(first * width));
        let threshold = if let Some(stream) = head.dropout { stream.threshold() } else { 0 };
        let scale = s.splat(if let Some(stream) = head.dropout { stream.scale() } else { 1.0 });
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
                let at = (j + r - from) * row;
                if j + r < to {
                    let bits =
                        if DROP { strip_draws(s, *drop_keys.add(j + r), first, threshold) } else { 0 };
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
                } else if at < CHUNK * row {
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
                let at = (j - from) * row + x * S::LANES;
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
            tile::<S, CR, N, true>(s, to - from, k, padded, dscores, row, &mut acc);
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
