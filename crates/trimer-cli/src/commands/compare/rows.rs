//! The rows of a comparison: what is trained, under which name, and which head is judged.

use super::super::train::{parse_sets, read_recipe};
use crate::ui::Hinted;
use anyhow::Context;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use trimer_core::Head;
use trimer_core::corpus::Corpus;
use trimer_nn::ModelConfig;
use trimer_train::{Overrides, RunConfig, SelectOn};

/// One row as it was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RowSpec {
    /// Name in tables; the model's id unless given.
    #[serde(default)]
    pub(super) name: String,
    /// The model's id.
    pub(super) model: String,
    /// Recipe of this row; else that of `--recipes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) recipe: Option<PathBuf>,
    /// Keys of this row, over its recipe, as on the command line.
    #[serde(default)]
    pub(super) set: Vec<String>,
    /// Plug-ins of this row, in their order, instead of its recipe's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) plugins: Vec<String>,
    /// The head that is judged.
    #[serde(default = "multimodal")]
    pub(super) head: Head,
    /// The label that it is judged against.
    #[serde(default = "multimodal")]
    pub(super) label: Head,
}

const fn multimodal() -> Head {
    Head::Multimodal
}

/// A file of rows.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RowFile {
    row: Vec<RowSpec>,
}

/// Rows of `--models ID[+PLUGIN..][:NAME[=RECIPE]],...`.
pub(super) fn parse_models(list: &str) -> anyhow::Result<Vec<RowSpec>> {
    list.split(',')
        .map(|item| parse_model(item.trim()))
        .collect()
}

fn parse_model(item: &str) -> anyhow::Result<RowSpec> {
    let malformed = || {
        Hinted::new(
            format!("`{item}` is no row"),
            "write `--models lfmim,tfn` or, for a variant, `--models lfmim,lfmim:ml=recipes/ml.toml`, or, with a plug-in, `--models mmgcn,mmgcn+fagm`",
        )
    };
    let (model, rest) = match item.split_once(':') {
        Some((model, rest)) => (model, Some(rest)),
        None => (item, None),
    };
    let mut parts = model.split('+');
    let id = parts.next().unwrap_or_default();
    let plugins: Vec<String> = parts.map(str::to_owned).collect();
    let (label, recipe) = match rest.map(|r| r.split_once('=').ok_or(r)) {
        None => (None, None),
        Some(Ok((label, recipe))) => (Some(label), Some(PathBuf::from(recipe))),
        Some(Err(label)) => (Some(label), None),
    };
    let empty = |text: Option<&str>| text.is_some_and(str::is_empty);
    let no_name = id.is_empty() || plugins.iter().any(String::is_empty);
    if no_name || model.contains('=') || empty(label) {
        return Err(malformed().into());
    }
    Ok(RowSpec {
        name: label.map_or_else(|| model.to_owned(), |l| format!("{model}:{l}")),
        model: id.to_owned(),
        recipe,
        set: Vec::new(),
        plugins,
        head: Head::Multimodal,
        label: Head::Multimodal,
    })
}

/// Rows of a TOML file; paths in it are relative to the file.
pub(super) fn read_rows(file: &Path) -> anyhow::Result<Vec<RowSpec>> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read the rows `{}`", file.display()))?;
    let mut rows: RowFile =
        toml::from_str(&text).with_context(|| format!("in the rows `{}`", file.display()))?;
    for row in &mut rows.row {
        if row.name.is_empty() {
            row.name.clone_from(&row.model);
        }
        if let (Some(recipe), Some(folder)) = (&row.recipe, file.parent()) {
            row.recipe = Some(folder.join(recipe));
        }
    }
    Ok(rows.row)
}

/// Refuses rows that cannot be told apart or whose model is not registered.
pub(super) fn check_rows(rows: &[RowSpec]) -> anyhow::Result<()> {
    if rows.is_empty() {
        return Err(
            Hinted::new("there is no row to compare", "name models with `--models`").into(),
        );
    }
    for (i, row) in rows.iter().enumerate() {
        ModelConfig::resolve(&row.model, None, &toml::Table::new())?;
        if rows[..i]
            .iter()
            .any(|r| r.name == row.name || r.dir() == row.dir())
        {
            return Err(Hinted::new(
                format!("two rows are called `{}`", row.name),
                "give one of them a name: `--models lfmim,lfmim:wide=wide.toml`",
            )
            .into());
        }
    }
    Ok(())
}

impl RowSpec {
    /// The row's name as that of a directory.
    pub(super) fn dir(&self) -> String {
        plain_name(&self.name)
    }

    /// The configuration of this row on a corpus.
    pub(super) fn resolve(
        &self,
        corpus: &Corpus,
        recipes: Option<&Path>,
        sets: &[String],
        seeds: &[u64],
        select_on: SelectOn,
    ) -> anyhow::Result<RunConfig> {
        let mut overrides = match self.recipe_file(corpus, recipes)? {
            Some(file) => read_recipe(&file)?,
            None => Overrides::default(),
        };
        overrides.merge(parse_sets(&self.set)?);
        overrides.merge(parse_sets(sets)?);
        if !self.plugins.is_empty() {
            overrides.use_plugins(&self.plugins);
        }
        overrides.select_on = select_on;
        overrides
            .resolve(Some(&self.model), corpus, seeds.to_vec())
            .with_context(|| format!("row `{}`", self.name))
    }

    /// Whether there is a recipe for this row on every corpus.
    pub(super) fn has_recipe(
        &self,
        corpora: &[Corpus],
        recipes: Option<&Path>,
    ) -> anyhow::Result<bool> {
        for corpus in corpora {
            if self.recipe_file(corpus, recipes)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The row's own recipe, or `DIR/<corpus>/<model>.toml` or `DIR/<model>.toml` where there is
    /// one.
    fn recipe_file(
        &self,
        corpus: &Corpus,
        recipes: Option<&Path>,
    ) -> anyhow::Result<Option<PathBuf>> {
        if self.recipe.is_some() {
            return Ok(self.recipe.clone());
        }
        let Some(folder) = recipes else {
            return Ok(None);
        };
        if !folder.is_dir() {
            return Err(Hinted::new(
                format!("`{}` is no directory of recipes", folder.display()),
                "it holds one file per model: `DIR/lfmim.toml`",
            )
            .into());
        }
        let file = format!("{}.toml", self.model);
        let places = [
            folder.join(plain_name(&corpus.info().name)).join(&file),
            folder.join(&file),
        ];
        Ok(places.into_iter().find(|f| f.is_file()))
    }
}

/// A name that leads to no other directory.
pub(crate) fn plain_name(name: &str) -> String {
    let plain: String = name
        .chars()
        .map(|c| {
            if c.is_alphanumeric() || "-_.".contains(c) {
                c
            } else {
                '-'
            }
        })
        .take(100)
        .collect();
    match plain.trim_start_matches('.') {
        "" => "row".into(),
        rest => rest.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variant_has_a_name_and_a_recipe() {
        let rows = parse_models("lfmim, lfmim:ml=recipes/ml.toml,lfmim:wide").unwrap();
        let names: Vec<&str> = rows.iter().map(|r| r.name.as_str()).collect();
        assert_eq!(names, ["lfmim", "lfmim:ml", "lfmim:wide"]);
        assert_eq!(
            rows[1].recipe.as_deref(),
            Some(Path::new("recipes/ml.toml"))
        );
        assert_eq!(rows[1].dir(), "lfmim-ml");
        let rows = parse_models("mmgcn+fagm,mmgcn+watch+ogm_ge:b=b.toml").unwrap();
        assert_eq!(
            (rows[0].name.as_str(), &rows[0].model[..]),
            ("mmgcn+fagm", "mmgcn")
        );
        assert_eq!(rows[1].plugins, ["watch", "ogm_ge"]);
        assert_eq!(rows[1].name, "mmgcn+watch+ogm_ge:b");
        for bad in [
            "+fagm",
            "mmgcn+",
            "",
            ":x",
            "lfmim:",
            "lfmim=x.toml",
            "lfmim:=x.toml",
        ] {
            assert!(parse_models(bad).is_err(), "{bad}");
        }
        assert!(check_rows(&parse_models("lfmim,lfmim").unwrap()).is_err());
        assert!(check_rows(&parse_models("lfmim,lfmin").unwrap()).is_err());
    }
}
