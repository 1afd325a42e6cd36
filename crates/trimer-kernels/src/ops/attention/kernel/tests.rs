//! The attention of one sample, on slices.

use super::{Features, FeaturesMut, Sample};
use crate::engine::dropout_bits::{DropoutSite, DropoutStream};
use crate::testing::reference::{self, Rules, assert_near, assert_slope, dot, random, slope, wide};

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
        dropout_rows: rules.dropout_rows,
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
        dropout_rows: 300,
    };
    let dropped = Rules {
        dropout: DropoutStream::new(3, DropoutSite::Attention, 0.25),
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
        dropout_rows: 300,
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
    let dropout = DropoutStream::new(5, DropoutSite::Attention, 0.3);
    check_attention(
        37,
        50,
        24,
        3,
        &Rules {
            visible: visible.clone(),
            causal: None,
            dropout,
            dropout_rows: 300,
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
            dropout_rows: 300,
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
        dropout_rows: 6,
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
