//! Confusion matrices: which class is taken for which.

use super::{Drawing, Figure, bar::AxisNames, line::nothing_to_show};
use crate::{
    number::{exact, fixed, significant},
    palette::class_on_heat,
    svg::{Anchor, Svg, shortened, text_width},
};

/// What the rows are.
const TRUE_CLASS: &str = "true class";

/// A confusion matrix with true classes as rows, shaded by the share of each row; every cell shows
/// the per cent of its row and the count.
#[derive(Debug, Clone)]
pub struct ConfusionMatrix {
    title: String,
    classes: Vec<String>,
    counts: Vec<Vec<f64>>,
}

impl ConfusionMatrix {
    /// `counts` holds one row per true class with one count per predicted class. Missing counts are
    /// zero, surplus ones are left out.
    pub fn new<S: Into<String>>(
        title: impl Into<String>,
        classes: impl IntoIterator<Item = S>,
        counts: impl IntoIterator<Item = Vec<f64>>,
    ) -> Self {
        let classes: Vec<String> = classes.into_iter().map(Into::into).collect();
        let mut counts: Vec<Vec<f64>> = counts.into_iter().collect();
        counts.resize(classes.len(), Vec::new());
        for row in &mut counts {
            row.resize(classes.len(), 0.0);
        }
        Self {
            title: title.into(),
            classes,
            counts,
        }
    }

    fn support(&self, class: usize) -> f64 {
        self.counts[class].iter().sum()
    }

    /// The share of a row that a cell holds; 0 in a row without samples.
    fn share(&self, truth: usize, pred: usize) -> f64 {
        let support = self.support(truth);
        if support > 0.0 {
            self.counts[truth][pred] / support
        } else {
            0.0
        }
    }
}

/// A count: whole where it is whole.
fn count(value: f64) -> String {
    if value.fract() == 0.0 {
        fixed(value, 0)
    } else {
        significant(value, 3)
    }
}

/// Room for the number of samples of a row.
const RIGHT: f64 = 66.0;

/// Smallest and largest side of a cell in pixels: the smallest still holds a count of four digits.
const CELL: [f64; 2] = [30.0, 58.0];

impl Figure for ConfusionMatrix {
    fn title(&self) -> &str {
        &self.title
    }

    fn summary(&self) -> String {
        let recalls: Vec<String> = (0..self.classes.len())
            .map(|c| {
                format!(
                    "{} {} %",
                    self.classes[c],
                    fixed(100.0 * self.share(c, c), 0)
                )
            })
            .collect();
        format!(
            "Confusion matrix, true classes as rows; found of each class: {}",
            recalls.join(", ")
        )
    }

    fn draw(&self, room: f64) -> Drawing {
        let mut svg = Svg::default();
        let n = self.classes.len();
        if n == 0 {
            return nothing_to_show(svg, 320.0);
        }
        let names_width = self
            .classes
            .iter()
            .map(|c| text_width(c, 13.0))
            .chain([text_width(TRUE_CLASS, 13.0)])
            .fold(0.0, f64::max)
            .clamp(40.0, 170.0);
        let cell = ((room - names_width - 20.0 - RIGHT) / n as f64)
            .clamp(CELL[0], CELL[1])
            .floor();
        let names = self.classes.iter().map(String::as_str);
        let axis_names = AxisNames::new(names, cell);
        let left = (names_width + 20.0)
            .max(axis_names.overhang - cell / 2.0 + 8.0)
            .round();
        let top = 34.0;
        let side = cell * n as f64;
        svg.text("muted", left - 10.0, top - 12.0, Anchor::End, TRUE_CLASS);
        let samples = if cell < 48.0 { "n" } else { "samples" };
        svg.text(
            "muted",
            left + side + 8.0,
            top - 12.0,
            Anchor::Start,
            samples,
        );
        for (truth, class) in self.classes.iter().enumerate() {
            let y = top + cell * truth as f64;
            let middle = y + cell / 2.0;
            let name = shortened(class, 13.0, 170.0);
            svg.text("", left - 10.0, middle + 4.5, Anchor::End, &name);
            let support = count(self.support(truth));
            svg.text(
                "muted",
                left + side + 8.0,
                middle + 4.5,
                Anchor::Start,
                &support,
            );
            for (pred, taken_for) in self.classes.iter().enumerate() {
                let place = [left + cell * pred as f64, y, cell];
                self.draw_cell(&mut svg, place, [truth, pred], taken_for);
            }
        }
        for (i, class) in self.classes.iter().enumerate() {
            axis_names.draw(&mut svg, left + cell * (i as f64 + 0.5), top + side, class);
        }
        let below = top + side + axis_names.height + 20.0;
        svg.text(
            "muted",
            left + side / 2.0,
            below,
            Anchor::Middle,
            "predicted class",
        );
        // the words of the key are wider than a small matrix
        let key_left = if left + text_width(KEY[0], 11.0) > room {
            8.0
        } else {
            left
        };
        let end = draw_key(&mut svg, key_left, below + 14.0, side.clamp(120.0, 220.0));
        let width = (left + side + RIGHT).max(key_left + text_width(KEY[0], 11.0) + 4.0);
        Drawing {
            width,
            height: end,
            body: svg.finish(),
        }
    }

    fn data(&self) -> Vec<Vec<String>> {
        let mut header = vec![TRUE_CLASS.to_owned()];
        header.extend(self.classes.iter().cloned());
        let mut rows = vec![header];
        for (class, counts) in self.classes.iter().zip(&self.counts) {
            let mut row = vec![class.clone()];
            row.extend(counts.iter().map(|c| exact(*c)));
            rows.push(row);
        }
        rows
    }
}

/// Opacity of the shade of a share. The square root sets small shares apart, which is where
/// confusions are.
fn shade(share: f64) -> f64 {
    share.clamp(0.0, 1.0).sqrt()
}

impl ConfusionMatrix {
    fn draw_cell(
        &self,
        svg: &mut Svg,
        [x, y, cell]: [f64; 3],
        [truth, pred]: [usize; 2],
        taken_for: &str,
    ) {
        let share = self.share(truth, pred);
        let tip = format!(
            "{} taken for {taken_for}: {} of {} ({} %)",
            self.classes[truth],
            count(self.counts[truth][pred]),
            count(self.support(truth)),
            fixed(100.0 * share, 1)
        );
        let opacity = shade(share);
        svg.rect("grid heat", [x, y, cell, cell], Some(opacity), Some(&tip));
        let ink = class_on_heat(opacity);
        let upper = if truth == pred {
            format!("{ink} strong")
        } else {
            ink.to_owned()
        };
        let middle = x + cell / 2.0;
        let per_cent = if self.support(truth) > 0.0 {
            fixed(100.0 * share, 0)
        } else {
            crate::number::UNDEFINED.into()
        };
        svg.text(
            upper.trim(),
            middle,
            y + cell / 2.0 - 1.0,
            Anchor::Middle,
            &per_cent,
        );
        let counts = count(self.counts[truth][pred]);
        svg.text(
            format!("{ink} small").trim(),
            middle,
            y + cell / 2.0 + 13.0,
            Anchor::Middle,
            &counts,
        );
    }
}

const KEY: [&str; 2] = [
    "upper number and shade: % of the true class",
    "lower number: samples",
];

/// What the shades mean; returns where it ends.
fn draw_key(svg: &mut Svg, left: f64, top: f64, width: f64) -> f64 {
    // whole pixels, so that no seams show
    const STEP: f64 = 4.0;
    let (left, width) = (left.round(), (width / STEP).round() * STEP);
    let n_steps = (width / STEP) as usize;
    for i in 0..n_steps {
        let share = (i as f64 + 0.5) / n_steps as f64;
        let rect = [left + STEP * i as f64, top.round(), STEP, 10.0];
        svg.rect("heat", rect, Some(shade(share)), None);
    }
    for (share, anchor) in [
        (0.0, Anchor::Start),
        (0.5, Anchor::Middle),
        (1.0, Anchor::End),
    ] {
        let label = fixed(100.0 * share, 0);
        svg.text(
            "muted small",
            left + width * share,
            top + 24.0,
            anchor,
            &label,
        );
    }
    for (i, line) in KEY.into_iter().enumerate() {
        svg.text(
            "muted small",
            left,
            top + 42.0 + 15.0 * i as f64,
            Anchor::Start,
            line,
        );
    }
    top + 66.0
}
