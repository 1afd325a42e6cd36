//! `trimer bench`: training and inference speed of a model on this machine.

use crate::{Answer, ui};
use std::fmt::Write as _;
use trimer_core::ModalityMap;
use trimer_nn::bench::{BenchOptions, BenchResult, Phases, bench};
use trimer_nn::burn::tensor::Device;
use trimer_nn::config::parse_set;
use trimer_nn::models::{MODELS, ModelConfig, Task};

/// Arguments of `trimer bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The model's id
    #[arg(required_unless_present = "all")]
    model: Option<String>,
    /// Measure every registered model; with `--json` one object per line
    #[arg(long, conflicts_with_all = ["model", "preset"])]
    all: bool,
    /// A preset of the model
    #[arg(long)]
    preset: Option<String>,
    /// Utterances per batch; conversations, if the model reads these
    #[arg(long, default_value_t = 24)]
    batch: usize,
    /// Utterances per conversation, if the model reads conversations
    #[arg(long, default_value_t = 50)]
    turns: usize,
    /// How often each measurement is repeated; the median counts
    #[arg(long, default_value_t = 7)]
    repeat: usize,
    /// Change a key of the model, say `model.n_layers=8`; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE", conflicts_with = "all")]
    sets: Vec<String>,
    /// Frames per sequence, the same for every modality, instead of the preset's
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    length: Option<u32>,
    /// Share of each sequence that is no padding, above 0 and at most 1
    #[arg(long, default_value_t = 1.0, value_parser = share)]
    real: f64,
    /// Measure one half alone: peak memory is then that of training or that of inference
    #[arg(long, value_enum)]
    only: Option<Only>,
    /// Without any dropout
    #[arg(long)]
    no_dropout: bool,
    /// Where to compute: cpu, cuda:0 or wgpu
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Half of a measurement.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Only {
    Training,
    Inference,
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(x) if x > 0.0 && x <= 1.0 => Ok(x),
        _ => Err("expected a number above 0 and at most 1".into()),
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Answer> {
    let device = trimer_nn::device::parse(&args.device)?;
    if args.all {
        return all(args, &device);
    }
    let id = args.model.as_deref().unwrap_or("lfmim");
    let result = measure(args, id, &device)?;
    if args.json {
        ui::json(&result)?;
    } else {
        ui::data(&text(&result, args.batch.max(1)));
    }
    Ok(Answer::Yes)
}

/// The result line by line, without what was not measured.
fn text(result: &BenchResult, batch: usize) -> String {
    let r = result;
    let mut lines = vec![
        r.system.clone(),
        format!("parameters            {}", r.parameters),
    ];
    if r.train_samples_per_s.is_finite() {
        let rate = r.train_samples_per_s;
        lines.push(format!(
            "training              {rate:.1} utterances/s (batch {batch})"
        ));
    }
    if r.infer_samples_per_s.is_finite() {
        let (median, p95) = (r.infer_batch1_ms, r.infer_batch1_p95_ms);
        lines.push(format!(
            "inference             {:.1} utterances/s",
            r.infer_samples_per_s
        ));
        lines.push(format!(
            "one utterance         {median:.2} ms (95 % within {p95:.2} ms)"
        ));
    }
    let mib = r.peak_bytes as f64 / 1_048_576.0;
    lines.push(format!("peak memory           {mib:.0} MiB"));
    let mut limit = format!("matrix-product limit  {:.0} GFLOP/s", r.gemm_limit_gflops);
    if r.limit_share.is_finite() {
        let _ = write!(
            limit,
            "; training uses {:.0} % of it",
            100.0 * r.limit_share
        );
    }
    lines.push(limit);
    lines.join("\n")
}

/// Every registered model, one after the other. Peak memory is that of the process and therefore
/// not told: it would be that of the largest model so far.
fn all(args: &Args, device: &Device) -> anyhow::Result<Answer> {
    let mut rows = Vec::new();
    for info in MODELS {
        let result = measure(args, info.id, device)?;
        if args.json {
            let mut line = serde_json::to_value(&result)?;
            if let Some(object) = line.as_object_mut() {
                object.remove("peak_bytes");
                object.insert("id".into(), info.id.into());
            }
            ui::data(&line.to_string());
            continue;
        }
        ui::note(&format!("{} measured", info.id));
        rows.push(vec![
            info.id.to_owned(),
            result.parameters.to_string(),
            format!("{:.1}", result.train_samples_per_s),
            format!("{:.1}", result.infer_samples_per_s),
            format!("{:.2}", result.infer_batch1_ms),
            format!("{:.2}", result.infer_batch1_p95_ms),
        ]);
    }
    if !args.json {
        let head = [
            "model",
            "parameters",
            "training /s",
            "inference /s",
            "one, ms",
            "95 %, ms",
        ];
        ui::data(&ui::table(&head, &rows));
    }
    Ok(Answer::Yes)
}

fn measure(args: &Args, id: &str, device: &Device) -> anyhow::Result<BenchResult> {
    let mut sets = toml::Table::new();
    for set in &args.sets {
        parse_set(set, &mut sets)?;
    }
    let mut overrides = toml::Table::new();
    for (section, keys) in sets {
        match keys {
            toml::Value::Table(keys) if section == "model" => overrides.extend(keys),
            _ => anyhow::bail!("expected keys of the model, `model.KEY=VALUE`, got `{section}`"),
        }
    }
    let config = ModelConfig::resolve(id, args.preset.as_deref(), &overrides)?;
    // The widths that the two published forms of LFMIM were made for.
    let dims = if args.preset.as_deref() == Some("released") {
        ModalityMap {
            text: Some(1024),
            audio: Some(1024),
            vision: Some(2048),
        }
    } else {
        super::models::PAPER_DIMS
    };
    let mut input = super::models::default_input(&config, dims);
    if let Some(length) = args.length {
        input.lengths = ModalityMap::from_fn(|_| length as usize);
    }
    let options = BenchOptions {
        batch: args.batch.max(1),
        turns: args.turns.max(1),
        repeat: args.repeat.max(1),
        dropout: !args.no_dropout,
        real: args.real,
        phases: match args.only {
            None => Phases::Both,
            Some(Only::Training) => Phases::Training,
            Some(Only::Inference) => Phases::Inference,
        },
    };
    let task = Task::Classification { n_classes: 7 };
    Ok(bench(&config, &input, task, &options, device)?)
}
