//! The systems of a comparison: what is trained, under which name, and which head is evaluated.

use crate::error::{Result, StudyError};
use crate::recipe;
use crate::text::plain_name;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use trimer_core::Head;
use trimer_core::corpus::Corpus;
use trimer_nn::ModelConfig;
use trimer_train::{Overrides, RunConfig, SelectOn};

/// One system of a comparison: a model with its settings, and the head that stands for it.
///
/// ```
/// use trimer_study::compare::System;
/// use trimer_core::Head;
///
/// let variant = System::new("lfmim")
///     .named("LFMIM, text head")
///     .set("train.unimodal_labels=multimodal")
///     .head(Head::Text);
/// assert_eq!(variant.dir(), "LFMIM--text-head");
///
/// // The short form: model, plug-ins, name and recipe.
/// let short: System = "mmgcn+fagm:wide=wide.toml".parse()?;
/// assert_eq!((short.name.as_str(), short.model.as_str()), ("mmgcn+fagm:wide", "mmgcn"));
/// # Ok::<(), trimer_study::StudyError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct System {
    /// Name in tables and directories; the model's id unless given.
    #[serde(default)]
    pub name: String,
    /// The model's id.
    pub model: String,
    /// Recipe of this system; else that of the comparison's folder of recipes.
    #[serde(default)]
    pub recipe: Option<PathBuf>,
    /// Keys of this system, over its recipe, as `train.lr=1e-3`.
    #[serde(default)]
    pub set: Vec<String>,
    /// Plug-ins of this system, in their order, instead of its recipe's.
    #[serde(default)]
    pub plugins: Vec<String>,
    /// The head that is evaluated.
    #[serde(default = "multimodal")]
    pub head: Head,
    /// The label that it is evaluated against.
    #[serde(default = "multimodal")]
    pub label: Head,
}

const fn multimodal() -> Head {
    Head::Multimodal
}

/// A file of systems.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SystemFile {
    row: Vec<System>,
}

impl System {
    /// A model with the settings of its recipe, or its defaults; its multimodal head is evaluated.
    pub fn new(model: impl Into<String>) -> Self {
        let model = model.into();
        Self {
            name: model.clone(),
            model,
            recipe: None,
            set: Vec::new(),
            plugins: Vec::new(),
            head: Head::Multimodal,
            label: Head::Multimodal,
        }
    }

    /// Name in tables and directories.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The recipe of this system.
    pub fn recipe(mut self, file: impl Into<PathBuf>) -> Self {
        self.recipe = Some(file.into());
        self
    }

    /// One key over the recipe, as `train.lr=1e-3`.
    pub fn set(mut self, key_and_value: impl Into<String>) -> Self {
        self.set.push(key_and_value.into());
        self
    }

    /// One more plug-in.
    pub fn plugin(mut self, id: impl Into<String>) -> Self {
        self.plugins.push(id.into());
        self
    }

    /// The head that is evaluated.
    pub const fn head(mut self, head: Head) -> Self {
        self.head = head;
        self
    }

    /// The label that it is evaluated against.
    pub const fn label(mut self, label: Head) -> Self {
        self.label = label;
        self
    }

    /// The system's name as that of a directory.
    pub fn dir(&self) -> String {
        plain_name(&self.name)
    }

    /// The configuration of this system on a corpus.
    pub(super) fn resolve(
        &self,
        corpus: &Corpus,
        recipes: Option<&Path>,
        sets: &[String],
        seeds: &[u64],
        select_on: SelectOn,
    ) -> Result<RunConfig> {
        let mut overrides = match self.recipe_file(corpus, recipes)? {
            Some(file) => recipe::read(&file)?,
            None => Overrides::default(),
        };
        overrides.merge(recipe::parse_sets(&self.set)?);
        overrides.merge(recipe::parse_sets(sets)?);
        if !self.plugins.is_empty() {
            overrides.use_plugins(&self.plugins);
        }
        overrides.select_on = select_on;
        overrides
            .resolve(Some(&self.model), corpus, seeds.to_vec())
            .map_err(|error| StudyError::InSystem {
                name: self.name.clone(),
                source: Box::new(error.into()),
            })
    }

    /// Whether there is a recipe for this system on every corpus.
    pub(super) fn has_recipe(&self, corpora: &[&Corpus], recipes: Option<&Path>) -> Result<bool> {
        for corpus in corpora {
            if self.recipe_file(corpus, recipes)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The system's own recipe, or `DIR/<corpus>/<model>.toml` or `DIR/<model>.toml` where there is
    /// one.
    fn recipe_file(&self, corpus: &Corpus, recipes: Option<&Path>) -> Result<Option<PathBuf>> {
        if self.recipe.is_some() {
            return Ok(self.recipe.clone());
        }
        let Some(folder) = recipes else {
            return Ok(None);
        };
        if !folder.is_dir() {
            return Err(StudyError::refused(
                format!("`{}` is no directory of recipes", folder.display()),
                "it holds one file per model: `DIR/lfmim.toml`",
            ));
        }
        let file = format!("{}.toml", self.model);
        let places = [
            folder.join(plain_name(&corpus.info().name)).join(&file),
            folder.join(&file),
        ];
        Ok(places.into_iter().find(|f| f.is_file()))
    }
}

impl FromStr for System {
    type Err = StudyError;

    /// Reads `ID[+PLUGIN..][:NAME[=RECIPE]]`.
    fn from_str(item: &str) -> Result<Self> {
        let malformed = || {
            StudyError::refused(
                format!("`{item}` is no system"),
                "write `models=lfmim,tfn` or, for a variant, `models=lfmim,lfmim:ml=recipes/ml.toml`, or, with a plug-in, `models=mmgcn,mmgcn+fagm`",
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
            return Err(malformed());
        }
        Ok(Self {
            name: label.map_or_else(|| model.to_owned(), |l| format!("{model}:{l}")),
            recipe,
            plugins,
            ..Self::new(id)
        })
    }
}

/// Systems of `ID[+PLUGIN..][:NAME[=RECIPE]],...`.
///
/// # Errors
/// Names the item that is none.
pub fn parse_systems(list: &str) -> Result<Vec<System>> {
    list.split(',').map(|item| item.trim().parse()).collect()
}

/// Systems of a TOML file with a `[[row]]` for each; paths in it are relative to the file.
///
/// # Errors
/// When the file cannot be read.
pub fn read_systems(file: &Path) -> Result<Vec<System>> {
    let text = std::fs::read_to_string(file).map_err(StudyError::io("read the rows", file))?;
    let mut systems: SystemFile = toml::from_str(&text)
        .map_err(StudyError::from)
        .map_err(StudyError::in_file("rows", file))?;
    for system in &mut systems.row {
        if system.name.is_empty() {
            system.name.clone_from(&system.model);
        }
        if let (Some(recipe), Some(folder)) = (&system.recipe, file.parent()) {
            system.recipe = Some(folder.join(recipe));
        }
    }
    Ok(systems.row)
}

/// Refuses systems that cannot be distinguished or whose model is not registered.
///
/// # Errors
/// Names the system.
pub fn check_systems(systems: &[System]) -> Result<()> {
    if systems.is_empty() {
        return Err(StudyError::refused(
            "there is no system to compare",
            "name models with `models`",
        ));
    }
    for (i, system) in systems.iter().enumerate() {
        ModelConfig::resolve(&system.model, None, &toml::Table::new())?;
        let same = |other: &System| other.name == system.name || other.dir() == system.dir();
        if systems[..i].iter().any(same) {
            return Err(StudyError::refused(
                format!("two systems are called `{}`", system.name),
                "give one of them a name: `models=lfmim,lfmim:wide=wide.toml`",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variant_has_a_name_and_a_recipe() {
        let systems = parse_systems("lfmim, lfmim:ml=recipes/ml.toml,lfmim:wide").unwrap();
        let names: Vec<&str> = systems.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["lfmim", "lfmim:ml", "lfmim:wide"]);
        assert_eq!(
            systems[1].recipe.as_deref(),
            Some(Path::new("recipes/ml.toml"))
        );
        assert_eq!(systems[1].dir(), "lfmim-ml");
        let systems = parse_systems("mmgcn+fagm,mmgcn+watch+ogm_ge:b=b.toml").unwrap();
        assert_eq!(
            (systems[0].name.as_str(), &systems[0].model[..]),
            ("mmgcn+fagm", "mmgcn")
        );
        assert_eq!(systems[1].plugins, ["watch", "ogm_ge"]);
        assert_eq!(systems[1].name, "mmgcn+watch+ogm_ge:b");
        for bad in [
            "+fagm",
            "mmgcn+",
            "",
            ":x",
            "lfmim:",
            "lfmim=x.toml",
            "lfmim:=x.toml",
        ] {
            assert!(parse_systems(bad).is_err(), "{bad}");
        }
        assert!(check_systems(&parse_systems("lfmim,lfmim").unwrap()).is_err());
        assert!(check_systems(&parse_systems("lfmim,lfmin").unwrap()).is_err());
    }
}
