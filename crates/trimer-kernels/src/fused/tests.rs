//! The fused kernels against f64 references and finite differences.

use super::attention::{Features, FeaturesMut, Sample};
use super::block::{Samples, Shape, Weights, backward, forward};
use super::few;
use super::gemm::Packed;
use super::reference::{self, Rules, assert_near, assert_slope, dot, linear, random, slope, wide};
use super::rows;
use crate::dropout::{Site, Stream};

fn weights(d: usize, d_ff: usize, seed: &mut u64) -> Weights<Vec<f32>> {
    let a = 1.5 / (d as f64).sqrt();
    let mut norm = || {
        let gamma = random(d, seed, 0.5).iter().map(|x| 1.0 + x).collect();
        [gamma, random(d, seed, 0.3)]
    };
    let (ln_1, ln_12, ln_2, ln_22) = (norm(), norm(), norm(), norm());
    let mut linear =
        |out: usize, inputs: usize| [random(out * inputs, seed, a), random(out, seed, 0.3)];
    let (qkv, out, fc, proj) = (
        linear(3 * d, d),
        linear(d, d),
        linear(d_ff, d),
        linear(d, d_ff),
    );
    Weights {
        ln_1,
        qkv,
        out,
        ln_12,
        ln_2,
        fc,
        proj,
        ln_22,
    }
}

impl<T> Weights<T> {
    fn map<U>(self, mut f: impl FnMut(T) -> U) -> Weights<U> {
        let mut pair = |[weight, bias]: [T; 2]| [f(weight), f(bias)];
        Weights {
            ln_1: pair(self.ln_1),
            qkv: pair(self.qkv),
            out: pair(self.out),
            ln_12: pair(self.ln_12),
            ln_2: pair(self.ln_2),
            fc: pair(self.fc),
            proj: pair(self.proj),
            ln_22: pair(self.ln_22),
        }
    }
}

fn slices<'a>(w: &'a Weights<Vec<f32>>) -> Weights<&'a [f32]> {
    let pair = |p: &'a [Vec<f32>; 2]| [&p[0][..], &p[1][..]];
    Weights {
        ln_1: pair(&w.ln_1),
        qkv: pair(&w.qkv),
        out: pair(&w.out),
        ln_12: pair(&w.ln_12),
        ln_2: pair(&w.ln_2),
        fc: pair(&w.fc),
        proj: pair(&w.proj),
        ln_22: pair(&w.ln_22),
    }
}

fn slices_mut(w: &mut Weights<Vec<f32>>) -> Weights<&mut [f32]> {
    fn pair([a, b]: &mut [Vec<f32>; 2]) -> [&mut [f32]; 2] {
        [a, b]
    }
    Weights {
        ln_1: pair(&mut w.ln_1),
        qkv: pair(&mut w.qkv),
        out: pair(&mut w.out),
        ln_12: pair(&mut w.ln_12),
        ln_2: pair(&mut w.ln_2),
        fc: pair(&mut w.fc),
        proj: pair(&mut w.proj),
        ln_22: pair(&mut w.ln_22),
    }
}

fn list<T>(w: &mut Weights<T>) -> [(&'static str, &mut T); 16] {
    let Weights {
        ln_1,
        qkv,
        out,
        ln_12,
        ln_2,
        fc,
        proj,
        ln_22,
    } = w;
    let ([a, b], [c, d], [e, f], [g, h]) = (ln_1, qkv, out, ln_12);
    let ([i, j], [k, l], [m, n], [o, p]) = (ln_2, fc, proj, ln_22);
    [
        ("ln_1.weight", a),
        ("ln_1.bias", b),
        ("in_proj_weight", c),
        ("in_proj_bias", d),
        ("out_proj.weight", e),
        ("out_proj.bias", f),
        ("ln_12.weight", g),
        ("ln_12.bias", h),
        ("ln_2.weight", i),
        ("ln_2.bias", j),
        ("fc.weight", k),
        ("fc.bias", l),
        ("proj.weight", m),
        ("proj.bias", n),
        ("ln_22.weight", o),
        ("ln_22.bias", p),
    ]
}

fn check_block(shape: &Shape, seed: u64) {
    let mut seed = seed;
    let (d, d_ff) = (shape.d_model, shape.d_ff);
    let n = shape.samples.rows() * d;
    let w = weights(d, d_ff, &mut seed);
    let (x, dy) = (random(n, &mut seed, 1.0), random(n, &mut seed, 1.0));
    let (mut y, mut dx, mut again) = (vec![0.0; n], vec![0.0; n], vec![0.0; n]);
    let saved = forward(shape, &x, &slices(&w), None, &mut y, true).expect("asked to save");
    assert!(forward(shape, &x, &slices(&w), None, &mut again, false).is_none());
    if shape.samples.each().count() > 1 {
        assert_eq!(y, again, "saving changes nothing");
    } else {
        // A single sample is split otherwise when nothing is saved.
        let what = format!("{shape:?}: output without saving");
        assert_near(&what, &again, &wide(&y), 2e-6);
    }
    let mut grads = w.clone().map(|p| vec![0.0_f32; p.len()]);
    backward(
        shape,
        &x,
        &slices(&w),
        &saved,
        &dy,
        &mut dx,
        slices_mut(&mut grads),
    );

    let exact = w.map(|p| wide(&p));
    let (wide_x, wide_dy) = (wide(&x), wide(&dy));
    let reference = reference::block(shape, &wide_x, &exact);
    assert_near(&format!("{shape:?}: output"), &y, &reference, 5e-6);

    // One random direction per tensor: the derivative along it must be the product with the gradient.
    let direction = wide(&random(n, &mut seed, 1.0));
    let measured = slope(&wide_x, &direction, |x| {
        dot(&wide_dy, &reference::block(shape, x, &exact))
    });
    assert_slope("input", &dx, &direction, measured);
    for i in 0..16 {
        let (name, grad) = {
            let (name, grad) = &mut list(&mut grads)[i];
            (*name, grad.clone())
        };
        let direction = wide(&random(grad.len(), &mut seed, 1.0));
        let mut moved = exact.clone();
        let at = list(&mut moved)[i].1.clone();
        let measured = slope(&at, &direction, |p| {
            let mut moved = exact.clone();
            list(&mut moved)[i].1.copy_from_slice(p);
            dot(&wide_dy, &reference::block(shape, &wide_x, &moved))
        });
        assert_slope(name, &grad, &direction, measured);
    }
}

fn shape(batch: usize, time: usize, d_model: usize, n_heads: usize) -> Shape {
    Shape {
        samples: Samples::new(std::iter::repeat_n(time, batch)),
        d_model,
        d_ff: 4 * d_model,
        n_heads,
        eps: 1e-5,
        attention_dropout: None,
        hidden_dropout: None,
    }
}

fn with_dropout(mut shape: Shape) -> Shape {
    shape.attention_dropout = Stream::new(11, Site::Attention, 0.2);
    shape.hidden_dropout = Stream::new(11, Site::Hidden, 0.1);
    shape
}

#[test]
fn block_of_odd_sizes() {
    check_block(&shape(3, 7, 12, 3), 1);
    check_block(&shape(2, 1, 16, 2), 2);
    check_block(&shape(1, 33, 20, 1), 3);
    check_block(&shape(5, 13, 40, 5), 4);
    let mut narrow = shape(2, 9, 24, 3);
    narrow.d_ff = 29;
    check_block(&narrow, 5);
}

#[test]
fn block_of_a_single_sample() {
    check_block(&shape(1, 245, 128, 8), 21);
    check_block(&shape(1, 50, 60, 5), 22);
    check_block(&shape(1, 1, 96, 1), 23);
}

#[test]
fn block_with_dropout() {
    check_block(&with_dropout(shape(3, 7, 12, 3)), 6);
    check_block(&with_dropout(shape(2, 40, 32, 2)), 7);
    check_block(&with_dropout(shape(1, 65, 48, 16)), 8);
}

#[test]
fn block_of_the_paper_at_full_length() {
    let mut full = with_dropout(shape(1, 245, 128, 8));
    full.d_ff = 64;
    check_block(&full, 9);
}

#[test]
fn block_of_samples_of_different_lengths() {
    for (lengths, d_model, n_heads) in [
        (vec![19, 7, 12], 24, 2),
        (vec![1, 0, 245, 7, 0], 20, 4),
        (vec![0, 130, 1, 1, 64], 32, 1),
        (vec![33], 48, 16),
    ] {
        let mut ragged = shape(1, 1, d_model, n_heads);
        ragged.samples = Samples::new(lengths);
        check_block(&ragged, 10);
        check_block(&with_dropout(ragged), 11);
    }
}

#[test]
fn block_does_not_depend_on_the_number_of_threads() {
    let shape = with_dropout(shape(7, 37, 64, 4));
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .expect("threads");
        pool.install(|| {
            let mut seed = 5;
            let w = weights(64, 256, &mut seed);
            let n = 7 * 37 * 64;
            let (x, dy) = (random(n, &mut seed, 1.0), random(n, &mut seed, 1.0));
            let (mut y, mut dx) = (vec![0.0; n], vec![0.0; n]);
            let saved =
                forward(&shape, &x, &slices(&w), None, &mut y, true).expect("asked to save");
            let mut grads = w.clone().map(|p| vec![0.0_f32; p.len()]);
            backward(
                &shape,
                &x,
                &slices(&w),
                &saved,
                &dy,
                &mut dx,
                slices_mut(&mut grads),
            );
            let mut all = vec![y, dx];
            all.extend(list(&mut grads).map(|(_, g)| g.clone()));
            all
        })
    };
    let one = run(1);
    for threads in [2, 3, 5] {
        assert!(run(threads) == one, "{threads} threads give other bits");
    }
}

fn check_attention(
    n_queries: usize,
    n_keys: usize,
    d: usize,
    n_heads: usize,
    rules: &Rules,
    seed: u64,
) {
    let mut seed = seed;
    let (q, dout) = (
        random(n_queries * d, &mut seed, 1.0),
        random(n_queries * d, &mut seed, 1.0),
    );
    let (k, v) = (
        random(n_keys * d, &mut seed, 2.0),
        random(n_keys * d, &mut seed, 1.0),
    );
    let of = |data| Features { data, ld: d, at: 0 };
    let index = 4;
    let sample = Sample {
        n_heads,
        width: d / n_heads,
        n_queries,
        n_keys,
        q: of(&q),
        k: of(&k),
        v: of(&v),
        visible: rules.visible.as_deref(),
        causal: rules.causal,
        dropout: rules.dropout,
        index,
        draws: rules.draws,
    };
    let mut out = vec![0.0; n_queries * d];
    let mut lse = vec![0.0; n_queries * n_heads];
    sample.forward(
        &mut FeaturesMut::new(&mut out, d),
        &mut lse,
        &mut sample.scratch(false),
    );
    let run =
        |q: &[f64], k: &[f64], v: &[f64]| reference::attention(q, k, v, d, n_heads, index, rules);
    let (wq, wk, wv, wdout) = (wide(&q), wide(&k), wide(&v), wide(&dout));
    let what = format!("{n_queries} x {n_keys}, {d} / {n_heads}: output");
    assert_near(&what, &out, &run(&wq, &wk, &wv), 3e-6);

    let (mut dq, mut dk, mut dv) = (vec![1.0; q.len()], vec![1.0; k.len()], vec![1.0; v.len()]);
    let gradients = [&mut dq, &mut dk, &mut dv].map(|g| FeaturesMut::new(g, d));
    sample.backward(
        &lse,
        of(&out),
        of(&dout),
        gradients,
        &mut sample.scratch(true),
    );
    for (name, at, grad) in [("q", &wq, &dq), ("k", &wk, &dk), ("v", &wv, &dv)] {
        let direction = wide(&random(grad.len(), &mut seed, 1.0));
        let measured = slope(at, &direction, |p| {
            let pick = |other: &'static str, x: &Vec<f64>| {
                if other == name { p.to_vec() } else { x.clone() }
            };
            dot(
                &wdout,
                &run(&pick("q", &wq), &pick("k", &wk), &pick("v", &wv)),
            )
        });
        assert_slope(name, grad, &direction, measured);
    }
}

#[test]
fn attention_of_many_shapes() {
    let plain = Rules {
        visible: None,
        causal: None,
        dropout: None,
        draws: 300,
    };
    let dropped = Rules {
        dropout: Stream::new(3, Site::Attention, 0.25),
        ..plain.clone()
    };
    for rules in [&plain, &dropped] {
        for (n_queries, n_keys, d, n_heads) in [
            (1, 1, 4, 1),
            (1, 9, 16, 2),
            (7, 7, 30, 6),
            (13, 5, 64, 4),
            (32, 64, 64, 1),
            (33, 100, 96, 3),
            (50, 120, 20, 2),
            (245, 245, 32, 2),
            (5, 200, 192, 2),
        ] {
            check_attention(n_queries, n_keys, d, n_heads, rules, 7);
        }
    }
}

#[test]
fn attention_with_masks() {
    let plain = Rules {
        visible: None,
        causal: Some(0),
        dropout: None,
        draws: 300,
    };
    check_attention(40, 40, 32, 2, &plain, 1);
    check_attention(
        40,
        50,
        32,
        2,
        &Rules {
            causal: Some(10),
            ..plain.clone()
        },
        2,
    );
    check_attention(
        50,
        40,
        32,
        2,
        &Rules {
            causal: Some(-3),
            ..plain
        },
        3,
    );
    let visible = Some((0..50).filter(|j| j % 4 != 2).collect());
    let dropout = Stream::new(5, Site::Attention, 0.3);
    check_attention(
        37,
        50,
        24,
        3,
        &Rules {
            visible: visible.clone(),
            causal: None,
            dropout,
            draws: 300,
        },
        4,
    );
    check_attention(
        37,
        50,
        24,
        3,
        &Rules {
            visible,
            causal: Some(1),
            dropout,
            draws: 300,
        },
        5,
    );
}

#[test]
fn attention_without_any_key_is_zero() {
    let x = random(6 * 8, &mut 1, 1.0);
    let of = Features {
        data: &x,
        ld: 8,
        at: 0,
    };
    let sample = Sample {
        n_heads: 2,
        width: 4,
        n_queries: 6,
        n_keys: 6,
        q: of,
        k: of,
        v: of,
        visible: Some(&[]),
        causal: None,
        dropout: None,
        index: 0,
        draws: 6,
    };
    let (mut out, mut lse) = (vec![1.0; 48], vec![0.0; 12]);
    sample.forward(
        &mut FeaturesMut::new(&mut out, 8),
        &mut lse,
        &mut sample.scratch(false),
    );
    assert!(out.iter().all(|&x| x == 0.0));
    let mut dqkv = vec![1.0; 6 * 24];
    let (o, d) = (
        Features {
            data: &out,
            ld: 8,
            at: 0,
        },
        of,
    );
    sample.backward(
        &lse,
        o,
        d,
        FeaturesMut::thirds(&mut dqkv, 24),
        &mut sample.scratch(true),
    );
    assert!(dqkv.iter().all(|&x| x == 0.0));
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
        if few::is_worth_it(n_rows, weight.len()) {
            rows::linear_forward_few(&x, &weight, &bias, false, None, &mut y);
        } else {
            let packed = Packed::transposed(&weight, outputs, inputs);
            rows::linear_forward(&x, &packed, &bias, false, None, &mut y);
        }
        let (wide_x, wide_w, wide_dy) = (wide(&x), wide(&weight), wide(&dy));
        let near = |name: &str, ours: &[f32], exact: &[f64]| {
            let what = format!("{n_rows} x {inputs} x {outputs}: {name}");
            assert_near(&what, ours, exact, 3e-6);
        };
        near("y", &y, &linear(&wide_x, &[wide_w.clone(), wide(&bias)]));

        let (mut dx, mut dw) = (vec![7.0; x.len()], vec![7.0; weight.len()]);
        let mut db = vec![7.0; outputs];
        rows::linear_backward(&x, &weight, None, &dy, Some(&mut dx), [&mut dw, &mut db]);
        let transposed = |m: &[f64], cols: usize| -> Vec<f64> {
            (0..cols)
                .flat_map(|c| m.iter().skip(c).step_by(cols).copied())
                .collect()
        };
        let product = |a: &[f64], b: Vec<f64>, n: usize| linear(a, &[b, vec![0.0; n]]);
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
