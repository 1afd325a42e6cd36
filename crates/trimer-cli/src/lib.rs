//! The command line tool: one file per verb in [`commands`]; [`ui`] alone prints.

mod commands;
mod device;
mod ui;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Multimodal emotion recognition: from text, audio and vision to the emotion.
#[derive(Debug, Parser)]
#[command(
    name = "trimer",
    version,
    max_term_width = 100,
    arg_required_else_help = true
)]
struct Cli {
    /// Threads of the CPU backend; 0 = as many as the machine has
    #[arg(long, global = true, default_value_t = 0, value_name = "N")]
    threads: usize,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a small corpus, train LFMIM on it, evaluate it and write a report, in about a minute
    Quickstart(commands::quickstart::Args),
    /// Make, convert, examine, describe and hand on corpora
    #[command(subcommand)]
    Corpus(commands::corpus::Verb),
    /// List the models, or show one model's card
    Models(commands::models::Args),
    /// List the plug-ins that change gradients in training, or show one's card
    Plugins(commands::plugins::Args),
    /// Train a model on a corpus, or continue a run
    Train(commands::train::Args),
    /// Evaluate a run: metrics per head under every convention that applies, with intervals
    Eval(commands::eval::Args),
    /// Train several models under one protocol, or take finished runs, and compare them
    Compare(commands::compare::Args),
    /// Search settings on validation, with the same budget for every model
    Tune(commands::tune::Args),
    /// Predict emotions: probabilities per modality and fused
    Predict(commands::predict::Args),
    /// Fit temperatures and thresholds on validation, and show what they do to a split
    Calibrate(commands::calibrate::Args),
    /// Write runs as one HTML page that opens offline
    Report(commands::report::Args),
    /// Turn annotators' votes into labels, and measure how labels of modalities differ
    #[command(subcommand)]
    Labels(commands::labels::Verb),
    /// Measure a model's training and inference speed on this machine
    Bench(commands::bench::Args),
}

/// What a command ends with when nothing failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// Exit code 0.
    Yes,
    /// Exit code 1: the answer is negative, a check failed.
    No,
}

/// Reports an error as the tool does, with its causes and its hint; the exit code is 2. For programs that
/// have something to do before [`main`].
pub fn fail(error: &anyhow::Error) -> ExitCode {
    ui::fail(error);
    ExitCode::from(2)
}

/// Runs the tool on the process's arguments.
///
/// Exit codes: 0 done, 1 the answer is negative, 2 an error.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // Jobs compute on threads of their own while this one waits for them.
    let set_up = match &cli.verb {
        Verb::Compare(args) if args.jobs() > 1 => trimer_nn::kernels::use_other_threads,
        Verb::Tune(args) if args.jobs() > 1 => trimer_nn::kernels::use_other_threads,
        _ => trimer_nn::kernels::use_threads,
    };
    if let Err(error) = set_up(cli.threads) {
        ui::warn(&format!("--threads {} has no effect: {error}", cli.threads));
    }
    let result = match cli.verb {
        Verb::Quickstart(args) => commands::quickstart::run(&args),
        Verb::Corpus(verb) => commands::corpus::run(&verb),
        Verb::Models(args) => commands::models::run(&args),
        Verb::Plugins(args) => commands::plugins::run(&args),
        Verb::Train(args) => commands::train::run(&args),
        Verb::Eval(args) => commands::eval::run(&args),
        Verb::Compare(args) => commands::compare::run(&args),
        Verb::Tune(args) => commands::tune::run(&args),
        Verb::Predict(args) => commands::predict::run(&args),
        Verb::Calibrate(args) => commands::calibrate::run(&args),
        Verb::Report(args) => commands::report::run(&args),
        Verb::Labels(verb) => commands::labels::run(&verb),
        Verb::Bench(args) => commands::bench::run(&args),
    };
    match result {
        Ok(Answer::Yes) => ExitCode::SUCCESS,
        Ok(Answer::No) => ExitCode::from(1),
        Err(error) => fail(&error),
    }
}
