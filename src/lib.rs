//! Trimer recognises emotion from text, audio and vision together.
//!
//! This crate gathers the parts of the toolkit under one name: [`corpus`], [`import`], [`metrics`],
//! [`stats`] and [`labels`] (no tensor), [`nn`] (layers, models, batches), [`train`] (data, training, runs,
//! prediction) and [`report`] (figures and one-file HTML reports). The [`prelude`] holds the names that most programs need. The command line
//! tool `trimer` is the binary of this package; leave it out with `default-features = false`.
//!
//! What follows is a tour of ten minutes: a corpus, a model, a training run, and numbers.
//!
//! # A corpus
//!
//! A corpus is a directory: `corpus.toml`, one Parquet table of utterances, and packed features in
//! safetensors files, which stay on disk and are mapped into memory. It comes from
//! an [importer](import), from a [writer](corpus::CorpusWriter), or is made up: synthetic
//! corpora need no data and state the Bayes-optimal accuracy.
//!
//! ```
//! use trimer::corpus::synth::{self, SynthSpec};
//! use trimer::prelude::*;
//!
//! let dir = tempfile::tempdir()?;
//! let spec = SynthSpec {
//!     n_utterances: 60,
//!     n_speakers: 10,
//!     ..SynthSpec::preset("small")?
//! };
//! let path = synth::write(&spec, &dir.path().join("corpus"), &mut |_done, _total| {})?;
//!
//! let corpus = Corpus::open(&path)?;
//! assert_eq!(corpus.len(), 60);
//! assert_eq!(corpus.indices(Split::Train).len(), 36);
//!
//! // Every utterance has up to four labels: one per modality, and one for all of them together.
//! let first = &corpus.utterances()[0];
//! assert!(first.labels.iter().all(|(_head, label)| label.is_some()));
//! // Features are row-major [time, feature].
//! let words = corpus.frames(0, Modality::Text).ok_or("no text")?;
//! assert_eq!((words.time(), words.dim()), (12, 24));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # A model
//!
//! A model is built from its configuration, from what it will read ([`InputSpec`](nn::InputSpec)) and
//! from what it is to predict ([`Task`]). It maps a [`Batch`](nn::Batch) to logits per head
//! and knows no optimizer, no epoch and no file.
//!
//! ```
//! use trimer::train::data::{Loader, Normalise, Normaliser, input_spec};
//! use trimer::nn::models::lfmim::LfmimConfig;
//! use trimer::prelude::*;
//! # use trimer::corpus::synth::{self, SynthSpec};
//! # let dir = tempfile::tempdir()?;
//! # let spec = SynthSpec { n_utterances: 60, n_speakers: 10, ..SynthSpec::preset("small")? };
//! # let path = synth::write(&spec, &dir.path().join("corpus"), &mut |_, _| {})?;
//! # let corpus = Corpus::open(&path)?;
//!
//! let config = ModelConfig::from(LfmimConfig {
//!     d_model: 8,
//!     n_heads: 2,
//!     d_ff: 16,
//!     n_layers: 1,
//!     ..LfmimConfig::paper()
//! });
//! let train = corpus.indices(Split::Train);
//! let limits = config.read_limits();
//! let input = input_spec(
//!     &corpus, &train, &[], limits.lengths, limits.sampling, ModalityMap::default(),
//! )?;
//! let task = Task::Classification { n_classes: corpus.info().label_space.classes.len() };
//!
//! let device = trimer::nn::device::parse("cpu")?;
//! let model = config.build(&input, task, /* seed */ 1, &device)?;
//!
//! // Mean and scale are fitted on the train split alone and stored with the weights.
//! let normaliser = Normaliser::fit(Normalise::Standard, &corpus, &train, input.modalities());
//! let loader = Loader { corpus: &corpus, input: &input, normaliser: &normaliser };
//! let batch = loader.batch(&[0, 1, 2], &device);
//! let output = model.forward(&batch, &mut Recorder::eval());
//! for head in Head::ALL {
//!     let logits = output.logits.get(head).clone().ok_or("no such head")?;
//!     assert_eq!(logits.dims(), [3, 7]); // [batch, class]
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # A run
//!
//! [`Run::builder`] says what differs from the defaults. Resolved against the corpus it becomes a
//! complete configuration, which is written to the run directory before the first step. Validation
//! selects the epoch. The test split is opened after that, and the run notes it.
//!
//! ```
//! use trimer::models::lfmim::LfmimConfig;
//! use trimer::prelude::*;
//! # use trimer::corpus::synth::{self, SynthSpec};
//! # let dir = tempfile::tempdir()?;
//! # let spec = SynthSpec { n_utterances: 60, n_speakers: 10, ..SynthSpec::preset("small")? };
//! # let path = synth::write(&spec, &dir.path().join("corpus"), &mut |_, _| {})?;
//! # let corpus = Corpus::open(&path)?;
//!
//! let small = LfmimConfig { d_model: 8, n_heads: 2, d_ff: 16, n_layers: 1, ..LfmimConfig::paper() };
//! let run = Run::builder(&corpus)
//!     .model(small)
//!     .epochs(2)
//!     .out(dir.path().join("run"))
//!     .train()?;
//! assert_eq!(run.dir().protocol()?.selected_on, "valid");
//!
//! // Each head is evaluated against the label that supervised it.
//! let heads = run.evaluate(Split::Valid)?;
//! let fused = heads.multimodal.ok_or("no multimodal head")?;
//! assert!(fused.scalar("accuracy").is_some_and(|a| (0.0..=1.0).contains(&a)));
//! assert!(fused.interval("accuracy").is_some());
//!
//! // Calibrated probabilities of every utterance, [utterance, class].
//! let predictions = run.predict(&corpus)?;
//! assert_eq!(predictions.indices.len(), corpus.len());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Numbers alone
//!
//! Metrics and statistics work on plain slices, so predictions of any other program can be evaluated by
//! the same conventions. Each convention has a name of its own; `docs/metrics.md` lists all of them.
//!
//! ```
//! use trimer::metrics::{EvaluationOptions, evaluate_regression};
//!
//! let truth = [-1.2, 0.0, 0.4, 2.6];
//! let pred = [-0.8, 0.2, -0.1, 2.2];
//! let options = EvaluationOptions { n_resamples: 0, ..EvaluationOptions::default() };
//! let metrics = evaluate_regression(&truth, &pred, Some([-3.0, 3.0]), &options)?;
//! // v >= 0 of all four: wrong for the third. v > 0 of the three whose truth is not 0: likewise.
//! assert_eq!(metrics.scalar("acc2_has0"), Some(0.75));
//! assert_eq!(metrics.scalar("acc2_non0"), Some(2.0 / 3.0));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Where to go on
//!
//! - `README.md`: the command line, which does all of this without a line of code.
//! - `docs/guides/`: bringing one's own data, training and resuming, predicting.
//! - `docs/models/lfmim.md`: equations, presets and deviations of the model.
//! - `examples/`: the same steps as whole programs.

pub use trimer_core::{
    Head, HeadMap, Hint, LabelSpace, Modality, ModalityMap, ModalitySet, card, corpus, error,
    import, io, labels, metrics, random, stats, store,
};
pub use trimer_nn::{self as nn, burn, models};
pub use trimer_report as report;
pub use trimer_study as study;
pub use trimer_train::{self as train, conformance, plugins};

/// What a model predicts.
pub use trimer_nn::Task;
/// A trained run, and how one is made.
pub use trimer_train::{Run, RunBuilder};

/// For configurations outside of this workspace: `#[serde(crate = "trimer::serde")]`.
pub use serde;

/// The command line as a library: a program that registers models of its own is then a `trimer` that
/// knows them.
#[cfg(feature = "cli")]
pub use trimer_cli as cli;

/// The names that most programs need: `use trimer::prelude::*;`.
pub mod prelude {
    pub use trimer_core::corpus::{Corpus, CorpusInfo, CorpusWriter, Frames, Split, Utterance};
    pub use trimer_core::{Head, HeadMap, Hint, LabelSpace, Modality, ModalityMap, ModalitySet};
    pub use trimer_nn::burn::tensor::Device;
    pub use trimer_nn::models::{FusionModel, ModelConfig, ModelConfigOf, ModelOutput, Task};
    pub use trimer_nn::{Batch, InputSpec, Recorder};
    pub use trimer_train::{Outcome, Overrides, Run, RunDir, train_run};
}

/// The documents with Rust in them: `cargo test` compiles their snippets.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../CONTRIBUTING.md")]
    struct Contributing;
    #[doc = include_str!("../docs/models/lfmim.md")]
    struct Lfmim;
}
