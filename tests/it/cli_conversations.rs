//! Conversations from outside: parts that learn and select, windows, streaming, the length of conversations.

use crate::cli::{Ran, entries, import_rows, trimer};
use serde_json::Value;
use std::{fs, path::Path};

/// A corpus `c` of conversations of one to nine turns and two speakers; the class follows from the speaker.
fn talks(dir: &Path) -> usize {
    let mut rows = Vec::new();
    for talk in 0..24 {
        let split = ["train", "train", "valid", "test"][talk % 4];
        for turn in 0..=((talk * 5) % 9) {
            let speaker = (turn + talk / 4) % 2;
            rows.push(format!(
                "{split},t{talk:02},{turn},s{speaker},class{speaker}"
            ));
        }
    }
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    import_rows(dir, "c", "split,conversation,turn,speaker,label", &rows).ok();
    rows.len()
}

/// Trains a small model of conversations in `r`.
fn train(dir: &Path, run: &str, more: &str) -> Ran {
    let model = "--model bc_lstm --set model.d_hidden=4 --set model.d_dense=4 --set train.epochs=2";
    let line = format!("train --corpus c {model} --set train.batch_size=4 --out {run} {more}");
    trimer(dir, &line)
}

fn predicted(dir: &Path, line: &str) -> Vec<(String, f64)> {
    let all = trimer(dir, &format!("predict {line} --raw --json")).json();
    let rows = all.as_array().unwrap().iter();
    rows.map(|row| {
        let p = &row["heads"]["multimodal"]["probabilities"]["class0"];
        (row["id"].as_str().unwrap().to_owned(), p.as_f64().unwrap())
    })
    .collect()
}

#[track_caller]
fn same(a: &[(String, f64)], b: &[(String, f64)]) -> bool {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).all(|((id, p), (other, q))| {
        assert_eq!(id, other);
        (p - q).abs() < 1e-5
    })
}

#[test]
fn windows_and_streaming_give_one_row_per_utterance_and_see_no_more_than_they_say() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let n = talks(at);
    train(at, "both", "").ok();
    train(at, "past", "--set model.bidirectional=false").ok();
    let whole = predicted(at, "both --corpus c");
    assert_eq!(whole.len(), n);
    // No conversation is longer than nine turns.
    assert!(same(&whole, &predicted(at, "both --corpus c --window 9")));
    assert!(!same(&whole, &predicted(at, "both --corpus c --window 3")));
    assert!(!same(&whole, &predicted(at, "both --corpus c --online")));
    // A model that never reads ahead answers the same while the conversation goes on.
    let whole = predicted(at, "past --corpus c");
    assert!(same(&whole, &predicted(at, "past --corpus c --online")));
    let window = predicted(at, "past --corpus c --online --window 9");
    assert!(same(&whole, &window));
    let short = predicted(at, "past --corpus c --online --window 2");
    assert!(!same(&whole, &short));
    // Chosen utterances get what they get among all.
    let some = predicted(at, "past --corpus c --online --window 2 --split test");
    let among_all: Vec<_> = some
        .iter()
        .filter_map(|(id, _)| short.iter().find(|(other, _)| other == id).cloned())
        .collect();
    assert!(some.len() < n && same(&some, &among_all));
    trimer(at, "predict both --corpus c --window 1").refused(&["--window"]);
    let plain = "train --corpus c --model unimodal --set train.epochs=1 --out plain";
    trimer(at, plain).ok();
    for option in ["--online", "--window 4"] {
        trimer(at, &format!("predict plain --corpus c {option}")).refused(&["single utterances"]);
    }
}

#[test]
fn a_part_of_train_selects_and_valid_can_be_evaluated() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    talks(at);
    let protocol = |run: &str| -> Value {
        let text = fs::read_to_string(at.join(run).join("protocol.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    train(at, "held", "--set data.valid_from_train=0.25").ok();
    let said = protocol("held");
    assert_eq!(said["selected_on"], "0.25 of the conversations of train");
    train(
        at,
        "all",
        "--set data.fit_on=train+valid --set train.select=last",
    )
    .ok();
    assert_eq!(protocol("all")["fitted_on"], "train+valid");
    // What was learned from is not evaluated on.
    assert!(!entries(&at.join("all/seed-1")).contains(&"predictions-valid.parquet".to_owned()));
    train(at, "no", "--set data.fit_on=train+valid").refused(&["data.fit_on", "train.select=last"]);
    train(at, "no", "--set data.valid_from_train=0.95").refused(&["data.valid_from_train"]);
    assert!(!at.join("no").exists());

    let compare = "compare --models bc_lstm,utterance_mlp --corpus c --seeds 1 --split valid --set train.epochs=1";
    trimer(at, &format!("{compare} --out no")).refused(&["valid", "data.valid_from_train=0.1"]);
    assert!(!at.join("no").exists());
    // One thread for two runs at a time: whoever waits must not keep it.
    let line =
        format!("{compare} --set data.valid_from_train=0.25 --out yes --json --threads 1 --jobs 2");
    let found = trimer(at, &line).json();
    assert_eq!(found["split"], "valid");
    trimer(at, "compare all held --split valid").refused(&["has seen the valid split"]);
}

#[test]
fn short_and_long_conversations_are_evaluated_separately() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    talks(at);
    train(at, "r", "--seeds 2").ok();
    let whole = trimer(at, "eval r --json").json();
    let n = |v: &Value| v.as_u64().unwrap();
    let parts = trimer(at, "eval r --by-length --length-edges 2,5 --json").json();
    let bins = parts["bins"].as_array().unwrap();
    assert_eq!(bins.len(), 3);
    assert!(bins[2]["to"].is_null());
    // Six conversations of the test split, and the accuracy is the mean over utterances.
    let talks: u64 = bins.iter().map(|bin| n(&bin["conversations"])).sum();
    assert_eq!(talks, 6);
    let utterances: u64 = bins.iter().map(|bin| n(&bin["utterances"])).sum();
    let right: f64 = bins
        .iter()
        .filter(|bin| n(&bin["utterances"]) > 0)
        .map(|bin| {
            let accuracy = bin["heads"]["multimodal"]["accuracy"].as_f64().unwrap();
            accuracy * n(&bin["utterances"]) as f64
        })
        .sum();
    let accuracy = whole["heads"]["multimodal"]["accuracy"].as_f64().unwrap();
    assert!((right / utterances as f64 - accuracy).abs() < 1e-9);
    let table = trimer(at, "eval r --by-length").ok();
    assert!(table.out.contains("81 and more"), "{table}");
    trimer(at, "eval r --by-length --length-edges 5,2").refused(&["--length-edges", "5,2"]);
}

#[test]
fn the_losses_of_a_model_are_logged_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    talks(at);
    let line = "train --corpus c --model cmath --set model.d_model=8 --set model.n_heads=2 --set train.epochs=2 --out r";
    trimer(at, line).ok();
    let log = fs::read_to_string(at.join("r/seed-1/log.jsonl")).unwrap();
    for line in log.lines() {
        let report: Value = serde_json::from_str(line).unwrap();
        let aux = report["aux_losses"].as_object().unwrap();
        let names: Vec<&str> = aux.keys().map(String::as_str).collect();
        assert_eq!(names, ["distribution", "logit", "prior", "reconstruction"]);
        // The total is what the heads and these add up to.
        let number = |v: &Value| v.as_f64().unwrap_or(0.0);
        let heads = report["train_losses"].as_object().unwrap();
        let sum: f64 = heads.values().chain(aux.values()).map(number).sum();
        assert!((sum - number(&report["train_loss"])).abs() < 1e-4, "{line}");
    }
}

#[test]
fn turns_without_a_certain_order_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let rows: Vec<String> = (0..12)
        .map(|i| {
            let split = ["train", "train", "valid"][i / 4];
            format!("{split},t{},{},s,class{}", i / 2, i / 8, i % 2)
        })
        .collect();
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    import_rows(at, "c", "split,conversation,turn,speaker,label", &rows).ok();
    train(at, "r", "")
        .ok()
        .says(&["6 conversations have a turn twice"]);
}
