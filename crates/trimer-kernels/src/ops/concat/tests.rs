//! Concatenations through Burn's interface.

use super::concat;
use crate::testing::gradients::check;

#[test]
fn concatenations() {
    for (n, a, b, sets) in [(1, 1, 1, 1), (7, 3, 5, 1), (245, 4, 2, 3), (2, 90, 70, 2)] {
        check(
            &format!("{sets} sets of {n} rows, {a} and {b} columns"),
            &[(sets * n * a, 1.0), (sets * n * b, 1.0)],
            |x| {
                let left = x[0].clone().reshape([sets * n, a]);
                concat(left, x[1].clone().reshape([sets * n, b]), sets)
            },
            |x| {
                let rows = (0..n).flat_map(|i| (0..sets).map(move |set| set * n + i));
                rows.flat_map(|row| [&x[0][row * a..][..a], &x[1][row * b..][..b]].concat())
                    .collect()
            },
        );
    }
}
