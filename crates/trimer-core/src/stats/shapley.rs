//! What each member of a group adds to a common result.

/// Members that [`shapley`] takes at most: it asks for the value of every subset.
pub const MOST_PLAYERS: usize = 16;

/// The exact Shapley values of `n_players` (`[Shapley1953]`): for each, the mean over all orders of
/// joining of what the value rises by when the player joins. They sum to the value of all minus the
/// value of none.
///
/// `value` gets a set as bits, player `i` being in it where bit `i` is set, and is asked once for
/// each of the `2^n_players` sets.
///
/// # Panics
/// With more than [`MOST_PLAYERS`].
///
/// # Example
/// ```
/// use trimer_core::stats::shapley;
///
/// // Either of the first two suffices, the third does nothing.
/// let parts = shapley(3, |set| f64::from(u8::from(set & 0b011 != 0)));
/// assert_eq!(parts, [0.5, 0.5, 0.0]);
/// ```
pub fn shapley(n_players: usize, value: impl FnMut(usize) -> f64) -> Vec<f64> {
    assert!(
        n_players <= MOST_PLAYERS,
        "{n_players} players have too many subsets"
    );
    let values: Vec<f64> = (0..1_usize << n_players).map(value).collect();
    // |S|! (n - |S| - 1)! / n! for a set S that the player joins, as 1 / (n C(n - 1, |S|)).
    let mut weights = Vec::with_capacity(n_players);
    let mut choose = 1.0;
    for size in 0..n_players {
        weights.push(1.0 / (n_players as f64 * choose));
        choose *= (n_players - 1 - size) as f64 / (size + 1) as f64;
    }
    (0..n_players)
        .map(|player| {
            let sets = (0..values.len()).filter(|set| set >> player & 1 == 0);
            sets.map(|set| {
                let rise = values[set | 1 << player] - values[set];
                weights[set.count_ones() as usize] * rise
            })
            .sum()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn three_players_by_hand() {
        // v(1) = 1, v(2) = 2, v(3) = 0, v(12) = 5, v(13) = 1, v(23) = 4, v(123) = 9; the orders
        // 123 132 213 231 312 321 give player 1 the rises 1 1 3 5 1 5
        let values = [0.0, 1.0, 2.0, 5.0, 0.0, 1.0, 4.0, 9.0];
        let found = shapley(3, |set| values[set]);
        let expected = [16.0 / 6.0, (4.0 + 8.0 + 2.0 + 2.0 + 8.0 + 4.0) / 6.0];
        assert!((found[0] - expected[0]).abs() < 1e-12, "{found:?}");
        assert!((found[1] - expected[1]).abs() < 1e-12, "{found:?}");
        assert!((found.iter().sum::<f64>() - 9.0).abs() < 1e-12);
        assert_eq!(shapley(1, |set| [3.0, 5.0][set]), [2.0]);
        assert_eq!(shapley(0, |_| 1.0), [0.0; 0]);
    }

    /// The definition itself: all orders of joining.
    fn by_orders(n: usize, values: &[f64]) -> Vec<f64> {
        fn go(n: usize, set: usize, values: &[f64], sums: &mut [f64]) -> f64 {
            // Every order of the set itself comes by here once; this many complete each of them.
            let left = n - set.count_ones() as usize;
            let orders: f64 = (1..=left).map(|k| k as f64).product();
            for player in (0..n).filter(|p| set >> p & 1 == 0) {
                let next = set | 1 << player;
                let after = go(n, next, values, sums);
                sums[player] += after * (values[next] - values[set]);
            }
            orders
        }
        let mut sums = vec![0.0; n];
        go(n, 0, values, &mut sums);
        let all: f64 = (1..=n).map(|k| k as f64).product();
        sums.iter().map(|s| s / all).collect()
    }

    proptest! {
        #[test]
        fn they_agree_with_the_definition_and_sum_to_the_difference(
            n in 1usize..5,
            values in prop::collection::vec(-5.0f64..5.0, 16),
        ) {
            let found = shapley(n, |set| values[set]);
            for (a, b) in found.iter().zip(by_orders(n, &values)) {
                prop_assert!((a - b).abs() < 1e-9);
            }
            let difference = values[(1 << n) - 1] - values[0];
            prop_assert!((found.iter().sum::<f64>() - difference).abs() < 1e-9);
        }
    }
}
