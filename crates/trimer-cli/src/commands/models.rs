//! `trimer models`: the registry, or one model's card.

use crate::{Answer, ui};
use trimer_study::models::{ModelEntry, entries, entry};
use trimer_study::text::table;

/// Arguments of `trimer models`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A model's id; without it all models are listed
    id: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Answer> {
    match &args.id {
        Some(id) => {
            let entry = entry(id)?;
            if args.json {
                ui::json(&entry)?;
            } else {
                ui::data(&entry.card()?);
            }
        }
        None if args.json => ui::json(&entries()?)?,
        None => {
            let rows: Vec<Vec<String>> = entries()?.iter().map(row).collect();
            let head = ["id", "title", "level", "parameters", ""];
            ui::data(&table(&head, &rows));
        }
    }
    Ok(Answer::Yes)
}

fn row(entry: &ModelEntry) -> Vec<String> {
    let info = entry.info;
    let kind = if info.reconstruction {
        "reconstruction"
    } else {
        ""
    };
    vec![
        info.id.into(),
        info.title.into(),
        info.level.to_string(),
        entry.parameters.to_string(),
        kind.into(),
    ]
}
