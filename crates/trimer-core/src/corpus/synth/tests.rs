use super::*;
use crate::corpus::Corpus;
use std::collections::BTreeMap;

fn small() -> SynthSpec {
    SynthSpec::preset("small").unwrap()
}

#[test]
fn every_preset_is_sound() {
    for name in PRESETS {
        SynthSpec::preset(name).unwrap().check().unwrap();
    }
    let error = SynthSpec::preset("smal").unwrap_err();
    assert_eq!(error.hint().unwrap(), "did you mean `small`?");
}

#[test]
fn numbers_that_make_no_corpus_are_refused_by_name() {
    let mut spec = small();
    spec.n_speakers = 400;
    assert_eq!(
        spec.check().unwrap_err().to_string(),
        "`n_speakers` is 400, expected 5 to 375, half the utterances"
    );
    let mut spec = small();
    spec.modalities.text.as_mut().unwrap().dim = 0;
    assert_eq!(
        spec.check().unwrap_err().to_string(),
        "`modalities.text.dim` is 0, expected 1 to 65536"
    );
}

#[test]
fn the_number_of_threads_does_not_change_the_corpus() {
    let dir = tempfile::tempdir().unwrap();
    let mut spec = small();
    spec.n_utterances = 100;
    let write = |name: &str, spec: &SynthSpec, threads| {
        let out = dir.path().join(name);
        Corpus::open(write_with(spec, &out, threads, &mut |_, _| {}).unwrap()).unwrap()
    };
    let one = write("one", &spec, 1);
    assert_eq!(one.fingerprint(), write("three", &spec, 3).fingerprint());
    spec.seed = 1;
    assert_ne!(one.fingerprint(), write("other", &spec, 3).fingerprint());
}

/// The bits of the small preset are part of the contract: a change of this sum of all features, as
/// it came out at first, changes every result that was obtained on the corpus.
#[test]
fn the_small_corpus_is_what_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let mut last = (0, 0);
    let path = write(&small(), &dir.path().join("c"), &mut |done, all| {
        last = (done, all);
    })
    .unwrap();
    assert_eq!(last, (750, 750));
    let corpus = Corpus::open(path).unwrap();
    assert_eq!(corpus.len(), 750);
    assert_eq!(corpus.ceiling(), Some(&small().ceiling()));
    for (split, n) in [(Split::Train, 450), (Split::Valid, 150), (Split::Test, 150)] {
        assert_eq!(corpus.indices(split).len(), n);
    }
    let sum: f64 = (0..corpus.len())
        .flat_map(|i| Modality::ALL.map(|m| (i, m)))
        .flat_map(|(i, m)| corpus.frames(i, m).unwrap().to_vec())
        .map(f64::from)
        .sum();
    assert_eq!(sum, -23505.60788373789);
}

#[test]
fn a_modality_of_noise_shows_nothing_and_the_others_stay_as_they_were() {
    let vision = [Modality::Vision].into_iter().collect();
    let spec = small().with_noise(vision);
    spec.check().unwrap();
    assert_eq!(spec.noise(), vision);
    assert!(spec.info().description.contains("vision are noise"));
    assert_eq!(
        spec.ceiling().multimodal_from["text+audio+vision"],
        small().ceiling().multimodal_from["text+audio"]
    );
    let (noisy, plain) = (Maker::new(&spec), small());
    let plain = Maker::new(&plain);
    let (mut sum, mut squares, mut n) = (0.0, 0.0, 0.0);
    for index in 0..300 {
        let ((a, x), (b, y)) = (noisy.make(index), plain.make(index));
        assert_eq!((a.labels, &x.text, &x.audio), (b.labels, &y.text, &y.audio));
        for value in x.vision.unwrap() {
            sum += f64::from(value);
            squares += f64::from(value * value);
            n += 1.0;
        }
    }
    // 36,000 values of mean 0 and variance 1: standard errors 0.0053 and about 0.0075
    let (mean, power) = (sum / n, squares / n);
    assert!(
        mean.abs() < 0.025 && (power - 1.0).abs() < 0.035,
        "{mean} {power}"
    );
}

#[test]
fn turns_count_from_zero_in_every_conversation_and_speakers_keep_to_one_split() {
    let spec = small();
    let maker = Maker::new(&spec);
    let mut turns: BTreeMap<String, i64> = BTreeMap::new();
    let mut splits: BTreeMap<String, Split> = BTreeMap::new();
    for index in 0..spec.n_utterances {
        let (utterance, _) = maker.make(index);
        let next = turns.entry(utterance.conversation.unwrap()).or_default();
        assert_eq!(utterance.turn, Some(*next));
        *next += 1;
        let split = utterance.split.unwrap();
        assert_eq!(
            *splits.entry(utterance.speaker.unwrap()).or_insert(split),
            split
        );
    }
    assert_eq!(splits.len(), spec.n_speakers);
}

#[test]
fn lengths_of_audio_are_skewed_around_the_median() {
    let length = SynthSpec::preset("cherma")
        .unwrap()
        .modalities
        .audio
        .unwrap()
        .length;
    let mut rng = stream(0, 99, 0);
    let mut frames: Vec<_> = (0..20_000)
        .map(|_| length.frames(normal(&mut rng)))
        .collect();
    frames.sort_unstable();
    let mean = frames.iter().sum::<usize>() as f64 / 20_000.0;
    assert!((195..=205).contains(&frames[10_000]), "{}", frames[10_000]);
    // E[(1 + 0.15 z)^3] = 1 + 3 * 0.15^2 = 1.0675
    assert!((mean - 213.5).abs() < 3.0, "{mean}");
    assert!(frames[0] >= 25 && *frames.last().unwrap() <= 543);
}

/// The ceilings presume an observer who sees what is shown. One who compares the frames with the
/// templates, knowing neither the speaker nor the intensity, nearly does.
#[test]
fn features_tell_what_is_shown() {
    let spec = small();
    let maker = Maker::new(&spec);
    for modality in Modality::ALL {
        let templates = maker.templates.get(modality).as_ref().unwrap();
        let mut right = 0;
        for index in 0..spec.n_utterances {
            let mut rng = stream(spec.seed, 1, index as u64);
            let truth = *emotion::draw(None, &mut || uniform(&mut rng))
                .shown
                .get(modality);
            let (_, values) = maker.make(index);
            let values = values.get(modality).clone().unwrap();
            let dim = spec.modalities.get(modality).unwrap().dim;
            let distance = |class: usize| -> f64 {
                let clean = templates.clean(class, values.len() / dim, 1.0);
                values
                    .iter()
                    .zip(&clean)
                    .map(|(a, b)| f64::from(a - b).powi(2))
                    .sum()
            };
            let guess = (0..emotion::N)
                .min_by(|a, b| distance(*a).total_cmp(&distance(*b)))
                .unwrap();
            right += usize::from(guess == truth);
        }
        let accuracy = right as f64 / spec.n_utterances as f64;
        assert!(accuracy > 0.99, "{modality}: {accuracy}");
    }
}
