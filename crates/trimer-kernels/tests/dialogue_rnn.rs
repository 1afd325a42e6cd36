//! The fused recurrence of DialogueRNN: its gradients against finite differences, and what it must not see.

#[path = "../src/testing/compare.rs"]
mod compare;

use burn::tensor::{Device, Tensor, TensorData};
use trimer_kernels::{DialogueRnnInputs, DialogueRnnOptions, DialogueRnnWeights, dialogue_rnn};

use compare::{assert_close, assert_finite};

/// More conversations than a task takes, widths that fill no vector.
const BATCH: usize = 18;
const TIME: usize = 5;
const GLOBAL: usize = 19;
const SPEAKER: usize = 7;

fn wave(n: usize, phase: f32, amplitude: f32) -> Vec<f32> {
    (0..n)
        .map(|i| ((i as f32).mul_add(1.37, phase).sin() * 7.3).fract() * amplitude)
        .collect()
}

fn inputs() -> Vec<Vec<f32>> {
    let rows = BATCH * TIME;
    vec![
        wave(rows * 3 * GLOBAL, 0.1, 1.0),
        wave(rows * 3 * SPEAKER, 0.2, 1.0),
        wave(rows * GLOBAL, 0.3, 0.8),
        wave(3 * GLOBAL * SPEAKER, 0.4, 0.5),
        wave(3 * GLOBAL * GLOBAL, 0.5, 0.4),
        wave(3 * GLOBAL, 0.6, 0.4),
        wave(3 * SPEAKER * GLOBAL, 0.7, 0.5),
        wave(3 * SPEAKER * SPEAKER, 0.8, 0.5),
        wave(3 * SPEAKER, 0.9, 0.4),
    ]
}

/// Two speakers who take turns, but for one of them twice in a row.
fn before() -> Vec<Option<usize>> {
    let one = [None, None, Some(0), Some(2), Some(1)];
    (0..BATCH).flat_map(|_| one).collect()
}

fn options(masked: bool) -> DialogueRnnOptions {
    let mask = |d: usize, every: usize| {
        let factor = |i: usize| if i.is_multiple_of(every) { 0.0 } else { 1.25 };
        masked.then(|| (0..BATCH * TIME * d).map(factor).collect::<Vec<f32>>())
    };
    DialogueRnnOptions {
        lengths: Vec::new(),
        before: before(),
        global_mask: mask(GLOBAL, 5),
        speaker_mask: mask(SPEAKER, 4),
    }
}

fn run(leaves: &[Tensor<1>], masked: bool) -> Tensor<3> {
    run_with(leaves, options(masked))
}

fn run_with(leaves: &[Tensor<1>], options: DialogueRnnOptions) -> Tensor<3> {
    let x = |i: usize| leaves[i].clone();
    let inputs = DialogueRnnInputs {
        global: x(0).reshape([BATCH, TIME, 3 * GLOBAL]),
        speaker: x(1).reshape([BATCH, TIME, 3 * SPEAKER]),
        query: x(2).reshape([BATCH, TIME, GLOBAL]),
    };
    let weights = DialogueRnnWeights {
        global_from_speaker: x(3).reshape([3 * GLOBAL, SPEAKER]),
        global_hh: x(4).reshape([3 * GLOBAL, GLOBAL]),
        global_bias_hh: x(5),
        speaker_from_context: x(6).reshape([3 * SPEAKER, GLOBAL]),
        speaker_hh: x(7).reshape([3 * SPEAKER, SPEAKER]),
        speaker_bias_hh: x(8),
    };
    dialogue_rnn(inputs, weights, options).expect("fused on this device")
}

fn values(tensor: Tensor<1>) -> Vec<f32> {
    tensor
        .into_data()
        .try_into_vec()
        .expect("the values are f32")
}

fn loss(inputs: &[Vec<f32>], masked: bool) -> f64 {
    let device = Device::flex();
    let leaves: Vec<Tensor<1>> = inputs
        .iter()
        .map(|x| Tensor::from_data(TensorData::from(x.as_slice()), &device))
        .collect();
    let out = values(run(&leaves, masked).reshape([BATCH * TIME * SPEAKER]));
    let weights = wave(out.len(), 2.0, 1.0);
    let products = out.iter().zip(&weights);
    products.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

#[test]
fn gradients_agree_with_finite_differences() {
    let device = Device::flex().autodiff();
    for masked in [false, true] {
        let inputs = inputs();
        let leaves: Vec<Tensor<1>> = inputs
            .iter()
            .map(|x| Tensor::from_data(TensorData::from(x.as_slice()), &device).require_grad())
            .collect();
        let out = run(&leaves, masked).reshape([BATCH * TIME * SPEAKER]);
        let weights = wave(BATCH * TIME * SPEAKER, 2.0, 1.0);
        let weights = Tensor::<1>::from_data(TensorData::from(weights.as_slice()), &device);
        let mut grads = (out * weights).sum().backward();
        for (i, leaf) in leaves.iter().enumerate() {
            let gradient = values(leaf.grad_remove(&mut grads).unwrap());
            assert_finite(&format!("gradient {i}"), &gradient);
            let direction = wave(inputs[i].len(), 3.0, 1.0);
            let analytic: f64 = gradient
                .iter()
                .zip(&direction)
                .map(|(a, b)| f64::from(*a) * f64::from(*b))
                .sum();
            let step = 2e-3_f32;
            let moved = |sign: f32| {
                let mut moved = inputs.clone();
                for (x, d) in moved[i].iter_mut().zip(&direction) {
                    *x += sign * step * d;
                }
                loss(&moved, masked)
            };
            let numeric = (moved(1.0) - moved(-1.0)) / (2.0 * f64::from(step));
            assert!(
                (analytic - numeric).abs() <= 5e-3 * numeric.abs().max(1.0),
                "input {i}, masks {masked}: {analytic} against {numeric}"
            );
        }
    }
}

#[test]
fn no_turn_sees_a_later_one() {
    let first_turns = |inputs: &[Vec<f32>]| {
        let device = Device::flex();
        let leaves: Vec<Tensor<1>> = inputs
            .iter()
            .map(|x| Tensor::from_data(TensorData::from(x.as_slice()), &device))
            .collect();
        let out = run(&leaves, false).narrow(1, 0, TIME - 1);
        values(out.reshape([BATCH * (TIME - 1) * SPEAKER]))
    };
    let known = inputs();
    let mut changed = known.clone();
    for (i, width) in [3 * GLOBAL, 3 * SPEAKER, GLOBAL].into_iter().enumerate() {
        for conversation in changed[i].chunks_mut(TIME * width) {
            conversation[(TIME - 1) * width..].fill(0.7);
        }
    }
    assert_eq!(first_turns(&known), first_turns(&changed));
}

/// With lengths, the valid turns are those of the plain form, and so are gradients that come from them; in any
/// order of the conversations.
#[test]
fn padding_costs_nothing_and_changes_nothing() {
    let device = Device::flex().autodiff();
    let falling: Vec<usize> = (0..BATCH).map(|i| TIME - i * TIME / BATCH).collect();
    let mixed: Vec<usize> = (0..BATCH).map(|i| (i * 7) % (TIME + 1)).collect();
    for lengths in [falling, mixed] {
        let valid: Vec<f32> = lengths
            .iter()
            .flat_map(|&n| (0..TIME).map(move |t| f32::from(u8::from(t < n))))
            .flat_map(|valid| [valid; SPEAKER])
            .collect();
        let weights = wave(valid.len(), 2.0, 1.0);
        let run = |lengths: Vec<usize>, seen: &[f32]| {
            let leaves: Vec<Tensor<1>> = inputs()
                .iter()
                .map(|x| Tensor::from_data(TensorData::from(x.as_slice()), &device).require_grad())
                .collect();
            let options = DialogueRnnOptions {
                lengths,
                ..options(true)
            };
            let out = run_with(&leaves, options).reshape([BATCH * TIME * SPEAKER]);
            let weights: Vec<f32> = weights.iter().zip(seen).map(|(w, r)| w * r).collect();
            let weights = Tensor::<1>::from_data(TensorData::from(weights.as_slice()), &device);
            let mut grads = (out.clone() * weights).sum().backward();
            let gradients: Vec<Vec<f32>> = leaves
                .iter()
                .map(|leaf| values(leaf.grad_remove(&mut grads).unwrap()))
                .collect();
            (values(out), gradients)
        };
        // The gradient at padding does not count.
        let (ours, our_gradients) = run(lengths, &vec![1.0; valid.len()]);
        let (plain, plain_gradients) = run(Vec::new(), &valid);
        let plain: Vec<f32> = plain.iter().zip(&valid).map(|(y, r)| y * r).collect();
        assert_close("output", &ours, &plain, 1e-5, 1.0);
        for (i, (ours, plain)) in our_gradients.iter().zip(&plain_gradients).enumerate() {
            assert_close(&format!("gradient {i}"), ours, plain, 1e-4, 1.0);
        }
    }
}
