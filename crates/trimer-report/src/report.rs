//! The page: sections of blocks, rendered to one file.

use crate::{
    ReportError,
    escape::{base64, escape, slug},
    figure::{Figure, ROOMS},
    palette::figure_css,
    table::{Cell, Column, Table, download_link},
    write::write_whole,
};
use std::{fmt::Write, path::Path};

/// A tile with one value.
#[derive(Debug, Clone)]
pub struct Card {
    key: String,
    value: String,
    note: String,
}

impl Card {
    /// A value under its name, both as they shall be read.
    pub fn new(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            value: value.into(),
            note: String::new(),
        }
    }

    /// A small line below the value: an interval, a unit, a date.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }
}

/// How urgent a callout is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Callout {
    /// Good to know.
    Info,
    /// The numbers must not be read without this.
    Warning,
}

/// A part of a section.
#[derive(Debug)]
#[non_exhaustive]
pub enum Block {
    /// Running text.
    Paragraph(String),
    /// Tiles side by side.
    Cards(Vec<Card>),
    /// A table.
    Table(Table),
    /// A figure with its numbers.
    Figure(Box<dyn Figure>),
    /// A remark set apart.
    Callout(Callout, String),
    /// Text to be read letter by letter: a command, a configuration.
    Code(String),
    /// The head of a part of a section.
    Heading(String),
    /// Text to be read letter by letter that is shown when somebody asks for it, under a name.
    Details(String, String),
    /// Things to be compared, side by side where there is room: each under its name.
    Columns(Vec<(String, Vec<Self>)>),
}

/// A headed part of a report.
#[derive(Debug)]
pub struct Section {
    title: String,
    blocks: Vec<Block>,
}

impl Section {
    /// A section without content.
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            blocks: Vec::new(),
        }
    }

    /// What the section is called.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// What the section holds.
    pub fn into_blocks(self) -> Vec<Block> {
        self.blocks
    }

    /// Appends several blocks.
    pub fn blocks(mut self, blocks: impl IntoIterator<Item = Block>) -> Self {
        self.blocks.extend(blocks);
        self
    }

    /// Appends any block.
    pub fn block(mut self, block: Block) -> Self {
        self.blocks.push(block);
        self
    }

    /// Appends running text.
    pub fn paragraph(self, text: impl Into<String>) -> Self {
        self.block(Block::Paragraph(text.into()))
    }

    /// Appends tiles.
    pub fn cards(self, cards: impl IntoIterator<Item = Card>) -> Self {
        self.block(Block::Cards(cards.into_iter().collect()))
    }

    /// Appends a table.
    pub fn table(self, table: Table) -> Self {
        self.block(Block::Table(table))
    }

    /// Appends a figure.
    pub fn figure(self, figure: impl Figure + 'static) -> Self {
        self.block(Block::Figure(Box::new(figure)))
    }

    /// Appends a remark that is good to know.
    pub fn info(self, text: impl Into<String>) -> Self {
        self.block(Block::Callout(Callout::Info, text.into()))
    }

    /// Appends a remark without which the numbers must not be read.
    pub fn warning(self, text: impl Into<String>) -> Self {
        self.block(Block::Callout(Callout::Warning, text.into()))
    }

    /// Appends a command, configuration or the like.
    pub fn code(self, text: impl Into<String>) -> Self {
        self.block(Block::Code(text.into()))
    }
}

/// A whole report.
#[derive(Debug)]
pub struct Report {
    title: String,
    subtitle: String,
    footer: String,
    sections: Vec<Section>,
}

impl Report {
    /// A report without sections.
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            subtitle: String::new(),
            footer: String::new(),
            sections: Vec::new(),
        }
    }

    /// A line below the title: corpus, protocol, date.
    pub fn subtitle(mut self, text: impl Into<String>) -> Self {
        self.subtitle = text.into();
        self
    }

    /// A line at the very end: what made this, under which licence the data are.
    pub fn footer(mut self, text: impl Into<String>) -> Self {
        self.footer = text.into();
        self
    }

    /// Appends a section.
    pub fn section(mut self, section: Section) -> Self {
        self.sections.push(section);
        self
    }

    /// Appends a section, in place.
    pub fn push(&mut self, section: Section) {
        self.sections.push(section);
    }

    /// The page as one HTML document that loads nothing.
    pub fn render(&self) -> String {
        let ids = self.ids();
        let mut out = String::new();
        let title = escape(&self.title);
        // writing to a String cannot fail
        let _ = write!(
            out,
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
             style-src 'unsafe-inline'; img-src data:\"/>\
             <meta name=\"color-scheme\" content=\"light dark\"/><title>{title}</title>\
             <style>{}{}</style></head>\n<body{}><header><h1>{title}</h1>",
            include_str!("report.css"),
            figure_css(),
            if self.has_columns() {
                " class=\"broad\""
            } else {
                ""
            }
        );
        if !self.subtitle.is_empty() {
            let _ = write!(out, "<p class=\"subtitle\">{}</p>", escape(&self.subtitle));
        }
        out.push_str("</header>\n");
        if self.sections.len() > 2 {
            out.push_str("<nav aria-label=\"Contents\"><ul>");
            for (section, id) in self.sections.iter().zip(&ids) {
                let _ = write!(
                    out,
                    "<li><a href=\"#{id}\">{}</a></li>",
                    escape(&section.title)
                );
            }
            out.push_str("</ul></nav>\n");
        }
        out.push_str("<main>");
        for (section, id) in self.sections.iter().zip(&ids) {
            let _ = write!(
                out,
                "<section id=\"{id}\"><h2>{}</h2>",
                escape(&section.title)
            );
            for block in &section.blocks {
                out.push_str(&block.html(Room::Page));
                out.push('\n');
            }
            out.push_str("</section>\n");
        }
        out.push_str("</main>");
        if !self.footer.is_empty() {
            let _ = write!(out, "<footer>{}</footer>", escape(&self.footer));
        }
        out.push_str("</body></html>\n");
        out
    }

    /// Writes [`Self::render`]; the file appears whole or not at all.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), ReportError> {
        write_whole(path, &self.render())
    }

    /// The figures in their order, those of columns after the column's name.
    pub fn figures(&self) -> Vec<(String, &dyn Figure)> {
        let mut all = Vec::new();
        for section in &self.sections {
            collect_figures(&section.blocks, "", &mut all);
        }
        all
    }

    /// Writes every figure as SVG and its numbers as CSV into `dir`, under names that follow from
    /// the titles; returns the names.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub fn write_figures(&self, dir: &Path) -> Result<Vec<String>, ReportError> {
        let mut names = Vec::new();
        for (i, (title, figure)) in self.figures().into_iter().enumerate() {
            let name = format!("{:02}-{}", i + 1, slug(&title));
            let name: String = name.chars().take(80).collect();
            figure.write_svg(&dir.join(format!("{name}.svg")))?;
            figure.write_csv(&dir.join(format!("{name}.csv")))?;
            names.push(name);
        }
        Ok(names)
    }

    /// Whether something stands side by side.
    fn has_columns(&self) -> bool {
        let mut blocks = self.sections.iter().flat_map(|s| &s.blocks);
        blocks.any(|b| matches!(b, Block::Columns(_)))
    }

    /// An id for each section, all different.
    fn ids(&self) -> Vec<String> {
        let mut ids: Vec<String> = Vec::new();
        for section in &self.sections {
            let base = slug(&section.title);
            let mut id = base.clone();
            let mut n = 1;
            while ids.contains(&id) {
                n += 1;
                id = format!("{base}-{n}");
            }
            ids.push(id);
        }
        ids
    }
}

/// Where a block stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    /// The whole width of the page.
    Page,
    /// One of several columns.
    Column,
}

fn collect_figures<'a>(blocks: &'a [Block], name: &str, all: &mut Vec<(String, &'a dyn Figure)>) {
    for block in blocks {
        match block {
            Block::Figure(figure) => {
                let title = format!("{name} {}", figure.title());
                all.push((title.trim().to_owned(), figure.as_ref()));
            }
            Block::Columns(columns) => {
                for (name, blocks) in columns {
                    collect_figures(blocks, name, all);
                }
            }
            _ => {}
        }
    }
}

impl Block {
    fn html(&self, room: Room) -> String {
        match self {
            Self::Paragraph(text) => format!("<p>{}</p>", escape(text)),
            Self::Cards(cards) => {
                let mut out = String::from("<dl class=\"cards\">");
                for card in cards {
                    // writing to a String cannot fail
                    let _ = write!(
                        out,
                        "<div><dt>{}</dt><dd>{}</dd>",
                        escape(&card.key),
                        escape(&card.value)
                    );
                    if !card.note.is_empty() {
                        let _ = write!(out, "<dd class=\"note\">{}</dd>", escape(&card.note));
                    }
                    out.push_str("</div>");
                }
                out.push_str("</dl>");
                out
            }
            Self::Table(table) => {
                let name = if table.caption().is_empty() {
                    "table"
                } else {
                    table.caption()
                };
                let link = download_link(&table.to_csv(), name);
                let class = if table.is_long() {
                    "table long"
                } else {
                    "table"
                };
                format!(
                    "<div class=\"{class}\">{}<p class=\"tools\">{link}</p></div>",
                    table.html()
                )
            }
            Self::Figure(figure) => figure_html(figure.as_ref(), room),
            Self::Heading(text) => format!("<h3>{}</h3>", escape(text)),
            Self::Details(name, text) => format!(
                "<details><summary>{}</summary><pre tabindex=\"0\"><code>{}</code></pre></details>",
                escape(name),
                escape(text)
            ),
            Self::Columns(columns) => {
                let mut out = String::from("<div class=\"columns\">");
                for (name, blocks) in columns {
                    // writing to a String cannot fail
                    let _ = write!(out, "<div><h3>{}</h3>", escape(name));
                    for block in blocks {
                        out.push_str(&block.html(Room::Column));
                        out.push('\n');
                    }
                    out.push_str("</div>");
                }
                out.push_str("</div>");
                out
            }
            Self::Callout(kind, text) => {
                let (class, label) = match kind {
                    Callout::Info => ("info", "Note"),
                    Callout::Warning => ("warning", "Caution"),
                };
                format!(
                    "<aside class=\"callout {class}\"><strong>{label}</strong> {}</aside>",
                    escape(text)
                )
            }
            Self::Code(text) => {
                format!("<pre tabindex=\"0\"><code>{}</code></pre>", escape(text))
            }
        }
    }
}

/// A figure, drawn anew for small screens where that makes a difference, with its numbers.
fn figure_html(figure: &dyn Figure, room: Room) -> String {
    let scroll = |class: &str, room: f64| {
        let svg = figure.to_inline_svg(room);
        format!("<div class=\"scroll{class}\" tabindex=\"0\">{svg}</div>")
    };
    let drawings = if room == Room::Column || figure.draw(ROOMS[0]) == figure.draw(ROOMS[1]) {
        scroll("", ROOMS[1])
    } else {
        scroll(" wide", ROOMS[0]) + &scroll(" narrow", ROOMS[1])
    };
    let name = slug(figure.title());
    let svg = format!(
        "<a class=\"download\" download=\"{name}.svg\" href=\"data:image/svg+xml;base64,{}\">Save as \
         SVG</a>",
        base64(figure.to_svg().as_bytes())
    );
    let csv = download_link(&figure.to_csv(), figure.title());
    let numbers = if figure.shows_numbers() {
        format!(
            "<details><summary>Numbers</summary>{}</details>",
            data_table(&figure.data()).html()
        )
    } else {
        String::new()
    };
    format!(
        "<figure><figcaption>{}</figcaption>{drawings}<p class=\"tools\">{svg} {csv}</p>{numbers}\
         </figure>",
        escape(figure.title()),
    )
}

/// The numbers of a figure as they are, those of one column with the same number of digits.
fn data_table(rows: &[Vec<String>]) -> Table {
    const MOST_DECIMALS: usize = 4;
    let (header, rows) = rows
        .split_first()
        .map_or((&[][..], rows), |(h, r)| (h.as_slice(), r));
    let field = |row: &Vec<String>, i: usize| row.get(i).cloned().unwrap_or_default();
    let columns: Vec<(Column, bool)> = header
        .iter()
        .enumerate()
        .map(|(i, name)| {
            let fields: Vec<String> = rows
                .iter()
                .map(|r| field(r, i))
                .filter(|f| !f.is_empty())
                .collect();
            let is_number = i > 0 && fields.iter().all(|f| f.parse::<f64>().is_ok());
            let decimals = fields
                .iter()
                .map(|f| f.split_once('.').map_or(0, |(_, digits)| digits.len()))
                .max()
                .unwrap_or(0);
            if is_number {
                (Column::number(name, decimals.min(MOST_DECIMALS)), true)
            } else {
                (Column::text(name), false)
            }
        })
        .collect();
    let mut table = Table::new("", columns.iter().map(|(column, _)| column.clone()));
    for row in rows {
        table.push(columns.iter().enumerate().map(|(i, (_, is_number))| {
            let text = field(row, i);
            if *is_number {
                text.parse().map_or(Cell::Empty, Cell::Number)
            } else {
                Cell::Text(text)
            }
        }));
    }
    table
}
