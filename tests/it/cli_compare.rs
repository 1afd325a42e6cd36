//! Comparing, tuning and breaking models with the real tool: `compare`, `tune`, `eval --missing`,
//! `bench --all`, and the guard against selecting on test.

use crate::cli::{TINY, command, entries, finish, trimer, with_corpus};
use serde_json::Value;
use std::{fs, path::Path, process::Stdio, thread, time::Duration};

/// `TINY` for commands that take `--set` for all rows.
fn compare_line(more: &str) -> String {
    format!("compare --corpus c {TINY} --set train.epochs=2 {more}")
}

fn json(file: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

/// `results.json` without what is measured with a clock.
fn results(out: &Path) -> Value {
    let mut all = json(&out.join("results.json"));
    for row in all["rows"].as_array_mut().unwrap() {
        row["train_s"] = Value::Null;
        row["latency_ms"] = Value::Null;
    }
    all
}

const ROWS: &str = r#"
[[row]]
model = "lfmim"
[[row]]
name = "ML & one label"
model = "lfmim"
set = ["train.unimodal_labels=multimodal"]
[[row]]
name = "text head"
model = "lfmim"
head = "text"
[[row]]
name = "two modalities"
model = "lfmim"
set = ['data.modalities=["audio","vision"]']
"#;

/// Each row's value is the mean over its two seeds, and all but the first are tested against the first.
fn check_rows(rows: &[serde_json::Value]) {
    for (i, row) in rows.iter().enumerate() {
        let accuracy = row["metrics"]["accuracy"].as_f64().unwrap();
        let values = row["values"][0].as_array().unwrap();
        let mean = values.iter().map(|v| v.as_f64().unwrap()).sum::<f64>() / 2.0;
        assert!((accuracy - mean).abs() < 1e-12, "{row}");
        assert_eq!(row["selection"]["split"], "valid");
        assert_eq!(row["selection"]["epochs"][0].as_object().unwrap().len(), 2);
        assert_eq!(row["test"].is_null(), i == 0);
        if i > 0 {
            let p = row["test"]["p_value"].as_f64().unwrap();
            let holm = row["test"]["p_holm"].as_f64().unwrap();
            let low = row["test"]["interval"][0].as_f64().unwrap();
            let high = row["test"]["interval"][1].as_f64().unwrap();
            let difference = row["test"]["difference"].as_f64().unwrap();
            assert!(
                p <= holm && holm <= 1.0 && low <= difference && difference <= high,
                "{row}"
            );
            let reference = rows[0]["metrics"]["accuracy"].as_f64().unwrap();
            assert!((difference - (accuracy - reference)).abs() < 1e-12, "{row}");
        }
    }
}

#[test]
fn rows_become_tables_in_every_format_and_equal_settings_are_trained_once() {
    let dir = with_corpus(60);
    let at = dir.path();
    fs::write(at.join("rows.toml"), ROWS).unwrap();
    let line = compare_line("--rows rows.toml --seeds 2 --out out --reference lfmim");
    let ran = trimer(at, &line).ok();
    assert!(
        ran.out.contains("ML & one label") && ran.out.contains("p (Holm)"),
        "{ran}"
    );
    assert_eq!(
        entries(&at.join("out/runs")),
        ["ML---one-label", "lfmim", "two-modalities"]
    );
    assert_eq!(
        entries(&at.join("out")),
        [
            "report.html",
            "results.csv",
            "results.json",
            "results.md",
            "results.tex",
            "runs"
        ]
    );
    let all = results(&at.join("out"));
    assert_eq!(all["reference"], "lfmim");
    assert_eq!(all["stamp"], "");
    let rows = all["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 4);
    check_rows(rows);
    // The multimodal head of the first row is that of an ordinary run.
    let eval = trimer(at, "eval out/runs/lfmim --json").json();
    assert_eq!(
        eval["heads"]["multimodal"]["accuracy"].as_f64(),
        rows[0]["metrics"]["accuracy"].as_f64()
    );
    let tex = fs::read_to_string(at.join("out/results.tex")).unwrap();
    assert!(
        tex.contains("ML \\& one label") && tex.contains("weighted\\_f1"),
        "{tex}"
    );
    let csv = fs::read_to_string(at.join("out/results.csv")).unwrap();
    assert!(csv.lines().all(|l| l.split(',').count() == 9), "{csv}");
    let page = fs::read_to_string(at.join("out/report.html")).unwrap();
    assert!(page.contains("ML &amp; one label") && page.contains("Which split chose what"));

    // Finished: the same command trains nothing, and other settings are refused.
    let before = fs::metadata(at.join("out/runs/lfmim/seed-1/last.safetensors")).unwrap();
    trimer(at, &line).ok();
    let after = fs::metadata(at.join("out/runs/lfmim/seed-1/last.safetensors")).unwrap();
    assert_eq!(before.modified().unwrap(), after.modified().unwrap());
    assert_eq!(results(&at.join("out")), all);
    let other = format!("{line} --set train.lr=0.5");
    let refused = trimer(at, &other);
    assert_eq!(refused.code, Some(2), "{refused}");
    refused.says(&["other settings"]);

    // Finished runs can be compared as they are.
    let ran = trimer(at, "compare out/runs/lfmim out/runs/two-modalities --json").json();
    assert_eq!(ran["rows"][1]["name"], "two-modalities");
    assert_eq!(ran["rows"][0]["metrics"], rows[0]["metrics"]);
    let protocol = json(&at.join("out/runs/lfmim/protocol.json"));
    let opened = protocol["test_opened"].as_array().unwrap();
    assert_eq!(opened.last().unwrap()["by"], "compare");

    // More seeds are added to those that are there.
    let more = line.replace("--seeds 2", "--seeds 3");
    assert_ne!(more, line);
    trimer(at, &more).ok();
    let after = fs::metadata(at.join("out/runs/lfmim/seed-1/last.safetensors")).unwrap();
    assert_eq!(before.modified().unwrap(), after.modified().unwrap());
    let three = results(&at.join("out"));
    for (row, longer) in rows.iter().zip(three["rows"].as_array().unwrap()) {
        let values = |row: &serde_json::Value| row["values"][0].as_array().unwrap().clone();
        assert_eq!(longer["seeds"], 3);
        assert_eq!(values(longer)[..2], values(row)[..]);
    }
    let protocol = json(&at.join("out/runs/lfmim/protocol.json"));
    let opened = protocol["test_opened"].as_array().unwrap();
    assert!(
        opened.iter().any(|o| o["by"] == "adding seeds: 3"),
        "{opened:?}"
    );
    // Fewer are not what was trained.
    trimer(at, &line).says(&["other settings"]);
}

#[test]
fn a_comparison_that_was_killed_ends_like_one_that_was_not_whatever_the_jobs() {
    let dir = with_corpus(40);
    let at = dir.path();
    let line = |out: &str, jobs: u32| {
        compare_line(&format!(
            "--models lfmim,lfmim:b --set train.epochs=6 --seeds 2 --out {out} --jobs {jobs}"
        ))
        .replace("lfmim:b", "lfmim:b=b.toml")
    };
    fs::write(at.join("b.toml"), "[train]\nlabel_smoothing = 0.1\n").unwrap();
    trimer(at, &line("whole", 1)).ok();
    let words = line("cut", 2);
    let words: Vec<&str> = words.split_whitespace().collect();
    for wait in [150, 400] {
        let mut child = command(at, &words)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        thread::sleep(Duration::from_millis(wait));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    trimer(at, &line("cut", 2)).ok();
    let (mut whole, mut cut) = (results(&at.join("whole")), results(&at.join("cut")));
    // The number of jobs is noted.
    (whole["notes"], cut["notes"]) = (Value::Null, Value::Null);
    assert_eq!(whole, cut);
    for row in ["lfmim", "lfmim-b"] {
        let weights = |out: &str| {
            fs::read(at.join(format!("{out}/runs/{row}/seed-2/best.safetensors"))).unwrap()
        };
        assert!(weights("whole") == weights("cut"), "{row}");
    }
}

/// With one thread for all computing nothing may wait for a thread that waits itself.
#[test]
fn one_thread_is_enough_for_any_number_of_jobs() {
    let dir = with_corpus(40);
    for jobs in [1, 2] {
        let line = compare_line(&format!(
            "--threads 1 --models lfmim,lfmim:b --seeds 1 --jobs {jobs} --out jobs-{jobs}"
        ));
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut child = command(dir.path(), &words)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let ended = (0..2400).find_map(|_| {
            thread::sleep(Duration::from_millis(100));
            child.try_wait().unwrap()
        });
        if ended.is_none() {
            child.kill().unwrap();
        }
        assert!(
            ended.is_some_and(|status| status.success()),
            "{jobs} job(s): {ended:?}"
        );
    }
}

#[test]
fn a_row_without_a_recipe_is_named() {
    let dir = with_corpus(40);
    let at = dir.path();
    fs::create_dir(at.join("recipes")).unwrap();
    fs::write(
        at.join("recipes/lfmim.toml"),
        "[model]\nd_model = 8\nn_heads = 2\nd_ff = 8\nn_layers = 1\n[train]\nepochs = 1\n",
    )
    .unwrap();
    let line = "compare --corpus c --models lfmim,majority --recipes recipes --seeds 1 --out out";
    trimer(at, line)
        .ok()
        .says(&["no recipe for these systems", "majority"]);
    let notes = results(&at.join("out"))["notes"].to_string();
    assert!(notes.contains("no recipe"), "{notes}");
}

#[test]
fn folds_are_evaluated_as_one_list() {
    let dir = with_corpus(40);
    let at = dir.path();
    trimer(at, "corpus synth d --utterances 30 --seed 8").ok();
    let line = compare_line("--corpus d --models lfmim --seeds 2 --out out --json");
    let all = trimer(at, &line).json();
    let row = &all["rows"][0];
    assert_eq!(row["values"].as_array().unwrap().len(), 2);
    // A fifth of 40 and of 30 utterances is test.
    assert_eq!(all["n"], 8 + 6);
    assert_eq!(entries(&at.join("out/runs")), ["fold-1", "fold-2"]);
    let value = |fold: usize, seed: usize| row["values"][fold][seed].as_f64().unwrap();
    let pooled = (8.0 * (value(0, 0) + value(0, 1)) + 6.0 * (value(1, 0) + value(1, 1))) / 28.0;
    let accuracy = row["metrics"]["accuracy"].as_f64().unwrap();
    assert!((accuracy - pooled).abs() < 1e-12, "{accuracy} {pooled}");
}

#[test]
fn selecting_on_test_is_refused_or_warned_about_with_what_it_adds() {
    let dir = with_corpus(60);
    let at = dir.path();
    trimer(
        at,
        &format!("train --corpus c {TINY} --set train.select_on=test --out r"),
    )
    .refused(&["--select-on test"]);
    fs::write(at.join("peek.toml"), "[train]\nselect_on = \"test\"\n").unwrap();
    trimer(at, "train --corpus c --recipe peek.toml --out r").refused(&["--select-on test"]);
    assert!(!at.join("r").exists());

    let line =
        format!("train --corpus c {TINY} --set train.epochs=8 --seeds 2 --select-on test --out r");
    let ran = trimer(at, &line).ok();
    assert!(ran.out.contains("SELECTED ON TEST"), "{ran}");
    trimer(at, "eval r").refused(&["--select-on test"]);
    trimer(at, "eval r --split valid").refused(&["--select-on test"]);
    trimer(at, "compare r").refused(&["--select-on test"]);
    let eval = trimer(at, "eval r --select-on test --json").json();
    assert!(
        eval["stamp"]
            .as_str()
            .unwrap()
            .starts_with("SELECTED ON TEST")
    );
    let protocol = &eval["protocol"];
    assert_eq!(protocol["selected_on"], "test");
    assert_eq!(protocol["test_opened"][0]["by"], "selection on test");

    // What it adds follows from the logs: the best epoch on test against the best on valid.
    let mut gains = Vec::new();
    for seed in [1, 2] {
        let log = fs::read_to_string(at.join(format!("r/seed-{seed}/log.jsonl"))).unwrap();
        let lines: Vec<Value> = log
            .lines()
            .map(|l| serde_json::from_str(l).unwrap())
            .collect();
        let of = |split: &str| -> Vec<f64> {
            lines
                .iter()
                .map(|l| l[split]["multimodal"]["accuracy"].as_f64().unwrap())
                .collect()
        };
        let first_best = |values: &[f64]| {
            let best = values.iter().copied().fold(f64::MIN, f64::max);
            values.iter().position(|v| *v == best).unwrap()
        };
        let (valid, test) = (of("valid"), of("test"));
        let (by_valid, by_test) = (first_best(&valid), first_best(&test));
        let noted = &protocol["inflation"]["seeds"][seed.to_string()];
        assert_eq!(noted["test_epoch"], by_test as u64 + 1);
        assert_eq!(noted["valid_epoch"], by_valid as u64 + 1);
        assert_eq!(
            protocol["selected_epochs"][seed.to_string()],
            by_test as u64 + 1
        );
        gains.push(test[by_test] - test[by_valid]);
        assert!(test[by_test] >= test[by_valid]);
    }
    let table = trimer(at, "compare r --select-on test --out out --json").json();
    let gain = f64::midpoint(gains[0], gains[1]);
    let noted = table["rows"][0]["selection"]["inflation"].as_f64().unwrap();
    assert!((noted - gain).abs() < 1e-12, "{noted} {gain}");
    for name in ["results.json", "results.md", "results.tex", "report.html"] {
        let text = fs::read_to_string(at.join("out").join(name)).unwrap();
        assert!(text.contains("SELECTED ON TEST"), "{name}");
    }
    let csv = fs::read_to_string(at.join("out/results.csv")).unwrap();
    assert!(
        csv.contains(",test,accuracy,") && csv.contains(",inflation,"),
        "{csv}"
    );
}

#[test]
fn a_search_stays_on_validation_continues_and_writes_a_recipe() {
    let dir = with_corpus(40);
    let at = dir.path();
    fs::write(
        at.join("space.toml"),
        "[train]\nlr = { log = [1e-3, 1e-1] }\n[model]\np_attn = { choices = [0.0, 0.2] }\n",
    )
    .unwrap();
    let line = |out: &str| {
        format!(
            "tune --corpus c --models lfmim --space space.toml {TINY} --set train.epochs=4 \
             --budget 18 --eta 2 --out {out} --json"
        )
        .replace("--set train.lr=0.01", "")
    };
    let whole = trimer(at, &line("whole")).json();
    let trials = whole[0]["trials"].as_array().unwrap();
    assert!(trials.iter().all(|t| t["split"] == "valid"));
    let spent = whole[0]["tuning"]["epochs"].as_u64().unwrap();
    assert!((4..=18).contains(&spent), "{spent}");
    for trial in entries(&at.join("whole/lfmim/trials")) {
        let run = at.join("whole/lfmim/trials").join(trial);
        let protocol = json(&run.join("protocol.json"));
        assert_eq!(protocol["test_opened"], serde_json::json!([]));
        assert!(!run.join("seed-1/predictions-test.parquet").exists());
    }
    let best = trials
        .iter()
        .filter(|t| t["epochs"] == 4)
        .map(|t| t["value"].as_f64().unwrap())
        .fold(f64::MIN, f64::max);
    assert_eq!(whole[0]["tuning"]["value"].as_f64().unwrap(), best);

    // Cut off and continued, it ends the same.
    let words = line("cut");
    let words: Vec<&str> = words.split_whitespace().collect();
    let mut child = command(at, &words)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    thread::sleep(Duration::from_millis(500));
    child.kill().unwrap();
    child.wait().unwrap();
    let cut = finish(command(at, &words)).json();
    assert_eq!(whole[0]["trials"], cut[0]["trials"]);
    let recipe = |out: &str| fs::read_to_string(at.join(out).join("lfmim.toml")).unwrap();
    assert_eq!(recipe("whole"), recipe("cut"));
    let other = line("cut").replace("--budget 18", "--budget 12");
    trimer(at, &other).refused(&["another search"]);
    // A trial that cannot be read is not trained again and written over.
    let trials = at.join("cut/lfmim/trials.jsonl");
    let known = fs::read_to_string(&trials).unwrap();
    fs::write(&trials, known.replacen("\"trial\"", "\"attempt\"", 1)).unwrap();
    finish(command(at, &words)).refused(&["trials.jsonl", "line 1", "hint: "]);

    // The recipe trains, the run says where its settings are from, and a comparison says that too.
    let line = "compare --corpus c --models lfmim --recipes whole --seeds 1 --out out --json";
    let table = trimer(at, line).json();
    let tuning = &table["rows"][0]["selection"]["tuning"];
    assert_eq!(tuning["method"], "halving");
    assert_eq!(tuning["epochs"].as_u64().unwrap(), spent);
    let forged = recipe("whole").replace("split = \"valid\"", "split = \"test\"");
    fs::write(at.join("forged.toml"), forged).unwrap();
    trimer(at, "train --corpus c --recipe forged.toml --out f").refused(&["tuning.split"]);
}

#[test]
fn a_run_is_evaluated_without_modalities_without_frames_and_in_noise() {
    let dir = with_corpus(60);
    let at = dir.path();
    let line = format!("train --corpus c {TINY} --set train.epochs=3 --out r");
    trimer(at, &line).ok();
    let eval = "eval r --missing --frame-loss 0.5,1 --snr=-5 --json";
    let broken = trimer(at, eval).json();
    let cases = broken["cases"].as_array().unwrap();
    let keep = |case: &Value| {
        let names = case["keep"].as_array().unwrap().iter();
        names
            .map(|m| m.as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
            .join("+")
    };
    let names: Vec<String> = cases.iter().map(keep).collect();
    let all = "text+audio+vision";
    assert_eq!(
        names,
        [
            "text",
            "audio",
            "vision",
            "text+audio",
            "text+vision",
            "audio+vision",
            all,
            all,
            all,
            all
        ]
    );
    for case in cases {
        let accuracy = case["heads"]["multimodal"]["accuracy"].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&accuracy));
        let log_loss = case["heads"]["multimodal"]["log_loss"].as_f64().unwrap();
        assert!(log_loss.is_finite(), "{case}");
        for m in ["text", "audio", "vision"] {
            let kept = keep(case).contains(m);
            assert_eq!(case["heads"][m].is_object(), kept, "{case}");
        }
    }
    // With everything there it is the plain evaluation; losing every frame is losing everything.
    let plain = trimer(at, "eval r --json").json();
    assert_eq!(cases[6]["heads"], plain["heads"]);
    assert_ne!(cases[7]["heads"], plain["heads"]);
    assert_ne!(cases[9]["heads"], plain["heads"]);
    assert_eq!(cases[9]["snr_db"], -5.0);
    // The same seed breaks the same frames, another seed others.
    assert_eq!(trimer(at, eval).json()["cases"], broken["cases"]);
    let other = trimer(at, &format!("{eval} --corruption-seed 5")).json();
    assert_ne!(other["cases"][7], broken["cases"][7]);
    assert_eq!(other["cases"][0], broken["cases"][0]);
    let table = trimer(at, "eval r --missing").ok();
    assert!(
        table.out.contains("frames lost") && table.out.contains("10 dB"),
        "{table}"
    );
    trimer(at, "eval r --missing --frame-loss 2").refused(&["0 to 1"]);
}

#[test]
fn modality_dropout_trains_and_resumes_to_the_bit() {
    let dir = with_corpus(40);
    let at = dir.path();
    let line = format!(
        "train --corpus c {TINY} --set train.epochs=4 --set train.modality_dropout=0.4 \
         --set train.checkpoint_steps=1"
    );
    trimer(at, &format!("{line} --out whole")).ok();
    trimer(
        at,
        &format!("train --corpus c {TINY} --set train.epochs=4 --out plain"),
    )
    .ok();
    let words = format!("{line} --out cut");
    let words: Vec<&str> = words.split_whitespace().collect();
    let mut child = command(at, &words)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    thread::sleep(Duration::from_millis(300));
    child.kill().unwrap();
    child.wait().unwrap();
    if at.join("cut/config.toml").is_file() {
        trimer(at, "train --resume cut").ok();
    } else {
        trimer(at, &format!("{line} --out cut")).ok();
    }
    let weights = |run: &str| fs::read(at.join(run).join("seed-1/last.safetensors")).unwrap();
    assert!(weights("whole") == weights("cut"));
    assert!(weights("whole") != weights("plain"));
    trimer(
        at,
        &format!("train --corpus c {TINY} --set train.modality_dropout=1.5 --out x"),
    )
    .refused(&["train.modality_dropout"]);
}

#[test]
fn all_models_are_measured_one_per_line() {
    let dir = tempfile::tempdir().unwrap();
    let models = trimer(dir.path(), "models --json").json();
    let ran = trimer(dir.path(), "bench --all --batch 1 --repeat 1 --json").ok();
    let ids: Vec<String> = ran
        .out
        .lines()
        .map(|line| {
            let measured: Value = serde_json::from_str(line).unwrap();
            assert!(
                measured["train_samples_per_s"].as_f64().unwrap() > 0.0,
                "{line}"
            );
            measured["id"].as_str().unwrap().to_owned()
        })
        .collect();
    let known: Vec<&str> = models
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, known);
}

#[test]
fn what_cannot_be_compared_is_refused_before_anything_is_trained() {
    let dir = with_corpus(40);
    let at = dir.path();
    trimer(at, "compare --models lfmin --corpus c --out o").refused(&["lfmim"]);
    trimer(at, "compare --models lfmim,lfmim --corpus c --out o").refused(&["two systems"]);
    trimer(
        at,
        "compare --models lfmim --corpus c --out o --reference x",
    )
    .refused(&["`x`"]);
    trimer(
        at,
        "compare --models lfmim --corpus c --out o --recipes nowhere",
    )
    .refused(&["nowhere"]);
    trimer(at, "tune --models lfmim --corpus c --out o --budget 3").refused(&["--budget"]);
    assert!(!at.join("o").exists());
}
