//! Which split was used for what, and every setting.

use crate::error::Result;
use crate::report::run::evaluated::EvaluatedRun;
use crate::report::run::options::ReportOptions;
use crate::report::run::part::{Part, SectionInfo};
use serde_json::json;
use trimer_report::{Block, Callout, Cell, Column, Table};
use trimer_train::run::Protocol;

pub(super) const INFO: SectionInfo = SectionInfo {
    id: "protocol",
    title: "Protocol",
    intro: "",
    make,
};

fn make(run: &EvaluatedRun<'_>, options: &ReportOptions) -> Result<Part> {
    let p = &run.protocol;
    let mut blocks = Vec::new();
    if let Some(warning) = p.warning_banner() {
        blocks.push(Block::Callout(Callout::Warning, warning));
    }
    let mut facts = Table::new("", [Column::text(""), Column::text("")]);
    let mut fact = |name: &str, value: String| facts.push([Cell::from(name), Cell::from(value)]);
    fact(
        "fitted on",
        format!("{} (parameters and normalisation)", p.fitted_on),
    );
    fact(
        "selected on",
        format!("{}, by {}", p.selected_on, p.selected_by),
    );
    let epochs: Vec<String> = p
        .selected_epochs
        .iter()
        .map(|(seed, epoch)| format!("{epoch} (seed {seed})"))
        .collect();
    if !epochs.is_empty() {
        fact("selected epoch", epochs.join(", "));
    }
    fact(
        "evaluated on",
        format!("{}, {} utterances", options.split, run.rows().len()),
    );
    fact("test was opened", test_opened(p));
    if let Some(tuning) = &p.tuning {
        let tuning = serde_json::to_string(tuning)?;
        fact("settings found by", tuning);
    }
    let seeds: Vec<String> = run.run.config.seeds.iter().map(u64::to_string).collect();
    fact("seeds", seeds.join(", "));
    let config = &run.run.config;
    if run.corpus.fingerprint() != config.corpus_fingerprint {
        blocks.push(Block::Callout(
            Callout::Warning,
            format!(
                "The run was trained on `{}`; it is evaluated here on another corpus, `{}`.",
                config.corpus_name,
                run.corpus.info().name
            ),
        ));
    }
    blocks.push(Block::Table(facts));
    blocks.push(Block::Details(
        "All settings (config.toml)".into(),
        toml::to_string(config)?,
    ));
    let numbers = json!({
        "fitted_on": p.fitted_on,
        "selected_on": p.selected_on,
        "selected_by": p.selected_by,
        "selected_epochs": p.selected_epochs,
        "test_opened": p.test_opened.len(),
    });
    Ok(Part::Shown(blocks, numbers))
}

/// By which commands test was opened, and how often.
fn test_opened(p: &Protocol) -> String {
    // how often a page was written is of no interest on the page, which stays the same for it
    let by: Vec<&str> = p.test_opened.iter().map(|o| o.by.as_str()).collect();
    let mut others: Vec<(&str, usize)> = Vec::new();
    for name in by.iter().copied().filter(|name| *name != "report") {
        match others.iter_mut().find(|(known, _)| *known == name) {
            Some((_, n)) => *n += 1,
            None => others.push((name, 1)),
        }
    }
    let opened: Vec<String> = others
        .iter()
        .map(|(name, n)| match n {
            1 => format!("once by {name}"),
            n => format!("{n} times by {name}"),
        })
        .chain(by.contains(&"report").then(|| "by report".to_owned()))
        .collect();
    if opened.is_empty() {
        "never".into()
    } else {
        format!("{}; when is in protocol.json", opened.join(", "))
    }
}
