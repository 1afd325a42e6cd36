//! How often labels of the same utterance contradict each other.
//!
//! [Sun2023, section 3] measures, over N utterances with labels y_t, y_a, y_v and y_m:
//!
//! ```text
//! Incon(u1, u2)    = Σ_n [y_u1 ≠ y_u2] / N                                 every pair of columns
//! Incon(u, m; y)   = Σ_n [y_m = y and y_u ≠ y] / Σ_n [y_m = y]              each class y
//! ```
//!
//! Only utterances that have both labels count. Intervals are Wilson's at 95 %.

use super::MAX_CLASSES;
use crate::{Head, HeadMap, stats::wilson};
use serde::Serialize;
use std::collections::BTreeMap;

/// Rows of a contingency table.
const STRIDE: usize = MAX_CLASSES;

/// The pairs of columns, each in the order of [`Head::ALL`].
pub const PAIRS: [(Head, Head); 6] = [
    (Head::Text, Head::Audio),
    (Head::Text, Head::Vision),
    (Head::Text, Head::Multimodal),
    (Head::Audio, Head::Vision),
    (Head::Audio, Head::Multimodal),
    (Head::Vision, Head::Multimodal),
];

/// Inconsistency of two columns.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PairInconsistency {
    /// One column.
    pub a: Head,
    /// The other.
    pub b: Head,
    /// Share of the utterances whose labels differ; NaN (`null`) without utterances.
    pub value: f64,
    /// Its 95 % interval.
    pub ci: [f64; 2],
    /// Utterances that have both labels.
    pub n: u64,
}

/// Inconsistency of a modality with the multimodal label, in one class of the latter.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassInconsistency {
    /// The column compared with the multimodal one.
    pub modality: Head,
    /// The class of the multimodal label.
    pub class: String,
    /// Share of the class's utterances whose label differs in this modality.
    pub value: f64,
    /// Its 95 % interval.
    pub ci: [f64; 2],
    /// Utterances with this multimodal label that have a label in the modality.
    pub n: u64,
}

/// Both kinds, for columns that have labels.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Inconsistency {
    /// Every pair.
    pub pairs: Vec<PairInconsistency>,
    /// Every modality and class.
    pub per_class: Vec<ClassInconsistency>,
}

/// How often a class occurs in a column.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassShare {
    /// Name of the class.
    pub class: String,
    /// Utterances.
    pub count: u64,
    /// Share of the utterances that have a label in the column.
    pub share: f64,
    /// Its 95 % interval.
    pub ci: [f64; 2],
}

/// The labels of a column.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Distribution {
    /// Utterances that have a label here.
    pub n: u64,
    /// Utterances that have none.
    pub missing: u64,
    /// The classes in order.
    pub classes: Vec<ClassShare>,
}

/// Counts labels utterance by utterance; its size does not depend on how many there are.
#[derive(Debug, Clone)]
pub struct LabelTally {
    classes: Vec<String>,
    n: u64,
    conflicts: u64,
    columns: HeadMap<Vec<u64>>,
    /// One table `[class of a][class of b]` per entry of [`PAIRS`].
    pairs: Vec<Vec<u64>>,
}

impl LabelTally {
    /// A tally over these classes; more can be added. At most [`MAX_CLASSES`].
    pub fn new(classes: Vec<String>) -> Self {
        Self {
            classes,
            n: 0,
            conflicts: 0,
            columns: HeadMap::from_fn(|_| vec![0; STRIDE]),
            pairs: vec![vec![0; STRIDE * STRIDE]; PAIRS.len()],
        }
    }

    /// Names of the classes by index.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The index of a class, which is added when it is new; `None` when there are too many.
    pub fn class(&mut self, name: &str) -> Option<u32> {
        let found = self.classes.iter().position(|c| c == name);
        let index = found.unwrap_or(self.classes.len());
        if index >= MAX_CLASSES {
            return None;
        }
        if found.is_none() {
            self.classes.push(name.to_owned());
        }
        u32::try_from(index).ok()
    }

    /// Counts one utterance; whether its labels conflict.
    ///
    /// A label must be an index of a class.
    pub fn add(&mut self, labels: &HeadMap<Option<u32>>) -> bool {
        self.n += 1;
        let mut first = None;
        let mut conflict = false;
        for (head, label) in labels.iter() {
            let Some(label) = *label else { continue };
            debug_assert!((label as usize) < self.classes.len());
            self.columns.get_mut(head)[label as usize] += 1;
            conflict |= *first.get_or_insert(label) != label;
        }
        for (table, (a, b)) in self.pairs.iter_mut().zip(PAIRS) {
            if let (Some(a), Some(b)) = (*labels.get(a), *labels.get(b)) {
                table[a as usize * STRIDE + b as usize] += 1;
            }
        }
        self.conflicts += u64::from(conflict);
        conflict
    }

    /// Utterances counted.
    pub const fn n(&self) -> u64 {
        self.n
    }

    /// Utterances whose labels are not all the same.
    pub const fn conflicts(&self) -> u64 {
        self.conflicts
    }

    /// Whether the column has a label.
    pub fn has(&self, head: Head) -> bool {
        self.columns.get(head).iter().any(|n| *n > 0)
    }

    /// How often utterances have class `row` in column `a` and class `column` in `b`, over the
    /// classes in order; `None` where a column has no labels.
    pub fn table(&self, a: Head, b: Head) -> Option<Vec<Vec<u64>>> {
        if !self.has(a) || !self.has(b) {
            return None;
        }
        let n = self.classes.len();
        let at = |x, y| PAIRS.iter().position(|pair| *pair == (x, y));
        let cell: Box<dyn Fn(usize, usize) -> u64> = match (at(a, b), at(b, a)) {
            (Some(k), _) => Box::new(move |i, j| self.pairs[k][i * STRIDE + j]),
            (_, Some(k)) => Box::new(move |i, j| self.pairs[k][j * STRIDE + i]),
            _ => Box::new(move |i, j| if i == j { self.columns.get(a)[i] } else { 0 }),
        };
        Some(
            (0..n)
                .map(|i| (0..n).map(|j| cell(i, j)).collect())
                .collect(),
        )
    }

    /// The same counts with the classes in alphabetical order.
    pub fn sorted(self) -> Self {
        let mut order: Vec<usize> = (0..self.classes.len()).collect();
        order.sort_by(|a, b| self.classes[*a].cmp(&self.classes[*b]));
        let mut sorted = Self::new(order.iter().map(|k| self.classes[*k].clone()).collect());
        (sorted.n, sorted.conflicts) = (self.n, self.conflicts);
        for (new_a, old_a) in order.iter().enumerate() {
            for head in Head::ALL {
                sorted.columns.get_mut(head)[new_a] = self.columns.get(head)[*old_a];
            }
            for (new_b, old_b) in order.iter().enumerate() {
                for (new, old) in sorted.pairs.iter_mut().zip(&self.pairs) {
                    new[new_a * STRIDE + new_b] = old[old_a * STRIDE + old_b];
                }
            }
        }
        sorted
    }

    /// Both kinds of inconsistency, of the columns that have labels.
    pub fn inconsistency(&self) -> Inconsistency {
        let mut found = Inconsistency::default();
        for (a, b) in PAIRS {
            let Some(table) = self.table(a, b) else {
                continue;
            };
            let n: u64 = table.iter().flatten().sum();
            let same: u64 = (0..table.len()).map(|k| table[k][k]).sum();
            found.pairs.push(PairInconsistency {
                a,
                b,
                value: (n - same) as f64 / n as f64,
                ci: wilson(n - same, n),
                n,
            });
        }
        for modality in [Head::Text, Head::Audio, Head::Vision] {
            let Some(table) = self.table(Head::Multimodal, modality) else {
                continue;
            };
            for (k, class) in self.classes.iter().enumerate() {
                let n: u64 = table[k].iter().sum();
                let differ = n - table[k][k];
                found.per_class.push(ClassInconsistency {
                    modality,
                    class: class.clone(),
                    value: differ as f64 / n as f64,
                    ci: wilson(differ, n),
                    n,
                });
            }
        }
        found
    }

    /// How often each class occurs, per column that has labels.
    pub fn distributions(&self) -> BTreeMap<Head, Distribution> {
        let of = |head: Head| {
            let counts = self.columns.get(head);
            let n: u64 = counts.iter().sum();
            let share = |(class, &count): (&String, &u64)| ClassShare {
                class: class.clone(),
                count,
                share: count as f64 / n as f64,
                ci: wilson(count, n),
            };
            Distribution {
                n,
                missing: self.n - n,
                classes: self.classes.iter().zip(counts).map(share).collect(),
            }
        };
        let heads = Head::ALL.into_iter().filter(|head| self.has(*head));
        heads.map(|head| (head, of(head))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Head::{Audio, Multimodal, Text, Vision};

    fn row(text: &str) -> HeadMap<Option<u32>> {
        let at = |k: usize| text.chars().nth(k).and_then(|c| c.to_digit(10));
        HeadMap {
            text: at(0),
            audio: at(1),
            vision: at(2),
            multimodal: at(3),
        }
    }

    /// Columns t a v m; `-` is a missing label.
    const ROWS: [&str; 6] = ["0000", "0100", "1101", "11-1", "0-21", "2222"];

    fn tally() -> LabelTally {
        let mut tally = LabelTally::new(["x", "y", "z"].map(str::to_owned).to_vec());
        for text in ROWS {
            tally.add(&row(text));
        }
        tally
    }

    #[test]
    fn pairs_and_classes_by_hand() {
        let found = tally().inconsistency();
        let pair = |a, b| {
            let p = found.pairs.iter().find(|p| (p.a, p.b) == (a, b)).unwrap();
            (p.value, p.n)
        };
        assert_eq!(pair(Text, Audio), (1.0 / 5.0, 5)); // 01
        assert_eq!(pair(Text, Vision), (2.0 / 5.0, 5)); // 10, 02
        assert_eq!(pair(Text, Multimodal), (1.0 / 6.0, 6)); // 01
        assert_eq!(pair(Audio, Vision), (2.0 / 4.0, 4)); // 10, 10
        assert_eq!(pair(Audio, Multimodal), (1.0 / 5.0, 5)); // 10
        assert_eq!(pair(Vision, Multimodal), (2.0 / 5.0, 5)); // 01, 21
        let class = |modality, class: &str| {
            let c = found
                .per_class
                .iter()
                .find(|c| c.modality == modality && c.class == class);
            c.map(|c| (c.value, c.n)).unwrap()
        };
        assert_eq!(class(Text, "y"), (1.0 / 3.0, 3)); // m = y: 1101 11-1 0-21
        assert_eq!(class(Audio, "x"), (1.0 / 2.0, 2)); // m = x: 0000 0100
        assert_eq!(class(Vision, "y"), (1.0, 2));
        assert_eq!(class(Vision, "z"), (0.0, 1));
        assert_eq!(tally().conflicts(), 3);
    }

    #[test]
    fn distributions_count_what_is_missing() {
        let found = tally().distributions();
        let audio = &found[&Head::Audio];
        assert_eq!((audio.n, audio.missing), (5, 1));
        assert_eq!(
            audio.classes.iter().map(|c| c.count).collect::<Vec<_>>(),
            [1, 3, 1]
        );
        assert_eq!(audio.classes[1].share, 0.6);
    }

    #[test]
    fn a_column_without_labels_is_left_out_and_an_absent_class_has_no_value() {
        let mut tally = LabelTally::new(vec!["x".into(), "y".into()]);
        tally.add(&row("0--0"));
        let found = tally.inconsistency();
        assert_eq!(found.pairs.len(), 1);
        assert_eq!(found.per_class.len(), 2);
        assert!(found.per_class[1].value.is_nan() && found.per_class[1].ci[0].is_nan());
        assert_eq!(tally.distributions().len(), 2);
        assert!(LabelTally::new(Vec::new()).inconsistency().pairs.is_empty());
    }

    #[test]
    fn sorting_the_classes_changes_no_number() {
        let mut other = LabelTally::new(Vec::new());
        let names = ["x", "y", "z"];
        let order: Vec<u32> = ["z", "x", "y"]
            .iter()
            .map(|n| other.class(n).unwrap())
            .collect();
        assert_eq!(order, [0, 1, 2]);
        for text in ROWS {
            let labels = row(text).map(|_, l| l.map(|k| other.class(names[k as usize]).unwrap()));
            other.add(&labels);
        }
        let other = other.sorted();
        assert_eq!(other.classes(), ["x", "y", "z"]);
        assert_eq!(other.inconsistency(), tally().inconsistency());
        assert_eq!(other.distributions(), tally().distributions());
        assert_eq!(
            other.table(Head::Multimodal, Head::Vision),
            tally().table(Head::Multimodal, Head::Vision)
        );
    }

    #[test]
    fn too_many_classes_are_not_added() {
        let mut tally = LabelTally::new(Vec::new());
        for k in 0..MAX_CLASSES {
            assert!(tally.class(&k.to_string()).is_some());
        }
        assert_eq!(tally.class("one more"), None);
        assert_eq!(tally.class("3"), Some(3));
    }
}
