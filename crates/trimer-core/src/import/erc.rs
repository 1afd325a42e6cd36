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

mod dialogue;

use super::{
    ImportError, ImportOptions, ImportSummary, Importer, ImporterInfo, Refusal, SplitCounts,
    pickled::{Replaced, Source},
};
use crate::{
    LabelSpace, ModalityMap,
    corpus::{CorpusInfo, CorpusWriter, Frames, Split},
    store::pickle::{Node, Value},
};
use dialogue::{Dialogue, Name, Table, Tables, resolve_values};
use std::{collections::BTreeSet, path::Path};

/// Reads conversation feature pickles.
#[derive(Debug, Clone, Copy)]
pub struct Erc;

/// The label order of the IEMOCAP files.
const IEMOCAP: [&str; 6] = ["happy", "sad", "neutral", "angry", "excited", "frustrated"];
/// The label order of the MELD files.
const MELD: [&str; 7] = [
    "neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger",
];
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
                    replaced.add(resolve_values(&mut values, modality, &utterance.id, &file)?);
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
        let without_text = (file.dialogues.iter()).filter(|d| d.sentences.is_none());
        let without_text = without_text.count();
        if without_text > 0 {
            warnings.push(format!(
                "{without_text} dialogues have no sentences, or not one per utterance, and therefore no transcripts"
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
