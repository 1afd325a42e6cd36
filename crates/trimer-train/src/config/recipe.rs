//! What a user may write in a recipe, section by section, before a corpus is known.

use super::schema::{SelectOn, TuningRecord};
use crate::error::Result;
use crate::plugins::plugins;
use std::collections::BTreeMap;
use trimer_core::error::nearest;
use trimer_nn::error::NnError;

/// What a user may write in a recipe: `[model]`, `[data]`, `[train]`, and a section per plug-in.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// Keys of the model's configuration, plus `id` and `preset`.
    pub model: toml::Table,
    /// Keys of [`DataConfig`](super::DataConfig).
    pub data: toml::Table,
    /// Keys of [`TrainConfig`](super::TrainConfig).
    pub train: toml::Table,
    /// Keys of each plug-in's configuration, by its id.
    pub plugins: BTreeMap<String, toml::Table>,
    /// Where the recipe comes from a search: what it rests on.
    pub tuning: Option<TuningRecord>,
    /// The split that selects. It is no key of a recipe, so that nobody selects on test without
    /// having said so on the command line.
    pub select_on: SelectOn,
}

impl Overrides {
    /// Splits a recipe into its sections.
    ///
    /// # Errors
    /// A section that nothing reads, with the nearest known one.
    pub fn from_table(table: toml::Table) -> Result<Self> {
        let mut all = Self::default();
        for (name, value) in table {
            if name == "tuning" {
                let record = value.try_into().map_err(|e| NnError::ConfigType {
                    key: name,
                    reason: format!("{e}"),
                })?;
                all.tuning = Some(record);
                continue;
            }
            let plugins = plugins().into_iter().map(|p| p.id);
            let slot = match name.as_str() {
                "model" => &mut all.model,
                "data" => &mut all.data,
                "train" => &mut all.train,
                id if plugins.clone().any(|p| p == id) => {
                    all.plugins.entry(name.clone()).or_default()
                }
                _ => {
                    let sections: Vec<&str> = ["model", "data", "train"]
                        .into_iter()
                        .chain(plugins)
                        .collect();
                    let near = nearest(&name, sections.iter().copied());
                    let known = near.map_or_else(
                        || format!("known sections: {}", sections.join(", ")),
                        |near| format!("did you mean `{near}`?"),
                    );
                    return Err(NnError::UnknownKey { key: name, known }.into());
                }
            };
            let toml::Value::Table(section) = value else {
                return Err(NnError::ConfigType {
                    key: name,
                    reason: format!(
                        "expected a section of keys, found {} `{value}`",
                        value.type_str()
                    ),
                }
                .into());
            };
            *slot = section;
        }
        Ok(all)
    }

    /// Makes these the active plug-ins, in this order, instead of those of a recipe.
    pub fn use_plugins(&mut self, ids: &[String]) {
        let ids = ids.iter().cloned().map(toml::Value::String).collect();
        self.train.insert("plugins".into(), toml::Value::Array(ids));
    }

    /// Puts the keys of `other` over these.
    pub fn merge(&mut self, other: Self) {
        for (mine, theirs) in [
            (&mut self.model, other.model),
            (&mut self.data, other.data),
            (&mut self.train, other.train),
        ] {
            merge_tables(mine, theirs);
        }
        for (id, theirs) in other.plugins {
            merge_tables(self.plugins.entry(id).or_default(), theirs);
        }
        self.tuning = other.tuning.or_else(|| self.tuning.take());
        if other.select_on == SelectOn::Test {
            self.select_on = SelectOn::Test;
        }
    }
}

fn merge_tables(into: &mut toml::Table, from: toml::Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(toml::Value::Table(mine)), toml::Value::Table(theirs)) => {
                merge_tables(mine, theirs);
            }
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}
