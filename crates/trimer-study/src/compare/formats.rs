//! A comparison as text, Markdown, LaTeX and CSV.

use super::report::ComparisonReport;
use super::sheets::sheets;
use crate::text::table;
use std::fmt::Write as _;
use trimer_core::io::csv_field;
use trimer_core::metrics::METRICS;

impl ComparisonReport {
    /// What a terminal shows: tables with aligned columns, then what to know about them.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        if !self.warning.is_empty() {
            let _ = writeln!(out, "{}\n", self.warning);
        }
        for sheet in sheets(self) {
            let head: Vec<&str> = sheet.head.iter().map(String::as_str).collect();
            let _ = writeln!(out, "{}\n{}", sheet.title, table(&head, &sheet.rows));
        }
        for (name, reason) in &self.failed {
            let _ = writeln!(out, "{name} is missing: {reason}");
        }
        for note in &self.notes {
            let _ = writeln!(out, "{note}");
        }
        out
    }

    /// The same as Markdown.
    pub fn to_markdown(&self) -> String {
        let cell = |text: &String| text.replace('|', "\\|");
        let line = |cells: &[String]| {
            let cells: Vec<String> = cells.iter().map(cell).collect();
            format!("| {} |\n", cells.join(" | "))
        };
        let mut out = String::new();
        if !self.warning.is_empty() {
            let _ = writeln!(out, "**{}**\n", self.warning);
        }
        for sheet in sheets(self) {
            let _ = writeln!(out, "{}\n", sheet.title);
            out.push_str(&line(&sheet.head));
            let _ = writeln!(out, "|{}", "---|".repeat(sheet.head.len()));
            sheet.rows.iter().for_each(|row| out.push_str(&line(row)));
            out.push('\n');
        }
        for (name, reason) in &self.failed {
            let _ = writeln!(out, "- {name} is missing: {reason}");
        }
        for note in &self.notes {
            let _ = writeln!(out, "- {note}");
        }
        out
    }

    /// The same for LaTeX, with the rules of `booktabs`.
    pub fn to_latex(&self) -> String {
        let mut out = String::from("% needs \\usepackage{booktabs}\n");
        if !self.warning.is_empty() {
            let _ = writeln!(
                out,
                "% {}\n\\textbf{{{}}}\n",
                self.warning,
                tex(&self.warning)
            );
        }
        for sheet in sheets(self) {
            let line = |cells: &[String]| {
                let cells: Vec<String> = cells.iter().map(|t| tex(t)).collect();
                format!("{} \\\\\n", cells.join(" & "))
            };
            let columns = "r".repeat(sheet.head.len().saturating_sub(1));
            let _ = write!(
                out,
                "% {}\n\\begin{{tabular}}{{l{columns}}}\n\\toprule\n{}\\midrule\n",
                sheet.title,
                line(&sheet.head)
            );
            sheet.rows.iter().for_each(|row| out.push_str(&line(row)));
            out.push_str("\\bottomrule\n\\end{tabular}\n\n");
        }
        out
    }

    /// Every scalar of every system, one per line, unrounded.
    pub fn to_csv(&self) -> String {
        let number = |v: f64| {
            if v.is_nan() {
                String::new()
            } else {
                v.to_string()
            }
        };
        let mut out = String::from("row,model,head,label,selected_on,metric,value,low,high\n");
        for r in &self.systems {
            let begin = format!(
                "{},{},{},{},{}",
                csv_field(&r.name),
                r.model,
                r.head,
                r.label,
                r.selection.split
            );
            let mut add = |metric: &str, value: f64, interval: Option<[f64; 2]>| {
                let [low, high] = interval.unwrap_or([f64::NAN; 2]).map(number);
                let _ = writeln!(
                    out,
                    "{begin},{},{},{low},{high}",
                    csv_field(metric),
                    number(value)
                );
            };
            for info in METRICS {
                if let Some(value) = r.metrics.scalar(info.id) {
                    add(info.id, value, r.metrics.interval(info.id));
                }
            }
            for (class, value) in r.metrics.per_class("f1").unwrap_or_default() {
                add(&format!("f1:{class}"), *value, None);
            }
            add("parameters", r.parameters as f64, None);
            add("train_s", r.train_s, None);
            add("latency_ms", r.latency_ms[0], None);
            if let Some(test) = &r.test {
                let name = format!("{}_difference", self.metric);
                add(&name, test.result.difference, Some(test.result.interval));
                add("p_value", test.result.p_value, None);
                add("p_holm", test.p_holm, None);
            }
            if let Some(gain) = r.selection.inflation {
                add("inflation", gain, None);
            }
        }
        out
    }
}

/// Text that LaTeX prints as it is.
fn tex(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => {
                out.push('\\');
                out.push(c);
            }
            '\\' => out.push_str("\\textbackslash{}"),
            '~' => out.push_str("\\textasciitilde{}"),
            '^' => out.push_str("\\textasciicircum{}"),
            '<' => out.push_str("$<$"),
            '>' => out.push_str("$>$"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::tex;

    #[test]
    fn latex_sees_no_command_in_a_name() {
        assert_eq!(
            tex("weighted_f1 & 5 % <x>"),
            "weighted\\_f1 \\& 5 \\% $<$x$>$"
        );
    }
}
