//! Packing of right-hand sides into panels.
#![expect(unsafe_code, reason = "the kernels work on raw pointers")]

use crate::engine::simd::{RawKernel, Simd, each, min, transpose, with_simd_raw};

/// Packs rows `k0 .. k0 + k` of `b` (`ldb` apart, `n` columns) into panels.
#[derive(Clone, Copy)]
pub(crate) struct Pack {
    pub(crate) src: *const f32,
    pub(crate) ld: usize,
    pub(crate) k: usize,
    pub(crate) n: usize,
    pub(crate) dst: *mut f32,
}

impl Pack {
    /// # Safety
    /// `src` must hold `k` rows of `n` values; `dst` must have room for [`packed_len`] values.
    pub(crate) unsafe fn run(self) {
        // SAFETY: as promised by the caller.
        unsafe { with_simd_raw(self) }
    }
}

impl RawKernel for Pack {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let width = S::PANEL * S::LANES;
        let mut col = 0;
        let mut dst = self.dst;
        while col < self.n {
            let n = min(self.n - col, width);
            each!(k in self.k => {
                // SAFETY: within the matrices promised to `Pack::run`.
                unsafe {
                    let src = self.src.add(k * self.ld + col);
                    let mut v = 0;
                    while v < width {
                        let x = if v + S::LANES <= n {
                            s.load(src.add(v))
                        } else if v < n {
                            s.load_part(src.add(v), n - v)
                        } else {
                            s.splat(0.0)
                        };
                        s.store(dst.add(v), x);
                        v += S::LANES;
                    }
                    dst = dst.add(width);
                }
            });
            col += width;
        }
    }
}

/// Packs the transpose of `src` (`n` rows of `k` values, `ld` apart) into panels.
#[derive(Clone, Copy)]
pub(crate) struct PackTransposed {
    pub(crate) src: *const f32,
    pub(crate) ld: usize,
    pub(crate) k: usize,
    pub(crate) n: usize,
    pub(crate) dst: *mut f32,
}

impl PackTransposed {
    /// # Safety
    /// `src` must hold `n` rows of `k` values; `dst` must have room for [`packed_len`] values.
    pub(crate) unsafe fn run(self) {
        // SAFETY: as promised by the caller.
        unsafe { with_simd_raw(self) }
    }
}

impl RawKernel for PackTransposed {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let width = S::PANEL * S::LANES;
        let mut col = 0;
        let mut dst = self.dst;
        while col < self.n {
            let n = min(self.n - col, width);
            // SAFETY: within the matrices promised to `PackTransposed::run`.
            unsafe {
                if n < width {
                    each!(k in self.k => each!(v in width - n => {
                        *dst.add(k * width + n + v) = 0.0;
                    }));
                }
                transpose(
                    s,
                    self.src.add(col * self.ld),
                    self.ld,
                    dst,
                    width,
                    n,
                    self.k,
                );
                dst = dst.add(self.k * width);
            }
            col += width;
        }
    }
}
