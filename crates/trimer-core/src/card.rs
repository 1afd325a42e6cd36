//! A corpus on one page: what a reader of results must know about the data behind them.

use crate::{
    Head, Modality,
    corpus::{Corpus, CorpusStats, Split, SplitCounts, Utterance},
    labels::{Inconsistency, LabelTally, MAX_CLASSES},
};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

/// How many examples of a leak are named.
const EXAMPLES: usize = 10;

/// Something that occurs in two splits or more, so that test is not as new as it seems.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Leak {
    /// How many different ones.
    pub count: usize,
    /// The first of them, in alphabetical order.
    pub examples: Vec<String>,
}

/// What was looked for between the splits.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Leakage {
    /// Speakers in several splits.
    pub speakers: Leak,
    /// Conversations in several splits.
    pub conversations: Leak,
    /// Transcripts in several splits, alike but for case and white space.
    pub transcripts: Leak,
    /// Whether utterances say who speaks; without that the first check says nothing.
    pub speakers_known: bool,
    /// Whether utterances say which conversation they are from.
    pub conversations_known: bool,
    /// Whether utterances have transcripts.
    pub transcripts_known: bool,
}

/// Everything that is known of a corpus without reading its features.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DataCard {
    /// The counts.
    #[serde(flatten)]
    pub stats: CorpusStats,
    /// Version of the data; empty when unknown, as are the next three.
    pub version: String,
    /// Licence or terms of use.
    pub licence: String,
    /// How to cite it.
    pub citation: String,
    /// Free text.
    pub description: String,
    /// What made the features.
    pub extractors: BTreeMap<Modality, String>,
    /// Frames per second, where constant.
    pub rates_hz: BTreeMap<Modality, f64>,
    /// Different speakers in each split.
    pub speakers_per_split: SplitCounts,
    /// What splits share.
    pub leakage: Leakage,
    /// How often labels of different modalities contradict each other, for corpora of classes.
    pub inconsistency: Inconsistency,
}

impl Corpus {
    /// Describes the corpus; reads the table, never the features.
    pub fn card(&self) -> DataCard {
        let info = self.info();
        let of_modalities = |f: &dyn Fn(Modality) -> Option<String>| {
            Modality::ALL
                .into_iter()
                .filter_map(|m| Some((m, f(m)?)))
                .collect()
        };
        DataCard {
            stats: self.stats(),
            version: info.version.clone(),
            licence: info.licence.clone(),
            citation: info.citation.clone(),
            description: info.description.clone(),
            extractors: of_modalities(&|m| info.extractors.get(m).clone()),
            rates_hz: Modality::ALL
                .into_iter()
                .filter_map(|m| Some((m, (*info.rates_hz.get(m))?)))
                .collect(),
            speakers_per_split: speakers_per_split(self.utterances()),
            leakage: leakage(self.utterances()),
            inconsistency: self.inconsistency(),
        }
    }

    fn inconsistency(&self) -> Inconsistency {
        let classes = &self.info().label_space.classes;
        if classes.len() > MAX_CLASSES {
            return Inconsistency::default();
        }
        let mut tally = LabelTally::new(classes.clone());
        for utterance in self.utterances() {
            tally.add(&utterance.labels);
        }
        tally.inconsistency()
    }
}

fn speakers_per_split(utterances: &[Utterance]) -> SplitCounts {
    let seen: BTreeSet<(Option<Split>, &str)> = utterances
        .iter()
        .filter_map(|u| Some((u.split, u.speaker.as_deref()?)))
        .collect();
    let mut counts = SplitCounts::default();
    for (split, _) in seen {
        counts.add(split);
    }
    counts
}

fn leakage(utterances: &[Utterance]) -> Leakage {
    let shared = |name: &dyn Fn(&Utterance) -> Option<String>| {
        let mut splits: BTreeMap<String, BTreeSet<Split>> = BTreeMap::new();
        for utterance in utterances {
            if let (Some(split), Some(name)) = (utterance.split, name(utterance)) {
                splits.entry(name).or_default().insert(split);
            }
        }
        let known = !splits.is_empty();
        let shared = splits.into_iter().filter(|(_, splits)| splits.len() > 1);
        let mut leak = Leak::default();
        for (name, _) in shared {
            leak.count += 1;
            if leak.examples.len() < EXAMPLES {
                leak.examples.push(name);
            }
        }
        (leak, known)
    };
    let (speakers, speakers_known) = shared(&|u| u.speaker.clone());
    let (conversations, conversations_known) = shared(&|u| u.conversation.clone());
    let (transcripts, transcripts_known) = shared(&|u| {
        let text = u.transcript.as_deref()?.to_lowercase();
        let words: Vec<&str> = text.split_whitespace().collect();
        (!words.is_empty()).then(|| words.join(" "))
    });
    Leakage {
        speakers,
        conversations,
        transcripts,
        speakers_known,
        conversations_known,
        transcripts_known,
    }
}

impl Leakage {
    /// What was looked for, what was found, and whether that could be known.
    pub fn findings(&self) -> [(&'static str, &Leak, bool); 3] {
        [
            ("speakers", &self.speakers, self.speakers_known),
            (
                "conversations",
                &self.conversations,
                self.conversations_known,
            ),
            ("transcripts", &self.transcripts, self.transcripts_known),
        ]
    }
}

/// The sentence about one kind of leak.
pub fn leak_sentence(what: &str, leak: &Leak, known: bool) -> String {
    match (known, leak.count) {
        (false, _) => format!("{what}: not stated, so leakage cannot be ruled out"),
        (true, 0) => format!("{what}: none in two splits"),
        (true, n) => format!(
            "{what}: {n} in two splits or more ({})",
            leak.examples.join(", ")
        ),
    }
}

/// Text that stays in its cell of a Markdown table.
fn cell(text: &str) -> String {
    let plain: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    plain
        .replace('\\', "\\\\")
        .replace('|', "\\|")
        .replace('<', "&lt;")
}

fn table(out: &mut String, header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) {
    // writing to a String cannot fail
    let _ = writeln!(out, "| {} |", header.join(" | "));
    let _ = writeln!(out, "|{}", "---|".repeat(header.len()));
    for row in rows {
        let cells: Vec<String> = row.iter().map(|c| cell(c)).collect();
        let _ = writeln!(out, "| {} |", cells.join(" | "));
    }
    out.push('\n');
}

impl DataCard {
    /// The card as Markdown.
    pub fn to_markdown(&self) -> String {
        let s = &self.stats;
        let mut out = format!("# {}\n\n", cell(&s.name));
        if !self.description.is_empty() {
            let _ = writeln!(out, "{}\n", self.description.trim());
        }
        let or_unknown = |text: &str| {
            if text.is_empty() {
                "not stated".into()
            } else {
                text.to_owned()
            }
        };
        table(
            &mut out,
            &["", ""],
            [
                vec!["version".into(), or_unknown(&self.version)],
                vec!["licence".into(), or_unknown(&self.licence)],
                vec!["citation".into(), or_unknown(&self.citation)],
                vec!["utterances".into(), s.utterances.to_string()],
                vec!["speakers".into(), s.speakers.to_string()],
                vec!["conversations".into(), s.conversations.to_string()],
                vec!["with transcript".into(), s.transcripts.to_string()],
            ],
        );
        out.push_str("## Splits\n\n");
        let counts = |name: &str, c: &SplitCounts| {
            let n = [c.train, c.valid, c.test, c.unassigned];
            std::iter::once(name.to_owned())
                .chain(n.map(|n| n.to_string()))
                .collect()
        };
        table(
            &mut out,
            &["", "train", "valid", "test", "without split"],
            [
                counts("utterances", &s.splits),
                counts("speakers", &self.speakers_per_split),
            ],
        );
        out.push_str("Leakage between splits:\n\n");
        for (what, leak, known) in self.leakage.findings() {
            let _ = writeln!(out, "- {}", cell(&leak_sentence(what, leak, known)));
        }
        out.push_str("\n## Modalities\n\n");
        table(
            &mut out,
            &[
                "modality",
                "width",
                "extractor",
                "frames per second",
                "utterances",
                "frames",
                "shortest",
                "median",
                "longest",
            ],
            s.modalities.iter().map(|(m, x)| {
                vec![
                    m.to_string(),
                    x.dim.to_string(),
                    or_unknown(self.extractors.get(m).map_or("", String::as_str)),
                    self.rates_hz
                        .get(m)
                        .map_or_else(|| "not stated".to_owned(), ToString::to_string),
                    x.utterances.to_string(),
                    x.frames.to_string(),
                    x.lengths.min.to_string(),
                    x.lengths.median.to_string(),
                    x.lengths.max.to_string(),
                ]
            }),
        );
        self.labels_markdown(&mut out);
        out
    }

    fn labels_markdown(&self, out: &mut String) {
        let s = &self.stats;
        if s.classes.is_empty() && s.scores.is_empty() && s.binary.is_empty() {
            return;
        }
        out.push_str("## Labels\n\n");
        for (head, classes) in &s.classes {
            let title = format!("{head} label");
            table(
                out,
                &[&title, "train", "valid", "test", "without split"],
                classes.iter().map(|c| {
                    let n = [
                        c.splits.train,
                        c.splits.valid,
                        c.splits.test,
                        c.splits.unassigned,
                    ];
                    std::iter::once(c.class.clone())
                        .chain(n.map(|n| n.to_string()))
                        .collect()
                }),
            );
        }
        if !s.scores.is_empty() {
            table(
                out,
                &[
                    "score",
                    "lowest",
                    "lower quartile",
                    "median",
                    "upper quartile",
                    "highest",
                ],
                s.scores.iter().map(|(head, q)| {
                    let n = [q.min, q.lower_quartile, q.median, q.upper_quartile, q.max];
                    std::iter::once(head.to_string())
                        .chain(n.map(|n| n.to_string()))
                        .collect()
                }),
            );
        }
        if !s.binary.is_empty() {
            table(
                out,
                &["yes/no label", "yes", "no"],
                s.binary
                    .iter()
                    .map(|(name, [yes, no])| vec![name.clone(), yes.to_string(), no.to_string()]),
            );
        }
        if self.inconsistency.pairs.is_empty() {
            return;
        }
        out.push_str("Share of utterances whose labels differ, with 95 % intervals:\n\n");
        table(
            out,
            &["labels", "differ", "of"],
            self.inconsistency.pairs.iter().map(|p| {
                let name = |head: Head| head.as_str();
                vec![
                    format!("{} and {}", name(p.a), name(p.b)),
                    format!("{:.4} [{:.4}, {:.4}]", p.value, p.ci[0], p.ci[1]),
                    p.n.to_string(),
                ]
            }),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::synth;

    fn utterance(split: Split, speaker: &str, conversation: Option<&str>, text: &str) -> Utterance {
        Utterance {
            split: Some(split),
            speaker: Some(speaker.into()),
            conversation: conversation.map(Into::into),
            transcript: Some(text.into()),
            ..Utterance::default()
        }
    }

    #[test]
    fn what_two_splits_share_is_found() {
        let found = leakage(&[
            utterance(Split::Train, "ann", None, "I am  fine"),
            utterance(Split::Test, "bob", None, "i am fine "),
            utterance(Split::Valid, "bob", None, "well"),
            utterance(Split::Valid, "bob", None, " "),
        ]);
        assert_eq!(
            found.speakers,
            Leak {
                count: 1,
                examples: vec!["bob".into()]
            }
        );
        assert_eq!(
            found.transcripts,
            Leak {
                count: 1,
                examples: vec!["i am fine".into()]
            }
        );
        assert!(found.speakers_known && !found.conversations_known);
        let sentence = leak_sentence("conversations", &found.conversations, false);
        assert!(sentence.contains("cannot be ruled out"), "{sentence}");
    }

    #[test]
    fn the_card_of_a_synthetic_corpus() {
        let dir = tempfile::tempdir().unwrap();
        let spec = synth::SynthSpec::preset("small").unwrap();
        let path = synth::write(&spec, &dir.path().join("c"), &mut |_, _| {}).unwrap();
        let card = Corpus::open(path).unwrap().card();
        let s = card.speakers_per_split;
        assert_eq!(
            s.train + s.valid + s.test,
            card.stats.speakers,
            "no speaker is in two splits"
        );
        assert_eq!(card.leakage.speakers.count, 0);
        assert_eq!(card.inconsistency.pairs.len(), 6);
        let text = card.to_markdown();
        for part in [
            "# synth-small",
            "| utterances | 750 |",
            "## Splits",
            "## Modalities",
            "## Labels",
            "text and audio",
        ] {
            assert!(text.contains(part), "{part} is missing:\n{text}");
        }
        let json = serde_json::to_value(&card).unwrap();
        assert_eq!(json["utterances"], 750);
        assert_eq!(json["leakage"]["speakers"]["count"], 0);
    }

    #[test]
    fn a_name_cannot_break_out_of_its_cell() {
        assert_eq!(cell("a|b\n<i>"), "a\\|b &lt;i>");
    }
}
