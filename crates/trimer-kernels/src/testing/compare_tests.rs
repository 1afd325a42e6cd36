//! The comparison itself: a guard that lets something pass guards nothing.

use super::compare::assert_close;

#[test]
fn values_within_the_bound_are_close() {
    assert_close("values", &[1.0_f32, 99.0], &[2.0_f64, 100.0], 0.01, 0.0);
    assert_close("small values", &[0.001_f32], &[0.0_f64], 0.1, 0.02);
}

#[test]
#[should_panic(expected = "value 1: 98 for 100, off by 2, allowed 0.01 of 100")]
fn values_beyond_the_bound_are_not() {
    assert_close("values", &[1.0_f32, 98.0], &[1.0_f64, 100.0], 0.01, 0.0);
}

#[test]
#[should_panic(expected = "value 1: NaN is no finite number")]
fn nan_is_refused() {
    assert_close("values", &[1.0_f32, f32::NAN], &[1.0_f32, 2.0], 1e9, 0.0);
}

#[test]
#[should_panic(expected = "value 0: -inf is no finite number")]
fn infinity_is_refused() {
    let infinite = [f32::NEG_INFINITY, 1.0];
    assert_close("values", &infinite, &[0.0_f32, 1.0], 1e9, 0.0);
}

#[test]
#[should_panic(expected = "expected, value 0: inf is no finite number")]
fn infinity_is_refused_where_it_is_expected() {
    assert_close("values", &[0.0_f32], &[f32::INFINITY], 1e-5, 0.0);
}

#[test]
#[should_panic(expected = "number of values")]
fn every_value_counts() {
    assert_close("values", &[1.0_f32], &[1.0_f32, 2.0], 1e9, 0.0);
}
