//! Feature pickles of MulT: CMU-MOSI, CMU-MOSEI and IEMOCAP, word-aligned or not.
//!
//! A dictionary of the splits `train`, `valid`, `test`, each with
//!
//! | key | type | shape |
//! |---|---|---|
//! | `text`, `audio`, `vision` | numbers, zero padded | (N, time, feature) |
//! | `labels` | a score, or one-hot yes/no for Neutral, Happy, Sad, Angry | (N, 1, 1) or (N, 4, 2) |
//! | `id` | video, start, end; optional | (N, 3) |
//!
//! The files give no lengths, and a row of zeros is padding at either end in some of them and silence
//! in others, so all rows are kept.
//!
//! The id of an utterance becomes `video_start_end`. Without ids, `split-00000` and so on are made up.
//! Where two splits hold the same id (in real files they do not) the later one becomes
//! `video_start_end@split`, with a warning.

use super::{
    ImportError, ImportOptions, ImportSummary, Importer, ImporterInfo, ScoreClasses, SplitCounts,
    pickled::{Features, Part, Replaced, Source},
};
use crate::{
    LabelSpace, ModalityMap,
    corpus::{CorpusInfo, CorpusWriter, Split, Utterance},
    store::pickle::{Node, Value},
};
use std::collections::BTreeMap;

/// Reads the feature pickles of MulT.
#[derive(Debug, Clone, Copy)]
pub struct MulT;

/// The order of the one-hot labels, as in the reference's evaluation code.
const EMOTIONS: [&str; 4] = ["neutral", "happy", "sad", "angry"];
/// Range of the scores of CMU-MOSI and CMU-MOSEI.
const RANGE: [f32; 2] = [-3.0, 3.0];

impl Importer for MulT {
    fn info(&self) -> &ImporterInfo {
        &ImporterInfo {
            id: "mult",
            title: "MulT feature pickle (CMU-MOSI, CMU-MOSEI, IEMOCAP)",
            citation: "Tsai et al. 2019, Multimodal Transformer for Unaligned Multimodal Language Sequences, ACL",
            licence: "the terms of the data set apply: CMU-MOSI, CMU-MOSEI and IEMOCAP are for research use",
            source: "one pickle file, e.g. `mosi_data.pkl` or `iemocap_data_noalign.pkl`",
        }
    }

    fn import(
        &self,
        options: &ImportOptions,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<ImportSummary, ImportError> {
        let source = Source::open(options)?;
        let parts = source
            .parts(options)?
            .into_iter()
            .map(SplitData::read)
            .collect::<Result<Vec<_>, _>>()?;
        expect_alike(&parts)?;
        let binary = parts[0].labels.is_binary();
        let classes = match options.classes {
            Some(n) if binary => {
                return Err(ImportError::Option {
                    option: "classes",
                    value: n.to_string(),
                    expected: "none, because the file has yes/no labels, not scores".to_owned(),
                });
            }
            Some(n) => Some(ScoreClasses::new(RANGE, n)?),
            None => None,
        };
        let mut warnings = Vec::new();
        let names = names(&parts, &mut warnings)?;
        let info = CorpusInfo {
            name: options.corpus_name(""),
            label_space: label_space(binary, classes.as_ref()),
            dtype: options.dtype.unwrap_or_default(),
            ..CorpusInfo::default()
        };

        let mut writer = CorpusWriter::create(&options.out, info)?;
        let total: usize = names.iter().map(Vec::len).sum();
        let mut replaced = Replaced::default();
        let mut splits = SplitCounts::default();
        for (part, names) in parts.iter().zip(names) {
            for (place, name) in names.into_iter().enumerate() {
                let frames = ModalityMap::try_from_fn(|modality| {
                    let features = part.features.get(modality);
                    let (values, count) = features.values(place, &name.id)?;
                    replaced.add(count);
                    Ok::<_, ImportError>(Some(features.frames(values, 0..features.time)))
                })?;
                let mut utterance = Utterance {
                    id: name.id,
                    split: Some(part.part.split),
                    conversation: name.video,
                    turn: name.turn,
                    ..Utterance::default()
                };
                match &part.labels {
                    Labels::Scores(scores) => {
                        utterance.scores.multimodal = Some(scores[place] as f32);
                    }
                    Labels::Binary(rows) => utterance.binary = rows[place].to_vec(),
                }
                if let Some(classes) = &classes {
                    classes.label(&mut utterance);
                }
                splits.add(utterance.split);
                writer.push(utterance, frames)?;
                progress(writer.len() as u64, total as u64);
            }
        }
        replaced.warn(&mut warnings);
        let utterances = writer.len();
        Ok(ImportSummary {
            path: writer.finish()?,
            utterances,
            splits,
            warnings,
        })
    }
}

/// Refuses splits whose features or labels are of different kinds.
fn expect_alike(parts: &[SplitData<'_>]) -> Result<(), ImportError> {
    let Some(first) = parts.first() else {
        return Ok(());
    };
    for part in parts {
        for (modality, features) in part.features.iter() {
            features.expect_like(first.features.get(modality))?;
        }
        if part.labels.is_binary() != first.labels.is_binary() {
            return Err(part
                .part
                .refuse("labels", "scores in one split, yes/no labels in another")
                .into());
        }
    }
    Ok(())
}

fn label_space(binary: bool, classes: Option<&ScoreClasses>) -> LabelSpace {
    LabelSpace {
        classes: classes.map(ScoreClasses::names).unwrap_or_default(),
        score: (!binary).then_some(RANGE),
        binary: if binary {
            EMOTIONS.map(str::to_owned).to_vec()
        } else {
            Vec::new()
        },
    }
}

enum Labels {
    Scores(Vec<f64>),
    Binary(Vec<[bool; 4]>),
}

impl Labels {
    const fn is_binary(&self) -> bool {
        matches!(self, Self::Binary(_))
    }
}

/// What `id` says about an utterance.
#[derive(Debug, Clone, PartialEq)]
struct Triple {
    video: String,
    start: String,
    end: String,
}

struct SplitData<'a> {
    part: Part<'a>,
    features: ModalityMap<Features<'a>>,
    labels: Labels,
    triples: Option<Vec<Triple>>,
}

impl<'a> SplitData<'a> {
    fn read(part: Part<'a>) -> Result<Self, ImportError> {
        let features = ModalityMap::try_from_fn(|modality| part.features(modality))?;
        let count = features.text.count;
        for (_, modality) in features.iter() {
            modality.expect_count(count)?;
        }
        let triples = part
            .get("id")
            .map(|node| read_triples(&part, node, count))
            .transpose()?;
        Ok(Self {
            labels: read_labels(&part, count, triples.as_deref())?,
            part,
            features,
            triples,
        })
    }
}

/// How errors name an utterance before its final id is known.
fn provisional(split: Split, place: usize, triples: Option<&[Triple]>) -> String {
    triples
        .and_then(|triples| triples.get(place))
        .map_or_else(|| format!("{split}-{place:05}"), join)
}

fn join(triple: &Triple) -> String {
    format!("{}_{}_{}", triple.video, triple.start, triple.end)
}

fn read_labels(
    part: &Part<'_>,
    count: usize,
    triples: Option<&[Triple]>,
) -> Result<Labels, ImportError> {
    const KEY: &str = "labels";
    let node = part.require(KEY)?;
    let array = node.as_array().ok_or_else(|| {
        part.refuse(
            KEY,
            format!("expected a numeric array, found {}", node.type_name()),
        )
    })?;
    let values = array.to_f64();
    let refuse = |place: usize, message: String| {
        ImportError::from(
            part.refuse(KEY, message)
                .id(provisional(part.split, place, triples)),
        )
    };
    match array.shape() {
        [n] | [n, 1] | [n, 1, 1] if *n == count => {
            let [low, high] = RANGE;
            match values
                .iter()
                .position(|value| !(low..=high).contains(&(*value as f32)))
            {
                Some(place) => Err(refuse(
                    place,
                    format!("{}, expected a score from {low} to {high}", values[place]),
                )),
                None => Ok(Labels::Scores(values)),
            }
        }
        [n, 4, 2] if *n == count => {
            let (rows, _) = values.as_chunks::<8>();
            rows.iter()
                .enumerate()
                .map(|(place, row)| {
                    let (pairs, _) = row.as_chunks::<2>();
                    let mut labels = [false; 4];
                    for (label, pair) in labels.iter_mut().zip(pairs) {
                        *label = match pair {
                            [1.0, 0.0] => false,
                            [0.0, 1.0] => true,
                            _ => {
                                return Err(refuse(
                                    place,
                                    format!("{pair:?} is not one-hot, expected [1, 0] or [0, 1]"),
                                ));
                            }
                        };
                    }
                    Ok(labels)
                })
                .collect::<Result<_, _>>()
                .map(Labels::Binary)
        }
        shape => Err(part
            .refuse(
                KEY,
                format!("shape {shape:?}, expected [{count}, 1, 1] or [{count}, 4, 2]"),
            )
            .into()),
    }
}

/// Ids come as an array (N, 3) of text or bytes, or as a list of triples.
fn read_triples(part: &Part<'_>, node: Node<'_>, count: usize) -> Result<Vec<Triple>, ImportError> {
    const KEY: &str = "id";
    let shape_error = |found: String| {
        ImportError::from(part.refuse(
            KEY,
            format!("expected {count} times video, start and end, found {found}"),
        ))
    };
    let texts: Vec<_> = if let Value::TextArray(array) = node.value() {
        if array.shape != [count, 3] {
            return Err(shape_error(format!("shape {:?}", array.shape)));
        }
        let texts = node.texts();
        texts.ok_or_else(|| shape_error("text that is not Unicode".to_owned()))?
    } else if let Value::ObjectArray { shape, items } = node.value()
        && **shape == [count, 3]
    {
        let items = node.at(*items);
        items
            .texts()
            .ok_or_else(|| shape_error("members that are no text".to_owned()))?
    } else {
        let rows = node
            .items()
            .ok_or_else(|| shape_error(node.type_name().to_owned()))?;
        if rows.len() != count {
            return Err(shape_error(format!("{} ids", rows.len())));
        }
        let mut texts = Vec::with_capacity(3 * count);
        for (place, row) in rows.enumerate() {
            match row.texts() {
                Some(row) if row.len() == 3 => texts.extend(row),
                _ => return Err(shape_error(format!("{} at {place}", row.type_name()))),
            }
        }
        texts
    };
    let (rows, _) = texts.as_chunks::<3>();
    if rows.len() != count {
        return Err(shape_error(format!("{} ids", rows.len())));
    }
    rows.iter()
        .enumerate()
        .map(|(place, row)| {
            let text = |part_of_id: &[u8]| {
                let text = std::str::from_utf8(part_of_id).map_err(|_| {
                    part.refuse(KEY, format!("id {place} is not UTF-8")).id(
                        String::from_utf8_lossy(&part_of_id[..part_of_id.len().min(80)]),
                    )
                })?;
                part.check_id(KEY, place, text)?;
                Ok::<_, ImportError>(text.to_owned())
            };
            Ok(Triple {
                video: text(&row[0])?,
                start: text(&row[1])?,
                end: text(&row[2])?,
            })
        })
        .collect()
}

/// The final names of an utterance.
struct Name {
    id: String,
    video: Option<String>,
    turn: Option<i64>,
}

fn names(
    parts: &[SplitData<'_>],
    warnings: &mut Vec<String>,
) -> Result<Vec<Vec<Name>>, ImportError> {
    let mut first: BTreeMap<String, Split> = BTreeMap::new();
    let mut all = Vec::new();
    for data in parts {
        let split = data.part.split;
        let Some(triples) = &data.triples else {
            let made_up = (0..data.features.text.count).map(|place| Name {
                id: provisional(split, place, None),
                video: None,
                turn: None,
            });
            all.push(made_up.collect());
            continue;
        };
        let mut renamed = 0_u64;
        let mut names = Vec::with_capacity(triples.len());
        for triple in triples {
            let id = join(triple);
            let seen = first.get(&id).copied();
            if seen == Some(split) {
                return Err(data
                    .part
                    .refuse("id", "the id is already in this split")
                    .id(id)
                    .into());
            }
            let suffix = if seen.is_some() {
                renamed += 1;
                format!("@{split}")
            } else {
                String::new()
            };
            names.push(Name {
                id: format!("{id}{suffix}"),
                video: Some(format!("{}{suffix}", triple.video)),
                turn: None,
            });
            first.insert(id, split);
        }
        if renamed > 0 {
            warnings.push(format!(
                "{renamed} ids of split `{split}` are also in an earlier split and got `@{split}` behind them; make sure that the splits do not overlap"
            ));
        }
        set_turns(&mut names, triples);
        all.push(names);
    }
    Ok(all)
}

/// The place of each utterance in its video by the time at which it starts.
fn set_turns(names: &mut [Name], triples: &[Triple]) {
    let mut videos: BTreeMap<String, Vec<(f64, usize)>> = BTreeMap::new();
    for (place, (name, triple)) in names.iter().zip(triples).enumerate() {
        let start = triple.start.parse().unwrap_or(f64::NAN);
        let video = name.video.clone().unwrap_or_default();
        videos.entry(video).or_default().push((start, place));
    }
    for utterances in videos.values_mut() {
        if utterances.iter().any(|(start, _)| !start.is_finite()) {
            continue;
        }
        utterances.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        for ((_, place), turn) in utterances.iter().zip(0..) {
            names[*place].turn = Some(turn);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_follow_the_starting_times_of_each_video() {
        let triple = |video: &str, start: &str| Triple {
            video: video.to_owned(),
            start: start.to_owned(),
            end: "9".to_owned(),
        };
        let triples = [
            triple("a", "10.5"),
            triple("b", "x"),
            triple("a", "2.25"),
            triple("c", "0"),
        ];
        let mut names: Vec<Name> = triples
            .iter()
            .map(|t| Name {
                id: join(t),
                video: Some(t.video.clone()),
                turn: None,
            })
            .collect();
        set_turns(&mut names, &triples);
        let turns: Vec<_> = names.iter().map(|n| n.turn).collect();
        assert_eq!(turns, [Some(1), None, Some(0), Some(0)]);
    }
}
