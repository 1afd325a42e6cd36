//! The model is registered as any other program would do it, and then put to everything that runs can do.
#![allow(
    clippy::unwrap_used,
    reason = "clippy knows only functions marked as tests, not their helpers"
)]

use custom_model::{Gmu, GmuConfig};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use trimer::corpus::synth::{self, SynthSpec};
use trimer::models::{Level, ModelInfo, TaskKind, model_info, models, register};
use trimer::nn::config::parse_set;
use trimer::nn::layers::Initializer;
use trimer::prelude::*;
use trimer::serde::{Deserialize, Serialize};
use trimer::train::{Observer, StepReport};

/// A small corpus in a folder of its own, with the model registered.
fn prepared() -> (tempfile::TempDir, Corpus) {
    register::<GmuConfig>().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let spec = SynthSpec {
        n_utterances: 60,
        n_speakers: 10,
        ..SynthSpec::preset("small").unwrap()
    };
    let path = synth::write(&spec, &dir.path().join("corpus"), &mut |_, _| {}).unwrap();
    let corpus = Corpus::open(path).unwrap();
    (dir, corpus)
}

fn builder<'a>(corpus: &'a Corpus, out: &Path) -> trimer::RunBuilder<'a> {
    Run::builder(corpus)
        .model(GmuConfig { d_hidden: 16 })
        .epochs(4)
        .batch_size(8)
        .seeds(2)
        .out(out)
}

/// Asks to stop after a number of steps.
struct StopAfter<'a> {
    steps: usize,
    stop: &'a AtomicBool,
}

impl Observer for StopAfter<'_> {
    fn step(&mut self, _: &StepReport) {
        self.steps = self.steps.saturating_sub(1);
        self.stop.store(self.steps == 0, Ordering::Relaxed);
    }
}

fn weights(run: &Run) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for seed in [1, 2] {
        for name in ["last.safetensors", "best.safetensors"] {
            let file = run.dir().seed_dir(seed).join(name);
            let name = file.strip_prefix(&run.dir().path).unwrap().to_owned();
            all.push((name, fs::read(file).unwrap()));
        }
    }
    all
}

#[test]
fn it_trains_goes_on_predicts_and_is_evaluated() {
    let (dir, corpus) = prepared();
    let whole = builder(&corpus, &dir.path().join("whole"));
    let whole = whole.train().unwrap();
    assert!(whole.is_finished());

    // Stopped in the middle of an epoch of the first seed, then between its end and that of the second.
    let (stop, out) = (AtomicBool::new(false), dir.path().join("cut"));
    let mut after = StopAfter {
        steps: 7,
        stop: &stop,
    };
    let cut = builder(&corpus, &out).stop(&stop);
    let cut = cut.train_observed(&mut after).unwrap();
    assert!(stop.load(Ordering::Relaxed) && !cut.is_finished());
    assert!(!cut.dir().seed_dir(2).exists());
    let cut = Run::open(&out).unwrap();
    let config = cut.dir().config.model.get::<GmuConfig>();
    assert_eq!(config, Some(&GmuConfig { d_hidden: 16 }));
    cut.resume().unwrap();
    assert!(cut.is_finished());
    assert_eq!(weights(&cut), weights(&whole));

    let heads = cut.evaluate(Split::Valid).unwrap();
    let fused = heads.multimodal.unwrap();
    let accuracy = fused.scalar("accuracy").unwrap();
    assert!((0.0..=1.0).contains(&accuracy), "{accuracy}");
    assert!(heads.text.is_none(), "it has no unimodal head");

    let predictions = cut.predict(&corpus).unwrap();
    assert_eq!(predictions.indices.len(), corpus.len());
    let row = predictions.row(Head::Multimodal, 0).unwrap();
    assert_eq!(row.len(), corpus.info().label_space.classes.len());
    assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-6, "{row:?}");
}

#[test]
fn it_holds_what_every_model_must_hold() {
    register::<GmuConfig>().unwrap();
    let report = trimer::conformance::check_model("gmu");
    let report = report.unwrap_or_else(|faults| panic!("{faults}"));
    assert!(report.of("padding_content").all(|entry| entry.cases > 0));
}

/// A configuration that takes the id of somebody else.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(crate = "trimer::serde", deny_unknown_fields)]
struct Thief<const OF_LFMIM: bool> {}

static LFMIM: ModelInfo = thief("lfmim");
static GMU: ModelInfo = thief("gmu");

const fn thief(id: &'static str) -> ModelInfo {
    ModelInfo {
        id,
        title: "Thief",
        level: Level::Utterance,
        modalities: &Modality::ALL,
        tasks: &TaskKind::ALL,
        citation: "",
        reconstruction: false,
        presets: &["small"],
        summary: "takes the id of another model",
    }
}

impl<const OF_LFMIM: bool> ModelConfigOf for Thief<OF_LFMIM> {
    type Model = Gmu;
    const INFO: &'static ModelInfo = if OF_LFMIM { &LFMIM } else { &GMU };

    fn preset(_: &str) -> Option<Self> {
        Some(Self {})
    }

    fn check(&self) -> trimer::nn::Result<()> {
        Ok(())
    }

    fn build(
        &self,
        input: &InputSpec,
        task: Task,
        init: &mut Initializer,
    ) -> trimer::nn::Result<Gmu> {
        GmuConfig { d_hidden: 8 }.build(input, task, init)
    }
}

#[test]
fn it_is_registered_once_and_nobody_takes_its_id() {
    register::<GmuConfig>().unwrap();
    let known = models().len();
    register::<GmuConfig>().unwrap();
    let error = register::<Thief<true>>().unwrap_err().to_string();
    assert!(error.contains("lfmim") && error.contains("free"), "{error}");
    let error = register::<Thief<false>>().unwrap_err().to_string();
    assert!(error.contains("Gated Multimodal Unit"), "{error}");
    assert_eq!(models().len(), known);
    assert_eq!(model_info("gmu").unwrap().title, "Gated Multimodal Unit");
}

#[test]
fn its_keys_are_as_strict_as_those_of_any_model() {
    let (dir, corpus) = prepared();
    let resolve = |set: &str| {
        let mut overrides = Overrides::default();
        parse_set(set, &mut overrides.model).unwrap();
        overrides.resolve(Some("gmu"), &corpus, vec![1])
    };
    let config = resolve("d_hidden=24").unwrap().model;
    assert_eq!(config.get::<GmuConfig>(), Some(&GmuConfig { d_hidden: 24 }));
    let error = resolve("d_hiden=24").unwrap_err();
    assert!(error.to_string().contains("model.d_hiden"), "{error}");
    assert!(error.hint().unwrap().contains("model.d_hidden"));
    let error = resolve("d_hidden=0").unwrap_err().to_string();
    assert!(error.contains("1 to 4096"), "{error}");

    // A run directory that was changed by hand.
    let run = builder(&corpus, &dir.path().join("run")).create().unwrap();
    let file = run.dir().path.join("config.toml");
    let text = fs::read_to_string(&file).unwrap();
    let changed = text.replace("d_hidden = 16", "d_hidden = 16\nd_hiden = 8");
    assert_ne!(changed, text);
    fs::write(&file, changed).unwrap();
    let error = Run::open(&run.dir().path).unwrap_err().to_string();
    assert!(error.contains("d_hiden"), "{error}");
}
