//! `--device`, and what `trimer predict` does before it answers.

use crate::cli::{TINY, command, finish, trimer, with_corpus};
use std::{fs, path::Path};
use tempfile::TempDir;
use trimer::nn::burn::tensor::Device;
use trimer::nn::weights::{parameters, state_dict, to_vec};
use trimer::train::RunDir;

/// No machine has so many cards, whatever the binary was built with.
const NOT_THERE: &str = "cuda:60000";

fn trained() -> TempDir {
    let dir = with_corpus(40);
    trimer(
        dir.path(),
        &format!("train --corpus c {TINY} --set train.epochs=1 --out r"),
    )
    .ok();
    dir
}

fn read_json(path: &Path) -> serde_json::Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn a_device_that_is_not_there_gives_a_warning_and_the_same_answer() {
    let dir = trained();
    let at = dir.path();
    let warning = [
        "warning: device `cuda:60000` cannot be used",
        "computing on the CPU",
    ];
    for line in [
        "predict r --corpus c --split test --json",
        "eval r --split valid --json",
    ] {
        let plain = trimer(at, line).ok();
        assert!(!plain.err.contains("cannot be used"), "{plain}");
        let fallen = trimer(at, &format!("{line} --device {NOT_THERE}"))
            .ok()
            .says(&warning);
        assert_eq!(fallen.out, plain.out);
    }
    // What is recorded is what was used.
    let line = format!("train --corpus c {TINY} --set train.epochs=1 --out s --device {NOT_THERE}");
    trimer(at, &line).ok().says(&warning);
    let environment = read_json(&at.join("s/environment.json"));
    assert_eq!(environment["device"], "cpu");
    assert!(environment["adapter"].is_null());
    let weights = |run: &str| fs::read(at.join(run).join("seed-1/best.safetensors")).unwrap();
    assert_eq!(weights("r"), weights("s"));

    let bench = format!("bench majority --batch 2 --repeat 1 --json --device {NOT_THERE}");
    let bench = trimer(at, &bench).ok().says(&warning).json();
    assert_eq!(bench["device"], "cpu");
    assert!(bench["adapter"].is_null());
}

#[test]
fn names_of_no_device_are_refused_before_anything_is_written() {
    let dir = trained();
    for bad in ["gpu", "cuda:", "cuda:one", "cpu:1"] {
        for line in [
            "predict r --corpus c",
            "eval r",
            "train --corpus c --out new",
            "bench lfmim",
            "compare r",
            "tune --corpus c --models lfmim --out new",
        ] {
            let ran = trimer(dir.path(), &format!("{line} --device {bad}"));
            ran.refused(&["`--device cpu` always works", bad]);
        }
    }
    assert!(!dir.path().join("new").exists());
}

#[test]
fn one_utterance_from_files_needs_no_other_file() {
    let dir = trained();
    let at = dir.path();
    trimer(at, "corpus export c e").ok();
    let id = trimer(at, "predict r --corpus c --split test --json").json()[0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let features = ["text", "audio", "vision"].map(|m| format!("--features {m}=e/{m}/{id}.npy"));
    let line = format!("predict r {} --json", features.join(" "));
    let expected = trimer(at, &line).ok();
    // A temporary corpus would cost several writes to the disk before the answer.
    let words: Vec<&str> = line.split_whitespace().collect();
    let mut without_temporary_files = command(at, &words);
    without_temporary_files.env("TMPDIR", at.join("there/is/no/such/folder"));
    assert_eq!(finish(without_temporary_files).ok().out, expected.out);
}

#[test]
fn predicting_reads_no_features_but_those_that_it_needs() {
    let dir = trained();
    let at = dir.path();
    let all = trimer(at, "predict r --corpus c --split train --json").json();
    let id = all[0]["id"].as_str().unwrap();
    let line = format!("predict r --corpus c --id {id} --json");
    let expected = trimer(at, &line).ok();
    // The last byte belongs to another utterance; reading (or hashing) it would be noticed.
    let shard = at.join("c/features/text-00000.safetensors");
    let mut bytes = fs::read(&shard).unwrap();
    *bytes.last_mut().unwrap() ^= 0x55;
    fs::write(&shard, bytes).unwrap();
    assert_eq!(trimer(at, "corpus check c").code, Some(1));
    assert_eq!(trimer(at, &line).ok().out, expected.out);
}

#[test]
fn a_loaded_model_is_that_of_the_file_and_owes_nothing_to_initial_values() {
    let dir = trained();
    let run = RunDir::open(&dir.path().join("r")).unwrap();
    let device = Device::flex();
    let cfg = &run.config;
    // Initial values that are not drawn are zero, every one of them.
    let uninitialised = cfg
        .model
        .build_uninitialised(&cfg.input, cfg.task, &device)
        .unwrap();
    for (path, (_, value)) in parameters(&uninitialised) {
        assert!(to_vec(value).iter().all(|x| *x == 0.0), "{path}");
    }
    let (loaded, _) = run.load_model(1, &device).unwrap();
    let (again, _) = run.load_model(1, &device).unwrap();
    assert_eq!(state_dict(&loaded), state_dict(&again));
    let built = cfg.model.build(&cfg.input, cfg.task, 9, &device).unwrap();
    assert!(state_dict(&built).keys().eq(state_dict(&loaded).keys()));
    assert_ne!(state_dict(&built), state_dict(&loaded));
}
