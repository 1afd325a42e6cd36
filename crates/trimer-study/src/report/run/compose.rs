//! Runs side by side on one page.

use super::evaluated::{self, EvaluatedRun};
use super::options::ReportOptions;
use super::part::{Part, SectionInfo};
use super::sections::{self, SECTIONS, section_ids};
use crate::error::{Result, StudyError};
use crate::files::{parent, readable_by_others};
use crate::observer::StudyObserver;
use serde_json::{Map, Value, json};
use std::path::Path;
use trimer_core::corpus::{Corpus, Split};
use trimer_core::error::nearest;
use trimer_core::stats::embed::TSNE_MAX;
use trimer_report::{Block, Callout, Column, Report, Section, Table};
use trimer_train::RunDir;

/// A run of a report, the corpus that it is evaluated on, and what it is called on the page.
#[derive(Debug, Clone)]
pub struct ReportedRun<'a> {
    /// The run.
    pub run: &'a RunDir,
    /// The corpus.
    pub corpus: &'a Corpus,
    /// The name.
    pub name: String,
}

/// Some runs on one page, and the numbers on it.
#[derive(Debug)]
pub struct RunReport {
    /// The page.
    pub page: Report,
    /// Its numbers as JSON.
    pub numbers: Value,
}

/// Refuses options that no report can have.
///
/// # Errors
/// Names the section that is none, or the number that is out of range.
pub fn check_options(options: &ReportOptions) -> Result<()> {
    let known = section_ids();
    for name in &options.without {
        if !known.contains(&name.as_str()) {
            let hint = match nearest(name, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("sections: {}", known.join(", ")),
            };
            let reason = format!("`{name}` is no section of a report");
            return Err(StudyError::refused(reason, hint));
        }
    }
    if options.points > TSNE_MAX {
        return Err(StudyError::Range {
            key: "points",
            value: options.points.to_string(),
            expected: format!("0 to {TSNE_MAX}"),
            hint: "the time for a map grows with the square of the points".into(),
        });
    }
    Ok(())
}

/// Refuses a run that cannot be shown on a split of a corpus, before anything is opened or written.
///
/// # Errors
/// When it is not trained to its end, or the split has no labels.
pub fn check_run(run: &RunDir, corpus: &Corpus, split: Split) -> Result<()> {
    evaluated::check(run, corpus, split)
}

/// Evaluates runs and puts them side by side on one page.
///
/// Where the test split is shown, note it with each run before (`RunDir::note_test_opened`). The
/// observer is told what is being computed.
///
/// # Errors
/// When a run cannot be evaluated, or an option is out of range.
///
/// ```no_run
/// use trimer_train::RunDir;
/// use trimer_study::Unwatched;
/// use trimer_study::report::run::{ReportOptions, ReportedRun, report};
///
/// let run = RunDir::open("runs/small-lfmim-1".as_ref())?;
/// let corpus = run.open_corpus()?;
/// let shown = ReportedRun { run: &run, corpus: &corpus, name: "LFMIM".into() };
/// let found = report(&[shown], &ReportOptions::default(), &mut Unwatched)?;
/// found.page.write("report.html".as_ref())?;
/// println!("{}", found.numbers["runs"][0]["heads"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn report(
    runs: &[ReportedRun<'_>],
    options: &ReportOptions,
    observer: &mut dyn StudyObserver,
) -> Result<RunReport> {
    check_options(options)?;
    let evaluated = runs
        .iter()
        .map(|r| EvaluatedRun::new(r.run, r.corpus, r.name.clone(), options))
        .collect::<Result<Vec<_>>>()?;
    compose(&evaluated, options, observer)
}

/// The page about some runs, and its numbers as JSON.
fn compose(
    runs: &[EvaluatedRun<'_>],
    options: &ReportOptions,
    observer: &mut dyn StudyObserver,
) -> Result<RunReport> {
    let mut report = Report::new(title(runs)).subtitle(subtitle(runs, options));
    let wanted = |id: &str| !options.without.iter().any(|w| w == id);
    let mut numbers: Vec<Map<String, Value>> = runs.iter().map(EvaluatedRun::about).collect();
    report.push(sections::summary::section(runs, options));
    if wanted("data") {
        for section in sections::data::sections(runs) {
            report.push(section);
        }
    }
    let mut left_out = Table::new("", [Column::text("section"), Column::text("reason")]);
    let mut n_left_out = 0;
    for info in SECTIONS {
        if !wanted(info.id) {
            continue;
        }
        observer.message(info.title);
        let parts = runs
            .iter()
            .map(|run| (info.make)(run, options))
            .collect::<Result<Vec<Part>>>()?;
        for (numbers, part) in numbers.iter_mut().zip(&parts) {
            let value = match part {
                Part::Shown(_, value) => value.clone(),
                Part::LeftOut(reason) => json!({ "left_out": reason }),
            };
            numbers.insert(info.id.to_owned(), value);
        }
        let (section, reasons) = join(info, runs, parts);
        if let Some(section) = section {
            report.push(section);
        }
        for reason in reasons {
            left_out.push([info.title.to_owned(), reason]);
            n_left_out += 1;
        }
    }
    if n_left_out > 0 {
        report.push(Section::new("Left out").table(left_out));
    }
    Ok(RunReport {
        page: report.footer(format!("trimer {}", env!("CARGO_PKG_VERSION"))),
        numbers: json!({ "split": options.split, "runs": numbers }),
    })
}

/// The section of all runs, where any of them has something to show, and why others have nothing.
fn join(
    info: &SectionInfo,
    runs: &[EvaluatedRun<'_>],
    parts: Vec<Part>,
) -> (Option<Section>, Vec<String>) {
    if parts.iter().all(|p| matches!(p, Part::LeftOut(_))) {
        let mut reasons: Vec<String> = Vec::new();
        for part in parts {
            if let Part::LeftOut(reason) = part
                && !reasons.contains(&reason)
            {
                reasons.push(reason);
            }
        }
        return (None, reasons);
    }
    let blocks = |part: Part| match part {
        Part::Shown(blocks, _) => blocks,
        Part::LeftOut(reason) => vec![Block::Callout(Callout::Info, format!("Left out: {reason}"))],
    };
    let mut section = Section::new(info.title);
    if !info.intro.is_empty() {
        section = section.paragraph(info.intro);
    }
    let mut parts: Vec<(String, Vec<Block>)> = runs
        .iter()
        .zip(parts)
        .map(|(run, part)| (run.name.clone(), blocks(part)))
        .collect();
    section = if parts.len() == 1 {
        section.blocks(parts.remove(0).1)
    } else {
        section.block(Block::Columns(parts))
    };
    (Some(section), Vec::new())
}

fn title(runs: &[EvaluatedRun<'_>]) -> String {
    match runs {
        [one] => format!("{} on {}", one.model(), one.corpus.info().name),
        many => format!("{} runs side by side", many.len()),
    }
}

fn subtitle(runs: &[EvaluatedRun<'_>], options: &ReportOptions) -> String {
    match runs {
        [one] => format!(
            "{}, evaluated on the {} split",
            one.run.config.model.info().title,
            options.split
        ),
        many => {
            let names: Vec<&str> = many.iter().map(|r| r.name.as_str()).collect();
            format!(
                "{}, evaluated on the {} split",
                names.join(", "),
                options.split
            )
        }
    }
}

/// Writes every figure of a page as SVG and its numbers as CSV into a directory, which appears when
/// all are whole, and names the files.
///
/// # Errors
/// When a file cannot be written.
pub fn write_figures(page: &Report, dir: &Path) -> Result<Vec<String>> {
    let fail = |error| StudyError::io("write", dir)(error);
    let part = tempfile::Builder::new()
        .prefix(".figures-")
        .tempdir_in(parent(dir))
        .map_err(fail)?;
    let files = page.write_figures(part.path())?;
    let part = part.keep();
    readable_by_others(&part);
    std::fs::rename(&part, dir).map_err(fail)?;
    Ok(files)
}
