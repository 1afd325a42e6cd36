//! The fused recurrence against its plain composition, values and gradients, and against finite differences.
//!
//! The path is chosen for the whole process, so every comparison holds a lock.

#[path = "../src/testing/compare.rs"]
mod compare;

use std::sync::{Mutex, PoisonError};

use burn::tensor::{Bool, Device, Tensor, TensorData};
use trimer_kernels::{CellKind, KernelPath, RecurrentState, recurrent, set_kernel_path};

use compare::{assert_close, assert_finite};

static PATH: Mutex<()> = Mutex::new(());

#[derive(Debug, Clone, Copy)]
struct Case {
    kind: CellKind,
    batch: usize,
    time: usize,
    hidden: usize,
    padded: bool,
    reverse: bool,
}

fn wave(n: usize, phase: f32, amplitude: f32) -> Vec<f32> {
    (0..n)
        .map(|i| ((i as f32).mul_add(1.37, phase).sin() * 7.3).fract() * amplitude)
        .collect()
}

fn inputs(case: &Case) -> [Vec<f32>; 5] {
    let (b, t, d) = (case.batch, case.time, case.hidden);
    let gates = case.kind.n_gates() * d;
    let a = 1.5 / (d as f32).sqrt();
    [
        wave(b * t * gates, 0.1, 1.0),
        wave(gates * d, 0.2, a),
        wave(gates, 0.3, 0.3),
        wave(b * d, 0.4, 0.8),
        wave(b * d, 0.5, 0.8),
    ]
}

/// Padding behind a different length per sample, and one hole in the middle of a sequence.
fn pad(case: &Case) -> Vec<bool> {
    let mut pad = vec![false; case.batch * case.time];
    for (i, row) in pad.chunks_mut(case.time).enumerate() {
        let length = case.time - (i * 3) % case.time;
        row[length..].fill(true);
        if i == 1 && length > 2 {
            row[1] = true;
        }
    }
    pad
}

/// The loss `sum(y * w)` over states and final state, and the gradients of all inputs.
fn run(case: &Case, inputs: &[Vec<f32>; 5]) -> (Vec<f32>, Vec<Vec<f32>>) {
    let device = Device::flex().autodiff();
    let (b, t, d) = (case.batch, case.time, case.hidden);
    let gates = case.kind.n_gates() * d;
    let leaves: Vec<Tensor<1>> = inputs
        .iter()
        .map(|x| Tensor::from_data(TensorData::from(x.as_slice()), &device).require_grad())
        .collect();
    let pad_mask = case
        .padded
        .then(|| Tensor::<2, Bool>::from_data(TensorData::new(pad(case), [b, t]), &device));
    let lstm = case.kind.has_cell();
    let output = recurrent(
        case.kind,
        leaves[0].clone().reshape([b, t, gates]),
        leaves[1].clone().reshape([gates, d]),
        leaves[2].clone(),
        Some(RecurrentState {
            hidden: leaves[3].clone().reshape([b, d]),
            cell: lstm.then(|| leaves[4].clone().reshape([b, d])),
        }),
        pad_mask,
        case.reverse,
    );
    let mut parts = vec![
        output.states.reshape([b * t * d]),
        output.last.hidden.reshape([b * d]),
    ];
    assert_eq!(output.last.cell.is_some(), lstm);
    parts.extend(output.last.cell.map(|c| c.reshape([b * d])));
    let y = Tensor::cat(parts, 0);
    let n = y.dims()[0];
    let weights = Tensor::<1>::from_data(TensorData::from(wave(n, 0.9, 1.0).as_slice()), &device);
    let grads = (y.clone() * weights).sum().backward();
    let used = if lstm { 5 } else { 4 };
    let gradients = leaves[..used]
        .iter()
        .map(|x| floats(x.grad(&grads).expect("every input takes part")))
        .collect();
    (floats(y.inner()), gradients)
}

fn floats(x: Tensor<1>) -> Vec<f32> {
    x.into_data().try_to_vec::<f32>().expect("f32 data")
}

#[test]
fn fused_and_plain_agree() {
    let lock = PATH.lock().unwrap_or_else(PoisonError::into_inner);
    for kind in [CellKind::Lstm, CellKind::Gru] {
        for (batch, time, hidden) in [(1, 1, 3), (2, 6, 5), (19, 7, 17), (33, 4, 64)] {
            for padded in [false, true] {
                for reverse in [false, true] {
                    let case = Case {
                        kind,
                        batch,
                        time,
                        hidden,
                        padded,
                        reverse,
                    };
                    let inputs = inputs(&case);
                    set_kernel_path(KernelPath::Plain);
                    let plain = run(&case, &inputs);
                    set_kernel_path(KernelPath::Auto);
                    let fused = run(&case, &inputs);
                    assert_close(&format!("{case:?}, output"), &fused.0, &plain.0, 1e-5, 0.02);
                    for (i, (a, b)) in fused.1.iter().zip(&plain.1).enumerate() {
                        assert_close(&format!("{case:?}, gradient {i}"), a, b, 3e-5, 0.02);
                    }
                }
            }
        }
    }
    drop(lock);
}

#[test]
fn gradients_agree_with_finite_differences() {
    let lock = PATH.lock().unwrap_or_else(PoisonError::into_inner);
    set_kernel_path(KernelPath::Auto);
    for kind in [CellKind::Lstm, CellKind::Gru] {
        let case = Case {
            kind,
            batch: 2,
            time: 4,
            hidden: 3,
            padded: true,
            reverse: true,
        };
        let base = inputs(&case);
        let (_, gradients) = run(&case, &base);
        for (i, gradient) in gradients.iter().enumerate() {
            assert_finite(&format!("{kind:?}, gradient {i}"), gradient);
        }
        let loss = |inputs: &[Vec<f32>; 5]| {
            let (y, _) = run(&case, inputs);
            let w = wave(y.len(), 0.9, 1.0);
            y.iter()
                .zip(w)
                .map(|(y, w)| f64::from(*y) * f64::from(w))
                .sum::<f64>()
        };
        for (i, gradient) in gradients.iter().enumerate() {
            for at in (0..gradient.len()).step_by(gradient.len() / 6 + 1) {
                let moved = |by: f32| {
                    let mut inputs = base.clone();
                    inputs[i][at] += by;
                    loss(&inputs)
                };
                let slope = (moved(1e-2) - moved(-1e-2)) / 2e-2;
                let difference = (slope - f64::from(gradient[at])).abs();
                assert!(
                    difference < 2e-3 * (1.0 + slope.abs()),
                    "{kind:?}, input {i}, value {at}: {} for {slope}",
                    gradient[at]
                );
            }
        }
    }
    drop(lock);
}

#[test]
fn results_repeat_bit_by_bit() {
    let lock = PATH.lock().unwrap_or_else(PoisonError::into_inner);
    set_kernel_path(KernelPath::Auto);
    let case = Case {
        kind: CellKind::Lstm,
        batch: 40,
        time: 9,
        hidden: 20,
        padded: true,
        reverse: false,
    };
    let inputs = inputs(&case);
    assert_eq!(run(&case, &inputs), run(&case, &inputs));
    drop(lock);
}
