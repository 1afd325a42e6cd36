//! Recipes: files of settings that differ from the defaults.

use crate::error::{Result, StudyError};
use std::path::Path;
use trimer_nn::config::parse_set;
use trimer_train::Overrides;

/// Reads a recipe file.
///
/// # Errors
/// Names the file and what is wrong in it.
pub fn read(file: &Path) -> Result<Overrides> {
    let text = std::fs::read_to_string(file).map_err(StudyError::io("read the recipe", file))?;
    parse(&text).map_err(StudyError::in_file("recipe", file))
}

/// Parses a recipe's text.
///
/// # Errors
/// Where it is no TOML, or has a section that nothing reads.
pub fn parse(text: &str) -> Result<Overrides> {
    let table: toml::Table = toml::from_str(text)?;
    Ok(Overrides::from_table(table)?)
}

/// Settings as `train.lr=1e-3`, one key each; later ones win.
///
/// # Errors
/// Where one has no `=`, or a section that nothing reads.
///
/// ```
/// let overrides = trimer_study::recipe::parse_sets(&["train.epochs=3".to_owned()])?;
/// assert_eq!(overrides.train["epochs"].as_integer(), Some(3));
/// # Ok::<(), trimer_study::StudyError>(())
/// ```
pub fn parse_sets(sets: &[String]) -> Result<Overrides> {
    let mut table = toml::Table::new();
    for set in sets {
        parse_set(set, &mut table)?;
    }
    Ok(Overrides::from_table(table)?)
}
