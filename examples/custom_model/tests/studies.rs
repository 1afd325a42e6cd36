//! What studies do with the model: it is compared with LFMIM and explained.
#![allow(
    clippy::unwrap_used,
    reason = "clippy knows only functions marked as tests, not their helpers"
)]

use custom_model::GmuConfig;
use trimer::corpus::synth::{self, SynthSpec};
use trimer::models::register;
use trimer::prelude::*;
use trimer::study::compare::System;
use trimer::study::explain::{ExplainOptions, explain};
use trimer::study::{Comparison, Unwatched};

fn prepared() -> (tempfile::TempDir, Corpus) {
    register::<GmuConfig>().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let spec = SynthSpec {
        n_utterances: 60,
        n_speakers: 10,
        ..SynthSpec::preset("small").unwrap()
    };
    let path = synth::write(&spec, &dir.path().join("corpus"), &mut |_, _| {}).unwrap();
    let corpus = Corpus::open(path).unwrap();
    (dir, corpus)
}

#[test]
fn it_is_compared_with_lfmim() {
    let (dir, corpus) = prepared();
    let lfmim = ["d_model=8", "n_heads=2", "d_ff=16", "n_layers=1"];
    let lfmim = lfmim.into_iter().fold(System::new("lfmim"), |system, set| {
        system.set(format!("model.{set}"))
    });
    let report = Comparison::new(&corpus)
        .system_with(lfmim)
        .system_with(System::new("gmu").set("model.d_hidden=8"))
        .set("train.epochs=2")
        .seeds(2)
        .out(dir.path().join("out"))
        .run(&mut Unwatched)
        .unwrap();
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    assert_eq!(report.reference, "lfmim");
    let names: Vec<&str> = report.systems.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["lfmim", "gmu"]);
    let test = report.systems[1].test.as_ref().unwrap();
    assert!((0.0..=1.0).contains(&test.p_holm));
    assert!(report.to_text().contains("gmu"));
}

#[test]
fn it_is_explained() {
    let (dir, corpus) = prepared();
    let run = Run::builder(&corpus)
        .model(GmuConfig { d_hidden: 8 })
        .epochs(2)
        .out(dir.path().join("run"))
        .train()
        .unwrap();
    let options = ExplainOptions::default();
    let why = explain(run.dir(), &corpus, &[0, 3], &options).unwrap();
    assert_eq!(why.found.all.len(), 2);
    for explanation in &why.found.all {
        for modality in Modality::ALL {
            let part = explanation.contributions.get(modality);
            assert!(part.is_some(), "{modality} contributes nothing");
        }
    }
    let text = why.to_text();
    assert!(text.contains("text") && text.contains("vision"), "{text}");
}
