//! The vector operations that the kernels are written in, and the choice of instruction set at run time.
//!
//! A kernel is a value implementing [`Kernel`]; [`with_simd`] runs it with the widest instruction set that this CPU
//! has. Everything a kernel calls must be `#[inline(always)]`: only then does it end up inside the function that
//! carries the `target_feature` attribute.
#![allow(
    clippy::inline_always,
    reason = "a kernel must end up in the one function that enables the instructions"
)]
#![expect(
    unsafe_code,
    reason = "loads and stores through raw pointers, and intrinsics, are what this module exists for"
)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub(crate) mod columns;
mod portable;

use std::sync::OnceLock;

/// Counts `i` up from 0 to below `n`. Iterators are not sure to be inlined into a kernel, and one that is not costs
/// the kernel a factor of ten; this loop has nothing to inline.
macro_rules! each {
    ($i:ident in $n:expr => $body:expr) => {{
        let (mut $i, n) = (0, $n);
        while $i < n {
            $body;
            $i += 1;
        }
    }};
}
pub(crate) use each;

/// The smaller of two numbers, sure to be inlined.
#[inline(always)]
pub(crate) fn min(a: usize, b: usize) -> usize {
    if a < b { a } else { b }
}

/// Vector operations of one instruction set. A value of the type proves that the CPU has it.
pub(crate) trait Simd: Copy + Send + Sync + 'static {
    /// A vector of `LANES` f32.
    type V: Copy;
    /// Number of f32 in a vector; divides 32.
    const LANES: usize;
    /// Number of vectors side by side in a panel of the matrix product.
    const PANEL: usize;
    /// Number of rows of a tile of the matrix product.
    const ROWS: usize;

    fn splat(self, x: f32) -> Self::V;
    /// # Safety
    /// `ptr` must be valid for reading `LANES` values.
    unsafe fn load(self, ptr: *const f32) -> Self::V;
    /// # Safety
    /// `ptr` must be valid for writing `LANES` values.
    unsafe fn store(self, ptr: *mut f32, v: Self::V);
    /// Loads the first `n <= LANES` lanes, zero in the others.
    /// # Safety
    /// `ptr` must be valid for reading `n` values.
    unsafe fn load_part(self, ptr: *const f32, n: usize) -> Self::V;
    /// Stores the first `n <= LANES` lanes.
    /// # Safety
    /// `ptr` must be valid for writing `n` values.
    unsafe fn store_part(self, ptr: *mut f32, n: usize, v: Self::V);
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`, rounded once.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The greater; `b` where either is NaN.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// `y` where `x > 0`, else zero.
    fn where_positive(self, x: Self::V, y: Self::V) -> Self::V;
    /// `2^x`, to about 2.5e-7 relative; 0 where `x` is -100 or less (also for minus infinity), because numbers too small
    /// to be normal slow the CPU down by an order of magnitude.
    fn exp2(self, x: Self::V) -> Self::V;
    fn sum(self, v: Self::V) -> f32;
    /// `v` in the lanes whose bit (bit 0 = lane 0) is set, zero in the others.
    fn keep(self, bits: u32, v: Self::V) -> Self::V;
    /// `a` in the lanes whose bit is set, `b` in the others.
    fn select(self, bits: u32, a: Self::V, b: Self::V) -> Self::V;
    /// Thirty-two random bits, each set with the probability that a value is kept: see [`crate::engine::dropout_bits::DropoutStream::bits`].
    fn random_bits(self, key: [u32; 2], group: u32, threshold: u16) -> u32;
    /// Asks for the cache line at `ptr`, which need not be valid, to be brought to the second-level cache.
    #[inline(always)]
    fn prefetch(self, ptr: *const f32) {
        let _ = ptr;
    }
    /// Transposes a block of `LANES` rows of `LANES` values.
    /// # Safety
    /// `src` and `dst` must be valid for `LANES` rows that lie `src_ld` and `dst_ld` apart.
    #[inline(always)]
    unsafe fn transpose(self, src: *const f32, src_ld: usize, dst: *mut f32, dst_ld: usize) {
        // SAFETY: as promised by the caller.
        unsafe { transpose_part(src, src_ld, dst, dst_ld, Self::LANES, Self::LANES) }
    }
}

/// Transposes `rows` x `cols` values one by one.
///
/// # Safety
/// `src` must be valid for `rows` rows of `cols` values, `dst` for `cols` rows of `rows` values.
#[inline(always)]
pub(crate) unsafe fn transpose_part(
    src: *const f32,
    src_ld: usize,
    dst: *mut f32,
    dst_ld: usize,
    rows: usize,
    cols: usize,
) {
    // SAFETY: r < rows and c < cols.
    each!(r in rows => each!(c in cols => unsafe {
        *dst.add(c * dst_ld + r) = *src.add(r * src_ld + c);
    }));
}

/// Transposes `rows` x `cols` values block by block.
///
/// # Safety
/// As for [`transpose_part`].
#[inline(always)]
pub(crate) unsafe fn transpose<S: Simd>(
    s: S,
    src: *const f32,
    src_ld: usize,
    dst: *mut f32,
    dst_ld: usize,
    rows: usize,
    cols: usize,
) {
    let (full_rows, full_cols) = (rows - rows % S::LANES, cols - cols % S::LANES);
    // SAFETY: every block lies within the `rows` x `cols` values promised by the caller.
    unsafe {
        let mut r = 0;
        while r < full_rows {
            let mut c = 0;
            while c < full_cols {
                s.transpose(
                    src.add(r * src_ld + c),
                    src_ld,
                    dst.add(c * dst_ld + r),
                    dst_ld,
                );
                c += S::LANES;
            }
            r += S::LANES;
        }
        if full_cols < cols {
            transpose_part(
                src.add(full_cols),
                src_ld,
                dst.add(full_cols * dst_ld),
                dst_ld,
                full_rows,
                cols - full_cols,
            );
        }
        if full_rows < rows {
            transpose_part(
                src.add(full_rows * src_ld),
                src_ld,
                dst.add(full_rows),
                dst_ld,
                rows - full_rows,
                cols,
            );
        }
    }
}

/// Coefficients of a polynomial for `2^f` on [-1/2, 1/2], lowest first: least relative error (7.5e-8 before rounding).
pub(crate) const EXP2: [f32; 6] = [
    1.000_000_1,
    0.693_146_97,
    0.240_221_2,
    0.055_507_133,
    0.009_675_54,
    0.001_327_645_5,
];

/// Where [`Simd::exp2`] becomes zero.
pub(crate) const EXP2_ZERO: f32 = -100.0;

/// Something to be computed with vectors.
pub(crate) trait Kernel {
    type Output;
    /// Must be `#[inline(always)]`, see the module's text.
    fn run<S: Simd>(self, s: S) -> Self::Output;
}

/// A [`Kernel`] that reads and writes through raw pointers it was given.
pub(crate) trait RawKernel {
    type Output;
    /// Must be `#[inline(always)]`, see the module's text.
    /// # Safety
    /// The pointers must be valid for what the type says it reads and writes.
    unsafe fn run<S: Simd>(self, s: S) -> Self::Output;
}

/// A kernel whose pointers somebody answers for: made by [`with_simd_raw`] alone.
struct Trusted<K>(K);

impl<K: RawKernel> Kernel for Trusted<K> {
    type Output = K::Output;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> K::Output {
        // SAFETY: promised to `with_simd_raw`.
        unsafe { self.0.run(s) }
    }
}

/// As [`with_simd`].
///
/// # Safety
/// As for [`RawKernel::run`].
#[inline]
pub(crate) unsafe fn with_simd_raw<K: RawKernel>(kernel: K) -> K::Output {
    with_simd(Trusted(kernel))
}

/// An instruction set for which the kernels are compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// 512-bit vectors (x86-64 with AVX-512 F, BW, DQ and VL).
    Avx512,
    /// 256-bit vectors (x86-64 with AVX2 and FMA).
    Avx2,
    /// Whatever the target guarantees (SSE2 on x86-64, NEON on AArch64), left to the compiler.
    Portable,
}

impl Isa {
    /// The widest instruction set of this CPU. `TRIMER_ISA=avx2` or `portable` asks for a narrower one.
    pub fn get() -> Self {
        static ISA: OnceLock<Isa> = OnceLock::new();
        *ISA.get_or_init(|| {
            let wanted = std::env::var("TRIMER_ISA").unwrap_or_default();
            let portable_only = wanted == "portable";
            #[cfg(target_arch = "x86_64")]
            if !portable_only {
                let has_512 = std::arch::is_x86_feature_detected!("avx512f")
                    && std::arch::is_x86_feature_detected!("avx512bw")
                    && std::arch::is_x86_feature_detected!("avx512dq")
                    && std::arch::is_x86_feature_detected!("avx512vl");
                let has_2 = std::arch::is_x86_feature_detected!("avx2")
                    && std::arch::is_x86_feature_detected!("fma");
                if has_512 && has_2 && wanted != "avx2" {
                    return Self::Avx512;
                }
                if has_2 {
                    return Self::Avx2;
                }
            }
            let _ = portable_only;
            Self::Portable
        })
    }

    /// Number of columns of a packed panel of the matrix product.
    pub(crate) fn panel_width(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => avx512::Avx512::PANEL * avx512::Avx512::LANES,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => avx2::Avx2::PANEL * avx2::Avx2::LANES,
            _ => portable::Portable::PANEL * portable::Portable::LANES,
        }
    }
}

/// Runs a kernel with the instruction set of this CPU.
#[inline]
pub(crate) fn with_simd<K: Kernel>(kernel: K) -> K::Output {
    match Isa::get() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Isa::get` found the features.
        Isa::Avx512 => unsafe { avx512::run(kernel) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Isa::get` found the features.
        Isa::Avx2 => unsafe { avx2::run(kernel) },
        _ => kernel.run(portable::Portable),
    }
}

/// Runs a kernel with every instruction set that this CPU has; for tests.
#[cfg(test)]
pub(crate) fn with_each_isa<K: Kernel + Copy>(kernel: K) -> Vec<(Isa, K::Output)> {
    let mut outputs = vec![(Isa::Portable, kernel.run(portable::Portable))];
    #[cfg(target_arch = "x86_64")]
    {
        if Isa::get() != Isa::Portable {
            // SAFETY: every CPU with AVX-512, as detected by `Isa::get`, also has AVX2 and FMA (checked there).
            outputs.push((Isa::Avx2, unsafe { avx2::run(kernel) }));
        }
        if Isa::get() == Isa::Avx512 {
            // SAFETY: `Isa::get` found the features.
            outputs.push((Isa::Avx512, unsafe { avx512::run(kernel) }));
        }
    }
    outputs
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever runs the tests with a narrower instruction set must get it.
    #[test]
    fn the_instruction_set_asked_for_is_used() {
        match std::env::var("TRIMER_ISA").as_deref() {
            Ok("portable") => assert_eq!(Isa::get(), Isa::Portable),
            Ok("avx2") => assert_ne!(Isa::get(), Isa::Avx512),
            _ => {}
        }
        let lanes = match Isa::get() {
            Isa::Avx512 => 16,
            Isa::Avx2 | Isa::Portable => 8,
        };
        assert_eq!(with_simd(Lanes), lanes);
    }

    struct Lanes;

    impl Kernel for Lanes {
        type Output = usize;
        #[inline(always)]
        fn run<S: Simd>(self, _: S) -> usize {
            S::LANES
        }
    }

    #[derive(Clone, Copy)]
    struct Everything;

    impl Kernel for Everything {
        type Output = Vec<f32>;
        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Vec<f32> {
            let x: Vec<f32> = (0..32).map(|i| i as f32 * 0.37 - 5.5).collect();
            let mut out = vec![0.0; 32 * 9];
            let mut put = |slot: usize, at: usize, v: S::V| {
                // SAFETY: every slot has 32 values.
                unsafe { s.store(out.as_mut_ptr().add(slot * 32 + at), v) }
            };
            for at in (0..32).step_by(S::LANES) {
                // SAFETY: `x` has 32 values.
                let (v, part) = unsafe {
                    (
                        s.load(x.as_ptr().add(at)),
                        s.load_part(x.as_ptr().add(at), 3),
                    )
                };
                put(0, at, s.add(v, s.splat(1.0)));
                put(1, at, s.sub(s.mul(v, v), s.splat(0.5)));
                put(2, at, s.fma(v, v, v));
                put(3, at, s.max(v, s.splat(0.1)));
                put(4, at, s.where_positive(v, s.splat(3.0)));
                put(5, at, s.exp2(v));
                put(6, at, s.keep(0xa65c_31f7 >> at, v));
                put(8, at, s.max(s.splat(0.0), s.splat(f32::NAN)));
                put(7, at, s.select(0xa65c_31f7 >> at, v, s.splat(s.sum(part))));
            }
            out
        }
    }

    #[test]
    fn every_instruction_set_computes_the_same() {
        let all = with_each_isa(Everything);
        let x: Vec<f32> = (0..32).map(|i| i as f32 * 0.37 - 5.5).collect();
        for (isa, out) in &all {
            for (i, &v) in x.iter().enumerate() {
                assert!((out[i] - (v + 1.0)).abs() < 1e-6, "{isa:?} add");
                assert!(
                    (out[32 + i] - (v * v - 0.5)).abs() < 1e-5,
                    "{isa:?} mul, sub"
                );
                assert!((out[64 + i] - (v * v + v)).abs() < 1e-5, "{isa:?} fma");
                assert_eq!(out[96 + i], v.max(0.1), "{isa:?} max");
                assert!(out[256 + i].is_nan(), "{isa:?} max hides NaN");
                assert_eq!(
                    out[128 + i],
                    if v > 0.0 { 3.0 } else { 0.0 },
                    "{isa:?} where"
                );
                let exact = f64::from(v).exp2();
                assert!(
                    (f64::from(out[160 + i]) / exact - 1.0).abs() < 4e-7,
                    "{isa:?} exp2({v})"
                );
                let kept = 0xa65c_31f7_u32 >> i & 1 == 1;
                assert_eq!(out[192 + i], if kept { v } else { 0.0 }, "{isa:?} keep");
                if kept {
                    assert_eq!(out[224 + i], v, "{isa:?} select");
                }
            }
        }
    }

    #[derive(Clone, Copy)]
    struct Extremes;

    impl Kernel for Extremes {
        type Output = Vec<f32>;
        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Vec<f32> {
            let mut out = vec![0.0; 32];
            for (i, x) in [f32::NEG_INFINITY, -1e30, -100.0, 0.0]
                .into_iter()
                .enumerate()
            {
                // SAFETY: one lane is written.
                unsafe { s.store_part(out.as_mut_ptr().add(i), 1, s.exp2(s.splat(x))) };
            }
            out
        }
    }

    #[test]
    fn exp2_of_very_negative_values_is_zero() {
        for (isa, out) in with_each_isa(Extremes) {
            assert_eq!(out[..3], [0.0, 0.0, 0.0], "{isa:?}");
            assert!((out[3] - 1.0).abs() < 2e-7, "{isa:?}");
        }
    }

    #[derive(Clone, Copy)]
    struct RandomBits;

    impl Kernel for RandomBits {
        type Output = Vec<u32>;
        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Vec<u32> {
            (0..9)
                .map(|g| s.random_bits([0x1234_5678 + g, 0x9abc_def0], g * 77, 20000))
                .collect()
        }
    }

    #[test]
    fn every_instruction_set_gives_the_same_random_bits() {
        let all = with_each_isa(RandomBits);
        for (isa, bits) in &all {
            assert_eq!(bits, &all[0].1, "{isa:?}");
        }
        for g in 0..9_u32 {
            let stream = crate::engine::dropout_bits::row_bits(
                [0x1234_5678 + g, 0x9abc_def0],
                g * 77,
                20000,
            );
            assert_eq!(all[0].1[g as usize], stream);
        }
    }

    #[derive(Clone, Copy)]
    struct Turn(usize, usize);

    impl Kernel for Turn {
        type Output = Vec<f32>;
        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Vec<f32> {
            let src: Vec<f32> = (0..self.0 * self.1).map(|i| i as f32).collect();
            let mut dst = vec![-1.0; self.0 * self.1];
            // SAFETY: both vectors hold `rows * cols` values.
            unsafe {
                transpose(
                    s,
                    src.as_ptr(),
                    self.1,
                    dst.as_mut_ptr(),
                    self.0,
                    self.0,
                    self.1,
                );
            }
            dst
        }
    }

    #[test]
    fn transposes_any_shape() {
        for (rows, cols) in [(1, 1), (16, 16), (17, 33), (5, 40), (32, 8), (7, 3)] {
            for (isa, dst) in with_each_isa(Turn(rows, cols)) {
                for r in 0..rows {
                    for c in 0..cols {
                        assert_eq!(dst[c * rows + r], (r * cols + c) as f32, "{isa:?}");
                    }
                }
            }
        }
    }
}
