//! `trimer compare`: several models, the same protocol, one table.

use super::parse::{parse_select_on, parse_split, stop_on_ctrl_c};
use crate::Answer;
use crate::ui::{self, Board};
use std::path::PathBuf;
use trimer_core::corpus::Corpus;
use trimer_study::compare::{
    CompareOptions, Comparison, ComparisonReport, check_systems, compare_runs, parse_systems,
    read_systems,
};
use trimer_train::RunDir;

/// Arguments of `trimer compare`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
#[command(group = clap::ArgGroup::new("what").args(["runs", "models", "rows"]).required(true).multiple(true))]
pub(crate) struct Args {
    /// Runs that exist already, one row each
    #[arg(value_name = "RUN", conflicts_with_all = ["models", "rows", "corpus"])]
    runs: Vec<PathBuf>,
    /// Models to train: ids, `ID+PLUGIN`, or `ID:NAME=RECIPE` for a variant, divided by commas
    #[arg(long, value_name = "LIST", requires = "corpus")]
    models: Option<String>,
    /// More rows, from a TOML file
    #[arg(long, value_name = "FILE", requires = "corpus")]
    rows: Option<PathBuf>,
    /// The corpus; given several times, each is a fold
    #[arg(long, value_name = "DIR")]
    corpus: Vec<PathBuf>,
    /// Directory of recipes: `DIR/<corpus>/<model>.toml` or `DIR/<model>.toml`
    #[arg(long, value_name = "DIR")]
    recipes: Option<PathBuf>,
    /// Change one key of every row, for instance `train.epochs=10`; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// How many seeds to train, counted up from `--seed`
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 1, value_name = "S", value_parser = clap::value_parser!(u64).range(0..=1_000_000_000))]
    seed: u64,
    /// Directory for runs and tables; the same command with the same directory continues
    #[arg(long, value_name = "DIR", required_unless_present = "runs")]
    out: Option<PathBuf>,
    /// The row that the others are tested against; the first by default
    #[arg(long, value_name = "ROW")]
    reference: Option<String>,
    /// The metric of the tests; accuracy, or mae for scores, by default
    #[arg(long, value_name = "METRIC")]
    metric: Option<String>,
    /// Runs to train at a time; results do not depend on it
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: u8,
    /// The split that selects; `test` shows what that adds, with a warning over every table
    #[arg(long, default_value = "valid", value_parser = ["valid", "test"])]
    select_on: String,
    /// The split that is evaluated; `valid` only for systems that neither learn nor select on it
    #[arg(long, default_value = "test", value_parser = ["valid", "test"])]
    split: String,
    /// Where to compute: cpu, cuda:0 or wgpu
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Runs to train at a time.
    pub(crate) fn jobs(&self) -> usize {
        usize::from(self.jobs)
    }
}

const HELP: &str = "\
A file of rows:

    [[row]]
    name = \"LFMIM-ML\"                 # in tables and directories
    model = \"lfmim\"
    recipe = \"lfmim.toml\"             # instead of that of --recipes; relative to this file
    set = [\"train.unimodal_labels=multimodal\"]
    plugins = [\"ogm_ge\"]             # instead of the recipe's
    [[row]]
    name = \"LFMIM, text head\"
    model = \"lfmim\"                   # same settings as another row: trained once
    head = \"text\"                     # evaluated head; `label` is what it is compared with

Writes results.json, .csv, .md, .tex and report.html to the directory, the runs to runs/.";

pub(crate) fn run(args: &Args) -> anyhow::Result<Answer> {
    let options = CompareOptions {
        metric: args.metric.clone(),
        reference: args.reference.clone(),
        split: parse_split(&args.split)?,
        select_on: parse_select_on(&args.select_on)?,
        device: crate::device::opened(&args.device)?.device,
    };
    let report = if args.runs.is_empty() {
        train(args, options)?
    } else {
        compare_existing(args, &options)?
    };
    if let Some(out) = &args.out {
        ui::note(&format!("tables and report: {}", out.display()));
    }
    if args.json {
        ui::json(&report)?;
    } else {
        ui::data(&report.to_text());
    }
    Ok(if report.failed.is_empty() {
        Answer::Yes
    } else {
        Answer::No
    })
}

fn train(args: &Args, options: CompareOptions) -> anyhow::Result<ComparisonReport> {
    let mut systems = match &args.models {
        Some(list) => parse_systems(list)?,
        None => Vec::new(),
    };
    if let Some(file) = &args.rows {
        systems.extend(read_systems(file)?);
    }
    check_systems(&systems)?;
    let corpora = args
        .corpus
        .iter()
        .map(Corpus::open)
        .collect::<Result<Vec<_>, _>>()?;
    let stop = stop_on_ctrl_c();
    let mut comparison = Comparison::of_folds(&corpora)
        .systems(systems)
        .options(options)
        .seeds_from(args.seed, args.seeds)
        .out(args.out.clone().unwrap_or_default())
        .jobs(args.jobs())
        .stop(&stop);
    if let Some(recipes) = &args.recipes {
        comparison = comparison.recipes(recipes);
    }
    for set in &args.sets {
        comparison = comparison.set(set);
    }
    Ok(comparison.run(&mut Board::default())?)
}

fn compare_existing(args: &Args, options: &CompareOptions) -> anyhow::Result<ComparisonReport> {
    let runs = args
        .runs
        .iter()
        .map(|path| RunDir::open(path))
        .collect::<Result<Vec<_>, _>>()?;
    let corpus = runs
        .first()
        .map(RunDir::open_corpus)
        .transpose()?
        .ok_or_else(|| anyhow::anyhow!("no run is given"))?;
    let report = compare_runs(runs, &corpus, options)?;
    if let Some(out) = &args.out {
        report.write(out)?;
    }
    Ok(report)
}
