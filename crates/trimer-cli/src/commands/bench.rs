//! `trimer bench`: training and inference speed of a model on this machine.

use crate::{Answer, ui, ui::Hinted};
use std::fmt::Write as _;
use trimer_core::{Modality, ModalityMap};
use trimer_nn::burn::tensor::Device;
use trimer_nn::models::models;
use trimer_study::bench::{BenchOptions, BenchResult, Benchmark, Phases};
use trimer_study::text::table;

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
    /// Utterances of the shortest conversation of a batch, lengths being spread evenly up to `--turns`;
    /// all have the same length by default
    #[arg(long, value_name = "N")]
    min_turns: Option<usize>,
    /// Speakers of a conversation
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    speakers: u16,
    /// Feature widths, as `text=100,audio=1582`; a modality that is not named is not read
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    dims: Vec<String>,
    /// Classes
    #[arg(long, default_value_t = 7, value_name = "N", value_parser = clap::value_parser!(u16).range(2..=1000))]
    classes: u16,
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
    /// A plug-in of the training step (see `trimer plugins`), with its defaults; may be repeated
    #[arg(long = "plugin", value_name = "ID")]
    plugins: Vec<String>,
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
    let device = crate::device::opened(&args.device)?.device;
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
        format!("device                {}", r.device_and_adapter()),
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
    for info in models() {
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
        ui::data(&table(&head, &rows));
    }
    Ok(Answer::Yes)
}

fn measure(args: &Args, id: &str, device: &Device) -> anyhow::Result<BenchResult> {
    let turns = args.turns.max(1);
    let options = BenchOptions {
        batch: args.batch.max(1),
        turns,
        min_turns: args.min_turns.unwrap_or(turns),
        repeat: args.repeat.max(1),
        dropout: !args.no_dropout,
        valid_share: args.real,
        phases: match args.only {
            None => Phases::Both,
            Some(Only::Training) => Phases::Training,
            Some(Only::Inference) => Phases::Inference,
        },
        plugins: Vec::new(),
    };
    let dims = (!args.dims.is_empty()).then(|| parse_dims(&args.dims));
    let benchmark = Benchmark {
        preset: args.preset.clone(),
        sets: args.sets.clone(),
        dims: dims.transpose()?,
        length: args.length.map(|n| n as usize),
        speakers: args.speakers.into(),
        classes: args.classes.into(),
        plugins: args.plugins.clone(),
        options,
        device: device.clone(),
        ..Benchmark::new(id)
    };
    Ok(benchmark.run()?)
}

fn parse_dims(pairs: &[String]) -> anyhow::Result<ModalityMap<Option<usize>>> {
    let mut dims = ModalityMap::default();
    for pair in pairs {
        let (name, width) = pair.split_once('=').unwrap_or((pair, ""));
        let width: Option<usize> = width
            .trim()
            .parse()
            .ok()
            .filter(|n| (1..=65_536).contains(n));
        if width.is_none() {
            return Err(Hinted::new(
                format!("`--dims {pair}` names no width from 1 to 65536"),
                "write for instance `--dims text=100,audio=1582,vision=342`",
            )
            .into());
        }
        *dims.get_mut(name.trim().parse::<Modality>()?) = width;
    }
    Ok(dims)
}
