//! `trimer bench`: training and inference speed of a model on this machine.

use crate::{Answer, ui};
use trimer_core::ModalityMap;
use trimer_nn::bench::{BenchOptions, BenchResult, bench};
use trimer_nn::burn::tensor::Device;
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

pub(crate) fn run(args: &Args) -> anyhow::Result<Answer> {
    let device = crate::device::opened(&args.device)?.device;
    if args.all {
        return all(args, &device);
    }
    let id = args.model.as_deref().unwrap_or("lfmim");
    let result = measure(args, id, &device)?;
    if args.json {
        ui::json(&result)?;
    } else {
        ui::data(&format!(
            "{}\ndevice                {}\nparameters            {}\ntraining              {:.1} utterances/s (batch {})\ninference             {:.1} utterances/s\none utterance         {:.2} ms (95 % within {:.2} ms)\npeak memory           {:.0} MiB\nmatrix-product limit  {:.0} GFLOP/s; training uses {:.0} % of it",
            result.system,
            result.device_and_adapter(),
            result.parameters,
            result.train_samples_per_s,
            args.batch.max(1),
            result.infer_samples_per_s,
            result.infer_batch1_ms,
            result.infer_batch1_p95_ms,
            result.peak_bytes as f64 / 1_048_576.0,
            result.gemm_limit_gflops,
            100.0 * result.limit_share,
        ));
    }
    Ok(Answer::Yes)
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
    let config = ModelConfig::resolve(id, args.preset.as_deref(), &toml::Table::new())?;
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
    let input = super::models::default_input(&config, dims);
    let options = BenchOptions {
        batch: args.batch.max(1),
        turns: args.turns.max(1),
        repeat: args.repeat.max(1),
        dropout: !args.no_dropout,
    };
    let task = Task::Classification { n_classes: 7 };
    Ok(bench(&config, &input, task, &options, device)?)
}
