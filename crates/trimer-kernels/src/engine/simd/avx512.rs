//! Sixteen lanes, x86-64 with AVX-512.
#![expect(unsafe_code, reason = "intrinsics")]
#![allow(clippy::wildcard_imports, reason = "some forty intrinsics")]

use std::arch::x86_64::*;

use super::{EXP2, EXP2_ZERO, Kernel, Simd, each};
use crate::engine::dropout_bits::{LANE_STEP, MIX};

/// Proof that the CPU has AVX-512 F, BW, DQ and VL: made by [`run`] alone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx512(());

/// # Safety
/// The CPU must have the features named below.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi1,bmi2,popcnt")]
pub(super) unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx512(()))
}

#[inline(always)]
fn part(n: usize) -> u16 {
    if n >= 16 { u16::MAX } else { (1 << n) - 1 }
}

// SAFETY, for every block below: AVX-512 is there because `self` is; pointers are as the trait demands.
impl Simd for Avx512 {
    type V = __m512;
    const LANES: usize = 16;
    const PANEL: usize = 4;
    const ROWS: usize = 6;

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        // SAFETY: see above the impl.
        unsafe { _mm512_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load(self, ptr: *const f32) -> __m512 {
        // SAFETY: see above the impl.
        unsafe { _mm512_loadu_ps(ptr) }
    }
    #[inline(always)]
    unsafe fn store(self, ptr: *mut f32, v: __m512) {
        // SAFETY: see above the impl.
        unsafe { _mm512_storeu_ps(ptr, v) }
    }
    #[inline(always)]
    unsafe fn load_part(self, ptr: *const f32, n: usize) -> __m512 {
        // SAFETY: masked lanes are not read.
        unsafe { _mm512_maskz_loadu_ps(part(n), ptr) }
    }
    #[inline(always)]
    unsafe fn store_part(self, ptr: *mut f32, n: usize, v: __m512) {
        // SAFETY: masked lanes are not written.
        unsafe { _mm512_mask_storeu_ps(ptr, part(n), v) }
    }
    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above the impl.
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above the impl.
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above the impl.
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: see above the impl.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above the impl.
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    fn where_positive(self, x: __m512, y: __m512) -> __m512 {
        // SAFETY: see above the impl.
        unsafe { _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(x, _mm512_setzero_ps()), y) }
    }
    #[inline(always)]
    fn exp2(self, x: __m512) -> __m512 {
        // SAFETY: see above the impl.
        unsafe {
            let normal = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(x, _mm512_set1_ps(EXP2_ZERO));
            let n = _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x);
            let f = _mm512_sub_ps(x, n);
            let mut p = _mm512_set1_ps(EXP2[5]);
            p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(EXP2[4]));
            p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(EXP2[3]));
            p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(EXP2[2]));
            p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(EXP2[1]));
            p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(EXP2[0]));
            _mm512_maskz_scalef_ps(normal, p, n)
        }
    }
    #[inline(always)]
    fn sum(self, v: __m512) -> f32 {
        // SAFETY: see above the impl.
        unsafe { _mm512_reduce_add_ps(v) }
    }
    #[inline(always)]
    fn keep(self, bits: u32, v: __m512) -> __m512 {
        // SAFETY: see above the impl.
        unsafe { _mm512_maskz_mov_ps(bits as u16, v) }
    }
    #[inline(always)]
    fn select(self, bits: u32, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above the impl.
        unsafe { _mm512_mask_mov_ps(b, bits as u16, a) }
    }
    #[inline(always)]
    fn random_bits(self, key: [u32; 2], group: u32, threshold: u16) -> u32 {
        // SAFETY: see above the impl.
        unsafe {
            let lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
            let lane = _mm512_mullo_epi32(lane, _mm512_set1_epi32(LANE_STEP as i32));
            let base = group.wrapping_mul(16).wrapping_mul(LANE_STEP);
            let mut x = _mm512_add_epi32(_mm512_set1_epi32(base as i32), lane);
            x = _mm512_xor_si512(x, _mm512_set1_epi32(key[0] as i32));
            x = _mm512_xor_si512(x, _mm512_srli_epi32::<16>(x));
            x = _mm512_mullo_epi32(x, _mm512_set1_epi32(MIX[0] as i32));
            x = _mm512_add_epi32(x, _mm512_set1_epi32(key[1] as i32));
            x = _mm512_xor_si512(x, _mm512_srli_epi32::<15>(x));
            x = _mm512_mullo_epi32(x, _mm512_set1_epi32(MIX[1] as i32));
            x = _mm512_xor_si512(x, _mm512_srli_epi32::<15>(x));
            _mm512_cmpge_epu16_mask(x, _mm512_set1_epi16(threshold as i16))
        }
    }
    #[inline(always)]
    fn prefetch(self, ptr: *const f32) {
        // SAFETY: a hint, which never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(ptr.cast()) }
    }
    #[inline(always)]
    unsafe fn transpose(self, src: *const f32, src_ld: usize, dst: *mut f32, dst_ld: usize) {
        // SAFETY: sixteen rows of sixteen values on either side, as the caller promises.
        unsafe {
            let mut r = [_mm512_setzero_ps(); 16];
            let mut t = [_mm512_setzero_ps(); 16];
            each!(i in 16 => r[i] = _mm512_loadu_ps(src.add(i * src_ld)));
            each!(i in 8 => {
                t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
                t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
            });
            each!(i in 4 => {
                let (a, b) = (_mm512_castps_pd(t[4 * i]), _mm512_castps_pd(t[4 * i + 2]));
                let (c, d) = (_mm512_castps_pd(t[4 * i + 1]), _mm512_castps_pd(t[4 * i + 3]));
                r[4 * i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
                r[4 * i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
                r[4 * i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(c, d));
                r[4 * i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(c, d));
            });
            each!(i in 4 => {
                t[i] = _mm512_shuffle_f32x4::<0x88>(r[i], r[i + 4]);
                t[i + 4] = _mm512_shuffle_f32x4::<0xdd>(r[i], r[i + 4]);
                t[i + 8] = _mm512_shuffle_f32x4::<0x88>(r[i + 8], r[i + 12]);
                t[i + 12] = _mm512_shuffle_f32x4::<0xdd>(r[i + 8], r[i + 12]);
            });
            each!(i in 8 => {
                let first = _mm512_shuffle_f32x4::<0x88>(t[i], t[i + 8]);
                let second = _mm512_shuffle_f32x4::<0xdd>(t[i], t[i + 8]);
                _mm512_storeu_ps(dst.add(i * dst_ld), first);
                _mm512_storeu_ps(dst.add((i + 8) * dst_ld), second);
            });
        }
    }
}
