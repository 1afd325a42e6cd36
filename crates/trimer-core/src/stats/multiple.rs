//! Several tests at once.

/// Holm's step-down correction: p values that may be compared with the level for all tests
/// together. The order of the input is kept; NaN stays NaN and does not count as a test.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len())
        .filter(|&i| !p_values[i].is_nan())
        .collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let mut adjusted = vec![f64::NAN; p_values.len()];
    let mut largest = 0.0f64;
    for (rank, &i) in order.iter().enumerate() {
        largest = largest
            .max(p_values[i] * (order.len() - rank) as f64)
            .min(1.0);
        adjusted[i] = largest;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn textbook_example() {
        // .005·4, .01·3, then .03·2 and .04·1, which may not fall below .06
        let adjusted = holm(&[0.01, 0.04, 0.03, 0.005, f64::NAN]);
        let expected = [0.03, 0.06, 0.06, 0.02];
        for (a, e) in adjusted.iter().zip(expected) {
            assert!((a - e).abs() < 1e-12);
        }
        assert!(adjusted[4].is_nan());
        assert_eq!(holm(&[0.9, 0.8]), [1.0, 1.0]);
    }
}
