//! The tables of a comparison as text, Markdown, LaTeX, CSV and a page.

use super::judge::{Comparison, Row};
use crate::ui;
use std::fmt::Write as _;
use trimer_core::io::csv_field;
use trimer_core::metrics::{METRICS, Task, summary};
use trimer_report::{BarChart, Cell, Column, Report, Section, Table};

/// A table of words, ready for any of the formats.
pub(super) struct Sheet {
    title: String,
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

/// The metrics that the main table shows, by task.
fn shown(c: &Comparison) -> Vec<&'static str> {
    let task = if c.classes.is_empty() {
        Task::Regression
    } else {
        Task::Classification
    };
    let has = |id: &str| c.rows.iter().any(|r| r.metrics.scalar(id).is_some());
    let mut ids = vec![c.metric];
    let short = summary(task).map(|info| info.id);
    ids.extend(short.filter(|id| *id != c.metric && has(id)));
    ids
}

/// `0.643 [0.601, 0.684]`.
fn value(row: &Row, id: &str) -> String {
    match (row.metrics.scalar(id), row.metrics.interval(id)) {
        (Some(v), Some([low, high])) if !low.is_nan() => format!("{v:.3} [{low:.3}, {high:.3}]"),
        (Some(v), _) if !v.is_nan() => format!("{v:.3}"),
        _ => "-".into(),
    }
}

fn p_value(p: f64) -> String {
    if p.is_nan() {
        "-".into()
    } else if p < 0.001 {
        "<0.001".into()
    } else {
        format!("{p:.3}")
    }
}

/// Every table: scores, tests, classes, published numbers.
pub(super) fn sheets(c: &Comparison) -> Vec<Sheet> {
    let mut all = vec![main_sheet(c)];
    if c.rows.len() > 1 {
        all.push(test_sheet(c));
    }
    if !c.classes.is_empty() {
        all.push(class_sheet(c));
    }
    if !c.published.is_empty() {
        all.push(published_sheet(c));
    }
    all
}

fn main_sheet(c: &Comparison) -> Sheet {
    let ids = shown(c);
    let on_test = !c.stamp.is_empty();
    let mut head: Vec<String> = vec!["row".into()];
    head.extend(ids.iter().map(|id| (*id).to_owned()));
    head.extend(["parameters", "training s", "latency ms", "seeds"].map(str::to_owned));
    if on_test {
        head.push("inflation".into());
    }
    let rows = c.rows.iter().map(|r| {
        let mut cells = vec![r.name.clone()];
        cells.extend(ids.iter().map(|id| value(r, id)));
        cells.push(r.parameters.to_string());
        cells.push(format!("{:.1}", r.train_s));
        cells.push(format!("{:.2}", r.latency_ms[0]));
        cells.push(r.seeds.to_string());
        if on_test {
            let gain = r.selection.inflation;
            cells.push(gain.map_or_else(|| "-".into(), |g| format!("{g:+.3}")));
        }
        cells
    });
    Sheet {
        title: format!(
            "{} utterances of the {} split of {}: means with 95 % intervals",
            c.n,
            c.split,
            c.corpora.join(", ")
        ),
        head,
        rows: rows.collect(),
    }
}

fn test_sheet(c: &Comparison) -> Sheet {
    let rows = c.rows.iter().filter_map(|r| {
        let test = r.test.as_ref()?;
        let [low, high] = test.result.interval;
        Some(vec![
            r.name.clone(),
            format!("{:+.3} [{low:+.3}, {high:+.3}]", test.result.difference),
            p_value(test.result.p_value),
            p_value(test.p_holm),
        ])
    });
    Sheet {
        title: format!(
            "Difference of {} to {} (paired bootstrap over utterances and seeds; {} is better)",
            c.metric,
            c.reference,
            if c.higher_is_better {
                "higher"
            } else {
                "lower"
            }
        ),
        head: ["row", "difference", "p", "p (Holm)"]
            .map(str::to_owned)
            .to_vec(),
        rows: rows.collect(),
    }
}

fn class_sheet(c: &Comparison) -> Sheet {
    let f1 = |row: &Row, class: &String| {
        let all = row.metrics.per_class("f1");
        let value = all.and_then(|all| all.iter().find(|(name, _)| name == class));
        value.map_or_else(|| "-".into(), |(_, v)| format!("{v:.3}"))
    };
    let mut head = vec!["row".to_owned()];
    head.extend(c.classes.iter().cloned());
    let rows = c.rows.iter().map(|r| {
        let mut cells = vec![r.name.clone()];
        cells.extend(c.classes.iter().map(|class| f1(r, class)));
        cells
    });
    Sheet {
        title: "F1 per class".into(),
        head,
        rows: rows.collect(),
    }
}

fn published_sheet(c: &Comparison) -> Sheet {
    let known = METRICS.iter().map(|info| info.id);
    let ids: Vec<&str> = known
        .filter(|id| c.published.iter().any(|p| p.metrics.contains_key(*id)))
        .collect();
    let mut head = vec!["published, not measured here".to_owned()];
    head.extend(ids.iter().map(|id| (*id).to_owned()));
    head.push("source".into());
    let rows = c.published.iter().map(|p| {
        let mut cells = vec![p.name.clone()];
        let value = |id: &&str| {
            p.metrics
                .get(*id)
                .map_or_else(|| "-".into(), |v| format!("{v:.4}"))
        };
        cells.extend(ids.iter().map(value));
        cells.push(p.source.clone());
        cells
    });
    Sheet {
        title: "Published numbers on this corpus and split".into(),
        head,
        rows: rows.collect(),
    }
}

/// What the terminal shows.
pub(super) fn text(c: &Comparison) -> String {
    let mut out = String::new();
    if !c.stamp.is_empty() {
        let _ = writeln!(out, "{}\n", c.stamp);
    }
    for sheet in sheets(c) {
        let head: Vec<&str> = sheet.head.iter().map(String::as_str).collect();
        let _ = writeln!(out, "{}\n{}", sheet.title, ui::table(&head, &sheet.rows));
    }
    for (name, reason) in &c.failed {
        let _ = writeln!(out, "{name} is missing: {reason}");
    }
    for note in &c.notes {
        let _ = writeln!(out, "{note}");
    }
    out
}

/// The same as Markdown.
pub(super) fn markdown(c: &Comparison) -> String {
    let cell = |text: &String| text.replace('|', "\\|");
    let line = |cells: &[String]| {
        let cells: Vec<String> = cells.iter().map(cell).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let mut out = String::new();
    if !c.stamp.is_empty() {
        let _ = writeln!(out, "**{}**\n", c.stamp);
    }
    for sheet in sheets(c) {
        let _ = writeln!(out, "{}\n", sheet.title);
        out.push_str(&line(&sheet.head));
        let _ = writeln!(out, "|{}", "---|".repeat(sheet.head.len()));
        sheet.rows.iter().for_each(|row| out.push_str(&line(row)));
        out.push('\n');
    }
    for (name, reason) in &c.failed {
        let _ = writeln!(out, "- {name} is missing: {reason}");
    }
    for note in &c.notes {
        let _ = writeln!(out, "- {note}");
    }
    out
}

/// The same for LaTeX, with the rules of `booktabs`.
pub(super) fn latex(c: &Comparison) -> String {
    let mut out = String::from("% needs \\usepackage{booktabs}\n");
    if !c.stamp.is_empty() {
        let _ = writeln!(out, "% {}\n\\textbf{{{}}}\n", c.stamp, tex(&c.stamp));
    }
    for sheet in sheets(c) {
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

/// Every scalar of every row, one per line, unrounded.
pub(super) fn csv(c: &Comparison) -> String {
    let number = |v: f64| {
        if v.is_nan() {
            String::new()
        } else {
            v.to_string()
        }
    };
    let mut out = String::from("row,model,head,label,selected_on,metric,value,low,high\n");
    for r in &c.rows {
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
            let name = format!("{}_difference", c.metric);
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

/// The comparison as one page.
pub(super) fn report(c: &Comparison) -> Report {
    let title = format!("{} systems on {}", c.rows.len(), c.corpora.join(", "));
    let mut report = Report::new(title)
        .subtitle(format!("{} utterances of the {} split", c.n, c.split))
        .footer(format!("trimer {}", env!("CARGO_PKG_VERSION")));
    let mut section = Section::new("Scores");
    if !c.stamp.is_empty() {
        section = section.warning(c.stamp.clone());
    }
    let names: Vec<String> = c.rows.iter().map(|r| r.name.clone()).collect();
    let bars = c.rows.iter().map(|r| {
        let value = r.metrics.scalar(c.metric).unwrap_or(f64::NAN);
        (value, r.metrics.interval(c.metric).unwrap_or([f64::NAN; 2]))
    });
    let chart = BarChart::new(
        format!("{} with 95 % intervals", c.metric),
        "row",
        c.metric,
        names,
    )
    .series(c.metric, bars.collect::<Vec<_>>());
    section = section.figure(chart).table(score_table(c));
    report.push(section);
    if c.rows.iter().any(|r| r.test.is_some()) {
        report.push(tests(c));
    }
    if !c.classes.is_empty() {
        report.push(classes(c));
    }
    if !c.published.is_empty() {
        let sheet = published_sheet(c);
        let text = "Quoted from the literature; nothing in this table was measured here.";
        report.push(
            Section::new("Published")
                .paragraph(text)
                .table(plain_table(&sheet)),
        );
    }
    report.push(protocol(c));
    report
}

fn score_table(c: &Comparison) -> Table {
    let ids = shown(c);
    let better =
        |id: &str| trimer_core::metrics::metric_info(id).is_none_or(|info| info.higher_is_better);
    let columns = std::iter::once(Column::text("row"))
        .chain(ids.iter().map(|id| Column::number(*id, 3).best(better(id))))
        .chain([
            Column::number("parameters", 0),
            Column::number("training, s per seed", 1),
            Column::number("latency, ms", 2),
        ]);
    let mut table = Table::new("Means with 95 % intervals", columns);
    for r in &c.rows {
        let mut cells = vec![Cell::from(r.name.as_str())];
        cells.extend(
            ids.iter()
                .map(|id| match (r.metrics.scalar(id), r.metrics.interval(id)) {
                    (Some(value), Some(interval)) => Cell::Interval(value, interval),
                    (Some(value), None) => Cell::Number(value),
                    _ => Cell::Empty,
                }),
        );
        cells.push(Cell::Number(r.parameters as f64));
        cells.push(Cell::Number(r.train_s));
        cells.push(Cell::Number(r.latency_ms[0]));
        table.push(cells);
    }
    table
}

fn tests(c: &Comparison) -> Section {
    let columns = [
        Column::text("row"),
        Column::number(format!("difference of {}", c.metric), 3),
        Column::number("p", 4),
        Column::number("p, corrected (Holm)", 4),
    ];
    let mut table = Table::new(format!("Against {}", c.reference), columns);
    for r in &c.rows {
        if let Some(test) = &r.test {
            table.push([
                Cell::from(r.name.as_str()),
                Cell::Interval(test.result.difference, test.result.interval),
                Cell::Number(test.result.p_value),
                Cell::Number(test.p_holm),
            ]);
        }
    }
    Section::new("Tests")
        .paragraph(
            "Paired bootstrap: both rows see the same resampled utterances; seeds are drawn for \
             each on their own. The correction covers all rows of the table.",
        )
        .table(table)
}

fn classes(c: &Comparison) -> Section {
    let mut chart = BarChart::new("F1 per class", "class", "F1", c.classes.clone()).y_max(1.0);
    for r in &c.rows {
        let all = r.metrics.per_class("f1").unwrap_or_default();
        let value = |class: &String| {
            all.iter()
                .find(|(name, _)| name == class)
                .map_or(f64::NAN, |(_, v)| *v)
        };
        chart = chart.series(&r.name, c.classes.iter().map(value).collect::<Vec<f64>>());
    }
    let section = Section::new("Classes");
    // Bars of many systems side by side cannot be told apart.
    let section = if c.rows.len() <= 6 {
        section.figure(chart)
    } else {
        section
    };
    section.table(plain_table(&class_sheet(c)))
}

fn plain_table(sheet: &Sheet) -> Table {
    let numeric = |column: usize| {
        let cells = sheet.rows.iter().filter_map(|r| r.get(column));
        column > 0 && cells.clone().all(|t| t == "-" || t.parse::<f64>().is_ok())
    };
    let columns: Vec<Column> = sheet
        .head
        .iter()
        .enumerate()
        .map(|(i, name)| {
            if numeric(i) {
                Column::number(name, 3)
            } else {
                Column::text(name)
            }
        })
        .collect();
    let mut table = Table::new(sheet.title.clone(), columns);
    for row in &sheet.rows {
        table.push(row.iter().enumerate().map(|(i, text)| {
            if numeric(i) {
                text.parse().map_or(Cell::Empty, Cell::Number)
            } else {
                Cell::Text(text.clone())
            }
        }));
    }
    table
}

fn protocol(c: &Comparison) -> Section {
    let mut section = Section::new("Protocol");
    for note in &c.notes {
        section = section.info(note.clone());
    }
    for (name, reason) in &c.failed {
        section = section.warning(format!("{name} is missing: {reason}"));
    }
    let columns = ["row", "selected on", "by", "kept epochs", "settings"].map(Column::text);
    let mut table = Table::new("Which split chose what", columns);
    for r in &c.rows {
        let epochs: Vec<String> = r
            .selection
            .epochs
            .iter()
            .flat_map(|fold| fold.values().map(usize::to_string))
            .collect();
        let settings = r.selection.tuning.as_ref().map_or_else(
            || "given".to_owned(),
            |t| {
                format!(
                    "{} search, {} trials, {} epochs, on {}",
                    t.method, t.trials, t.epochs, t.split
                )
            },
        );
        table.push([
            r.name.clone(),
            r.selection.split.clone(),
            r.selection.by.clone(),
            epochs.join(" "),
            settings,
        ]);
    }
    section.table(table)
}

#[cfg(test)]
mod tests_of_text {
    use super::tex;

    #[test]
    fn latex_sees_no_command_in_a_name() {
        assert_eq!(
            tex("weighted_f1 & 5 % <x>"),
            "weighted\\_f1 \\& 5 \\% $<$x$>$"
        );
    }
}
