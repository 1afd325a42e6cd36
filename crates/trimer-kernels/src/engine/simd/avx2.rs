//! Eight lanes, x86-64 with AVX2 and FMA.
#![expect(unsafe_code, reason = "intrinsics")]
#![allow(clippy::wildcard_imports, reason = "some forty intrinsics")]

use std::arch::x86_64::*;

use super::{EXP2, EXP2_ZERO, Kernel, Simd, each};
use crate::engine::dropout_bits::{LANE_STEP, MIX};

/// Proof that the CPU has AVX2 and FMA: made by [`run`] alone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx2(());

/// # Safety
/// The CPU must have AVX2 and FMA.
#[target_feature(enable = "avx2,fma,bmi1,bmi2,popcnt")]
pub(super) unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx2(()))
}

/// Lane masks: entry `n` starts at `8 - n` and selects the first `n` lanes.
static PART: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

#[expect(
    clippy::unused_self,
    reason = "the value proves that the CPU has the instructions"
)]
impl Avx2 {
    #[inline(always)]
    fn part(self, n: usize) -> __m256i {
        // SAFETY: n <= 8, so eight entries follow; AVX is there because `self` is.
        unsafe { _mm256_loadu_si256(PART.as_ptr().add(8_usize.saturating_sub(n)).cast()) }
    }

    /// Sixteen mixed bits per half of the lane, see `dropout::mix`.
    #[inline(always)]
    fn mix(self, key: [u32; 2], group: u32, first_lane: u32) -> __m256i {
        // SAFETY: AVX2 is there because `self` is.
        unsafe {
            let lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            let base = group.wrapping_mul(16).wrapping_add(first_lane);
            let counter = _mm256_add_epi32(_mm256_set1_epi32(base as i32), lane);
            let mut x = _mm256_mullo_epi32(counter, _mm256_set1_epi32(LANE_STEP as i32));
            x = _mm256_xor_si256(x, _mm256_set1_epi32(key[0] as i32));
            x = _mm256_xor_si256(x, _mm256_srli_epi32::<16>(x));
            x = _mm256_mullo_epi32(x, _mm256_set1_epi32(MIX[0] as i32));
            x = _mm256_add_epi32(x, _mm256_set1_epi32(key[1] as i32));
            x = _mm256_xor_si256(x, _mm256_srli_epi32::<15>(x));
            x = _mm256_mullo_epi32(x, _mm256_set1_epi32(MIX[1] as i32));
            _mm256_xor_si256(x, _mm256_srli_epi32::<15>(x))
        }
    }
}

// SAFETY, for every block below: AVX2 and FMA are there because `self` is; pointers are as the trait demands.
impl Simd for Avx2 {
    type V = __m256;
    const LANES: usize = 8;
    const PANEL: usize = 2;
    const ROWS: usize = 6;

    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        // SAFETY: see above the impl.
        unsafe { _mm256_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load(self, ptr: *const f32) -> __m256 {
        // SAFETY: see above the impl.
        unsafe { _mm256_loadu_ps(ptr) }
    }
    #[inline(always)]
    unsafe fn store(self, ptr: *mut f32, v: __m256) {
        // SAFETY: see above the impl.
        unsafe { _mm256_storeu_ps(ptr, v) }
    }
    #[inline(always)]
    unsafe fn load_part(self, ptr: *const f32, n: usize) -> __m256 {
        // SAFETY: masked lanes are not read.
        unsafe { _mm256_maskload_ps(ptr, self.part(n)) }
    }
    #[inline(always)]
    unsafe fn store_part(self, ptr: *mut f32, n: usize, v: __m256) {
        // SAFETY: masked lanes are not written.
        unsafe { _mm256_maskstore_ps(ptr, self.part(n), v) }
    }
    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above the impl.
        unsafe { _mm256_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above the impl.
        unsafe { _mm256_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above the impl.
        unsafe { _mm256_mul_ps(a, b) }
    }
    #[inline(always)]
    fn fma(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: see above the impl.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn max(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above the impl.
        unsafe { _mm256_max_ps(a, b) }
    }
    #[inline(always)]
    fn where_positive(self, x: __m256, y: __m256) -> __m256 {
        // SAFETY: see above the impl.
        unsafe { _mm256_and_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(x, _mm256_setzero_ps()), y) }
    }
    #[inline(always)]
    fn exp2(self, x: __m256) -> __m256 {
        // SAFETY: see above the impl.
        unsafe {
            let normal = _mm256_cmp_ps::<_CMP_GT_OQ>(x, _mm256_set1_ps(EXP2_ZERO));
            let n = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x);
            let f = _mm256_sub_ps(x, n);
            let mut p = _mm256_set1_ps(EXP2[5]);
            p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(EXP2[4]));
            p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(EXP2[3]));
            p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(EXP2[2]));
            p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(EXP2[1]));
            p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(EXP2[0]));
            let n = _mm256_cvtps_epi32(n);
            let power = _mm256_slli_epi32::<23>(_mm256_add_epi32(n, _mm256_set1_epi32(127)));
            _mm256_and_ps(normal, _mm256_mul_ps(p, _mm256_castsi256_ps(power)))
        }
    }
    #[inline(always)]
    fn sum(self, v: __m256) -> f32 {
        // SAFETY: see above the impl.
        unsafe {
            let x = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_add_ss(x, _mm_shuffle_ps::<1>(x, x)))
        }
    }
    #[inline(always)]
    fn keep(self, bits: u32, v: __m256) -> __m256 {
        // SAFETY: see above the impl.
        unsafe {
            let lane = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
            let set = _mm256_and_si256(_mm256_set1_epi32(bits as i32), lane);
            _mm256_and_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(set, lane)), v)
        }
    }
    #[inline(always)]
    fn select(self, bits: u32, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above the impl.
        unsafe {
            let lane = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
            let set = _mm256_and_si256(_mm256_set1_epi32(bits as i32), lane);
            _mm256_blendv_ps(b, a, _mm256_castsi256_ps(_mm256_cmpeq_epi32(set, lane)))
        }
    }
    #[inline(always)]
    fn random_bits(self, key: [u32; 2], group: u32, threshold: u16) -> u32 {
        // SAFETY: see above the impl.
        unsafe {
            let limit = _mm256_set1_epi16(threshold as i16);
            let low = self.mix(key, group, 0);
            let high = self.mix(key, group, 8);
            let low = _mm256_cmpeq_epi16(_mm256_max_epu16(low, limit), low);
            let high = _mm256_cmpeq_epi16(_mm256_max_epu16(high, limit), high);
            // Packing works within halves of 128 bits: the permutation puts the lanes back in order.
            let both = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi16(low, high));
            _mm256_movemask_epi8(both) as u32
        }
    }
    #[inline(always)]
    unsafe fn transpose(self, src: *const f32, src_ld: usize, dst: *mut f32, dst_ld: usize) {
        // SAFETY: eight rows of eight values on either side, as the caller promises.
        unsafe {
            let mut r = [_mm256_setzero_ps(); 8];
            let mut t = [_mm256_setzero_ps(); 8];
            // Rows `i` and `i + 4` by halves, so that the permutation across halves is done by the loads.
            each!(i in 4 => {
                let (low, high) = (src.add(i * src_ld), src.add((i + 4) * src_ld));
                r[i] = _mm256_insertf128_ps::<1>(
                    _mm256_castps128_ps256(_mm_loadu_ps(low)),
                    _mm_loadu_ps(high),
                );
                r[i + 4] = _mm256_insertf128_ps::<1>(
                    _mm256_castps128_ps256(_mm_loadu_ps(low.add(4))),
                    _mm_loadu_ps(high.add(4)),
                );
            });
            each!(h in 2 => {
                let (a, b, c, d) = (r[4 * h], r[4 * h + 1], r[4 * h + 2], r[4 * h + 3]);
                let (e, f) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
                let (g, k) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
                t[4 * h] = _mm256_shuffle_ps::<0b01_00_01_00>(e, g);
                t[4 * h + 1] = _mm256_shuffle_ps::<0b11_10_11_10>(e, g);
                t[4 * h + 2] = _mm256_shuffle_ps::<0b01_00_01_00>(f, k);
                t[4 * h + 3] = _mm256_shuffle_ps::<0b11_10_11_10>(f, k);
            });
            each!(i in 8 => _mm256_storeu_ps(dst.add(i * dst_ld), t[i]));
        }
    }
    #[inline(always)]
    fn prefetch(self, ptr: *const f32) {
        // SAFETY: a hint, which never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(ptr.cast()) }
    }
}
