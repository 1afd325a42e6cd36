//! Attention through Burn's interface.

use burn::tensor::{Bool, Tensor, TensorData};

use super::{AttentionMasks, AttentionOptions, attention};
use crate::engine::dropout_bits::{DropoutSite, DropoutStream};
use crate::testing::gradients::check;
use crate::testing::reference::{self, Rules};

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
                    dropout: DropoutStream::new(9, DropoutSite::Attention, p),
                    dropout_rows: n_keys,
                };
                let (q, k) = (of(0, n_queries, sample), of(1, n_keys, sample));
                reference::attention(q, k, of(2, n_keys, sample), d, n_heads, sample, &rules)
            };
            (0..batch).flat_map(one).collect()
        },
    );
}
