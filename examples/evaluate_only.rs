//! Metrics and tests for predictions of any program, without a model of Trimer: two systems on the
//! same utterances, each with intervals, and a test of whether they differ.
//!
//! Run with: `cargo run --release --example evaluate_only`
//!
//! Expected output:
//!
//! ```text
//! system a: accuracy 0.800 [0.750, 0.850], weighted_f1 0.800 [0.750, 0.850], uar 0.800 [0.748, 0.851]
//! system b: accuracy 0.750 [0.692, 0.804], weighted_f1 0.750 [0.692, 0.805], uar 0.750 [0.693, 0.806]
//! McNemar's exact test: p = 0.230 (smaller number 36)
//! ```
//!
//! Time: below a second.
#![expect(clippy::print_stdout, reason = "an example shows what it finds")]

use std::error::Error;
use trimer::metrics::{EvaluationOptions, Metrics, evaluate_classification};
use trimer::stats::paired::mcnemar_exact;

const CLASSES: [&str; 3] = ["negative", "neutral", "positive"];

fn main() -> Result<(), Box<dyn Error>> {
    // Stand-ins for three columns of a table: truth, and what two systems said.
    let truth: Vec<u32> = (0..240).map(|i| i % 3).collect();
    let wrong = |every: u32, y: u32, i: u32| {
        if i.is_multiple_of(every) {
            (y + 1) % 3
        } else {
            y
        }
    };
    let with = |every: u32| -> Vec<u32> {
        let pairs = truth.iter().zip(0..);
        pairs.map(|(y, i)| wrong(every, *y, i)).collect()
    };
    let (a, b) = (with(5), with(4));

    let options = EvaluationOptions {
        n_resamples: 2000,
        seed: 7,
        ..EvaluationOptions::default()
    };
    for (name, pred) in [("a", &a), ("b", &b)] {
        let metrics = evaluate_classification(&truth, pred, None, &CLASSES, &options)?;
        println!(
            "system {name}: accuracy {}, weighted_f1 {}, uar {}",
            cell(&metrics, "accuracy"),
            cell(&metrics, "weighted_f1"),
            cell(&metrics, "uar"),
        );
    }

    let right = |pred: &[u32]| -> Vec<bool> {
        let pairs = truth.iter().zip(pred);
        pairs.map(|(y, p)| y == p).collect()
    };
    let test = mcnemar_exact(&right(&a), &right(&b));
    println!(
        "McNemar's exact test: p = {:.3} (smaller number {})",
        test.p_value, test.statistic
    );
    Ok(())
}

/// Value and interval.
fn cell(metrics: &Metrics, name: &str) -> String {
    match (metrics.scalar(name), metrics.interval(name)) {
        (Some(value), Some([low, high])) => format!("{value:.3} [{low:.3}, {high:.3}]"),
        _ => "none".into(),
    }
}
