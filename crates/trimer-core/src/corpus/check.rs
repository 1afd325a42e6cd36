//! The doctor: finds what would spoil an experiment before it is run.
//!
//! A *problem* makes results wrong or training impossible; a *warning* is a fact about the data that
//! its user should know. Problems are: damaged files, values that are not finite, empty or overlong
//! sequences, a speaker or conversation in two splits, a class that is evaluated but never trained,
//! missing splits, utterances without any feature, and splits without labels.

use super::{
    ClassCount, Corpus, CorpusError, Quantiles, Split, Utterance, label_column, score_column,
};
use crate::{Head, Hint, Modality};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// How many utterances a finding names.
const EXAMPLES: usize = 10;

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckOptions {
    /// A sequence of more frames is a problem.
    pub max_frames: usize,
    /// Whether every file is read and compared with its checksum.
    pub checksums: bool,
    /// Whether every value is read.
    pub values: bool,
}

impl Default for CheckOptions {
    fn default() -> Self {
        Self {
            max_frames: 10_000,
            checksums: true,
            values: true,
        }
    }
}

/// The kind of a finding, stable for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FindingKind {
    /// A file is missing, damaged or not what `corpus.toml` says.
    Damaged,
    /// A file differs from its checksum.
    Checksum,
    /// A value is NaN or infinite.
    NonFinite,
    /// A sequence has no frame.
    EmptySequence,
    /// A sequence has more frames than allowed.
    LongSequence,
    /// A modality that others have is absent.
    MissingModality,
    /// An utterance has no modality at all.
    NoFeatures,
    /// All values of a modality of an utterance are the same.
    ConstantFeatures,
    /// A speaker occurs in two splits.
    SharedSpeaker,
    /// A conversation occurs in two splits.
    SharedConversation,
    /// Utterances without a split.
    NoSplit,
    /// A split has no utterance.
    EmptySplit,
    /// A class is in valid or test but not in train.
    UntrainedClass,
    /// A class is in train but not in valid or test.
    UnevaluatedClass,
    /// A class that no utterance has.
    UnusedClass,
    /// No utterance has a label.
    NoLabels,
    /// Some utterances lack a label in a column that others have.
    MissingLabel,
    /// A score is not finite or lies outside the declared range.
    ScoreRange,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What kind of thing.
    pub kind: FindingKind,
    /// A sentence for people, lower case, without a final period.
    pub message: String,
    /// How many cases.
    pub count: u64,
    /// The first utterances concerned, at most ten.
    pub examples: Vec<String>,
    /// What can be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// How often two label columns differ.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Disagreement {
    /// One column.
    pub a: Head,
    /// The other.
    pub b: Head,
    /// Utterances that have both labels.
    pub count: usize,
    /// The share of them in which the labels differ.
    pub rate: f64,
}

/// The result of [`check`].
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct CheckReport {
    /// Number of utterances looked at.
    pub utterances: usize,
    /// What must be mended.
    pub problems: Vec<Finding>,
    /// What should be known.
    pub warnings: Vec<Finding>,
    /// Per label column and class the utterances per split.
    pub classes: BTreeMap<Head, Vec<ClassCount>>,
    /// Pairs of label columns, for columns that have labels.
    pub disagreement: Vec<Disagreement>,
    /// Frames per utterance and modality.
    pub lengths: BTreeMap<Modality, Quantiles<usize>>,
}

impl CheckReport {
    /// Whether no problem was found; warnings do not count.
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }

    fn problem(&mut self, kind: FindingKind, message: impl Into<String>) -> &mut Finding {
        push(&mut self.problems, kind, message.into())
    }

    fn warning(&mut self, kind: FindingKind, message: impl Into<String>) -> &mut Finding {
        push(&mut self.warnings, kind, message.into())
    }
}

fn push(list: &mut Vec<Finding>, kind: FindingKind, message: String) -> &mut Finding {
    list.push(Finding {
        kind,
        message,
        count: 1,
        examples: Vec::new(),
        hint: None,
    });
    let last = list.len() - 1;
    &mut list[last]
}

impl Finding {
    fn about<'a>(&mut self, ids: impl IntoIterator<Item = &'a str>) -> &mut Self {
        self.count = 0;
        for id in ids {
            self.count += 1;
            if self.examples.len() < EXAMPLES {
                self.examples.push(id.to_owned());
            }
        }
        self
    }

    fn with_hint(&mut self, hint: impl Into<String>) {
        self.hint = Some(hint.into());
    }
}

/// Examines the corpus in a directory, also one that is too damaged to be opened.
///
/// # Errors
/// [`CorpusError::NotFound`] and [`CorpusError::NotACorpus`] when there is nothing to examine;
/// [`CorpusError::Io`] when the system refuses to read.
pub fn check_dir(path: &Path, options: &CheckOptions) -> Result<CheckReport, CorpusError> {
    match Corpus::open(path) {
        Ok(corpus) => Ok(check(&corpus, options)),
        Err(error @ (CorpusError::NotFound { .. } | CorpusError::NotACorpus { .. })) => Err(error),
        Err(error) => {
            let mut report = CheckReport::default();
            report_error(&mut report, &error);
            Ok(report)
        }
    }
}

fn report_error(report: &mut CheckReport, error: &CorpusError) {
    let kind = match error {
        CorpusError::Checksum { .. } => FindingKind::Checksum,
        _ => FindingKind::Damaged,
    };
    let mut message = error.to_string();
    if let Some(cause) = std::error::Error::source(error) {
        message = format!("{message}: {cause}");
    }
    report.problem(kind, message).hint = error.hint();
}

/// Examines an opened corpus.
pub fn check(corpus: &Corpus, options: &CheckOptions) -> CheckReport {
    let mut report = CheckReport {
        utterances: corpus.len(),
        classes: corpus.class_counts(),
        disagreement: disagreement(corpus.utterances()),
        lengths: corpus
            .stats()
            .modalities
            .into_iter()
            .map(|(m, stats)| (m, stats.lengths))
            .collect(),
        ..CheckReport::default()
    };
    if options.checksums {
        match corpus.verify() {
            Ok(different) => different.iter().for_each(|e| report_error(&mut report, e)),
            Err(error) => report_error(&mut report, &error),
        }
    }
    check_splits(corpus, &mut report);
    for (what, kind, of) in [
        (
            "speaker",
            FindingKind::SharedSpeaker,
            (|u| u.speaker.as_deref()) as fn(&Utterance) -> Option<&str>,
        ),
        ("conversation", FindingKind::SharedConversation, |u| {
            u.conversation.as_deref()
        }),
    ] {
        check_shared(corpus, what, kind, of, &mut report);
    }
    check_labels(corpus, &mut report);
    check_sequences(corpus, options, &mut report);
    report
}

fn check_splits(corpus: &Corpus, report: &mut CheckReport) {
    let without = corpus.utterances().iter().filter(|u| u.split.is_none());
    let without: Vec<_> = without.map(|u| u.id.as_str()).collect();
    let hint = "give every utterance one of `train`, `valid` and `test` and import again";
    if without.len() == corpus.len() {
        report
            .problem(FindingKind::NoSplit, "no utterance has a split")
            .about(without.iter().copied())
            .with_hint(hint);
        return;
    }
    if !without.is_empty() {
        let message = format!("{} utterances have no split", without.len());
        report
            .warning(FindingKind::NoSplit, message)
            .about(without.iter().copied())
            .with_hint(hint);
    }
    for split in Split::ALL {
        if corpus.indices(split).is_empty() {
            report
                .problem(
                    FindingKind::EmptySplit,
                    format!("the split `{split}` is empty"),
                )
                .with_hint(hint);
        }
    }
}

fn check_shared(
    corpus: &Corpus,
    what: &str,
    kind: FindingKind,
    of: fn(&Utterance) -> Option<&str>,
    report: &mut CheckReport,
) {
    let mut splits: BTreeMap<&str, BTreeSet<Split>> = BTreeMap::new();
    for utterance in corpus.utterances() {
        if let (Some(name), Some(split)) = (of(utterance), utterance.split) {
            splits.entry(name).or_default().insert(split);
        }
    }
    let shared: Vec<&str> = splits
        .iter()
        .filter(|(_, s)| s.len() > 1)
        .map(|(name, _)| *name)
        .collect();
    if !shared.is_empty() {
        let message = format!(
            "{} of {} {what}s are in more than one split, so evaluation is not on new {what}s",
            shared.len(),
            splits.len()
        );
        report
            .problem(kind, message)
            .about(shared.iter().copied())
            .with_hint(format!("divide by {what} instead of by utterance"));
    }
}

fn check_labels(corpus: &Corpus, report: &mut CheckReport) {
    let space = &corpus.info().label_space;
    let any_label = |u: &Utterance| {
        u.labels.iter().any(|(_, l)| l.is_some())
            || u.scores.iter().any(|(_, s)| s.is_some())
            || !u.binary.is_empty()
    };
    if !corpus.utterances().iter().any(any_label) {
        report.problem(FindingKind::NoLabels, "no utterance has a label or a score");
        return;
    }
    for split in Split::ALL {
        let indices = corpus.indices(split);
        if !indices.is_empty() && !indices.iter().any(|i| any_label(&corpus.utterances()[*i])) {
            let message = format!("no utterance of the split `{split}` has a label or a score");
            report.problem(FindingKind::NoLabels, message);
        }
    }
    for head in Head::ALL {
        for (column, has) in [
            (
                label_column(head),
                (|u, h| u.labels.get(h).is_some()) as fn(&Utterance, Head) -> bool,
            ),
            (score_column(head), |u, h| u.scores.get(h).is_some()),
        ] {
            let missing: Vec<_> = corpus
                .utterances()
                .iter()
                .filter(|u| !has(u, head))
                .map(|u| u.id.as_str())
                .collect();
            if !missing.is_empty() && missing.len() < corpus.len() {
                let message = format!("{} utterances have no `{column}`", missing.len());
                report
                    .warning(FindingKind::MissingLabel, message)
                    .about(missing);
            }
        }
        check_scores(corpus, head, space.score, report);
    }
    let classes = report.classes.clone();
    for (head, counts) in &classes {
        check_classes(*head, counts, report);
    }
}

fn check_scores(corpus: &Corpus, head: Head, range: Option<[f32; 2]>, report: &mut CheckReport) {
    let outside = |u: &&Utterance| {
        u.scores.get(head).is_some_and(|s| {
            !s.is_finite() || range.is_none_or(|[low, high]| !(low..=high).contains(&s))
        })
    };
    let ids: Vec<_> = corpus
        .utterances()
        .iter()
        .filter(outside)
        .map(|u| u.id.as_str())
        .collect();
    if !ids.is_empty() {
        let message = format!(
            "{} values of `{}` lie outside the declared range",
            ids.len(),
            score_column(head)
        );
        report.problem(FindingKind::ScoreRange, message).about(ids);
    }
}

fn check_classes(head: Head, counts: &[ClassCount], report: &mut CheckReport) {
    let column = label_column(head);
    let total = |f: fn(&ClassCount) -> usize| counts.iter().map(f).sum::<usize>();
    let trained = total(|c| c.splits.train) > 0;
    for count in counts {
        let class = &count.class;
        let s = &count.splits;
        if s.train + s.valid + s.test + s.unassigned == 0 {
            let message = format!("no utterance has the class `{class}` in `{column}`");
            report.warning(FindingKind::UnusedClass, message);
            continue;
        }
        for (split, here, all) in [
            (Split::Valid, s.valid, total(|c| c.splits.valid)),
            (Split::Test, s.test, total(|c| c.splits.test)),
        ] {
            if s.train == 0 && here > 0 && trained {
                let message = format!(
                    "{here} utterances of `{split}` have the class `{class}` in `{column}`, which `train` lacks"
                );
                report.problem(FindingKind::UntrainedClass, message).count = here as u64;
            } else if s.train > 0 && here == 0 && all > 0 {
                let message =
                    format!("`{split}` lacks the class `{class}` in `{column}`, which `train` has");
                report.warning(FindingKind::UnevaluatedClass, message);
            }
        }
    }
}

/// What is wrong with the sequences of one modality.
#[derive(Default)]
struct Sequences<'a> {
    absent: Vec<&'a str>,
    empty: Vec<&'a str>,
    long: Vec<&'a str>,
    constant: Vec<&'a str>,
    non_finite: Vec<&'a str>,
    non_finite_values: u64,
    first: Option<String>,
}

fn check_sequences(corpus: &Corpus, options: &CheckOptions, report: &mut CheckReport) {
    let dims = corpus.dims();
    let ids = || {
        corpus
            .utterances()
            .iter()
            .map(|u| u.id.as_str())
            .enumerate()
    };
    let bare: Vec<_> = ids()
        .filter(|(i, _)| {
            Modality::ALL
                .iter()
                .all(|m| corpus.frames(*i, *m).is_none())
        })
        .map(|(_, id)| id)
        .collect();
    if !bare.is_empty() {
        let message = format!("{} utterances have no features at all", bare.len());
        report.problem(FindingKind::NoFeatures, message).about(bare);
    }
    let mut values = Vec::new();
    for (modality, dim) in dims.iter() {
        let Some(dim) = *dim else { continue };
        let mut found = Sequences::default();
        for (idx, id) in ids() {
            let Some(frames) = corpus.frames(idx, modality) else {
                found.absent.push(id);
                continue;
            };
            if frames.time() == 0 {
                found.empty.push(id);
                continue;
            }
            if frames.time() > options.max_frames {
                found.long.push(id);
            }
            if options.values {
                values.resize(frames.time() * dim, 0.0);
                frames.copy_rows(0..frames.time(), &mut values);
                found.look_at(id, &values, dim);
            }
        }
        found.report(modality, options, report);
    }
}

impl<'a> Sequences<'a> {
    fn look_at(&mut self, id: &'a str, values: &[f32], dim: usize) {
        let count = values.iter().filter(|v| !v.is_finite()).count();
        if count > 0 {
            self.non_finite.push(id);
            self.non_finite_values += count as u64;
            if self.first.is_none() {
                self.first = values.iter().position(|v| !v.is_finite()).map(|at| {
                    let (frame, feature) = (at / dim, at % dim);
                    format!(
                        "the first is {} in `{id}`, frame {frame}, feature {feature}",
                        values[at]
                    )
                });
            }
        } else if values.len() > 1 && values.iter().all(|v| *v == values[0]) {
            self.constant.push(id);
        }
    }

    fn report(self, modality: Modality, options: &CheckOptions, report: &mut CheckReport) {
        if !self.non_finite.is_empty() {
            let message = format!(
                "{} {modality} values in {} utterances are NaN or infinite; {}",
                self.non_finite_values,
                self.non_finite.len(),
                self.first.unwrap_or_default()
            );
            let finding = report.problem(FindingKind::NonFinite, message);
            finding.about(self.non_finite);
            finding.count = self.non_finite_values;
            finding.with_hint("mend the extraction, or import again with `import.non_finite=zero`");
        }
        if !self.empty.is_empty() {
            let message = format!("{} {modality} sequences have no frame", self.empty.len());
            report
                .problem(FindingKind::EmptySequence, message)
                .about(self.empty)
                .with_hint("leave the modality out for these utterances");
        }
        if !self.long.is_empty() {
            let message = format!(
                "{} {modality} sequences have more than {} frames",
                self.long.len(),
                options.max_frames
            );
            report
                .problem(FindingKind::LongSequence, message)
                .about(self.long);
        }
        if !self.constant.is_empty() {
            let message = format!(
                "all {modality} values are the same in {} utterances",
                self.constant.len()
            );
            report
                .warning(FindingKind::ConstantFeatures, message)
                .about(self.constant)
                .with_hint("the extractor may have failed there without saying so");
        }
        if !self.absent.is_empty() {
            let message = format!("{} utterances have no {modality}", self.absent.len());
            report
                .warning(FindingKind::MissingModality, message)
                .about(self.absent);
        }
    }
}

/// `sum [a != b] / n` over utterances that have both labels.
fn disagreement(utterances: &[Utterance]) -> Vec<Disagreement> {
    let mut pairs = Vec::new();
    for (k, a) in Head::ALL.into_iter().enumerate() {
        for b in Head::ALL.into_iter().skip(k + 1) {
            let both = utterances
                .iter()
                .filter_map(|u| Some((u.labels.get(a).as_ref()?, u.labels.get(b).as_ref()?)));
            let (count, differ) = both.fold((0_usize, 0_usize), |(n, d), (x, y)| {
                (n + 1, d + usize::from(x != y))
            });
            if count > 0 {
                pairs.push(Disagreement {
                    a,
                    b,
                    count,
                    rate: differ as f64 / count as f64,
                });
            }
        }
    }
    pairs
}

#[cfg(test)]
mod tests;
