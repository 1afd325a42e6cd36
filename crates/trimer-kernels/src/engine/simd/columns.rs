//! Arithmetic of many rows at once that the compiler makes vectors of: the gates of recurrent cells.

use super::{EXP2, each};

/// Columns that are computed at a time.
pub(crate) const WIDTH: usize = 16;

/// `n` columns from `at` on. In a copy of fixed size of its own, unlike in slices that might overlap, the compiler makes
/// vectors of what follows.
#[inline(always)]
pub(crate) fn load(x: &[f32], at: usize, n: usize) -> [f32; WIDTH] {
    let x = &x[at..at + n];
    if let Some(whole) = x.first_chunk::<WIDTH>() {
        return *whole;
    }
    let mut part = [0.0; WIDTH];
    each!(i in n => part[i] = x[i]);
    part
}

#[inline(always)]
pub(crate) fn store(x: &mut [f32], at: usize, n: usize, values: &[f32; WIDTH]) {
    let x = &mut x[at..at + n];
    if let Some(whole) = x.first_chunk_mut::<WIDTH>() {
        *whole = *values;
    } else {
        each!(i in n => x[i] = values[i]);
    }
}

/// Runs `$body` for every `$n` columns from `$at` on, together `$d`.
macro_rules! columns {
    ($at:ident, $n:ident in $d:expr => $body:expr) => {{
        let d = $d;
        let mut $at = 0;
        while $at < d {
            let $n = if d - $at < WIDTH { d - $at } else { WIDTH };
            $body;
            $at += WIDTH;
        }
    }};
}
pub(crate) use columns;

/// `e^x` to about 1e-6 relative where `|x|` is below ten; does not overflow.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Adding and taking away 1.5 * 2^23 rounds to the nearest integer, which then stands in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let x = x * std::f32::consts::LOG2_E;
    let x = if x > 126.0 { 126.0 } else { x };
    let x = if x < -125.0 { -125.0 } else { x };
    let shifted = x + ROUND;
    let f = x - (shifted - ROUND);
    let mut p = EXP2[5];
    p = p * f + EXP2[4];
    p = p * f + EXP2[3];
    p = p * f + EXP2[2];
    p = p * f + EXP2[1];
    p = p * f + EXP2[0];
    p * f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23))
}

#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    2.0 / (1.0 + exp(-2.0 * x)) - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn activations_agree_with_the_standard_library() {
        for i in -4000..=4000 {
            let x = i as f32 * 0.03;
            let exact = 1.0 / (1.0 + (-f64::from(x)).exp());
            assert!((f64::from(sigmoid(x)) - exact).abs() < 3e-7, "sigmoid({x})");
            let exact = f64::from(x).tanh();
            assert!((f64::from(tanh(x)) - exact).abs() < 5e-7, "tanh({x})");
        }
        assert!(sigmoid(f32::NAN).is_nan() && tanh(f32::NAN).is_nan());
        assert_eq!(sigmoid(f32::INFINITY), 1.0);
    }
}
