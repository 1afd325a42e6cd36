//! What plug-ins did: per step in a file of its own, as means in the epoch's report.

use crate::error::Result;
use crate::json_lines;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use trimer_core::io::write_atomic;

/// File of what plug-ins did in each step, one JSON object per line.
pub const PLUGIN_LOG: &str = "plugins.jsonl";

/// By plug-in, quantity and modality (or `shared`).
pub type Means = BTreeMap<String, BTreeMap<String, BTreeMap<String, f64>>>;

/// One step: a line of `plugins.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepLine {
    /// From 1.
    pub epoch: usize,
    /// From 1 within the epoch.
    pub step: usize,
    /// Steps done in all, this one included.
    pub global_step: u64,
    /// Seconds since 1970.
    pub wall_time: f64,
    /// What each plug-in noted.
    pub plugins: Means,
}

/// Where a plug-in writes what it did in a step.
#[derive(Debug)]
pub struct Notes<'a> {
    pub(super) plugin: &'static str,
    pub(super) means: &'a mut Means,
}

impl Notes<'_> {
    /// Notes a value of `who`, a modality or `shared`. What is not finite is left out.
    pub fn put(&mut self, quantity: &str, who: &str, value: f64) {
        if value.is_finite() {
            let plugin = self.means.entry(self.plugin.to_owned()).or_default();
            let quantity = plugin.entry(quantity.to_owned()).or_default();
            quantity.insert(who.to_owned(), value);
        }
    }
}

/// Sums over the steps of an epoch, in their order.
#[derive(Debug, Default)]
pub(super) struct Sums(BTreeMap<[String; 3], (f64, u64)>);

impl Sums {
    pub(super) fn add(&mut self, line: &StepLine) {
        for (plugin, quantities) in &line.plugins {
            for (quantity, values) in quantities {
                for (who, value) in values {
                    let key = [plugin.clone(), quantity.clone(), who.clone()];
                    let (sum, n) = self.0.entry(key).or_default();
                    *sum += value;
                    *n += 1;
                }
            }
        }
    }

    pub(super) fn means(&self) -> Means {
        let mut all = Means::new();
        for ([plugin, quantity, who], (sum, n)) in &self.0 {
            let plugin = all.entry(plugin.clone()).or_default();
            let quantity = plugin.entry(quantity.clone()).or_default();
            quantity.insert(who.clone(), sum / *n as f64);
        }
        all
    }
}

/// The lines of a run's `plugins.jsonl`, none if there is no such file; a last line that was cut off is
/// left out.
///
/// # Errors
/// When the file, or a line that was not cut off, cannot be read.
pub fn read_plugin_log(path: &Path) -> Result<Vec<StepLine>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    json_lines::read_json_lines(path)
}

/// Adds lines at the end of the file.
pub(super) fn append(path: &Path, lines: &[StepLine]) -> Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    json_lines::append(path, text(lines).as_bytes())
}

/// Writes the file anew.
pub(super) fn rewrite(path: &Path, lines: &[StepLine]) -> Result<()> {
    Ok(write_atomic(path, text(lines).as_bytes())?)
}

fn text(lines: &[StepLine]) -> String {
    let mut text = String::new();
    for line in lines {
        text.push_str(&serde_json::to_string(line).unwrap_or_default());
        text.push('\n');
    }
    text
}
