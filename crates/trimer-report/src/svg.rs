//! A small writer of SVG: coordinates rounded, text escaped, elements always closed.

use crate::escape::escape;
use std::fmt::Write;

/// Where a text is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// The inside of an `<svg>` element, growing.
#[derive(Debug, Default)]
pub(crate) struct Svg {
    body: String,
}

/// A coordinate with at most two decimals.
fn px(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" {
        "0".into()
    } else {
        text.into()
    }
}

impl Svg {
    pub(crate) fn finish(self) -> String {
        self.body
    }

    fn push(&mut self, element: std::fmt::Arguments<'_>) {
        // writing to a String cannot fail
        let _ = self.body.write_fmt(element);
    }

    /// An element without or with a tooltip.
    fn element(&mut self, tag: &str, attributes: &str, tip: Option<&str>) {
        match tip {
            Some(tip) => {
                let tip = escape(tip);
                self.push(format_args!(
                    "<{tag} {attributes}><title>{tip}</title></{tag}>"
                ));
            }
            None => self.push(format_args!("<{tag} {attributes}/>")),
        }
    }

    pub(crate) fn line(&mut self, class: &str, [x1, y1, x2, y2]: [f64; 4]) {
        self.push(format_args!(
            "<line class=\"{class}\" x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\"/>",
            px(x1),
            px(y1),
            px(x2),
            px(y2)
        ));
    }

    pub(crate) fn rect(
        &mut self,
        class: &str,
        [x, y, width, height]: [f64; 4],
        opacity: Option<f64>,
        tip: Option<&str>,
    ) {
        let mut attributes = format!(
            "class=\"{class}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"",
            px(x),
            px(y),
            px(width.max(0.0)),
            px(height.max(0.0))
        );
        if let Some(opacity) = opacity {
            let _ = write!(attributes, " fill-opacity=\"{}\"", px(opacity));
        }
        self.element("rect", &attributes, tip);
    }

    /// A bar with its two far corners rounded.
    pub(crate) fn bar(&mut self, class: &str, x: f64, from: f64, to: f64, width: f64, tip: &str) {
        let radius = 2.5f64.min((from - to).abs()).min(width / 2.0);
        let toward = if to < from { radius } else { -radius };
        let attributes = format!(
            "class=\"{class}\" d=\"M{} {}V{}Q{} {} {} {}H{}Q{} {} {} {}V{}Z\"",
            px(x),
            px(from),
            px(to + toward),
            px(x),
            px(to),
            px(x + radius),
            px(to),
            px(x + width - radius),
            px(x + width),
            px(to),
            px(x + width),
            px(to + toward),
            px(from)
        );
        self.element("path", &attributes, Some(tip));
    }

    /// A polyline, broken where a point is missing.
    pub(crate) fn path(&mut self, class: &str, points: &[Option<(f64, f64)>], closed: bool) {
        let mut d = String::new();
        let mut pen_down = false;
        for point in points {
            match point {
                Some((x, y)) => {
                    let _ = write!(
                        d,
                        "{}{} {}",
                        if pen_down { "L" } else { "M" },
                        px(*x),
                        px(*y)
                    );
                    pen_down = true;
                }
                None => pen_down = false,
            }
        }
        if d.is_empty() {
            return;
        }
        if closed {
            d.push('Z');
        }
        self.push(format_args!("<path class=\"{class}\" d=\"{d}\"/>"));
    }

    /// The marker of series number `shape` around a point.
    pub(crate) fn marker(&mut self, shape: usize, x: f64, y: f64, r: f64) {
        let class = format!("f{} halo", shape % crate::palette::N_SERIES);
        let polygon = |corners: &[(f64, f64)]| {
            let points: Vec<String> = corners
                .iter()
                .map(|(dx, dy)| format!("{},{}", px(x + dx * r), px(y + dy * r)))
                .collect();
            format!("class=\"{class}\" points=\"{}\"", points.join(" "))
        };
        match shape % 5 {
            0 => {
                let (x, y, r) = (px(x), px(y), px(r));
                let attributes = format!("class=\"{class}\" cx=\"{x}\" cy=\"{y}\" r=\"{r}\"");
                self.element("circle", &attributes, None);
            }
            1 => {
                let a = polygon(&[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)]);
                self.element("polygon", &a, None);
            }
            2 => {
                let a = polygon(&[(0.0, -1.2), (1.15, 0.85), (-1.15, 0.85)]);
                self.element("polygon", &a, None);
            }
            3 => {
                let a = polygon(&[(0.0, -1.3), (1.3, 0.0), (0.0, 1.3), (-1.3, 0.0)]);
                self.element("polygon", &a, None);
            }
            _ => {
                let a = polygon(&[(0.0, 1.2), (1.15, -0.85), (-1.15, -0.85)]);
                self.element("polygon", &a, None);
            }
        }
    }

    /// Many markers of series number `shape` as one element, as short as can be.
    pub(crate) fn markers(&mut self, shape: usize, places: &[(f64, f64)]) {
        if places.is_empty() {
            return;
        }
        // a circle or square is a line of no length with a round or square end
        let (class, mark) = match shape % 5 {
            0 => ("dot", "h0"),
            1 => ("dot sq", "h0"),
            2 => ("dot fil", "m0-3.6l3.5 6.2h-7z"),
            3 => ("dot fil", "m0-4l4 4-4 4-4-4z"),
            _ => ("dot fil", "m0 3.6l3.5-6.2h-7z"),
        };
        let mut d = String::new();
        for (x, y) in places {
            // writing to a String cannot fail
            let _ = write!(d, "M{x:.1} {y:.1}{mark}");
        }
        let colour = shape % crate::palette::N_SERIES;
        let paint = if shape % 5 < 2 { 'l' } else { 'f' };
        self.push(format_args!(
            "<path class=\"{class} {paint}{colour}\" d=\"{d}\"/>"
        ));
    }

    /// An invisible disc that shows a tooltip.
    pub(crate) fn hit(&mut self, x: f64, y: f64, tip: &str) {
        let attributes = format!("class=\"hit\" cx=\"{}\" cy=\"{}\" r=\"6\"", px(x), px(y));
        self.element("circle", &attributes, Some(tip));
    }

    pub(crate) fn text(&mut self, class: &str, x: f64, y: f64, anchor: Anchor, content: &str) {
        self.rotated(class, x, y, anchor, 0.0, content);
    }

    pub(crate) fn rotated(
        &mut self,
        class: &str,
        x: f64,
        y: f64,
        anchor: Anchor,
        degrees: f64,
        content: &str,
    ) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let (x, y) = (px(x), px(y));
        let turn = if degrees == 0.0 {
            String::new()
        } else {
            format!(" transform=\"rotate({} {x} {y})\"", px(degrees))
        };
        let class = if class.is_empty() {
            String::new()
        } else {
            format!(" class=\"{class}\"")
        };
        self.push(format_args!(
            "<text{class} x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\"{turn}>{}</text>",
            escape(content)
        ));
    }
}

/// About how wide a text is drawn, in pixels, at 13 px unless `size` says otherwise. It errs on the
/// wide side, since a little too much room is harmless.
pub(crate) fn text_width(text: &str, size: f64) -> f64 {
    let ems: f64 = text
        .chars()
        .map(|c| match c {
            'i' | 'j' | 'l' | '.' | ',' | ':' | ';' | '|' | '\'' | '!' => 0.3,
            'f' | 't' | 'r' | ' ' | '(' | ')' | '-' | '/' => 0.38,
            'm' | 'w' | 'M' | 'W' | '%' | '@' => 0.9,
            'A'..='Z' => 0.68,
            c if c.is_ascii() => 0.58,
            // kana, ideographs, full-width forms and the like
            c if c as u32 >= 0x1100 => 1.05,
            _ => 0.62,
        })
        .sum();
    ems * size
}

/// `text`, shortened with an ellipsis to about `width` pixels.
pub(crate) fn shortened(text: &str, size: f64, width: f64) -> String {
    if text_width(text, size) <= width {
        return text.into();
    }
    let mut kept = String::new();
    for c in text.chars() {
        kept.push(c);
        if text_width(&kept, size) + 0.8 * size > width {
            kept.pop();
            break;
        }
    }
    format!("{}…", kept.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_lifts_the_pen() {
        let mut svg = Svg::default();
        svg.path(
            "l",
            &[Some((0.0, 1.0)), None, Some((2.0, 3.5)), Some((4.0, 5.006))],
            false,
        );
        assert_eq!(svg.finish(), "<path class=\"l\" d=\"M0 1M2 3.5L4 5.01\"/>");
    }

    #[test]
    fn long_names_are_shortened_and_short_ones_kept() {
        assert_eq!(shortened("joy", 13.0, 60.0), "joy");
        let short = shortened("a very long name indeed", 13.0, 60.0);
        assert!(
            short.ends_with('…') && text_width(&short, 13.0) <= 66.0,
            "{short}"
        );
    }
}
