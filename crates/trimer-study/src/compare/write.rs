//! A comparison as JSON, as HTML, and as files.

use super::report::ComparisonReport;
use crate::error::{Result, StudyError};
use std::path::Path;

impl ComparisonReport {
    /// All numbers as JSON, as in `results.json`.
    ///
    /// # Errors
    /// When a value cannot be written as JSON.
    pub fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// The comparison as one page of HTML that needs no other file.
    pub fn to_html(&self) -> String {
        self.page().render()
    }

    /// Writes `results.json`, `.csv`, `.md`, `.tex` and `report.html` into a directory, which is made
    /// if need be.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, out: &Path) -> Result<()> {
        std::fs::create_dir_all(out).map_err(StudyError::io("create", out))?;
        for (name, text) in [
            ("results.json", self.to_json()?),
            ("results.csv", self.to_csv()),
            ("results.md", self.to_markdown()),
            ("results.tex", self.to_latex()),
        ] {
            trimer_core::io::write_atomic(&out.join(name), text.as_bytes())?;
        }
        self.page().write(&out.join("report.html"))?;
        Ok(())
    }
}
