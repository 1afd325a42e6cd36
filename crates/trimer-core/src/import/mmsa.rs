//! Feature pickles of MMSA: CH-SIMS, CMU-MOSI and CMU-MOSEI, aligned or not.
//!
//! A dictionary of the splits `train`, `valid`, `test`, each with
//!
//! | key | type | shape |
//! |---|---|---|
//! | `id` | texts `video$_$clip` | (N) |
//! | `raw_text` | texts, optional | (N) |
//! | `text`, `audio`, `vision` | numbers, zero padded | (N, time, feature) |
//! | `text_bert` | token ids, attention mask, segment ids; optional | (N, 3, time) |
//! | `audio_lengths`, `vision_lengths` | integers, optional | (N) |
//! | `regression_labels` | score | (N) |
//! | `regression_labels_T`, `_A`, `_V` | score of one modality, CH-SIMS only | (N) |
//! | `classification_labels` | 0 negative, 1 neutral, 2 positive; only checked | (N) |
//!
//! Padding is cut off, so that a corpus holds no frame that nobody observed:
//!
//! - Text keeps the rows that the attention mask of `text_bert` covers.
//! - Audio and vision keep `*_lengths` rows at the side that is not zero: the left one when all rows
//!   behind it are zero, else the right one when all rows before it are. Where neither holds, length and
//!   data contradict each other; all rows are kept and a warning counts such utterances.
//! - An aligned file (no lengths, and as many frames of audio and vision as of text) is cut by the
//!   attention mask in all modalities together, so that they stay aligned, unless a frame behind the
//!   mask is not zero in audio or vision: then that utterance keeps all rows.
//!
//! Scores lie in [-1, 1] where the modalities have scores of their own (CH-SIMS), else in [-3, 3].

use super::{
    ImportError, ImportOptions, ImportSummary, Importer, ImporterInfo, ScoreClasses, SplitCounts,
    pickled::{Features, Part, Replaced, Source},
};
use crate::{
    Head, HeadMap, LabelSpace, Modality, ModalityMap,
    corpus::{CorpusInfo, CorpusWriter, Utterance},
};
use std::{
    collections::{BTreeMap, btree_map::Entry},
    ops::Range,
};

/// Reads the feature pickles of MMSA.
#[derive(Debug, Clone, Copy)]
pub struct Mmsa;

/// Between the video and the clip of an id.
const SEPARATOR: &str = "$_$";

impl Importer for Mmsa {
    fn info(&self) -> &ImporterInfo {
        &ImporterInfo {
            id: "mmsa",
            title: "MMSA feature pickle (CH-SIMS, CMU-MOSI, CMU-MOSEI)",
            citation: "Mao et al. 2022, M-SENA: An Integrated Platform for Multimodal Sentiment Analysis, ACL demo",
            licence: "the terms of the data set apply: CH-SIMS, CMU-MOSI and CMU-MOSEI are for research use",
            source: "one pickle file, e.g. `SIMS/Processed/unaligned_39.pkl`",
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
            .map(|part| SplitData::read(part, options))
            .collect::<Result<Vec<_>, _>>()?;
        check_splits(&parts)?;
        // After the check above, all splits have the same label columns.
        let unimodal = [Head::Text, Head::Audio, Head::Vision]
            .iter()
            .any(|head| parts[0].scores.get(*head).is_some());
        let range = if unimodal { [-1.0, 1.0] } else { [-3.0, 3.0] };
        for part in &parts {
            part.check_labels(range)?;
        }
        let turns = turns(&parts);

        let classes = options
            .classes
            .map(|n| ScoreClasses::new(range, n))
            .transpose()?;
        let info = CorpusInfo {
            name: options.corpus_name(""),
            label_space: LabelSpace {
                classes: classes
                    .as_ref()
                    .map(ScoreClasses::names)
                    .unwrap_or_default(),
                score: Some(range),
                binary: Vec::new(),
            },
            dtype: options.dtype.unwrap_or_default(),
            ..CorpusInfo::default()
        };
        let mut writer = CorpusWriter::create(&options.out, info)?;
        let total: usize = parts.iter().map(|part| part.ids.len()).sum();
        let mut tally = Tally::default();
        let mut splits = SplitCounts::default();
        for part in &parts {
            for (place, id) in part.ids.iter().enumerate() {
                let mut utterance = part.utterance(place, turns.get(id.as_str()).copied());
                if let Some(classes) = &classes {
                    classes.label(&mut utterance);
                }
                let frames = part.frames(place, &mut tally)?;
                splits.add(utterance.split);
                writer.push(utterance, frames)?;
                progress(writer.len() as u64, total as u64);
            }
        }
        let utterances = writer.len();
        Ok(ImportSummary {
            path: writer.finish()?,
            utterances,
            splits,
            warnings: tally.warnings(),
        })
    }
}

/// What went otherwise than a user may think.
#[derive(Debug, Default)]
struct Tally {
    replaced: Replaced,
    contradictions: ModalityMap<u64>,
    unaligned: u64,
    absent: ModalityMap<u64>,
}

impl Tally {
    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        self.replaced.warn(&mut warnings);
        for (modality, count) in self.contradictions.iter().filter(|(_, n)| **n > 0) {
            warnings.push(format!(
                "{count} utterances have frames of {modality} on both sides of the stated length, so their padding was kept"
            ));
        }
        for (modality, count) in self.absent.iter().filter(|(_, n)| **n > 0) {
            warnings.push(format!(
                "{count} utterances have no frame of {modality}, so they lack it"
            ));
        }
        if self.unaligned > 0 {
            warnings.push(format!(
                "{} utterances have frames of audio or vision behind their last word, so their padding was kept",
                self.unaligned
            ));
        }
        warnings
    }
}

/// One split, checked but for its labels.
struct SplitData<'a> {
    part: Part<'a>,
    ids: Vec<String>,
    transcripts: Option<Vec<String>>,
    features: ModalityMap<Features<'a>>,
    /// Words per utterance by the attention mask.
    words: Option<Vec<usize>>,
    /// Frames per utterance.
    lengths: ModalityMap<Option<Vec<usize>>>,
    scores: HeadMap<Option<Vec<f64>>>,
}

impl<'a> SplitData<'a> {
    fn read(part: Part<'a>, options: &ImportOptions) -> Result<Self, ImportError> {
        let features = ModalityMap::try_from_fn(|modality| part.features(modality))?;
        let ids = part.ids("id")?;
        let count = ids.len();
        if count > options.limits.max_utterances {
            return Err(part
                .refuse(
                    "id",
                    format!("{count} ids, at most {}", options.limits.max_utterances),
                )
                .into());
        }
        for (_, modality) in features.iter() {
            modality.expect_count(count)?;
        }
        let lengths = ModalityMap::try_from_fn(|modality| match modality {
            Modality::Text => Ok(None),
            _ => read_lengths(&part, modality, features.get(modality), &ids),
        })?;
        let mut scores = HeadMap {
            multimodal: Some(part.numbers("regression_labels", count)?),
            ..HeadMap::default()
        };
        for head in [Head::Text, Head::Audio, Head::Vision] {
            let key = score_key(head);
            if part.get(key).is_some() {
                *scores.get_mut(head) = Some(part.numbers(key, count)?);
            }
        }
        Ok(Self {
            words: read_words(&part, &features.text, &ids)?,
            transcripts: part.transcripts("raw_text", count)?,
            part,
            ids,
            features,
            lengths,
            scores,
        })
    }

    /// Checks scores and classes against their ranges.
    fn check_labels(&self, [low, high]: [f32; 2]) -> Result<(), ImportError> {
        let check =
            |key: &str, values: &[f64], fits: &dyn Fn(f64) -> bool, expected: &str| match self
                .ids
                .iter()
                .zip(values)
                .find(|(_, value)| !fits(**value))
            {
                Some((id, value)) => Err(ImportError::from(
                    self.part
                        .refuse(key, format!("{value}, expected {expected}"))
                        .id(id),
                )),
                None => Ok(()),
            };
        let in_range = |value: f64| (low..=high).contains(&(value as f32));
        for (head, values) in self.scores.iter() {
            if let Some(values) = values {
                let expected = format!("a score from {low} to {high}");
                check(score_key(head), values, &in_range, &expected)?;
            }
        }
        let is_class = |value: f64| [0.0, 1.0, 2.0].contains(&value);
        for key in [
            "classification_labels",
            "classification_labels_T",
            "classification_labels_A",
            "classification_labels_V",
        ] {
            if self.part.get(key).is_some() {
                let values = self.part.numbers(key, self.ids.len())?;
                check(key, &values, &is_class, "0, 1 or 2")?;
            }
        }
        Ok(())
    }

    fn utterance(&self, place: usize, turn: Option<i64>) -> Utterance {
        let id = self.ids[place].clone();
        Utterance {
            conversation: id.split_once(SEPARATOR).map(|(video, _)| video.to_owned()),
            turn,
            id,
            split: Some(self.part.split),
            speaker: None,
            transcript: self.transcripts.as_ref().map(|texts| texts[place].clone()),
            labels: HeadMap::default(),
            scores: HeadMap::from_fn(|head| {
                self.scores
                    .get(head)
                    .as_ref()
                    .map(|scores| scores[place] as f32)
            }),
            binary: Vec::new(),
        }
    }

    fn frames(
        &self,
        place: usize,
        tally: &mut Tally,
    ) -> Result<ModalityMap<Option<crate::corpus::Frames<'static>>>, ImportError> {
        let id = &self.ids[place];
        let raw = ModalityMap::try_from_fn(|modality| {
            let (values, replaced) = self.features.get(modality).values(place, id)?;
            tally.replaced.add(replaced);
            Ok::<_, ImportError>(values)
        })?;
        let mut rows = ModalityMap::from_fn(|modality| 0..self.features.get(modality).time);
        if let Some(words) = &self.words {
            rows.text = 0..words[place];
        }
        if self.is_aligned() {
            if let Some(words) = &self.words {
                let padded = [Modality::Audio, Modality::Vision].iter().all(|modality| {
                    let dim = self.features.get(*modality).dim;
                    is_zero(
                        raw.get(*modality),
                        dim,
                        words[place]..self.features.text.time,
                    )
                });
                if padded {
                    rows = ModalityMap::from_fn(|_| 0..words[place]);
                } else {
                    rows.text = 0..self.features.text.time;
                    tally.unaligned += 1;
                }
            }
        } else {
            for (modality, lengths) in self.lengths.iter() {
                let Some(lengths) = lengths else { continue };
                let features = self.features.get(modality);
                let side = side(
                    raw.get(modality),
                    features.dim,
                    features.time,
                    lengths[place],
                );
                if side.is_none() {
                    *tally.contradictions.get_mut(modality) += 1;
                }
                *rows.get_mut(modality) = side.unwrap_or(0..features.time);
            }
        }
        let mut raw = raw.map(|_, values| Some(values));
        Ok(ModalityMap::from_fn(|modality| {
            let values = raw.get_mut(modality).take()?;
            let rows = rows.get(modality).clone();
            if rows.is_empty() {
                *tally.absent.get_mut(modality) += 1;
                return None;
            }
            Some(self.features.get(modality).frames(values, rows))
        }))
    }

    /// Whether frame i of every modality belongs to word i.
    fn is_aligned(&self) -> bool {
        let time = self.features.text.time;
        self.features.iter().all(|(_, f)| f.time == time)
            && self.lengths.iter().all(|(_, lengths)| lengths.is_none())
    }
}

const fn score_key(head: Head) -> &'static str {
    match head {
        Head::Multimodal => "regression_labels",
        Head::Text => "regression_labels_T",
        Head::Audio => "regression_labels_A",
        Head::Vision => "regression_labels_V",
    }
}

/// Where `length` frames lie when all others are zero; the left side where both fit.
fn side(values: &[f32], dim: usize, time: usize, length: usize) -> Option<Range<usize>> {
    if is_zero(values, dim, length..time) {
        Some(0..length)
    } else if is_zero(values, dim, 0..time - length) {
        Some(time - length..time)
    } else {
        None
    }
}

fn is_zero(values: &[f32], dim: usize, rows: Range<usize>) -> bool {
    values
        .get(rows.start * dim..rows.end * dim)
        .is_some_and(|rows| rows.iter().all(|v| *v == 0.0))
}

fn read_lengths(
    part: &Part<'_>,
    modality: Modality,
    features: &Features<'_>,
    ids: &[String],
) -> Result<Option<Vec<usize>>, ImportError> {
    let key = format!("{modality}_lengths");
    if part.get(&key).is_none() {
        return Ok(None);
    }
    part.numbers(&key, ids.len())?
        .into_iter()
        .zip(ids)
        .map(|(length, id)| {
            if length.fract() == 0.0 && (0.0..=features.time as f64).contains(&length) {
                return Ok(length as usize);
            }
            Err(part
                .refuse(
                    &key,
                    format!(
                        "the length is {length}, expected 0 to {} frames",
                        features.time
                    ),
                )
                .id(id)
                .into())
        })
        .collect::<Result<_, _>>()
        .map(Some)
}

/// Number of words by the attention mask of `text_bert`; `None` without that key, or when a mask is
/// not a run of ones followed by zeros.
fn read_words(
    part: &Part<'_>,
    text: &Features<'_>,
    ids: &[String],
) -> Result<Option<Vec<usize>>, ImportError> {
    const KEY: &str = "text_bert";
    let Some(node) = part.get(KEY) else {
        return Ok(None);
    };
    let expected = [ids.len(), 3, text.time];
    let array = node
        .as_array()
        .filter(|array| array.shape() == expected)
        .ok_or_else(|| {
            let found = match node.as_array() {
                Some(array) => format!("shape {:?}", array.shape()),
                None => node.type_name().to_owned(),
            };
            part.refuse(KEY, format!("expected shape {expected:?}, found {found}"))
        })?;
    Ok((0..ids.len())
        .map(|place| {
            let mask = array.index(place)?.index(1)?.to_f32();
            let words = mask.iter().take_while(|v| **v == 1.0).count();
            mask[words..].iter().all(|v| *v == 0.0).then_some(words)
        })
        .collect())
}

/// Ids must be unique over all splits, and frames alike.
fn check_splits(parts: &[SplitData<'_>]) -> Result<(), ImportError> {
    let mut seen = BTreeMap::new();
    for data in parts {
        for id in &data.ids {
            match seen.entry(id.as_str()) {
                Entry::Vacant(entry) => {
                    entry.insert(data.part.split);
                }
                Entry::Occupied(first) => {
                    let refusal = data
                        .part
                        .refuse(
                            "id",
                            format!("the id is already in split `{}`", first.get()),
                        )
                        .id(id);
                    return Err(refusal.into());
                }
            }
        }
        for (modality, features) in data.features.iter() {
            features.expect_like(parts[0].features.get(modality))?;
        }
        for head in [Head::Text, Head::Audio, Head::Vision] {
            if data.scores.get(head).is_none() && parts.iter().any(|p| p.scores.get(head).is_some())
            {
                return Err(data
                    .part
                    .refuse(score_key(head), "the key is missing, other splits have it")
                    .into());
            }
        }
    }
    Ok(())
}

/// The place of each utterance in its video, over all splits, by the number of its clip. Utterances
/// of a video whose clips are not all numbered have none.
fn turns<'a>(parts: &'a [SplitData<'_>]) -> BTreeMap<&'a str, i64> {
    let mut videos: BTreeMap<&str, Option<Vec<(u64, &str)>>> = BTreeMap::new();
    for id in parts.iter().flat_map(|part| &part.ids) {
        let Some((video, clip)) = id.split_once(SEPARATOR) else {
            continue;
        };
        let clips = videos.entry(video).or_insert_with(|| Some(Vec::new()));
        match clip.parse() {
            Ok(number) => {
                if let Some(clips) = clips {
                    clips.push((number, id));
                }
            }
            Err(_) => *clips = None,
        }
    }
    let mut turns = BTreeMap::new();
    for clips in videos.values_mut().flatten() {
        clips.sort_unstable();
        turns.extend(clips.iter().zip(0..).map(|((_, id), turn)| (*id, turn)));
    }
    turns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_cut_from_the_side_that_is_zero() {
        let right = [1.0, 2.0, 0.0, 0.0];
        assert_eq!(side(&right, 1, 4, 2), Some(0..2));
        assert_eq!(side(&right, 1, 4, 3), Some(0..3));
        let left = [0.0, 0.0, 3.0, 4.0];
        assert_eq!(side(&left, 1, 4, 2), Some(2..4));
        assert_eq!(side(&left, 1, 4, 3), Some(1..4));
        // The length contradicts the data.
        assert_eq!(side(&[1.0, 2.0, 3.0, 0.0], 1, 4, 1), None);
        assert_eq!(side(&[0.0; 4], 2, 2, 0), Some(0..0));
        // A frame counts as zero only when all its features are.
        assert_eq!(side(&[1.0, 1.0, 0.0, 2.0], 2, 2, 1), None);
    }
}
