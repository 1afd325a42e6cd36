//! `trimer corpus`: make, convert, examine, describe and hand on corpora.

use crate::ui::{self, Hinted};
use crate::Answer;
use std::path::PathBuf;
use trimer_core::corpus::{Corpus, FeatureDtype, export_folder};
use trimer_core::import::{self, IMPORTERS, ImportOptions, NonFinite};

/// `trimer corpus <verb>`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Convert features in a foreign format
    Import(ImportArgs),
    /// Hand on a corpus in a form that other tools read
    Export(ExportArgs),
}

/// Arguments of `trimer corpus import`.
#[derive(Debug, clap::Args)]
pub(crate) struct ImportArgs {
    /// The format: folder, cherma, mmsa, mult
    #[arg(long, default_value = "folder")]
    format: String,
    /// The file or directory to read
    source: PathBuf,
    /// The corpus directory to make
    out: PathBuf,
    /// Name of the corpus
    #[arg(long)]
    name: Option<String>,
    /// Also divide scores into this many classes
    #[arg(long, value_name = "5|3|2")]
    classes: Option<usize>,
    /// How feature values are stored
    #[arg(long, value_parser = ["f32", "f16", "bf16"])]
    dtype: Option<String>,
    /// What to do with NaN and infinite features: stop, or put 0 in their place
    #[arg(long, default_value = "refuse", value_parser = ["refuse", "zero"])]
    non_finite: String,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `trimer corpus export`.
#[derive(Debug, clap::Args)]
pub(crate) struct ExportArgs {
    /// The corpus directory
    corpus: PathBuf,
    /// The directory to make
    out: PathBuf,
    /// The form
    #[arg(long, default_value = "folder", value_parser = ["folder"])]
    format: String,
}

pub(crate) fn run(verb: &Verb) -> anyhow::Result<Answer> {
    match verb {
        Verb::Import(args) => import_corpus(args),
        Verb::Export(args) => {
            export_folder(&Corpus::open(&args.corpus)?, &args.out)?;
            ui::note(&format!("written to {}", args.out.display()));
            Ok(Answer::Yes)
        }
    }
}

fn import_corpus(args: &ImportArgs) -> anyhow::Result<Answer> {
    let importer = import::importer(&args.format)?;
    let options = ImportOptions {
        name: args.name.clone(),
        classes: args.classes,
        dtype: args.dtype.as_deref().map(parse_dtype),
        non_finite: if args.non_finite == "zero" { NonFinite::Zero } else { NonFinite::Refuse },
        ..ImportOptions::new(&args.source, &args.out)
    };
    let bar = ui::bar(0, "importing");
    let summary = importer.import(&options, &mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let summary = summary?;
    for warning in &summary.warnings {
        ui::warn(warning);
    }
    if args.json {
        ui::json(&summary)?;
    } else {
        let s = &summary.splits;
        ui::note(&format!(
            "{}: {} utterances (train {}, valid {}, test {}, without split {})",
            summary.path.display(), summary.utterances, s.train, s.valid, s.test, s.unassigned
        ));
    }
    Ok(Answer::Yes)
}

fn parse_dtype(name: &str) -> FeatureDtype {
    match name {
        "f16" => FeatureDtype::F16,
        "bf16" => FeatureDtype::Bf16,
        _ => FeatureDtype::F32,
    }
}
