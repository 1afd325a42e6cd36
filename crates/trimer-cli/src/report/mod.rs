//! Runs as one HTML page: every section is one file of [`sections`], and one line in its registry.

mod decisions;
mod judged;
mod sections;

pub(crate) use judged::{Judged, check};
pub(crate) use sections::section_ids;

use sections::{SECTIONS, SectionInfo};
use serde_json::{Map, Value, json};
use trimer_core::corpus::Split;
use trimer_nn::burn::tensor::Device;
use trimer_report::{Block, Callout, Cell, Column, Report, Section, Table};

/// What a report shows.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// The split that the runs are judged on.
    pub(crate) split: Split,
    /// Ids of sections that are not wanted.
    pub(crate) without: Vec<String>,
    /// So many utterances at most are drawn in a map of representations.
    pub(crate) points: usize,
    /// Which utterances these are, and the map's small noise, follow from it.
    pub(crate) seed: u64,
    /// Where to compute.
    pub(crate) device: Device,
}

impl Options {
    /// What `trimer report` shows unless told otherwise.
    pub(crate) fn on_test(device: &Device) -> Self {
        Self {
            split: Split::Test,
            without: Vec::new(),
            points: 600,
            seed: 0,
            device: device.clone(),
        }
    }
}

/// What a section has to say about one run.
pub(crate) enum Part {
    /// What to show, and the same as JSON.
    Shown(Vec<Block>, Value),
    /// Why there is nothing to show.
    LeftOut(String),
}

impl Part {
    fn left_out(reason: impl Into<String>) -> Self {
        Self::LeftOut(reason.into())
    }
}

/// The page about some runs, and its numbers as JSON.
///
/// `progress` is told what is being computed.
pub(crate) fn compose(
    runs: &[Judged<'_>],
    options: &Options,
    progress: &mut dyn FnMut(&str),
) -> anyhow::Result<(Report, Value)> {
    let mut report = Report::new(title(runs)).subtitle(subtitle(runs, options));
    let wanted = |id: &str| !options.without.iter().any(|w| w == id);
    let mut numbers: Vec<Map<String, Value>> = runs.iter().map(Judged::about).collect();
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
        progress(info.title);
        let parts = runs
            .iter()
            .map(|run| (info.make)(run, options))
            .collect::<anyhow::Result<Vec<Part>>>()?;
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
    Ok((
        report.footer(format!("trimer {}", env!("CARGO_PKG_VERSION"))),
        json!({ "split": options.split, "runs": numbers }),
    ))
}

/// The section of all runs, where any of them has something to show, and why others have nothing.
fn join(
    info: &SectionInfo,
    runs: &[Judged<'_>],
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

fn title(runs: &[Judged<'_>]) -> String {
    match runs {
        [one] => format!("{} on {}", one.model(), one.corpus.info().name),
        many => format!("{} runs side by side", many.len()),
    }
}

fn subtitle(runs: &[Judged<'_>], options: &Options) -> String {
    match runs {
        [one] => format!(
            "{}, judged on the {} split",
            one.run.config.model.info().title,
            options.split
        ),
        many => {
            let names: Vec<&str> = many.iter().map(|r| r.name.as_str()).collect();
            format!(
                "{}, judged on the {} split",
                names.join(", "),
                options.split
            )
        }
    }
}

/// A table's cell for a share.
fn share(value: f64) -> Cell {
    Cell::Number(100.0 * value)
}
