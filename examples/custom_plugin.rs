//! A plug-in of one's own: it gives the gradients of all modalities the same norm. Registered once, it is
//! known by its id wherever plug-ins are: in recipes, run directories, comparisons and resumed runs.
//!
//! Run with: `cargo run --release --example custom_plugin`
//!
//! It prints, for the first and the last epoch, the share of the squared gradients that text had before and
//! after the plug-in. Time: a few seconds.
#![expect(clippy::print_stdout, reason = "an example shows what it finds")]

use serde::{Deserialize, Serialize};
use std::error::Error;
use trimer::burn::tensor::Tensor;
use trimer::corpus::synth::{self, SynthSpec};
use trimer::models::Owner;
use trimer::models::lfmim::LfmimConfig;
use trimer::nn::weights::to_vec;
use trimer::plugins::{
    GradientMap, ModelView, Notes, PluginConfigOf, PluginInfo, Start, Step, TrainPlugin, refuse,
};
use trimer::prelude::*;

static INFO: PluginInfo = PluginInfo {
    id: "same_norm",
    title: "The same norm for every modality",
    citation: "",
    presets: &["default"],
    summary: "scales the gradients of each modality's parameters to the mean norm",
};

/// The keys of `[same_norm]` in a recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SameNormConfig {
    /// How far norms move towards their mean, 0 to 1.
    strength: f64,
}

impl PluginConfigOf for SameNormConfig {
    const INFO: &'static PluginInfo = &INFO;

    fn preset(name: &str) -> Option<Self> {
        (name == "default").then_some(Self { strength: 1.0 })
    }

    fn check(&self) -> trimer::train::Result<()> {
        Ok(trimer::nn::config::check_range(
            "same_norm.strength",
            self.strength,
            0.0,
            1.0,
        )?)
    }

    fn build(&self) -> Box<dyn TrainPlugin> {
        Box::new(SameNorm {
            strength: self.strength,
        })
    }
}

#[derive(Debug)]
struct SameNorm {
    strength: f64,
}

impl TrainPlugin for SameNorm {
    fn info(&self) -> &'static PluginInfo {
        &INFO
    }

    // Where no two modalities have parameters of their own there is nothing to make equal.
    fn check(
        &self,
        host: &dyn ModelView,
        _: &ModelOutput,
        start: &Start<'_>,
    ) -> trimer::train::Result<()> {
        let parameters = host.parameter_ids();
        let owns = |m: Modality| {
            let mut paths = parameters.keys();
            paths.any(|path| host.owner(path) == Owner::Modality(m))
        };
        if start.modalities.iter().filter(|m| owns(*m)).count() >= 2 {
            return Ok(());
        }
        refuse(
            &INFO,
            host.model_info(),
            "fewer than two modalities have parameters of their own",
            "choose a model with layers for each modality, for instance `lfmim`",
        )
    }

    // Between the backward pass and the optimizer's step. What later steps depend on would go to `state`;
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
            let factor = 1.0 + self.strength * (mean / norm - 1.0);
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
    trimer::plugins::register::<SameNormConfig>()?;
    // What every plug-in must hold, on every model that it takes.
    trimer::conformance::check_plugin("same_norm")?;

    let dir = tempfile::tempdir()?;
    let spec = SynthSpec::preset("small")?;
    let corpus = Corpus::open(&synth::write(&spec, &dir.path().join("c"), &mut |_, _| {})?)?;
    let run = Run::builder(&corpus)
        .model(LfmimConfig {
            d_model: 16,
            n_heads: 2,
            d_ff: 32,
            n_layers: 1,
            ..LfmimConfig::paper()
        })
        .plugin(SameNormConfig { strength: 1.0 })
        .epochs(3)
        .out(dir.path().join("run"))
        .train()?;

    let log = run.dir().log(1)?;
    for epoch in [log.first(), log.last()].into_iter().flatten() {
        let noted = &epoch.plugins["same_norm"];
        println!(
            "epoch {}  loss {:.4}  share of text before {:.3}, after {:.3}",
            epoch.epoch,
            epoch.train_loss,
            noted["share_before"]["text"],
            noted["share_after"]["text"],
        );
    }
    Ok(())
}
