//! One dialogue of a conversation pickle: its utterances, speakers, labels and features.

use super::{
    super::{ImportError, Refusal, pickled::Replaced, resolve_non_finite},
    File,
};
use crate::{
    Modality, ModalityMap,
    corpus::{Split, Utterance},
    store::pickle::{Node, Value},
};
use std::{collections::BTreeMap, fmt, path::Path};

/// Longest name in bytes.
const MAX_NAME: usize = 512;

/// What a dialogue or an utterance is called: integers sort as numbers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Name {
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
    pub(super) fn read(node: Node<'_>) -> Result<Self, String> {
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
pub(super) type Table<'a> = BTreeMap<Name, Node<'a>>;

/// The members of the tuple, by dialogue.
pub(super) struct Tables<'a> {
    pub(super) ids: Table<'a>,
    pub(super) speakers: Table<'a>,
    pub(super) labels: Table<'a>,
    pub(super) sentences: Table<'a>,
    pub(super) features: ModalityMap<Option<Table<'a>>>,
}

impl<'a> Tables<'a> {
    pub(super) fn dialogue(
        &self,
        path: &Path,
        split: Split,
        name: Name,
    ) -> Result<Dialogue<'a>, ImportError> {
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

/// A dialogue of one split.
pub(super) struct Dialogue<'a> {
    name: Name,
    split: Split,
    pub(super) ids: Vec<Name>,
    labels: Vec<f64>,
    pub(super) speakers: Node<'a>,
    pub(super) sentences: Option<Node<'a>>,
    features: ModalityMap<Option<Node<'a>>>,
}

impl Dialogue<'_> {
    fn refuse(&self, file: &File<'_>, key: &str, message: impl Into<String>) -> Refusal {
        Refusal::new(file.path, message).key(format!("{key}.{}", self.name))
    }

    /// One row of features per utterance and modality, all as wide as those before.
    pub(super) fn features(
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

    pub(super) fn utterance(
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
pub(super) fn resolve_values(
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
    replaced.other = resolve_non_finite(policy, values, dim, file.path, id, modality)?;
    Ok(replaced)
}
