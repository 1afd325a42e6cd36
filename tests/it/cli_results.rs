//! What other programs may rely on: JSON, prediction files, and the choices that a run records.

use crate::{
    cli::{Folder, TINY, command, entries, finish, import_rows, trimer, with_corpus},
    golden,
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::Path,
};
use trimer::store::columns::{Column, read_columns};
use trimer::store::npy;
use trimer::train::RunDir;

fn keys(value: &Value) -> Vec<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

fn train(dir: &Path, out: &str, more: &str) {
    let line = format!("train --corpus c {TINY} --set train.epochs=2 {more} --out {out}");
    trimer(dir, &line).ok();
}

#[test]
fn models_are_listed_with_the_documented_keys() {
    let dir = tempfile::tempdir().unwrap();
    let models = trimer(dir.path(), "models --json").json();
    let models = models.as_array().unwrap();
    assert!(models.iter().any(|m| m["id"] == "lfmim"));
    for model in models {
        for key in [
            "id",
            "title",
            "level",
            "modalities",
            "tasks",
            "parameters",
            "citation",
            "reconstruction",
        ] {
            assert!(!model[key].is_null(), "{key}: {model}");
        }
        assert!(["utterance", "conversation"].contains(&model["level"].as_str().unwrap()));
        assert!(model["parameters"].as_u64().unwrap() > 0);
        let id = model["id"].as_str().unwrap();
        let one = trimer(dir.path(), &format!("models {id} --json")).json();
        assert_eq!(one, *model);
        let card = trimer(dir.path(), &format!("models {id}")).ok();
        assert!(
            card.out.contains(model["citation"].as_str().unwrap()),
            "{card}"
        );
    }
}

#[test]
fn a_measurement_has_the_documented_keys() {
    let dir = tempfile::tempdir().unwrap();
    let result = trimer(dir.path(), "bench lfmim --batch 1 --repeat 1 --json").json();
    assert_eq!(
        keys(&result),
        [
            "system",
            "device",
            "adapter",
            "parameters",
            "train_samples_per_s",
            "infer_samples_per_s",
            "infer_batch1_ms",
            "infer_batch1_p95_ms",
            "peak_bytes",
            "gemm_limit_gflops",
            "limit_share"
        ]
    );
    for (key, value) in result.as_object().unwrap() {
        let fits = match key.as_str() {
            "system" => value.is_string(),
            "device" => value == "cpu",
            "adapter" => value.is_null(),
            _ => value.as_f64().unwrap() > 0.0,
        };
        assert!(fits, "{key}: {value}");
    }
}

#[test]
fn an_evaluation_has_the_documented_keys_and_test_is_counted() {
    let dir = with_corpus(60);
    let at = dir.path();
    train(at, "r", "--seeds 2");
    let opened = || {
        let text = fs::read_to_string(at.join("r/protocol.json")).unwrap();
        let protocol: Value = serde_json::from_str(&text).unwrap();
        let list = protocol["test_opened"].as_array().unwrap().clone();
        list.iter()
            .map(|o| o["by"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(opened(), ["train"]);
    let corpus = trimer(at, "corpus stats c --json").json();
    let valid = trimer(at, "eval r --split valid --json").json();
    assert_eq!(opened(), ["train"], "validation is not test");
    let test = trimer(at, "eval r --json").json();
    assert_eq!(opened(), ["train", "eval"]);
    trimer(at, "eval r --split test").ok();
    assert_eq!(opened(), ["train", "eval", "eval"]);
    let train_split = trimer(at, "eval r --split train --json").json();
    for (split, eval) in [("valid", valid), ("test", test), ("train", train_split)] {
        for key in ["protocol", "split", "seeds", "heads"] {
            assert!(!eval[key].is_null(), "{key}: {eval}");
        }
        assert_eq!(eval["split"], split);
        assert_eq!(eval["seeds"], serde_json::json!([1, 2]));
        assert_eq!(
            keys(&eval["heads"]),
            ["text", "audio", "vision", "multimodal"]
        );
        assert_eq!(eval["protocol"]["fitted_on"], "train");
        assert_eq!(eval["protocol"]["selected_on"], "valid");
        for head in eval["heads"].as_object().unwrap().values() {
            for metric in ["accuracy", "weighted_f1", "macro_f1", "uar"] {
                let value = head[metric].as_f64().unwrap();
                let ci = head[format!("{metric}_ci")].as_array().unwrap();
                let [low, high] = [&ci[0], &ci[1]].map(|v| v.as_f64().unwrap());
                assert!(
                    (0.0..=1.0).contains(&value) && low <= high,
                    "{metric}: {head}"
                );
            }
            let classes = corpus["classes"]["multimodal"].as_array().unwrap();
            assert_eq!(keys(&head["f1"]).len(), classes.len(), "{head}");
        }
    }
}

/// The table of a Parquet file by column.
fn table(path: &Path) -> BTreeMap<String, Column> {
    let (_, columns) = read_columns(File::open(path).unwrap(), 1000).unwrap();
    columns.into_iter().collect()
}

fn doubles(column: &Column) -> Vec<f64> {
    match column {
        Column::Double(v) => v.iter().map(|v| v.unwrap()).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn predictions_agree_wherever_they_come_from() {
    let dir = with_corpus(40);
    let at = dir.path();
    train(at, "r", "--set data.normalise=standard");
    let file = table(&at.join("r/seed-1/predictions-test.parquet"));
    // On disk probabilities stay as the model gave them.
    let predicted = trimer(at, "predict r --corpus c --split test --raw --json").json();
    let predicted = predicted.as_array().unwrap();
    let stats = trimer(at, "corpus stats c --json").json();
    assert_eq!(
        stats["splits"]["test"].as_u64().unwrap() as usize,
        predicted.len()
    );
    let classes: Vec<String> = stats["classes"]["multimodal"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["class"].as_str().unwrap().to_owned())
        .collect();
    for head in ["text", "audio", "vision", "multimodal"] {
        let mut sums = vec![0.0; predicted.len()];
        for class in &classes {
            let column = doubles(&file[&format!("prob_{head}_{class}")]);
            for (i, p) in column.iter().enumerate() {
                assert_eq!(predicted[i]["heads"][head]["probabilities"][class], *p);
                sums[i] += p;
            }
        }
        assert!(sums.iter().all(|s| (s - 1.0).abs() < 1e-5), "{sums:?}");
        assert!(file.contains_key(&format!("truth_{head}")));
        assert!(file.contains_key(&format!("pred_{head}")));
    }
    // One utterance by its name, and the same from files.
    let one = &predicted[0];
    let id = one["id"].as_str().unwrap();
    let by_id = trimer(at, &format!("predict r --corpus c --id {id} --raw --json")).json();
    assert_eq!(by_id.as_array().unwrap().len(), 1);
    assert_close(&by_id[0]["heads"], &one["heads"]);
    trimer(at, "corpus export c e").ok();
    let features = ["text", "audio", "vision"].map(|m| format!("--features {m}=e/{m}/{id}.npy"));
    let from_files = trimer(
        at,
        &format!("predict r {} --raw --json", features.join(" ")),
    )
    .json();
    assert_close(&from_files[0]["heads"], &one["heads"]);
    // Tables for people have one row each.
    let text = trimer(at, "predict r --corpus c --split test").ok();
    assert_eq!(text.out.lines().count(), predicted.len() + 1);
    let partly = trimer(at, &format!("predict r {} --json", features[0])).ok();
    let partly = partly.says(&["warning: there are no audio features", "no vision features"]);
    assert_eq!(keys(&partly.json()[0]["heads"]), ["text", "multimodal"]);
    trimer(
        at,
        &format!("predict r {} --features audio=e/text/{id}.npy", features[0]),
    )
    .refused(&["audio features 16 wide", "has 24"]);
    for (shape, value, words) in [
        (vec![2, 24], f32::NAN, ["NaN", "frame 0"]),
        (vec![0, 24], 0.0, ["[0, 24]", "expected [time, feature]"]),
        (
            vec![2, 3, 8],
            0.0,
            ["[2, 3, 8]", "expected [time, feature]"],
        ),
    ] {
        let values = vec![value; shape.iter().product()];
        npy::write_f32(&at.join("odd.npy"), &shape, &values).unwrap();
        trimer(at, "predict r --features text=odd.npy").refused(&words);
    }
    trimer(at, "predict r --features text").refused(&["has no `=`"]);
    trimer(at, "predict r --features txt=a.npy").refused(&["`txt`", "vision"]);
    trimer(at, "predict r --features text=none.npy").refused(&["none.npy"]);
    trimer(at, "predict r --features text=c/corpus.toml").refused(&["corpus.toml"]);
    trimer(at, &format!("predict r --features text=e/audio/{id}.npy")).refused(&[
        "text features 24 wide",
        "has 16",
        "same extractor",
    ]);
    trimer(at, "predict r --corpus c --id nobody").refused(&["`nobody`", "hint: "]);
    trimer(at, "predict r --corpus c --seed 9").refused(&["no seed 9", "it has 1"]);
}

/// Another batch may round differently in the last place.
fn assert_close(a: &Value, b: &Value) {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            assert!(a.keys().eq(b.keys()));
            a.iter().for_each(|(k, v)| assert_close(v, &b[k]));
        }
        (Value::Number(a), Value::Number(b)) => {
            let difference = a.as_f64().unwrap() - b.as_f64().unwrap();
            assert!(difference.abs() < 1e-5, "{a} {b}");
        }
        _ => assert_eq!(a, b),
    }
}

#[test]
fn scores_are_learned_and_evaluated() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let source = at.join("s");
    let mut folder = Folder::new(&source, "split,score,score_text");
    for i in 0..40 {
        let split = ["train", "train", "valid", "test"][i % 4];
        let score = (i % 13) as f64 / 2.0 - 3.0;
        folder.add(&format!("{split},{score},{}", -score));
    }
    folder.finish();
    trimer(at, "corpus import s c").ok();
    for (name, sets) in [
        ("auto", "--set train.regression_loss=mse"),
        (
            "said",
            "--set data.task=regression --set train.select_metric=pearson",
        ),
    ] {
        train(at, name, sets);
        for split in ["valid", "test"] {
            let eval = trimer(at, &format!("eval {name} --split {split} --json")).json();
            for metric in [
                "mae",
                "pearson",
                "acc2_has0",
                "acc2_non0",
                "acc3",
                "acc5",
                "acc7",
            ] {
                let value = &eval["heads"]["multimodal"][metric];
                assert!(value.is_number(), "{metric}: {value}");
            }
        }
        let file = table(&at.join(name).join("seed-1/predictions-test.parquet"));
        assert_eq!(doubles(&file["pred_multimodal"]).len(), 10);
        let predicted = trimer(at, &format!("predict {name} --corpus c --json")).json();
        assert!(predicted[0]["heads"]["text"]["score"].is_f64());
    }
    trimer(
        at,
        &format!("train --corpus c {TINY} --set data.task=classification --out x"),
    )
    .refused(&["scores but no classes", "--classes"]);
}

#[test]
fn choices_of_model_and_data_train_and_are_recorded() {
    let dir = with_corpus(40);
    let at = dir.path();
    let config =
        |run: &str| serde_json::to_value(RunDir::open(&at.join(run)).unwrap().config).unwrap();
    train(at, "two", "--set data.modalities=[\"text\",\"audio\"]");
    let eval = trimer(at, "eval two --json").json();
    assert_eq!(keys(&eval["heads"]), ["text", "audio", "multimodal"]);
    train(at, "ml", "--set train.unimodal_labels=multimodal");
    assert_eq!(config("ml")["train"]["unimodal_labels"], "multimodal");
    // Every head of LFMIM-ML is supervised by the multimodal label.
    let file = table(&at.join("ml/seed-1/predictions-test.parquet"));
    assert_eq!(file["truth_text"], file["truth_multimodal"]);
    let own = table(&at.join("two/seed-1/predictions-test.parquet"));
    assert_ne!(own["truth_text"], own["truth_multimodal"]);
    train(at, "released", "--set model.preset=released");
    let released = config("released");
    assert_eq!(released["model"]["form"], "released");
    assert_eq!(released["model"]["n_fusion_tokens"], 4);
    train(
        at,
        "masked",
        "--set model.mask_padding=true --set model.fusion_init=normal",
    );
    train(
        at,
        "first",
        "--set model.pooling=first --set train.class_weights=balanced",
    );
    train(
        at,
        "last",
        "--set train.select=last --set train.label_smoothing=0.1",
    );
    let last = trimer(at, "eval last --json").json();
    assert_eq!(last["protocol"]["selected_on"], "none");
    train(
        at,
        "uar",
        "--set train.select_metric=uar --set train.select_head=text",
    );
    let uar = trimer(at, "eval uar --json").json();
    assert_eq!(uar["protocol"]["selected_by"], "uar of the text head");
}

/// A corpus where some utterances, or all, lack the labels of a head.
#[test]
fn heads_without_labels_are_left_out_of_training() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let row = |i: usize| {
        let (split, label) = (["train", "valid", "test"][i % 3], ["a", "b"][i % 2]);
        // Every fourth utterance has a text label, nothing has an audio label, some have none.
        let text = if i.is_multiple_of(4) { label } else { "" };
        let joint = if i.is_multiple_of(7) { "" } else { label };
        format!("{split},{joint},{text}")
    };
    let rows: Vec<String> = (0..48).map(row).collect();
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    import_rows(at, "c", "split,label,label_text", &rows).ok();
    for (name, heads) in [
        ("own", &["text", "multimodal"][..]),
        ("auto", &["text", "audio", "vision", "multimodal"]),
        ("multimodal", &["text", "audio", "vision", "multimodal"]),
    ] {
        // With batches of three, some have no text label at all.
        let sets = format!("--set train.unimodal_labels={name} --set train.batch_size=3");
        let line = format!("train --corpus c {TINY} --set train.epochs=2 {sets} --out {name}");
        let ran = trimer(at, &line).ok();
        if name == "own" {
            ran.says(&["no audio labels in the train split", "no vision labels"]);
        }
        let log = fs::read_to_string(at.join(name).join("seed-1/log.jsonl")).unwrap();
        for line in log.lines() {
            let report: Value = serde_json::from_str(line).unwrap();
            assert!(report["train_loss"].as_f64().unwrap() > 0.0, "{line}");
        }
        let eval = trimer(at, &format!("eval {name} --json")).json();
        assert_eq!(keys(&eval["heads"]), heads, "{name}");
    }
}

#[test]
#[cfg_attr(not(trimer_fixtures), ignore = "needs TRIMER_SHARED or TRIMER_GOLDEN")]
fn a_corpus_of_scores_imported_as_classes_trains() {
    let golden = golden::folder();
    let mut trained = 0;
    for path in golden::files(&golden.join("corpora/mmsa"), "pkl") {
        let stem = golden::stem(&path);
        if !stem.starts_with("sims") || !stem.ends_with("_p4") {
            continue;
        }
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path();
        let mut import = command(
            at,
            &["corpus", "import", "--format", "mmsa", "--classes", "5"],
        );
        import.arg(&path).arg("c");
        finish(import).ok();
        // So small a corpus may lack labels in a split; the last epoch needs none.
        let line =
            format!("train --corpus c {TINY} --set train.epochs=1 --set train.select=last --out r");
        trimer(at, &line).ok();
        let eval = trimer(at, "eval r --json").json();
        assert!(eval["heads"]["multimodal"]["accuracy"].is_f64(), "{eval}");
        trained += 1;
    }
    assert!(trained > 0);
}

#[test]
fn weights_of_another_model_are_refused() {
    let dir = with_corpus(40);
    let at = dir.path();
    train(at, "small", "--set data.normalise=standard");
    train(at, "large", "--set model.d_model=16");
    train(
        at,
        "narrow",
        "--set data.normalise=standard --set data.modalities=[\"text\",\"audio\"]",
    );
    let best = |run: &str| at.join(run).join("seed-1/best.safetensors");
    let last = |run: &str| at.join(run).join("seed-1/last.safetensors");
    let original = fs::read(best("small")).unwrap();
    fs::copy(best("large"), best("small")).unwrap();
    trimer(at, "predict small --corpus c").refused(&[
        "best.safetensors",
        "does not hold the weights of this model",
        "another shape",
        "hint: ",
    ]);
    fs::copy(best("narrow"), best("small")).unwrap();
    trimer(at, "predict small --corpus c").refused(&["missing", "vision"]);
    fs::copy(last("small"), best("small")).unwrap();
    trimer(at, "predict small --corpus c").refused(&["does not hold the weights of this model"]);
    for cut in [0, 7, 100, original.len() - 1] {
        fs::write(best("small"), &original[..cut]).unwrap();
        trimer(at, "predict small --corpus c").refused(&["best.safetensors", "hint: "]);
    }
    fs::remove_file(best("small")).unwrap();
    trimer(at, "predict small --corpus c").refused(&["no selected weights", "--resume small"]);
    fs::copy(last("large"), last("small")).unwrap();
    trimer(at, "train --resume small").refused(&["last.safetensors", "another shape"]);
    fs::write(last("small"), b"nonsense").unwrap();
    trimer(at, "train --resume small").refused(&["last.safetensors", "hint: "]);
    // The damaged checkpoint away, training starts again and comes to the same.
    fs::remove_file(last("small")).unwrap();
    fs::remove_file(at.join("small/seed-1/log.jsonl")).unwrap();
    trimer(at, "train --resume small").ok();
    assert_eq!(fs::read(best("small")).unwrap(), original);
}

#[test]
fn a_run_knows_its_corpus_and_doubts_others() {
    let dir = with_corpus(40);
    let at = dir.path();
    train(at, "r", "");
    // From another directory, by the path that was stored.
    let elsewhere = tempfile::tempdir().unwrap();
    let mut eval = command(elsewhere.path(), &["eval", "--split", "valid"]);
    eval.arg(at.join("r"));
    finish(eval).ok();
    trimer(at, "corpus synth other --utterances 20 --seed 9").ok();
    trimer(at, "train --resume r --corpus other").refused(&["not the one", "hint: "]);
    trimer(at, "eval r --corpus other --split train").ok();
    let rows = ["test,joy", "test,anger"];
    import_rows(at, "foreign", "split,label", &rows).ok();
    trimer(at, "eval r --corpus foreign").refused(&["classes", "joy", "hint: "]);
    trimer(at, "predict r --corpus foreign").refused(&["features", "wide", "hint: "]);
    fs::rename(at.join("c"), at.join("moved")).unwrap();
    trimer(at, "eval r").refused(&["not there any more", "--corpus DIR"]);
    trimer(at, "eval r --corpus moved").ok();
    trimer(at, "train --resume r --corpus moved").ok();
    trimer(at, "train --resume r").refused(&["not there any more"]);
}

#[test]
fn a_run_changed_by_hand_is_refused() {
    let dir = with_corpus(40);
    let at = dir.path();
    train(at, "r", "");
    let path = at.join("r/config.toml");
    let original = fs::read_to_string(&path).unwrap();
    for (from, to, word) in [
        ("batch_size = 8", "batch_size = 0", "train.batch_size"),
        ("d_model = 8", "d_model = 0", "model.d_model"),
        ("seeds = [1]", "seeds = []", "seeds"),
        ("n_classes = 7", "n_classes = 3", "n_classes"),
        ("batch_size = 8", "batch_sise = 8", "batch_sise"),
        ("[train]", "[train", "config.toml"),
    ] {
        let changed = original.replace(from, to);
        assert_ne!(changed, original, "{from}");
        fs::write(&path, changed).unwrap();
        trimer(at, "eval r").refused(&[word]);
        trimer(at, "train --resume r").refused(&[word]);
    }
    fs::write(&path, original).unwrap();
    fs::write(at.join("r/seed-1/predictions-test.parquet"), b"nonsense").unwrap();
    trimer(at, "eval r").refused(&["predictions-test.parquet", "hint: ", "delete the file"]);
    fs::remove_file(at.join("r/seed-1/predictions-test.parquet")).unwrap();
    trimer(at, "eval r").ok();
    fs::write(at.join("r/protocol.json"), b"{").unwrap();
    trimer(at, "eval r").refused(&["protocol.json", "hint: "]);
    assert_eq!(entries(at), ["c", "r"]);
}

#[test]
fn given_weights_are_evaluated_as_they_are_or_trained_further() {
    let dir = with_corpus(40);
    let at = dir.path();
    train(at, "first", "--set data.normalise=standard");
    let init = "--set data.normalise=standard --init first/seed-1/best.safetensors";
    train(at, "evaluated", &format!("{init} --set train.epochs=0"));
    let predictions = |run: &str| table(&at.join(run).join("seed-1/predictions-test.parquet"));
    assert_eq!(predictions("first"), predictions("evaluated"));
    train(at, "further", init);
    assert_ne!(predictions("first"), predictions("further"));
    // Weights that cannot be used leave no run behind.
    train(at, "wide", "--set model.d_model=16");
    let refused = |file: &str, words: &[&str]| {
        let line = format!("train --corpus c {TINY} --init {file} --out x");
        trimer(at, &line).refused(words);
        assert!(!at.join("x").exists());
    };
    refused("wide/seed-1/best.safetensors", &["another shape", "hint: "]);
    refused("none.safetensors", &["none.safetensors"]);
    refused("c/corpus.toml", &["corpus.toml", "hint: "]);
}

#[test]
#[cfg_attr(not(trimer_fixtures), ignore = "needs TRIMER_SHARED or TRIMER_GOLDEN")]
fn hostile_checkpoints_are_refused_as_initial_weights() {
    let golden = golden::folder();
    let dir = with_corpus(40);
    let at = dir.path();
    let mut seen = 0;
    for path in golden::files(&golden.join("checkpoints"), "pth") {
        if golden::stem(&path).starts_with("bad_") {
            let name = path.file_name().unwrap().to_str().unwrap();
            fs::copy(&path, at.join(name)).unwrap();
            let line = format!("train --corpus c {TINY} --init {name} --out x");
            trimer(at, &line).refused(&[name, "hint: "]);
            assert!(!at.join("x").exists());
            seen += 1;
        }
    }
    assert!(seen > 0);
    assert!(!Path::new("/tmp/pwned").exists());
}
