//! Conversation feature pickles of emotion recognition in conversation: IEMOCAP and MELD.
//!
//! A tuple (or list) whose members are dictionaries keyed by dialogue, then two collections of dialogues:
//!
//! | members | layout |
//! |---|---|
//! | 9 | ids, speakers, labels, text, audio, visual, sentences, train, test |
//! | 10 | the same and one more, which is ignored |
//! | 9, the sixth member holds texts | ids, speakers, labels, text, audio, sentences, train, test, three-class labels (ignored) |
//! | 12, 13 | ids, speakers, labels, four text features, audio, visual, sentences, train, test; the first text feature is read |
//!
//! Speakers are letters or names (IEMOCAP: `M`, `F`) or one-hot vectors (MELD). Letters mean the six
//! labels of IEMOCAP, one-hot vectors the seven of MELD.
//!
//! The order of dialogues is that of the lists `train` and `test`. Where these are sets, whose order says
//! nothing, dialogues are sorted. As in the reference loaders, the first tenth of the training dialogues,
//! rounded down, becomes the split `valid`.

use super::{
    ImportError, ImportOptions, ImportSummary, Importer, ImporterInfo, Refusal, SplitCounts,
    pickled::{Replaced, Source},
    settle_non_finite,
};
use crate::{
    LabelSpace, Modality, ModalityMap,
    corpus::{CorpusInfo, CorpusWriter, Frames, Split, Utterance},
    store::pickle::{Node, Value},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::Path,
};

/// Reads conversation feature pickles.
#[derive(Debug, Clone, Copy)]
pub struct Erc;

/// The label order of the IEMOCAP files.
const IEMOCAP: [&str; 6] = ["happy", "sad", "neutral", "angry", "excited", "frustrated"];
/// The label order of the MELD files.
const MELD: [&str; 7] = [
    "neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger",
];
/// Longest name in bytes.
const MAX_NAME: usize = 512;

impl Importer for Erc {
    fn info(&self) -> &ImporterInfo {
        &ImporterInfo {
            id: "erc",
            title: "conversation feature pickle (IEMOCAP, MELD)",
            citation: "Busso et al. 2008, IEMOCAP: interactive emotional dyadic motion capture database; Poria et al. 2019, MELD: A Multimodal Multi-Party Dataset for Emotion Recognition in Conversations, ACL",
            licence: "the terms of the data set apply: IEMOCAP is for research use, MELD is under GPL-3.0",
            source: "one pickle file, e.g. `IEMOCAP_features.pkl` or `MELD_features_raw1.pkl`",
        }
    }

    fn import(
        &self,
        options: &ImportOptions,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<ImportSummary, ImportError> {
        if let Some(n) = options.classes {
            return Err(ImportError::Option {
                option: "classes",
                value: n.to_string(),
                expected: "none, because the file has classes, not scores".to_owned(),
            });
        }
        let source = Source::open(options)?;
        let file = File::read(&source.path, source.root(), options)?;
        let classes = file.classes();
        let info = CorpusInfo {
            name: options.corpus_name(""),
            label_space: LabelSpace::of_classes(classes.iter().copied()),
            dtype: options.dtype.unwrap_or_default(),
            ..CorpusInfo::default()
        };
        let total: usize = file.dialogues.iter().map(|d| d.ids.len()).sum();
        let mut writer = CorpusWriter::create(&options.out, info)?;
        let mut replaced = Replaced::default();
        let mut splits = SplitCounts::default();
        let mut dims = ModalityMap::<Option<usize>>::default();
        for dialogue in &file.dialogues {
            let rows = dialogue.features(&file, &mut dims)?;
            for (turn, id) in dialogue.ids.iter().enumerate() {
                let utterance = dialogue.utterance(turn, id, &classes, &file)?;
                let frames = ModalityMap::try_from_fn(|modality| {
                    let Some(rows) = rows.get(modality) else {
                        return Ok::<_, ImportError>(None);
                    };
                    let mut values = rows[turn].clone();
                    replaced.add(settle(&mut values, modality, &utterance.id, &file)?);
                    Ok(Some(Frames {
                        dim: values.len(),
                        values: values.into(),
                    }))
                })?;
                splits.add(utterance.split);
                writer.push(utterance, frames)?;
                progress(writer.len() as u64, total as u64);
            }
        }
        let mut warnings = Vec::new();
        replaced.warn(&mut warnings);
        if file.unused > 0 {
            warnings.push(format!(
                "{} dialogues are neither in the train nor in the test list and were left out",
                file.unused
            ));
        }
        let silent = (file.dialogues.iter()).filter(|d| d.sentences.is_none());
        let silent = silent.count();
        if silent > 0 {
            warnings.push(format!(
                "{silent} dialogues have no sentences, or not one per utterance, and therefore no transcripts"
            ));
        }
        let utterances = writer.len();
        Ok(ImportSummary {
            path: writer.finish()?,
            utterances,
            splits,
            warnings,
        })
    }
}

/// What a dialogue or an utterance is called: integers sort as numbers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    Number(i64),
    Text(String),
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(n) => n.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

impl Name {
    fn read(node: Node<'_>) -> Result<Self, String> {
        if let Some(text) = node.as_utf8() {
            let fault = if text.is_empty() {
                "is empty"
            } else if text.len() > MAX_NAME {
                "has more than 512 bytes"
            } else if text.chars().any(char::is_control) {
                "has a control character"
            } else {
                return Ok(Self::Text(text.to_owned()));
            };
            return Err(format!("a name {fault}"));
        }
        match (node.value(), node.as_i64()) {
            (Value::Bytes(_), _) => Err("a name is not UTF-8".to_owned()),
            (_, Some(n)) => Ok(Self::Number(n)),
            _ => Err(format!(
                "expected a text or a whole number as a name, found {}",
                node.type_name()
            )),
        }
    }
}

/// A member of the tuple: one value per dialogue.
type Table<'a> = BTreeMap<Name, Node<'a>>;

/// Where things are in the tuple.
#[derive(Clone, Copy)]
struct Layout {
    audio: usize,
    visual: Option<usize>,
    sentences: usize,
    train: usize,
}

impl Layout {
    const IDS: usize = 0;
    const SPEAKERS: usize = 1;
    const LABELS: usize = 2;
    const TEXT: usize = 3;

    fn of(members: &[Node<'_>]) -> Option<Self> {
        let with_visual = |audio: usize| Self {
            audio,
            visual: Some(audio + 1),
            sentences: audio + 2,
            train: audio + 3,
        };
        match members.len() {
            9 if holds_texts(members[5]) => Some(Self {
                audio: 4,
                visual: None,
                sentences: 5,
                train: 6,
            }),
            9 | 10 => Some(with_visual(4)),
            12 | 13 => Some(with_visual(7)),
            _ => None,
        }
    }
}

/// Whether a dictionary's first value is a list of texts.
fn holds_texts(node: Node<'_>) -> bool {
    let first = node.entries().and_then(|mut entries| entries.next());
    let first = first.and_then(|(_, list)| list.items()?.next());
    first.is_some_and(|item| item.as_text().is_some())
}

/// The file as a whole.
struct File<'a> {
    path: &'a Path,
    options: &'a ImportOptions,
    dialogues: Vec<Dialogue<'a>>,
    one_hot: bool,
    unused: usize,
}

impl<'a> File<'a> {
    fn read(
        path: &'a Path,
        root: Node<'a>,
        options: &'a ImportOptions,
    ) -> Result<Self, ImportError> {
        let wanted = "expected a tuple of 9, 10, 12 or 13 members: ids, speakers, labels, text, audio, visual, sentences, train, test";
        let members: Vec<Node<'a>> = match root.value() {
            Value::Tuple(_) | Value::List(_) => root.items().into_iter().flatten().collect(),
            _ => {
                let found = format!("a value of type {}; {wanted}", root.type_name());
                return Err(Refusal::new(path, format!("the pickle holds {found}")).into());
            }
        };
        let Some(layout) = Layout::of(&members) else {
            let found = format!("{} members; {wanted}", members.len());
            return Err(Refusal::new(path, found).into());
        };
        let table = |at: usize, key: &str| table(path, members[at], key);
        let tables = Tables {
            ids: table(Layout::IDS, "ids")?,
            speakers: table(Layout::SPEAKERS, "speakers")?,
            labels: table(Layout::LABELS, "labels")?,
            sentences: table(layout.sentences, "sentences")?,
            features: ModalityMap {
                text: Some(table(Layout::TEXT, "text")?),
                audio: Some(table(layout.audio, "audio")?),
                vision: layout.visual.map(|at| table(at, "visual")).transpose()?,
            },
        };
        let mut train = names(path, members[layout.train], "train")?;
        let test = names(path, members[layout.train + 1], "test")?;
        let mut seen = BTreeSet::new();
        for (name, key) in train
            .iter()
            .map(|n| (n, "train"))
            .chain(test.iter().map(|n| (n, "test")))
        {
            if !seen.insert(name) {
                return Err(Refusal::new(path, "the dialogue is named twice")
                    .key(format!("{key}.{name}"))
                    .into());
            }
        }
        let unused = tables
            .ids
            .keys()
            .filter(|name| !seen.contains(name))
            .count();
        let rest = train.split_off(train.len() / 10);
        let parts = [
            (Split::Train, rest),
            (Split::Valid, train),
            (Split::Test, test),
        ];
        let mut dialogues = Vec::new();
        let mut count = 0;
        for (split, names) in parts {
            for name in names {
                let dialogue = tables.dialogue(path, split, name)?;
                count += dialogue.ids.len();
                if count > options.limits.max_utterances {
                    let most = options.limits.max_utterances;
                    return Err(Refusal::new(path, format!("more than {most} utterances")).into());
                }
                dialogues.push(dialogue);
            }
        }
        let one_hot = dialogues.iter().any(|d| {
            let first = d.speakers.items().and_then(|mut items| items.next());
            first.is_some_and(|speaker| speaker.as_text().is_none())
        });
        Ok(Self {
            path,
            options,
            dialogues,
            one_hot,
            unused,
        })
    }

    /// Names of the labels in their order.
    fn classes(&self) -> Vec<&'static str> {
        if self.one_hot {
            MELD.to_vec()
        } else {
            IEMOCAP.to_vec()
        }
    }
}

/// The dictionary at `node`.
fn table<'a>(path: &Path, node: Node<'a>, key: &str) -> Result<Table<'a>, ImportError> {
    let Some(entries) = node.entries() else {
        let found = node.type_name();
        return Err(Refusal::new(
            path,
            format!("expected a dictionary of dialogues, found {found}"),
        )
        .key(key)
        .into());
    };
    // Of equal keys the last one counts, as in Python.
    entries
        .map(|(name, value)| {
            let name = Name::read(name).map_err(|e| Refusal::new(path, e).key(key))?;
            Ok((name, value))
        })
        .collect()
}

/// The dialogues of a split.
fn names(path: &Path, node: Node<'_>, key: &str) -> Result<Vec<Name>, ImportError> {
    let refuse = |message: String| ImportError::from(Refusal::new(path, message).key(key));
    let mut names: Vec<Name> = if let Value::TextArray(_) = node.value() {
        let texts = node.texts().unwrap_or_default();
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).map(str::to_owned);
        texts
            .iter()
            .map(|t| text(t).map(Name::Text))
            .collect::<Result<_, _>>()
            .map_err(|_| refuse("a name is not UTF-8".to_owned()))?
    } else if let Some(array) = node.as_array() {
        let numbers = array.to_i64();
        let numbers = numbers.ok_or_else(|| refuse("expected whole numbers".to_owned()))?;
        numbers.into_iter().map(Name::Number).collect()
    } else {
        let items = node.items().ok_or_else(|| {
            refuse(format!(
                "expected a list or set of dialogues, found {}",
                node.type_name()
            ))
        })?;
        items
            .map(|item| Name::read(item).map_err(refuse))
            .collect::<Result<_, _>>()?
    };
    if names.is_empty() {
        return Err(refuse("the split has no dialogues".to_owned()));
    }
    if matches!(node.value(), Value::Set(_)) {
        names.sort();
    }
    Ok(names)
}

/// The members of the tuple, by dialogue.
struct Tables<'a> {
    ids: Table<'a>,
    speakers: Table<'a>,
    labels: Table<'a>,
    sentences: Table<'a>,
    features: ModalityMap<Option<Table<'a>>>,
}

impl<'a> Tables<'a> {
    fn dialogue(&self, path: &Path, split: Split, name: Name) -> Result<Dialogue<'a>, ImportError> {
        let find = |table: &Table<'a>, key: &str| {
            table.get(&name).copied().ok_or_else(|| {
                ImportError::from(
                    Refusal::new(path, "the dialogue is missing").key(format!("{key}.{name}")),
                )
            })
        };
        let refuse = |key: &str, message: String| {
            ImportError::from(Refusal::new(path, message).key(format!("{key}.{name}")))
        };
        let ids = find(&self.ids, "ids")?;
        let ids = ids
            .items()
            .ok_or_else(|| refuse("ids", format!("expected a list, found {}", ids.type_name())))?
            .map(|id| Name::read(id).map_err(|e| refuse("ids", e)))
            .collect::<Result<Vec<_>, _>>()?;
        if ids.is_empty() {
            return Err(refuse("ids", "the dialogue has no utterances".to_owned()));
        }
        let labels = find(&self.labels, "labels")?;
        let labels = labels.numbers().ok_or_else(|| {
            refuse(
                "labels",
                format!("expected numbers, found {}", labels.type_name()),
            )
        })?;
        let speakers = find(&self.speakers, "speakers")?;
        let counts = [
            ("labels", labels.len()),
            ("speakers", length(speakers).unwrap_or(0)),
        ];
        for (key, found) in counts {
            if found != ids.len() {
                return Err(refuse(
                    key,
                    format!("{found} values for {} utterances", ids.len()),
                ));
            }
        }
        let features = ModalityMap::try_from_fn(|modality| {
            let table = self.features.get(modality).as_ref();
            table.map(|t| find(t, feature_key(modality))).transpose()
        })?;
        Ok(Dialogue {
            split,
            labels,
            speakers,
            // Of a list of another length nobody knows which sentence belongs to which utterance.
            sentences: (self.sentences.get(&name).copied())
                .filter(|list| length(*list) == Some(ids.len())),
            ids,
            features,
            name,
        })
    }
}

const fn feature_key(modality: Modality) -> &'static str {
    match modality {
        Modality::Text => "text",
        Modality::Audio => "audio",
        Modality::Vision => "visual",
    }
}

/// How many members a list has, or rows an array.
fn length(node: Node<'_>) -> Option<usize> {
    match node.as_array() {
        Some(array) => array.shape().first().copied(),
        None => node.items().map(|items| items.len()),
    }
}

struct Dialogue<'a> {
    name: Name,
    split: Split,
    ids: Vec<Name>,
    labels: Vec<f64>,
    speakers: Node<'a>,
    sentences: Option<Node<'a>>,
    features: ModalityMap<Option<Node<'a>>>,
}

impl Dialogue<'_> {
    fn refuse(&self, file: &File<'_>, key: &str, message: impl Into<String>) -> Refusal {
        Refusal::new(file.path, message).key(format!("{key}.{}", self.name))
    }

    /// One row of features per utterance and modality, all as wide as those before.
    fn features(
        &self,
        file: &File<'_>,
        dims: &mut ModalityMap<Option<usize>>,
    ) -> Result<ModalityMap<Option<Vec<Vec<f32>>>>, ImportError> {
        ModalityMap::try_from_fn(|modality| {
            let Some(node) = *self.features.get(modality) else {
                return Ok(None);
            };
            let key = feature_key(modality);
            let rows = rows(node).map_err(|message| self.refuse(file, key, message))?;
            if rows.len() != self.ids.len() {
                let message = format!("{} rows for {} utterances", rows.len(), self.ids.len());
                return Err(self.refuse(file, key, message).into());
            }
            for row in &rows {
                let dim = *dims.get_mut(modality).get_or_insert(row.len());
                if row.len() != dim || dim == 0 || dim > file.options.limits.max_dim {
                    let message = format!(
                        "a row of {} values, expected {} as before, 1 to {}",
                        row.len(),
                        dim,
                        file.options.limits.max_dim
                    );
                    return Err(self.refuse(file, key, message).into());
                }
            }
            Ok(Some(rows))
        })
    }

    fn utterance(
        &self,
        turn: usize,
        id: &Name,
        classes: &[&str],
        file: &File<'_>,
    ) -> Result<Utterance, ImportError> {
        // Utterances that are numbered are numbered within their dialogue.
        let full = match id {
            Name::Number(n) => format!("{}_{n}", self.name),
            Name::Text(text) => text.clone(),
        };
        let label = self.labels[turn];
        if label.fract() != 0.0 || !(0.0..classes.len() as f64).contains(&label) {
            let message = format!("the label is {label}, expected 0 to {}", classes.len() - 1);
            return Err(self.refuse(file, "labels", message).id(full).into());
        }
        let speaker = self
            .speaker(turn, file.one_hot)
            .map_err(|message| self.refuse(file, "speakers", message).id(full.clone()))?;
        let transcript = self.sentences.and_then(|list| {
            let text = list.items()?.nth(turn)?.as_text()?;
            Some(text.into_owned())
        });
        let mut utterance = Utterance {
            id: full,
            split: Some(self.split),
            conversation: Some(self.name.to_string()),
            turn: Some(turn as i64),
            speaker: Some(speaker),
            transcript,
            ..Utterance::default()
        };
        utterance.labels.multimodal = Some(label as u32);
        Ok(utterance)
    }

    /// The speaker's name, or the place of the one in a one-hot vector.
    fn speaker(&self, turn: usize, one_hot: bool) -> Result<String, String> {
        let row = if let Some(array) = self.speakers.as_array() {
            array.index(turn).map(|row| row.to_f64())
        } else {
            let speaker = self.speakers.items().and_then(|mut items| items.nth(turn));
            let speaker = speaker.ok_or("the speaker is missing")?;
            match speaker.as_text() {
                Some(_) if one_hot => return Err("a name among one-hot vectors".to_owned()),
                Some(text) => return Ok(text.into_owned()),
                None => speaker.numbers(),
            }
        };
        let row = row.ok_or("expected a name or a one-hot vector")?;
        let hot: Vec<usize> = (0..row.len()).filter(|i| row[*i] == 1.0).collect();
        match hot[..] {
            [place] if row.iter().filter(|x| **x != 0.0).count() == 1 => Ok(place.to_string()),
            _ => Err(format!("{row:?} is not one-hot")),
        }
    }
}

/// The rows of an array `[utterance, feature]`, or of a list of vectors.
fn rows(node: Node<'_>) -> Result<Vec<Vec<f32>>, String> {
    if let Some(array) = node.as_array() {
        let &[n, _] = array.shape() else {
            return Err(format!(
                "shape {:?}, expected [utterance, feature]",
                array.shape()
            ));
        };
        return Ok((0..n)
            .filter_map(|i| array.index(i))
            .map(|row| row.to_f32())
            .collect());
    }
    let items = node
        .items()
        .ok_or_else(|| format!("expected vectors, found {}", node.type_name()))?;
    items
        .map(|row| match row.as_array() {
            Some(array) => Ok(array.to_f32()),
            None => row
                .numbers()
                .map(|row| row.into_iter().map(|x| x as f32).collect())
                .ok_or_else(|| format!("expected a vector, found {}", row.type_name())),
        })
        .collect()
}

/// Handles values that are not finite; `-inf` in audio is silence, as in the other pickles.
fn settle(
    values: &mut [f32],
    modality: Modality,
    id: &str,
    file: &File<'_>,
) -> Result<Replaced, ImportError> {
    let mut replaced = Replaced::default();
    if modality == Modality::Audio {
        for value in values.iter_mut().filter(|v| **v == f32::NEG_INFINITY) {
            *value = 0.0;
            replaced.silence += 1;
        }
    }
    let dim = values.len();
    let policy = file.options.non_finite;
    replaced.other = settle_non_finite(policy, values, dim, file.path, id, modality)?;
    Ok(replaced)
}
