//! A comparison as one HTML page.

use super::report::ComparisonReport;
use super::sheets::{Sheet, class_sheet, published_sheet, shown};
use trimer_report::{BarChart, Cell, Column, Report, Section, Table};

impl ComparisonReport {
    /// The comparison as one page.
    pub fn page(&self) -> Report {
        page(self)
    }
}

fn page(c: &ComparisonReport) -> Report {
    let title = format!("{} systems on {}", c.systems.len(), c.corpora.join(", "));
    let mut report = Report::new(title)
        .subtitle(format!("{} utterances of the {} split", c.n, c.split))
        .footer(format!("trimer {}", env!("CARGO_PKG_VERSION")));
    let mut section = Section::new("Scores");
    if !c.warning.is_empty() {
        section = section.warning(c.warning.clone());
    }
    let names: Vec<String> = c.systems.iter().map(|r| r.name.clone()).collect();
    let bars = c.systems.iter().map(|r| {
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
    if c.systems.iter().any(|r| r.test.is_some()) {
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

fn score_table(c: &ComparisonReport) -> Table {
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
    for r in &c.systems {
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

fn tests(c: &ComparisonReport) -> Section {
    let columns = [
        Column::text("row"),
        Column::number(format!("difference of {}", c.metric), 3),
        Column::number("p", 4),
        Column::number("p, corrected (Holm)", 4),
    ];
    let mut table = Table::new(format!("Against {}", c.reference), columns);
    for r in &c.systems {
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
            "Paired bootstrap: both systems see the same resampled utterances; seeds are drawn for \
             each on their own. The correction covers all systems of the table.",
        )
        .table(table)
}

fn classes(c: &ComparisonReport) -> Section {
    let mut chart = BarChart::new("F1 per class", "class", "F1", c.classes.clone()).y_max(1.0);
    for r in &c.systems {
        let all = r.metrics.per_class("f1").unwrap_or_default();
        let value = |class: &String| {
            all.iter()
                .find(|(name, _)| name == class)
                .map_or(f64::NAN, |(_, v)| *v)
        };
        chart = chart.series(&r.name, c.classes.iter().map(value).collect::<Vec<f64>>());
    }
    let section = Section::new("Classes");
    // Bars of many systems side by side cannot be distinguished.
    let section = if c.systems.len() <= 6 {
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

fn protocol(c: &ComparisonReport) -> Section {
    let mut section = Section::new("Protocol");
    for note in &c.notes {
        section = section.info(note.clone());
    }
    for (name, reason) in &c.failed {
        section = section.warning(format!("{name} is missing: {reason}"));
    }
    let columns = ["row", "selected on", "by", "kept epochs", "settings"].map(Column::text);
    let mut table = Table::new("Which split chose what", columns);
    for r in &c.systems {
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
