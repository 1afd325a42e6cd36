//! LSTM and GRU layers and cells with PyTorch's equations, gate order and parameter layout.

use super::{Initializer, dropout};
use crate::probe;
use crate::recorder::Recorder;
use burn::module::{Module, Param};
use burn::tensor::{Bool, Tensor};
use trimer_kernels::{LinearOptions, linear, recurrent};

pub use trimer_kernels::{CellKind, RecurrentState};

/// Sizes of a [`Recurrent`] module.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RecurrentConfig {
    /// LSTM or GRU.
    pub kind: CellKind,
    /// Width of the input.
    pub d_input: usize,
    /// Width of the state of one direction.
    pub d_hidden: usize,
    /// Layers on top of one another.
    pub n_layers: usize,
    /// Whether every layer also runs backwards in time.
    pub bidirectional: bool,
    /// Dropout behind every layer but the last.
    pub p_dropout: f64,
}

impl RecurrentConfig {
    /// One layer, one direction, no dropout.
    pub const fn new(kind: CellKind, d_input: usize, d_hidden: usize) -> Self {
        Self {
            kind,
            d_input,
            d_hidden,
            n_layers: 1,
            bidirectional: false,
            p_dropout: 0.0,
        }
    }

    /// Width of the output: both directions concatenated.
    pub const fn d_output(&self) -> usize {
        if self.bidirectional {
            2 * self.d_hidden
        } else {
            self.d_hidden
        }
    }

    /// Floating-point operations of the matrix products of one sequence of `time` steps.
    pub fn flops(&self, time: usize) -> f64 {
        let gates = (self.kind.n_gates() * self.d_hidden) as f64;
        let directions = if self.bidirectional { 2.0 } else { 1.0 };
        let layer = |d_input: usize| directions * 2.0 * gates * (d_input + self.d_hidden) as f64;
        let upper = self.n_layers.saturating_sub(1) as f64;
        time as f64 * (layer(self.d_input) + upper * layer(self.d_output()))
    }
}

/// The equations of one direction of one layer, and of a single step.
///
/// LSTM, gates in the order i, f, g, o: `c' = σ(f) c + σ(i) tanh(g)`, `h' = σ(o) tanh(c')`.
/// GRU, gates r, z, n: `n = tanh(W_in x + b_in + r (W_hn h + b_hn))`, `h' = (1 - z) n + z h`.
/// As `torch.nn.LSTMCell` and `torch.nn.GRUCell`.
#[derive(Module, Debug)]
pub struct RecurrentCell {
    /// `[n_gates * d_hidden, d_input]`.
    pub weight_ih: Param<Tensor<2>>,
    /// `[n_gates * d_hidden, d_hidden]`.
    pub weight_hh: Param<Tensor<2>>,
    /// `[n_gates * d_hidden]`.
    pub bias_ih: Param<Tensor<1>>,
    /// `[n_gates * d_hidden]`.
    pub bias_hh: Param<Tensor<1>>,
    /// LSTM or GRU.
    #[module(skip)]
    pub kind: CellKind,
}

impl RecurrentCell {
    /// PyTorch's default: everything uniform in ±1/√d_hidden.
    pub fn new(kind: CellKind, d_input: usize, d_hidden: usize, init: &mut Initializer) -> Self {
        let bound = 1.0 / (d_hidden as f64).sqrt();
        let gates = kind.n_gates() * d_hidden;
        Self {
            weight_ih: init.uniform([gates, d_input], bound),
            weight_hh: init.uniform([gates, d_hidden], bound),
            bias_ih: init.uniform([gates], bound),
            bias_hh: init.uniform([gates], bound),
            kind,
        }
    }

    /// Takes one step; without a state, from zeros.
    ///
    /// # Shapes
    /// - `x`: `[batch, d_input]`
    /// - state before and after: `[batch, d_hidden]` each
    pub fn step(&self, x: Tensor<2>, state: Option<RecurrentState>) -> RecurrentState {
        probe::see_recurrent(&self.reads(), true, &x);
        self.steps(x.unsqueeze_dim(1), state, None, false).last
    }

    /// Takes all steps of a batch of sequences.
    ///
    /// # Shapes
    /// - `x`: `[batch, time, d_input]`
    /// - `pad_mask`: `[batch, time]`, true = padding: the step leaves the state as it is
    pub fn run(
        &self,
        x: Tensor<3>,
        initial: Option<RecurrentState>,
        pad_mask: Option<Tensor<2, Bool>>,
        reverse: bool,
    ) -> trimer_kernels::RecurrentOutput {
        probe::see_recurrent(&self.reads(), false, &x);
        self.steps(x, initial, pad_mask, reverse)
    }

    /// What a plug-in has to know of the parameters.
    pub const fn reads(&self) -> [probe::Read; 4] {
        [
            (self.weight_ih.id, Some(1)),
            (self.weight_hh.id, None),
            (self.bias_ih.id, None),
            (self.bias_hh.id, None),
        ]
    }

    fn steps(
        &self,
        x: Tensor<3>,
        initial: Option<RecurrentState>,
        pad_mask: Option<Tensor<2, Bool>>,
        reverse: bool,
    ) -> trimer_kernels::RecurrentOutput {
        let projected = linear(
            x,
            self.weight_ih.val(),
            Some(self.bias_ih.val()),
            &LinearOptions::default(),
        ); // [batch, time, n_gates * d_hidden]
        recurrent(
            self.kind,
            projected,
            self.weight_hh.val(),
            self.bias_hh.val(),
            initial,
            pad_mask,
            reverse,
        )
    }
}

/// One layer: a direction forward in time, and one backward where the module is bidirectional.
#[derive(Module, Debug)]
pub struct RecurrentLayer {
    /// From the first step to the last.
    pub forward: RecurrentCell,
    /// From the last step to the first.
    pub reverse: Option<RecurrentCell>,
}

/// A stack of LSTM or GRU layers, as `torch.nn.LSTM` and `torch.nn.GRU`.
///
/// Give its paths to [`Recurrent::state_key`] to get PyTorch's names (`weight_ih_l0_reverse`).
#[derive(Module, Debug)]
pub struct Recurrent {
    /// From the input upwards.
    pub layers: Vec<RecurrentLayer>,
    /// Dropout behind every layer but the last.
    #[module(skip)]
    pub p_dropout: f64,
}

/// What a [`Recurrent`] module gives.
#[derive(Debug, Clone)]
pub struct RecurrentStates {
    /// `[batch, time, d_output]`: the last layer's hidden states, directions concatenated; zero at
    /// padding.
    pub states: Tensor<3>,
    /// The state at the end of each direction, in PyTorch's order: layer by layer, forward first.
    pub last: Vec<RecurrentState>,
}

impl RecurrentStates {
    /// `[batch, d_output]`: the last layer's hidden state at the end, directions concatenated.
    pub fn last_hidden(&self) -> Tensor<2> {
        let [_, _, d_output] = self.states.dims();
        let [_, d_hidden] = self.last[0].hidden.dims();
        let from = self.last.len() - d_output / d_hidden;
        let parts = self.last[from..].iter().map(|state| state.hidden.clone());
        Tensor::cat(parts.collect(), 1)
    }
}

impl Recurrent {
    /// PyTorch's default initial values.
    pub fn new(config: &RecurrentConfig, init: &mut Initializer) -> Self {
        let layers = (0..config.n_layers)
            .map(|layer| {
                let d_input = if layer == 0 {
                    config.d_input
                } else {
                    config.d_output()
                };
                let mut cell = || RecurrentCell::new(config.kind, d_input, config.d_hidden, init);
                RecurrentLayer {
                    forward: cell(),
                    reverse: config.bidirectional.then(cell),
                }
            })
            .collect();
        Self {
            layers,
            p_dropout: config.p_dropout,
        }
    }

    /// All layers over a batch of sequences, from zero states.
    ///
    /// # Shapes
    /// - `x`: `[batch, time, d_input]`
    /// - `pad_mask`: `[batch, time]`, true = padding; without one, padding counts as input
    pub fn forward(
        &self,
        x: Tensor<3>,
        pad_mask: Option<&Tensor<2, Bool>>,
        rec: &mut Recorder,
    ) -> RecurrentStates {
        if probe::is_active() {
            probe::see_recurrent(&self.reads(), false, &x);
        }
        let mut states = x;
        let mut last = Vec::with_capacity(2 * self.layers.len());
        for (i, layer) in self.layers.iter().enumerate() {
            if i > 0 {
                states = dropout(states, self.p_dropout, rec);
            }
            let forward = layer
                .forward
                .steps(states.clone(), None, pad_mask.cloned(), false);
            last.push(forward.last);
            states = match &layer.reverse {
                Some(reverse) => {
                    let reverse = reverse.steps(states, None, pad_mask.cloned(), true);
                    last.push(reverse.last);
                    Tensor::cat(vec![forward.states, reverse.states], 2)
                }
                None => forward.states,
            };
        }
        RecurrentStates { states, last }
    }

    /// What a plug-in has to know of the parameters: all layers are one module, whose input meets the
    /// first layer alone.
    pub fn reads(&self) -> Vec<probe::Read> {
        let mut all = Vec::new();
        for (i, layer) in self.layers.iter().enumerate() {
            for cell in std::iter::once(&layer.forward).chain(&layer.reverse) {
                let cell = cell.reads();
                all.extend(cell.map(|(id, axis)| (id, axis.filter(|_| i == 0))));
            }
        }
        all
    }

    /// PyTorch's name of a parameter: `rnn.layers.1.reverse.weight_ih` becomes
    /// `rnn.weight_ih_l1_reverse`. Paths of other modules are left as they are.
    pub fn state_key(path: &str) -> String {
        let parts: Vec<&str> = path.split('.').collect();
        if let [
            owner @ ..,
            "layers",
            layer,
            direction @ ("forward" | "reverse"),
            leaf,
        ] = &parts[..]
        {
            let suffix = if *direction == "reverse" {
                "_reverse"
            } else {
                ""
            };
            let name = format!("{leaf}_l{layer}{suffix}");
            return owner
                .iter()
                .copied()
                .chain([name.as_str()])
                .collect::<Vec<_>>()
                .join(".");
        }
        path.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::to_vec;
    use burn::tensor::{Device, TensorData};

    #[test]
    fn names_are_pytorchs() {
        assert_eq!(
            Recurrent::state_key("text.rnn.layers.1.reverse.bias_hh"),
            "text.rnn.bias_hh_l1_reverse"
        );
        assert_eq!(
            Recurrent::state_key("layers.0.forward.weight_ih"),
            "weight_ih_l0"
        );
        assert_eq!(
            Recurrent::state_key("head.layers.0.weight"),
            "head.layers.0.weight"
        );
    }

    /// A padded sequence gives what the sequence alone gives.
    #[test]
    fn padding_changes_nothing() {
        let device = Device::flex();
        for kind in [CellKind::Lstm, CellKind::Gru] {
            let config = RecurrentConfig {
                n_layers: 2,
                bidirectional: true,
                ..RecurrentConfig::new(kind, 3, 5)
            };
            let rnn = Recurrent::new(&config, &mut Initializer::new(1, &device));
            let values: Vec<f32> = (0..12).map(|i| (i as f32 * 0.7).sin()).collect();
            let alone = Tensor::from_data(TensorData::new(values.clone(), [1, 4, 3]), &device);
            let mut padded = values;
            padded.extend([9.0; 6]);
            let padded = Tensor::from_data(TensorData::new(padded, [1, 6, 3]), &device);
            let mask = Tensor::from_data(
                TensorData::new(vec![false, false, false, false, true, true], [1, 6]),
                &device,
            );
            let a = rnn.forward(alone, None, &mut Recorder::eval());
            let b = rnn.forward(padded, Some(&mask), &mut Recorder::eval());
            assert_eq!(to_vec(a.last_hidden()), to_vec(b.last_hidden()));
            assert_eq!(
                to_vec(a.states),
                to_vec(b.states.clone().narrow(1, 0, 4)),
                "{kind:?}"
            );
            assert!(to_vec(b.states.narrow(1, 4, 2)).iter().all(|x| *x == 0.0));
        }
    }

    /// A cell, step by step, does what the layer does at once.
    #[test]
    fn a_cell_takes_the_steps_of_a_layer() {
        let device = Device::flex();
        for kind in [CellKind::Lstm, CellKind::Gru] {
            let cell = RecurrentCell::new(kind, 3, 4, &mut Initializer::new(2, &device));
            let values: Vec<f32> = (0..30).map(|i| (i as f32 * 0.3).cos()).collect();
            let x = Tensor::<3>::from_data(TensorData::new(values, [2, 5, 3]), &device);
            let whole = cell.run(x.clone(), None, None, false);
            let mut state = None;
            for t in 0..5 {
                let step = x.clone().narrow(1, t, 1).reshape([2, 3]);
                state = Some(cell.step(step, state));
            }
            let state = state.unwrap();
            for (a, b) in to_vec(state.hidden).iter().zip(to_vec(whole.last.hidden)) {
                assert!((a - b).abs() < 1e-6);
            }
            assert_eq!(state.cell.is_some(), kind == CellKind::Lstm);
        }
    }
}
