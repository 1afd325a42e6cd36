//! The comparison of values that all tests of this crate share, those in `tests/` too.

/// Fails unless all values are finite numbers and no two are further apart than `bound` times the largest expected
/// magnitude (`least_scale` where that is larger).
///
/// A maximum of differences alone would not do: it passes over NaN, and an infinite value makes the scale infinite.
#[track_caller]
pub(crate) fn assert_close<A, B>(
    what: &str,
    ours: &[A],
    expected: &[B],
    bound: f64,
    least_scale: f64,
) where
    A: Copy + Into<f64>,
    B: Copy + Into<f64>,
{
    assert_eq!(ours.len(), expected.len(), "{what}: number of values");
    assert_finite(what, ours);
    assert_finite(&format!("{what}, expected"), expected);
    let expected = expected.iter().map(|x| (*x).into());
    let scale = expected
        .clone()
        .fold(least_scale, |most, x: f64| most.max(x.abs()));
    for (i, (x, y)) in ours.iter().map(|x| (*x).into()).zip(expected).enumerate() {
        let off = (x - y).abs();
        assert!(
            off <= bound * scale,
            "{what}, value {i}: {x} for {y}, off by {off}, allowed {bound} of {scale}"
        );
    }
}

/// Fails on NaN and on infinite values.
#[track_caller]
pub(crate) fn assert_finite<T: Copy + Into<f64>>(what: &str, values: &[T]) {
    for (i, x) in values.iter().map(|x| (*x).into()).enumerate() {
        assert!(x.is_finite(), "{what}, value {i}: {x} is no finite number");
    }
}
