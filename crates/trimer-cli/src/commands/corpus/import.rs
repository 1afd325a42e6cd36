//! `trimer corpus import`: features in a foreign format.

use crate::{Answer, ui};
use std::fmt::Write as _;
use std::path::PathBuf;
use trimer_core::corpus::FeatureDtype;
use trimer_core::import::{self, ImportOptions, NonFinite};

/// Arguments of `trimer corpus import`.
#[derive(Debug, clap::Args)]
#[command(after_help = known_formats())]
pub(crate) struct Args {
    /// The format, one of those below
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

pub(super) fn run(args: &Args) -> anyhow::Result<Answer> {
    let importer = import::importer(&args.format)?;
    let options = ImportOptions {
        name: args.name.clone(),
        classes: args.classes,
        dtype: args.dtype.as_deref().map(parse_dtype),
        non_finite: if args.non_finite == "zero" {
            NonFinite::Zero
        } else {
            NonFinite::Refuse
        },
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
            summary.path.display(),
            summary.utterances,
            s.train,
            s.valid,
            s.test,
            s.unassigned
        ));
    }
    Ok(Answer::Yes)
}

/// The formats and what each of them reads.
fn known_formats() -> String {
    let mut text = String::from("Formats and what SOURCE must be:");
    for importer in import::IMPORTERS {
        let info = importer.info();
        let _ = write!(text, "\n  {:8} {}", info.id, info.source);
    }
    text
}

fn parse_dtype(name: &str) -> FeatureDtype {
    match name {
        "f16" => FeatureDtype::F16,
        "bf16" => FeatureDtype::Bf16,
        _ => FeatureDtype::F32,
    }
}
