//! The registry of models: those of this crate, and those that a program adds with [`register`].

use super::config::{ModelConfig, OneConfig};
use super::info::ModelInfo;
use super::interface::ModelConfigOf;
use crate::config::{overlay, read_table};
use crate::error::{NnError, Result};
use crate::registry::{Named, Registry};

/// What is known of a registered model without a configuration of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    info: &'static ModelInfo,
    resolve: fn(Option<&str>, &toml::Table) -> Result<ModelConfig>,
    read: fn(toml::Table) -> std::result::Result<Box<dyn OneConfig>, String>,
}

impl Entry {
    /// The entry of a configuration's type.
    pub(super) const fn of<C: ModelConfigOf>() -> Self {
        Self {
            info: C::INFO,
            resolve: resolve_one::<C>,
            read: |table| Ok(Box::new(read_table::<C>(table)?)),
        }
    }
}

impl Named for Entry {
    fn id(&self) -> &'static str {
        self.info.id
    }

    fn title(&self) -> &'static str {
        self.info.title
    }
}

static REGISTRY: Registry<Entry> = Registry::new("model", super::BUILTIN);

/// All registered models: first those of this crate, then the program's own in the order in which they
/// were registered.
pub fn models() -> Vec<&'static ModelInfo> {
    REGISTRY.all().iter().map(|entry| entry.info).collect()
}

/// Adds a model to the registry of this process, once, before runs are opened:
///
/// ```ignore
/// trimer_nn::models::register::<GmuConfig>()?;
/// ```
///
/// From then on it is known by its id everywhere: in recipes and run directories, to training,
/// comparisons, predictions, explanations and the conformance walk.
///
/// # Errors
/// An id that another model has, or that is not made of lower-case letters, digits and `_`; an entry
/// without presets.
pub fn register<C: ModelConfigOf>() -> Result<()> {
    REGISTRY.add::<C>(Entry::of::<C>(), C::INFO.presets)
}

/// The registry entry of `id`.
///
/// # Errors
/// An id that nobody registered, with the nearest known one.
pub fn model_info(id: &str) -> Result<&'static ModelInfo> {
    Ok(find(id)?.info)
}

fn find(id: &str) -> Result<Entry> {
    REGISTRY.find(id).map_err(|known| NnError::UnknownModel {
        id: id.to_owned(),
        known,
    })
}

pub(super) fn resolve(
    id: &str,
    preset: Option<&str>,
    overrides: &toml::Table,
) -> Result<ModelConfig> {
    (find(id)?.resolve)(preset, overrides)
}

pub(super) fn read(
    id: &str,
    table: toml::Table,
) -> std::result::Result<Box<dyn OneConfig>, String> {
    let entry = find(id).map_err(|error| error.to_string())?;
    (entry.read)(table)
}

fn resolve_one<C: ModelConfigOf>(
    preset: Option<&str>,
    overrides: &toml::Table,
) -> Result<ModelConfig> {
    let name = preset.unwrap_or(C::INFO.presets[0]);
    let base = C::preset(name).ok_or_else(|| NnError::ConfigRange {
        key: "model.preset".into(),
        value: format!("\"{name}\""),
        expected: format!("one of {}", C::INFO.presets.join(", ")),
    })?;
    let config: C = overlay("model", &base, overrides)?;
    config.check()?;
    Ok(config.into())
}
