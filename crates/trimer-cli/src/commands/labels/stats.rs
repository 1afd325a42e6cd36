//! `trimer labels stats`: how often labels of different modalities contradict each other.

use super::share;
use crate::{
    Answer,
    ui::{self, Hinted},
};
use std::{collections::BTreeMap, path::PathBuf};
use trimer_core::{
    Head, HeadMap,
    corpus::Corpus,
    labels::{self, LabelStats, StatsOptions, rows::Rows},
};
use trimer_study::labels::ConflictFile;
use trimer_study::report::labels as pages;
use trimer_study::text::table;

/// Arguments of `trimer labels stats`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A corpus directory, or a CSV or Parquet file with label columns
    source: PathBuf,
    /// Which column of a file holds which label, as in audio=VoiceVote; may be repeated
    #[arg(long = "column", value_name = "HEAD=NAME")]
    columns: Vec<String>,
    /// The classes of a file in order, others are refused; without it they are found and sorted
    #[arg(long, value_delimiter = ',', value_name = "A,B,...")]
    classes: Option<Vec<String>>,
    /// So many conflicting utterances are listed with --json
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    max_conflicts: usize,
    /// Write all conflicting utterances to this CSV file
    #[arg(long, value_name = "FILE")]
    conflicts: Option<PathBuf>,
    /// Write figures and tables to this HTML file
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Answer> {
    let options = StatsOptions {
        columns: parse_columns(&args.columns)?,
        classes: args.classes.clone(),
        max_conflicts: args.max_conflicts,
    };
    let mut list = args
        .conflicts
        .as_deref()
        .map(ConflictFile::create)
        .transpose()?;
    let mut on_conflict = |id: &str, labels: &HeadMap<Option<&str>>| match &mut list {
        Some(file) => file.write(id, labels),
        None => Ok(()),
    };
    let (name, found) = if args.source.is_dir() {
        let corpus = Corpus::open(&args.source)?;
        let found = labels::corpus_stats(&corpus, &options, &mut on_conflict)?;
        (corpus.info().name.clone(), found)
    } else {
        let mut rows = Rows::open(&args.source)?;
        let found = labels::table_stats(&mut rows, &options, &mut on_conflict)?;
        (args.source.display().to_string(), found)
    };
    if let Some(file) = list {
        file.finish()?;
    }
    if let Some(path) = &args.report {
        pages::labels(&name, &found).write(path)?;
        ui::note(&format!("figures in {}", path.display()));
    }
    if args.json {
        ui::json(&found)?;
    } else {
        show_stats(&found);
    }
    let listed = found.conflicts.len() as u64;
    if args.json && args.conflicts.is_none() && listed < found.conflicts_total {
        ui::warn(&format!(
            "{listed} of {} conflicting utterances are listed; `--conflicts FILE` writes all",
            found.conflicts_total
        ));
    }
    Ok(Answer::Yes)
}

fn parse_columns(given: &[String]) -> anyhow::Result<BTreeMap<Head, String>> {
    let mut columns = BTreeMap::new();
    for text in given {
        let parsed = text
            .split_once('=')
            .and_then(|(head, name)| Some((labels::parse_head(head)?, name)));
        let Some((head, name)) = parsed else {
            return Err(Hinted::new(
                format!("`--column {text}` names no label column"),
                "expected `text=`, `audio=`, `vision=` or `multimodal=` and the name of a column",
            )
            .into());
        };
        columns.insert(head, name.to_owned());
    }
    Ok(columns)
}

fn show_stats(found: &LabelStats) {
    for (head, column) in &found.distributions {
        let rows: Vec<Vec<String>> = column
            .classes
            .iter()
            .map(|c| vec![c.class.clone(), c.count.to_string(), share(c.share, c.ci)])
            .collect();
        let title = format!("{head} label");
        ui::data(&table(&[&title, "utterances", "share"], &rows));
    }
    let pairs = &found.inconsistency.pairs;
    if !pairs.is_empty() {
        let rows: Vec<Vec<String>> = pairs
            .iter()
            .map(|p| {
                vec![
                    format!("{} and {}", p.a, p.b),
                    share(p.value, p.ci),
                    p.n.to_string(),
                ]
            })
            .collect();
        ui::data(&table(&["Incon", "labels differ", "utterances"], &rows));
    }
    let per_class = &found.inconsistency.per_class;
    if !per_class.is_empty() {
        let rows: Vec<Vec<String>> = per_class
            .iter()
            .map(|c| {
                let n = c.n.to_string();
                vec![
                    c.modality.to_string(),
                    c.class.clone(),
                    share(c.value, c.ci),
                    n,
                ]
            })
            .collect();
        ui::data(&table(
            &[
                "modality",
                "multimodal label",
                "label differs",
                "utterances",
            ],
            &rows,
        ));
    }
    ui::data(&format!(
        "{} utterances, {} with labels that differ",
        found.n, found.conflicts_total
    ));
}
