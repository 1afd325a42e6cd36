//! What the registry entry and the configuration promise.

use super::report::{Fault, Tally, ensure};
use super::subject::Subject;
use trimer_nn::error::NnError;
use trimer_nn::models::{ModelConfig, model_info};

const SURPLUS: &str = "no_such_key";
const STRICT: &str =
    "`#[serde(deny_unknown_fields)]` on the configuration and on every struct in it";

/// The registry entry is complete and leads back to itself, and no preset or modality is named twice.
pub(super) fn entry(subject: &Subject, tally: &mut Tally) -> Result<(), Fault> {
    const LOOK: &str = "`ModelInfo`";
    let info = subject.info();
    let found = model_info(info.id);
    ensure!(
        found.is_ok_and(|found| std::ptr::eq(found, info)),
        LOOK,
        "`{}` leads to another entry of the registry",
        info.id
    );
    ensure!(
        subject.config().info().id == info.id,
        "`ModelConfigOf::INFO`",
        "its configuration is that of `{}`",
        subject.config().info().id
    );
    let texts = [("title", info.title), ("summary", info.summary)];
    for (field, text) in texts {
        ensure!(!text.trim().is_empty(), LOOK, "`{field}` is empty");
    }
    let mut presets = info.presets.to_vec();
    presets.sort_unstable();
    presets.dedup();
    ensure!(
        presets.len() == info.presets.len(),
        LOOK,
        "a preset is named twice: {:?}",
        info.presets
    );
    ensure!(
        subject.modalities().len() == info.modalities.len(),
        LOOK,
        "a modality is named twice: {}",
        info.modalities_in_words()
    );
    tally.held();
    Ok(())
}

/// The configuration written to TOML and read again is the same, and a key that nothing reads is refused at
/// every depth.
pub(super) fn settings(subject: &Subject, tally: &mut Tally) -> Result<(), Fault> {
    const LOOK: &str = "`Serialize` and `Deserialize` of the configuration";
    let config = subject.config();
    let text = toml::to_string(config)
        .map_err(|e| Fault::new(LOOK, format!("it cannot be written: {e}")))?;
    let back: ModelConfig = toml::from_str(&text)
        .map_err(|e| Fault::new(LOOK, format!("it cannot be read again: {e}")))?;
    ensure!(
        back == *config,
        LOOK,
        "it was read again as {back:?}, written from {config:?}"
    );
    let table = toml::Table::try_from(config)
        .map_err(|e| Fault::new(LOOK, format!("it is no table: {e}")))?;
    for (place, surplus) in with_a_surplus_key(&table) {
        let read = toml::Value::Table(surplus).try_into::<ModelConfig>();
        refused(&place, read.map_err(|e| e.to_string()))?;
        tally.held();
    }
    let table = toml::Table::from_iter([(SURPLUS.to_owned(), 1.into())]);
    let resolved = ModelConfig::resolve(subject.info().id, None, &table);
    ensure!(
        matches!(resolved, Err(NnError::UnknownKey { .. })),
        "`Serialize` of the configuration: every key must be a field",
        "a recipe with `model.{SURPLUS}` is not refused as having an unknown key"
    );
    Ok(())
}

/// The table with a key that nothing reads, once in each table at whatever depth, and where it was put.
pub(super) fn with_a_surplus_key(table: &toml::Table) -> Vec<(String, toml::Table)> {
    let mut first = table.clone();
    first.insert(SURPLUS.into(), 1.into());
    let mut all = vec![(SURPLUS.to_owned(), first)];
    for (key, value) in table {
        let toml::Value::Table(inner) = value else {
            continue;
        };
        for (place, changed) in with_a_surplus_key(inner) {
            let mut outer = table.clone();
            outer.insert(key.clone(), changed.into());
            all.push((format!("{key}.{place}"), outer));
        }
    }
    all
}

/// Demands that what has a surplus key at `place` was not read, and that the message names the key.
pub(super) fn refused<T>(place: &str, read: Result<T, String>) -> Result<(), Fault> {
    match read {
        Ok(_) => Err(Fault::new(
            STRICT,
            format!("the key `{place}`, which nothing reads, is taken without a word"),
        )),
        Err(message) => {
            ensure!(
                message.contains(SURPLUS),
                STRICT,
                "with the surplus key `{place}` the message does not name it: {message}"
            );
            Ok(())
        }
    }
}
