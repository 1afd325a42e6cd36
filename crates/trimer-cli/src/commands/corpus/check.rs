//! `trimer corpus check`: what is wrong with a corpus.

use crate::{Answer, ui};
use std::path::PathBuf;
use trimer_core::corpus::{CheckOptions, CheckReport, check_dir};

/// Arguments of `trimer corpus check`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The corpus directory
    corpus: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Answer> {
    let report = check_dir(&args.corpus, &CheckOptions::default())?;
    if args.json {
        ui::json(&report)?;
    } else {
        show_check(&report);
    }
    Ok(if report.is_sound() {
        Answer::Yes
    } else {
        Answer::No
    })
}

fn show_check(report: &CheckReport) {
    for (word, findings) in [("problem", &report.problems), ("warning", &report.warnings)] {
        for finding in findings {
            ui::data(&format!("{word}: {}", finding.message));
            if !finding.examples.is_empty() {
                let more = if finding.count > finding.examples.len() as u64 {
                    ", ..."
                } else {
                    ""
                };
                ui::data(&format!("  {}{more}", finding.examples.join(", ")));
            }
            if let Some(hint) = &finding.hint {
                ui::data(&format!("  hint: {hint}"));
            }
        }
    }
    for (head, classes) in &report.classes {
        ui::data(&super::class_table(*head, classes));
    }
    for d in &report.disagreement {
        ui::data(&format!(
            "{} and {} labels differ in {:.1} % of {} utterances",
            d.a,
            d.b,
            100.0 * d.rate,
            d.count
        ));
    }
    ui::data(&format!(
        "{} utterances examined: {} problem(s), {} warning(s)",
        report.utterances,
        report.problems.len(),
        report.warnings.len()
    ));
}
