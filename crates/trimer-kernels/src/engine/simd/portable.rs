//! Vectors as arrays of eight: the compiler turns the loops into whatever vectors the target guarantees.

use super::{EXP2, EXP2_ZERO, Simd};
use crate::engine::dropout_bits::row_bits;

/// Needs nothing of the CPU.
#[derive(Debug, Clone, Copy)]
pub(super) struct Portable;

const N: usize = 8;

macro_rules! lanes {
    ($i:ident => $e:expr) => {{
        let mut out = [0.0; N];
        let mut $i = 0;
        while $i < N {
            out[$i] = $e;
            $i += 1;
        }
        out
    }};
}

impl Simd for Portable {
    type V = [f32; N];
    const LANES: usize = N;
    const PANEL: usize = 1;
    const ROWS: usize = 4;

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        [x; N]
    }
    #[inline(always)]
    unsafe fn load(self, ptr: *const f32) -> Self::V {
        // SAFETY: the caller promises N readable values; arrays of f32 may be read unaligned.
        unsafe { ptr.cast::<[f32; N]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(self, ptr: *mut f32, v: Self::V) {
        // SAFETY: the caller promises N writable values.
        unsafe { ptr.cast::<[f32; N]>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn load_part(self, ptr: *const f32, n: usize) -> Self::V {
        // SAFETY: only the first n values are read.
        lanes!(i => if i < n { unsafe { *ptr.add(i) } } else { 0.0 })
    }
    #[inline(always)]
    unsafe fn store_part(self, ptr: *mut f32, n: usize, v: Self::V) {
        let mut i = 0;
        while i < n {
            // SAFETY: only the first n values are written.
            unsafe { *ptr.add(i) = v[i] };
            i += 1;
        }
    }
    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        lanes!(i => a[i] + b[i])
    }
    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        lanes!(i => a[i] - b[i])
    }
    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        lanes!(i => a[i] * b[i])
    }
    #[inline(always)]
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // Without the instruction `mul_add` would be a call per lane: two roundings cost less.
        if cfg!(any(target_feature = "fma", target_arch = "aarch64")) {
            lanes!(i => a[i].mul_add(b[i], c[i]))
        } else {
            lanes!(i => a[i] * b[i] + c[i])
        }
    }
    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        lanes!(i => if a[i] > b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    fn where_positive(self, x: Self::V, y: Self::V) -> Self::V {
        lanes!(i => if x[i] > 0.0 { y[i] } else { 0.0 })
    }
    #[inline(always)]
    fn exp2(self, x: Self::V) -> Self::V {
        // Adding and taking away 1.5 * 2^23 rounds to the nearest integer.
        const ROUND: f32 = 12_582_912.0;
        lanes!(i => {
            let normal = x[i] > EXP2_ZERO;
            let x = if normal { x[i] } else { 0.0 };
            let n = (x + ROUND) - ROUND;
            let f = x - n;
            let mut p = EXP2[5];
            p = p * f + EXP2[4];
            p = p * f + EXP2[3];
            p = p * f + EXP2[2];
            p = p * f + EXP2[1];
            p = p * f + EXP2[0];
            let power = f32::from_bits(((n as i32 + 127) as u32) << 23);
            if normal { p * power } else { 0.0 }
        })
    }
    #[inline(always)]
    fn sum(self, v: Self::V) -> f32 {
        ((v[0] + v[4]) + (v[1] + v[5])) + ((v[2] + v[6]) + (v[3] + v[7]))
    }
    #[inline(always)]
    fn keep(self, bits: u32, v: Self::V) -> Self::V {
        lanes!(i => if bits >> i & 1 == 1 { v[i] } else { 0.0 })
    }
    #[inline(always)]
    fn select(self, bits: u32, a: Self::V, b: Self::V) -> Self::V {
        lanes!(i => if bits >> i & 1 == 1 { a[i] } else { b[i] })
    }
    #[inline(always)]
    fn random_bits(self, key: [u32; 2], group: u32, threshold: u16) -> u32 {
        row_bits(key, group, threshold)
    }
}
