//! Reliability diagrams: whether a model is as often right as it claims.

use super::{Drawing, Figure, line::nothing_to_show};
use crate::{
    number::{exact, fixed},
    scale::{Scale, Ticks},
    svg::{Anchor, Svg},
};

/// One bin of confidences.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReliabilityBar {
    /// Lower and upper end of the bin, in 0..=1.
    pub range: [f64; 2],
    /// Mean confidence of its samples; NaN without samples.
    pub confidence: f64,
    /// Share of them that is right; NaN without samples.
    pub accuracy: f64,
    /// Samples.
    pub n: u64,
}

/// A reliability diagram: a bar of accuracy per bin of confidence, a dot at the bin's mean
/// confidence, and the diagonal on which a calibrated model lies. Bars below the diagonal belong to
/// a model that is too sure of itself.
#[derive(Debug, Clone)]
pub struct ReliabilityDiagram {
    title: String,
    bins: Vec<ReliabilityBar>,
}

impl ReliabilityDiagram {
    /// A diagram of these bins.
    pub fn new(title: impl Into<String>, bins: impl IntoIterator<Item = ReliabilityBar>) -> Self {
        Self {
            title: title.into(),
            bins: bins.into_iter().collect(),
        }
    }

    fn occupied(&self) -> impl Iterator<Item = &ReliabilityBar> {
        let known = |b: &&ReliabilityBar| b.confidence.is_finite() && b.accuracy.is_finite();
        self.bins.iter().filter(known)
    }
}

const X_LABEL: &str = "confidence";
const Y_LABEL: &str = "accuracy";

impl Figure for ReliabilityDiagram {
    fn title(&self) -> &str {
        &self.title
    }

    fn summary(&self) -> String {
        let bins: Vec<String> = self
            .occupied()
            .map(|b| {
                format!(
                    "{} right at {}",
                    fixed(b.accuracy, 2),
                    fixed(b.confidence, 2)
                )
            })
            .collect();
        format!(
            "Reliability diagram, accuracy by confidence: {}",
            bins.join(", ")
        )
    }

    fn draw(&self, room: f64) -> Drawing {
        let mut svg = Svg::default();
        if self.occupied().next().is_none() {
            return nothing_to_show(svg, 320.0);
        }
        let side = (room - 72.0).clamp(200.0, 340.0);
        let (left, top) = (48.0, 32.0);
        let (right, bottom) = (left + side, top + side);
        let x = Scale::new(0.0, 1.0, left, right);
        let y = Scale::new(0.0, 1.0, bottom, top);
        svg.text("muted", 8.0, 16.0, Anchor::Start, Y_LABEL);
        let ticks = Ticks::covering(0.0, 1.0, 5, false);
        for &tick in &ticks.values {
            let (at_x, at_y, label) = (x.at(tick), y.at(tick), ticks.label(tick));
            svg.line("grid", [left, at_y, right, at_y]);
            svg.text("muted", left - 8.0, at_y + 4.5, Anchor::End, &label);
            svg.text("muted", at_x, bottom + 18.0, Anchor::Middle, &label);
        }
        for bin in self.occupied() {
            let [low, high] = bin.range.map(|v| x.at(v));
            let tip = format!(
                "confidence {} to {}: {} of {} samples right, mean confidence {}",
                fixed(bin.range[0], 2),
                fixed(bin.range[1], 2),
                fixed(bin.accuracy * bin.n as f64, 0),
                bin.n,
                fixed(bin.confidence, 3)
            );
            let to = y.at(bin.accuracy).min(bottom - 1.0);
            svg.bar(
                "f0",
                low + 1.0,
                bottom,
                to,
                (high - low - 2.0).max(1.0),
                &tip,
            );
        }
        svg.line("axis dash", [left, bottom, right, top]);
        for bin in self.occupied() {
            svg.marker(1, x.at(bin.confidence), y.at(bin.accuracy), 4.0);
        }
        svg.line("axis", [left, bottom, right, bottom]);
        svg.text(
            "muted",
            left + side / 2.0,
            bottom + 38.0,
            Anchor::Middle,
            X_LABEL,
        );
        Drawing {
            width: right + 24.0,
            height: bottom + 48.0,
            body: svg.finish(),
        }
    }

    fn data(&self) -> Vec<Vec<String>> {
        let header = ["above", "up to", X_LABEL, Y_LABEL, "samples"];
        let row = |b: &ReliabilityBar| {
            let mut row: Vec<String> = [b.range[0], b.range[1], b.confidence, b.accuracy]
                .map(exact)
                .to_vec();
            row.push(b.n.to_string());
            row
        };
        let header = header.map(str::to_owned).to_vec();
        std::iter::once(header)
            .chain(self.bins.iter().map(row))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_bins_leave_gaps_and_stay_in_the_data() {
        let bin = |low, n, accuracy| ReliabilityBar {
            range: [low, low + 0.5],
            confidence: if n > 0 { low + 0.25 } else { f64::NAN },
            accuracy,
            n,
        };
        let diagram = ReliabilityDiagram::new("t", [bin(0.0, 0, f64::NAN), bin(0.5, 4, 0.5)]);
        let svg = diagram.to_svg();
        assert_eq!(svg.matches("<path").count(), 1);
        assert!(svg.contains("2 of 4 samples right") && !svg.contains("NaN"));
        assert_eq!(
            diagram.to_csv(),
            "above,up to,confidence,accuracy,samples\r\n0,0.5,,,0\r\n0.5,1,0.75,0.5,4\r\n"
        );
        assert!(
            ReliabilityDiagram::new("t", [])
                .to_svg()
                .contains("no values to show")
        );
    }
}
