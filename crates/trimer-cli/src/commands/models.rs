//! `trimer models`: the registry, or one model's card.

use crate::{Answer, ui};
use serde::Serialize;
use std::fmt::Write as _;
use trimer_core::ModalityMap;
use trimer_nn::models::{ModelConfig, ModelInfo, Task, models};
use trimer_nn::weights::parameter_count;
use trimer_nn::{InputSpec, burn::tensor::Device};

/// Arguments of `trimer models`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A model's id; without it all models are listed
    id: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A registry entry with the size of its default preset.
#[derive(Serialize)]
struct Entry {
    #[serde(flatten)]
    info: &'static ModelInfo,
    parameters: usize,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Answer> {
    let chosen: Vec<&'static ModelInfo> = match &args.id {
        None => models(),
        Some(id) => vec![ModelConfig::resolve(id, None, &toml::Table::new())?.info()],
    };
    let entries = chosen
        .iter()
        .map(|info| entry(info))
        .collect::<anyhow::Result<Vec<_>>>()?;
    match (&args.id, args.json) {
        (None, true) => ui::json(&entries)?,
        (Some(_), true) => ui::json(&entries.first())?,
        (None, false) => {
            let rows: Vec<Vec<String>> = entries
                .iter()
                .map(|e| {
                    let kind = if e.info.reconstruction {
                        "reconstruction"
                    } else {
                        ""
                    };
                    vec![
                        e.info.id.into(),
                        e.info.title.into(),
                        e.info.level.to_string(),
                        e.parameters.to_string(),
                        kind.into(),
                    ]
                })
                .collect();
            ui::data(&ui::table(
                &["id", "title", "level", "parameters", ""],
                &rows,
            ));
        }
        (Some(_), false) => entries.iter().try_for_each(card)?,
    }
    Ok(Answer::Yes)
}

/// Widths of the features that the LFMIM paper used, so that sizes can be compared.
pub(crate) const PAPER_DIMS: ModalityMap<Option<usize>> = ModalityMap {
    text: Some(768),
    audio: Some(768),
    vision: Some(512),
};

/// The input of a model at its default lengths.
pub(crate) fn default_input(config: &ModelConfig, dims: ModalityMap<Option<usize>>) -> InputSpec {
    config.default_input(dims)
}

fn entry(info: &'static ModelInfo) -> anyhow::Result<Entry> {
    let config = ModelConfig::resolve(info.id, None, &toml::Table::new())?;
    let input = default_input(&config, PAPER_DIMS);
    let model = config.build(
        &input,
        Task::Classification { n_classes: 7 },
        0,
        &Device::flex(),
    )?;
    Ok(Entry {
        info,
        parameters: parameter_count(&model),
    })
}

fn card(entry: &Entry) -> anyhow::Result<()> {
    let info = entry.info;
    let reconstruction = if info.reconstruction {
        "\nThis is a reconstruction: the source leaves parts of it open.\n"
    } else {
        ""
    };
    let mut text = format!(
        "{} - {}\n\n{}\n{reconstruction}\nsource      {}\nlevel       {}\nmodalities  {}\ntasks       {}\nparameters  {} (preset `{}`, features of width 768, 768 and 512, 7 classes)\n",
        info.id,
        info.title,
        info.summary,
        info.citation,
        info.level,
        info.modalities_in_words(),
        info.tasks_in_words(),
        entry.parameters,
        info.presets[0],
    );
    for preset in info.presets {
        let config = ModelConfig::resolve(info.id, Some(preset), &toml::Table::new())?;
        let _ = write!(
            text,
            "\n# preset `{preset}`; change a key with `--set model.KEY=VALUE`\n{}",
            toml::to_string(&config)?
        );
    }
    ui::data(&text);
    Ok(())
}
