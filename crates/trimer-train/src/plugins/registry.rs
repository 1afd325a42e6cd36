//! The registry of plug-ins: those of this crate, and those that a program adds with [`register`].

use super::config::{OneConfig, PluginConfig};
use super::interface::{PluginConfigOf, PluginInfo};
use crate::error::Result;
use trimer_nn::config::{overlay, read_table};
use trimer_nn::error::NnError;
use trimer_nn::registry::{Named, Registry};

/// What is known of a registered plug-in without a configuration of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    info: &'static PluginInfo,
    resolve: fn(&toml::Table) -> Result<PluginConfig>,
    trial: fn() -> Option<PluginConfig>,
    read: fn(toml::Table) -> std::result::Result<Box<dyn OneConfig>, String>,
}

impl Entry {
    /// The entry of a configuration's type.
    pub(super) const fn of<C: PluginConfigOf>() -> Self {
        Self {
            info: C::INFO,
            resolve: resolve_one::<C>,
            trial: || C::trial().map(PluginConfig::from),
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

static REGISTRY: Registry<Entry> = Registry::new("plug-in", super::BUILTIN);

/// All registered plug-ins: first those of this crate, then the program's own in the order in which they
/// were registered.
pub fn plugins() -> Vec<&'static PluginInfo> {
    REGISTRY.all().iter().map(|entry| entry.info).collect()
}

/// Adds a plug-in to the registry of this process; see [`trimer_nn::models::register`].
///
/// # Errors
/// An id that another plug-in has, or that is not made of lower-case letters, digits and `_`; an entry
/// without presets.
pub fn register<C: PluginConfigOf>() -> Result<()> {
    Ok(REGISTRY.add::<C>(Entry::of::<C>(), C::INFO.presets)?)
}

/// The configuration that the conformance walk tries; `None` where the plug-in gives none.
pub(crate) fn trial(id: &str) -> Result<Option<PluginConfig>> {
    Ok((find(id)?.trial)())
}

pub(super) fn resolve(id: &str, overrides: &toml::Table) -> Result<PluginConfig> {
    (find(id)?.resolve)(overrides)
}

pub(super) fn read(
    id: &str,
    table: toml::Table,
) -> std::result::Result<Box<dyn OneConfig>, String> {
    let entry = find(id).map_err(|error| error.to_string())?;
    (entry.read)(table)
}

fn find(id: &str) -> Result<Entry> {
    REGISTRY.find(id).map_err(|known| {
        NnError::UnknownKey {
            key: format!("train.plugins: {id}"),
            known,
        }
        .into()
    })
}

fn resolve_one<C: PluginConfigOf>(overrides: &toml::Table) -> Result<PluginConfig> {
    let id = C::INFO.id;
    let mut overrides = overrides.clone();
    let name = match overrides.remove("preset") {
        None => C::INFO.presets[0].to_owned(),
        Some(toml::Value::String(name)) => name,
        Some(other) => {
            let error = NnError::ConfigType {
                key: format!("{id}.preset"),
                reason: format!("expected string, found {} `{other}`", other.type_str()),
            };
            return Err(error.into());
        }
    };
    let base = C::preset(&name).ok_or_else(|| NnError::ConfigRange {
        key: format!("{id}.preset"),
        value: format!("\"{name}\""),
        expected: format!("one of {}", C::INFO.presets.join(", ")),
    })?;
    let config: C = overlay(id, &base, &overrides)?;
    config.check()?;
    Ok(config.into())
}
