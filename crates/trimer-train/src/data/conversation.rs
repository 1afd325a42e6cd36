//! Conversations: which rows belong together, and batches of whole ones.

use crate::data::shuffled;
use crate::error::Result;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use trimer_core::ModalityMap;
use trimer_core::corpus::{Corpus, FrameView, Split, Utterance};
use trimer_nn::batch::{Conversations, InputSpec};
use trimer_nn::error::NnError;

/// In which order batches are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// That of the rows; conversations from the longest to the shortest.
    AsGiven,
    /// A permutation that follows from seed and epoch. Conversations of similar length share a batch.
    Shuffled {
        /// The run's seed.
        seed: u64,
        /// From 0.
        epoch: usize,
    },
}

/// Batches are made of so many neighbours of the shuffled order, sorted by length: the more, the less
/// padding, and the more alike the batches of different epochs.
const BATCHES_PER_BUCKET: usize = 8;

/// What holds a conversation together. The turns of one that runs through several splits are as many
/// conversations, so that nothing is learned from another split.
type Key<'a> = (&'a str, Option<Split>);

fn key(utterance: &Utterance) -> Option<Key<'_>> {
    utterance
        .conversation
        .as_deref()
        .map(|name| (name, utterance.split))
}

/// The whole conversations that have one of `rows`, each in the order of its turns, in the order in
/// which `rows` name them. An utterance without a conversation is one of its own.
pub fn of_rows(corpus: &Corpus, rows: &[usize]) -> Vec<Vec<usize>> {
    let utterances = corpus.utterances();
    let mut turns: BTreeMap<Key<'_>, Vec<usize>> = BTreeMap::new();
    for (row, utterance) in utterances.iter().enumerate() {
        if let Some(key) = key(utterance) {
            turns.entry(key).or_default().push(row);
        }
    }
    let mut seen = BTreeSet::new();
    let mut all = Vec::new();
    for &row in rows {
        match key(&utterances[row]) {
            None if seen.insert(row) => all.push(vec![row]),
            None => {}
            Some(key) => {
                // A conversation that was taken already is not in the map any more.
                if let Some(mut conversation) = turns.remove(&key) {
                    conversation.sort_by_key(|&row| place(corpus, row));
                    all.push(conversation);
                }
            }
        }
    }
    all
}

/// Orders the utterances of a conversation.
fn place(corpus: &Corpus, row: usize) -> (Option<i64>, usize) {
    (corpus.utterances()[row].turn, row)
}

/// Batches of at most `batch_size` conversations, their rows one after the other.
pub fn batches(
    mut conversations: Vec<Vec<usize>>,
    batch_size: usize,
    order: Order,
) -> Vec<Vec<usize>> {
    let concat = |batch: &[Vec<usize>]| batch.concat();
    match order {
        Order::AsGiven => {
            conversations.sort_by_key(|rows| Reverse(rows.len()));
            conversations.chunks(batch_size).map(concat).collect()
        }
        Order::Shuffled { seed, epoch } => {
            let places: Vec<usize> = (0..conversations.len()).collect();
            let mut order = shuffled(&places, seed, epoch);
            let mut batches = Vec::new();
            for bucket in order.chunks_mut(batch_size * BATCHES_PER_BUCKET) {
                bucket.sort_by_key(|&i| Reverse(conversations[i].len()));
                for batch in bucket.chunks(batch_size) {
                    let rows = batch.iter().flat_map(|&i| conversations[i].iter().copied());
                    batches.push(rows.collect::<Vec<_>>());
                }
            }
            // Else every bucket would begin with its longest conversations.
            let places: Vec<usize> = (0..batches.len()).collect();
            shuffled(&places, seed, epoch)
                .into_iter()
                .map(|i| std::mem::take(&mut batches[i]))
                .collect()
        }
    }
}

/// A part of a conversation that a model reads at a time, and those of its rows that it is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Consecutive turns of one conversation.
    pub rows: Vec<usize>,
    /// Positions in `rows`, ascending.
    pub asked: Vec<usize>,
}

/// For every conversation that has one of `rows`, parts of at most `window` turns, each half over the one
/// before. Every turn is asked about once: in the part in which it is farthest from a cut.
///
/// `window` is 2 at least: parts of one turn could not be told from a conversation.
pub fn windows(corpus: &Corpus, rows: &[usize], window: usize) -> Vec<Window> {
    let window = window.max(2);
    let mut all = Vec::new();
    for turns in of_rows(corpus, rows) {
        let last = turns.len().saturating_sub(window);
        let mut starts: Vec<usize> = (0..last).step_by(window / 2).collect();
        starts.push(last);
        let mut parts: Vec<Window> = starts
            .iter()
            .map(|&start| Window {
                rows: turns[start..turns.len().min(start + window)].to_vec(),
                asked: Vec::new(),
            })
            .collect();
        for turn in 0..turns.len() {
            // A cut is where the conversation goes on beyond the part.
            let room = |start: usize| {
                let before = (start > 0).then(|| turn - start);
                let after = (start < last).then(|| start + window - 1 - turn);
                [before, after]
                    .into_iter()
                    .flatten()
                    .min()
                    .unwrap_or(window)
            };
            let reaches = |start: usize| start <= turn && turn < start + window;
            let best = (0..starts.len())
                .filter(|&i| reaches(starts[i]))
                .max_by_key(|&i| (room(starts[i]), Reverse(i)));
            if let Some(i) = best {
                parts[i].asked.push(turn - starts[i]);
            }
        }
        parts.retain(|part| !part.asked.is_empty());
        all.extend(parts);
    }
    all
}

/// For every conversation that has one of `rows`, each of its turns with what was said before it: all of
/// that, or of `window` turns in all (2 at least) the last.
pub fn growing(corpus: &Corpus, rows: &[usize], window: Option<usize>) -> Vec<Window> {
    let most = window.map_or(usize::MAX, |n| n.max(2));
    of_rows(corpus, rows)
        .iter()
        .flat_map(|turns| {
            (1..=turns.len()).map(move |end| {
                let rows = turns[end.saturating_sub(most)..end].to_vec();
                let asked = vec![rows.len() - 1];
                Window { rows, asked }
            })
        })
        .collect()
}

/// How the rows of a batch are arranged: a conversation ends where the next row is not later in the
/// same one.
pub fn arrange(corpus: &Corpus, rows: &[usize], n_speakers: usize) -> Conversations {
    let utterances = corpus.utterances();
    let mut lengths: Vec<usize> = Vec::new();
    let mut speakers = Vec::with_capacity(rows.len());
    let mut known: Vec<Option<&str>> = Vec::new();
    for (i, &row) in rows.iter().enumerate() {
        let goes_on = i > 0 && {
            let (before, now) = (key(&utterances[rows[i - 1]]), key(&utterances[row]));
            now.is_some() && before == now && place(corpus, rows[i - 1]) < place(corpus, row)
        };
        match lengths.last_mut() {
            Some(length) if goes_on => *length += 1,
            _ => {
                lengths.push(1);
                known.clear();
            }
        }
        let name = utterances[row].speaker.as_deref();
        let speaker = known.iter().position(|k| *k == name).unwrap_or_else(|| {
            known.push(name);
            known.len() - 1
        });
        // Where a conversation has more speakers than the model tells apart, the last index stands
        // for all the others.
        speakers.push(speaker.min(n_speakers.saturating_sub(1)));
    }
    Conversations {
        lengths,
        speakers,
        n_speakers,
    }
}

/// Makes the input of an utterance-level model that of a conversation-level one: one row per
/// utterance, and as many speakers as the corpus has at most in one conversation.
///
/// # Errors
/// When no utterance of `train` belongs to a conversation.
pub fn input(corpus: &Corpus, train: &[usize], input: &mut InputSpec) -> Result<()> {
    let utterances = corpus.utterances();
    if train.iter().all(|&i| utterances[i].conversation.is_none()) {
        return Err(NnError::Corpus {
            reason: format!(
                "the corpus `{}` has no conversations, and the model reads these",
                corpus.info().name
            ),
            hint: "fill the columns `conversation`, `turn` and `speaker` and import again, or choose a model of utterance level from `trimer models`".into(),
        }.into());
    }
    let mut speakers: BTreeMap<Key<'_>, BTreeSet<Option<&str>>> = BTreeMap::new();
    for utterance in utterances {
        if let Some(key) = key(utterance) {
            let names = speakers.entry(key).or_default();
            names.insert(utterance.speaker.as_deref());
        }
    }
    let most = speakers.values().map(BTreeSet::len).max();
    input.n_speakers = Some(most.unwrap_or(1));
    input.lengths = ModalityMap::from_fn(|_| 1);
    Ok(())
}

/// Of every row, the first row of its conversation and how many turns that has; `None` for an utterance
/// without one.
pub fn lengths(corpus: &Corpus) -> Vec<Option<(usize, usize)>> {
    let utterances = corpus.utterances();
    let mut found: BTreeMap<Key<'_>, (usize, usize)> = BTreeMap::new();
    for (row, key) in utterances.iter().map(key).enumerate() {
        if let Some(key) = key {
            found.entry(key).or_insert((row, 0)).1 += 1;
        }
    }
    let of = |utterance| found.get(&key(utterance)?).copied();
    utterances.iter().map(of).collect()
}

/// How many conversations have a turn twice, or turns for some utterances only, so that their order is not
/// certain. Where no utterance of a conversation has one, the order of the corpus is meant.
pub fn uncertain_order(corpus: &Corpus) -> usize {
    let mut turns: BTreeMap<Key<'_>, Vec<Option<i64>>> = BTreeMap::new();
    for utterance in corpus.utterances() {
        if let Some(key) = key(utterance) {
            turns.entry(key).or_default().push(utterance.turn);
        }
    }
    let uncertain = |turns: &Vec<Option<i64>>| {
        let known: BTreeSet<i64> = turns.iter().copied().flatten().collect();
        known.len() < turns.len() && turns.iter().any(Option::is_some)
    };
    turns.values().filter(|turns| uncertain(turns)).count()
}

/// How many conversations have turns in more than one split.
pub fn straddling(corpus: &Corpus) -> usize {
    let mut splits: BTreeMap<&str, BTreeSet<Split>> = BTreeMap::new();
    for (name, split) in corpus.utterances().iter().filter_map(key) {
        splits.entry(name).or_default().extend(split);
    }
    splits.values().filter(|s| s.len() > 1).count()
}

/// The mean of all frames of an utterance, in f64.
///
/// # Shapes
/// - `out`: `[dim]`
pub fn mean_frame(view: &FrameView<'_>, out: &mut [f32]) {
    if view.time() == 1 {
        view.copy_rows(0..1, out);
        return;
    }
    let mut sums = vec![0.0_f64; out.len()];
    for frame in view.to_vec().chunks(out.len()) {
        for (sum, x) in sums.iter_mut().zip(frame) {
            *sum += f64::from(*x);
        }
    }
    let n = view.time().max(1) as f64;
    for (x, sum) in out.iter_mut().zip(sums) {
        *x = (sum / n) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trimer_core::corpus::{CorpusInfo, CorpusWriter, Frames};

    /// Two talks, mixed, the second with turns that are not in order; one utterance on its own.
    fn corpus(dir: &std::path::Path) -> Corpus {
        let rows = [
            ("a", 0, "x"),
            ("b", 1, "y"),
            ("a", 1, "z"),
            ("b", 0, "x"),
            ("", 0, "x"),
            ("a", 2, "x"),
        ];
        let mut writer = CorpusWriter::create(&dir.join("c"), CorpusInfo::default()).unwrap();
        for (i, (talk, turn, speaker)) in rows.into_iter().enumerate() {
            let utterance = Utterance {
                id: i.to_string(),
                split: Some(Split::Train),
                conversation: (!talk.is_empty()).then(|| talk.to_owned()),
                turn: Some(turn),
                speaker: Some(speaker.into()),
                ..Utterance::default()
            };
            // Frames i and i + 2: their mean is i + 1.
            let frames = ModalityMap {
                text: Some(Frames {
                    values: vec![i as f32, (i + 2) as f32].into(),
                    dim: 1,
                }),
                ..ModalityMap::default()
            };
            writer.push(utterance, frames).unwrap();
        }
        Corpus::open(writer.finish().unwrap()).unwrap()
    }

    #[test]
    fn conversations_are_whole_and_in_the_order_of_their_turns() {
        let dir = tempfile::tempdir().unwrap();
        let corpus = corpus(dir.path());
        assert_eq!(of_rows(&corpus, &[1, 5]), [vec![3, 1], vec![0, 2, 5]]);
        assert_eq!(of_rows(&corpus, &[4, 4]), [vec![4]]);
    }

    #[test]
    fn a_batch_tells_where_conversations_end_and_who_speaks() {
        let dir = tempfile::tempdir().unwrap();
        let corpus = corpus(dir.path());
        let found = arrange(&corpus, &[3, 1, 0, 2, 5, 4], 2);
        assert_eq!(found.lengths, [2, 3, 1]);
        assert_eq!(found.speakers, [0, 1, 0, 1, 0, 0]);
        // Parts of one conversation are distinguished too.
        for (window, lengths) in [(None, [1, 2, 3]), (Some(2), [1, 2, 2])] {
            let parts = growing(&corpus, &[0], window);
            let rows: Vec<usize> = parts.iter().flat_map(|p| p.rows.clone()).collect();
            assert_eq!(arrange(&corpus, &rows, 2).lengths, lengths);
            let asked = parts.iter().map(|p| p.rows[p.asked[0]]);
            assert_eq!(asked.collect::<Vec<_>>(), [0, 2, 5]);
        }
        let parts = windows(&corpus, &[0], 2);
        let rows: Vec<usize> = parts.iter().flat_map(|p| p.rows.clone()).collect();
        assert_eq!(arrange(&corpus, &rows, 2).lengths, [2, 2]);
        // More speakers than are distinguished.
        assert_eq!(arrange(&corpus, &[0, 2], 1).speakers, [0, 0]);
    }

    fn one_frame(i: usize) -> ModalityMap<Option<Frames<'static>>> {
        ModalityMap {
            text: Some(Frames {
                values: vec![i as f32].into(),
                dim: 1,
            }),
            ..ModalityMap::default()
        }
    }

    /// One talk of `n` turns.
    fn long_talk(dir: &std::path::Path, n: usize) -> Corpus {
        let path = dir.join(n.to_string());
        let mut writer = CorpusWriter::create(&path, CorpusInfo::default()).unwrap();
        for i in 0..n {
            let utterance = Utterance {
                id: i.to_string(),
                conversation: Some("talk".into()),
                turn: Some(i as i64),
                ..Utterance::default()
            };
            writer.push(utterance, one_frame(i)).unwrap();
        }
        Corpus::open(writer.finish().unwrap()).unwrap()
    }

    #[test]
    fn an_order_is_certain_when_every_turn_is_there_once_or_none_is() {
        for (turns, expected) in [
            ([Some(0), Some(2), Some(1)], 0),
            ([None, None, None], 0),
            ([Some(0), Some(1), Some(1)], 1),
            ([Some(0), None, Some(1)], 1),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("c");
            let mut writer = CorpusWriter::create(&path, CorpusInfo::default()).unwrap();
            for (i, turn) in turns.into_iter().enumerate() {
                let utterance = Utterance {
                    id: i.to_string(),
                    conversation: Some("talk".into()),
                    turn,
                    ..Utterance::default()
                };
                writer.push(utterance, one_frame(i)).unwrap();
            }
            let corpus = Corpus::open(writer.finish().unwrap()).unwrap();
            assert_eq!(uncertain_order(&corpus), expected, "{turns:?}");
        }
    }

    #[test]
    fn windows_ask_about_every_turn_once_and_far_from_their_cuts() {
        let dir = tempfile::tempdir().unwrap();
        for n in [1, 2, 3, 7, 20, 33] {
            let corpus = long_talk(dir.path(), n);
            for window in [2, 3, 4, 7, 8, 50] {
                let parts = windows(&corpus, &[0], window);
                let mut asked = Vec::new();
                for part in &parts {
                    assert!(part.rows.len() <= window);
                    assert!(part.rows.windows(2).all(|w| w[1] == w[0] + 1));
                    for &i in &part.asked {
                        // Context on both sides, a quarter of the window or all there is.
                        let (turn, room) = (part.rows[i], window / 4);
                        assert!(i >= room.min(turn), "{n} {window} {part:?}");
                        let behind = part.rows.len() - 1 - i;
                        assert!(behind >= room.min(n - 1 - turn), "{n} {window} {part:?}");
                        asked.push(turn);
                    }
                }
                asked.sort_unstable();
                assert_eq!(asked, (0..n).collect::<Vec<_>>(), "{n} {window}");
                if window >= n {
                    assert_eq!(parts.len(), 1);
                }
                let rows: Vec<usize> = parts.iter().flat_map(|p| p.rows.clone()).collect();
                let lengths: Vec<usize> = parts.iter().map(|p| p.rows.len()).collect();
                assert_eq!(arrange(&corpus, &rows, 1).lengths, lengths);
            }
        }
    }

    #[test]
    fn an_utterance_is_the_mean_of_its_frames() {
        let dir = tempfile::tempdir().unwrap();
        let corpus = corpus(dir.path());
        let mut out = [0.0];
        let view = corpus.frames(3, trimer_core::Modality::Text).unwrap();
        mean_frame(&view, &mut out);
        assert_eq!(out, [4.0]);
    }

    #[test]
    fn an_epoch_visits_every_conversation_once_in_a_repeatable_order() {
        let all: Vec<Vec<usize>> = (0..40).map(|i| vec![i; 1 + i % 7]).collect();
        let order = |epoch| Order::Shuffled { seed: 1, epoch };
        let first = batches(all.clone(), 4, order(0));
        assert_eq!(first, batches(all.clone(), 4, order(0)));
        assert_ne!(first, batches(all.clone(), 4, order(1)));
        let mut rows = first.concat();
        rows.sort_unstable();
        assert_eq!(rows, all.concat());
        assert_eq!(first.len(), 10);
    }
}
