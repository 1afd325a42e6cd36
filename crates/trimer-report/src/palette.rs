//! Colours of figures, for light and dark surroundings.
//!
//! The eight series colours follow Okabe and Ito's palette, which readers with any of the common
//! colour-vision deficiencies can tell apart; those too pale for white paper are darkened to a
//! contrast of at least 3 : 1, and in the dark they are lightened likewise. Series also differ in
//! the shape of their markers, so nothing rests on colour alone.

use std::fmt::Write;

/// One surrounding's colours.
struct Theme {
    series: [&'static str; N_SERIES],
    paper: &'static str,
    ink: &'static str,
    muted: &'static str,
    grid: &'static str,
    heat: &'static str,
    on_heat: &'static str,
    /// From this opacity of `heat` on, `on_heat` is easier to read on it than `ink`.
    switch: f64,
}

/// Number of series that have a colour of their own; more begin anew.
pub(crate) const N_SERIES: usize = 8;

/// Opacities of the heat colour at which the text on it changes, in the dark and in the light.
pub(crate) const SWITCHES: [f64; 2] = [0.63, 0.86];

/// The class of a text on the heat colour of this opacity.
pub(crate) fn class_on_heat(opacity: f64) -> &'static str {
    match opacity {
        o if o >= SWITCHES[1] => "on-heat",
        o if o >= SWITCHES[0] => "mid-heat",
        _ => "",
    }
}

const LIGHT: Theme = Theme {
    series: [
        "#0072b2", "#c85200", "#00805d", "#a6468c", "#8f6400", "#2f8cc4", "#5f5f66", "#7a6f00",
    ],
    paper: "#ffffff",
    ink: "#1c1e21",
    muted: "#5c626b",
    grid: "#e2e5e9",
    heat: "#0072b2",
    on_heat: "#ffffff",
    switch: SWITCHES[1],
};

const DARK: Theme = Theme {
    series: [
        "#56b4e9", "#ff8f50", "#2fc59a", "#e39bc7", "#e8ae2e", "#9cc9ff", "#b9bdc4", "#e6dd58",
    ],
    paper: "#16181c",
    ink: "#eceef1",
    muted: "#a3aab4",
    grid: "#2e3238",
    heat: "#56b4e9",
    on_heat: "#08131b",
    switch: SWITCHES[0],
};

impl Theme {
    fn css(&self) -> String {
        let mut css = String::new();
        // writing to a String cannot fail
        let _ = write!(
            css,
            ".tf .paper{{fill:{}}}.tf text{{fill:{}}}.tf .muted{{fill:{}}}.tf .grid{{stroke:{}}}\
             .tf .axis{{stroke:{}}}.tf .heat{{fill:{}}}.tf .on-heat{{fill:{}}}.tf .halo{{stroke:{}}}\
             .tf .gap,.tf .rim{{stroke:{}}}.tf .mid-heat{{fill:{}}}",
            self.paper,
            self.ink,
            self.muted,
            self.grid,
            self.muted,
            self.heat,
            self.on_heat,
            self.paper,
            self.paper,
            if self.switch <= SWITCHES[0] {
                self.on_heat
            } else {
                self.ink
            }
        );
        for (i, colour) in self.series.iter().enumerate() {
            let _ = write!(
                css,
                ".tf .l{i}{{stroke:{colour}}}.tf .f{i}{{fill:{colour}}}"
            );
        }
        css
    }
}

/// The style sheet of all figures.
pub(crate) fn figure_css() -> String {
    format!(
        ".tf{{font-family:system-ui,-apple-system,\"Segoe UI\",Roboto,\"Noto Sans\",sans-serif;\
         font-size:13px;font-variant-numeric:tabular-nums}}\
         .tf .title{{font-size:16px;font-weight:600}}.tf .strong{{font-weight:600}}\
         .tf .small{{font-size:11px}}\
         .tf .grid{{stroke-width:1;fill:none}}.tf .axis{{stroke-width:1;fill:none}}\
         .tf .line{{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}}\
         .tf .thin{{fill:none;stroke-width:1}}.tf .dash{{stroke-dasharray:5 4}}\
         .tf .band{{fill-opacity:.16;stroke:none}}.tf .halo{{stroke-width:1.5}}\
         .tf .gap{{stroke-width:4}}\
         .tf .hit{{fill:transparent;stroke:none}}\
         .tf .rim{{paint-order:stroke;stroke-width:4px;stroke-linejoin:round}}\
         .tf .dot{{stroke-width:6.4;stroke-linecap:round;stroke-opacity:.8;fill:none}}\
         .tf .sq{{stroke-width:5.4;stroke-linecap:square}}\
         .tf .fil{{stroke:none;fill-opacity:.85}}.tf .faint{{fill-opacity:.35}}\
         .tf .frame{{fill:none}}\
         .tf .error{{stroke-width:1.5;fill:none}}{}\
         @media (prefers-color-scheme:dark){{{}}}",
        LIGHT.css(),
        DARK.css()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Relative luminance, WCAG 2.2.
    fn luminance(colour: &str) -> f64 {
        let channel = |i: usize| {
            let v = f64::from(u8::from_str_radix(&colour[i..i + 2], 16).unwrap()) / 255.0;
            if v <= 0.04045 {
                v / 12.92
            } else {
                ((v + 0.055) / 1.055).powf(2.4)
            }
        };
        0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
    }

    fn contrast(a: &str, b: &str) -> f64 {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn everything_stands_out_from_its_paper() {
        for theme in [&LIGHT, &DARK] {
            for colour in theme.series {
                assert!(
                    contrast(colour, theme.paper) >= 3.0,
                    "{colour} on {}",
                    theme.paper
                );
            }
            for text in [theme.ink, theme.muted] {
                assert!(
                    contrast(text, theme.paper) >= 4.5,
                    "{text} on {}",
                    theme.paper
                );
            }
        }
    }

    #[test]
    fn text_can_be_read_on_every_shade() {
        let mixed = |theme: &Theme, opacity: f64| {
            let mut colour = String::from("#");
            for i in [1, 3, 5] {
                let part = |c: &str| f64::from(u8::from_str_radix(&c[i..i + 2], 16).unwrap());
                let value = opacity * part(theme.heat) + (1.0 - opacity) * part(theme.paper);
                let _ = write!(colour, "{:02x}", value.round() as u8);
            }
            colour
        };
        for theme in [&LIGHT, &DARK] {
            for step in 0..=100 {
                let opacity = f64::from(step) / 100.0;
                let text = if opacity >= theme.switch {
                    theme.on_heat
                } else {
                    theme.ink
                };
                let shade = mixed(theme, opacity);
                assert!(
                    contrast(text, &shade) >= 3.9,
                    "{text} on {shade} ({opacity})"
                );
            }
        }
    }
}
