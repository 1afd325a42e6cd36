//! `trimer eval`: metrics of a run, head by head, with intervals.

mod by_length;
mod missing;
mod show;

pub(super) use show::show;

use super::parse::parse_split;
use crate::Answer;
use std::path::PathBuf;
use trimer_core::corpus::{Corpus, Split};
use trimer_study::by_length::LENGTH_EDGES;
use trimer_study::evaluation::check_labels;
use trimer_study::robustness::{FRAME_LOSS, SNR};
use trimer_train::RunDir;

/// Arguments of `trimer eval`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The run directory
    run: PathBuf,
    /// Judge on another corpus than the one the run was trained on
    #[arg(long, value_name = "DIR")]
    corpus: Option<PathBuf>,
    /// The split to evaluate on
    #[arg(long, default_value = "test", value_parser = ["train", "valid", "test"])]
    split: String,
    /// `test` shows a run that selected on test all the same, under a warning
    #[arg(long, default_value = "valid", value_parser = ["valid", "test"])]
    select_on: String,
    /// Judge with less than the model was trained on: every subset of its modalities, lost frames,
    /// noise
    #[arg(long)]
    missing: bool,
    /// Shares of the frames that are lost, divided by commas
    #[arg(long, value_name = "RATES", value_delimiter = ',', default_values_t = FRAME_LOSS, requires = "missing")]
    frame_loss: Vec<f64>,
    /// Ratios of signal to noise power in decibels, divided by commas
    #[arg(long, value_name = "DB", value_delimiter = ',', allow_hyphen_values = true, default_values_t = SNR, requires = "missing")]
    snr: Vec<f64>,
    /// Which frames are lost and what noise is added follow from it
    #[arg(long, value_name = "S", default_value_t = 0, requires = "missing")]
    corruption_seed: u64,
    /// Judge short conversations and long ones apart
    #[arg(long, conflicts_with = "missing")]
    by_length: bool,
    /// Most turns of each group but the last, divided by commas
    #[arg(long, value_name = "TURNS", value_delimiter = ',', default_values_t = LENGTH_EDGES, requires = "by_length")]
    length_edges: Vec<usize>,
    /// Where to compute: cpu, cuda:0 or wgpu
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Answer> {
    let run = RunDir::open(&args.run)?;
    run.check_selection(args.select_on == "test")?;
    let corpus = match &args.corpus {
        Some(other) => Corpus::open(other)?,
        None => run.open_corpus()?,
    };
    let split = parse_split(&args.split)?;
    let device = crate::device::opened(&args.device)?.device;
    check_labels(&run, &corpus, split)?;
    if split == Split::Test {
        run.note_test_opened("eval")?;
    }
    if args.missing {
        missing::show(&run, &corpus, split, args, &device)?;
    } else if args.by_length {
        by_length::show(&run, &corpus, split, args, &device)?;
    } else {
        show(&run, &corpus, split, &device, args.json)?;
    }
    Ok(Answer::Yes)
}
