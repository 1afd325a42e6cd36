//! A plug-in of one's own: it gives the gradients of all modalities the same norm. A registered one has a
//! file in `crates/trimer-nn/src/plugins/` and a line in its registry; this one is used in a loop of our
//! own, which is also how plug-ins are tried out.
//!
//! Run with: `cargo run --release --example write_a_plugin`
//!
//! Expected output (numbers of one machine; they differ in the last digits between CPUs):
//!
//! ```text
//! step  1  loss 7.7884  share of text before 0.242, after 0.245
//! step 19  loss 7.3069  share of text before 0.285, after 0.237
//! ```
//!
//! Time: a few seconds.
#![expect(clippy::print_stdout, reason = "an example shows what it finds")]

use std::error::Error;
use trimer::core::corpus::synth::{self, SynthSpec};
use trimer::nn::burn::tensor::Tensor;
use trimer::nn::models::Owner;
use trimer::nn::models::lfmim::LfmimConfig;
use trimer::nn::weights::{gradients, to_vec};
use trimer::prelude::*;
use trimer::train::config::TrainConfig;
use trimer::train::data::{Loader, Normalise, Normaliser, input_spec};
use trimer::train::objective::Objective;
use trimer::train::optim::{Optimizer, OptimizerConfig};
use trimer::train::plugins::{At, Chain, GradientMap, Notes, Pass, PluginInfo, Step, TrainPlugin};

static INFO: PluginInfo = PluginInfo {
    id: "same_norm",
    title: "The same norm for every modality",
    citation: "",
    presets: &["default"],
    summary: "scales the gradients of each modality's parameters to the mean norm",
};

#[derive(Debug)]
struct SameNorm;

impl TrainPlugin for SameNorm {
    fn info(&self) -> &'static PluginInfo {
        &INFO
    }

    // Between the backward pass and the optimizer's step. What later steps hang on would go to `state`;
    // this plug-in has none.
    fn after_backward(
        &mut self,
        step: &Step<'_>,
        gradients: &mut GradientMap,
        notes: &mut Notes<'_>,
    ) {
        let norm = |modality: Modality, gradients: &GradientMap| -> f64 {
            let own = gradients
                .iter()
                .filter(|(path, _)| step.host.owner(path) == Owner::Modality(modality));
            let squares = own.map(|(_, g)| (g.clone() * g.clone()).sum());
            let sum: Option<Tensor<1>> = squares.reduce(|a, b| a + b);
            sum.map_or(0.0, |sum| f64::from(to_vec(sum)[0]).sqrt())
        };
        let norms: Vec<(Modality, f64)> = step
            .modalities
            .iter()
            .map(|m| (m, norm(m, gradients)))
            .filter(|(_, norm)| *norm > 0.0)
            .collect();
        let mean = norms.iter().map(|(_, norm)| norm).sum::<f64>() / norms.len().max(1) as f64;
        for (modality, norm) in norms {
            let factor = mean / norm;
            for (path, gradient) in gradients.iter_mut() {
                if step.host.owner(path) == Owner::Modality(modality) {
                    *gradient = gradient.clone() * factor;
                }
            }
            notes.put("factor", modality.as_str(), factor);
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let spec = SynthSpec::preset("small")?;
    let corpus = Corpus::open(&synth::write(&spec, &dir.path().join("c"), &mut |_, _| {})?)?;
    let train = corpus.indices(Split::Train);

    let config = ModelConfig::Lfmim(LfmimConfig {
        d_model: 16,
        n_heads: 2,
        d_ff: 32,
        n_layers: 1,
        ..LfmimConfig::paper()
    });
    let (lengths, sampling) = config.default_input();
    let lengths_asked = ModalityMap::default();
    let input = input_spec(&corpus, &train, &[], lengths, sampling, lengths_asked)?;
    let task = Task::Classification {
        n_classes: corpus.info().label_space.classes.len(),
    };
    let device = trimer::nn::device::parse("cpu")?.autodiff();
    let mut model = config.build(&input, task, 1, &device)?;
    let normaliser = Normaliser::fit(Normalise::Standard, &corpus, &train, input.modalities());
    let loader = Loader {
        corpus: &corpus,
        input: &input,
        normaliser: &normaliser,
    };

    let mut plugins = Chain::of(vec![Box::new(SameNorm)], input.modalities(), task);
    let objective = Objective::plain(&TrainConfig::default(), task);
    let mut optimizer = Optimizer::new(OptimizerConfig::default());
    let first = loader.batch(&train[..24], &device);
    plugins.check(&model, &first)?;
    plugins.start(&model, &first);
    let steps = train.len().div_ceil(24);
    for (step, rows) in train.chunks(24).enumerate() {
        let batch = loader.batch(rows, &device);
        let at = At {
            step,
            global_step: step as u64,
            seed: step as u64,
            ..At::default()
        };
        let mut rec = Recorder::train(at.seed);
        let (output, inputs) = plugins.watch(at, || model.forward(&batch, &mut rec));
        let total = objective.of(&output, &batch).ok_or("no head")?;
        let loss = f64::from(to_vec(total.clone())[0]);
        let mut grads = gradients(&model, total.backward());
        let seen = Pass {
            batch: &batch,
            output: &output,
            loss,
            inputs: &inputs,
            at,
            columns: objective.columns(),
            criterion: &|output, batch| objective.of(output, batch),
        };
        plugins.after_backward(&model, seen, &mut grads);
        model = optimizer.step(model, grads, 1e-3);
        if let Some(line) = plugins.pending().last() {
            let noted = &line.plugins["same_norm"];
            if step == 0 || step + 1 == steps {
                println!(
                    "step {:2}  loss {loss:.4}  share of text before {:.3}, after {:.3}",
                    step + 1,
                    noted["share_before"]["text"],
                    noted["share_after"]["text"],
                );
            }
        }
    }
    Ok(())
}
