//! Labels and data cards as HTML pages.

use trimer_core::{
    Head,
    card::{DataCard, leak_sentence},
    import::SplitCounts,
    labels::LabelStats,
};
use trimer_report::{BarChart, Card, Cell, Column, HeatMap, Report, Section, Table};

/// More conflicts than this are not listed on a page.
const MAX_LISTED: usize = 500;

/// The statistics of labels with their figures.
pub fn labels(name: &str, found: &LabelStats) -> Report {
    let mut report = Report::new(format!("Labels of {name}"))
        .subtitle("What annotators saw in each modality, and where they contradict each other")
        .section(overview(found));
    if !found.inconsistency.pairs.is_empty() {
        report.push(pairs(found));
    }
    if !found.inconsistency.per_class.is_empty() {
        report.push(per_class(found));
        report.push(taken_for(found));
    }
    report.push(distributions(found));
    report.push(conflicts(found));
    report.footer(format!("trimer {}", env!("CARGO_PKG_VERSION")))
}

fn overview(found: &LabelStats) -> Section {
    let share = found.conflicts_total as f64 / found.n.max(1) as f64;
    let columns: Vec<&str> = found.distributions.keys().map(|h| h.as_str()).collect();
    Section::new("Overview").cards([
        Card::new("utterances", found.n.to_string()),
        Card::new("label columns", found.distributions.len().to_string()).note(columns.join(", ")),
        Card::new("with labels that differ", found.conflicts_total.to_string())
            .note(format!("{:.1} % of the utterances", 100.0 * share)),
    ])
}

fn heads(found: &LabelStats) -> Vec<Head> {
    found.distributions.keys().copied().collect()
}

fn pairs(found: &LabelStats) -> Section {
    let heads = heads(found);
    let value = |a: Head, b: Head| {
        let pair = found
            .inconsistency
            .pairs
            .iter()
            .find(|p| (p.a, p.b) == (a, b) || (p.b, p.a) == (a, b));
        match pair {
            Some(pair) => pair.value,
            None if a == b => 0.0,
            None => f64::NAN,
        }
    };
    let names = || heads.iter().map(|h| h.as_str());
    let values: Vec<Vec<f64>> = heads
        .iter()
        .map(|a| heads.iter().map(|b| value(*a, *b)).collect())
        .collect();
    let map = HeatMap::new(
        "Inconsistency of labels, Incon(u1, u2)",
        ("label", names()),
        ("label", names()),
        values,
    )
    .per_cent()
    .decimals(1);
    let mut table = Table::new(
        "Share of utterances whose labels differ, with 95 % intervals",
        [
            Column::text("labels"),
            Column::number("Incon", 4),
            Column::number("utterances", 0),
        ],
    );
    for p in &found.inconsistency.pairs {
        table.push([
            Cell::from(format!("{} and {}", p.a, p.b)),
            Cell::from((p.value, p.ci)),
            Cell::from(p.n as f64),
        ]);
    }
    Section::new("Between modalities")
        .paragraph("Per cent of the utterances that have both labels and whose labels differ.")
        .figure(map)
        .table(table)
}

fn modalities(found: &LabelStats) -> Vec<Head> {
    let all = found.inconsistency.per_class.iter().map(|c| c.modality);
    let mut heads: Vec<Head> = all.collect();
    heads.sort();
    heads.dedup();
    heads
}

fn per_class(found: &LabelStats) -> Section {
    let classes = found.tally.classes();
    let of = |head: Head| {
        found
            .inconsistency
            .per_class
            .iter()
            .filter(move |c| c.modality == head)
    };
    let heads = modalities(found);
    let mut bars = BarChart::new(
        "Inconsistency with the multimodal label, Incon(u, m; y)",
        "multimodal label",
        "label differs (%)",
        classes.to_vec(),
    );
    for head in &heads {
        let values: Vec<(f64, [f64; 2])> = of(*head)
            .map(|c| (100.0 * c.value, c.ci.map(|v| 100.0 * v)))
            .collect();
        bars = bars.series(head.as_str(), values);
    }
    let map = HeatMap::new(
        "Inconsistency per modality and class",
        ("modality", heads.iter().map(|h| h.as_str())),
        ("multimodal label", classes.to_vec()),
        heads
            .iter()
            .map(|head| of(*head).map(|c| c.value).collect())
            .collect::<Vec<Vec<f64>>>(),
    )
    .per_cent()
    .decimals(1);
    Section::new("By class")
        .paragraph(
            "Of the utterances with this multimodal label, the per cent whose label in the modality is \
             another one: low where the modality alone shows the emotion.",
        )
        .figure(bars)
        .figure(map)
}

/// What annotators of one modality say where those of all modalities see a class.
fn taken_for(found: &LabelStats) -> Section {
    let classes = found.tally.classes();
    let mut section = Section::new("What a modality looks like alone").paragraph(
        "Rows are multimodal labels; each row shows how the labels of one modality are spread, in per \
         cent.",
    );
    for head in modalities(found) {
        let Some(table) = found.tally.table(Head::Multimodal, head) else {
            continue;
        };
        let values = table.iter().map(|row| {
            let n: u64 = row.iter().sum();
            row.iter().map(|count| *count as f64 / n as f64).collect()
        });
        section = section.figure(
            HeatMap::new(
                format!("{head} label where the multimodal label is known"),
                ("multimodal label", classes.to_vec()),
                (&format!("{head} label"), classes.to_vec()),
                values.collect::<Vec<Vec<f64>>>(),
            )
            .per_cent()
            .decimals(0)
            .scale_to(1.0),
        );
    }
    section
}

fn distributions(found: &LabelStats) -> Section {
    let mut bars = BarChart::new(
        "Classes per label column",
        "class",
        "share of the labels (%)",
        found.tally.classes().to_vec(),
    );
    for (head, column) in &found.distributions {
        let values: Vec<(f64, [f64; 2])> = column
            .classes
            .iter()
            .map(|c| (100.0 * c.share, c.ci.map(|v| 100.0 * v)))
            .collect();
        bars = bars.series(head.as_str(), values);
    }
    Section::new("Distributions").figure(bars)
}

fn conflicts(found: &LabelStats) -> Section {
    let columns = heads(found);
    let mut table = Table::new(
        "Utterances whose labels differ",
        std::iter::once(Column::text("id")).chain(columns.iter().map(|h| Column::text(h.as_str()))),
    );
    for conflict in found.conflicts.iter().take(MAX_LISTED) {
        let labels = columns
            .iter()
            .map(|head| conflict.labels.get(head).cloned().unwrap_or_default());
        table.push(
            std::iter::once(conflict.id.clone())
                .chain(labels)
                .map(Cell::from),
        );
    }
    let listed = found.conflicts.len().min(MAX_LISTED);
    Section::new("Conflicts")
        .paragraph(format!(
            "{listed} of {} are listed; `trimer labels stats --conflicts FILE` writes all.",
            found.conflicts_total
        ))
        .table(table)
}

/// A corpus on one page.
pub fn card(card: &DataCard) -> Report {
    let mut report = Report::new(format!("Data card: {}", card.stats.name));
    for section in card_sections(card) {
        report.push(section);
    }
    report.footer(format!("trimer {}", env!("CARGO_PKG_VERSION")))
}

/// The parts of a data card.
pub(crate) fn card_sections(card: &DataCard) -> Vec<Section> {
    let s = &card.stats;
    let or_unknown = |text: &str| if text.is_empty() { "not stated" } else { text }.to_owned();
    let mut about = Section::new("About").cards([
        Card::new("utterances", s.utterances.to_string()),
        Card::new("speakers", s.speakers.to_string()),
        Card::new("conversations", s.conversations.to_string()),
        Card::new("transcripts", s.transcripts.to_string()),
    ]);
    if !card.description.is_empty() {
        about = about.paragraph(card.description.trim());
    }
    let mut facts = Table::new("", [Column::text(""), Column::text("")]);
    for (name, value) in [
        ("version", &card.version),
        ("licence", &card.licence),
        ("citation", &card.citation),
    ] {
        facts.push([Cell::from(name), Cell::from(or_unknown(value))]);
    }
    let mut sections = vec![about.table(facts), splits(card), modality_section(card)];
    if !s.classes.is_empty() || !s.scores.is_empty() || !s.binary.is_empty() {
        sections.push(label_section(card));
    }
    sections
}

fn split_cells(name: &str, c: &SplitCounts) -> Vec<Cell> {
    let counts = [c.train, c.valid, c.test, c.unassigned].map(|n| Cell::from(n as f64));
    std::iter::once(Cell::from(name)).chain(counts).collect()
}

fn split_columns(first: &str) -> Vec<Column> {
    let counts = ["train", "valid", "test", "without split"].map(|name| Column::number(name, 0));
    std::iter::once(Column::text(first)).chain(counts).collect()
}

fn splits(card: &DataCard) -> Section {
    let mut table = Table::new("", split_columns(""));
    table.push(split_cells("utterances", &card.stats.splits));
    table.push(split_cells("speakers", &card.speakers_per_split));
    let mut section = Section::new("Splits").table(table);
    for (what, leak, known) in card.leakage.findings() {
        let sentence = leak_sentence(what, leak, known);
        section = if known && leak.count == 0 {
            section.info(sentence)
        } else {
            section.warning(sentence)
        };
    }
    section
}

fn modality_section(card: &DataCard) -> Section {
    let numbers = [
        "width",
        "utterances",
        "frames",
        "shortest",
        "median",
        "longest",
    ];
    let columns = [Column::text("modality"), Column::text("extractor")]
        .into_iter()
        .chain(numbers.map(|name| Column::number(name, 0)));
    let mut table = Table::new("", columns);
    for (modality, x) in &card.stats.modalities {
        let q = &x.lengths;
        let extractor = card
            .extractors
            .get(modality)
            .map_or("not stated", String::as_str);
        let values = [
            x.dim as f64,
            x.utterances as f64,
            x.frames as f64,
            q.min as f64,
            q.median as f64,
            q.max as f64,
        ];
        let words = [Cell::from(modality.as_str()), Cell::from(extractor)];
        table.push(words.into_iter().chain(values.map(Cell::from)));
    }
    Section::new("Modalities").table(table)
}

fn label_section(card: &DataCard) -> Section {
    let mut section = Section::new("Labels");
    let total = |c: &SplitCounts| (c.train + c.valid + c.test + c.unassigned) as f64;
    let names = card
        .stats
        .classes
        .values()
        .next()
        .into_iter()
        .flatten()
        .map(|c| c.class.clone());
    let mut bars = BarChart::new("Utterances per class", "class", "utterances", names);
    for (head, classes) in &card.stats.classes {
        let counts: Vec<f64> = classes.iter().map(|c| total(&c.splits)).collect();
        bars = bars.series(head.as_str(), counts);
    }
    if !card.stats.classes.is_empty() {
        section = section.figure(bars);
    }
    for (head, classes) in &card.stats.classes {
        let mut table = Table::new(format!("{head} label"), split_columns("class"));
        for c in classes {
            table.push(split_cells(&c.class, &c.splits));
        }
        section = section.table(table);
    }
    if !card.stats.scores.is_empty() {
        let ends = [
            "lowest",
            "lower quartile",
            "median",
            "upper quartile",
            "highest",
        ];
        let columns =
            std::iter::once(Column::text("score")).chain(ends.map(|name| Column::number(name, 2)));
        let mut table = Table::new("Scores", columns);
        for (head, q) in &card.stats.scores {
            let values = [q.min, q.lower_quartile, q.median, q.upper_quartile, q.max];
            let cells = values.map(|v| Cell::from(f64::from(v)));
            table.push(std::iter::once(Cell::from(head.as_str())).chain(cells));
        }
        section = section.table(table);
    }
    if !card.stats.binary.is_empty() {
        let columns = [
            Column::text("yes/no label"),
            Column::number("yes", 0),
            Column::number("no", 0),
        ];
        let mut table = Table::new("Yes/no labels", columns);
        for (name, [yes, no]) in &card.stats.binary {
            table.push([
                Cell::from(name.as_str()),
                Cell::from(*yes as f64),
                Cell::from(*no as f64),
            ]);
        }
        section = section.table(table);
    }
    if !card.inconsistency.pairs.is_empty() {
        let mut table = Table::new(
            "Share of utterances whose labels differ, with 95 % intervals",
            [Column::text("labels"), Column::number("differ", 4)],
        );
        for p in &card.inconsistency.pairs {
            table.push([
                Cell::from(format!("{} and {}", p.a, p.b)),
                Cell::from((p.value, p.ci)),
            ]);
        }
        section = section.table(table);
    }
    section
}
