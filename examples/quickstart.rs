//! The whole way from a corpus to a prediction, as a program: make a small synthetic corpus, train
//! LFMIM on it, evaluate it on the test split and predict one utterance.
//!
//! Run with: `cargo run --release --example quickstart`
//!
//! Expected output (numbers of one machine; they differ in the last digits between CPUs):
//!
//! ```text
//! 300 utterances, classes anger, disgust, fear, happy, neutral, sad, surprise
//! text        accuracy 0.783 [0.667, 0.883]
//! audio       accuracy 0.800 [0.700, 0.900]
//! vision      accuracy 0.850 [0.750, 0.933]
//! multimodal  accuracy 0.633 [0.516, 0.750]
//! utterance 00240: sad
//! ```
//!
//! Time on two cores of a laptop: a few seconds.
#![expect(clippy::print_stdout, reason = "an example shows what it finds")]

use std::error::Error;
use std::sync::atomic::AtomicBool;
use trimer::corpus::synth::{self, SynthSpec};
use trimer::metrics::EvaluationOptions;
use trimer::nn::config::parse_set;
use trimer::prelude::*;
use trimer::train::trainer::Silent;

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let spec = SynthSpec {
        n_utterances: 300,
        n_speakers: 20,
        ..SynthSpec::preset("small")?
    };
    let path = synth::write(&spec, &dir.path().join("corpus"), &mut |_, _| {})?;
    let corpus = Corpus::open(&path)?;
    let classes = &corpus.info().label_space.classes;
    println!(
        "{} utterances, classes {}",
        corpus.len(),
        classes.join(", ")
    );

    // Only what differs from the defaults; the same keys as `trimer train --set`.
    let mut overrides = Overrides::default();
    for set in ["d_model=32", "n_heads=4", "d_ff=64", "n_layers=2"] {
        parse_set(set, &mut overrides.model)?;
    }
    parse_set("normalise=standard", &mut overrides.data)?;
    for set in ["epochs=10", "batch_size=16", "lr=2e-3"] {
        parse_set(set, &mut overrides.train)?;
    }
    let seed = 1;
    let config = overrides.resolve(Some("lfmim"), &corpus, vec![seed])?;
    let run = RunDir::create(&dir.path().join("run"), config, &serde_json::json!({}))?;

    let device = trimer::nn::device::parse("cpu")?;
    let never = AtomicBool::new(false);
    train_run(
        &run,
        &corpus,
        &device.clone().autodiff(),
        &never,
        &mut Silent,
    )?;

    let options = EvaluationOptions::default();
    let heads = run.evaluate(&corpus, Split::Test, &device, &options)?;
    for (head, metrics) in heads.iter() {
        let Some(metrics) = metrics else { continue };
        if let (Some(accuracy), Some([low, high])) =
            (metrics.scalar("accuracy"), metrics.interval("accuracy"))
        {
            println!("{head:<11} accuracy {accuracy:.3} [{low:.3}, {high:.3}]");
        }
    }

    let row = corpus.indices(Split::Test)[0];
    let predictions = run.predict(seed, &corpus, &[row], &device)?;
    let fused = predictions
        .classes(Head::Multimodal)
        .ok_or("no multimodal head")?;
    println!(
        "utterance {}: {}",
        corpus.utterances()[row].id,
        classes[fused[0] as usize]
    );
    Ok(())
}
