//! The three channels through which an utterance is observed.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// One channel of observation. `Vision` is the feature stream; `video` is only used for raw files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Modality {
    /// Words: token or sentence vectors.
    Text,
    /// Sound: one vector per analysis frame.
    Audio,
    /// Face or body: one vector per video frame.
    Vision,
}

impl Modality {
    /// All modalities in the order used throughout: text, audio, vision.
    pub const ALL: [Self; 3] = [Self::Text, Self::Audio, Self::Vision];

    /// The lower-case name, as in files and in configurations.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Audio => "audio",
            Self::Vision => "vision",
        }
    }
}

impl fmt::Display for Modality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A name that is no modality.
#[derive(Debug, Clone, thiserror::Error)]
#[error("`{0}` is not a modality; expected `text`, `audio` or `vision`")]
pub struct UnknownModality(pub String);

impl FromStr for Modality {
    type Err = UnknownModality;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s {
            "text" | "t" => Ok(Self::Text),
            "audio" | "a" => Ok(Self::Audio),
            "vision" | "v" => Ok(Self::Vision),
            other => Err(UnknownModality(other.to_owned())),
        }
    }
}

/// One value per modality; nothing is ever selected by position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModalityMap<T> {
    /// The value of [`Modality::Text`].
    pub text: T,
    /// The value of [`Modality::Audio`].
    pub audio: T,
    /// The value of [`Modality::Vision`].
    pub vision: T,
}

impl<T> ModalityMap<T> {
    /// Builds the map by asking for each modality's value.
    pub fn from_fn(mut f: impl FnMut(Modality) -> T) -> Self {
        Self {
            text: f(Modality::Text),
            audio: f(Modality::Audio),
            vision: f(Modality::Vision),
        }
    }

    /// Like [`Self::from_fn`] where a value can fail to be made.
    pub fn try_from_fn<E>(mut f: impl FnMut(Modality) -> Result<T, E>) -> Result<Self, E> {
        Ok(Self {
            text: f(Modality::Text)?,
            audio: f(Modality::Audio)?,
            vision: f(Modality::Vision)?,
        })
    }

    /// The value of one modality.
    pub const fn get(&self, modality: Modality) -> &T {
        match modality {
            Modality::Text => &self.text,
            Modality::Audio => &self.audio,
            Modality::Vision => &self.vision,
        }
    }

    /// The value of one modality, to change it.
    pub const fn get_mut(&mut self, modality: Modality) -> &mut T {
        match modality {
            Modality::Text => &mut self.text,
            Modality::Audio => &mut self.audio,
            Modality::Vision => &mut self.vision,
        }
    }

    /// Modalities with their values, in the order text, audio, vision.
    pub fn iter(&self) -> impl Iterator<Item = (Modality, &T)> {
        Modality::ALL.into_iter().map(|m| (m, self.get(m)))
    }

    /// A map of the transformed values.
    pub fn map<U>(self, mut f: impl FnMut(Modality, T) -> U) -> ModalityMap<U> {
        ModalityMap {
            text: f(Modality::Text, self.text),
            audio: f(Modality::Audio, self.audio),
            vision: f(Modality::Vision, self.vision),
        }
    }
}

/// A set of modalities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "Vec<Modality>", into = "Vec<Modality>")]
pub struct ModalitySet(ModalityMap<bool>);

impl ModalitySet {
    /// Text, audio and vision.
    pub const ALL: Self = Self(ModalityMap {
        text: true,
        audio: true,
        vision: true,
    });

    /// Whether the modality is in the set.
    pub const fn contains(self, modality: Modality) -> bool {
        *self.0.get(modality)
    }

    /// The members in the order text, audio, vision.
    pub fn iter(self) -> impl Iterator<Item = Modality> {
        Modality::ALL.into_iter().filter(move |m| self.contains(*m))
    }

    /// How many modalities the set holds.
    pub fn len(self) -> usize {
        self.iter().count()
    }

    /// Whether the set holds none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

impl FromIterator<Modality> for ModalitySet {
    fn from_iter<I: IntoIterator<Item = Modality>>(iter: I) -> Self {
        let mut set = Self::default();
        for modality in iter {
            *set.0.get_mut(modality) = true;
        }
        set
    }
}

impl From<Vec<Modality>> for ModalitySet {
    fn from(list: Vec<Modality>) -> Self {
        list.into_iter().collect()
    }
}

impl From<ModalitySet> for Vec<Modality> {
    fn from(set: ModalitySet) -> Self {
        set.iter().collect()
    }
}

impl fmt::Display for ModalitySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.iter().map(Modality::as_str).collect();
        f.pad(&names.join("+"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_forgets_order_and_repetition() {
        let set: ModalitySet = [Modality::Vision, Modality::Text, Modality::Vision]
            .into_iter()
            .collect();
        assert_eq!(set.to_string(), "text+vision");
        assert_eq!(set.len(), 2);
    }
}
