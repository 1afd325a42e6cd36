//! A comparison of runs that exist already.

use super::evaluate;
use super::options::{CompareOptions, SystemRuns};
use super::report::ComparisonReport;
use super::systems::System;
use crate::error::{Result, StudyError};
use trimer_core::corpus::{Corpus, Split};
use trimer_train::RunDir;

/// Compares finished runs, one system each, all trained on the same corpus. Each of them notes that
/// test was opened.
///
/// # Errors
/// When the runs were trained on different corpora, one selected on test without
/// [`CompareOptions::select_on`] saying so, or predictions cannot be evaluated.
pub fn compare_runs(
    runs: Vec<RunDir>,
    corpus: &Corpus,
    options: &CompareOptions,
) -> Result<ComparisonReport> {
    let mut systems: Vec<SystemRuns> = Vec::new();
    for run in runs {
        if let Some(first) = systems.first().map(|s| &s.runs[0])
            && first.config.corpus_fingerprint != run.config.corpus_fingerprint
        {
            return Err(StudyError::refused(
                format!(
                    "`{}` was trained on another corpus than `{}`",
                    run.path.display(),
                    first.path.display()
                ),
                "compare runs of one corpus; folds are compared with `models` and several `corpus=DIR`",
            ));
        }
        let model = run.config.model.info().id;
        let base = run.path.file_name().map_or_else(
            || model.to_owned(),
            |name| name.to_string_lossy().into_owned(),
        );
        let name = if systems.iter().any(|s| s.system.name == base) {
            run.path.display().to_string()
        } else {
            base
        };
        let system = System {
            plugins: run.config.train.plugins.clone(),
            ..System::new(model).named(name)
        };
        systems.push(SystemRuns {
            system,
            runs: vec![run],
        });
    }
    evaluate::check_selection(&systems, options.select_on, options.split)?;
    if options.split == Split::Test {
        for run in systems.iter().flat_map(|s| &s.runs) {
            run.note_test_opened("compare")?;
        }
    }
    evaluate::evaluate(&systems, &[corpus], options)
}
