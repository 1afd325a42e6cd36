//! `trimer bench`: training and inference speed of a model on this machine.

use crate::{Answer, ui};
use trimer_core::ModalityMap;
use trimer_nn::bench::{BenchOptions, bench};
use trimer_nn::models::{ModelConfig, Task};

/// Arguments of `trimer bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The model's id
    model: String,
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
    let device = trimer_nn::device::parse(&args.device)?;
    let config = ModelConfig::resolve(&args.model, args.preset.as_deref(), &toml::Table::new())?;
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
    let result = bench(
        &config,
        &input,
        Task::Classification { n_classes: 7 },
        &options,
        &device,
    )?;
    if args.json {
        ui::json(&result)?;
    } else {
        ui::data(&format!(
            "{}\nparameters            {}\ntraining              {:.1} utterances/s (batch {})\ninference             {:.1} utterances/s\n{:<21} {:.2} ms (95 % within {:.2} ms)\npeak memory           {:.0} MiB\nmatrix-product limit  {:.0} GFLOP/s; training uses {:.0} % of it",
            result.system,
            result.parameters,
            result.train_samples_per_s,
            options.batch,
            result.infer_samples_per_s,
            if config.info().reads_conversations() {
                "one conversation"
            } else {
                "one utterance"
            },
            result.infer_batch1_ms,
            result.infer_batch1_p95_ms,
            result.peak_bytes as f64 / 1_048_576.0,
            result.gemm_limit_gflops,
            100.0 * result.limit_share,
        ));
    }
    Ok(Answer::Yes)
}
