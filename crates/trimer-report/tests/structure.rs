//! What every report and figure must be: well-formed, self-contained, escaped, readable by machines.

use trimer_report::{
    BarChart, Block, Card, Cell, Column, ConfusionMatrix, DotPlot, Figure, HeatMap, LineChart,
    Report, ScatterPlot, ScatterPoint, Section, Series, SmallMultiples, Table,
};

const HOSTILE: &str = "<script>alert('x')</script> & \"co\" \u{0}]]>";

/// Reads markup with a stack of open elements; returns every element as its name and attributes.
///
/// Void elements must be closed, attributes quoted, and every `&` must begin one of the five
/// entities: the page is then XML as well as HTML.
fn parse(markup: &str) -> Vec<(String, Vec<(String, String)>)> {
    let (mut rest, mut open, mut elements) = (markup, Vec::<String>::new(), Vec::new());
    while let Some(start) = rest.find('<') {
        check_text(&rest[..start]);
        rest = &rest[start + 1..];
        let end = end_of_tag(rest);
        let (tag, after) = (&rest[..end], &rest[end + 1..]);
        rest = after;
        if tag.starts_with('?') || tag.starts_with('!') {
            continue;
        }
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(
                open.pop().as_deref(),
                Some(name),
                "closed in the wrong order"
            );
            continue;
        }
        let body = tag.strip_suffix('/').unwrap_or(tag).trim();
        let (name, attributes) = body.split_once(' ').unwrap_or((body, ""));
        if !tag.ends_with('/') {
            open.push(name.into());
        }
        elements.push((name.to_owned(), parse_attributes(attributes)));
    }
    check_text(rest);
    assert!(open.is_empty(), "never closed: {open:?}");
    elements
}

/// Where the tag at the start of `rest` ends, with `>` in quotes passed over.
fn end_of_tag(rest: &str) -> usize {
    let mut quoted = false;
    rest.char_indices()
        .find(|(_, c)| {
            quoted ^= *c == '"';
            *c == '>' && !quoted
        })
        .expect("a tag ends")
        .0
}

fn parse_attributes(mut text: &str) -> Vec<(String, String)> {
    let mut attributes = Vec::new();
    text = text.trim();
    while !text.is_empty() {
        let (name, after) = text.split_once("=\"").unwrap_or_else(|| panic!("`{text}`"));
        let (value, after) = after.split_once('"').expect("a quoted value ends");
        check_text(value);
        assert!(!value.contains('<'), "{value}");
        let name = name.trim().to_owned();
        assert!(attributes.iter().all(|(n, _)| *n != name), "`{name}` twice");
        attributes.push((name, value.to_owned()));
        text = after.trim_start();
    }
    attributes
}

fn check_text(text: &str) {
    for part in text.split('&').skip(1) {
        let known = ["amp;", "lt;", "gt;", "quot;", "#39;"];
        assert!(
            known.iter().any(|k| part.starts_with(k)),
            "a bare & before `{part}`"
        );
    }
    assert!(
        text.chars()
            .all(|c| !c.is_control() || "\n\t\r".contains(c))
    );
}

fn attribute<'a>(element: &'a (String, Vec<(String, String)>), name: &str) -> Option<&'a str> {
    element
        .1
        .iter()
        .find(|(n, _)| n == name)
        .map(|(_, v)| v.as_str())
}

fn figures(name: &str) -> Vec<Box<dyn Figure>> {
    let line = || {
        LineChart::new(name, name, name)
            .series(Series::from_values(name, &[0.2, f64::NAN, 0.7]))
            .series(
                Series::new("b", [(1.0, 0.5), (2.0, 0.6)]).with_band([[0.4, 0.6], [0.5, f64::NAN]]),
            )
            .mark_x(2.0, name)
            .reference(0.1, name)
    };
    vec![
        Box::new(line()),
        Box::new(
            BarChart::new(name, name, name, [name, "b", "c"])
                .series(
                    name,
                    [
                        (0.5, [0.4, 0.6]),
                        (f64::NAN, [0.0, 1.0]),
                        (-0.25, [-0.5, 0.0]),
                    ],
                )
                .series("two", [0.5])
                .reference(0.3, name),
        ),
        Box::new(ConfusionMatrix::new(
            name,
            [name, "b", "c"],
            [vec![3.0, 1.0, 0.0], vec![0.5, 2.0], vec![]],
        )),
        Box::new(SmallMultiples::new(name, [line(), line(), line()])),
        Box::new(HeatMap::new(
            name,
            (name, [name, "b"]),
            (name, [name, "c"]),
            [vec![0.5, f64::NAN], vec![-1.0]],
        )),
        Box::new(
            DotPlot::new(name, name, name, [name, "b"])
                .series(name, vec![0.5, f64::NAN], true)
                .series("two", vec![0.7], true),
        ),
        Box::new(ScatterPlot::new(name, [name, "b"]).panel(name, points(name))),
        Box::new(
            ScatterPlot::new(name, ["a"])
                .panel(name, points(name))
                .axes(name, name)
                .diagonal(),
        ),
    ]
}

fn points(name: &str) -> Vec<ScatterPoint> {
    (0..12)
        .map(|i| ScatterPoint {
            id: name.into(),
            at: [f64::from(i), if i == 3 { f64::NAN } else { 0.5 }],
            group: i as usize,
        })
        .collect()
}

fn report(name: &str) -> Report {
    let mut report = Report::new(name).subtitle(name).footer(name);
    for figure in figures(name) {
        report.push(
            Section::new(name)
                .paragraph(name)
                .cards([Card::new(name, name).note(name)])
                .info(name)
                .warning(name)
                .code(name)
                .table(
                    Table::new(
                        name,
                        [Column::text(name), Column::number(name, 2).best(true)],
                    )
                    .row([Cell::from(name), Cell::from(0.5)])
                    .row([Cell::from(name), Cell::from(f64::NAN)]),
                )
                .block(Block::Heading(name.into()))
                .block(Block::Details(name.into(), name.into()))
                .block(Block::Figure(figure)),
        );
    }
    report
}

#[test]
fn pages_and_figures_are_well_formed_whatever_the_names() {
    for name in ["plain", HOSTILE, "", "情感 😀 ünïcödé", &"long ".repeat(80)] {
        parse(&report(name).render());
        for figure in figures(name) {
            parse(&figure.to_svg());
        }
    }
}

#[test]
fn foreign_text_stays_text() {
    let page = report(HOSTILE).render();
    assert!(!page.contains("<script") && !page.contains("alert('x')"));
    assert!(page.contains("&lt;script&gt;alert(&#39;x&#39;)"));
}

#[test]
fn a_page_asks_nobody_for_anything() {
    let elements = parse(&report("plain").render());
    for element in &elements {
        assert!(
            !["script", "link", "img", "iframe", "object", "base", "form"].contains(&&*element.0),
            "<{}>",
            element.0
        );
        for (name, value) in &element.1 {
            let is_namespace = name == "xmlns" && value == "http://www.w3.org/2000/svg";
            // two slashes are digits of base 64 too
            let is_data = value.starts_with("data:");
            assert!(
                is_namespace || is_data || !value.contains("//"),
                "{name}=\"{value}\""
            );
            assert!(!name.starts_with("on"), "an event handler: {name}");
            if name == "href" {
                assert!(
                    value.starts_with('#')
                        || value.starts_with("data:text/csv")
                        || value.starts_with("data:image/svg+xml;base64,"),
                    "{value}"
                );
            }
        }
    }
    let page = report("plain").render();
    assert!(!page.contains("@import") && !page.contains("url("));
    assert!(page.contains("default-src 'none'"));
}

#[test]
fn a_page_serves_telephones_the_dark_and_screen_readers() {
    let page = report("plain").render();
    let elements = parse(&page);
    let all = |name: &str| elements.iter().filter(|e| e.0 == name).collect::<Vec<_>>();
    assert!(
        all("meta")
            .iter()
            .any(|e| attribute(e, "name") == Some("viewport"))
    );
    assert!(page.contains("prefers-color-scheme:dark"));
    assert_eq!(attribute(all("html")[0], "lang"), Some("en"));
    for svg in all("svg") {
        assert_eq!(attribute(svg, "role"), Some("img"));
        assert!(attribute(svg, "aria-label").is_some_and(|label| label.len() > 30));
    }
    let figures = all("figure").len();
    assert_eq!(figures, 8);
    assert_eq!(all("figcaption").len(), figures);
    // the numbers of each figure but the two scatter plots, and the detail of each section
    assert_eq!(all("details").len(), figures - 2 + figures);
    let ids: Vec<_> = elements.iter().filter_map(|e| attribute(e, "id")).collect();
    assert_eq!(ids.len(), figures);
    assert_eq!(ids[..3], ["plain", "plain-2", "plain-3"]);
}

#[test]
fn the_numbers_of_a_figure_can_be_saved() {
    let chart = BarChart::new("F1, per class", "class", "F1", ["joy", "fear"])
        .series("ours", [(0.5, [0.25, 0.75]), (f64::NAN, [f64::NAN; 2])]);
    assert_eq!(
        chart.to_csv(),
        "class,ours,ours low,ours high\r\njoy,0.5,0.25,0.75\r\nfear,,,\r\n"
    );
    let page = Report::new("r")
        .section(Section::new("s").figure(chart))
        .render();
    assert!(page.contains("download=\"f1-per-class.csv\""));
    assert!(page.contains("data:text/csv;charset=utf-8,class%2Cours"));
    let matrix = ConfusionMatrix::new("c", ["a", "b"], [vec![3.0, 1.0], vec![0.0, 2.0]]);
    assert_eq!(matrix.to_csv(), "true class,a,b\r\na,3,1\r\nb,0,2\r\n");
    let lines = SmallMultiples::new(
        "m",
        [
            LineChart::new("p", "x", "y").series(Series::from_values("s", &[1.5])),
            LineChart::new("q", "x", "y")
                .series(Series::from_values("s", &[2.5]).with_band([[2.0, 3.0]])),
        ],
    );
    assert_eq!(
        lines.to_csv(),
        "panel,series,x,y,low,high\r\np,s,1,1.5,,\r\nq,s,1,2.5,2,3\r\n"
    );
}

/// The bytes of base 64 without padding.
fn decoded(text: &str) -> Vec<u8> {
    let digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits: Vec<u8> = text
        .trim_end_matches('=')
        .chars()
        .flat_map(|c| {
            let value = digits.find(c).expect("a digit of base 64");
            (0..6).rev().map(move |i| (value >> i & 1) as u8)
        })
        .collect();
    bits.chunks_exact(8)
        .map(|byte| byte.iter().fold(0, |sum, bit| sum << 1 | bit))
        .collect()
}

#[test]
fn a_figure_can_be_saved_as_it_is_drawn() {
    for figure in figures("情感") {
        let (svg, title) = (figure.to_svg(), figure.title().to_owned());
        let page = Report::new("r")
            .section(Section::new("s").block(Block::Figure(figure)))
            .render();
        let start = page.find("base64,").expect("a picture") + 7;
        let end = start + page[start..].find('"').unwrap();
        assert_eq!(
            String::from_utf8(decoded(&page[start..end])).unwrap(),
            svg,
            "{title}"
        );
    }
}

#[test]
fn columns_stand_side_by_side_and_their_figures_have_names_of_their_own() {
    let bars = || BarChart::new("F1", "class", "F1", ["joy"]).series("ours", [0.5]);
    let column = |name: &str| (name.to_owned(), vec![Block::Figure(Box::new(bars()))]);
    let report = Report::new("r")
        .section(Section::new("s").block(Block::Columns(vec![column("<one>"), column("two")])));
    let page = report.render();
    let elements = parse(&page);
    assert_eq!(page.matches("&lt;one&gt;").count(), 1);
    // one drawing each, which fits a column
    assert_eq!(elements.iter().filter(|e| e.0 == "svg").count(), 2);
    let dir = std::env::temp_dir().join(format!("trimer-figures-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let names = report.write_figures(&dir).unwrap();
    assert_eq!(names, ["01-one-f1", "02-two-f1"]);
    for name in names {
        let svg = std::fs::read_to_string(dir.join(format!("{name}.svg"))).unwrap();
        assert_eq!(svg, bars().to_svg());
        let csv = std::fs::read_to_string(dir.join(format!("{name}.csv"))).unwrap();
        assert_eq!(csv, bars().to_csv());
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn nothing_to_show_is_said_and_odd_numbers_do_no_harm() {
    let empty: Vec<Box<dyn Figure>> = vec![
        Box::new(LineChart::new("t", "x", "y")),
        Box::new(LineChart::new("t", "x", "y").series(Series::from_values("s", &[f64::NAN]))),
        Box::new(BarChart::new("t", "x", "y", Vec::<String>::new())),
        Box::new(BarChart::new("t", "x", "y", ["a"]).series("s", [f64::INFINITY])),
        Box::new(ConfusionMatrix::new("t", Vec::<String>::new(), Vec::new())),
        Box::new(SmallMultiples::new("t", [])),
    ];
    for figure in empty {
        assert!(figure.to_svg().contains("no values to show"), "{figure:?}");
    }
    for values in [
        [5.0; 3],
        [0.0; 3],
        [1e300, -1e300, 0.0],
        [1e-300, 0.0, f64::INFINITY],
    ] {
        let line = LineChart::new("t", "x", "y").series(Series::from_values("s", &values));
        let bars = BarChart::new("t", "x", "y", ["a", "b", "c"]).series("s", values);
        for svg in [line.to_svg(), bars.to_svg()] {
            parse(&svg);
            assert!(!svg.contains("NaN") && !svg.contains("inf\""), "{svg}");
        }
    }
}

/// Where the labels below a bar chart begin and end, as far as they lie level.
fn level_labels(svg: &str, names: &[&str]) -> Vec<f64> {
    names
        .iter()
        .filter_map(|name| {
            let end = svg.find(&format!(">{name}</text>"))?;
            let tag = &svg[svg[..end].rfind("<text")?..end];
            if tag.contains("rotate") {
                return None;
            }
            tag.split_once("x=\"")?.1.split_once('"')?.0.parse().ok()
        })
        .collect()
}

#[test]
fn class_names_do_not_run_into_one_another() {
    let short = ["joy", "fear", "sad"];
    let chart = BarChart::new("t", "x", "y", short).series("s", [1.0; 3]);
    assert_eq!(level_labels(&chart.to_svg(), &short).len(), 3);
    let eight = [
        "happiness",
        "frustration",
        "excitement",
        "disappointment",
        "surprise",
        "disgust",
        "neutrality",
        "contempt",
    ];
    let chart = BarChart::new("t", "x", "y", eight).series("s", [1.0; 8]);
    let level = level_labels(&chart.to_svg(), &eight);
    assert!(
        level.is_empty(),
        "names of 90 pixels cannot lie level 80 pixels apart"
    );
}
