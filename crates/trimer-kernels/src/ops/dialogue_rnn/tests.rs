//! The recurrence of DialogueRNN through Burn's interface.

use burn::tensor::Tensor;

use super::{DialogueRnnInputs, DialogueRnnOptions, DialogueRnnWeights, dialogue_rnn};
use crate::testing::gradients::check;
use crate::testing::reference::{affine, dot, gru};

#[test]
fn recurrences_of_speakers() {
    for (time, global, speaker) in [(1, 3, 2), (7, 19, 7), (61, 2, 5)] {
        let batch = 2;
        let rows = batch * time;
        // Two speakers in no fixed order; every turn knows the last of its own speaker.
        let speaker = |i: usize| usize::from(i * i % 3 == 1);
        let before: Vec<Option<usize>> = (0..rows)
            .map(|i| {
                (0..i % time)
                    .rev()
                    .find(|&j| speaker(j) == speaker(i % time))
            })
            .collect();
        check(
            &format!("speakers over {time} turns, {global} and {speaker}"),
            &[
                (rows * 3 * global, 1.0),
                (rows * 3 * speaker, 1.0),
                (rows * global, 0.8),
                (3 * global * speaker, 0.5),
                (3 * global * global, 0.4),
                (3 * global, 0.4),
                (3 * speaker * global, 0.5),
                (3 * speaker * speaker, 0.5),
                (3 * speaker, 0.4),
            ],
            |x| {
                let x = |i: usize| x[i].clone();
                let inputs = DialogueRnnInputs {
                    global: x(0).reshape([batch, time, 3 * global]),
                    speaker: x(1).reshape([batch, time, 3 * speaker]),
                    query: x(2).reshape([batch, time, global]),
                };
                let weights = DialogueRnnWeights {
                    global_from_speaker: x(3).reshape([3 * global, speaker]),
                    global_hh: x(4).reshape([3 * global, global]),
                    global_bias_hh: x(5),
                    speaker_from_context: x(6).reshape([3 * speaker, global]),
                    speaker_hh: x(7).reshape([3 * speaker, speaker]),
                    speaker_bias_hh: x(8),
                };
                let options = DialogueRnnOptions {
                    before: before.clone(),
                    ..DialogueRnnOptions::default()
                };
                let y = dialogue_rnn(inputs, weights, options).expect("fused on this device");
                // A single turn knows neither context nor speaker; its gradients are to be zero, not missing.
                let rest: Tensor<1> = Tensor::cat((2..9).map(x).collect(), 0).sum();
                y + rest.reshape([1, 1, 1])
            },
            |x| {
                let extra: f64 = x[2..].iter().flatten().sum();
                let mut out = Vec::new();
                for sample in 0..batch {
                    let (mut past, mut spoken): (Vec<Vec<f64>>, Vec<Vec<f64>>) = Default::default();
                    for t in 0..time {
                        let row = sample * time + t;
                        let own = before[row].map_or(vec![0.0; speaker], |b| spoken[b].clone());
                        let add = |a: &[f64], b: Vec<f64>| -> Vec<f64> {
                            a.iter().zip(b).map(|(a, b)| a + b).collect()
                        };
                        let zeros = vec![0.0; 3 * global.max(speaker)];
                        let from_speaker = affine(&x[3], &zeros, &own);
                        let input = add(
                            &x[0][row * 3 * global..(row + 1) * 3 * global],
                            from_speaker,
                        );
                        let last = past.last().cloned().unwrap_or(vec![0.0; global]);
                        let next = gru(&input, &affine(&x[4], &x[5], &last), &last);
                        let query = &x[2][row * global..(row + 1) * global];
                        let context = attend(query, &past);
                        let from_context = affine(&x[6], &zeros, &context);
                        let input = add(
                            &x[1][row * 3 * speaker..(row + 1) * 3 * speaker],
                            from_context,
                        );
                        let state = gru(&input, &affine(&x[7], &x[8], &own), &own);
                        out.extend(state.iter().map(|y| y + extra));
                        past.push(next);
                        spoken.push(state);
                    }
                }
                out
            },
        );
    }
}

/// `softmax(g . query) g` over past states; zeros before there are any.
fn attend(query: &[f64], past: &[Vec<f64>]) -> Vec<f64> {
    let scores: Vec<f64> = past.iter().map(|g| dot(g, query)).collect();
    let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scores.iter().map(|s| (s - max).exp()).collect();
    let total: f64 = weights.iter().sum();
    let mut context = vec![0.0; query.len()];
    for (g, w) in past.iter().zip(weights) {
        for (c, g) in context.iter_mut().zip(g) {
            *c += g * w / total;
        }
    }
    context
}
