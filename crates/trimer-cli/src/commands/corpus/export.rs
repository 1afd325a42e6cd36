//! `trimer corpus export`: a corpus in a form that other tools read.

use crate::{Answer, ui};
use std::path::PathBuf;
use trimer_core::corpus::{Corpus, export_folder};

/// Arguments of `trimer corpus export`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The corpus directory
    corpus: PathBuf,
    /// The directory to make
    out: PathBuf,
    /// The form
    #[arg(long, default_value = "folder", value_parser = ["folder"])]
    format: String,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Answer> {
    let corpus = Corpus::open(&args.corpus)?;
    let bar = ui::bar(corpus.len() as u64, "exporting");
    let done = export_folder(&corpus, &args.out, &mut |done, _| bar.set_position(done));
    bar.finish_and_clear();
    done?;
    ui::note(&format!("written to {}", args.out.display()));
    Ok(Answer::Yes)
}
