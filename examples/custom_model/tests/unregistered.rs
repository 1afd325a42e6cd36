//! What a program says of a run whose model it does not know. Nothing is registered in this process: the
//! run is made by the command line tool of this crate, which registers the model.
#![allow(
    clippy::unwrap_used,
    reason = "clippy knows only functions marked as tests, not their helpers"
)]

use std::path::Path;
use std::process::Command;
use trimer::prelude::*;

/// Runs the tool that knows the model.
fn tool(dir: &Path, line: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_custom_model"));
    let ran = command
        .current_dir(dir)
        .args(line.split_whitespace())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{line}: {stderr}");
    String::from_utf8(ran.stdout).unwrap()
}

#[test]
fn a_run_of_an_unknown_model_says_that_it_must_be_registered() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    assert!(tool(at, "models gmu").contains("Gated Multimodal Unit"));
    tool(at, "corpus synth --utterances 60 corpus");
    tool(
        at,
        "train --model gmu --corpus corpus --out run --set model.d_hidden=8 --set train.epochs=1",
    );
    tool(at, "eval run --split valid");

    let error = Run::open(at.join("run")).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("the model `gmu`") && text.contains("not registered"),
        "{text}"
    );
    assert!(error.hint().unwrap().contains("trimer::models::register"));

    trimer::models::register::<custom_model::GmuConfig>().unwrap();
    assert!(Run::open(at.join("run")).unwrap().is_finished());
}
