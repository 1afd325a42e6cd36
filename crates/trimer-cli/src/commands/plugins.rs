//! `trimer plugins`: the registry of training plug-ins, or one plug-in's card.

use crate::{Answer, ui};
use std::fmt::Write as _;
use trimer_study::text::table;
use trimer_train::plugins::{PluginConfig, PluginInfo, plugins};

/// Arguments of `trimer plugins`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A plug-in's id; without it all are listed
    id: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Answer> {
    let chosen = match &args.id {
        None => None,
        Some(id) => Some(PluginConfig::resolve(id, &toml::Table::new())?.info()),
    };
    match (chosen, args.json) {
        (None, true) => ui::json(&plugins())?,
        (Some(info), true) => ui::json(info)?,
        (Some(info), false) => ui::data(&card(info)?),
        (None, false) => {
            let rows: Vec<Vec<String>> = plugins()
                .iter()
                .map(|info| vec![info.id.into(), info.title.into(), info.summary.into()])
                .collect();
            ui::data(&table(&["id", "title", ""], &rows));
        }
    }
    Ok(Answer::Yes)
}

fn card(info: &PluginInfo) -> anyhow::Result<String> {
    let source = if info.citation.is_empty() {
        "our own"
    } else {
        info.citation
    };
    let mut text = format!(
        "{} - {}\n\n{}\n\nsource  {source}\nuse     trimer train --plugin {}\n",
        info.id, info.title, info.summary, info.id
    );
    for preset in info.presets {
        let name = toml::Table::from_iter([("preset".to_owned(), (*preset).into())]);
        let config = PluginConfig::resolve(info.id, &name)?;
        let keys = toml::to_string(&config)?;
        // The id is said above and is no key.
        let keys: String = keys
            .lines()
            .filter(|line| !line.starts_with("id = "))
            .fold(String::new(), |all, line| all + line + "\n");
        let _ = write!(
            text,
            "\n# preset `{preset}`; change a key with `--set {}.KEY=VALUE`\n{keys}",
            info.id
        );
    }
    Ok(text)
}
