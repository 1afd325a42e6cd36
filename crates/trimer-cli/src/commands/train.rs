//! `trimer train`: train a model on a corpus, or continue a run.

use super::parse::{parse_select_on, stop_on_ctrl_c};
use crate::Answer;
use crate::ui::{self, Hinted, TrainingView};
use std::path::{Path, PathBuf};
use trimer_core::corpus::{Corpus, Split};
use trimer_nn::burn::tensor::Device;
use trimer_study::{environment, recipe};
use trimer_train::config::DataConfig;
use trimer_train::{Outcome, Overrides, RunDir, TrainConfig, train_run};

/// Arguments of `trimer train`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = known_keys())]
pub(crate) struct Args {
    /// The corpus directory
    #[arg(long, value_name = "DIR", required_unless_present = "resume")]
    corpus: Option<PathBuf>,
    /// The model's id (see `trimer models`); `lfmim` unless the recipe says otherwise
    #[arg(long, value_name = "ID", conflicts_with = "resume")]
    model: Option<String>,
    /// A TOML file with `[model]`, `[data]`, `[train]` and sections of plug-ins: only what differs from the defaults
    #[arg(long, value_name = "FILE", conflicts_with = "resume")]
    recipe: Option<PathBuf>,
    /// Change one key, for instance `train.lr=1e-3` or `model.preset=released`; may be repeated
    /// (`--help` lists the keys)
    #[arg(long = "set", value_name = "KEY=VALUE", conflicts_with = "resume")]
    sets: Vec<String>,
    /// Use a plug-in (see `trimer plugins`); several act in the order given. Its keys are set with, for
    /// instance, `--set fagm.beta=0.5`
    #[arg(long = "plugin", value_name = "ID", conflicts_with = "resume")]
    plugins: Vec<String>,
    /// Start from these weights (.safetensors, .pth or .pt under the reference's names); with
    /// `--set train.epochs=0` they are evaluated as they are
    #[arg(long, value_name = "FILE", conflicts_with = "resume")]
    init: Option<PathBuf>,
    /// How many seeds to train, counted up from `--seed`
    #[arg(long, default_value_t = 1, value_name = "N", conflicts_with = "resume")]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 1, value_name = "S", conflicts_with = "resume")]
    seed: u64,
    /// The run directory to make; `runs/<corpus>-<model>-<n>` by default
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    out: Option<PathBuf>,
    /// Continue this run where it stands
    #[arg(long, value_name = "RUN")]
    resume: Option<PathBuf>,
    /// The split that selects the epoch; `test` shows what that adds, with a warning over every result
    #[arg(long, default_value = "valid", value_parser = ["valid", "test"])]
    select_on: String,
    /// Where to compute: cpu, cuda:0 or wgpu
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Answer> {
    let device = &crate::device::opened(&args.device)?.device;
    let (run, corpus) = match &args.resume {
        Some(path) => {
            let run = RunDir::open(path)?;
            let corpus = match &args.corpus {
                Some(moved) => Corpus::open(moved)?,
                None => run.open_corpus()?,
            };
            if corpus.fingerprint() != run.config.corpus_fingerprint {
                return Err(Hinted::new(
                    format!(
                        "the corpus `{}` is not the one that the run was started on",
                        corpus.path().display()
                    ),
                    "give the original corpus, or start a new run",
                )
                .into());
            }
            // A run that was started so must be continued so.
            run.check_selection(args.select_on == "test")?;
            (run, corpus)
        }
        None => start(args, device)?,
    };
    train_to_end(&run, &corpus, device)?;
    super::eval::show(&run, &corpus, Split::Test, device, args.json)?;
    Ok(Answer::Yes)
}

/// Trains with a view on stderr, ending cleanly on Ctrl-C.
pub(crate) fn train_to_end(run: &RunDir, corpus: &Corpus, device: &Device) -> anyhow::Result<()> {
    let (selector, _) = run.config.train.selector(run.config.task)?;
    let split = run.config.train.select_on.split();
    let mut view = TrainingView::new(&format!("{split} {selector}"));
    let outcome = train_run(
        run,
        corpus,
        &device.clone().autodiff(),
        &stop_on_ctrl_c(),
        &mut view,
    );
    view.finish();
    if outcome? == Outcome::Interrupted {
        return Err(Hinted::new(
            "interrupted; everything up to the last step is saved",
            format!(
                "continue with `trimer train --resume {}`",
                run.path.display()
            ),
        )
        .into());
    }
    Ok(())
}

fn start(args: &Args, device: &Device) -> anyhow::Result<(RunDir, Corpus)> {
    let path = args.corpus.as_ref().ok_or_else(|| {
        Hinted::new(
            "no corpus is given",
            "name one with `--corpus DIR`, or make one with `trimer corpus synth`",
        )
    })?;
    let corpus = Corpus::open(path)?;
    let mut overrides = match &args.recipe {
        Some(file) => recipe::read(file)?,
        None => Overrides::default(),
    };
    let sets = recipe::parse_sets(&args.sets)?;
    let touched: Vec<String> = sets.plugins.keys().cloned().collect();
    overrides.merge(sets);
    if !args.plugins.is_empty() {
        overrides.use_plugins(&args.plugins);
    }
    overrides.select_on = parse_select_on(&args.select_on)?;
    let seeds = seeds(args)?;
    let mut config = overrides.resolve(args.model.as_deref(), &corpus, seeds)?;
    if let Some(id) = touched.iter().find(|id| !config.train.plugins.contains(id)) {
        return Err(Hinted::new(
            format!("`--set {id}...` changes nothing: the plug-in `{id}` is not active"),
            format!("add `--plugin {id}`"),
        )
        .into());
    }
    if let Some(weights) = &args.init {
        // A run may be continued from another directory than it was started in.
        config.init_weights = std::path::absolute(weights)?;
        config.check_init_weights()?;
    }
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| free_run_dir(&config.corpus_name, config.model.info().id));
    let run = RunDir::create(&out, config, &environment(device))?;
    ui::note(&format!("run directory: {}", out.display()));
    Ok((run, corpus))
}

/// The seeds that were asked for. A TOML file holds whole numbers up to 2^63 - 1.
fn seeds(args: &Args) -> anyhow::Result<Vec<u64>> {
    let refuse = |message: String, hint: &str| Err(Hinted::new(message, hint).into());
    if args.seeds == 0 || args.seeds > 1000 {
        return refuse(
            format!(
                "`--seeds {}` is out of range; expected 1 to 1000",
                args.seeds
            ),
            "it tells how many seeds are trained; `--seed S` sets the first",
        );
    }
    match args.seed.checked_add(args.seeds) {
        Some(end) if i64::try_from(end).is_ok() => Ok((args.seed..end).collect()),
        _ => refuse(
            format!(
                "`--seed {}` is out of range; expected 0 to {}",
                args.seed,
                i64::MAX as u64 - args.seeds
            ),
            "any small number does",
        ),
    }
}

/// What `--set` and recipes may change, with the defaults.
fn known_keys() -> String {
    let toml = |section: &str, table: Result<String, toml::ser::Error>| {
        // Tables inside are written in full: `[train.optimizer]`.
        let table = table
            .unwrap_or_default()
            .replace("\n[", &format!("\n[{section}."));
        format!("[{section}]\n{table}")
    };
    format!(
        "Keys for `--set` and recipes, with their defaults (those of [model]: `trimer models ID`, those of plug-ins: `trimer plugins ID`):\n\n{}\n{}",
        toml("data", toml::to_string(&DataConfig::default())),
        toml("train", toml::to_string(&TrainConfig::default())),
    )
}

fn free_run_dir(corpus: &str, model: &str) -> PathBuf {
    // The name of a corpus is free text, which must not lead out of `runs`.
    let plain = |c: char| {
        if c.is_alphanumeric() || "-_.".contains(c) {
            c
        } else {
            '_'
        }
    };
    let corpus: String = corpus.chars().take(80).map(plain).collect();
    let corpus = match corpus.trim_start_matches('.') {
        "" => "corpus",
        rest => rest,
    };
    let name = |n: usize| Path::new("runs").join(format!("{corpus}-{model}-{n}"));
    let mut n = 1;
    while name(n).exists() {
        n += 1;
    }
    name(n)
}
