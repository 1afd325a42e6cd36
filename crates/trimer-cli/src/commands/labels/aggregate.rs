//! `trimer labels aggregate`: annotators' votes to labels.

use super::share;
use crate::{
    Answer,
    ui::{self, Hinted},
};
use std::{fmt::Write as _, path::PathBuf};
use trimer_core::{
    labels::{self, Aggregation, Expected, RuleOptions, Votes},
    stats::BootstrapOptions,
};
use trimer_study::labels::{AggregatedLabels, LabelFiles};
use trimer_study::text::table;

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
    let report = AggregatedLabels::new(&votes, &found);
    if let Some(out) = &args.out {
        let files = LabelFiles {
            complete: args.complete,
            parquet: args.parquet,
        };
        report.write(out, files)?;
        ui::note(&format!("labels in {}", out.display()));
    }
    if args.json {
        ui::json(&report.to_json(args.out.is_none())?)?;
    } else {
        show_aggregation(&votes, &found);
    }
    Ok(Answer::Yes)
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
    ui::data(&table(
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
    ui::data(&table(
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
