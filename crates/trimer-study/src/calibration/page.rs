//! What calibration does, as a page.

use super::{CalibrationReport, Results};
use crate::error::Result;
use trimer_core::metrics::calibration::{N_BINS, ReliabilityBin};
use trimer_report::{
    Cell, Column, LineChart, ReliabilityBar, ReliabilityDiagram, Report, Section, Series, Table,
};

impl CalibrationReport {
    /// Reliability diagrams and coverage curves on one page.
    ///
    /// # Errors
    /// When a probability is none.
    pub fn page(&self) -> Result<Report> {
        let results = &self.results;
        let mut report = Report::new("Calibration").subtitle(self.headline());
        let mut first = Section::new("Before and after");
        if let Some(warning) = &self.warning {
            first = first.warning(warning.clone());
        }
        report.push(first.table(head_table(results)).paragraph(
        "ECE is the distance of confidence and accuracy in 15 bins of equal width over the probability of the \
         predicted class. Intervals are percentile bootstrap intervals over utterances, and over seeds where \
         there are several; that of ECE tends to lie too high, since resampling adds noise to every bin.",
    ));
        for (head, judged) in self.pooled.iter() {
            let (Some(judged), Some(result)) = (judged, results.get(head)) else {
                continue;
            };
            let [before, after] = judged.reliability(N_BINS)?;
            let all: Vec<(f64, f64)> = result
                .coverage
                .iter()
                .map(|c| (c.coverage, c.accuracy))
                .collect();
            let band: Vec<[f64; 2]> = result.coverage.iter().map(|c| c.accuracy_ci).collect();
            let curve = LineChart::new(
                format!("{head}: accuracy on the most confident share"),
                "share of the utterances that is answered",
                "accuracy",
            )
            .series(Series::new(head.as_str(), all).with_band(band));
            report.push(
                Section::new(format!("{head} head"))
                    .figure(diagram(format!("{head}, as the model gave them"), &before))
                    .figure(diagram(format!("{head}, calibrated"), &after))
                    .figure(curve),
            );
        }
        Ok(report.footer(format!("trimer {}", env!("CARGO_PKG_VERSION"))))
    }
}

fn diagram(title: String, bins: &[ReliabilityBin]) -> ReliabilityDiagram {
    let bars = bins.iter().map(|b| ReliabilityBar {
        range: [b.low, b.high],
        confidence: b.confidence,
        accuracy: b.accuracy,
        n: b.n,
    });
    ReliabilityDiagram::new(title, bars)
}

fn head_table(results: &Results) -> Table {
    const NAMES: [(&str, &str); 6] = [
        ("ECE", "ece_before"),
        ("ECE, calibrated", "ece_after"),
        ("Brier", "brier_before"),
        ("Brier, calibrated", "brier_after"),
        ("accuracy", "accuracy"),
        ("accuracy at 80 % coverage", ""),
    ];
    let columns = std::iter::once(Column::text("head"))
        .chain(NAMES.iter().map(|(title, _)| Column::number(*title, 3)));
    let mut table = Table::new("With 95 % intervals", columns);
    for (head, result) in results.iter().filter_map(|(h, r)| Some((h, r.as_ref()?))) {
        let value = |name: &str| {
            let value = result.values.scalar(name).unwrap_or(f64::NAN);
            Cell::Interval(value, result.values.interval(name).unwrap_or([f64::NAN; 2]))
        };
        let mut row = vec![Cell::from(head.as_str())];
        row.extend(
            NAMES
                .iter()
                .filter(|(_, n)| !n.is_empty())
                .map(|(_, n)| value(n)),
        );
        let at = result
            .coverage
            .iter()
            .find(|c| (c.coverage - 0.8).abs() < 1e-9);
        row.push(at.map_or(Cell::Empty, |c| Cell::Interval(c.accuracy, c.accuracy_ci)));
        table.push(row);
    }
    table
}
