//! `trimer labels aggregate`: annotators' votes to labels.

use super::share;
use crate::{
    Answer,
    ui::{self, Hinted},
};
use anyhow::Context as _;
use serde::Serialize;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::{self, File},
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
};
use trimer_core::{
    Head,
    corpus::label_column,
    io::csv_field,
    labels::{self, Aggregation, Agreement, Expected, RuleOptions, StateCounts, Votes},
    stats::BootstrapOptions,
    store::columns::{Column, write_columns},
};

/// Arguments of `trimer labels aggregate`.
#[derive(Debug, clap::Args)]
#[command(after_help = known_rules())]
pub(crate) struct Args {
    /// A CSV or Parquet file of votes
    votes: PathBuf,
    /// How the votes are written down, one of those below
    #[arg(long, default_value = "votes")]
    format: String,
    /// How votes become a label, one of those below
    #[arg(long, default_value = "lfmim")]
    rule: String,
    /// The leading class must have more than this share (majority, dawid_skene)
    #[arg(long, default_value_t = 0.5, value_name = "SHARE")]
    threshold: f64,
    /// Fewer votes are work to do (majority, dawid_skene)
    #[arg(long, default_value_t = 1, value_name = "N")]
    min_votes: u32,
    /// The classes in order; others are refused
    #[arg(long, value_delimiter = ',', value_name = "A,B,...")]
    classes: Option<Vec<String>>,
    /// The annotators; others are refused
    #[arg(long, value_delimiter = ',', value_name = "A,B,...")]
    annotators: Option<Vec<String>>,
    /// Keep only utterances with a label in every column, as the paper of LFMIM does
    #[arg(long)]
    complete: bool,
    /// Write labels, soft labels, open votes and a summary into this new directory
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Write labels and soft labels as Parquet instead of CSV
    #[arg(long)]
    parquet: bool,
    /// Resamples behind the intervals of the agreement
    #[arg(long, default_value_t = 1000, value_name = "N")]
    resamples: usize,
    /// Print JSON; without --out it holds the labels too
    #[arg(long)]
    json: bool,
}

fn known_rules() -> String {
    let mut text = String::from("Formats of votes:");
    for format in labels::FORMATS {
        let _ = write!(text, "\n  {:12} {}", format.id(), format.layout());
    }
    text.push_str("\n\nRules:");
    for rule in labels::RULES {
        let _ = write!(text, "\n  {:12} {}", rule.id(), rule.summary());
    }
    text
}

pub(super) fn run(args: &Args) -> anyhow::Result<Answer> {
    if let Some(out) = &args.out
        && out.exists()
    {
        return Err(Hinted::new(
            format!("`{}` exists already", out.display()),
            "choose another directory, or remove this one first",
        )
        .into());
    }
    let expected = Expected {
        classes: args.classes.clone(),
        annotators: args.annotators.clone(),
    };
    let options = RuleOptions {
        threshold: args.threshold,
        min_votes: args.min_votes,
    };
    options.check()?;
    let votes = labels::read_votes(&args.votes, &args.format, &expected)?;
    let bootstrap = BootstrapOptions {
        n_resamples: args.resamples,
        ..BootstrapOptions::default()
    };
    let found = labels::aggregate(&votes, &args.rule, &options, &bootstrap)?;
    let summary = summary(&votes, &found);
    if let Some(out) = &args.out {
        write_results(out, args, &votes, &found, &summary)?;
        ui::note(&format!("labels in {}", out.display()));
    }
    if args.json {
        let labels = args.out.is_none().then(|| decisions(&votes, &found));
        ui::json(&Summary { labels, ..summary })?;
    } else {
        show_aggregation(&votes, &found);
    }
    Ok(Answer::Yes)
}

/// What is worth keeping beside the labels.
#[derive(Debug, Serialize)]
struct Summary<'a> {
    rule: &'static str,
    utterances: usize,
    /// Utterances that have a label in every column.
    complete: usize,
    votes: usize,
    annotators: usize,
    classes: &'a [String],
    states: BTreeMap<Head, StateCounts>,
    agreement: BTreeMap<Head, &'a Agreement>,
    todo: Vec<Todo<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<Vec<Value>>,
}

/// Votes that somebody still has to give.
#[derive(Debug, Serialize)]
struct Todo<'a> {
    id: &'a str,
    modality: Head,
    state: &'static str,
    votes: usize,
    missing_votes: u32,
}

fn summary<'a>(votes: &'a Votes, found: &'a Aggregation) -> Summary<'a> {
    let columns = || {
        let columns = found.columns.iter();
        columns.filter_map(|(h, c)| Some((h, c.as_ref()?)))
    };
    let utterances = votes.utterances.len();
    Summary {
        rule: found.rule,
        utterances,
        complete: (0..utterances).filter(|k| found.is_complete(*k)).count(),
        votes: votes.n_votes(),
        annotators: votes.annotators.len(),
        classes: &votes.classes,
        states: columns().map(|(h, c)| (h, c.states)).collect(),
        agreement: columns().map(|(h, c)| (h, &c.agreement)).collect(),
        todo: todo(votes, found),
        labels: None,
    }
}

fn todo<'a>(votes: &'a Votes, found: &Aggregation) -> Vec<Todo<'a>> {
    let mut list = Vec::new();
    for (head, column) in found.columns.iter() {
        let decisions = column.iter().flat_map(|c| &c.decisions);
        for (ballot, decision) in votes.columns.get(head).iter().zip(decisions) {
            let missing_votes = decision.verdict.missing_votes();
            if missing_votes > 0 {
                list.push(Todo {
                    id: &votes.utterances[ballot.utterance as usize],
                    modality: head,
                    state: decision.verdict.state(),
                    votes: ballot.votes.len(),
                    missing_votes,
                });
            }
        }
    }
    list
}

fn decisions(votes: &Votes, found: &Aggregation) -> Vec<Value> {
    let mut list = Vec::new();
    for (head, column) in found.columns.iter() {
        let Some(column) = column else { continue };
        for (ballot, decision) in votes.columns.get(head).iter().zip(&column.decisions) {
            let soft: serde_json::Map<String, Value> = votes
                .classes
                .iter()
                .zip(&decision.soft)
                .map(|(class, p)| (class.clone(), json!(p)))
                .collect();
            list.push(json!({
                "id": votes.utterances[ballot.utterance as usize],
                "modality": head,
                "state": decision.verdict.state(),
                "label": decision.verdict.label().map(|k| &votes.classes[k as usize]),
                "votes": ballot.votes.len(),
                "soft": soft,
            }));
        }
    }
    list
}

fn show_aggregation(votes: &Votes, found: &Aggregation) {
    let columns = || {
        found
            .columns
            .iter()
            .filter_map(|(h, c)| Some((h, c.as_ref()?)))
    };
    let rows: Vec<Vec<String>> = columns()
        .map(|(head, c)| {
            let s = &c.states;
            let n = [
                s.accepted,
                s.discarded,
                s.tie,
                s.below_threshold,
                s.needs_fourth_vote,
                s.needs_votes,
            ];
            std::iter::once(head.to_string())
                .chain(n.map(|n| n.to_string()))
                .collect()
        })
        .collect();
    ui::data(&ui::table(
        &[
            "modality",
            "accepted",
            "discarded",
            "tie",
            "below threshold",
            "needs fourth vote",
            "needs votes",
        ],
        &rows,
    ));
    let mut rows = Vec::new();
    for (head, c) in columns() {
        let a = &c.agreement;
        let estimate = |e: &labels::Estimate| share(e.value, e.ci);
        let row =
            |class: &str, kappa, alpha| vec![head.to_string(), class.to_owned(), kappa, alpha];
        rows.push(row(
            "all",
            estimate(&a.fleiss_kappa),
            estimate(&a.krippendorff_alpha),
        ));
        for class in &a.per_class {
            let (kappa, alpha) = (&class.fleiss_kappa, &class.krippendorff_alpha);
            rows.push(row(&class.class, estimate(kappa), estimate(alpha)));
        }
    }
    ui::data(&ui::table(
        &["modality", "class", "Fleiss' kappa", "Krippendorff's alpha"],
        &rows,
    ));
    let complete = (0..votes.utterances.len())
        .filter(|k| found.is_complete(*k))
        .count();
    ui::data(&format!(
        "{} votes on {} utterances; rule {}: {complete} utterances have every label, {} votes are still needed",
        votes.n_votes(),
        votes.utterances.len(),
        found.rule,
        columns()
            .flat_map(|(_, c)| &c.decisions)
            .map(|d| u64::from(d.verdict.missing_votes()))
            .sum::<u64>()
    ));
}

/// Writes everything to a sibling directory, which then takes its name.
fn write_results(
    out: &Path,
    args: &Args,
    votes: &Votes,
    found: &Aggregation,
    summary: &Summary<'_>,
) -> anyhow::Result<()> {
    let parent = out
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let context = || format!("cannot write `{}`", out.display());
    fs::create_dir_all(parent).with_context(context)?;
    let part = tempfile::Builder::new()
        .prefix(".labels-")
        .tempdir_in(parent)
        .with_context(context)?;
    let tables = [
        ("labels", hard_columns(votes, found, args.complete)),
        ("soft", soft_columns(votes, found)),
    ];
    for (name, columns) in &tables {
        if args.parquet {
            let file = File::create(part.path().join(format!("{name}.parquet")))?;
            write_columns(&file, name, columns)
                .map_err(anyhow::Error::msg)
                .with_context(context)?;
        } else {
            write_csv(&part.path().join(format!("{name}.csv")), columns).with_context(context)?;
        }
    }
    let mut open =
        BufWriter::new(File::create(part.path().join("todo.csv")).with_context(context)?);
    writeln!(open, "id,modality,state,votes,missing_votes")?;
    for row in &summary.todo {
        let (id, n, missing) = (csv_field(row.id), row.votes, row.missing_votes);
        writeln!(open, "{id},{},{},{n},{missing}", row.modality, row.state)?;
    }
    open.flush()?;
    fs::write(
        part.path().join("summary.json"),
        serde_json::to_string_pretty(summary)?,
    )?;
    let part = part.keep();
    ui::readable_by_others(&part);
    fs::rename(&part, out).with_context(context)?;
    Ok(())
}

/// One row per utterance, with the columns of a folder's manifest.
fn hard_columns(votes: &Votes, found: &Aggregation, complete: bool) -> Vec<(String, Column)> {
    let rows: Vec<usize> = (0..votes.utterances.len())
        .filter(|k| !complete || found.is_complete(*k))
        .collect();
    let ids = Column::text(rows.iter().map(|k| Some(votes.utterances[*k].as_str())));
    let mut columns = vec![("id".to_owned(), ids)];
    for head in votes.heads() {
        let label = |k: &usize| {
            found.labels[*k]
                .get(head)
                .map(|c| votes.classes[c as usize].as_str())
        };
        columns.push((
            label_column(head).to_owned(),
            Column::text(rows.iter().map(label)),
        ));
    }
    columns
}

/// One row per utterance and modality: state, label, number of votes, probability of each class.
fn soft_columns(votes: &Votes, found: &Aggregation) -> Vec<(String, Column)> {
    let mut rows = Vec::new();
    for (head, column) in found.columns.iter() {
        let decisions = column.iter().flat_map(|c| &c.decisions);
        rows.extend(
            votes
                .columns
                .get(head)
                .iter()
                .zip(decisions)
                .map(|(b, d)| (head, b, d)),
        );
    }
    let label = |d: &labels::Decision| {
        d.verdict
            .label()
            .map(|k| votes.classes[k as usize].as_str())
    };
    let id = |b: &labels::Ballot| votes.utterances[b.utterance as usize].as_str();
    let mut columns = vec![
        (
            "id".to_owned(),
            Column::text(rows.iter().map(|(_, b, _)| Some(id(b)))),
        ),
        (
            "modality".to_owned(),
            Column::text(rows.iter().map(|(h, _, _)| Some(h.as_str()))),
        ),
        (
            "state".to_owned(),
            Column::text(rows.iter().map(|(_, _, d)| Some(d.verdict.state()))),
        ),
        (
            "label".to_owned(),
            Column::text(rows.iter().map(|(_, _, d)| label(d))),
        ),
        (
            "votes".to_owned(),
            Column::Int64(
                rows.iter()
                    .map(|(_, b, _)| Some(b.votes.len() as i64))
                    .collect(),
            ),
        ),
    ];
    for (k, class) in votes.classes.iter().enumerate() {
        let soft = rows.iter().map(|(_, _, d)| Some(d.soft[k])).collect();
        columns.push((format!("p_{class}"), Column::Double(soft)));
    }
    columns
}

fn write_csv(path: &Path, columns: &[(String, Column)]) -> std::io::Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    let names: Vec<_> = columns.iter().map(|(name, _)| csv_field(name)).collect();
    writeln!(out, "{}", names.join(","))?;
    let n = columns.first().map_or(0, |(_, c)| c.len());
    for row in 0..n {
        for (k, (_, column)) in columns.iter().enumerate() {
            let comma = if k > 0 { "," } else { "" };
            write!(out, "{comma}{}", csv_field(&column.cell(row)))?;
        }
        writeln!(out)?;
    }
    out.flush()
}
