//! Outer products through Burn's interface.

use super::outer_product;
use crate::engine::dropout_bits::{DropoutSite, DropoutStream};
use crate::testing::gradients::check;
use crate::testing::reference::dropped;

#[test]
fn outer_products() {
    for (batch, n, m) in [(1, 1, 1), (3, 7, 5), (2, 33, 65), (1, 5, 33), (2, 300, 31)] {
        for p in [0.0, 0.3] {
            let stream = DropoutStream::new(5, DropoutSite::Values, p);
            check(
                &format!("outer product of {batch} x {n} and {m}, dropout {p}"),
                &[(batch * n, 1.0), (batch * m, 1.0)],
                |x| {
                    let left = x[0].clone().reshape([batch, n]);
                    outer_product(left, x[1].clone().reshape([batch, m]), Some((p, 5)))
                },
                |x| {
                    let samples = x[0].chunks(n).zip(x[1].chunks(m));
                    let product = samples
                        .flat_map(|(left, right)| {
                            left.iter().flat_map(|a| right.iter().map(move |b| a * b))
                        })
                        .collect();
                    dropped(product, stream, batch, n * m)
                },
            );
        }
    }
}
