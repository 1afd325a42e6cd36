//! Every block and figure of a report, with made-up numbers, to look at.
//!
//! Run with: `cargo run -p trimer-report --example gallery -- gallery.html`
//!
//! It also writes each figure as a file of its own beside the report: `gallery-losses.svg`,
//! `gallery-losses.csv` and so on. Takes well under a second.

use std::{error::Error, path::PathBuf};
use trimer_report::{
    BarChart, Card, Cell, Column, ConfusionMatrix, Figure, HeatMap, LineChart, ReliabilityBar,
    ReliabilityDiagram, Report, Section, Series, SmallMultiples, Table,
};

const EMOTIONS: [&str; 7] = [
    "happiness",
    "sadness",
    "fear",
    "anger",
    "surprise",
    "disgust",
    "neutral",
];

/// A curve that falls from `start` to `end`, with a little unrest.
fn falling(start: f64, end: f64, n: usize, unrest: f64) -> Vec<f64> {
    (0..n)
        .map(|i| {
            let t = i as f64;
            end + (start - end) * (-t / (n as f64 / 4.0)).exp() + unrest * (t * 12.9898).sin()
        })
        .collect()
}

fn losses() -> LineChart {
    LineChart::new("Loss per epoch", "epoch", "cross-entropy (nat)")
        .series(Series::from_values("train", &falling(1.95, 0.42, 30, 0.01)))
        .series(Series::from_values("valid", &falling(1.93, 0.95, 30, 0.03)))
        .mark_x(21.0, "selected")
}

fn heads() -> LineChart {
    let mut chart = LineChart::new("Validation accuracy by head", "epoch", "accuracy (%)")
        .reference(14.3, "chance");
    for (i, head) in ["multimodal", "text", "audio", "vision"]
        .into_iter()
        .enumerate()
    {
        let end = [71.0, 69.5, 55.0, 53.8][i];
        let values: Vec<f64> = falling(20.0, end, 30, 0.6);
        let band: Vec<[f64; 2]> = values.iter().map(|v| [v - 1.5, v + 1.5]).collect();
        chart = chart.series(Series::from_values(head, &values).with_band(band));
    }
    chart
}

fn per_class() -> BarChart {
    let value = |i: usize, shift: f64| 0.45 + 0.4 * ((i as f64 + shift) * 1.7).sin().abs();
    let bars = |shift: f64| {
        (0..EMOTIONS.len()).map(move |i| {
            let v = value(i, shift);
            (v, [v - 0.04, v + 0.035])
        })
    };
    BarChart::new("F1 per emotion", "emotion", "F1", EMOTIONS)
        .series("LFMIM", bars(0.0))
        .series("late fusion", bars(0.2))
        .series("majority", [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.31])
        .y_max(1.0)
}

fn models() -> BarChart {
    let names = [
        "LFMIM",
        "MulT",
        "TFN",
        "LMF",
        "EF transformer",
        "LF transformer",
        "majority",
    ];
    let values = [0.712, 0.694, 0.671, 0.668, 0.683, 0.689, 0.214];
    BarChart::new("Accuracy of seven models", "model", "accuracy", names)
        .series("test", values.map(|v| (v, [v - 0.018, v + 0.017])))
        .y_max(1.0)
        .reference(1.0 / 7.0, "chance")
}

fn confusion() -> ConfusionMatrix {
    let counts = (0..7).map(|t| {
        (0..7)
            .map(|p| {
                let base = [612.0, 418.0, 77.0, 305.0, 190.0, 58.0, 1240.0][t];
                let share = if t == p {
                    0.62
                } else {
                    0.38 / 9.0 * ((t * 3 + p * 5) % 4) as f64
                };
                f64::floor(base * share)
            })
            .collect()
    });
    ConfusionMatrix::new("Confusions of the multimodal head", EMOTIONS, counts)
}

fn long_names() -> ConfusionMatrix {
    let names = [
        "negative",
        "weakly negative",
        "neutral",
        "weakly positive",
        "positive",
    ];
    let counts = (0..5i32).map(|t| {
        (0..5i32)
            .map(|p| f64::from(100 / (1 + 3 * (t - p).pow(2))))
            .collect()
    });
    ConfusionMatrix::new("Five classes of CH-SIMS", names, counts)
}

fn balance() -> SmallMultiples {
    let panel = |name: &str, ends: [f64; 3]| {
        let mut chart = LineChart::new(name, "epoch", "accuracy (%)");
        for (modality, end) in ["text", "audio", "vision"].into_iter().zip(ends) {
            chart = chart.series(Series::from_values(modality, &falling(20.0, end, 20, 0.5)));
        }
        chart
    };
    SmallMultiples::new(
        "Modalities under four training plug-ins",
        [
            panel("none", [68.0, 41.0, 39.0]),
            panel("OGM", [66.5, 47.0, 44.0]),
            panel("OGM-GE", [67.0, 49.0, 46.5]),
            panel("FAGM", [67.5, 52.0, 50.0]),
        ],
    )
    .columns(2)
}

fn results() -> Table {
    Table::new(
        "Test results, mean over 5 seeds",
        [
            Column::text("model"),
            Column::number("accuracy (%)", 1).best(true),
            Column::number("weighted F1 (%)", 1).best(true),
            Column::number("MAE", 3).best(false),
            Column::number("parameters (M)", 1),
        ],
    )
    .row([
        Cell::from("LFMIM"),
        Cell::Interval(71.2, [69.8, 72.5]),
        Cell::Spread(70.9, 0.4),
        Cell::from(0.871),
        Cell::from(3.5),
    ])
    .row([
        Cell::from("MulT"),
        Cell::Interval(69.4, [68.0, 70.8]),
        Cell::Spread(69.1, 0.6),
        Cell::from(0.862),
        Cell::from(1.9),
    ])
    .row([
        Cell::from("majority"),
        Cell::Interval(21.4, [20.2, 22.7]),
        Cell::from(7.5),
        Cell::from(f64::NAN),
        Cell::from(0.0),
    ])
}

fn inconsistency() -> HeatMap {
    let heads = ["text", "audio", "vision", "multimodal"];
    HeatMap::new(
        "Inconsistency of labels",
        ("label", heads),
        ("label", heads),
        [
            vec![0.0, 0.47, 0.52, 0.33],
            vec![0.47, 0.0, 0.44, 0.31],
            vec![0.52, 0.44, 0.0, f64::NAN],
            vec![0.33, 0.31, f64::NAN, 0.0],
        ],
    )
    .per_cent()
    .decimals(1)
}

fn reliability() -> ReliabilityDiagram {
    let bins = (0..10).map(|k| {
        let low = f64::from(k) / 10.0;
        let n = if k < 2 { 0 } else { 12 * k as u64 };
        let known = |value: f64| if n > 0 { value } else { f64::NAN };
        ReliabilityBar {
            range: [low, low + 0.1],
            confidence: known(low + 0.055),
            accuracy: known(0.8 * low + 0.06),
            n,
        }
    });
    ReliabilityDiagram::new("Reliability of the multimodal head", bins)
}

fn main() -> Result<(), Box<dyn Error>> {
    let path = PathBuf::from(std::env::args().nth(1).ok_or("usage: gallery FILE.html")?);
    let report = Report::new("Gallery of a Trimer report")
        .subtitle("Made-up numbers: nothing here was measured")
        .section(
            Section::new("Summary")
                .cards([
                    Card::new("accuracy", "71.2 %").note("95 % interval 69.8 to 72.5"),
                    Card::new("weighted F1", "70.9 %").note("5 seeds"),
                    Card::new("best epoch", "21 of 30"),
                    Card::new("test samples", "5,744"),
                ])
                .paragraph(
                    "The fused head is ahead of every single modality; text comes close, audio \
                     and vision are far behind.",
                )
                .warning("The test split was opened once, after the model had been selected.")
                .table(results()),
        )
        .section(Section::new("Training").figure(losses()).figure(heads()))
        .section(Section::new("Modalities").figure(balance()))
        .section(
            Section::new("Classes")
                .figure(per_class())
                .figure(confusion()),
        )
        .section(
            Section::new("Labels and probabilities")
                .figure(inconsistency())
                .figure(reliability()),
        )
        .section(Section::new("Models").figure(models()).figure(long_names()))
        .section(
            Section::new("How to repeat this")
                .info("Same seed, same machine, same numbers.")
                .code(
                    "trimer train --corpus cherma --model lfmim --seeds 5 --out runs/cherma-lfmim",
                ),
        )
        .footer("Made by the gallery example of trimer-report.");
    report.write(&path)?;
    let figures: [(&str, &dyn Figure); 9] = [
        ("losses", &losses()),
        ("heads", &heads()),
        ("balance", &balance()),
        ("classes", &per_class()),
        ("confusions", &confusion()),
        ("models", &models()),
        ("sims", &long_names()),
        ("inconsistency", &inconsistency()),
        ("reliability", &reliability()),
    ];
    for (name, figure) in figures {
        let base = path.with_extension("");
        let file =
            |extension: &str| PathBuf::from(format!("{}-{name}.{extension}", base.display()));
        figure.write_svg(&file("svg"))?;
        figure.write_csv(&file("csv"))?;
    }
    Ok(())
}
