//! Every operation through Burn's interface: values and gradients against the same mathematics in f64 and its finite
//! differences, at lengths 1, 7 and 245, 1 to 16 heads, and widths that no vector divides.

use burn::tensor::{Bool, Device, Tensor, TensorData};

use crate::dropout::{Site, Stream};
use crate::fused::reference::{self, Rules, assert_near, assert_slope, dot, random, slope, wide};
use crate::{
    Activation, AttentionMasks, AttentionOptions, CellKind, FusionInputs, LinearOptions,
    PartyInputs, PartyOptions, PartyWeights, add_rows_dropout, attention, dropout, fuse_streams,
    layer_norm, linear, outer, party_recurrence, recurrent, side_by_side,
};

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

const LENGTHS: [usize; 3] = [1, 7, 245];

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
                let stream = Stream::new(3, Site::Hidden, p);
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

fn dropped(mut x: Vec<f64>, stream: Option<Stream>, rows: usize, columns: usize) -> Vec<f64> {
    if let Some(stream) = stream {
        for (x, factor) in x.iter_mut().zip(stream.factors(rows, columns)) {
            *x *= f64::from(factor);
        }
    }
    x
}

#[test]
fn outer_products() {
    for (batch, n, m) in [(1, 1, 1), (3, 7, 5), (2, 33, 65), (1, 5, 33), (2, 300, 31)] {
        for p in [0.0, 0.3] {
            let stream = Stream::new(5, Site::Values, p);
            check(
                &format!("outer product of {batch} x {n} and {m}, dropout {p}"),
                &[(batch * n, 1.0), (batch * m, 1.0)],
                |x| {
                    let left = x[0].clone().reshape([batch, n]);
                    outer(left, x[1].clone().reshape([batch, m]), Some((p, 5)))
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

#[test]
fn matrices_side_by_side() {
    for (n, a, b, sets) in [(1, 1, 1, 1), (7, 3, 5, 1), (245, 4, 2, 3), (2, 90, 70, 2)] {
        check(
            &format!("{sets} sets of {n} rows, {a} and {b} columns"),
            &[(sets * n * a, 1.0), (sets * n * b, 1.0)],
            |x| {
                let left = x[0].clone().reshape([sets * n, a]);
                side_by_side(left, x[1].clone().reshape([sets * n, b]), sets)
            },
            |x| {
                let rows = (0..n).flat_map(|i| (0..sets).map(move |set| set * n + i));
                rows.flat_map(|row| [&x[0][row * a..][..a], &x[1][row * b..][..b]].concat())
                    .collect()
            },
        );
    }
}

#[test]
fn dropouts() {
    for time in LENGTHS {
        for (d, p) in [(1, 0.5), (31, 0.3), (65, 0.0)] {
            let stream = Stream::new(5, Site::Values, p);
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

#[test]
fn attentions() {
    for (n_queries, n_keys) in [(1, 1), (7, 7), (7, 13), (245, 245), (1, 245)] {
        for (width, n_heads) in [(5, 1), (16, 2), (3, 7), (4, 16), (33, 1)] {
            for (p, causal, masked) in
                [(0.0, None, false), (0.2, Some(2), false), (0.2, None, true)]
            {
                // At full length one combination per shape is enough.
                if n_queries == 245 && !masked {
                    continue;
                }
                check_attention([n_queries, n_keys], width, n_heads, p, causal, masked);
            }
        }
    }
}

fn check_attention(
    [n_queries, n_keys]: [usize; 2],
    width: usize,
    n_heads: usize,
    p: f64,
    causal: Option<i64>,
    masked: bool,
) {
    let d = width * n_heads;
    let batch = 2;
    let hidden = |sample: usize, key: usize| masked && key > 0 && key % 3 == sample;
    let options = AttentionOptions {
        n_heads,
        causal,
        p,
        seed: Some(9),
    };
    check(
        &format!("attention of {n_queries} x {n_keys} x {d}, masked {masked}, {options:?}"),
        &[
            (batch * n_queries * d, 1.0),
            (batch * n_keys * d, 1.5),
            (batch * n_keys * d, 1.0),
        ],
        |x| {
            let mask: Vec<bool> = (0..batch * n_keys)
                .map(|i| hidden(i / n_keys, i % n_keys))
                .collect();
            let mask = TensorData::new(mask, [batch, n_keys]);
            let pad_mask = masked.then(|| Tensor::<2, Bool>::from_data(mask, &x[0].device()));
            let of = |i: usize, n: usize| x[i].clone().reshape([batch, n, d]);
            let masks = AttentionMasks {
                pad_mask,
                score_bias: None,
            };
            attention(
                of(0, n_queries),
                of(1, n_keys),
                of(2, n_keys),
                masks,
                &options,
            )
        },
        |x| {
            let of =
                |i: usize, n: usize, sample: usize| &x[i][sample * n * d..(sample + 1) * n * d];
            let one = |sample: usize| {
                let keys = (0..n_keys)
                    .filter(|&j| !hidden(sample, j))
                    .map(|j| j as u32);
                let rules = Rules {
                    visible: Some(keys.collect()),
                    causal,
                    dropout: Stream::new(9, Site::Attention, p),
                    draws: n_keys,
                };
                let (q, k) = (of(0, n_queries, sample), of(1, n_keys, sample));
                reference::attention(q, k, of(2, n_keys, sample), d, n_heads, sample, &rules)
            };
            (0..batch).flat_map(one).collect()
        },
    );
}

#[test]
fn fusions() {
    for (times, n_tokens, d, has_joint) in [
        ([1, 1, 1], 1, 1, true),
        ([7, 1, 3], 2, 13, true),
        ([7, 2, 1], 1, 33, false),
        ([245, 7, 1], 4, 20, true),
    ] {
        let total = n_tokens + times.iter().sum::<usize>();
        let joint = if has_joint { total } else { n_tokens };
        let batch = 3;
        let mut sizes = vec![(batch * joint * d, 1.0), (3, 1.0), (3, 1.0)];
        sizes.extend(times.map(|t| (batch * t * d, 1.0)));
        check(
            &format!("fusion of {times:?} and {n_tokens} tokens, joint {has_joint}"),
            &sizes,
            |x| {
                let streams = x[3..].iter().zip(times);
                let fused = fuse_streams(FusionInputs {
                    joint: x[0].clone().reshape([batch, joint, d]),
                    streams: streams
                        .map(|(x, t)| x.clone().reshape([batch, t, d]))
                        .collect(),
                    stream_weights: x[1].clone(),
                    joint_weights: x[2].clone(),
                    n_tokens,
                });
                // Without joint states their weights take no part.
                fused + x[2].clone().sum().reshape([1, 1, 1])
            },
            |x| {
                let extra: f64 = x[2].iter().sum();
                let mut out = Vec::new();
                for sample in 0..batch {
                    let at = sample * joint * d;
                    out.extend_from_slice(&x[0][at..at + n_tokens * d]);
                    let mut start = at + n_tokens * d;
                    for (i, time) in times.into_iter().enumerate() {
                        let len = time * d;
                        for (c, z) in x[3 + i][sample * len..(sample + 1) * len]
                            .iter()
                            .enumerate()
                        {
                            let own = if has_joint {
                                x[2][i] * x[0][start + c]
                            } else {
                                0.0
                            };
                            out.push(x[1][i] * z + own);
                        }
                        start += len;
                    }
                }
                out.iter().map(|y| y + extra).collect()
            },
        );
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// `w h + b` for one row.
fn affine(w: &[f64], b: &[f64], h: &[f64]) -> Vec<f64> {
    w.chunks(h.len())
        .zip(b)
        .map(|(w, b)| dot(w, h) + b)
        .collect()
}

/// One step of a gated recurrent unit from the gates of input and state.
fn gru(input: &[f64], state: &[f64], h: &[f64]) -> Vec<f64> {
    let n = h.len();
    let new = |j: usize| {
        let reset = sigmoid(input[j] + state[j]);
        let update = sigmoid(input[n + j] + state[n + j]);
        let new = (input[2 * n + j] + reset * state[2 * n + j]).tanh();
        (1.0 - update) * new + update * h[j]
    };
    (0..n).map(new).collect()
}

#[test]
fn recurrences() {
    for (time, hidden) in [(1, 1), (7, 5), (7, 33), (245, 3)] {
        for kind in [CellKind::Lstm, CellKind::Gru] {
            for (reverse, masked) in [(false, false), (true, false), (false, true), (true, true)] {
                check_recurrence(kind, time, hidden, reverse, masked);
            }
        }
    }
}

fn check_recurrence(kind: CellKind, time: usize, hidden: usize, reverse: bool, masked: bool) {
    let (batch, gates) = (3, kind.n_gates() * hidden);
    let pad = |sample: usize, step: usize| masked && step > time / (sample + 1);
    check(
        &format!("{kind:?} of {time} x {hidden}, reverse {reverse}, masked {masked}"),
        &[
            (batch * time * gates, 1.0),
            (gates * hidden, 0.5),
            (gates, 0.5),
        ],
        |x| {
            let mask: Vec<bool> = (0..batch * time).map(|i| pad(i / time, i % time)).collect();
            let mask = TensorData::new(mask, [batch, time]);
            let mask = masked.then(|| Tensor::<2, Bool>::from_data(mask, &x[0].device()));
            let projected = x[0].clone().reshape([batch, time, gates]);
            let weight = x[1].clone().reshape([gates, hidden]);
            let y = recurrent(kind, projected, weight, x[2].clone(), None, mask, reverse);
            let last = y.last.hidden.reshape([batch, 1, hidden]);
            Tensor::cat(vec![y.states, last], 1)
        },
        |x| {
            let mut out = Vec::new();
            for sample in 0..batch {
                let (mut h, mut c) = (vec![0.0; hidden], vec![0.0; hidden]);
                let mut states = vec![0.0; time * hidden];
                for i in 0..time {
                    let step = if reverse { time - 1 - i } else { i };
                    if pad(sample, step) {
                        continue;
                    }
                    let at = (sample * time + step) * gates;
                    let input = &x[0][at..at + gates];
                    let state = affine(&x[1], &x[2], &h);
                    if kind == CellKind::Gru {
                        h = gru(input, &state, &h);
                    } else {
                        for j in 0..hidden {
                            let gate = |k: usize| input[k * hidden + j] + state[k * hidden + j];
                            c[j] = sigmoid(gate(1)) * c[j] + sigmoid(gate(0)) * gate(2).tanh();
                            h[j] = sigmoid(gate(3)) * c[j].tanh();
                        }
                    }
                    states[step * hidden..(step + 1) * hidden].copy_from_slice(&h);
                }
                out.extend(states);
                out.extend(h);
            }
            out
        },
    );
}

#[test]
fn recurrences_of_speakers() {
    for (time, global, party) in [(1, 3, 2), (7, 19, 7), (61, 2, 5)] {
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
            &format!("speakers over {time} turns, {global} and {party}"),
            &[
                (rows * 3 * global, 1.0),
                (rows * 3 * party, 1.0),
                (rows * global, 0.8),
                (3 * global * party, 0.5),
                (3 * global * global, 0.4),
                (3 * global, 0.4),
                (3 * party * global, 0.5),
                (3 * party * party, 0.5),
                (3 * party, 0.4),
            ],
            |x| {
                let x = |i: usize| x[i].clone();
                let inputs = PartyInputs {
                    global: x(0).reshape([batch, time, 3 * global]),
                    party: x(1).reshape([batch, time, 3 * party]),
                    query: x(2).reshape([batch, time, global]),
                };
                let weights = PartyWeights {
                    global_from_party: x(3).reshape([3 * global, party]),
                    global_hh: x(4).reshape([3 * global, global]),
                    global_bias_hh: x(5),
                    party_from_context: x(6).reshape([3 * party, global]),
                    party_hh: x(7).reshape([3 * party, party]),
                    party_bias_hh: x(8),
                };
                let options = PartyOptions {
                    before: before.clone(),
                    ..PartyOptions::default()
                };
                let y = party_recurrence(inputs, weights, options).expect("fused on this device");
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
                        let own = before[row].map_or(vec![0.0; party], |b| spoken[b].clone());
                        let add = |a: &[f64], b: Vec<f64>| -> Vec<f64> {
                            a.iter().zip(b).map(|(a, b)| a + b).collect()
                        };
                        let zeros = vec![0.0; 3 * global.max(party)];
                        let from_party = affine(&x[3], &zeros, &own);
                        let input =
                            add(&x[0][row * 3 * global..(row + 1) * 3 * global], from_party);
                        let last = past.last().cloned().unwrap_or(vec![0.0; global]);
                        let next = gru(&input, &affine(&x[4], &x[5], &last), &last);
                        let query = &x[2][row * global..(row + 1) * global];
                        let context = attend(query, &past);
                        let from_context = affine(&x[6], &zeros, &context);
                        let input =
                            add(&x[1][row * 3 * party..(row + 1) * 3 * party], from_context);
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
