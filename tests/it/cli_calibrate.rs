//! Calibrated probabilities: fitted on validation alone, stored once, applied wherever a run answers.

use crate::cli::{TINY, import_rows, trimer, with_corpus};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::Path,
};
use trimer::store::columns::{Column, read_columns};

fn train(dir: &Path, corpus: &str, out: &str, more: &str) {
    let line = format!("train --corpus {corpus} {TINY} {more} --out {out}");
    trimer(dir, &line).ok();
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// What a predictions file says about a head: the classes, and per utterance its id, the index of the
/// true class and all probabilities.
struct Table {
    classes: Vec<String>,
    rows: Vec<(String, Option<usize>, Vec<f64>)>,
}

impl Table {
    fn read(path: &Path, head: &str) -> Self {
        let (_, columns) = read_columns(File::open(path).unwrap(), 100_000).unwrap();
        let prefix = format!("prob_{head}_");
        let text = |column: &Column| {
            let mut cells: Vec<Option<String>> = vec![None; column.len()];
            column
                .each_text("x", &mut cells, |cell, value| {
                    *cell = Some(value.to_owned());
                    Ok(())
                })
                .unwrap();
            cells
        };
        let mut by_name = BTreeMap::new();
        let mut probabilities = Vec::new();
        for (name, column) in columns {
            if let (Some(class), Column::Double(values)) = (name.strip_prefix(&prefix), &column) {
                let values: Vec<f64> = values.iter().map(|v| v.unwrap()).collect();
                probabilities.push((class.to_owned(), values));
            }
            by_name.insert(name, column);
        }
        let classes: Vec<String> = probabilities.iter().map(|(c, _)| c.clone()).collect();
        let truth = text(&by_name[&format!("truth_{head}")]);
        let rows = text(&by_name["id"]).into_iter().zip(truth).enumerate();
        let rows = rows.map(|(i, (id, truth))| {
            let truth = truth.map(|t| classes.iter().position(|c| *c == t).unwrap());
            let row = probabilities.iter().map(|(_, values)| values[i]).collect();
            (id.unwrap(), truth, row)
        });
        Self {
            rows: rows.collect(),
            classes,
        }
    }

    fn labelled(&self) -> impl Iterator<Item = (usize, &[f64])> {
        self.rows
            .iter()
            .filter_map(|(_, t, p)| Some(((*t)?, p.as_slice())))
    }
}

/// `p_k^(1/T)`, normalised: what dividing logits by a temperature makes of probabilities.
fn at_temperature(row: &[f64], temperature: f64) -> Vec<f64> {
    let powers: Vec<f64> = row.iter().map(|p| p.powf(1.0 / temperature)).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|p| p / sum).collect()
}

fn log_loss(table: &Table, temperature: f64) -> f64 {
    let losses = table
        .labelled()
        .map(|(t, row)| -at_temperature(row, temperature)[t].ln());
    let losses: Vec<f64> = losses.collect();
    losses.iter().sum::<f64>() / losses.len() as f64
}

/// The lowest point of a function with one valley, between two logarithms.
fn minimum(f: impl Fn(f64) -> f64, mut low: f64, mut high: f64) -> f64 {
    for _ in 0..200 {
        let third = (high - low) / 3.0;
        if f((low + third).exp()) < f((high - third).exp()) {
            high -= third;
        } else {
            low += third;
        }
    }
    (0.5 * (low + high)).exp()
}

fn best(row: &[f64]) -> usize {
    (0..row.len())
        .rev()
        .max_by(|a, b| row[*a].total_cmp(&row[*b]))
        .unwrap()
}

/// Fifteen bins `(k/15, (k+1)/15]`, sorted out one by one.
fn ece(table: &Table, temperature: f64) -> f64 {
    let mut sum = 0.0;
    let rows: Vec<(f64, bool)> = table
        .labelled()
        .map(|(t, row)| {
            let row = at_temperature(row, temperature);
            (row[best(&row)], best(&row) == t)
        })
        .collect();
    for bin in 0..15 {
        let (low, high) = (f64::from(bin) / 15.0, f64::from(bin + 1) / 15.0);
        let some: Vec<_> = rows
            .iter()
            .filter(|(c, _)| *c > low && *c <= high)
            .collect();
        let confidence: f64 = some.iter().map(|(c, _)| c).sum();
        let right = some.iter().filter(|(_, r)| *r).count() as f64;
        sum += (confidence - right).abs();
    }
    sum / rows.len() as f64
}

/// What `predict` says of test: `--raw` what the file of predictions holds, else that at the temperature.
fn check_answers(at: &Path, seed: u64, test: &Table, temperature: f64) {
    let line = format!("predict r --corpus c --split test --seed {seed} --json");
    let said = trimer(at, &line).json();
    let raw = trimer(at, &format!("{line} --raw")).json();
    for (i, (id, _, row)) in test.rows.iter().enumerate() {
        assert_eq!(said[i]["id"], id.as_str());
        assert_eq!(
            (&said[i]["calibrated"], &raw[i]["calibrated"]),
            (&true.into(), &false.into())
        );
        let (said, raw) = (
            &said[i]["heads"]["multimodal"],
            &raw[i]["heads"]["multimodal"],
        );
        assert_eq!(
            said["class"], raw["class"],
            "a temperature changes no decision"
        );
        let changed = at_temperature(row, temperature);
        for ((class, p), q) in test.classes.iter().zip(row).zip(changed) {
            assert_eq!(raw["probabilities"][class], *p);
            assert!((said["probabilities"][class].as_f64().unwrap() - q).abs() < 1e-9);
        }
    }
}

#[test]
fn temperatures_are_those_of_an_independent_search_and_every_answer_uses_them() {
    let dir = with_corpus(200);
    let at = dir.path();
    // Long enough to be too sure of itself.
    train(
        at,
        "c",
        "r",
        "--set train.epochs=12 --set train.select=last --seeds 2",
    );
    let eval = trimer(at, "eval r --json").json();
    let mut before = [0.0; 2];
    let mut after = [0.0; 2];
    for (i, seed) in [1, 2].into_iter().enumerate() {
        let stored = json(&at.join(format!("r/seed-{seed}/calibration.json")));
        assert_eq!(stored["fitted_on"], "valid");
        for head in ["text", "audio", "vision", "multimodal"] {
            let file = |split: &str| {
                Table::read(
                    &at.join(format!("r/seed-{seed}/predictions-{split}.parquet")),
                    head,
                )
            };
            let (valid, test) = (file("valid"), file("test"));
            let temperature = stored["heads"][head]["temperature"].as_f64().unwrap();
            let expected = minimum(|t| log_loss(&valid, t), 0.02_f64.ln(), 50.0_f64.ln());
            assert!(
                (temperature / expected - 1.0).abs() < 1e-4,
                "{head}: {temperature} {expected}"
            );
            let loss = stored["heads"][head]["loss_after"].as_f64().unwrap();
            assert!((loss - log_loss(&valid, temperature)).abs() < 1e-6);
            assert_eq!(
                eval["calibration"][head]["temperature"][seed.to_string()],
                temperature
            );
            if head == "multimodal" {
                before[i] = ece(&test, 1.0);
                after[i] = ece(&test, temperature);
                check_answers(at, seed, &test, temperature);
            }
        }
    }
    let value = |name: &str| eval["calibration"]["multimodal"][name].as_f64().unwrap();
    let mean = |both: [f64; 2]| f64::midpoint(both[0], both[1]);
    // The model's probabilities sum to 1 in single precision only.
    assert!((value("ece_before") - mean(before)).abs() < 1e-6);
    assert!(
        (value("ece_after") - mean(after)).abs() < 1e-9,
        "{} {after:?}",
        value("ece_after")
    );
    // What was always reported stays as the model gave it.
    let head = &eval["heads"]["multimodal"];
    assert_eq!(head["ece"], eval["calibration"]["multimodal"]["ece_before"]);
    for (raw, name) in [
        ("brier", "brier_before"),
        ("log_loss", "log_loss_before"),
        ("accuracy", "accuracy"),
    ] {
        assert!(
            (head[raw].as_f64().unwrap() - value(name)).abs() < 1e-12,
            "{raw}"
        );
        let ci = eval["calibration"]["multimodal"][format!("{name}_ci")]
            .as_array()
            .unwrap();
        assert!(ci[0].as_f64() <= ci[1].as_f64());
    }
    // An accuracy on fewer answers for each of twenty coverages, the last of which is all.
    let coverage = eval["calibration"]["multimodal"]["coverage"]
        .as_array()
        .unwrap();
    assert_eq!(coverage.len(), 20);
    assert_eq!(coverage[19]["coverage"], 1.0);
    assert!((coverage[19]["accuracy"].as_f64().unwrap() - value("accuracy")).abs() < 1e-9);
    let text = trimer(at, "eval r").ok();
    assert!(text.out.contains("ece, calibrated"), "{text}");
}

#[test]
fn labels_of_test_play_no_part_and_the_file_can_be_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    for (name, test) in [("one", ["a", "b"]), ("two", ["b", "a"])] {
        let rows: Vec<String> = (0..60)
            .map(|i| match i % 3 {
                0 => format!("train,{}", ["a", "b"][i % 2]),
                1 => format!("valid,{}", ["a", "b", "b"][i / 3 % 3]),
                _ => format!("test,{}", test[i % 2]),
            })
            .collect();
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        import_rows(at, name, "split,label", &rows).ok();
        train(at, name, &format!("run-{name}"), "--set train.epochs=2");
    }
    let file = |run: &str| at.join(format!("run-{run}/seed-1/calibration.json"));
    let stored = fs::read(file("one")).unwrap();
    assert_eq!(stored, fs::read(file("two")).unwrap());

    // A run of an earlier version has no such file.
    fs::remove_file(file("one")).unwrap();
    let line = "predict run-one --corpus one --split test --json";
    let raw = trimer(at, line)
        .ok()
        .says(&["not calibrated", "trimer calibrate run-one"]);
    assert_eq!(raw.json()[0]["calibrated"], false);
    assert_eq!(
        trimer(at, "eval run-one --json").json()["calibration"],
        serde_json::json!({})
    );
    trimer(at, "predict run-one --corpus one --abstain-at 0.9").refused(&[
        "not",
        "hint: ",
        "trimer calibrate",
    ]);
    // It is fitted on its own corpus only.
    trimer(at, "calibrate run-one --corpus two").refused(&["not the corpus", "hint: "]);
    assert!(!file("one").exists());
    let fitted = trimer(at, "calibrate run-one --fit-only --json").json();
    assert_eq!(fitted[0]["seed"], 1);
    assert_eq!(stored, fs::read(file("one")).unwrap());
    let opened = |run: &str| {
        json(&at.join(run).join("protocol.json"))["test_opened"]
            .as_array()
            .unwrap()
            .len()
    };
    let n = opened("run-one");
    trimer(at, "calibrate run-one --split valid").ok();
    assert_eq!(opened("run-one"), n, "validation is not test");
    let shown = trimer(
        at,
        "calibrate run-one --json --abstain-at 0.5,1 --report c.html",
    )
    .json();
    assert_eq!(opened("run-one"), n + 1);
    assert_eq!(shown["heads"]["multimodal"]["abstain"][1]["wished"], 1.0);
    let bins = shown["heads"]["multimodal"]["reliability"]["after"]
        .as_array()
        .unwrap();
    assert_eq!(
        bins.iter().map(|b| b["n"].as_u64().unwrap()).sum::<u64>(),
        20
    );
    let page = fs::read_to_string(at.join("c.html")).unwrap();
    assert!(page.contains("calibrated") && !page.contains("src=\"http"));
    // Changed by hand or of another version.
    for (from, to, word) in [
        ("\"version\": 1", "\"version\": 9", "version is 9"),
        ("\"temperature\": ", "\"temperature\": -", "temperature"),
        ("{", "[", "expected"),
    ] {
        let text = String::from_utf8(stored.clone())
            .unwrap()
            .replacen(from, to, 1);
        fs::write(file("one"), text).unwrap();
        trimer(at, line).refused(&["calibration.json", word, "hint: "]);
    }
    trimer(at, "calibrate run-one --refit --fit-only").ok();
    assert_eq!(stored, fs::read(file("one")).unwrap());
    // Folds are evaluated together.
    let both = trimer(at, "calibrate run-one run-two --json").json();
    assert_eq!(both["heads"]["multimodal"]["n"], 40);
}

#[test]
fn abstention_keeps_its_promise_where_it_was_chosen() {
    let dir = with_corpus(200);
    let at = dir.path();
    train(at, "c", "r", "--set train.epochs=6");
    let valid = Table::read(&at.join("r/seed-1/predictions-valid.parquet"), "multimodal");
    let truth: BTreeMap<&str, usize> = valid
        .rows
        .iter()
        .map(|(id, t, _)| (id.as_str(), t.unwrap()))
        .collect();
    let mut coverages = Vec::new();
    for target in [0.4, 0.6, 0.8] {
        let line = format!("predict r --corpus c --split valid --abstain-at {target} --json");
        let said = trimer(at, &line).json();
        let (mut n, mut right) = (0, 0);
        for one in said.as_array().unwrap() {
            let head = &one["heads"]["multimodal"];
            if head["abstains"] == true {
                continue;
            }
            n += 1;
            let class = head["class"].as_str().unwrap();
            right += usize::from(valid.classes[truth[one["id"].as_str().unwrap()]] == class);
        }
        let eval = trimer(
            at,
            &format!("calibrate r --split valid --abstain-at {target} --json"),
        )
        .json();
        let promised = &eval["heads"]["multimodal"]["abstain"][0];
        assert!(
            (promised["coverage"].as_f64().unwrap() - n as f64 / truth.len() as f64).abs() < 1e-12
        );
        if n > 0 {
            assert!(
                right as f64 / n as f64 >= target,
                "{right} of {n} for {target}"
            );
        }
        coverages.push(n);
    }
    assert!(
        coverages.is_sorted_by(|a, b| a >= b) && coverages[0] > 0,
        "{coverages:?}"
    );
    for bad in ["0", "1.5", "-1", "NaN"] {
        trimer(at, &format!("predict r --corpus c --abstain-at={bad}"))
            .refused(&["out of range", "hint: "]);
        trimer(at, &format!("calibrate r --abstain-at={bad}")).refused(&["out of range"]);
    }
    // No confidence is always right here.
    let never = trimer(at, "predict r --corpus c --split valid --abstain-at 1").ok();
    assert!(
        never.err.contains("answers nothing") || never.out.contains('?'),
        "{never}"
    );
    // Classes that reach their own thresholds: the best F1 on validation, by hand.
    let said = trimer(at, "predict r --corpus c --split valid --thresholds --json").json();
    let stored = json(&at.join("r/seed-1/calibration.json"));
    for one in stored["heads"]["multimodal"]["class_thresholds"]
        .as_array()
        .unwrap()
    {
        let class = one["class"].as_str().unwrap();
        let (mut hits, mut named, mut support) = (0.0, 0.0, 0.0);
        for answer in said.as_array().unwrap() {
            let reaches = answer["heads"]["multimodal"]["reaches"].as_array().unwrap();
            let is_named = reaches.iter().any(|c| c == class);
            let is_true = valid.classes[truth[answer["id"].as_str().unwrap()]] == class;
            hits += f64::from(u8::from(is_named && is_true));
            named += f64::from(u8::from(is_named));
            support += f64::from(u8::from(is_true));
        }
        let f1 = 2.0 * hits / (named + support);
        assert!((one["f1"].as_f64().unwrap() - f1).abs() < 1e-12, "{class}");
    }
}

#[test]
fn scores_have_nothing_to_calibrate() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let rows: Vec<String> = (0..40)
        .map(|i| {
            format!(
                "{},{}",
                ["train", "valid", "test"][i % 3],
                (i % 7) as f64 - 3.0
            )
        })
        .collect();
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    import_rows(at, "c", "split,score", &rows).ok();
    train(at, "c", "r", "--set train.epochs=1");
    assert!(!at.join("r/seed-1/calibration.json").exists());
    trimer(at, "calibrate r").refused(&["scores", "no probabilities", "hint: "]);
    trimer(at, "predict r --corpus c --abstain-at 0.9").refused(&["needs probabilities", "scores"]);
    let said = trimer(at, "predict r --corpus c --json").ok();
    assert!(!said.err.contains("calibrat"), "{said}");
    assert!(said.json()[0]["heads"]["multimodal"]["score"].is_f64());
    assert_eq!(
        trimer(at, "eval r --json").json()["calibration"],
        serde_json::json!({})
    );
}

/// The library and the command give the same answer under the same name.
#[test]
fn the_library_predicts_what_the_command_prints() {
    use trimer::train::RunDir;
    use trimer::{Head, corpus::Corpus, corpus::Split};

    let dir = with_corpus(120);
    let at = dir.path();
    train(at, "c", "r", "--set train.epochs=3");
    let run = RunDir::open(&at.join("r")).unwrap();
    let corpus = Corpus::open(at.join("c")).unwrap();
    let rows = corpus.indices(Split::Test);
    let device = trimer::nn::device::parse("cpu").unwrap();
    let both = [
        ("", run.predict(1, &corpus, &rows, &device).unwrap()),
        (
            "--raw",
            run.predict_raw(1, &corpus, &rows, &device).unwrap(),
        ),
    ];
    assert_ne!(both[0].1.outputs, both[1].1.outputs);
    for (option, ours) in both {
        let line = format!("predict r --corpus c --split test --json {option}");
        let printed = trimer(at, &line).json();
        for (i, one) in printed.as_array().unwrap().iter().enumerate() {
            let said = &one["heads"]["multimodal"]["probabilities"];
            let row = ours.row(Head::Multimodal, i).unwrap();
            for (class, p) in run.config.classes.iter().zip(row) {
                assert_eq!(said[class].as_f64(), Some(*p), "{line}: {class}");
            }
        }
    }
    let stored = run.predictions(1, &corpus, Split::Test, &device).unwrap();
    let raw = run.predict_raw(1, &corpus, &stored.indices, &device);
    assert_eq!(stored.indices, raw.unwrap().indices);
}
