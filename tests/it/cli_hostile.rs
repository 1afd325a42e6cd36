//! Broken and malicious files through the command line: exit code 2, the fault by name, nothing
//! left behind, no code run.

use crate::{
    cli::{Folder, Ran, TINY, command, entries, finish, trimer, with_corpus},
    golden,
};
use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};
use trimer::Modality;

/// Where a hostile pickle would leave its mark.
fn pwned() -> &'static Path {
    Path::new("/tmp/pwned")
}

/// Imports `source` to `out/c` and checks that it is refused quickly and without a trace.
fn refused(format: &str, source: &Path, words: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let start = Instant::now();
    let args = ["corpus", "import", "--format", format];
    let mut import = command(dir.path(), &args);
    import.arg(source).arg("out/c");
    let ran = finish(import).refused(words);
    assert!(start.elapsed() < Duration::from_secs(20), "{ran}");
    // The parent of the output may have been made, but nothing in it.
    for left in entries(dir.path()) {
        assert_eq!(left, "out", "{ran}");
        assert!(entries(&dir.path().join("out")).is_empty(), "{ran}");
    }
    assert!(!pwned().exists(), "{ran}");
}

#[test]
#[cfg_attr(not(trimer_fixtures), ignore = "needs TRIMER_SHARED or TRIMER_GOLDEN")]
fn hostile_files_are_refused_by_the_tool() {
    let golden = golden::folder();
    let folder = golden.join("corpora/hostile");
    let expected = golden::json(&folder.join("expected.json"));
    let mut seen = 0;
    for name in expected["files"].as_object().unwrap().keys() {
        let path = folder.join(name);
        let file_name = path.file_name().unwrap().to_str().unwrap();
        match path.extension().unwrap().to_str().unwrap() {
            "pkl" => {
                refused("mmsa", &path, &[file_name]);
                refused("mult", &path, &[file_name]);
            }
            "npy" => refused_as_feature(&path),
            "json" => {
                let dir = tempfile::tempdir().unwrap();
                fs::copy(&path, dir.path().join("train.json")).unwrap();
                refused("cherma", dir.path(), &["train.json"]);
            }
            other => panic!("{other}"),
        }
        seen += 1;
    }
    assert!(seen > 0);
}

/// A good folder whose second array is replaced by the hostile one.
fn refused_as_feature(npy: &Path) {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    let mut folder = Folder::new(&source, "split,label");
    folder.add("train,a");
    let id = folder.add("valid,b");
    let target = folder.file(Modality::Audio, &id);
    folder.finish();
    trimer(dir.path(), "corpus import source good").ok();
    fs::remove_file(&target).unwrap();
    fs::copy(npy, &target).unwrap();
    refused(
        "folder",
        &source,
        &[&format!("{id}.npy"), &id, "not a usable array"],
    );
}

#[test]
#[cfg_attr(not(trimer_fixtures), ignore = "needs TRIMER_SHARED or TRIMER_GOLDEN")]
fn hostile_checkpoints_are_refused_in_place_of_weights() {
    let golden = golden::folder();
    let dir = with_corpus(30);
    trimer(
        dir.path(),
        &format!("train --corpus c {TINY} --set train.epochs=1 --out r"),
    )
    .ok();
    let best = dir.path().join("r/seed-1/best.safetensors");
    let mut seen = 0;
    for path in golden::files(&golden.join("checkpoints"), "pth") {
        if golden::stem(&path).starts_with("bad_") {
            fs::copy(&path, &best).unwrap();
            predict(dir.path()).refused(&["best.safetensors", "hint: "]);
            seen += 1;
        }
    }
    assert!(seen > 0);
    assert!(!pwned().exists());
}

fn predict(dir: &Path) -> Ran {
    trimer(dir, "predict r --corpus c --split valid")
}
