//! `trimer compare`: several models, the same protocol, one table.

mod judge;
mod published;
mod render;
mod rows;
mod training;

use super::eval::parse_split;
use super::train::{environment, stop_on_ctrl_c};
use crate::{Answer, ui, ui::Hinted};
use judge::{Comparison, Entrant, Wishes};
use rows::RowSpec;
pub(crate) use rows::plain_name;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use trimer_core::Head;
use trimer_core::corpus::{Corpus, Split};
use trimer_nn::device::Opened;
use trimer_train::{RunDir, SelectOn};

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
    /// The split that selects; `test` shows what that adds, and stamps every table
    #[arg(long, default_value = "valid", value_parser = ["valid", "test"])]
    select_on: String,
    /// The split that is judged; `valid` only for rows that neither learn nor select on it
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
    head = \"text\"                     # judged head; `label` is what it is judged against

Writes results.json, .csv, .md, .tex and report.html to the directory, the runs to runs/.";

pub(crate) fn run(args: &Args) -> anyhow::Result<Answer> {
    let opened = crate::device::opened(&args.device)?;
    let select_on = parse_select_on(&args.select_on);
    let split = parse_split(&args.split)?;
    let (entrants, corpora, failed, jobs) = if args.runs.is_empty() {
        train(args, select_on, &opened)?
    } else {
        let (entrants, corpora) = open(&args.runs)?;
        (entrants, corpora, BTreeMap::new(), None)
    };
    judge::check_selection(&entrants, select_on, split)?;
    if !args.runs.is_empty() && split == Split::Test {
        for run in entrants.iter().flat_map(|e| &e.runs) {
            run.note_test_opened("compare")?;
        }
    }
    let wishes = Wishes {
        metric: args.metric.as_deref(),
        reference: args.reference.as_deref(),
        split,
    };
    let mut comparison = judge::judge(&entrants, &corpora, &wishes, &opened.device)?;
    if let Some(jobs) = jobs.filter(|j| *j > 1) {
        comparison.notes.push(format!(
            "Up to {jobs} runs were trained at a time: training times are longer than those of a run alone."
        ));
    }
    let specs: Vec<RowSpec> = entrants.iter().map(|e| e.spec.clone()).collect();
    comparison
        .notes
        .extend(without_recipe(args, &specs, &corpora)?);
    comparison.failed = failed;
    if let Some(out) = &args.out {
        write(out, &comparison)?;
        ui::note(&format!("tables and report: {}", out.display()));
    }
    if args.json {
        ui::json(&comparison)?;
    } else {
        ui::data(&render::text(&comparison));
    }
    Ok(if comparison.failed.is_empty() {
        Answer::Yes
    } else {
        Answer::No
    })
}

/// The selecting split of a checked name.
pub(crate) fn parse_select_on(name: &str) -> SelectOn {
    if name == "test" {
        SelectOn::Test
    } else {
        SelectOn::Valid
    }
}

/// Rows, corpora, what failed, and how many runs were trained at a time.
type Trained = (
    Vec<Entrant>,
    Vec<Corpus>,
    BTreeMap<String, String>,
    Option<usize>,
);

fn train(args: &Args, select_on: SelectOn, opened: &Opened) -> anyhow::Result<Trained> {
    let mut specs = match &args.models {
        Some(list) => rows::parse_models(list)?,
        None => Vec::new(),
    };
    if let Some(file) = &args.rows {
        specs.extend(rows::read_rows(file)?);
    }
    rows::check_rows(&specs)?;
    if let Some(reference) = &args.reference
        && !specs.iter().any(|s| s.name == *reference)
    {
        let names: Vec<&str> = specs.iter().map(|s| s.name.as_str()).collect();
        return Err(Hinted::new(
            format!("the reference `{reference}` is no row of this comparison"),
            format!("rows: {}", names.join(", ")),
        )
        .into());
    }
    let corpora = args
        .corpus
        .iter()
        .map(Corpus::open)
        .collect::<Result<Vec<_>, _>>()?;
    for corpus in &corpora {
        let split = parse_split(&args.split)?;
        if corpus.indices(split).is_empty() {
            return Err(Hinted::new(
                format!(
                    "the corpus `{}` has no {split} split to compare on",
                    corpus.info().name
                ),
                "choose a corpus with one, or another split with `--split`",
            )
            .into());
        }
    }
    if let Some(note) = without_recipe(args, &specs, &corpora)? {
        ui::warn(&note);
    }
    let out = args.out.clone().unwrap_or_default();
    let (units, wanted) = units(args, &specs, &corpora, select_on, &out)?;
    let jobs = args.jobs();
    let environment = environment(opened);
    let stop = stop_on_ctrl_c();
    let ended = training::train_all(&units, &corpora, &environment, jobs, &opened.device, &stop);
    let Some(ended) = ended else {
        return Err(Hinted::new(
            "interrupted; everything up to the last step is saved",
            "the same command continues",
        )
        .into());
    };
    let mut failed = BTreeMap::new();
    let mut entrants = Vec::new();
    for (spec, wanted) in specs.into_iter().zip(wanted) {
        let runs: Result<Vec<RunDir>, String> = wanted
            .iter()
            .map(|at| ended[*at].as_ref().cloned().map_err(ToString::to_string))
            .collect();
        match runs {
            Ok(runs) => entrants.push(Entrant { spec, runs }),
            Err(reason) => {
                failed.insert(spec.name, reason);
            }
        }
    }
    if entrants.is_empty() {
        let reasons: Vec<&str> = failed.values().map(String::as_str).collect();
        return Err(Hinted::new(
            format!("every row failed: {}", reasons.join("; ")),
            "look at one of them with `trimer train`",
        )
        .into());
    }
    Ok((entrants, corpora, failed, Some(jobs)))
}

/// Rows that `--recipes` has nothing for, in words.
fn without_recipe(
    args: &Args,
    specs: &[RowSpec],
    corpora: &[Corpus],
) -> anyhow::Result<Option<String>> {
    let Some(folder) = &args.recipes else {
        return Ok(None);
    };
    let mut names = Vec::new();
    for spec in specs {
        if !spec.has_recipe(corpora, Some(folder))? {
            names.push(spec.name.as_str());
        }
    }
    Ok((!names.is_empty()).then(|| {
        format!(
            "`{}` has no recipe for these rows, which train with the defaults of their models: {}",
            folder.display(),
            names.join(", ")
        )
    }))
}

/// What is to be trained, each once, and which of it each row needs, fold by fold.
type Plan = (Vec<training::Unit>, Vec<Vec<usize>>);

fn units(
    args: &Args,
    specs: &[RowSpec],
    corpora: &[Corpus],
    select_on: SelectOn,
    out: &Path,
) -> anyhow::Result<Plan> {
    let seeds: Vec<u64> = (args.seed..args.seed + args.seeds).collect();
    let mut units: Vec<training::Unit> = Vec::new();
    let mut wanted = Vec::new();
    for spec in specs {
        let mut of_row = Vec::new();
        for (fold, corpus) in corpora.iter().enumerate() {
            let config = spec.resolve(
                corpus,
                args.recipes.as_deref(),
                &args.sets,
                &seeds,
                select_on,
            )?;
            judge::check_unseen(&config, parse_split(&args.split)?)?;
            let same = |u: &training::Unit| u.corpus == fold && u.config == config;
            let at = units.iter().position(same).unwrap_or_else(|| {
                let (path, name) = if corpora.len() == 1 {
                    (out.join("runs").join(spec.dir()), spec.name.clone())
                } else {
                    let fold = format!("fold-{}", fold + 1);
                    let name = format!("{} {fold}", spec.name);
                    (out.join("runs").join(fold).join(spec.dir()), name)
                };
                units.push(training::Unit {
                    name,
                    path,
                    corpus: fold,
                    config,
                });
                units.len() - 1
            });
            of_row.push(at);
        }
        wanted.push(of_row);
    }
    Ok((units, wanted))
}

/// Finished runs as rows, all on the same corpus.
fn open(paths: &[PathBuf]) -> anyhow::Result<(Vec<Entrant>, Vec<Corpus>)> {
    let mut entrants: Vec<Entrant> = Vec::new();
    let mut corpus: Option<Corpus> = None;
    for path in paths {
        let run = RunDir::open(path)?;
        match &corpus {
            None => corpus = Some(run.open_corpus()?),
            Some(first) if first.fingerprint() != run.config.corpus_fingerprint => {
                return Err(Hinted::new(
                    format!(
                        "`{}` was trained on another corpus than `{}`",
                        path.display(),
                        paths[0].display()
                    ),
                    "compare runs of one corpus; folds are compared with `--models` and several `--corpus`",
                )
                .into());
            }
            Some(_) => {}
        }
        let model = run.config.model.info().id.to_owned();
        let base = path
            .file_name()
            .map_or_else(|| model.clone(), |name| name.to_string_lossy().into_owned());
        let taken = |name: &str| entrants.iter().any(|e| e.spec.name == name);
        let name = if taken(&base) {
            path.display().to_string()
        } else {
            base
        };
        entrants.push(Entrant {
            spec: RowSpec {
                name,
                model,
                recipe: None,
                set: Vec::new(),
                plugins: run.config.train.plugins.clone(),
                head: Head::Multimodal,
                label: Head::Multimodal,
            },
            runs: vec![run],
        });
    }
    Ok((entrants, corpus.into_iter().collect()))
}

/// Writes every table in every format.
fn write(out: &Path, comparison: &Comparison) -> anyhow::Result<()> {
    std::fs::create_dir_all(out)?;
    let json = serde_json::to_string_pretty(comparison)? + "\n";
    for (name, text) in [
        ("results.json", json),
        ("results.csv", render::csv(comparison)),
        ("results.md", render::markdown(comparison)),
        ("results.tex", render::latex(comparison)),
    ] {
        trimer_core::io::write_atomic(&out.join(name), text.as_bytes())?;
    }
    render::report(comparison).write(&out.join("report.html"))?;
    Ok(())
}
