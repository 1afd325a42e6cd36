//! Training and inference speed of a model on this machine.

use crate::error::{Result, StudyError};
use crate::models::{PAPER_DIMS, default_input};
use trimer_core::ModalityMap;
use trimer_nn::burn::tensor::Device;
use trimer_nn::config::parse_set;
use trimer_nn::models::{ModelConfig, Task};
use trimer_train::plugins::PluginConfig;

mod measure;

pub use measure::{BenchOptions, BenchResult, Phases, bench, latency_ms};

/// Widths of the features that were released with LFMIM, for its preset `released`.
pub const RELEASED_DIMS: ModalityMap<Option<usize>> = ModalityMap {
    text: Some(1024),
    audio: Some(1024),
    vision: Some(2048),
};

/// A model to measure on random features.
///
/// ```no_run
/// use trimer_study::bench::Benchmark;
///
/// let mut lfmim = Benchmark::new("lfmim").set("model.n_layers=2");
/// lfmim.options.batch = 8;
/// let result = lfmim.run()?;
/// println!("{:.0} utterances/s in training", result.train_samples_per_s);
/// # Ok::<(), trimer_study::StudyError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Benchmark {
    /// The model's id.
    pub model: String,
    /// A preset of the model.
    pub preset: Option<String>,
    /// Keys of the model, as `model.n_layers=8`.
    pub sets: Vec<String>,
    /// Feature widths; those that the preset was made for by default.
    pub dims: Option<ModalityMap<Option<usize>>>,
    /// Frames per sequence, the same for every modality, instead of the preset's.
    pub length: Option<usize>,
    /// Speakers of a conversation, for models that read conversations.
    pub speakers: usize,
    /// Classes.
    pub classes: usize,
    /// Plug-ins of the training step, with their defaults.
    pub plugins: Vec<String>,
    /// What is measured; its plug-ins are those of [`Self::plugins`].
    pub options: BenchOptions,
    /// Where to compute.
    pub device: Device,
}

impl Benchmark {
    /// A model at its defaults: batches of 24, conversations of 50 turns, 7 classes.
    pub fn new(model: impl Into<String>) -> Self {
        Self {
            model: model.into(),
            preset: None,
            sets: Vec::new(),
            dims: None,
            length: None,
            speakers: 2,
            classes: 7,
            plugins: Vec::new(),
            options: BenchOptions {
                batch: 24,
                turns: 50,
                min_turns: 50,
                repeat: 7,
                dropout: true,
                valid_share: 1.0,
                phases: Phases::Both,
                plugins: Vec::new(),
            },
            device: Device::flex(),
        }
    }

    /// One key of the model, as `model.n_layers=8`.
    pub fn set(mut self, key_and_value: impl Into<String>) -> Self {
        self.sets.push(key_and_value.into());
        self
    }

    /// Measures.
    ///
    /// # Errors
    /// When the configuration does not fit the input.
    pub fn run(&self) -> Result<BenchResult> {
        let config =
            ModelConfig::resolve(&self.model, self.preset.as_deref(), &self.model_keys()?)?;
        let dims = match (&self.dims, self.preset.as_deref()) {
            (Some(dims), _) => *dims,
            (None, Some("released")) => RELEASED_DIMS,
            (None, _) => PAPER_DIMS,
        };
        let mut input = default_input(&config, dims);
        if let Some(length) = self.length {
            input.lengths = ModalityMap::from_fn(|_| length);
        }
        input.n_speakers = input.n_speakers.map(|_| self.speakers);
        config.check_input(&input)?;
        let (turns, min_turns) = (self.options.turns, self.options.min_turns);
        if min_turns == 0 || min_turns > turns {
            return Err(StudyError::refused(
                "`min_turns` is out of range",
                format!("choose 1 to {turns}, which is `turns`"),
            ));
        }
        let plugins = self
            .plugins
            .iter()
            .map(|id| PluginConfig::resolve(id, &toml::Table::new()));
        let options = BenchOptions {
            plugins: plugins.collect::<Result<_, _>>()?,
            ..self.options.clone()
        };
        let task = Task::Classification {
            n_classes: self.classes,
        };
        let found = measure::bench(&config, &input, task, &options, &self.device)?;
        Ok(found)
    }

    /// The keys of the model that are set.
    fn model_keys(&self) -> Result<toml::Table> {
        let mut sets = toml::Table::new();
        for set in &self.sets {
            parse_set(set, &mut sets)?;
        }
        let mut keys = toml::Table::new();
        for (section, of_section) in sets {
            match of_section {
                toml::Value::Table(of_section) if section == "model" => keys.extend(of_section),
                _ => {
                    return Err(StudyError::refused(
                        format!("expected keys of the model, `model.KEY=VALUE`, got `{section}`"),
                        "a benchmark has no data and trains nothing: only the model has keys",
                    ));
                }
            }
        }
        Ok(keys)
    }
}
