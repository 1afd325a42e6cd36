//! Intervals of a share.

/// Half of the standard normal's middle 95 %.
const Z95: f64 = 1.959_963_984_540_054;

/// The 95 % score interval of a share `hits / n` \[Wilson1927\]; NaN without cases.
///
/// Unlike the interval value ± z·error it stays within 0..=1 and has a length at 0 and 1 too.
pub fn wilson(hits: u64, n: u64) -> [f64; 2] {
    if n == 0 {
        return [f64::NAN; 2];
    }
    let (hits, n) = (hits as f64, n as f64);
    let share = hits / n;
    let z2 = Z95 * Z95;
    let centre = (share + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z95 * (share * (1.0 - share) / n + z2 / (4.0 * n * n)).sqrt() / (1.0 + z2 / n);
    // at the ends the exact bounds are 0 and 1, which rounding would miss
    let low = if hits == 0.0 { 0.0 } else { centre - half };
    let high = if hits == n { 1.0 } else { centre + half };
    [low, high]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_by_hand() {
        // the bounds are the shares p from which the found one is z standard errors away:
        // |0.2 - p| = z sqrt(p (1 - p) / 50)
        for bound in wilson(10, 50) {
            let error = (bound * (1.0 - bound) / 50.0).sqrt();
            assert!(((0.2 - bound).abs() - Z95 * error).abs() < 1e-12, "{bound}");
        }
        // of none in n: z² / (n + z²)
        let [low, high] = wilson(0, 16);
        assert_eq!(low, 0.0);
        assert!((high - 3.841_458_820_694_124 / 19.841_458_820_694_124).abs() < 1e-12);
        assert_eq!(wilson(16, 16)[1], 1.0);
        assert!(wilson(0, 0)[0].is_nan());
    }
}
