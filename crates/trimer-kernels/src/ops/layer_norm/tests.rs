//! The norm through Burn's interface.

use super::layer_norm;
use crate::testing::gradients::{LENGTHS, check};
use crate::testing::reference;

#[test]
fn layer_norms() {
    for rows in LENGTHS {
        for d in [3, 5, 16, 33, 130] {
            check(
                &format!("layer norm of {rows} x {d}"),
                &[(rows * d, 2.0), (d, 1.0), (d, 1.0)],
                |x| {
                    layer_norm(
                        x[0].clone().reshape([rows, d]),
                        x[1].clone(),
                        x[2].clone(),
                        1e-5,
                    )
                },
                |x| reference::norm(&x[0], &[x[1].clone(), x[2].clone()], f64::from(1e-5_f32)),
            );
        }
    }
}
