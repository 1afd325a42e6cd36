//! Linear maps on slices, and through Burn's interface.

use super::{Activation, LinearOptions, few_rows, kernel, linear};
use crate::engine::dropout_bits::{DropoutSite, DropoutStream};
use crate::engine::gemm::Packed;
use crate::testing::gradients::{LENGTHS, check};
use crate::testing::reference::{self, assert_near, dropped, random, wide};

#[test]
fn linears() {
    for rows in LENGTHS {
        for (inputs, outputs) in [(1, 1), (3, 70), (37, 29), (130, 51)] {
            for (activation, p) in [
                (Activation::None, 0.0),
                (Activation::Relu, 0.0),
                (Activation::Relu, 0.3),
                (Activation::None, 0.3),
            ] {
                let options = LinearOptions {
                    activation,
                    p,
                    seed: Some(3),
                };
                let stream = DropoutStream::new(3, DropoutSite::Hidden, p);
                check(
                    &format!("linear of {rows} x {inputs} x {outputs}, {options:?}"),
                    &[
                        (rows * inputs, 1.0),
                        (outputs * inputs, 0.5),
                        (outputs, 0.5),
                    ],
                    |x| {
                        let weight = x[1].clone().reshape([outputs, inputs]);
                        let rows = x[0].clone().reshape([rows, inputs]);
                        linear(rows, weight, Some(x[2].clone()), &options)
                    },
                    |x| {
                        let mut y = reference::linear(&x[0], &[x[1].clone(), x[2].clone()]);
                        if activation == Activation::Relu {
                            for y in &mut y {
                                *y = y.max(0.0);
                            }
                        }
                        dropped(y, stream, rows, outputs)
                    },
                );
            }
        }
    }
}

#[test]
fn linear_layers_too_large_for_the_caches() {
    let sizes = [(150, 1100, 300), (70, 530, 1030), (300, 601, 7)];
    let few_rows = [
        (1, 4099, 65),
        (7, 131, 2011),
        (24, 8192, 37),
        (32, 5, 60000),
    ];
    for (n_rows, inputs, outputs) in sizes.into_iter().chain(few_rows) {
        let mut seed = 3;
        let x = random(n_rows * inputs, &mut seed, 1.0);
        let weight = random(outputs * inputs, &mut seed, 0.1);
        let bias = random(outputs, &mut seed, 1.0);
        let dy = random(n_rows * outputs, &mut seed, 1.0);
        let mut y = vec![0.0; n_rows * outputs];
        if few_rows::is_worth_it(n_rows, weight.len()) {
            kernel::forward_few_rows(&x, &weight, &bias, false, None, &mut y);
        } else {
            let packed = Packed::transposed(&weight, outputs, inputs);
            kernel::forward(&x, &packed, &bias, false, None, &mut y);
        }
        let (wide_x, wide_w, wide_dy) = (wide(&x), wide(&weight), wide(&dy));
        let near = |name: &str, ours: &[f32], exact: &[f64]| {
            let what = format!("{n_rows} x {inputs} x {outputs}: {name}");
            assert_near(&what, ours, exact, 3e-6);
        };
        near(
            "y",
            &y,
            &reference::linear(&wide_x, &[wide_w.clone(), wide(&bias)]),
        );

        let (mut dx, mut dw) = (vec![7.0; x.len()], vec![7.0; weight.len()]);
        let mut db = vec![7.0; outputs];
        kernel::backward(&x, &weight, None, &dy, Some(&mut dx), [&mut dw, &mut db]);
        let transposed = |m: &[f64], cols: usize| -> Vec<f64> {
            (0..cols)
                .flat_map(|c| m.iter().skip(c).step_by(cols).copied())
                .collect()
        };
        let product = |a: &[f64], b: Vec<f64>, n: usize| reference::linear(a, &[b, vec![0.0; n]]);
        let exact = product(&wide_dy, transposed(&wide_w, inputs), inputs);
        near("dx", &dx, &exact);
        let exact = product(
            &transposed(&wide_dy, outputs),
            transposed(&wide_x, inputs),
            inputs,
        );
        near("dw", &dw, &exact);
        let exact: Vec<f64> = (0..outputs)
            .map(|c| wide_dy.iter().skip(c).step_by(outputs).sum())
            .collect();
        near("db", &db, &exact);
    }
}
