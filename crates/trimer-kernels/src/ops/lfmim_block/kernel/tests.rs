//! The block on slices, against f64 references and finite differences.

use super::{Samples, Shape, Weights, backward, forward};
use crate::engine::dropout_bits::{DropoutSite, DropoutStream};
use crate::testing::reference::{
    self, Rules, assert_near, assert_slope, attention, dot, linear, norm, random, slope, wide,
};

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
    let reference = reference_block(shape, &wide_x, &exact);
    assert_near(&format!("{shape:?}: output"), &y, &reference, 5e-6);

    // One random direction per tensor: the derivative along it must be the product with the gradient.
    let direction = wide(&random(n, &mut seed, 1.0));
    let measured = slope(&wide_x, &direction, |x| {
        dot(&wide_dy, &reference_block(shape, x, &exact))
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
            dot(&wide_dy, &reference_block(shape, &wide_x, &moved))
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
    shape.attention_dropout = DropoutStream::new(11, DropoutSite::Attention, 0.2);
    shape.hidden_dropout = DropoutStream::new(11, DropoutSite::Hidden, 0.1);
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

/// The block in f64 and in the plainest loops.
fn reference_block(shape: &Shape, x: &[f64], w: &Weights<Vec<f64>>) -> Vec<f64> {
    let (d, eps) = (shape.d_model, f64::from(shape.eps));
    let qkv = linear(&norm(x, &w.ln_1, eps), &w.qkv);
    let mut attended = Vec::new();
    for (b, rows) in shape.samples.each().enumerate() {
        let qkv = &qkv[rows.start * 3 * d..rows.end * 3 * d];
        let part = |i: usize| -> Vec<f64> {
            qkv.chunks(3 * d)
                .flat_map(|r| r[i * d..(i + 1) * d].to_vec())
                .collect()
        };
        let rules = Rules {
            visible: None,
            causal: None,
            dropout: shape.attention_dropout,
            dropout_rows: shape.samples.longest(),
        };
        let (q, k, v) = (part(0), part(1), part(2));
        attended.extend(attention(&q, &k, &v, d, shape.n_heads, b, &rules));
    }
    let branch = norm(&linear(&attended, &w.out), &w.ln_12, eps);
    let middle: Vec<f64> = x.iter().zip(&branch).map(|(a, b)| a + b).collect();
    let mut hidden = linear(&norm(&middle, &w.ln_2, eps), &w.fc);
    for x in &mut hidden {
        *x = x.max(0.0);
    }
    if let Some(stream) = shape.hidden_dropout {
        for (x, f) in hidden
            .iter_mut()
            .zip(stream.factors(shape.samples.rows(), shape.d_ff))
        {
            *x *= f64::from(f);
        }
    }
    let last = norm(&linear(&hidden, &w.proj), &w.ln_22, eps);
    middle.iter().zip(&last).map(|(a, b)| a + b).collect()
}
