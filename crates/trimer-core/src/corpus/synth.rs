//! Made-up corpora whose best possible accuracy is known exactly.
//!
//! They serve to try the program without any data, to measure it at the size of a real corpus, and
//! to evaluate a learner: [`Ceiling`] is the Bayes-optimal accuracy from each modality alone
//! and from all of them.

mod ceiling;
mod dialogue;
mod emotion;
mod features;
mod phrases;

pub use ceiling::Ceiling;
pub use dialogue::SynthDialogue;

use super::{
    CorpusError, CorpusInfo, CorpusWriter, FeatureDtype, Frames, MAX_UTTERANCES, Split, Utterance,
};
use crate::{Hint, LabelSpace, Modality, ModalityMap, ModalitySet, error::nearest};
use features::{Strength, Templates, normal, stream, uniform};
use std::{
    path::{Path, PathBuf},
    sync::mpsc::sync_channel,
    thread,
};

/// Names of the presets.
pub const PRESETS: [&str; 3] = ["small", "cherma", "dialogue"];

/// Utterances that a thread makes before it hands them over.
const CHUNK: usize = 16;

/// How long sequences are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// Always as many frames.
    Fixed(usize),
    /// Skewed like durations of speech: most near the median, few much longer.
    Skewed {
        /// Half of all sequences are shorter.
        median: usize,
        /// No sequence is shorter.
        min: usize,
        /// No sequence is longer.
        max: usize,
    },
}

impl Length {
    /// `z` is nearly normal with variance 1.
    fn frames(self, z: f64) -> usize {
        match self {
            Self::Fixed(frames) => frames,
            Self::Skewed { median, min, max } => {
                // A cube is skewed to the right like a log-normal, without a logarithm that
                // differs between machines in the last bit.
                let root = (1.0 + 0.15 * z).max(0.0);
                ((median as f64 * root * root * root) as usize).clamp(min, max)
            }
        }
    }

    fn max(self) -> usize {
        match self {
            Self::Fixed(frames) => frames,
            Self::Skewed { max, .. } => max,
        }
    }
}

/// The features of one modality.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SynthModality {
    /// Width of a frame.
    pub dim: usize,
    /// Number of frames.
    pub length: Length,
    /// How clearly features show the emotion, as a factor of the preset's loudness; the noise has
    /// standard deviation 1. With 0 the features are that noise and nothing else.
    pub signal: f64,
}

/// What to make.
#[derive(Debug, Clone, PartialEq)]
pub struct SynthSpec {
    /// Name of the corpus.
    pub name: String,
    /// The same seed gives the same corpus, to the bit.
    pub seed: u64,
    /// How many utterances, divided 6:2:2.
    pub n_utterances: usize,
    /// How many speakers, divided likewise: nobody speaks in two splits.
    pub n_speakers: usize,
    /// How features are stored.
    pub dtype: FeatureDtype,
    /// The features; a modality that is `None` is left out.
    pub modalities: ModalityMap<Option<SynthModality>>,
    /// How people talk with one another; `None` = every speaker alone, each utterance for itself.
    pub dialogue: Option<SynthDialogue>,
}

/// Why a corpus could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SynthError {
    /// There is no preset of that name.
    #[error("`{given}` is not a preset; expected one of `{}`", PRESETS.join("`, `"))]
    UnknownPreset {
        /// What was asked for.
        given: String,
    },
    /// A number that makes no corpus.
    #[error("`{field}` is {value}, expected {expected}")]
    Spec {
        /// The field of [`SynthSpec`].
        field: String,
        /// Its value.
        value: String,
        /// What would be accepted.
        expected: String,
    },
    /// The corpus could not be written.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
}

impl Hint for SynthError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownPreset { given } => {
                nearest(given, PRESETS).map(|name| format!("did you mean `{name}`?"))
            }
            Self::Spec { .. } => None,
            Self::Corpus(error) => error.hint(),
        }
    }
}

impl SynthSpec {
    /// The preset with this name.
    ///
    /// - `small`: 750 utterances of 40 speakers with narrow features; a small model learns it in half
    ///   a minute on two cores.
    /// - `cherma`: the size and the sequence lengths of CHERMA as the LFMIM paper used it: 28,717
    ///   utterances, text 80 x 768, audio up to 543 x 768, vision 64 x 512; about 15 GB in `f16`.
    /// - `dialogue`: 4,000 utterances of 120 speakers in conversations of two or three, one frame per
    ///   utterance; what was felt before decides what is felt now.
    ///
    /// # Errors
    /// [`SynthError::UnknownPreset`].
    pub fn preset(name: &str) -> Result<Self, SynthError> {
        let modality = |dim, length, signal| {
            Some(SynthModality {
                dim,
                length,
                signal,
            })
        };
        let skewed = |median, min, max| Length::Skewed { median, min, max };
        match name {
            "small" => Ok(Self {
                name: "synth-small".to_owned(),
                seed: 0,
                n_utterances: 750,
                n_speakers: 40,
                dtype: FeatureDtype::F32,
                modalities: ModalityMap {
                    text: modality(24, Length::Fixed(12), 0.6),
                    audio: modality(16, skewed(14, 6, 20), 0.7),
                    vision: modality(12, Length::Fixed(10), 0.9),
                },
                dialogue: None,
            }),
            "cherma" => Ok(Self {
                name: "synth-cherma".to_owned(),
                seed: 0,
                n_utterances: 28_717,
                n_speakers: 900,
                dtype: FeatureDtype::F16,
                modalities: ModalityMap {
                    text: modality(768, Length::Fixed(80), 0.12),
                    audio: modality(768, skewed(200, 25, 543), 0.12),
                    vision: modality(512, Length::Fixed(64), 0.12),
                },
                dialogue: None,
            }),
            "dialogue" => Ok(Self {
                name: "synth-dialogue".to_owned(),
                seed: 0,
                n_utterances: 4_000,
                n_speakers: 120,
                dtype: FeatureDtype::F32,
                modalities: ModalityMap {
                    text: modality(24, Length::Fixed(1), 1.4),
                    audio: modality(16, Length::Fixed(1), 1.4),
                    vision: modality(12, Length::Fixed(1), 1.4),
                },
                dialogue: Some(SynthDialogue::default()),
            }),
            other => Err(SynthError::UnknownPreset {
                given: other.to_owned(),
            }),
        }
    }

    /// The Bayes-optimal accuracy.
    ///
    /// Where people talk with one another, this is an observer of one utterance at a time; who
    /// remembers what was said before can do better.
    pub fn ceiling(&self) -> Ceiling {
        let mute = self.noise();
        let telling = Modality::ALL.into_iter().filter(|m| !mute.contains(*m));
        match self.dialogue {
            None => emotion::ceiling(telling.collect()),
            Some(_) => emotion::ceiling_of_felt(telling.collect()),
        }
    }

    /// The modalities whose features are noise and show nothing.
    pub fn noise(&self) -> ModalitySet {
        let all = self.modalities.iter();
        all.filter(|(_, m)| m.is_some_and(|m| m.signal == 0.0))
            .map(|(name, _)| name)
            .collect()
    }

    /// Makes the features of these modalities noise that shows nothing: a model that is asked why
    /// has to say that they did not matter.
    #[must_use]
    pub fn with_noise(mut self, noise: ModalitySet) -> Self {
        for modality in noise.iter() {
            if let Some(modality) = self.modalities.get_mut(modality) {
                modality.signal = 0.0;
            }
        }
        self
    }

    /// # Errors
    /// [`SynthError::Spec`] names the number that makes no corpus.
    pub fn check(&self) -> Result<(), SynthError> {
        let fail = |field: &str, value: String, expected: String| {
            Err(SynthError::Spec {
                field: field.to_owned(),
                value,
                expected,
            })
        };
        if !(10..=MAX_UTTERANCES).contains(&self.n_utterances) {
            let value = self.n_utterances.to_string();
            return fail("n_utterances", value, format!("10 to {MAX_UTTERANCES}"));
        }
        let most = self.n_utterances / 2;
        if !(5..=most).contains(&self.n_speakers) {
            let value = self.n_speakers.to_string();
            return fail(
                "n_speakers",
                value,
                format!("5 to {most}, half the utterances"),
            );
        }
        if let Some(dialogue) = &self.dialogue {
            dialogue.check(self.n_speakers)?;
        }
        if self.modalities.iter().all(|(_, m)| m.is_none()) {
            return fail("modalities", "empty".to_owned(), "one or more".to_owned());
        }
        for (name, modality) in self.modalities.iter() {
            let Some(modality) = modality else { continue };
            let field = |f: &str| format!("modalities.{name}.{f}");
            if !(1..=65_536).contains(&modality.dim) {
                let value = modality.dim.to_string();
                return fail(&field("dim"), value, "1 to 65536".to_owned());
            }
            let sane = match modality.length {
                Length::Fixed(frames) => frames >= 1,
                Length::Skewed { median, min, max } => min >= 1 && min <= median && median <= max,
            };
            if !sane || modality.length.max() > 100_000 {
                return fail(
                    &field("length"),
                    format!("{:?}", modality.length),
                    "1 <= min <= median <= max <= 100000".to_owned(),
                );
            }
            if !(0.0..=10.0).contains(&modality.signal) {
                let value = modality.signal.to_string();
                return fail(&field("signal"), value, "0 to 10".to_owned());
            }
        }
        Ok(())
    }

    fn info(&self) -> CorpusInfo {
        let ceiling = self.ceiling();
        let from = |set: &str| {
            let accuracy = ceiling.multimodal_from.get(set).copied();
            format!("{:.1} %", 100.0 * accuracy.unwrap_or_default())
        };
        CorpusInfo {
            name: self.name.clone(),
            version: format!("1, seed {}", self.seed),
            licence: "CC0-1.0".to_owned(),
            citation: String::new(),
            description: format!(
                "Made-up data, no human being was recorded.\n\n{}{}\n\nA perfect observer of the text alone finds the multimodal label in {}, of the audio in {}, of the vision in {}, of all three in {} of all cases.",
                self.dialogue.map_or(emotion::RULE, |_| dialogue::RULE),
                match self.noise() {
                    none if none.is_empty() => String::new(),
                    noise => format!(
                        " Here the features of {} are noise: they show nothing.",
                        noise
                            .iter()
                            .map(Modality::as_str)
                            .collect::<Vec<_>>()
                            .join(" and ")
                    ),
                },
                from("text"),
                from("audio"),
                from("vision"),
                from("text+audio+vision"),
            ),
            label_space: LabelSpace::of_classes(emotion::CLASSES),
            dtype: self.dtype,
            extractors: ModalityMap::from_fn(|m| {
                self.modalities.get(m).map(|_| "synthetic".to_owned())
            }),
            rates_hz: ModalityMap::default(),
        }
    }
}

/// Writes the corpus at `out`; `progress` is told how many of how many utterances are done.
///
/// # Errors
/// [`SynthError::Spec`] when [`SynthSpec::check`] fails, else as [`CorpusWriter`].
pub fn write(
    spec: &SynthSpec,
    out: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<PathBuf, SynthError> {
    spec.check()?;
    let threads = thread::available_parallelism().map_or(1, usize::from);
    write_with(spec, out, threads.min(16), progress)
}

/// As [`write`] with a number of threads, which does not change the result.
fn write_with(
    spec: &SynthSpec,
    out: &Path,
    threads: usize,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<PathBuf, SynthError> {
    let mut writer = CorpusWriter::create(out, spec.info())?.with_ceiling(spec.ceiling());
    let maker = Maker::new(spec);
    let n = spec.n_utterances;
    let written = thread::scope(|scope| {
        // Thread k makes the chunks k, k + threads, ...; a full channel makes it wait, so memory
        // holds a few chunks whatever the size of the corpus.
        let channels: Vec<_> = (0..threads)
            .map(|k| {
                let (sender, receiver) = sync_channel(1);
                let maker = &maker;
                scope.spawn(move || {
                    for start in (k * CHUNK..n).step_by(threads * CHUNK) {
                        let chunk: Vec<_> = (start..n.min(start + CHUNK))
                            .map(|i| maker.make(i))
                            .collect();
                        if sender.send(chunk).is_err() {
                            return; // the writer met an error
                        }
                    }
                });
                receiver
            })
            .collect();
        for channel in channels.iter().cycle().take(n.div_ceil(CHUNK)) {
            // A maker only ends early when it panicked, and then the scope passes the panic on.
            let Ok(chunk) = channel.recv() else { break };
            for (utterance, values) in chunk {
                let features = ModalityMap::from_fn(|m| {
                    let dim = spec.modalities.get(m).as_ref()?.dim;
                    let values = values.get(m).as_deref()?;
                    Some(Frames {
                        values: values.into(),
                        dim,
                    })
                });
                writer.push(utterance, features)?;
                progress(writer.len() as u64, n as u64);
            }
        }
        Ok::<_, CorpusError>(())
    });
    written?;
    Ok(writer.finish()?)
}

/// What a modality gives to one utterance, row-major `[time, dim]`.
type Values = ModalityMap<Option<Vec<f32>>>;

/// Makes any utterance of a corpus without the others.
struct Maker<'a> {
    spec: &'a SynthSpec,
    templates: ModalityMap<Option<Templates>>,
    /// Who says what in which conversation, where people talk with one another.
    turns: Vec<dialogue::Turn>,
    /// First utterance and first speaker of each split, with the end as a fourth.
    utterance_bounds: [usize; 4],
    speaker_bounds: [usize; 4],
}

impl<'a> Maker<'a> {
    fn new(spec: &'a SynthSpec) -> Self {
        let bounds = |n: usize| {
            let fifth = n.div_ceil(5);
            [0, n - 2 * fifth, n - fifth, n]
        };
        let (utterance_bounds, speaker_bounds) =
            (bounds(spec.n_utterances), bounds(spec.n_speakers));
        let turns = spec.dialogue.as_ref().map_or_else(Vec::new, |talk| {
            talk.turns(spec.seed, &utterance_bounds, &speaker_bounds)
        });
        Self {
            spec,
            turns,
            templates: ModalityMap::from_fn(|m| {
                spec.modalities.get(m).map(|modality| {
                    let strength = Strength {
                        constant: 0.8 * modality.signal,
                        bump: 1.6 * modality.signal,
                        // Noise does not even tell speakers apart.
                        speaker: if modality.signal > 0.0 { 0.3 } else { 0.0 },
                    };
                    Templates::new(spec.seed, m, modality.dim, strength)
                })
            }),
            utterance_bounds,
            speaker_bounds,
        }
    }

    fn make(&self, index: usize) -> (Utterance, Values) {
        let part = (1..3)
            .filter(|k| index >= self.utterance_bounds[*k])
            .count();
        let [first, last] = [self.utterance_bounds[part], self.utterance_bounds[part + 1]];
        let [speaker0, speaker1] = [self.speaker_bounds[part], self.speaker_bounds[part + 1]];
        // Speakers of a split talk one after the other, each about equally much.
        let per_split = last - first;
        let speakers = speaker1 - speaker0;
        let own = (index - first) * speakers / per_split;
        let speaker = speaker0 + own;
        // The first utterance with this quotient is ceil(own * per_split / speakers).
        let turn = index - first - (own * per_split).div_ceil(speakers);

        let (speaker, conversation, turn) = match self.turns.get(index) {
            Some(said) => (
                said.speaker,
                format!("talk{:05}", said.conversation),
                said.turn,
            ),
            None => (speaker, format!("talk{speaker:04}"), turn),
        };
        let mut rng = stream(self.spec.seed, 1, index as u64);
        let felt = self.turns.get(index).map(|said| said.felt);
        let scene = emotion::draw(felt, &mut || uniform(&mut rng));
        let pace = normal(&mut rng);
        let wording = uniform(&mut rng);
        let utterance = Utterance {
            id: format!("{index:05}"),
            split: Some(Split::ALL[part]),
            conversation: Some(conversation),
            turn: Some(turn as i64),
            speaker: Some(format!("speaker{speaker:04}")),
            transcript: Some(phrases::say(scene.shown.text, wording).to_owned()),
            labels: scene.labels.map(|_, class| Some(class as u32)),
            ..Utterance::default()
        };
        let values = ModalityMap::from_fn(|m: Modality| {
            let templates = self.templates.get(m).as_ref()?;
            let time = self.spec.modalities.get(m).as_ref()?.length.frames(pace);
            let purpose = 8 + Modality::ALL.iter().position(|x| *x == m)? as u64;
            let mut rng = stream(self.spec.seed, purpose, index as u64);
            Some(templates.frames(*scene.shown.get(m), time, speaker as u64, &mut rng))
        });
        (utterance, values)
    }
}

#[cfg(test)]
mod tests;
