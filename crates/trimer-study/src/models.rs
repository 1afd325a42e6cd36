//! The registry of models with sizes, and their cards.

use crate::error::Result;
use serde::Serialize;
use std::fmt::Write as _;
use trimer_core::ModalityMap;
use trimer_nn::InputSpec;
use trimer_nn::burn::tensor::Device;
use trimer_nn::models::{ModelConfig, ModelInfo, Task, models};
use trimer_nn::weights::parameter_count;

/// Widths of the features that the LFMIM paper used, so that sizes can be compared.
pub const PAPER_DIMS: ModalityMap<Option<usize>> = ModalityMap {
    text: Some(768),
    audio: Some(768),
    vision: Some(512),
};

/// A registry entry with the size of its default preset.
#[derive(Debug, Clone, Serialize)]
pub struct ModelEntry {
    /// The registry's entry.
    #[serde(flatten)]
    pub info: &'static ModelInfo,
    /// Numbers that the model learns from features of [`PAPER_DIMS`] for seven classes.
    pub parameters: usize,
}

/// The input of a model at its default lengths.
pub fn default_input(config: &ModelConfig, dims: ModalityMap<Option<usize>>) -> InputSpec {
    config.default_input(dims)
}

/// Every registered model.
///
/// # Errors
/// When a model cannot be built.
pub fn entries() -> Result<Vec<ModelEntry>> {
    models().into_iter().map(ModelEntry::new).collect()
}

/// A registered model.
///
/// # Errors
/// Names the nearest model where there is none of this id.
///
/// ```
/// let model = trimer_study::models::entry("lfmim")?;
/// assert_eq!(model.info.id, "lfmim");
/// assert!(model.parameters > 1_000_000);
/// # Ok::<(), trimer_study::StudyError>(())
/// ```
pub fn entry(id: &str) -> Result<ModelEntry> {
    let config = ModelConfig::resolve(id, None, &toml::Table::new())?;
    ModelEntry::new(config.info())
}

impl ModelEntry {
    fn new(info: &'static ModelInfo) -> Result<Self> {
        let config = ModelConfig::resolve(info.id, None, &toml::Table::new())?;
        let input = default_input(&config, PAPER_DIMS);
        let task = Task::Classification { n_classes: 7 };
        let model = config.build(&input, task, 0, &Device::flex())?;
        Ok(Self {
            info,
            parameters: parameter_count(&model),
        })
    }

    /// What the model is, where it is from, and the keys of each preset.
    ///
    /// # Errors
    /// When a preset cannot be resolved.
    pub fn card(&self) -> Result<String> {
        let info = self.info;
        let reconstruction = if info.reconstruction {
            "\nThis is a reconstruction: the source leaves parts of it open.\n"
        } else {
            ""
        };
        let mut text = format!(
            "{} - {}\n\n{}\n{reconstruction}\nsource      {}\nlevel       {}\nmodalities  {}\ntasks       {}\nparameters  {} (preset `{}`, features of width 768, 768 and 512, 7 classes)\n",
            info.id,
            info.title,
            info.summary,
            info.citation,
            info.level,
            info.modalities_in_words(),
            info.tasks_in_words(),
            self.parameters,
            info.presets[0],
        );
        for preset in info.presets {
            let config = ModelConfig::resolve(info.id, Some(preset), &toml::Table::new())?;
            let _ = write!(
                text,
                "\n# preset `{preset}`; change a key with `--set model.KEY=VALUE`\n{}",
                toml::to_string(&config)?
            );
        }
        Ok(text)
    }
}
