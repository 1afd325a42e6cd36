//! Explanations as pages.

use super::ExplanationReport;
use super::contributions::{Attention, Explanation, Frames, frames};
use crate::error::{Result, StudyError};
use crate::words::in_words;
use std::path::{Path, PathBuf};
use trimer_core::corpus::file_stem;
use trimer_core::{Modality, ModalityMap};
use trimer_nn::Task;
use trimer_report::{BarChart, Card, Cell, Column, LineChart, Report, Section, Series, Table};

impl ExplanationReport<'_> {
    /// Writes a page for each explanation into a directory, `<id>.html`, and names the files.
    ///
    /// # Errors
    /// When an id is no name of a file, or a page cannot be written.
    pub fn write_pages(&self, dir: &Path) -> Result<Vec<PathBuf>> {
        let files = self.found.all.iter().map(|e| {
            let stem = file_stem(self.id(e))?;
            Ok(dir.join(format!("{stem}.html")))
        });
        let files: Vec<PathBuf> = files.collect::<Result<_>>()?;
        std::fs::create_dir_all(dir).map_err(StudyError::io("create", dir))?;
        for (i, file) in files.iter().enumerate() {
            self.page(i).write(file)?;
        }
        Ok(files)
    }

    /// Why the `i`-th answer was given, as a page.
    pub fn page(&self, i: usize) -> Report {
        let e = &self.found.all[i];
        let utterance = &self.corpus.utterances()[e.row];
        let mut report = Report::new(format!("Why: {}", utterance.id)).subtitle(format!(
            "{} on {}, seed {}, {} head{}",
            self.run.config.model.info().id,
            self.corpus.info().name,
            self.seed,
            e.head,
            if self.is_calibrated {
                "; probabilities at the temperature fitted on validation"
            } else {
                ""
            }
        ));
        report.push(self.answer_section(e, utterance.transcript.as_deref()));
        report.push(self.contribution_section(e));
        report.push(self.without_section(e));
        if let Some(section) = self.attention_section(e) {
            report.push(section);
        }
        report.push(self.method_section());
        report.footer(format!("trimer {}", env!("CARGO_PKG_VERSION")))
    }

    fn answer_section(&self, e: &Explanation, transcript: Option<&str>) -> Section {
        let mut cards = vec![Card::new(
            "answer",
            in_words(e.with_all(), self.classes(), self.task()),
        )];
        if let Some(first) = self.targets(e).first()
            && !matches!(self.task(), Task::MultiBinary { .. })
        {
            let none = e.with_none()[first.1];
            let card = Card::new("without any modality", format!("{none:.3}"));
            cards.push(card.note(format!("the {} that the model starts from", self.unit())));
            let most = self.found.players.iter().max_by(|a, b| {
                let size = |m: &Modality| Self::contribution(e, *m, first.1).unwrap_or(0.0).abs();
                size(a).total_cmp(&size(b))
            });
            if let Some(most) = most {
                let value = Self::contribution(e, most, first.1).unwrap_or(f64::NAN);
                cards.push(Card::new("weighs most", most.to_string()).note(format!("{value:+.3}")));
            }
        }
        let mut section = Section::new("Answer").cards(cards);
        if let Some(words) = transcript.filter(|t| !t.is_empty()) {
            section = section.paragraph(format!("Transcript: {words}"));
        }
        if !e.absent.is_empty() {
            section = section.info(format!(
                "This utterance has no {}: what it does not have contributes nothing.",
                e.absent.to_string().replace('+', " and ")
            ));
        }
        if self.found.players.len() == 1 {
            section = section
                .info("The model reads one modality here, so all of the difference belongs to it.");
        }
        section
    }

    const fn unit(&self) -> &'static str {
        match self.task() {
            Task::Regression => "score",
            Task::MultiBinary { .. } | Task::Classification { .. } => "probability",
        }
    }

    fn contribution_section(&self, e: &Explanation) -> Section {
        let targets = self.targets(e);
        let shown: Vec<&(String, usize)> = match self.task() {
            Task::MultiBinary { .. } => targets.iter().collect(),
            _ => targets.iter().take(1).collect(),
        };
        let players: Vec<Modality> = self.found.players.iter().collect();
        let title = match self.task() {
            Task::Classification { .. } => {
                format!(
                    "What each modality adds to the probability of {}",
                    shown[0].0
                )
            }
            Task::MultiBinary { .. } => "What each modality adds to the probability of yes".into(),
            Task::Regression => "What each modality adds to the score".into(),
        };
        let names: Vec<&str> = players.iter().map(|m| m.as_str()).collect();
        let mut chart = BarChart::new(title, "modality", self.unit(), names);
        for (name, output) in shown {
            let bars = players.iter();
            let bars = bars.map(|m| Self::contribution(e, *m, *output).unwrap_or(f64::NAN));
            chart = chart.series(name.as_str(), bars.collect::<Vec<f64>>());
        }
        let columns = [Column::text(if self.classes().is_empty() {
            "output"
        } else {
            "class"
        })]
        .into_iter()
        .chain([Column::number("with none", 3)])
        .chain(players.iter().map(|m| Column::number(m.to_string(), 3)))
        .chain([Column::number("with all", 3)]);
        let mut table = Table::new("From nothing to the answer", columns);
        for (name, output) in &targets {
            let mut row = vec![Cell::from(name.as_str()), e.with_none()[*output].into()];
            row.extend(
                players
                    .iter()
                    .map(|m| Self::contribution(e, *m, *output).map_or(Cell::Empty, Cell::Number)),
            );
            row.push(e.with_all()[*output].into());
            table.push(row);
        }
        Section::new("Contributions").figure(chart).table(table)
    }

    fn without_section(&self, e: &Explanation) -> Section {
        let outputs: Vec<String> = match self.task() {
            Task::Regression => vec!["score".into()],
            _ => self.classes().to_vec(),
        };
        let columns = [Column::text("the model gets"), Column::text("answer")]
            .into_iter()
            .chain(outputs.iter().map(|name| Column::number(name.as_str(), 3)));
        let mut table = Table::new("What would be said with less", columns);
        for seen in e.seen.iter().rev() {
            let gets = if seen.keep.is_empty() {
                "nothing".to_owned()
            } else {
                seen.keep.to_string().replace('+', ", ")
            };
            let answer = in_words(&seen.outputs, self.classes(), self.task());
            let mut row = vec![Cell::from(gets), Cell::from(answer)];
            row.extend(seen.outputs.iter().map(|v| Cell::Number(*v)));
            table.push(row);
        }
        let sentences: Vec<String> = self
            .found
            .players
            .iter()
            .filter_map(|m| {
                let said = in_words(e.without(m)?, self.classes(), self.task());
                let said = if said.is_empty() {
                    "yes to nothing".to_owned()
                } else {
                    said
                };
                Some(format!("Without {m}: {said}."))
            })
            .collect();
        Section::new("Without a modality")
            .paragraph(sentences.join(" "))
            .table(table)
    }

    /// Curves of the last layer that draws from all modalities, or of each tower's last one.
    fn attention_section(&self, e: &Explanation) -> Option<Section> {
        let frames = frames(self.run, self.corpus, e.row);
        let last = last_layers(&e.attention);
        if last.is_empty() {
            return None;
        }
        let mut section = Section::new("Attention over time").paragraph(
            "How the attention of the last layer is spread over the frames, mean over attention heads and \
             positions. It tells where the model looks, not how much that weighed in the answer.",
        );
        for attention in last {
            for (modality, shares) in attention.shares.iter() {
                let (Some(shares), Some(frames)) = (shares, frames.get(modality)) else {
                    continue;
                };
                // One frame is no curve; the table has its share.
                if shares.len() < 2 {
                    continue;
                }
                section = section.figure(curve(&attention.tower, modality, shares, frames));
            }
        }
        Some(section.table(share_table(&e.attention)))
    }

    fn method_section(&self) -> Section {
        let whole = if self.run.config.input.n_speakers.is_some() {
            " It is taken from the whole conversation."
        } else {
            ""
        };
        Section::new("How to read this").paragraph(format!(
            "A modality that is left out is zeros after normalisation, all of it marked as padding, as in \
             `trimer eval --missing`.{whole} A contribution is the exact Shapley value: the mean, over all orders \
             in which the modalities may come in, of what the {} rises by when this one does. The contributions \
             sum to the difference between the answer with all modalities and the one with none. They describe \
             this model on this utterance, not people.",
            self.unit()
        ))
    }
}

/// Of every tower that draws from several modalities the last layer; where there is none, of every
/// tower.
fn last_layers(all: &[Attention]) -> Vec<&Attention> {
    let last: Vec<&Attention> = all
        .chunk_by(|a, b| a.tower == b.tower)
        .filter_map(<[Attention]>::last)
        .collect();
    let joint: Vec<&Attention> = last
        .iter()
        .copied()
        .filter(|a| a.tower == "multimodal")
        .collect();
    if joint.is_empty() { last } else { joint }
}

fn curve(tower: &str, modality: Modality, shares: &[f64], frames: &Frames) -> LineChart {
    let (label, step) = match frames.rate_hz {
        Some(rate) => ("time (s)", 1.0 / rate),
        None => ("frame", 1.0),
    };
    let points: Vec<(f64, f64)> = frames
        .index
        .iter()
        .zip(shares)
        .map(|(i, share)| (*i as f64 * step, *share))
        .collect();
    let title = format!("Attention of the {tower} tower on {modality}");
    LineChart::new(title, label, "share of attention")
        .y_range(0.0, 0.0)
        .series(Series::new(modality.as_str(), points))
}

/// What each layer gives to each modality.
fn share_table(all: &[Attention]) -> Table {
    let columns = [Column::text("tower"), Column::number("layer", 0)]
        .into_iter()
        .chain(Modality::ALL.map(|m| Column::number(m.as_str(), 3)))
        .chain([Column::number("tokens and padding", 3)]);
    let mut table = Table::new("Attention by layer", columns);
    for a in all {
        let sums: ModalityMap<Cell> = ModalityMap::from_fn(|m| {
            let shares = a.shares.get(m).as_ref();
            shares.map_or(Cell::Empty, |s| Cell::Number(s.iter().sum()))
        });
        let mut row = vec![Cell::from(a.tower.as_str()), Cell::Number(a.layer as f64)];
        row.extend(Modality::ALL.map(|m| sums.get(m).clone()));
        row.push(Cell::Number(a.elsewhere));
        table.push(row);
    }
    table
}
