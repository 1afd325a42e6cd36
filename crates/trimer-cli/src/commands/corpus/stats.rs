//! `trimer corpus stats`: a corpus in numbers.

use crate::Answer;
use crate::ui::{self, Hinted};
use anyhow::Context as _;
use std::fs;
use std::path::{Path, PathBuf};
use trimer_core::card::{DataCard, leak_sentence};
use trimer_core::corpus::{Corpus, CorpusStats};
use trimer_study::report::labels;
use trimer_study::text::table;

/// Arguments of `trimer corpus stats`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The corpus directory
    corpus: PathBuf,
    /// Write a data card to this file; its ending .md, .html or .json says which form; repeatable
    #[arg(long, value_name = "FILE")]
    card: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Answer> {
    let corpus = Corpus::open(&args.corpus)?;
    let card = corpus.card();
    for path in &args.card {
        write_card(&card, path)?;
    }
    if args.json {
        ui::json(&card)?;
        return Ok(Answer::Yes);
    }
    show(&card);
    Ok(Answer::Yes)
}

fn show(card: &DataCard) {
    let stats = &card.stats;
    let s = &stats.splits;
    ui::data(&format!(
        "{}: {} utterances (train {}, valid {}, test {}, without split {}), {} speakers, {} conversations",
        stats.name,
        stats.utterances,
        s.train,
        s.valid,
        s.test,
        s.unassigned,
        stats.speakers,
        stats.conversations
    ));
    ui::data(&modality_table(stats));
    for (head, classes) in &stats.classes {
        ui::data(&super::class_table(*head, classes));
    }
    ui::data(&format!(
        "licence: {}",
        if card.licence.is_empty() {
            "not stated"
        } else {
            &card.licence
        }
    ));
    for (what, leak, known) in card.leakage.findings() {
        ui::data(&leak_sentence(what, leak, known));
    }
}

/// Width, frames and lengths of each modality.
fn modality_table(stats: &CorpusStats) -> String {
    let rows: Vec<Vec<String>> = stats
        .modalities
        .iter()
        .map(|(m, x)| {
            let q = &x.lengths;
            vec![
                m.to_string(),
                x.dim.to_string(),
                x.utterances.to_string(),
                x.frames.to_string(),
                q.min.to_string(),
                q.median.to_string(),
                q.max.to_string(),
            ]
        })
        .collect();
    table(
        &[
            "modality",
            "width",
            "utterances",
            "frames",
            "shortest",
            "median",
            "longest",
        ],
        &rows,
    )
}

/// Writes a data card in the form that the file's ending asks for.
fn write_card(card: &DataCard, path: &Path) -> anyhow::Result<()> {
    let text = match path.extension().and_then(|e| e.to_str()) {
        Some("md") => card.to_markdown(),
        Some("html") => labels::card(card).render(),
        Some("json") => serde_json::to_string_pretty(card)?,
        _ => {
            return Err(Hinted::new(
                format!("`{}` has no ending that names a form", path.display()),
                "expected a file that ends in `.md`, `.html` or `.json`",
            )
            .into());
        }
    };
    fs::write(path, text).with_context(|| format!("cannot write `{}`", path.display()))?;
    ui::note(&format!("data card in {}", path.display()));
    Ok(())
}
