//! `trimer corpus`: make, convert, examine, describe and hand on corpora.

use crate::ui::{self, Hinted};
use crate::{Answer, label_report};
use anyhow::Context as _;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use trimer_core::corpus::synth::SynthSpec;
use trimer_core::corpus::{CheckOptions, CheckReport, check_dir};
use trimer_core::corpus::{Corpus, DataCard, FeatureDtype, export_folder, leak_sentence};
use trimer_core::import::{self, ImportOptions, NonFinite};
use trimer_core::{Modality, ModalitySet};

/// `trimer corpus <verb>`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Make a synthetic corpus whose best reachable accuracy is known
    Synth(SynthArgs),
    /// Examine a corpus; exit code 1 when something is wrong with it
    Check(CheckArgs),
    /// Describe a corpus in numbers
    Stats(StatsArgs),
    /// Convert features in a foreign format
    Import(ImportArgs),
    /// Hand on a corpus in a form that other tools read
    Export(ExportArgs),
}

/// Arguments of `trimer corpus import`.
#[derive(Debug, clap::Args)]
#[command(after_help = known_formats())]
pub(crate) struct ImportArgs {
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

/// Arguments of `trimer corpus synth`.
#[derive(Debug, clap::Args)]
pub(crate) struct SynthArgs {
    /// The corpus directory to make
    out: PathBuf,
    /// small (750 utterances), dialogue (4,000 in conversations) or cherma (28,717, about 15 GB)
    #[arg(long, default_value = "small")]
    preset: String,
    /// Another number of utterances than the preset's, at least 10
    #[arg(long, value_name = "N")]
    utterances: Option<usize>,
    /// Make this modality's features noise that shows nothing; may be repeated
    #[arg(long, value_name = "MODALITY", value_parser = ["text", "audio", "vision"])]
    noise: Vec<String>,
    /// Everything random follows from it
    #[arg(long)]
    seed: Option<u64>,
    /// Print the ceiling as JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `trimer corpus check`.
#[derive(Debug, clap::Args)]
pub(crate) struct CheckArgs {
    /// The corpus directory
    corpus: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `trimer corpus stats`.
#[derive(Debug, clap::Args)]
pub(crate) struct StatsArgs {
    /// The corpus directory
    corpus: PathBuf,
    /// Write a data card to this file; its ending .md, .html or .json says which form; repeatable
    #[arg(long, value_name = "FILE")]
    card: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(verb: &Verb) -> anyhow::Result<Answer> {
    match verb {
        Verb::Synth(args) => synth(args),
        Verb::Check(args) => check(args),
        Verb::Stats(args) => stats(args),
        Verb::Import(args) => import_corpus(args),
        Verb::Export(args) => {
            let corpus = Corpus::open(&args.corpus)?;
            let bar = ui::bar(corpus.len() as u64, "exporting");
            let done = export_folder(&corpus, &args.out, &mut |done, _| bar.set_position(done));
            bar.finish_and_clear();
            done?;
            ui::note(&format!("written to {}", args.out.display()));
            Ok(Answer::Yes)
        }
    }
}

fn synth(args: &SynthArgs) -> anyhow::Result<Answer> {
    let mut spec = SynthSpec::preset(&args.preset)?;
    if let Some(n) = args.utterances {
        // A small corpus has fewer speakers, two utterances each at least.
        spec.n_utterances = n;
        spec.n_speakers = spec.n_speakers.min(n / 2);
    }
    spec.seed = args.seed.unwrap_or(spec.seed);
    let noise = args.noise.iter().map(|name| name.parse::<Modality>());
    spec = spec.with_noise(noise.collect::<Result<ModalitySet, _>>()?);
    let bar = ui::bar(spec.n_utterances as u64, "making");
    let path =
        trimer_core::corpus::synth::write(&spec, &args.out, &mut |done, _| bar.set_position(done));
    bar.finish_and_clear();
    let path = path?;
    let ceiling = spec.ceiling();
    if args.json {
        ui::json(
            &serde_json::json!({ "path": path, "utterances": spec.n_utterances, "ceiling": ceiling }),
        )?;
    } else {
        ui::note(&format!(
            "{}: {} utterances",
            path.display(),
            spec.n_utterances
        ));
        let rows: Vec<Vec<String>> = ceiling
            .multimodal_from
            .iter()
            .map(|(seen, a)| vec![seen.clone(), format!("{a:.4}")])
            .collect();
        ui::data(&ui::table(
            &["a perfect observer of", "accuracy on the multimodal label"],
            &rows,
        ));
    }
    Ok(Answer::Yes)
}

fn check(args: &CheckArgs) -> anyhow::Result<Answer> {
    let report = check_dir(&args.corpus, &CheckOptions::default())?;
    if args.json {
        ui::json(&report)?;
    } else {
        show_check(&report);
    }
    Ok(if report.is_sound() {
        Answer::Yes
    } else {
        Answer::No
    })
}

fn show_check(report: &CheckReport) {
    for (word, findings) in [("problem", &report.problems), ("warning", &report.warnings)] {
        for finding in findings {
            ui::data(&format!("{word}: {}", finding.message));
            if !finding.examples.is_empty() {
                let more = if finding.count > finding.examples.len() as u64 {
                    ", ..."
                } else {
                    ""
                };
                ui::data(&format!("  {}{more}", finding.examples.join(", ")));
            }
            if let Some(hint) = &finding.hint {
                ui::data(&format!("  hint: {hint}"));
            }
        }
    }
    for (head, classes) in &report.classes {
        let rows: Vec<Vec<String>> = classes
            .iter()
            .map(|c| {
                vec![
                    c.class.clone(),
                    c.splits.train.to_string(),
                    c.splits.valid.to_string(),
                    c.splits.test.to_string(),
                ]
            })
            .collect();
        ui::data(&ui::table(
            &[&format!("{head} label"), "train", "valid", "test"],
            &rows,
        ));
    }
    for d in &report.disagreement {
        ui::data(&format!(
            "{} and {} labels differ in {:.1} % of {} utterances",
            d.a,
            d.b,
            100.0 * d.rate,
            d.count
        ));
    }
    ui::data(&format!(
        "{} utterances examined: {} problem(s), {} warning(s)",
        report.utterances,
        report.problems.len(),
        report.warnings.len()
    ));
}

fn stats(args: &StatsArgs) -> anyhow::Result<Answer> {
    let corpus = Corpus::open(&args.corpus)?;
    let card = corpus.card();
    for path in &args.card {
        write_card(&card, path)?;
    }
    if args.json {
        ui::json(&card)?;
        return Ok(Answer::Yes);
    }
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
    ui::data(&ui::table(
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
    ));
    for (head, classes) in &stats.classes {
        let rows: Vec<Vec<String>> = classes
            .iter()
            .map(|c| {
                vec![
                    c.class.clone(),
                    c.splits.train.to_string(),
                    c.splits.valid.to_string(),
                    c.splits.test.to_string(),
                ]
            })
            .collect();
        ui::data(&ui::table(
            &[&format!("{head} label"), "train", "valid", "test"],
            &rows,
        ));
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
    Ok(Answer::Yes)
}

/// Writes a data card in the form that the file's ending asks for.
fn write_card(card: &DataCard, path: &Path) -> anyhow::Result<()> {
    let text = match path.extension().and_then(|e| e.to_str()) {
        Some("md") => card.to_markdown(),
        Some("html") => label_report::card(card).render(),
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

fn import_corpus(args: &ImportArgs) -> anyhow::Result<Answer> {
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
