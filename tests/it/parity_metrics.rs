//! Metrics against the values of MMSA, MulT, scikit-learn, SciPy and NumPy in `metrics.json`.
//!
//! Every key of every case is looked up; one that has no counterpart here fails the test.

use serde_json::Value;
use std::{env, fs, path::PathBuf};
use trimer_core::metrics::{
    ConfusionMatrix, Pairs, Probabilities, accuracy, agreement, correlation, error_size, f1,
    f1::Labels, mmsa, mult, probability, ranking,
};

/// The fixture, or `None` where no folder of fixtures is named.
fn fixture() -> Option<Value> {
    let folder = env::var_os("TRIMER_GOLDEN").map(PathBuf::from).or_else(|| {
        env::var_os("TRIMER_SHARED").map(|shared| PathBuf::from(shared).join("golden"))
    });
    let Some(folder) = folder else {
        println!("skipped: neither TRIMER_GOLDEN nor TRIMER_SHARED is set");
        return None;
    };
    let text = fs::read_to_string(folder.join("metrics.json")).unwrap();
    Some(serde_json::from_str(&text).unwrap())
}

/// A number, or one of the words that stand for what JSON cannot hold.
fn number(value: &Value) -> f64 {
    match value.as_str() {
        Some("NaN") => f64::NAN,
        Some("Infinity") => f64::INFINITY,
        Some("-Infinity") => f64::NEG_INFINITY,
        Some(other) => panic!("`{other}` is no number"),
        None => value
            .as_f64()
            .unwrap_or_else(|| panic!("{value} is no number")),
    }
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(number).collect()
}

fn classes(value: &Value) -> Vec<u32> {
    numbers(value).into_iter().map(|v| v as u32).collect()
}

/// The reference raised an exception instead of returning something.
fn is_error(value: &Value) -> bool {
    value.get("error").is_some()
}

struct Checker {
    float32: f64,
    float64: f64,
    checked: usize,
    wrong: Vec<String>,
}

impl Checker {
    fn new(fixture: &Value) -> Self {
        let tolerance = &fixture["recommended_tolerance"];
        Self {
            float32: number(&tolerance["float32_derived"]),
            float64: number(&tolerance["float64"]),
            checked: 0,
            wrong: Vec::new(),
        }
    }

    fn close(&mut self, name: &str, ours: f64, expected: f64, tolerance: f64) {
        self.checked += 1;
        let equal = ours == expected || (ours.is_nan() && expected.is_nan());
        let close = (ours - expected).abs() <= tolerance * expected.abs().max(1.0);
        if !equal && !close {
            self.wrong
                .push(format!("{name}: {ours} instead of {expected}"));
        }
    }

    fn scalar(&mut self, name: &str, ours: f64, expected: &Value) {
        // the reference gives no value for this kind of case
        if expected.is_null() {
            return;
        }
        let expected = if is_error(expected) {
            f64::NAN
        } else {
            number(expected)
        };
        self.close(name, ours, expected, self.float64);
    }

    fn list(&mut self, name: &str, ours: &[f64], expected: &Value) {
        let expected = numbers(expected);
        assert_eq!(ours.len(), expected.len(), "{name}");
        for (i, (a, b)) in ours.iter().zip(expected).enumerate() {
            self.close(&format!("{name}[{i}]"), *a, b, self.float64);
        }
    }

    /// A group of values that one script returns; our `None` is its exception.
    fn group(&mut self, name: &str, ours: Option<&[(&str, f64)]>, expected: &Value, rounded: bool) {
        if is_error(expected) || ours.is_none() {
            self.checked += 1;
            if is_error(expected) != ours.is_none() {
                self.wrong
                    .push(format!("{name}: {ours:?} instead of {expected}"));
            }
            return;
        }
        for (key, value) in expected.as_object().unwrap() {
            let name = format!("{name}.{key}");
            let Some((_, ours)) = ours.unwrap().iter().find(|(k, _)| k == key) else {
                panic!("{name} has no counterpart");
            };
            let expected = number(value);
            if rounded {
                self.close(
                    &name,
                    (ours * 1e4).round_ties_even() / 1e4,
                    expected,
                    1.01e-4,
                );
            } else {
                // of these the reference computes only the mean error in float32
                let tolerance = if key == "MAE" {
                    self.float32
                } else {
                    self.float64
                };
                self.close(&name, *ours, expected, tolerance);
            }
        }
    }

    fn finish(self, at_least: usize) {
        assert!(self.wrong.is_empty(), "{}", self.wrong.join("\n"));
        assert!(
            self.checked >= at_least,
            "only {} values were checked",
            self.checked
        );
    }
}

fn mosi(pairs: &Pairs<'_>) -> Option<Vec<(&'static str, f64)>> {
    mmsa::mosi(pairs).map(|m| {
        vec![
            ("Has0_acc_2", m.acc2_has0),
            ("Has0_F1_score", m.acc2_has0_f1),
            ("Non0_acc_2", m.acc2_non0),
            ("Non0_F1_score", m.acc2_non0_f1),
            ("Mult_acc_5", m.acc5),
            ("Mult_acc_7", m.acc7),
            ("MAE", m.mae),
            ("Corr", m.pearson),
        ]
    })
}

fn sims(pairs: &Pairs<'_>) -> Option<Vec<(&'static str, f64)>> {
    mmsa::sims(pairs).map(|m| {
        vec![
            ("Mult_acc_2", m.acc2),
            ("Mult_acc_3", m.acc3),
            ("Mult_acc_5", m.acc5),
            ("F1_score", m.f1),
            ("MAE", m.mae),
            ("Corr", m.pearson),
        ]
    })
}

fn mult_sentiment(pairs: &Pairs<'_>, exclude_zero: bool) -> Option<Vec<(&'static str, f64)>> {
    mult::sentiment(pairs, exclude_zero).map(|m| {
        vec![
            ("MAE", m.mae),
            ("Correlation Coefficient", m.pearson),
            ("mult_acc_7", m.acc7),
            ("mult_acc_5", m.acc5),
            ("F1 score", m.f1),
            ("Accuracy", m.accuracy),
        ]
    })
}

#[test]
fn regression_cases() {
    let Some(fixture) = fixture() else { return };
    let mut checker = Checker::new(&fixture);
    for case in fixture["regression"].as_array().unwrap() {
        let (truth, pred) = (numbers(&case["label"]), numbers(&case["pred"]));
        let pairs = Pairs::new(&truth, &pred).unwrap();
        for (key, expected) in case["expected"].as_object().unwrap() {
            let name = format!("{}/{key}", case["name"]);
            let rounded = !key.ends_with("_unrounded");
            match key.as_str() {
                "mmsa_mosi" | "mmsa_mosei" | "mmsa_mosi_unrounded" | "mmsa_mosei_unrounded" => {
                    checker.group(&name, mosi(&pairs).as_deref(), expected, rounded);
                }
                "mmsa_sims" | "mmsa_sims_unrounded" => {
                    checker.group(&name, sims(&pairs).as_deref(), expected, rounded);
                }
                "mult_include_zero" | "mult_exclude_zero" => {
                    let ours = mult_sentiment(&pairs, key == "mult_exclude_zero");
                    checker.group(&name, ours.as_deref(), expected, false);
                }
                "scipy_pearson_float64" => {
                    checker.scalar(&name, correlation::pearson(&pairs), expected);
                }
                "scipy_spearman_float64" => {
                    checker.scalar(&name, correlation::spearman(&pairs), expected);
                }
                "mae_float64" => checker.scalar(&name, error_size::mae(&pairs), expected),
                "mse_float64" => checker.scalar(&name, error_size::mse(&pairs), expected),
                "sklearn_r2_float64" => checker.scalar(&name, error_size::r2(&pairs), expected),
                "concordance_biased_float64" => {
                    checker.scalar(&name, correlation::ccc(&pairs), expected);
                }
                other => panic!("`{other}` has no counterpart"),
            }
        }
    }
    checker.finish(100);
}

fn of_matrix(checker: &mut Checker, name: &str, m: &ConfusionMatrix, key: &str, expected: &Value) {
    let per_class = |of_class: fn(&ConfusionMatrix, usize) -> f64| -> Vec<f64> {
        (0..m.n_classes()).map(|class| of_class(m, class)).collect()
    };
    let swapped = m.swapped();
    let scalar = match key {
        "accuracy" => accuracy::accuracy(m),
        "balanced_accuracy" => accuracy::uar(m),
        "f1_micro" | "f1_micro_all_labels" => f1::micro_f1(m),
        "f1_micro_arguments_swapped" => f1::micro_f1(&swapped),
        "f1_macro" => f1::macro_f1(m, Labels::Occurring),
        "f1_macro_all_labels" => f1::macro_f1(m, Labels::All),
        "f1_macro_arguments_swapped" => f1::macro_f1(&swapped, Labels::Occurring),
        "f1_weighted" | "f1_weighted_all_labels" => f1::weighted_f1(m),
        "f1_weighted_arguments_swapped" => f1::weighted_f1(&swapped),
        "precision_macro_all_labels" => f1::macro_precision(m, Labels::All),
        "recall_macro_all_labels" => f1::macro_recall(m, Labels::All),
        "matthews" => agreement::matthews(m),
        "cohen_kappa" => agreement::kappa(m),
        "precision_per_class" => return checker.list(name, &per_class(f1::precision), expected),
        "recall_per_class" => return checker.list(name, &per_class(f1::recall), expected),
        "f1_per_class" => return checker.list(name, &per_class(f1::f1), expected),
        "support_per_class" => {
            return checker.list(name, &per_class(ConfusionMatrix::support), expected);
        }
        "confusion_matrix" | "confusion_matrix_normalized_true" => {
            let rows: Vec<Vec<f64>> = if key == "confusion_matrix" {
                m.rows().map(<[f64]>::to_vec).collect()
            } else {
                m.normalised_rows()
            };
            for (row, expected) in rows.iter().zip(expected.as_array().unwrap()) {
                checker.list(name, row, expected);
            }
            return;
        }
        other => panic!("`{other}` has no counterpart"),
    };
    checker.scalar(name, scalar, expected);
}

/// Values that need probabilities; false where `key` is not one of them.
fn of_scores(
    checker: &mut Checker,
    name: &str,
    p: &Probabilities<'_>,
    key: &str,
    expected: &Value,
) -> bool {
    let second_class =
        || -> (Vec<bool>, Vec<f64>) { p.rows().map(|(truth, row)| (truth == 1, row[1])).unzip() };
    let value = match key {
        "brier_sum_over_classes_mean" => probability::brier(p),
        "brier_mean_over_classes_mean" | "brier_sklearn_binary" => probability::brier_mean(p),
        "log_loss_sklearn" => probability::log_loss(p),
        "roc_auc_ovr_macro" => ranking::roc_auc_ovr_macro(p),
        "roc_auc_binary" => {
            let (positive, scores) = second_class();
            ranking::roc_auc(&positive, &scores)
        }
        "average_precision_binary" => {
            let (positive, scores) = second_class();
            ranking::average_precision(&positive, &scores)
        }
        "mmsa_mosi_classification" => {
            let rows: Vec<[f64; 3]> = p.rows().map(|(_, r)| [r[0], r[1], r[2]]).collect();
            let ours = mmsa::classification(p.truth(), &rows, true).map(|m| {
                [
                    ("Acc_3", m.acc3),
                    ("F1_score_3", m.acc3_f1),
                    ("Has0_acc_2", m.acc2_has0),
                    ("Has0_F1_score", m.acc2_has0_f1),
                    ("Non0_acc_2", m.acc2_non0),
                    ("Non0_F1_score", m.acc2_non0_f1),
                ]
            });
            checker.group(name, ours.as_ref().map(<[_; 6]>::as_slice), expected, true);
            return true;
        }
        _ => {
            let Some(k) = key
                .strip_prefix("top")
                .and_then(|k| k.strip_suffix("_sklearn"))
            else {
                return false;
            };
            ranking::top_k_accuracy(p, k.parse().unwrap(), ranking::Ties::LastClass)
        }
    };
    checker.scalar(name, value, expected);
    true
}

#[test]
fn classification_cases() {
    let Some(fixture) = fixture() else { return };
    let mut checker = Checker::new(&fixture);
    for case in fixture["classification"].as_array().unwrap() {
        let n_classes = case["classes"].as_u64().unwrap() as usize;
        let (truth, pred) = (classes(&case["label"]), classes(&case["pred"]));
        let matrix = match case.get("sample_weight") {
            Some(w) => ConfusionMatrix::with_weights(&truth, &pred, &numbers(w), n_classes),
            None => ConfusionMatrix::new(&truth, &pred, n_classes),
        }
        .unwrap();
        let scores: Option<Vec<f64>> = case
            .get("prob")
            .map(|rows| rows.as_array().unwrap().iter().flat_map(numbers).collect());
        let probabilities = scores
            .as_ref()
            .map(|s| Probabilities::new(&truth, s, n_classes).unwrap());
        if let Some(p) = &probabilities {
            let largest: Vec<u32> = p
                .rows()
                .map(|(_, row)| probability::arg_max(row) as u32)
                .collect();
            assert_eq!(largest, pred, "{}", case["name"]);
        }
        for (key, expected) in case["expected"].as_object().unwrap() {
            let name = format!("{}/{key}", case["name"]);
            let done = probabilities
                .as_ref()
                .is_some_and(|p| of_scores(&mut checker, &name, p, key, expected));
            if !done {
                of_matrix(&mut checker, &name, &matrix, key, expected);
            }
        }
    }
    checker.finish(100);
}

#[test]
fn mult_on_iemocap() {
    let Some(fixture) = fixture() else { return };
    let mut checker = Checker::new(&fixture);
    let case = &fixture["mult_iemocap"];
    let flat = |key: &str| -> Vec<f64> {
        case[key]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(numbers)
            .collect()
    };
    let truth: Vec<bool> = flat("truth").into_iter().map(|v| v != 0.0).collect();
    let ours =
        mult::binary_emotions(&truth, &flat("logits"), mult::IEMOCAP_EMOTIONS.len()).unwrap();
    for (emotion, metrics) in mult::IEMOCAP_EMOTIONS.iter().zip(ours) {
        let expected = &case["expected"][emotion];
        checker.scalar(emotion, metrics.accuracy, &expected["Accuracy"]);
        checker.scalar(emotion, metrics.weighted_f1, &expected["F1 Score"]);
    }
    checker.finish(2 * case["expected"].as_object().unwrap().len());
}
