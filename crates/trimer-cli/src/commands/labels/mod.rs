//! `trimer labels`: annotators' votes to labels, and how labels of modalities contradict each other.

use crate::{
    Answer, label_report,
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
    Head, HeadMap,
    corpus::{Corpus, label_column},
    labels::{
        self, Aggregation, Agreement, Expected, LabelStats, RuleOptions, StateCounts, StatsOptions,
        Votes, rows::Rows,
    },
    stats::BootstrapOptions,
    store::columns::{Column, write_columns},
};

/// `trimer labels <verb>`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Measure how often labels of different modalities contradict each other
    Stats(StatsArgs),
    /// Turn annotators' votes into labels
    Aggregate(AggregateArgs),
}

/// Arguments of `trimer labels stats`.
#[derive(Debug, clap::Args)]
pub(crate) struct StatsArgs {
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

/// Arguments of `trimer labels aggregate`.
#[derive(Debug, clap::Args)]
#[command(after_help = known_rules())]
pub(crate) struct AggregateArgs {
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

pub(crate) fn run(verb: &Verb) -> anyhow::Result<Answer> {
    match verb {
        Verb::Stats(args) => stats(args),
        Verb::Aggregate(args) => aggregate(args),
    }
}

fn stats(args: &StatsArgs) -> anyhow::Result<Answer> {
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
        label_report::labels(&name, &found).write(path)?;
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
        ui::data(&ui::table(&[&title, "utterances", "share"], &rows));
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
        ui::data(&ui::table(&["Incon", "labels differ", "utterances"], &rows));
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
        ui::data(&ui::table(
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

fn share(value: f64, [low, high]: [f64; 2]) -> String {
    if value.is_nan() {
        "-".to_owned()
    } else {
        format!("{value:.4} [{low:.4}, {high:.4}]")
    }
}

/// A file that appears under its name when it is whole.
struct Whole {
    part: tempfile::NamedTempFile,
    path: PathBuf,
}

impl Whole {
    fn create(path: &Path) -> anyhow::Result<Self> {
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
        let mut builder = tempfile::Builder::new();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // temporary files are closed to others, results need not be
            builder.permissions(fs::Permissions::from_mode(0o644));
        }
        let part = builder
            .tempfile_in(parent.unwrap_or(Path::new(".")))
            .with_context(|| format!("cannot write `{}`", path.display()))?;
        Ok(Self {
            part,
            path: path.to_owned(),
        })
    }

    fn finish(self) -> anyhow::Result<()> {
        let Self { part, path } = self;
        part.persist(&path)
            .with_context(|| format!("cannot write `{}`", path.display()))?;
        Ok(())
    }
}

/// The list of all conflicts, written while the labels are read.
struct ConflictFile {
    out: BufWriter<File>,
    whole: Whole,
}

impl ConflictFile {
    fn create(path: &Path) -> anyhow::Result<Self> {
        let whole = Whole::create(path)?;
        let mut out = BufWriter::new(whole.part.reopen()?);
        let columns = Head::ALL.map(label_column).join(",");
        writeln!(out, "id,{columns}")?;
        Ok(Self { out, whole })
    }

    fn write(&mut self, id: &str, labels: &HeadMap<Option<&str>>) -> std::io::Result<()> {
        write!(self.out, "{}", quoted(id))?;
        for (_, label) in labels.iter() {
            write!(self.out, ",{}", quoted(label.unwrap_or_default()))?;
        }
        writeln!(self.out)
    }

    fn finish(mut self) -> anyhow::Result<()> {
        self.out.flush()?;
        drop(self.out);
        self.whole.finish()
    }
}

/// A cell of a CSV file.
fn quoted(text: &str) -> std::borrow::Cow<'_, str> {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\"")).into()
    } else {
        text.into()
    }
}

fn aggregate(args: &AggregateArgs) -> anyhow::Result<Answer> {
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
    args: &AggregateArgs,
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
        let (id, n, missing) = (quoted(row.id), row.votes, row.missing_votes);
        writeln!(open, "{id},{},{},{n},{missing}", row.modality, row.state)?;
    }
    open.flush()?;
    fs::write(
        part.path().join("summary.json"),
        serde_json::to_string_pretty(summary)?,
    )?;
    let part = part.keep();
    readable_by_others(&part);
    fs::rename(&part, out).with_context(context)?;
    Ok(())
}

/// Temporary directories are closed to others; results need not be.
fn readable_by_others(dir: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // a directory that stays closed is no reason to fail
        let _ = fs::set_permissions(dir, fs::Permissions::from_mode(0o755));
    }
    #[cfg(not(unix))]
    let _ = dir;
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
    let names: Vec<_> = columns.iter().map(|(name, _)| quoted(name)).collect();
    writeln!(out, "{}", names.join(","))?;
    let n = columns.first().map_or(0, |(_, c)| c.len());
    for row in 0..n {
        for (k, (_, column)) in columns.iter().enumerate() {
            let comma = if k > 0 { "," } else { "" };
            write!(out, "{comma}{}", quoted(&column.cell(row)))?;
        }
        writeln!(out)?;
    }
    out.flush()
}
