//! An operation through Burn's interface: values and gradients against the same mathematics in f64 and its finite
//! differences.

use burn::tensor::{Device, Tensor, TensorData};

use super::reference::{assert_near, assert_slope, dot, random, slope, wide};

/// Runs `ours` on leaves of the given sizes, and compares with `exact` on the same numbers in f64.
pub(crate) fn check<const D: usize>(
    what: &str,
    sizes: &[(usize, f64)],
    ours: impl Fn(&[Tensor<1>]) -> Tensor<D>,
    exact: impl Fn(&[Vec<f64>]) -> Vec<f64>,
) {
    let mut seed = 7;
    let leaves: Vec<Vec<f32>> = sizes
        .iter()
        .map(|&(n, amplitude)| random(n, &mut seed, amplitude))
        .collect();
    let device = Device::flex().autodiff();
    let tensors: Vec<Tensor<1>> = leaves
        .iter()
        .map(|x| Tensor::from_data(TensorData::from(x.as_slice()), &device).require_grad())
        .collect();
    let y = ours(&tensors);
    let n = y.shape().num_elements();
    let y = y.reshape([n]);
    let dy = random(n, &mut seed, 1.0);
    let weights = Tensor::<1>::from_data(TensorData::from(dy.as_slice()), &device);
    let gradients = (y.clone() * weights).sum().backward();
    let (wide_dy, at): (_, Vec<Vec<f64>>) = (wide(&dy), leaves.iter().map(|x| wide(x)).collect());
    assert_near(&format!("{what}, output"), &floats(y), &exact(&at), 5e-6);
    for (i, leaf) in tensors.iter().enumerate() {
        let gradient = floats(leaf.grad(&gradients).expect("every leaf takes part"));
        let direction = wide(&random(gradient.len(), &mut seed, 1.0));
        let measured = slope(&at[i], &direction, |x| {
            let mut moved = at.clone();
            moved[i] = x.to_vec();
            dot(&wide_dy, &exact(&moved))
        });
        assert_slope(
            &format!("{what}, leaf {i}"),
            &gradient,
            &direction,
            measured,
        );
    }
}

fn floats(x: Tensor<1>) -> Vec<f32> {
    x.into_data().try_to_vec().expect("f32 data")
}

/// Lengths at which operations are compared: one row, a few, and more than any block of rows.
pub(crate) const LENGTHS: [usize; 3] = [1, 7, 245];
