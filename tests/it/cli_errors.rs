//! What the tool says when it is asked for what it cannot do.

use crate::cli::{TINY, entries, import_rows, trimer, with_corpus};
use std::fs;

#[test]
fn settings_that_cannot_be_read_are_named_with_a_way_out() {
    let dir = with_corpus(30);
    let cases: &[(&str, &[&str])] = &[
        (
            "train.epohcs=3",
            &["`train.epohcs`", "did you mean `train.epochs`?"],
        ),
        (
            "model.n_head=3",
            &["`model.n_head`", "did you mean `model.n_heads`?"],
        ),
        (
            "train.zzzzzzzz=3",
            &["`train.zzzzzzzz`", "known keys of `train`: ", "batch_size"],
        ),
        ("tran.epochs=3", &["`tran`", "did you mean `train`?"]),
        (
            "epochs=3",
            &["`epochs`", "known sections: model, data, train"],
        ),
        ("train=3", &["`train`", "expected a section"]),
        (
            "train.epochs=many",
            &[
                "`train.epochs`",
                "expected integer, found string `\"many\"`",
            ],
        ),
        ("train.epochs=2.5", &["`train.epochs`", "expected integer"]),
        (
            "train.epochs=-1",
            &["`train.epochs`", "expected a whole number from 0"],
        ),
        (
            "train.batch_size=0",
            &["`train.batch_size = 0`", "1 to 65536"],
        ),
        ("train.lr=0", &["`train.lr = 0`", "to 10"]),
        ("train.lr=nan", &["`train.lr = NaN`"]),
        ("train.lr", &["`train.lr`", "expected `key=value`"]),
        ("=3", &["expected `key=value`"]),
        (
            "train.schedule.shape=cosin",
            &["`train.schedule.shape`", "did you mean `cosine`?"],
        ),
        (
            "train.optimizer.rule=Adam",
            &["`train.optimizer.rule`", "did you mean `adam`?"],
        ),
        (
            "train.select_metric=f1",
            &["`train.select_metric = \"f1\"`", "macro_f1"],
        ),
        (
            "train.select_head=txt",
            &["`train.select_head`", "did you mean `text`?"],
        ),
        (
            "train.beta={text=0,audio=0,vision=0,multimodal=0}",
            &["`train.beta"],
        ),
        (
            "model.preset=papr",
            &["`model.preset = \"papr\"`", "paper, released"],
        ),
        ("model.preset=7", &["`model.preset`", "expected string"]),
        ("model.id=lfmm", &["`lfmm`", "did you mean `lfmim`?"]),
        (
            "model.n_heads=3",
            &["`model.n_heads = 3`", "a divisor of `model.d_model = 128`"],
        ),
        (
            "model.d_model=1000000000",
            &["`model.d_model = 1000000000`", "1 to 16384"],
        ),
        (
            "data.lengths.text=1000000000000",
            &["`data.lengths.text = 1000000000000`"],
        ),
        (
            "data.modalities=text",
            &["`data.modalities`", "expected array"],
        ),
        (
            "data.modalities=[\"txt\",\"audio\"]",
            &["`data.modalities`", "did you mean `text`?"],
        ),
        (
            "data.modalities=[\"text\"]",
            &["at least two modalities", "hint: "],
        ),
        ("data.task=regression", &["has no scores", "hint: "]),
    ];
    for (set, words) in cases {
        trimer(dir.path(), &format!("train --corpus c --set {set} --out r")).refused(words);
    }
    // A refusal before the start leaves nothing in the way of the next attempt.
    assert_eq!(entries(dir.path()), ["c"]);
}

#[test]
fn a_head_without_its_modality_cannot_select() {
    let dir = with_corpus(30);
    let sets = "--set data.modalities=[\"text\",\"audio\"] --set train.select_head=vision";
    trimer(dir.path(), &format!("train --corpus c {sets} --out r")).refused(&[
        "`train.select_head = \"vision\"`",
        "text",
        "audio",
    ]);
}

#[test]
fn recipes_that_cannot_be_read_are_named() {
    let dir = with_corpus(30);
    let cases: &[(&str, &[&str])] = &[
        (
            "[modle]\nx = 1",
            &["recipe.toml", "`modle`", "did you mean `model`?"],
        ),
        (
            "epochs = 3",
            &["`epochs`", "known sections: model, data, train"],
        ),
        ("[train]\nepochs =", &["recipe.toml", "line 2"]),
        (
            "[train]\nepohcs = 3",
            &["`train.epohcs`", "did you mean `train.epochs`?"],
        ),
    ];
    for (text, words) in cases {
        fs::write(dir.path().join("recipe.toml"), text).unwrap();
        trimer(dir.path(), "train --corpus c --recipe recipe.toml --out r").refused(words);
    }
    trimer(dir.path(), "train --corpus c --recipe none.toml --out r").refused(&["none.toml"]);
    assert_eq!(entries(dir.path()), ["c", "recipe.toml"]);
}

#[test]
fn names_that_nothing_has_are_refused_with_the_nearest() {
    let dir = with_corpus(30);
    let cases: &[(&str, &[&str])] = &[
        (
            "train --corpus nowhere",
            &["no directory `nowhere`", "hint: "],
        ),
        (
            "train --corpus c --model lfmmi",
            &["`lfmmi`", "did you mean `lfmim`?"],
        ),
        (
            "train --corpus c --device gpu",
            &["`gpu`", "`--device cpu` always works"],
        ),
        ("train --corpus c --seeds 0", &["`--seeds 0`", "1 to 1000"]),
        (
            "train --corpus c --seeds 1001",
            &["`--seeds 1001`", "1 to 1000"],
        ),
        (
            "train --corpus c --seed 18446744073709551615 --seeds 2",
            &["`--seed 18446744073709551615`"],
        ),
        (
            "train --corpus c --seed 9223372036854775807",
            &["`--seed 9223372036854775807`"],
        ),
        (
            "train --corpus c --out c",
            &["`c`: the directory is not empty", "another `--out`"],
        ),
        (
            "train --corpus c --out c/corpus.toml",
            &["a file of this name", "another `--out`"],
        ),
        ("train --resume nowhere", &["no such directory", "hint: "]),
        ("train --resume c", &["not a run", "config.toml"]),
        ("train", &["--corpus"]),
        ("eval nowhere", &["no such directory", "hint: "]),
        ("eval c", &["not a run", "hint: "]),
        ("predict c --corpus c", &["not a run"]),
        ("predict c", &["--corpus", "--features"]),
        ("models lfmm", &["`lfmm`", "did you mean `lfmim`?"]),
        ("bench lfmi", &["`lfmi`", "did you mean `lfmim`?"]),
        ("bench lfmim --preset x", &["\"x\"", "paper, released"]),
        (
            "corpus synth d --preset smal",
            &["`smal`", "did you mean `small`?"],
        ),
        ("corpus synth c", &["`c` exists already", "hint: "]),
        ("corpus synth d --utterances 3", &["3", "10 to"]),
        (
            "corpus import --format mmsaa c d",
            &["`mmsaa`", "did you mean `mmsa`?"],
        ),
        (
            "corpus import --format mmsa nowhere d",
            &["`nowhere` does not exist"],
        ),
        ("corpus import nowhere d", &["nowhere", "does not exist"]),
        ("corpus import c d", &["manifest.csv", "does not exist"]),
        (
            "corpus check nowhere",
            &["no directory `nowhere`", "hint: "],
        ),
        (
            "corpus stats nowhere",
            &["no directory `nowhere`", "hint: "],
        ),
        (
            "corpus export nowhere d",
            &["no directory `nowhere`", "hint: "],
        ),
        ("corpus export c c", &["`c` exists already", "hint: "]),
    ];
    for (line, words) in cases {
        trimer(dir.path(), line).refused(words);
    }
    assert_eq!(entries(dir.path()), ["c"]);
}

#[test]
fn corpora_that_cannot_be_learned_from_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    import_rows(at, "empty", "split,label", &[]).refused(&["manifest.csv", "there are no rows"]);
    assert!(!at.join("empty").exists());

    let train = |name: &str, more: &str| {
        trimer(
            at,
            &format!("train --corpus {name} {TINY} --set train.epochs=1 {more} --out r-{name}"),
        )
    };
    import_rows(at, "splitless", "label", &["a", "b"])
        .ok()
        .says(&["no column `split`"]);
    train("splitless", "").refused(&["no train split", "hint: "]);
    import_rows(at, "testonly", "split,label", &["test,a", "test,b"]).ok();
    train("testonly", "").refused(&["no train split", "hint: "]);
    import_rows(
        at,
        "validless",
        "split,label",
        &["train,a", "train,b", "test,a"],
    )
    .ok();
    train("validless", "").refused(&["no valid split", "train.select=last"]);
    train("validless", "--set train.select=last").ok();
    import_rows(
        at,
        "single",
        "split,label",
        &["train,a", "valid,a", "test,a"],
    )
    .ok();
    train("single", "").refused(&["only one class, `a`", "hint: "]);
    import_rows(at, "labelless", "split", &["train", "valid", "test"]).ok();
    train("labelless", "").refused(&["no labels", "hint: "]);
    let rows = ["train,", "valid,a", "valid,b", "test,a"];
    import_rows(at, "untrained", "split,label", &rows).ok();
    train("untrained", "").refused(&["train split has a label", "corpus check"]);
    assert!(!at.join("r-untrained").exists());
    let rows = ["train,a", "train,b", "valid,", "test,a"];
    import_rows(at, "unselected", "split,label", &rows).ok();
    train("unselected", "").refused(&["nothing to select on", "train.select=last"]);
    // Without a test split, training ends well and says what is missing.
    import_rows(
        at,
        "testless",
        "split,label",
        &["train,a", "train,b", "valid,a", "valid,b"],
    )
    .ok();
    train("testless", "").ok().says(&["no test split"]);
    trimer(at, "eval r-testless").refused(&["no test split", "hint: "]);
    trimer(at, "eval r-testless --split valid").ok();
}

#[test]
fn a_class_that_validation_lacks_is_warned_about() {
    let dir = tempfile::tempdir().unwrap();
    let rows = [
        "train,a", "train,b", "train,c", "valid,a", "valid,b", "test,c",
    ];
    import_rows(dir.path(), "c", "split,label", &rows).ok();
    trimer(
        dir.path(),
        &format!("train --corpus c {TINY} --set train.epochs=1 --out r"),
    )
    .ok()
    .says(&["warning: class `c` occurs 1 times in train but never in valid"]);
}

#[test]
fn the_default_place_of_a_run_stays_inside_of_runs() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let rows = ["train,a", "train,b", "valid,a", "test,b"];
    import_rows(at, "c", "split,label", &rows).ok();
    let args = [
        "corpus",
        "import",
        "c-source",
        "odd",
        "--name",
        "../../odd / name",
    ];
    crate::cli::finish(crate::cli::command(at, &args)).ok();
    for _ in 0..2 {
        trimer(
            at,
            &format!("train --corpus odd {TINY} --set train.epochs=1"),
        )
        .ok();
    }
    assert_eq!(entries(at), ["c", "c-source", "odd", "runs"]);
    let runs = entries(&at.join("runs"));
    assert_eq!(runs.len(), 2, "{runs:?}");
    assert!(
        runs[0].ends_with("-lfmim-1") && runs[1].ends_with("-lfmim-2"),
        "{runs:?}"
    );
}

#[test]
fn help_lists_every_format_and_every_key() {
    let dir = tempfile::tempdir().unwrap();
    let import = trimer(dir.path(), "corpus import --help").ok();
    for importer in trimer::import::IMPORTERS {
        let line = format!("  {:8} {}", importer.info().id, importer.info().source);
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            words(&import.out).contains(&words(&line)),
            "{line}: {import}"
        );
    }
    let train = trimer(dir.path(), "train --help").ok();
    for key in [
        "\nnormalise = ",
        "\n[data.lengths]",
        "\nbatch_size = 24",
        "\n[train.optimizer]",
    ] {
        assert!(train.out.contains(key), "{key}: {train}");
    }
}

#[test]
fn a_result_that_cannot_be_printed_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    if !std::path::Path::new("/dev/full").exists() {
        return;
    }
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let mut models = crate::cli::command(dir.path(), &["models", "--json"]);
    let output = models.stdout(full).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("standard output"), "{said}");
}

/// An error of a file passes through the command line as it is, and so does its hint.
#[test]
fn an_array_of_objects_is_refused_with_a_way_out() {
    let dir = with_corpus(30);
    let at = dir.path();
    trimer(
        at,
        &format!("train --corpus c {TINY} --set train.epochs=1 --out r"),
    )
    .ok();
    let header = "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }";
    let header = format!("{header:<117}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    fs::write(at.join("objects.npy"), bytes).unwrap();
    trimer(at, "predict r --features text=objects.npy").refused(&[
        "objects.npy",
        "hint: ",
        "astype(\"float32\")",
    ]);
}
