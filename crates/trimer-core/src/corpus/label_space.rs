//! Questions that readers and writers ask a label space.

use super::CorpusError;
use crate::{Head, HeadMap, LabelSpace, error::nearest};
use std::collections::BTreeSet;

/// Names of a label column in files: `label_text`, ..., and plain `label` for the multimodal one.
pub const fn label_column(head: Head) -> &'static str {
    match head {
        Head::Text => "label_text",
        Head::Audio => "label_audio",
        Head::Vision => "label_vision",
        Head::Multimodal => "label",
    }
}

/// Names of a score column in files: `score_text`, ..., and plain `score` for the multimodal one.
pub const fn score_column(head: Head) -> &'static str {
    match head {
        Head::Text => "score_text",
        Head::Audio => "score_audio",
        Head::Vision => "score_vision",
        Head::Multimodal => "score",
    }
}

impl LabelSpace {
    /// A space of mutually exclusive classes, in index order.
    pub fn of_classes<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        Self {
            classes: names.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }

    /// The index of a class.
    pub fn class_index(&self, name: &str) -> Option<u32> {
        let index = self.classes.iter().position(|class| class == name)?;
        u32::try_from(index).ok()
    }

    /// The name of a class.
    pub fn class_name(&self, index: u32) -> Option<&str> {
        self.classes.get(index as usize).map(String::as_str)
    }

    /// The class whose name is most like `name`, when one is like it.
    pub fn nearest_class(&self, name: &str) -> Option<&str> {
        nearest(name, self.classes.iter().map(String::as_str))
    }

    /// Whether there is neither a class nor a score nor a yes/no label.
    pub fn is_empty(&self) -> bool {
        self.classes.is_empty() && self.score.is_none() && self.binary.is_empty()
    }

    /// # Errors
    /// [`CorpusError::LabelSpace`] when names are empty or repeated, or the score range is not an
    /// interval.
    pub fn validate(&self) -> Result<(), CorpusError> {
        let fail = |message: String| Err(CorpusError::LabelSpace { message });
        for (kind, names) in [("class", &self.classes), ("yes/no label", &self.binary)] {
            let mut seen = BTreeSet::new();
            for name in names {
                if name.trim().is_empty() {
                    return fail(format!("a {kind} has an empty name"));
                }
                if !seen.insert(name) {
                    return fail(format!("the {kind} `{name}` occurs twice"));
                }
            }
        }
        match self.score {
            Some([low, high]) if !(low < high && low.is_finite() && high.is_finite()) => fail(
                format!("the score range [{low}, {high}] is no interval of finite numbers"),
            ),
            _ => Ok(()),
        }
    }

    pub(crate) fn check_labels(
        &self,
        id: &str,
        labels: &HeadMap<Option<u32>>,
        scores: &HeadMap<Option<f32>>,
        binary: &[bool],
    ) -> Result<(), CorpusError> {
        for (head, label) in labels.iter() {
            if let Some(value) = *label
                && self.class_name(value).is_none()
            {
                return Err(CorpusError::LabelRange {
                    id: id.to_owned(),
                    column: label_column(head).to_owned(),
                    value,
                    expected: match self.classes.len() {
                        0 => "no label, because the corpus declares no classes".to_owned(),
                        n => format!("0 to {}", n - 1),
                    },
                });
            }
        }
        for (head, score) in scores.iter() {
            let Some(value) = *score else { continue };
            let fits = self
                .score
                .is_some_and(|[low, high]| (low..=high).contains(&value));
            if !fits {
                return Err(CorpusError::ScoreRange {
                    id: id.to_owned(),
                    column: score_column(head).to_owned(),
                    value,
                    expected: match self.score {
                        None => "no score, because the corpus declares none".to_owned(),
                        Some([low, high]) => format!("{low} to {high}"),
                    },
                });
            }
        }
        if !binary.is_empty() && binary.len() != self.binary.len() {
            return Err(CorpusError::BinaryCount {
                id: id.to_owned(),
                found: binary.len(),
                expected: self.binary.len(),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_space_with_a_repeated_or_empty_name_is_refused() {
        assert!(LabelSpace::of_classes(["a", "b"]).validate().is_ok());
        assert!(LabelSpace::of_classes(["a", "a"]).validate().is_err());
        assert!(LabelSpace::of_classes(["a", " "]).validate().is_err());
    }

    #[test]
    fn a_score_range_must_be_an_interval() {
        for range in [
            [1.0, -1.0],
            [0.0, 0.0],
            [f32::NAN, 1.0],
            [0.0, f32::INFINITY],
        ] {
            let space = LabelSpace {
                score: Some(range),
                ..LabelSpace::default()
            };
            assert!(space.validate().is_err(), "{range:?}");
        }
    }

    #[test]
    fn names_and_indices_are_inverse() {
        let space = LabelSpace::of_classes(["anger", "joy"]);
        assert_eq!(space.class_index("joy"), Some(1));
        assert_eq!(space.class_name(1), Some("joy"));
        assert_eq!(space.class_name(2), None);
        assert_eq!(space.nearest_class("angre"), Some("anger"));
    }
}
