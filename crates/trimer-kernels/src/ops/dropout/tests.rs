//! Dropout through Burn's interface.

use super::{add_rows_dropout, dropout};
use crate::engine::dropout_bits::{DropoutSite, DropoutStream};
use crate::testing::gradients::{LENGTHS, check};
use crate::testing::reference::{dropped, random};

#[test]
fn dropouts() {
    for time in LENGTHS {
        for (d, p) in [(1, 0.5), (31, 0.3), (65, 0.0)] {
            let stream = DropoutStream::new(5, DropoutSite::Values, p);
            let rows = random(time * d, &mut 3, 1.0);
            let size = [(2 * time * d, 1.0)];
            check(
                &format!("dropout {p} of 2 x {time} x {d}"),
                &size,
                |x| dropout(x[0].clone().reshape([2, time, d]), p, 5),
                |x| dropped(x[0].clone(), stream, 2 * time, d),
            );
            check(
                &format!("dropout {p} of 2 x {time} x {d} with rows"),
                &size,
                |x| {
                    let x = x[0].clone().reshape([2, time, d]);
                    add_rows_dropout(x, &rows.clone().into(), Some((p, 5)))
                },
                |x| {
                    let rows = rows.iter().cycle();
                    let sum = x[0]
                        .iter()
                        .zip(rows)
                        .map(|(x, r)| x + f64::from(*r))
                        .collect();
                    dropped(sum, stream, 2 * time, d)
                },
            );
        }
    }
}
