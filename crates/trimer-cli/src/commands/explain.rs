//! `trimer predict --explain`: why a model said what it said, as JSON, as a table and as pages.

use super::predict::{in_words, named, said_yes};
use crate::{ui, ui::Hinted};
use anyhow::Context as _;
use serde_json::{Map, Value, json};
use std::path::Path;
use trimer_core::corpus::{Corpus, file_stem};
use trimer_core::metrics::probability::arg_max;
use trimer_core::{Modality, ModalityMap};
use trimer_nn::Task;
use trimer_nn::burn::tensor::Device;
use trimer_report::{BarChart, Card, Cell, Column, LineChart, Report, Section, Series, Table};
use trimer_train::RunDir;
use trimer_train::calibrate::Calibration;
use trimer_train::explain::{Attention, ExplainOptions, Explanation, Explanations, Frames};

/// Explanations with all that is needed to tell them.
pub(super) struct Why<'a> {
    run: &'a RunDir,
    corpus: &'a Corpus,
    seed: u64,
    is_calibrated: bool,
    found: Explanations,
}

/// Explains rows of a corpus.
pub(super) fn explain<'a>(
    run: &'a RunDir,
    corpus: &'a Corpus,
    rows: &[usize],
    seed: u64,
    calibration: Option<&Calibration>,
    online: bool,
    device: &Device,
) -> anyhow::Result<Why<'a>> {
    let options = ExplainOptions {
        calibration,
        online,
    };
    let found = run.explain(seed, corpus, rows, device, &options)?;
    Ok(Why {
        run,
        corpus,
        seed,
        is_calibrated: calibration.is_some(),
        found,
    })
}

/// Refuses a place for pages that is taken, before anything is computed.
pub(super) fn check_pages(dir: &Path) -> anyhow::Result<()> {
    let empty = match std::fs::read_dir(dir) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    };
    if empty {
        return Ok(());
    }
    Err(Hinted::new(
        format!("`{}` is not an empty directory", dir.display()),
        "choose another directory for `--pages`",
    )
    .into())
}

/// Writes a page for each explanation.
pub(super) fn write_pages(dir: &Path, why: &Why<'_>) -> anyhow::Result<()> {
    let names = why.found.all.iter().map(|e| {
        let stem = file_stem(&why.corpus.utterances()[e.row].id)?;
        Ok(format!("{stem}.html"))
    });
    let names: Vec<String> = names.collect::<anyhow::Result<_>>()?;
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create `{}`", dir.display()))?;
    for (i, name) in names.iter().enumerate() {
        why.page(i).write(&dir.join(name))?;
    }
    ui::note(&format!("{} page(s) in {}", names.len(), dir.display()));
    Ok(())
}

impl Why<'_> {
    fn classes(&self) -> &[String] {
        &self.run.config.classes
    }

    const fn task(&self) -> Task {
        self.run.config.task
    }

    fn id(&self, e: &Explanation) -> &str {
        &self.corpus.utterances()[e.row].id
    }

    /// What is explained: the outputs by name, the one in question first.
    fn targets(&self, e: &Explanation) -> Vec<(String, usize)> {
        let classes = self.classes().iter().cloned().zip(0..);
        match self.task() {
            Task::Regression => vec![("score".into(), 0)],
            Task::MultiBinary { .. } => classes.collect(),
            Task::Classification { .. } => {
                let best = arg_max(e.with_all());
                let (first, rest): (Vec<_>, Vec<_>) = classes.partition(|(_, k)| *k == best);
                first.into_iter().chain(rest).collect()
            }
        }
    }

    fn contribution(e: &Explanation, modality: Modality, output: usize) -> Option<f64> {
        e.contributions.get(modality).as_ref()?.get(output).copied()
    }

    fn contributions_json(&self, e: &Explanation, output: usize) -> Map<String, Value> {
        let players = self.found.players.iter();
        let parts =
            players.filter_map(|m| Some((m.to_string(), Self::contribution(e, m, output)?.into())));
        parts.collect()
    }

    /// An answer as in `trimer predict --json`.
    fn answer_json(&self, row: &[f64]) -> Value {
        match self.task() {
            Task::Regression => json!({ "score": row[0] }),
            Task::MultiBinary { .. } => {
                json!({ "yes": said_yes(row, self.classes()), "probabilities": named(self.classes(), row) })
            }
            Task::Classification { .. } => {
                json!({ "class": self.classes()[arg_max(row)], "probabilities": named(self.classes(), row) })
            }
        }
    }

    /// Why the `i`-th answer was given.
    pub(super) fn json(&self, i: usize) -> Value {
        let e = &self.found.all[i];
        let targets = self.targets(e);
        let part = |output: usize| -> Map<String, Value> {
            Map::from_iter([
                ("with_all".to_owned(), e.with_all()[output].into()),
                ("with_none".to_owned(), e.with_none()[output].into()),
                (
                    "contributions".to_owned(),
                    self.contributions_json(e, output).into(),
                ),
            ])
        };
        let mut value = json!({
            "head": e.head,
            "value": match self.task() {
                Task::Regression => "score",
                Task::MultiBinary { .. } => "probability of yes",
                Task::Classification { .. } => "probability",
            },
        });
        if matches!(self.task(), Task::Classification { .. }) {
            value["class"] = targets[0].0.as_str().into();
        }
        if !matches!(self.task(), Task::MultiBinary { .. }) {
            for (key, part) in part(targets[0].1) {
                value[key] = part;
            }
        }
        value["modalities"] = json!(self.found.players);
        value["absent"] = json!(e.absent);
        value["targets"] = targets
            .iter()
            .map(|(name, output)| (name.clone(), part(*output).into()))
            .collect::<Map<_, _>>()
            .into();
        let without = self.found.players.iter();
        let without =
            without.filter_map(|m| Some((m.to_string(), self.answer_json(e.without(m)?))));
        value["without"] = without.collect::<Map<_, _>>().into();
        let subsets = e.seen.iter().map(|seen| {
            let mut answer = self.answer_json(&seen.outputs);
            answer["keep"] = json!(seen.keep);
            answer
        });
        value["subsets"] = subsets.collect();
        value["attention"] = self.attention_json(e);
        value
    }

    fn attention_json(&self, e: &Explanation) -> Value {
        if e.attention.is_empty() {
            return Value::Null;
        }
        let frames = self.run.frames(self.corpus, e.row);
        let of_frames = frames.iter().filter_map(|(m, f)| {
            let f = f.as_ref()?;
            let seconds = f
                .rate_hz
                .map(|rate| f.index.iter().map(|i| *i as f64 / rate).collect::<Vec<_>>());
            let value = json!({ "index": f.index, "rate_hz": f.rate_hz, "seconds": seconds });
            Some((m.to_string(), value))
        });
        let layers = e.attention.iter().map(|a| {
            let shares = a.shares.iter();
            let shares = shares.filter_map(|(m, s)| Some((m.to_string(), json!(s.as_ref()?))));
            json!({
                "tower": a.tower,
                "layer": a.layer,
                "shares": shares.collect::<Map<_, _>>(),
                "elsewhere": a.elsewhere,
            })
        });
        json!({ "frames": of_frames.collect::<Map<_, _>>(), "layers": layers.collect::<Vec<_>>() })
    }

    /// One row per utterance; for yes/no labels one per label.
    pub(super) fn table(&self) -> String {
        let mut head = vec!["id".to_owned()];
        if !matches!(self.task(), Task::Regression) {
            head.push("answer".into());
        }
        head.extend(["with all".to_owned(), "with none".to_owned()]);
        head.extend(self.found.players.iter().map(|m| m.as_str().to_owned()));
        head.extend(self.found.players.iter().map(|m| format!("without {m}")));
        let mut rows = Vec::new();
        for e in &self.found.all {
            let targets = self.targets(e);
            let shown = match self.task() {
                Task::MultiBinary { .. } => targets.len(),
                _ => 1,
            };
            for (name, output) in &targets[..shown] {
                let mut row = vec![self.id(e).to_owned()];
                if !matches!(self.task(), Task::Regression) {
                    row.push(name.clone());
                }
                row.push(format!("{:.3}", e.with_all()[*output]));
                row.push(format!("{:.3}", e.with_none()[*output]));
                row.extend(self.found.players.iter().map(|m| {
                    Self::contribution(e, m, *output)
                        .map_or_else(String::new, |v| format!("{v:+.3}"))
                }));
                row.extend(self.found.players.iter().map(|m| {
                    e.without(m)
                        .map_or_else(String::new, |said| match self.task() {
                            Task::MultiBinary { .. } => format!("{:.3}", said[*output]),
                            _ => in_words(said, self.classes(), self.task()),
                        })
                }));
                rows.push(row);
            }
        }
        let head: Vec<&str> = head.iter().map(String::as_str).collect();
        ui::table(&head, &rows)
    }

    fn page(&self, i: usize) -> Report {
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
        let frames = self.run.frames(self.corpus, e.row);
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
