//! Convolutions over directed edges.

use super::buckets::{Buckets, flatten};
use super::{WindowEdges, rows_tensor, scatter_sum};
use crate::layers::{Initializer, Linear};
use crate::probe;
use burn::module::{Module, Param};
use burn::tensor::Tensor;

/// Relational graph convolution: `y_k = Σ_(j→k) w_jk x_j R_r(j,k) + x_k root + bias` with
/// `R_r = Σ_b att_rb basis_b`.
///
/// `[Schlichtkrull2018] eq. 2 and 3`. Edges of one relation share a matrix product.
#[derive(Module, Debug)]
pub struct RelationalConv {
    /// `[n_bases, d_input, d_output]`.
    pub basis: Param<Tensor<3>>,
    /// `[n_relations, n_bases]`.
    pub att: Param<Tensor<2>>,
    /// `[d_input, d_output]`.
    pub root: Param<Tensor<2>>,
    /// `[d_output]`.
    pub bias: Param<Tensor<1>>,
}

impl RelationalConv {
    /// Everything uniform in ±1/√(n_bases · d_input), as the library of the reference has it.
    pub fn new(
        d_input: usize,
        d_output: usize,
        n_relations: usize,
        n_bases: usize,
        init: &mut Initializer,
    ) -> Self {
        let bound = 1.0 / ((n_bases * d_input) as f64).sqrt();
        Self {
            basis: init.uniform([n_bases, d_input, d_output], bound),
            att: init.uniform([n_relations, n_bases], bound),
            root: init.uniform([d_input, d_output], bound),
            bias: init.uniform([d_output], bound),
        }
    }

    /// # Shapes
    /// - `x`: `[node, d_input]`, `weights`: `[edge, 1]`
    /// - result: `[node, d_output]`
    pub fn forward(&self, x: Tensor<2>, edges: &WindowEdges, weights: &Tensor<2>) -> Tensor<2> {
        let params = [
            (self.basis.id, Some(1)),
            (self.root.id, Some(0)),
            (self.att.id, None),
            (self.bias.id, None),
        ];
        probe::see(&params, &x);
        let device = x.device();
        let [n_bases, d_input, d_output] = self.basis.dims();
        let [n_relations, _] = self.att.dims();
        let mut lists = vec![Vec::new(); n_relations];
        for (edge, relation) in edges.relation.iter().enumerate() {
            lists[*relation].push(edge);
        }
        let sources: Vec<Vec<usize>> = lists
            .iter()
            .map(|list| list.iter().map(|edge| edges.source[*edge]).collect())
            .collect();
        let by_edge = Buckets::new(&lists, &device);
        let by_source = Buckets::new(&sources, &device);
        let basis = self.basis.val().reshape([n_bases, d_input * d_output]);
        let mut messages = Vec::with_capacity(by_edge.groups.len());
        let mut targets = Vec::with_capacity(edges.target.len());
        for (edge, source) in by_edge.groups.iter().zip(&by_source.groups) {
            let relations = rows_tensor(&edge.members, &device);
            let matrices = self.att.val().select(0, relations).matmul(basis.clone());
            let matrices = matrices.reshape([edge.members.len(), d_input, d_output]);
            let scaled = source.take(&x) * edge.take(weights);
            messages.push(flatten(scaled.matmul(matrices)));
            for member in &edge.members {
                let list = &lists[*member];
                targets.extend(list.iter().map(|edge| edges.target[*edge]));
                // The messages in padding are zero.
                targets.extend(std::iter::repeat_n(0, edge.width - list.len()));
            }
        }
        let own = x.matmul(self.root.val()) + self.bias.val().unsqueeze();
        let targets = rows_tensor(&targets, &device);
        own + scatter_sum(Tensor::cat(messages, 0), targets, edges.n_nodes)
    }
}

/// `y_k = Σ_(j→k) x_j W + V x_k + b`. `[Morris2019] eq. 5`, without an activation.
#[derive(Module, Debug)]
pub struct GraphConv {
    /// `[d_input, d_output]`: for the neighbours.
    pub weight: Param<Tensor<2>>,
    /// For the node itself.
    pub lin: Linear,
}

impl GraphConv {
    /// The neighbours' weight uniform in ±1/√d_output, as the library of the reference has it.
    pub fn new(d_input: usize, d_output: usize, init: &mut Initializer) -> Self {
        Self {
            weight: init.uniform([d_input, d_output], 1.0 / (d_output as f64).sqrt()),
            lin: Linear::new(d_input, d_output, init),
        }
    }

    /// # Shapes
    /// - `x`: `[node, d_input]`, result: `[node, d_output]`
    pub fn forward(&self, x: Tensor<2>, edges: &WindowEdges) -> Tensor<2> {
        probe::see(&[(self.weight.id, Some(0))], &x);
        let sent = x.clone().matmul(self.weight.val());
        let sent = sent.select(0, edges.source_rows.clone());
        self.lin.forward(x) + scatter_sum(sent, edges.target_rows.clone(), edges.n_nodes)
    }
}
