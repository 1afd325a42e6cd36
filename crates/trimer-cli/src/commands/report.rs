//! `trimer report`: runs as one HTML page.

use super::parse::parse_split;
use crate::Answer;
use crate::ui::{self, Hinted, StageBar};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use trimer_core::corpus::{Corpus, Split};
use trimer_study::report::run::{
    ReportOptions, ReportedRun, check_options, check_run, report, section_ids, write_figures,
};
use trimer_train::RunDir;

/// Arguments of `trimer report`.
#[derive(Debug, clap::Args)]
#[command(after_help = known_sections())]
pub(crate) struct Args {
    /// Run directories; several are shown side by side
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// The page; it needs no other file and no network
    #[arg(long, default_value = "report.html", value_name = "FILE")]
    out: PathBuf,
    /// Also write every figure as SVG and its numbers as CSV into this new directory
    #[arg(long, value_name = "DIR")]
    figures: Option<PathBuf>,
    /// Judge on another corpus than the one the runs were trained on
    #[arg(long, value_name = "DIR")]
    corpus: Option<PathBuf>,
    /// The split to evaluate on
    #[arg(long, default_value = "test", value_parser = ["train", "valid", "test"])]
    split: String,
    /// `test` shows a run that selected on test all the same, under a warning
    #[arg(long, default_value = "valid", value_parser = ["valid", "test"])]
    select_on: String,
    /// Sections that are not wanted, divided by commas: those below
    #[arg(long, value_delimiter = ',', value_name = "A,B,...")]
    without: Vec<String>,
    /// So many utterances at most are drawn in the maps of representations
    #[arg(long, default_value_t = 600, value_name = "N")]
    points: usize,
    /// Which utterances are drawn follows from it, and where equal ones lie
    #[arg(long, default_value_t = 0, value_name = "S")]
    seed: u64,
    /// Where to compute: cpu, cuda:0 or wgpu
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Print the numbers of the page as JSON
    #[arg(long)]
    json: bool,
}

fn known_sections() -> String {
    format!("Sections: {}", section_ids().join(", "))
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Answer> {
    let split = parse_split(&args.split)?;
    let mut options = ReportOptions {
        split,
        without: args.without.clone(),
        points: args.points,
        seed: args.seed,
        ..ReportOptions::default()
    };
    check_options(&options)?;
    check_paths(args)?;
    options.device = crate::device::opened(&args.device)?.device;
    let mut opened = Vec::new();
    for path in &args.runs {
        let run = RunDir::open(path)?;
        run.check_selection(args.select_on == "test")?;
        let corpus = match &args.corpus {
            Some(other) => Corpus::open(other)?,
            None => run.open_corpus()?,
        };
        check_run(&run, &corpus, split)?;
        opened.push((run, corpus));
    }
    if split == Split::Test {
        for (run, _) in &opened {
            run.note_test_opened("report")?;
        }
    }
    let pairs = opened.iter().zip(names(&args.runs));
    let runs: Vec<ReportedRun<'_>> = pairs
        .map(|((run, corpus), name)| ReportedRun { run, corpus, name })
        .collect();
    let mut bar = StageBar::new("evaluating");
    let found = report(&runs, &options, &mut bar);
    bar.finish();
    let found = found?;
    let (page, mut numbers) = (found.page, found.numbers);
    page.write(&args.out)?;
    let bytes = fs::metadata(&args.out).map_or(0, |m| m.len());
    ui::note(&format!(
        "{}: {:.1} MB, opens in any browser without a network",
        args.out.display(),
        bytes as f64 / 1e6
    ));
    let mut files = Vec::new();
    if let Some(dir) = &args.figures {
        files = write_figures(&page, dir)?;
        ui::note(&format!("{} figures in {}", files.len(), dir.display()));
    }
    if args.json {
        if let Value::Object(map) = &mut numbers {
            map.insert("report".into(), json!(args.out));
            map.insert("bytes".into(), json!(bytes));
            map.insert("figures".into(), json!(files));
        }
        ui::json(&numbers)?;
    }
    Ok(Answer::Yes)
}

/// Refuses paths that cannot work before anything is computed or opened.
fn check_paths(args: &Args) -> anyhow::Result<()> {
    let refuse = |message: String, hint: String| Err(Hinted::new(message, hint).into());
    for (i, run) in args.runs.iter().enumerate() {
        let same = |other: &PathBuf| match (other.canonicalize(), run.canonicalize()) {
            (Ok(a), Ok(b)) => a == b,
            _ => other == run,
        };
        if args.runs[..i].iter().any(same) {
            return refuse(
                format!("`{}` is named twice", run.display()),
                "name every run once".into(),
            );
        }
    }
    if args.out.is_dir() {
        return refuse(
            format!("`{}` is a directory", args.out.display()),
            "name a file: `--out report.html`".into(),
        );
    }
    let parent = |path: &Path| {
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
        parent.unwrap_or(Path::new(".")).to_owned()
    };
    for path in std::iter::once(&args.out).chain(&args.figures) {
        let parent = parent(path);
        if !parent.is_dir() {
            return refuse(
                format!("`{}` cannot be written there", path.display()),
                format!("create the directory `{}` first", parent.display()),
            );
        }
    }
    if let Some(dir) = &args.figures
        && dir.exists()
    {
        return refuse(
            format!("`{}` exists already", dir.display()),
            "choose another directory, or remove this one first".into(),
        );
    }
    Ok(())
}

/// What the runs are called: the last part of their paths where that distinguishes them.
fn names(paths: &[PathBuf]) -> Vec<String> {
    let last = |path: &PathBuf| {
        let path = path.canonicalize().unwrap_or_else(|_| path.clone());
        path.file_name().map_or_else(
            || path.display().to_string(),
            |n| n.to_string_lossy().into_owned(),
        )
    };
    let short: Vec<String> = paths.iter().map(last).collect();
    let unique = |name: &String| short.iter().filter(|n| *n == name).count() == 1;
    short
        .iter()
        .zip(paths)
        .map(|(name, path)| {
            if unique(name) {
                name.clone()
            } else {
                path.display().to_string()
            }
        })
        .collect()
}
