//! People who talk with one another: what is felt carries over from turn to turn.

use super::SynthError;
use super::emotion::draw_felt;
use super::features::{stream, uniform};
use rand::Rng;

/// The rule in words, for the description of the corpus.
pub(super) const RULE: &str = "\
Two or three people talk. What somebody feels is, with a probability that is peculiar to the person, what the \
same person felt at the last turn (inertia), else, with another such probability, what the others felt who spoke \
last (contagion), else something new. The multimodal label is what is felt. Each modality shows it or, with a \
probability that depends on modality and emotion, a similar one; features depend on what is shown, and the label \
of a modality is what it shows. In 4 % of all cases, in each label column separately, the annotator errs and \
writes one of the other six. Every utterance on its own is distributed as if nobody were moved by anybody, so \
the stated accuracies hold for observers of single utterances; whoever remembers the conversation can do better.";

/// How people talk with one another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SynthDialogue {
    /// Fewest and most turns of a conversation; the last of a split may be shorter.
    pub turns: [usize; 2],
    /// Most speakers of a conversation, two at least.
    pub speakers: usize,
    /// Lowest and highest probability of a person to go on feeling the same.
    pub inertia: [f64; 2],
    /// Lowest and highest probability of a person who does not, to feel what the last speaker felt.
    pub contagion: [f64; 2],
}

impl Default for SynthDialogue {
    fn default() -> Self {
        Self {
            turns: [8, 30],
            speakers: 3,
            inertia: [0.5, 0.9],
            contagion: [0.1, 0.8],
        }
    }
}

/// An utterance's place in a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) conversation: usize,
    pub(super) turn: usize,
    pub(super) speaker: usize,
    pub(super) felt: usize,
}

/// A whole number below `n`.
fn below(rng: &mut impl Rng, n: usize) -> usize {
    ((uniform(rng) * n as f64) as usize).min(n - 1)
}

impl SynthDialogue {
    /// # Errors
    /// [`SynthError::Spec`] names the number that makes no corpus.
    pub(super) fn check(&self, n_speakers: usize) -> Result<(), SynthError> {
        let fail = |field: &str, value: String, expected: String| {
            Err(SynthError::Spec {
                field: format!("dialogue.{field}"),
                value,
                expected,
            })
        };
        let [least, most] = self.turns;
        if !(1..=most).contains(&least) || most > 100_000 {
            let value = format!("{:?}", self.turns);
            return fail("turns", value, "1 <= least <= most <= 100000".to_owned());
        }
        // The smallest split has a fifth of the speakers.
        let available = n_speakers / 5;
        if !(2..=available).contains(&self.speakers) {
            let value = self.speakers.to_string();
            return fail(
                "speakers",
                value,
                format!("2 to {available}, a fifth of the speakers"),
            );
        }
        for (field, [low, high]) in [("inertia", self.inertia), ("contagion", self.contagion)] {
            if !(0.0 <= low && low <= high && high <= 1.0) {
                let value = format!("[{low}, {high}]");
                return fail(field, value, "0 <= low <= high <= 1".to_owned());
            }
        }
        Ok(())
    }

    /// The turns of all utterances; nobody speaks in two splits and no conversation is in two.
    pub(super) fn turns(
        &self,
        seed: u64,
        utterance_bounds: &[usize; 4],
        speaker_bounds: &[usize; 4],
    ) -> Vec<Turn> {
        let mut turns = Vec::with_capacity(utterance_bounds[3]);
        let mut conversation = 0;
        for part in 0..3 {
            let people = speaker_bounds[part]..speaker_bounds[part + 1];
            while turns.len() < utterance_bounds[part + 1] {
                let room = utterance_bounds[part + 1] - turns.len();
                self.talk(seed, conversation, people.clone(), room, &mut turns);
                conversation += 1;
            }
        }
        turns
    }

    /// Adds one conversation of `room` turns at most.
    fn talk(
        &self,
        seed: u64,
        conversation: usize,
        people: std::ops::Range<usize>,
        room: usize,
        out: &mut Vec<Turn>,
    ) {
        let mut rng = stream(seed, 2, conversation as u64);
        let [least, most] = self.turns;
        let length = (least + below(&mut rng, most - least + 1)).min(room);
        let n = (2 + below(&mut rng, self.speakers - 1)).min(people.len());
        let mut circle: Vec<usize> = people.collect();
        // The first n of a shuffled list.
        for i in 0..n {
            let left = circle.len() - i;
            circle.swap(i, i + below(&mut rng, left));
        }
        circle.truncate(n);
        let mut own: Vec<Option<usize>> = vec![None; n];
        let mut last: Option<(usize, usize)> = None; // who spoke, and what was felt
        for turn in 0..length {
            // Mostly somebody else answers; one in seven goes on.
            let place = match last {
                Some((before, _)) if n > 1 => {
                    if below(&mut rng, 7) == 0 {
                        before
                    } else {
                        (before + 1 + below(&mut rng, n - 1)) % n
                    }
                }
                _ => below(&mut rng, n),
            };
            let [inertia, contagion] = self.temper(seed, circle[place]);
            let (stays, caught) = (uniform(&mut rng) < inertia, uniform(&mut rng) < contagion);
            let fresh = draw_felt(uniform(&mut rng));
            let felt = match (own[place], last) {
                (Some(felt), _) if stays => felt,
                (_, Some((before, felt))) if caught && before != place => felt,
                _ => fresh,
            };
            own[place] = Some(felt);
            last = Some((place, felt));
            out.push(Turn {
                conversation,
                turn,
                speaker: circle[place],
                felt,
            });
        }
    }

    /// Inertia and contagion of a person.
    fn temper(&self, seed: u64, speaker: usize) -> [f64; 2] {
        let mut rng = stream(seed, 3, speaker as u64);
        [self.inertia, self.contagion].map(|[low, high]| low + (high - low) * uniform(&mut rng))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(n: usize) -> Vec<Turn> {
        let bounds = [0, n * 3 / 5, n * 4 / 5, n];
        SynthDialogue::default().turns(1, &bounds, &[0, 72, 96, 120])
    }

    #[test]
    fn nobody_speaks_in_two_splits_and_turns_are_counted() {
        let all = turns(3_000);
        assert_eq!(all.len(), 3_000);
        for (part, people) in [
            (0..1_800, 0..72),
            (1_800..2_400, 72..96),
            (2_400..3_000, 96..120),
        ] {
            let part = &all[part];
            assert!(part.iter().all(|t| people.contains(&t.speaker)));
            assert_eq!(part[0].turn, 0);
        }
        for pair in all.windows(2) {
            if pair[0].conversation == pair[1].conversation {
                assert_eq!(pair[0].turn + 1, pair[1].turn);
            } else {
                assert_eq!(pair[1].turn, 0);
            }
        }
    }

    #[test]
    fn the_past_tells_about_the_present() {
        let all = turns(40_000);
        let mut own = std::collections::BTreeMap::new();
        let (mut same, mut n) = (0, 0);
        for turn in &all {
            if let Some(before) = own.insert((turn.conversation, turn.speaker), turn.felt) {
                n += 1;
                same += usize::from(before == turn.felt);
            }
        }
        // 0.7 on average by inertia alone; independent draws would agree in 0.16 of all cases.
        let share = f64::from(same as u32) / f64::from(n);
        assert!((0.7..0.85).contains(&share), "{share}");
    }
}
