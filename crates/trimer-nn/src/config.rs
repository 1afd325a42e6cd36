//! Configuration: defaults in code, overrides from a recipe and the command line.

use crate::error::{NnError, Result};
use serde::{Deserialize, Serialize};
use trimer_core::error::nearest;

/// A configuration with the `id` of its kind in front, as it stands in files.
#[derive(Debug, Serialize)]
pub struct Tagged<'a, C> {
    /// Which registered model or plug-in.
    pub id: &'static str,
    /// Its own keys.
    #[serde(flatten)]
    pub config: &'a C,
}

/// Takes the `id` of a [`Tagged`] table out of it.
///
/// # Errors
/// In words, when there is none, or when it is no text.
pub fn take_id(table: &mut toml::Table) -> std::result::Result<String, String> {
    match table.remove("id") {
        Some(toml::Value::String(id)) => Ok(id),
        Some(other) => Err(format!(
            "`id` is {} `{other}`, expected a name",
            other.type_str()
        )),
        None => Err("missing field `id`".into()),
    }
}

/// Reads a configuration from its keys.
///
/// # Errors
/// The parser's words.
pub fn read_table<C: for<'de> Deserialize<'de>>(
    table: toml::Table,
) -> std::result::Result<C, String> {
    toml::Value::Table(table)
        .try_into()
        .map_err(|error: toml::de::Error| error.message().to_owned())
}

/// `base` with the keys of `overrides` replaced.
///
/// # Errors
/// A key that `base` does not have, with the nearest known one; a value of the wrong type.
pub fn overlay<T: Serialize + for<'de> Deserialize<'de>>(
    section: &str,
    base: &T,
    overrides: &toml::Table,
) -> Result<T> {
    let type_error = |key: &str, reason: String| NnError::ConfigType {
        key: key.to_owned(),
        reason,
    };
    let mut table = toml::Table::try_from(base).map_err(|e| type_error(section, e.to_string()))?;
    merge(section, &mut table, overrides)?;
    read(&table).map_err(|reason| {
        // The parser knows the whole section only: try the overrides one by one.
        let guilty = leaves(section, overrides)
            .into_iter()
            .find_map(|(key, one)| {
                let mut table = toml::Table::try_from(base).ok()?;
                merge(section, &mut table, &one).ok()?;
                Some((key, read::<T>(&table).err()?))
            });
        let (key, reason) = guilty.unwrap_or_else(|| (section.to_owned(), reason));
        type_error(&key, in_users_words(&reason))
    })
}

fn read<T: for<'de> Deserialize<'de>>(table: &toml::Table) -> std::result::Result<T, String> {
    let text = toml::to_string(table).map_err(|e| e.to_string())?;
    toml::from_str(&text).map_err(|e| e.message().to_owned())
}

/// Every value of nested tables, as its dotted name and a table that holds nothing else.
fn leaves(prefix: &str, table: &toml::Table) -> Vec<(String, toml::Table)> {
    let mut all = Vec::new();
    for (name, value) in table {
        let key = format!("{prefix}.{name}");
        let wrap = |value: toml::Value| toml::Table::from_iter([(name.clone(), value)]);
        match value {
            toml::Value::Table(inner) => all.extend(
                leaves(&key, inner)
                    .into_iter()
                    .map(|(key, one)| (key, wrap(toml::Value::Table(one)))),
            ),
            other => all.push((key, wrap(other.clone()))),
        }
    }
    all
}

/// The parser's message without the names of Rust's types.
fn in_users_words(message: &str) -> String {
    message
        .replace("expected usize", "expected a whole number from 0")
        .replace("expected u64", "expected a whole number from 0")
}

fn merge(section: &str, base: &mut toml::Table, overrides: &toml::Table) -> Result<()> {
    for (name, value) in overrides {
        let key = format!("{section}.{name}");
        let Some(slot) = base.get_mut(name) else {
            let known: Vec<_> = base.keys().map(String::as_str).collect();
            let known = match nearest(name, known.iter().copied()) {
                Some(near) => format!("did you mean `{section}.{near}`?"),
                None => format!("known keys of `{section}`: {}", known.join(", ")),
            };
            return Err(NnError::UnknownKey { key, known });
        };
        match (slot, value) {
            (toml::Value::Table(inner), toml::Value::Table(over)) => merge(&key, inner, over)?,
            (slot, value) => *slot = fit(&key, slot, value)?,
        }
    }
    Ok(())
}

/// `value` as the type of `slot`: an integer may stand for a float.
fn fit(key: &str, slot: &toml::Value, value: &toml::Value) -> Result<toml::Value> {
    match (slot, value) {
        (toml::Value::Float(_), toml::Value::Integer(i)) => Ok(toml::Value::Float(*i as f64)),
        _ if slot.same_type(value) => Ok(value.clone()),
        _ => Err(NnError::ConfigType {
            key: key.to_owned(),
            reason: format!(
                "expected {}, found {} `{value}`",
                slot.type_str(),
                value.type_str()
            ),
        }),
    }
}

/// Parses `key=value` of the command line into nested tables; `a.b=1` becomes `{a: {b: 1}}`.
///
/// A value that is no TOML literal counts as a string, so that `preset=paper` needs no quotes.
///
/// # Errors
/// When there is no `=` or no key.
pub fn parse_set(text: &str, into: &mut toml::Table) -> Result<()> {
    let malformed = || NnError::ConfigType {
        key: text.to_owned(),
        reason: "expected `key=value`, for instance `train.lr=1e-3`".into(),
    };
    let (path, value) = text.split_once('=').ok_or_else(malformed)?;
    let value = toml::from_str::<toml::Table>(&format!("v = {value}"))
        .ok()
        .and_then(|mut t| t.remove("v"))
        .unwrap_or_else(|| toml::Value::String(value.to_owned()));
    let mut parts: Vec<&str> = path.trim().split('.').collect();
    let last = parts
        .pop()
        .filter(|p| !p.is_empty())
        .ok_or_else(malformed)?;
    let mut table = into;
    for part in parts {
        let entry = table
            .entry(part)
            .or_insert_with(|| toml::Value::Table(toml::Table::new()));
        table = entry.as_table_mut().ok_or_else(malformed)?;
    }
    table.insert(last.to_owned(), value);
    Ok(())
}

/// Refuses a number outside `low..=high`.
///
/// # Errors
/// Names the key, the value and the range.
pub fn check_range(key: &str, value: f64, low: f64, high: f64) -> Result<()> {
    if value.is_finite() && value >= low && value <= high {
        return Ok(());
    }
    let expected = if high >= f64::from(u32::MAX) {
        format!("at least {low}")
    } else {
        format!("{low} to {high}")
    };
    Err(NnError::ConfigRange {
        key: key.to_owned(),
        value: value.to_string(),
        expected,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Toy {
        lr: f64,
        epochs: usize,
    }

    fn table(sets: &[&str]) -> toml::Table {
        let mut t = toml::Table::new();
        for s in sets {
            parse_set(s, &mut t).unwrap();
        }
        t
    }

    #[test]
    fn overrides_replace_defaults_and_integers_serve_as_floats() {
        let toy: Toy = overlay("train", &Toy { lr: 0.1, epochs: 2 }, &table(&["lr=1"])).unwrap();
        assert_eq!((toy.lr, toy.epochs), (1.0, 2));
    }

    #[test]
    fn an_unknown_key_names_the_nearest_known_one() {
        let e = overlay("train", &Toy { lr: 0.1, epochs: 2 }, &table(&["epohcs=1"]))
            .err()
            .unwrap();
        let NnError::UnknownKey { key, known } = e else {
            panic!("{e}")
        };
        assert_eq!(
            (key.as_str(), known.as_str()),
            ("train.epohcs", "did you mean `train.epochs`?")
        );
    }

    #[test]
    fn a_value_that_the_type_refuses_is_named() {
        let sets = table(&["lr=1", "epochs=-1"]);
        let e = overlay("train", &Toy { lr: 0.1, epochs: 2 }, &sets).err();
        let Some(NnError::ConfigType { key, reason }) = e else {
            panic!("{e:?}")
        };
        assert_eq!(key, "train.epochs");
        assert_eq!(
            reason,
            "invalid value: integer `-1`, expected a whole number from 0"
        );
    }

    #[test]
    fn a_value_of_another_type_is_refused() {
        assert!(
            overlay(
                "train",
                &Toy { lr: 0.1, epochs: 2 },
                &table(&["epochs=many"])
            )
            .is_err()
        );
    }
}
