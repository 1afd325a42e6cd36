//! What an utterance can be labelled with, and by whom it was seen.

use crate::modality::Modality;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A label column of a corpus, and the output of a model that is supervised by it.
///
/// With modality-wise annotation the annotators of `Text` read only the transcript, those of
/// `Audio` only heard, those of `Vision` only saw, and those of `Multimodal` had everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Head {
    /// Labelled from the transcript alone.
    Text,
    /// Labelled from the sound alone.
    Audio,
    /// Labelled from the silent video alone.
    Vision,
    /// Labelled from everything: the label of a corpus that has only one.
    Multimodal,
}

impl Head {
    /// All heads in the order text, audio, vision, multimodal.
    pub const ALL: [Self; 4] = [Self::Text, Self::Audio, Self::Vision, Self::Multimodal];

    /// The lower-case name, as in files and in configurations.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Audio => "audio",
            Self::Vision => "vision",
            Self::Multimodal => "multimodal",
        }
    }

    /// The modality that this head reads alone; `None` for the multimodal head.
    pub const fn modality(self) -> Option<Modality> {
        match self {
            Self::Text => Some(Modality::Text),
            Self::Audio => Some(Modality::Audio),
            Self::Vision => Some(Modality::Vision),
            Self::Multimodal => None,
        }
    }
}

impl From<Modality> for Head {
    fn from(modality: Modality) -> Self {
        match modality {
            Modality::Text => Self::Text,
            Modality::Audio => Self::Audio,
            Modality::Vision => Self::Vision,
        }
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A name that is no head.
#[derive(Debug, Clone, thiserror::Error)]
#[error("`{0}` is not a head; expected `text`, `audio`, `vision` or `multimodal`")]
pub struct UnknownHead(pub String);

impl FromStr for Head {
    type Err = UnknownHead;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|h| h.as_str() == s)
            .ok_or_else(|| UnknownHead(s.to_owned()))
    }
}

/// One value per head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadMap<T> {
    /// The value of [`Head::Text`].
    pub text: T,
    /// The value of [`Head::Audio`].
    pub audio: T,
    /// The value of [`Head::Vision`].
    pub vision: T,
    /// The value of [`Head::Multimodal`].
    pub multimodal: T,
}

impl<T> HeadMap<T> {
    /// Builds the map by asking for each head's value.
    pub fn from_fn(mut f: impl FnMut(Head) -> T) -> Self {
        Self {
            text: f(Head::Text),
            audio: f(Head::Audio),
            vision: f(Head::Vision),
            multimodal: f(Head::Multimodal),
        }
    }

    /// The value of one head.
    pub const fn get(&self, head: Head) -> &T {
        match head {
            Head::Text => &self.text,
            Head::Audio => &self.audio,
            Head::Vision => &self.vision,
            Head::Multimodal => &self.multimodal,
        }
    }

    /// The value of one head, to change it.
    pub const fn get_mut(&mut self, head: Head) -> &mut T {
        match head {
            Head::Text => &mut self.text,
            Head::Audio => &mut self.audio,
            Head::Vision => &mut self.vision,
            Head::Multimodal => &mut self.multimodal,
        }
    }

    /// Heads with their values, in the order text, audio, vision, multimodal.
    pub fn iter(&self) -> impl Iterator<Item = (Head, &T)> {
        Head::ALL.into_iter().map(|h| (h, self.get(h)))
    }

    /// A map of the transformed values.
    pub fn map<U>(self, mut f: impl FnMut(Head, T) -> U) -> HeadMap<U> {
        HeadMap {
            text: f(Head::Text, self.text),
            audio: f(Head::Audio, self.audio),
            vision: f(Head::Vision, self.vision),
            multimodal: f(Head::Multimodal, self.multimodal),
        }
    }
}

/// What the labels of a corpus mean. A corpus has at least one of the three kinds; several may be
/// filled side by side (CMU-MOSI has a score and a class derived from it).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LabelSpace {
    /// Names of the mutually exclusive classes by index; empty when there are none.
    pub classes: Vec<String>,
    /// Lowest and highest score; absent when the corpus has no scores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<[f32; 2]>,
    /// Names of independent yes/no labels by index; empty when there are none.
    pub binary: Vec<String>,
}
