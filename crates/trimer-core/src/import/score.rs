//! Sentiment scores divided into classes.

use super::ImportError;
use crate::{HeadMap, corpus::Utterance, metrics::lfmim::SIMS_CLASSES};

/// How scores become 5, 3 or 2 classes, lowest first.
///
/// On the scale [-1, 1] of CH-SIMS the edges are those of the MMSA metrics, lower edge exclusive:
/// -0.7, -0.1, 0.1, 0.7 for five classes, -0.1, 0.1 for three and 0 for two, so neutral counts as
/// negative there. On the grid of CH-SIMS (multiples of 0.2) five classes agree with the mapping of
/// the LFMIM experiment, and the edges also place whatever lies between.
///
/// On the scale [-3, 3] of CMU-MOSI the score is clipped to [-2, 2] or [-1, 1] and rounded half to
/// even for five and three classes; two classes are negative and the rest, 0 included.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScoreClasses {
    scale: Scale,
    n_classes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Scale {
    Sims,
    Mosi,
}

impl ScoreClasses {
    /// The division of a score range into so many classes.
    ///
    /// # Errors
    /// [`ImportError::Option`] for other numbers than 5, 3 and 2, and for other ranges than [-1, 1]
    /// and [-3, 3], on which no division is agreed.
    pub fn new(range: [f32; 2], n_classes: usize) -> Result<Self, ImportError> {
        if ![2, 3, 5].contains(&n_classes) {
            return Err(ImportError::Option {
                option: "classes",
                value: n_classes.to_string(),
                expected: "5, 3 or 2".to_owned(),
            });
        }
        let scale = match range {
            [-1.0, 1.0] => Scale::Sims,
            [-3.0, 3.0] => Scale::Mosi,
            [low, high] => {
                return Err(ImportError::Option {
                    option: "classes",
                    value: n_classes.to_string(),
                    expected: format!(
                        "none, because no division of scores from {low} to {high} is agreed"
                    ),
                });
            }
        };
        Ok(Self { scale, n_classes })
    }

    /// Names of the classes by index.
    pub fn names(&self) -> Vec<String> {
        let names: &[&str] = match (self.n_classes, self.scale) {
            (5, _) => &SIMS_CLASSES,
            (3, _) => &["negative", "neutral", "positive"],
            (_, Scale::Sims) => &["non-positive", "positive"],
            (_, Scale::Mosi) => &["negative", "non-negative"],
        };
        names.iter().map(|s| (*s).to_owned()).collect()
    }

    /// The class of a score; NaN falls into the lowest class, and no importer lets it come so far.
    pub fn class_of(&self, score: f32) -> u32 {
        let above = |edges: &[f32]| edges.iter().filter(|edge| score > **edge).count() as u32;
        match (self.scale, self.n_classes) {
            (Scale::Sims, 5) => above(&[-0.7, -0.1, 0.1, 0.7]),
            (Scale::Sims, 3) => above(&[-0.1, 0.1]),
            (Scale::Sims, _) => above(&[0.0]),
            (Scale::Mosi, 5) => (score.clamp(-2.0, 2.0).round_ties_even() + 2.0) as u32,
            (Scale::Mosi, 3) => (score.clamp(-1.0, 1.0).round_ties_even() + 1.0) as u32,
            (Scale::Mosi, _) => u32::from(score >= 0.0),
        }
    }

    /// Sets the class of every label column that has a score.
    pub fn label(&self, utterance: &mut Utterance) {
        utterance.labels =
            HeadMap::from_fn(|head| utterance.scores.get(head).map(|score| self.class_of(score)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_classes_of_sims_agree_with_the_lfmim_mapping_on_its_grid() {
        let classes = ScoreClasses::new([-1.0, 1.0], 5).unwrap();
        // s > 0.6: 4; 0.2 to 0.6: 3; 0: 2; -0.6 to -0.2: 1; below: 0, for s = -1, -0.8, ... 1.
        let expected = [0, 0, 1, 1, 1, 2, 3, 3, 3, 4, 4];
        for (step, class) in expected.into_iter().enumerate() {
            let score = (step as f32 - 5.0) * 0.2;
            assert_eq!(classes.class_of(score), class, "{score}");
        }
    }

    #[test]
    fn mosi_scores_round_half_to_even_after_clipping() {
        let five = ScoreClasses::new([-3.0, 3.0], 5).unwrap();
        for (score, class) in [
            (-3.0, 0),
            (-1.5, 0),
            (-0.5, 2),
            (0.5, 2),
            (1.5, 4),
            (2.5, 4),
        ] {
            assert_eq!(five.class_of(score), class, "{score}");
        }
        let two = ScoreClasses::new([-3.0, 3.0], 2).unwrap();
        assert_eq!((two.class_of(0.0), two.class_of(-0.2)), (1, 0));
    }

    #[test]
    fn other_numbers_and_ranges_are_refused() {
        assert!(ScoreClasses::new([-1.0, 1.0], 4).is_err());
        assert!(ScoreClasses::new([0.0, 1.0], 3).is_err());
    }
}
