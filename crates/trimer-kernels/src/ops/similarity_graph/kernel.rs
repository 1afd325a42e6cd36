//! The kernels on plain slices.

use std::f32::consts::{FRAC_PI_2, PI};

use rayon::prelude::*;

use super::{Block, Layout};
use crate::engine::gemm::{Epilogue, Packed, product};
use crate::engine::pool::Buffer;
use crate::engine::rows::dot;
use crate::engine::simd::{Kernel, Simd, each, with_simd};

/// What is left of a cosine, and what is taken away: the arc cosine has no slope at one.
const SHRINK: f32 = 0.99999;
const SHRUNK: f32 = 1e-5;
/// Added to squared lengths, so that a node of zeros has no direction instead of a NaN.
const TINY: f32 = 1e-12;
/// `arccos(x) = sqrt(1 - x) Σ c_i x^i` on 0..=1, to 2e-8. `[Abramowitz & Stegun 1964] 4.4.46`
const ARC: [f32; 8] = [
    FRAC_PI_2,
    -0.214_598_8,
    0.088_978_99,
    -0.050_174_305,
    0.030_891_88,
    -0.017_088_126,
    0.006_670_09,
    -0.001_262_491_1,
];

/// What the backward pass needs.
#[derive(Debug)]
pub(crate) struct Saved {
    /// Nodes of length one, and one over their length.
    unit: Buffer,
    inverse: Buffer,
    /// Cosines and weights of all links, before scaling.
    cosines: Buffer,
    weights: Buffer,
    /// Of each node, one over the root of the sum of its weights.
    scale: Buffer,
}

/// Cuts a slice into consecutive pieces.
fn pieces(mut x: &mut [f32], sizes: impl Iterator<Item = usize>) -> Vec<&mut [f32]> {
    sizes
        .map(|size| {
            let (piece, rest) = std::mem::take(&mut x).split_at_mut(size);
            x = rest;
            piece
        })
        .collect()
}

impl Layout {
    fn squares(&self) -> impl Iterator<Item = usize> {
        self.blocks.iter().map(|b| b.length * b.length)
    }

    /// The links within each block.
    fn within<'a>(&self, mut x: &'a [f32]) -> Vec<&'a [f32]> {
        self.squares()
            .map(|size| {
                let (piece, rest) = x.split_at(size);
                x = rest;
                piece
            })
            .collect()
    }

    fn within_mut<'a>(&self, x: &'a mut [f32]) -> Vec<&'a mut [f32]> {
        pieces(x, self.squares())
    }

    /// A piece of `width` values per node for each block.
    fn rows_mut<'a>(&self, x: &'a mut [f32], width: usize) -> Vec<&'a mut [f32]> {
        pieces(x, self.blocks.iter().map(|b| b.length * width))
    }

    /// Per step to another modality, the links of all nodes.
    fn across<'a>(&self, x: &'a [f32]) -> Vec<&'a [f32]> {
        x[self.within..].chunks(self.nodes().max(1)).collect()
    }
}

impl Block {
    fn nodes(self) -> std::ops::Range<usize> {
        self.first..self.first + self.length
    }

    fn rows(self, x: &[f32], width: usize) -> &[f32] {
        &x[self.first * width..(self.first + self.length) * width]
    }
}

fn row(x: &[f32], node: usize, width: usize) -> &[f32] {
    &x[node * width..(node + 1) * width]
}

/// Writes the scaled weights of all links between nodes `x` of `d` features.
pub(crate) fn links(layout: &Layout, x: &[f32], d: usize, out: &mut [f32]) -> Saved {
    let nodes = layout.nodes();
    let mut saved = Saved {
        unit: Buffer::take(x.len()),
        inverse: Buffer::take(nodes),
        cosines: Buffer::take(out.len()),
        weights: Buffer::take(out.len()),
        scale: Buffer::zeros(nodes),
    };
    saved.normalise(layout, x, d);
    saved.weigh_across(layout, d);
    saved.weigh_within(layout, d);
    let Saved { weights, scale, .. } = &saved;
    let (within_out, across_out) = out.split_at_mut(layout.within);
    layout
        .within_mut(within_out)
        .into_par_iter()
        .zip(layout.within(weights))
        .zip(&layout.blocks)
        .for_each(|((out, weights), block)| {
            let scales = block.rows(scale, 1);
            let lines = out
                .chunks_mut(block.length)
                .zip(weights.chunks(block.length));
            for ((out, weights), a) in lines.zip(scales) {
                for ((out, w), b) in out.iter_mut().zip(weights).zip(scales) {
                    // In this order it is as symmetric as the weights.
                    *out = w * (a * b);
                }
            }
        });
    for (i, (out, weight)) in across_out
        .iter_mut()
        .zip(&weights[layout.within..])
        .enumerate()
    {
        let (step, node) = (i / nodes + 1, i % nodes);
        *out = weight * (scale[node] * scale[layout.ahead(node, step)]);
    }
    saved
}

impl Saved {
    /// Nodes of length one.
    fn normalise(&mut self, layout: &Layout, x: &[f32], d: usize) {
        layout
            .rows_mut(&mut self.unit, d)
            .into_par_iter()
            .zip(layout.rows_mut(&mut self.inverse, 1))
            .zip(&layout.blocks)
            .for_each(|((unit, inverse), block)| {
                let x = block.rows(x, d).chunks(d);
                for ((x, unit), inverse) in x.zip(unit.chunks_mut(d)).zip(inverse) {
                    *inverse = (dot(x, x) + TINY).sqrt().recip();
                    for (unit, x) in unit.iter_mut().zip(x) {
                        *unit = x * *inverse;
                    }
                }
            });
    }

    /// Cosines and weights of the links between modalities.
    fn weigh_across(&mut self, layout: &Layout, d: usize) {
        let (nodes, unit) = (layout.nodes(), &self.unit);
        let cosines = &mut self.cosines[layout.within..];
        cosines
            .par_iter_mut()
            .enumerate()
            .with_min_len(256)
            .for_each(|(i, cosine)| {
                let (step, node) = (i / nodes + 1, i % nodes);
                let other = layout.ahead(node, step);
                *cosine = dot(row(unit, node, d), row(unit, other, d));
            });
        with_simd(Similarity {
            cosines,
            factor: layout.across_weight,
            weights: &mut self.weights[layout.within..],
        });
    }

    /// Cosines and weights of the links within blocks, and the scale of each node.
    fn weigh_within(&mut self, layout: &Layout, d: usize) {
        let unit = &self.unit;
        let (within_weights, across_weights) = self.weights.split_at_mut(layout.within);
        let across: Vec<_> = across_weights.chunks(layout.nodes().max(1)).collect();
        layout
            .within_mut(&mut self.cosines[..layout.within])
            .into_par_iter()
            .zip(layout.within_mut(within_weights))
            .zip(layout.rows_mut(&mut self.scale, 1))
            .zip(&layout.blocks)
            .with_max_len(1)
            .for_each(|(((cosines, weights), scale), block)| {
                let (unit, n) = (block.rows(unit, d), block.length);
                let turned = Packed::transposed(unit, n, d);
                product(n, unit, &turned, Epilogue::Plain, cosines);
                // A node has its own direction exactly; rounding there would be magnified by the slope of the arc
                // cosine.
                cosines.iter_mut().step_by(n + 1).for_each(|c| *c = 1.0);
                with_simd(Similarity {
                    cosines,
                    factor: 1.0,
                    weights,
                });
                for ((weights, scale), node) in weights.chunks(n).zip(scale).zip(block.nodes()) {
                    let within: f32 = weights.iter().sum();
                    let degree = across.iter().fold(within, |sum, a| sum + a[node]);
                    *scale = degree.sqrt().recip();
                }
            });
    }

    /// Writes what the sum of each node's weights gets, through its scale.
    fn sums_backward(&self, layout: &Layout, dout: &[f32], sums: &mut [f32]) {
        let Self { weights, scale, .. } = self;
        let (weights_across, dout_across) = (layout.across(weights), layout.across(dout));
        layout
            .rows_mut(sums, 1)
            .into_par_iter()
            .zip(layout.within(weights))
            .zip(layout.within(dout))
            .zip(&layout.blocks)
            .for_each(|(((sums, weights), dout), block)| {
                let (n, scales) = (block.length, block.rows(scale, 1));
                sums.fill(0.0);
                for i in 0..n {
                    let (w, g) = (row(weights, i, n), row(dout, i, n));
                    let mut own = 0.0;
                    for j in 0..n {
                        let slope = w[j] * g[j];
                        own += slope * scales[j];
                        sums[j] += slope * scales[i];
                    }
                    sums[i] += own;
                }
                for (sum, node) in sums.iter_mut().zip(block.nodes()) {
                    for step in 1..=layout.steps() {
                        let (w, g) = (weights_across[step - 1], dout_across[step - 1]);
                        let (to, from) = (layout.ahead(node, step), layout.behind(node, step));
                        *sum += w[node] * g[node] * scale[to] + w[from] * g[from] * scale[from];
                    }
                    *sum *= -0.5 * scale[node].powi(3);
                }
            });
    }
}

/// Writes the gradient of [`links`] with respect to the nodes.
pub(crate) fn links_backward(
    layout: &Layout,
    saved: &Saved,
    d: usize,
    dout: &[f32],
    dx: &mut [f32],
) {
    let Saved {
        unit,
        inverse,
        cosines,
        scale,
        ..
    } = saved;
    let mut sums = Buffer::take(layout.nodes());
    saved.sums_backward(layout, dout, &mut sums);
    let (sums, cosines_across) = (&sums[..], layout.across(cosines));
    let dout_across = layout.across(dout);
    // Of the weight of the link from `node`, `step` modalities on, with respect to its cosine.
    let across = |node: usize, step: usize| {
        let pair = scale[node] * scale[layout.ahead(node, step)];
        let dweight = dout_across[step - 1][node] * pair + sums[node];
        dweight * layout.across_weight * slope(cosines_across[step - 1][node])
    };
    layout
        .rows_mut(dx, d)
        .into_par_iter()
        .zip(layout.within(cosines))
        .zip(layout.within(dout))
        .zip(&layout.blocks)
        .with_max_len(1)
        .for_each(|(((dx, cosines), dout), block)| {
            let n = block.length;
            let mut both = Buffer::take(n * n);
            with_simd(Angles {
                n,
                cosines,
                dout,
                scale: block.rows(scale, 1),
                sums: block.rows(sums, 1),
                both: &mut both,
            });
            let unit_rows = block.rows(unit, d);
            product(
                n,
                &both,
                &Packed::plain(unit_rows, n, d),
                Epilogue::Plain,
                dx,
            );
            for (dx, node) in dx.chunks_mut(d).zip(block.nodes()) {
                for step in 1..=layout.steps() {
                    let from = layout.behind(node, step);
                    add_scaled(
                        dx,
                        across(node, step),
                        row(unit, layout.ahead(node, step), d),
                    );
                    add_scaled(dx, across(from, step), row(unit, from, d));
                }
                // Through the division by the length.
                let unit = row(unit, node, d);
                let along = dot(dx, unit);
                for (dx, u) in dx.iter_mut().zip(unit) {
                    *dx = (*dx - along * u) * inverse[node];
                }
            }
        });
}

/// Writes the sums over linked nodes.
pub(crate) fn propagate(layout: &Layout, weights: &[f32], h: &[f32], d: usize, out: &mut [f32]) {
    let across = layout.across(weights);
    layout
        .rows_mut(out, d)
        .into_par_iter()
        .zip(layout.within(weights))
        .zip(&layout.blocks)
        .with_max_len(1)
        .for_each(|((out, weights), block)| {
            let n = block.length;
            product(
                n,
                weights,
                &Packed::plain(block.rows(h, d), n, d),
                Epilogue::Plain,
                out,
            );
            for (out, node) in out.chunks_mut(d).zip(block.nodes()) {
                for (step, across) in (1..).zip(&across) {
                    add_scaled(out, across[node], row(h, layout.ahead(node, step), d));
                }
            }
        });
}

/// Writes the gradients of [`propagate`].
pub(crate) fn propagate_backward(
    layout: &Layout,
    [weights, h]: [&[f32]; 2],
    d: usize,
    dout: &[f32],
    [dweights, dh]: [&mut [f32]; 2],
) {
    let across = layout.across(weights);
    let (dwithin, dacross) = dweights.split_at_mut(layout.within);
    layout
        .within_mut(dwithin)
        .into_par_iter()
        .zip(layout.rows_mut(dh, d))
        .zip(layout.within(weights))
        .zip(&layout.blocks)
        .with_max_len(1)
        .for_each(|(((dweights, dh), weights), block)| {
            let (n, dout_rows) = (block.length, block.rows(dout, d));
            let turned = Packed::transposed(block.rows(h, d), n, d);
            product(n, dout_rows, &turned, Epilogue::Plain, dweights);
            // Blocks are symmetric.
            product(
                n,
                weights,
                &Packed::plain(dout_rows, n, d),
                Epilogue::Plain,
                dh,
            );
            for (dh, node) in dh.chunks_mut(d).zip(block.nodes()) {
                for (step, across) in (1..).zip(&across) {
                    let from = layout.behind(node, step);
                    add_scaled(dh, across[from], row(dout, from, d));
                }
            }
        });
    let nodes = layout.nodes();
    dacross
        .par_iter_mut()
        .enumerate()
        .with_min_len(256)
        .for_each(|(i, dweight)| {
            let (step, node) = (i / nodes + 1, i % nodes);
            *dweight = dot(row(dout, node, d), row(h, layout.ahead(node, step), d));
        });
}

fn add_scaled(out: &mut [f32], factor: f32, x: &[f32]) {
    for (out, x) in out.iter_mut().zip(x) {
        *out += factor * x;
    }
}

/// `1 - |0.99999 c|`, without the rounding of the product near one.
#[inline(always)]
fn to_one(cosine: f32) -> f32 {
    let rest = (1.0 - cosine.abs()) + SHRUNK * cosine.abs();
    if rest > 1e-9 { rest } else { 1e-9 }
}

/// The slope of [`Similarity`].
#[inline(always)]
fn slope(cosine: f32) -> f32 {
    SHRINK / (PI * (to_one(cosine) * (1.0 + SHRINK * cosine.abs())).sqrt())
}

/// `factor (1 - arccos(0.99999 c) / π)`.
struct Similarity<'a> {
    cosines: &'a [f32],
    factor: f32,
    weights: &'a mut [f32],
}

impl Kernel for Similarity<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let n = self.cosines.len();
        let (cosines, weights) = (&self.cosines[..n], &mut self.weights[..n]);
        // The compiler makes vectors of this.
        each!(i in n => {
            let c = cosines[i];
            let a = SHRINK * c.abs();
            let mut arc = ARC[7];
            each!(k in 7 => arc = arc * a + ARC[6 - k]);
            let arc = arc * to_one(c).sqrt() * (1.0 / PI);
            weights[i] = self.factor * if c < 0.0 { arc } else { 1.0 - arc };
        });
    }
}

/// The gradient of a block's weights with respect to the cosines, from both nodes of a pair together.
struct Angles<'a> {
    n: usize,
    cosines: &'a [f32],
    dout: &'a [f32],
    scale: &'a [f32],
    sums: &'a [f32],
    both: &'a mut [f32],
}

impl Kernel for Angles<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let n = self.n;
        let (scale, sums) = (&self.scale[..n], &self.sums[..n]);
        each!(i in n => {
            let line = i * n..(i + 1) * n;
            let (cosines, dout) = (&self.cosines[line.clone()], &self.dout[line.clone()]);
            let both = &mut self.both[line];
            let (a, sum) = (scale[i], sums[i]);
            each!(j in n => {
                let turned = self.dout[j * n + i];
                let dweight = (dout[j] + turned) * (a * scale[j]) + sum + sums[j];
                both[j] = dweight * slope(cosines[j]);
            });
            both[i] = 0.0;
        });
    }
}
