//! How far the F1 of the modalities lies apart, class by class.

use crate::error::Result;
use crate::report::run::evaluated::EvaluatedRun;
use crate::report::run::options::ReportOptions;
use crate::report::run::part::{Part, SectionInfo};
use serde_json::{Map, json};
use trimer_core::Head;
use trimer_core::stats::{mean, population_std};
use trimer_report::{Block, Cell, Column, DotPlot, Table};

pub(super) const INFO: SectionInfo = SectionInfo {
    id: "spread",
    title: "Spread of F1 over modalities",
    intro: "For every class, the F1 of each head on its own label, as figure 4c of [Sun2023] looks at \
            it: where the heads of the single modalities lie far apart, one of them sees the emotion \
            and the others do not. The bar spans the single modalities; the standard deviation is \
            that of these heads (of all there are, not of a sample).",
    make,
};

#[expect(clippy::unnecessary_wraps, reason = "sections that compute can fail")]
fn make(run: &EvaluatedRun<'_>, _: &ReportOptions) -> Result<Part> {
    let names = run.classes();
    if names.is_empty() {
        return Ok(Part::left_out("scores have no classes"));
    }
    let f1 = |head: Head| -> Option<Vec<f64>> {
        let per_class = run.own.get(head).as_ref()?.per_class("f1")?;
        let value = |class: &String| {
            let found = per_class.iter().find(|(n, _)| n == class);
            found.map_or(f64::NAN, |(_, v)| *v)
        };
        Some(names.iter().map(value).collect())
    };
    let values: Vec<(Head, Vec<f64>)> = Head::ALL
        .into_iter()
        .filter_map(|h| Some((h, f1(h)?)))
        .collect();
    let single: Vec<&Vec<f64>> = values
        .iter()
        .filter(|(h, _)| h.modality().is_some())
        .map(|(_, v)| v)
        .collect();
    if single.len() < 2 {
        return Ok(Part::left_out(
            "the model has fewer than two heads of single modalities",
        ));
    }
    let mut plot =
        DotPlot::new("F1 of every head by class", "class", "F1", names.to_vec()).x_range(0.0, 1.0);
    for (head, values) in &values {
        plot = plot.series(head.as_str(), values.clone(), head.modality().is_some());
    }
    let mut table = Table::new(
        "F1 of the heads of single modalities",
        [
            Column::text("class"),
            Column::number("lowest", 3),
            Column::number("highest", 3),
            Column::number("standard deviation", 3),
        ],
    );
    let mut numbers = Map::new();
    let mut deviations = Vec::new();
    for (k, class) in names.iter().enumerate() {
        let of_class: Vec<f64> = single
            .iter()
            .map(|v| v[k])
            .filter(|v| v.is_finite())
            .collect();
        let low = of_class.iter().copied().fold(f64::NAN, f64::min);
        let high = of_class.iter().copied().fold(f64::NAN, f64::max);
        let deviation = population_std(&of_class);
        deviations.push(deviation);
        table.push([
            Cell::from(class.as_str()),
            Cell::Number(low),
            Cell::Number(high),
            Cell::Number(deviation),
        ]);
        numbers.insert(
            class.clone(),
            json!({ "lowest": low, "highest": high, "standard_deviation": deviation }),
        );
    }
    table.push([
        Cell::from("mean over classes"),
        Cell::Empty,
        Cell::Empty,
        Cell::Number(mean(&deviations)),
    ]);
    let blocks = vec![Block::Figure(Box::new(plot)), Block::Table(table)];
    Ok(Part::Shown(
        blocks,
        json!({ "classes": numbers, "mean_standard_deviation": mean(&deviations) }),
    ))
}
