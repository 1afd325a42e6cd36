//! The importers against the made-up corpora of the fixtures, good and hostile.

use crate::golden::{self, Tensor, expected_of};
use serde_json::Value;
use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};
use trimer::{
    Head, Hint, Modality,
    corpus::{Corpus, Split, Utterance},
    import::{IMPORTERS, ImportOptions, ImportSummary, importer},
    store::npy,
};

fn import(format: &str, source: &Path, out: &Path) -> (Corpus, ImportSummary) {
    let summary = importer(format)
        .unwrap()
        .import(&ImportOptions::new(source, out), &mut |_, _| ())
        .unwrap_or_else(|e| panic!("{}: {e}", source.display()));
    let corpus = Corpus::open(out).unwrap();
    assert_eq!(corpus.len(), summary.utterances);
    assert!(corpus.verify().unwrap().is_empty());
    (corpus, summary)
}

fn frames(corpus: &Corpus, idx: usize, modality: Modality) -> Vec<f64> {
    corpus
        .frames(idx, modality)
        .unwrap_or_else(|| panic!("utterance {idx} lacks {modality}"))
        .to_vec()
        .into_iter()
        .map(f64::from)
        .collect()
}

/// What a feature value becomes: `-inf` in audio is silence, all else is rounded to 32 bits.
fn as_imported(modality: Modality, value: f64) -> f64 {
    if modality == Modality::Audio && value == f64::NEG_INFINITY {
        0.0
    } else {
        f64::from(value as f32)
    }
}

/// The range of rows that `kept` occupies in a zero padded array, whose other rows must be zero.
fn assert_padded(kept: &[f64], padded: &[f64], at: &str) {
    let n = padded.len() - kept.len();
    let zero = |rows: &[f64]| rows.iter().all(|v| *v == 0.0);
    let right = padded.starts_with(kept) && zero(&padded[kept.len()..]);
    let left = padded.ends_with(kept) && zero(&padded[..n]);
    assert!(right || left, "{at}");
}

#[test]
#[cfg_attr(not(trimer_fixtures), ignore = "needs TRIMER_SHARED or TRIMER_GOLDEN")]
fn mmsa_corpora_hold_every_value_but_the_padding() {
    let golden = golden::folder();
    let dir = tempfile::tempdir().unwrap();
    for path in golden::files(&golden.join("corpora/mmsa"), "pkl") {
        let expected = expected_of(&path);
        let tensors = golden::tensors(&expected);
        let json = golden::json(&expected.with_extension("json"));
        let (corpus, summary) = import("mmsa", &path, &dir.path().join(golden::stem(&path)));
        let silent = tensors
            .values()
            .any(|t| t.values.contains(&f64::NEG_INFINITY));
        assert_eq!(summary.warnings.iter().any(|w| w.contains("-inf")), silent);
        let mut idx = 0;
        for split in Split::ALL {
            let part = &json["splits"][split.as_str()];
            for (place, id) in part["ids"].as_array().unwrap().iter().enumerate() {
                let utterance = &corpus.utterances()[idx];
                check_mmsa(
                    utterance,
                    split,
                    id.as_str().unwrap(),
                    &part["raw_text"][place],
                );
                let tensor = |key: &str| tensors.get(&format!("{split}/{key}"));
                for (head, key) in [
                    (Head::Multimodal, "regression_labels"),
                    (Head::Text, "regression_labels_T"),
                    (Head::Audio, "regression_labels_A"),
                    (Head::Vision, "regression_labels_V"),
                ] {
                    assert_eq!(
                        *utterance.scores.get(head),
                        tensor(key).map(|t| t.values[place] as f32),
                        "{}: {id}: {key}",
                        path.display()
                    );
                }
                for modality in Modality::ALL {
                    let padded = tensor(modality.as_str()).unwrap();
                    let at = format!("{}: {id}: {modality}", path.display());
                    let values: Vec<_> = padded
                        .row(place)
                        .iter()
                        .map(|v| as_imported(modality, *v))
                        .collect();
                    let kept = frames(&corpus, idx, modality);
                    assert_padded(&kept, &values, &at);
                    let length = match modality {
                        Modality::Text => tensor("text_bert").map(|bert| {
                            let time = bert.shape[2];
                            bert.row(place)[time..2 * time].iter().sum::<f64>()
                        }),
                        _ => tensor(&format!("{modality}_lengths")).map(|t| t.values[place]),
                    };
                    if let Some(length) = length {
                        assert_eq!(kept.len(), length as usize * padded.shape[2], "{at}");
                    }
                }
                if json["aligned"] == Value::Bool(true) {
                    let counts = Modality::ALL.map(|m| corpus.frame_count(idx, m));
                    assert!(counts.iter().all(|n| *n == counts[0]), "{counts:?}");
                }
                idx += 1;
            }
        }
        assert_eq!(idx, corpus.len());
    }
}

fn check_mmsa(utterance: &Utterance, split: Split, id: &str, text: &Value) {
    assert_eq!(utterance.id, id);
    assert_eq!(utterance.split, Some(split));
    assert_eq!(utterance.transcript.as_deref(), text.as_str());
    assert_eq!(utterance.speaker, None);
    let video = id.split_once("$_$").unwrap().0;
    assert_eq!(utterance.conversation.as_deref(), Some(video));
}

#[test]
#[cfg_attr(not(trimer_fixtures), ignore = "needs TRIMER_SHARED or TRIMER_GOLDEN")]
fn scores_become_classes_on_request() {
    let golden = golden::folder();
    let dir = tempfile::tempdir().unwrap();
    for path in golden::files(&golden.join("corpora/mmsa"), "pkl") {
        for n in [2, 3, 5] {
            let out = dir.path().join(format!("{}-{n}", golden::stem(&path)));
            let mut options = ImportOptions::new(&path, &out);
            options.classes = Some(n);
            importer("mmsa")
                .unwrap()
                .import(&options, &mut |_, _| ())
                .unwrap();
            let corpus = Corpus::open(&out).unwrap();
            assert_eq!(corpus.info().label_space.classes.len(), n);
            for utterance in corpus.utterances() {
                for (head, score) in utterance.scores.iter() {
                    let label = *utterance.labels.get(head);
                    assert_eq!(label.is_some(), score.is_some());
                    assert!(label.is_none_or(|label| (label as usize) < n));
                }
            }
        }
    }
}

#[test]
#[cfg_attr(not(trimer_fixtures), ignore = "needs TRIMER_SHARED or TRIMER_GOLDEN")]
fn mult_corpora_hold_every_row() {
    let golden = golden::folder();
    let dir = tempfile::tempdir().unwrap();
    for path in golden::files(&golden.join("corpora/mult"), "pkl") {
        let expected = expected_of(&path);
        let tensors = golden::tensors(&expected);
        let ids = &golden::json(&expected.with_extension("json"))["ids"];
        let (corpus, summary) = import("mult", &path, &dir.path().join(golden::stem(&path)));
        let silent = tensors
            .values()
            .any(|t| t.values.contains(&f64::NEG_INFINITY));
        assert_eq!(summary.warnings.iter().any(|w| w.contains("-inf")), silent);
        let mut idx = 0;
        for split in Split::ALL {
            let tensor = |key: &str| &tensors[&format!("{split}/{key}")];
            let labels = tensor("labels");
            for place in 0..labels.shape[0] {
                let utterance = &corpus.utterances()[idx];
                let at = format!("{}: {}", path.display(), utterance.id);
                assert_eq!(utterance.split, Some(split), "{at}");
                match ids[split.as_str()][place].as_array() {
                    Some(triple) => {
                        let triple: Vec<_> = triple.iter().map(|v| v.as_str().unwrap()).collect();
                        let id = utterance.id.split('@').next();
                        assert_eq!(id, Some(triple.join("_").as_str()), "{at}");
                        let video = utterance.conversation.as_deref().unwrap();
                        assert_eq!(video.split('@').next(), Some(triple[0]), "{at}");
                    }
                    None => assert_eq!(utterance.id, format!("{split}-{place:05}"), "{at}"),
                }
                check_mult_labels(utterance, labels, place, &at);
                for modality in Modality::ALL {
                    let expected: Vec<_> = tensor(modality.as_str())
                        .row(place)
                        .iter()
                        .map(|v| as_imported(modality, *v))
                        .collect();
                    assert_eq!(frames(&corpus, idx, modality), expected, "{at}: {modality}");
                }
                idx += 1;
            }
        }
        assert_eq!(idx, corpus.len());
    }
}

fn check_mult_labels(utterance: &Utterance, labels: &Tensor, place: usize, at: &str) {
    let row = labels.row(place);
    if row.len() == 1 {
        assert_eq!(utterance.scores.multimodal, Some(row[0] as f32), "{at}");
        assert!(utterance.binary.is_empty(), "{at}");
    } else {
        // One pair (no, yes) per emotion.
        let expected: Vec<_> = row.chunks(2).map(|pair| pair[1] > pair[0]).collect();
        assert_eq!(utterance.binary, expected, "{at}");
    }
}

#[test]
#[cfg_attr(not(trimer_fixtures), ignore = "needs TRIMER_SHARED or TRIMER_GOLDEN")]
fn cherma_corpora_hold_every_frame_and_all_four_labels() {
    let golden = golden::folder();
    let folder = golden.join("corpora/cherma");
    let expected = golden::json(&folder.join("cherma.expected.json"));
    let tensors = golden::tensors(&folder.join("cherma.expected.safetensors"));
    let dir = tempfile::tempdir().unwrap();
    // The directory of the release, and the one that holds it.
    for (place, source) in [folder.clone(), folder.join("CHERMA0723")]
        .iter()
        .enumerate()
    {
        let (corpus, summary) = import("cherma", source, &dir.path().join(place.to_string()));
        assert!(summary.warnings.is_empty(), "{:?}", summary.warnings);
        let classes: Vec<_> = corpus
            .info()
            .label_space
            .classes
            .iter()
            .map(String::as_str)
            .collect();
        let order = expected["class_order"].as_array().unwrap();
        assert!(order.iter().map(|v| v.as_str().unwrap()).eq(classes));
        let mut idx = 0;
        for (split, stage) in [
            (Split::Train, "train"),
            (Split::Valid, "dev"),
            (Split::Test, "test"),
        ] {
            let index = golden::json(&folder.join(format!("CHERMA0723/{stage}.json")));
            let samples = expected["samples"][stage].as_array().unwrap();
            for (sample, object) in samples.iter().zip(index.as_array().unwrap()) {
                let utterance = &corpus.utterances()[idx];
                let id = sample["id"].as_str().unwrap();
                assert_eq!((utterance.id.as_str(), utterance.split), (id, Some(split)));
                assert_eq!(utterance.transcript.as_deref(), object["text"].as_str());
                for (head, key) in [
                    (Head::Text, "label_t"),
                    (Head::Audio, "label_a"),
                    (Head::Vision, "label_v"),
                    (Head::Multimodal, "label_m"),
                ] {
                    let label = utterance.labels.get(head).map(u64::from);
                    assert_eq!(label, sample[key].as_u64(), "{id}: {key}");
                }
                for (modality, name) in Modality::ALL.into_iter().zip(["text", "audio", "visual"]) {
                    let tensor = &tensors[&format!("{stage}/{id}/{name}")];
                    assert_eq!(
                        frames(&corpus, idx, modality),
                        tensor.values,
                        "{id}: {name}"
                    );
                    assert_eq!(
                        corpus.frame_count(idx, modality),
                        tensor.shape[0],
                        "{id}: {name}"
                    );
                }
                idx += 1;
            }
        }
        assert_eq!(idx, corpus.len());
    }
}

#[test]
#[cfg_attr(not(trimer_fixtures), ignore = "needs TRIMER_SHARED or TRIMER_GOLDEN")]
fn conversation_corpora_hold_every_turn() {
    let golden = golden::folder();
    let dir = tempfile::tempdir().unwrap();
    let files = golden::files(&golden.join("corpora/erc"), "pkl");
    assert!(!files.is_empty());
    for path in files {
        let expected = expected_of(&path);
        let tensors = golden::tensors(&expected);
        let json = golden::json(&expected.with_extension("json"));
        let (corpus, summary) = import("erc", &path, &dir.path().join(golden::stem(&path)));
        let silent = tensors
            .values()
            .any(|t| t.values.contains(&f64::NEG_INFINITY));
        assert_eq!(summary.warnings.iter().any(|w| w.contains("-inf")), silent);
        let labels = json["labels"].as_array().unwrap();
        let classes = &corpus.info().label_space.classes;
        assert_eq!(classes.len(), labels.len());
        for (class, short) in classes.iter().zip(labels) {
            assert!(class.starts_with(short.as_str().unwrap()), "{class}");
        }
        let dialogues = json["dialogues"].as_object().unwrap();
        let mut seen = 0;
        for (name, dialogue) in dialogues {
            let ids = dialogue["utterances"].as_array().unwrap();
            for (turn, id) in ids.iter().enumerate() {
                let at = format!("{}: {name}: {turn}", path.display());
                let id = id.as_str().unwrap();
                let full = [id.to_owned(), format!("{name}_{id}")];
                let is_it =
                    |u: &Utterance| u.conversation.as_deref() == Some(name) && full.contains(&u.id);
                let idx = corpus.utterances().iter().position(is_it).expect(&at);
                let utterance = &corpus.utterances()[idx];
                assert_eq!(utterance.turn, Some(turn as i64), "{at}");
                let label = utterance.labels.multimodal.map(u64::from);
                assert_eq!(label, dialogue["labels"][turn].as_u64(), "{at}");
                let sentence = dialogue["sentences"][turn].as_str();
                assert_eq!(utterance.transcript.as_deref(), sentence, "{at}");
                let speaker = match utterance.speaker.as_deref().unwrap() {
                    "M" => 0,
                    "F" => 1,
                    place => place.parse().unwrap(),
                };
                assert_eq!(Some(speaker), dialogue["speakers"][turn].as_u64(), "{at}");
                // The first tenth of the train list becomes valid.
                match dialogue["split"].as_str().unwrap() {
                    "test" => assert_eq!(utterance.split, Some(Split::Test), "{at}"),
                    _ => assert_ne!(utterance.split, Some(Split::Test), "{at}"),
                }
                for modality in Modality::ALL {
                    let key = match modality {
                        Modality::Vision => "visual",
                        other => other.as_str(),
                    };
                    let expected: Vec<_> = tensors[&format!("{name}/{key}")]
                        .row(turn)
                        .iter()
                        .map(|v| as_imported(modality, *v))
                        .collect();
                    assert_eq!(frames(&corpus, idx, modality), expected, "{at}: {modality}");
                }
                seen += 1;
            }
        }
        assert_eq!(seen, corpus.len());
        let trained = corpus.indices(Split::Train).len() + corpus.indices(Split::Valid).len();
        assert_eq!(trained + corpus.indices(Split::Test).len(), corpus.len());
    }
}

/// Gives `source` to an importer, which must refuse it quickly, name the place, and leave nothing.
fn assert_refused(format: &str, source: &Path, named: &str) {
    let dir = tempfile::tempdir().unwrap();
    let start = Instant::now();
    let error = importer(format)
        .unwrap()
        .import(
            &ImportOptions::new(source, dir.path().join("out")),
            &mut |_, _| (),
        )
        .err()
        .unwrap_or_else(|| panic!("{format} accepts {}", source.display()));
    let took = start.elapsed();
    assert!(
        took < Duration::from_secs(10),
        "{}: {took:?}",
        source.display()
    );
    assert!(
        error.to_string().contains(named),
        "{format}: {named}: {error}"
    );
    println!("{format}: {error}");
    if let Some(hint) = error.hint() {
        println!("hint: {hint}");
    }
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        0,
        "{format}: {named}"
    );
}

#[test]
#[cfg_attr(not(trimer_fixtures), ignore = "needs TRIMER_SHARED or TRIMER_GOLDEN")]
fn hostile_files_are_refused_by_every_importer() {
    let golden = golden::folder();
    let pwned = Path::new("/tmp/pwned");
    assert!(!pwned.exists(), "left over from another program: remove it");
    let folder = golden.join("corpora/hostile");
    let expected = golden::json(&folder.join("expected.json"));
    let files = expected["files"].as_object().unwrap();
    assert!(!files.is_empty());
    for name in files.keys() {
        let path = folder.join(name);
        let file_name = path.file_name().unwrap().to_str().unwrap();
        assert!(path.exists(), "{name}");
        for importer in IMPORTERS {
            assert_refused(importer.info().id, &path, file_name);
        }
        match path.extension().unwrap().to_str().unwrap() {
            "npy" => {
                assert!(
                    npy::read(&path)
                        .unwrap_err()
                        .to_string()
                        .contains(file_name)
                );
                assert_refused_as_feature(&golden, &path);
            }
            "json" => {
                let dir = tempfile::tempdir().unwrap();
                let copy = dir.path().join("train.json");
                fs::copy(&path, &copy).unwrap();
                assert_refused("cherma", dir.path(), "train.json");
                if file_name == "train.json" {
                    assert_refused("cherma", path.parent().unwrap(), file_name);
                }
            }
            _ => {}
        }
    }
    assert!(!pwned.exists(), "a file ran code");
}

/// Puts a broken array in place of a good one.
fn assert_refused_as_feature(golden: &Path, npy: &Path) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let good = golden.join("corpora/cherma/CHERMA0723");
    let index = golden::json(&good.join("train.json"));
    let wav = index[0]["audio_file"].as_str().unwrap();
    let name = wav.strip_suffix(".wav").unwrap();
    fs::write(
        root.join("train.json"),
        serde_json::to_vec(&vec![&index[0]]).unwrap(),
    )
    .unwrap();
    for modality in ["text", "audio", "visual"] {
        let suffix = if modality == "visual" {
            ".mp4.npy"
        } else {
            ".npy"
        };
        let relative = format!("{modality}/train/{name}{suffix}");
        fs::create_dir_all(root.join(&relative).parent().unwrap()).unwrap();
        fs::copy(good.join(&relative), root.join(&relative)).unwrap();
    }
    import("cherma", root, &root.join("out"));
    fs::remove_dir_all(root.join("out")).unwrap();
    let broken = format!("audio/train/{name}.npy");
    fs::remove_file(root.join(&broken)).unwrap();
    fs::copy(npy, root.join(&broken)).unwrap();
    assert_refused("cherma", root, name);
}

#[test]
#[cfg_attr(not(trimer_fixtures), ignore = "needs TRIMER_SHARED or TRIMER_GOLDEN")]
fn hostile_files_are_refused_for_their_own_fault() {
    let golden = golden::folder();
    let folder = golden.join("corpora/hostile");
    // What the message must name besides the file, by the words of the description.
    let places = [
        ("missing key", "key `"),
        ("NaN", "utterance `"),
        ("length larger", "_lengths"),
        ("object array", "object array"),
        ("reduce opcode", "is not allowed"),
        ("enormous declared shape", "do not fill shape"),
        ("fewer labels", "key `"),
        ("no samples", "no utterances"),
        ("not UTF-8", "not UTF-8"),
        ("one id twice", "utterance `"),
        ("class label outside", "utterance `"),
        ("unknown opcode", "is no opcode"),
        ("cut off", "byte "),
        ("empty file", "empty"),
    ];
    let expected = golden::json(&folder.join("expected.json"));
    let mut checked = 0;
    for (name, description) in expected["files"].as_object().unwrap() {
        if Path::new(name).extension().is_none_or(|e| e != "pkl") {
            continue;
        }
        let description = description.as_str().unwrap();
        for (words, place) in places {
            if description.contains(words) {
                let dir = tempfile::tempdir().unwrap();
                let options = ImportOptions::new(folder.join(name), dir.path().join("out"));
                let error = importer("mmsa").unwrap().import(&options, &mut |_, _| ());
                let message = error.unwrap_err().to_string();
                assert!(message.contains(place), "{name}: {message}");
                checked += 1;
            }
        }
    }
    assert!(checked > 0);
}

/// A changed byte may be refused or not, but must not bring the program down.
#[test]
#[cfg_attr(not(trimer_fixtures), ignore = "needs TRIMER_SHARED or TRIMER_GOLDEN")]
fn mutated_files_never_panic() {
    let golden = golden::folder();
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let mut state = 12345_u64;
    let mut random = move |bound: usize| {
        // Constants of Knuth's MMIX generator.
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 33) as usize % bound
    };
    for format in ["mmsa", "mult", "erc"] {
        for path in golden::files(&golden.join("corpora").join(format), "pkl") {
            let good = fs::read(&path).unwrap();
            for _ in 0..12 {
                let mut bytes = good.clone();
                for _ in 0..=random(3) {
                    // The head of the file has most instructions, the rest is mostly payload.
                    let bound = if random(2) == 0 {
                        bytes.len().min(400)
                    } else {
                        bytes.len()
                    };
                    bytes[random(bound)] = random(256) as u8;
                }
                let mutant = dir.path().join("mutant.pkl");
                fs::write(&mutant, &bytes).unwrap();
                let options = ImportOptions::new(&mutant, &out);
                if importer(format)
                    .unwrap()
                    .import(&options, &mut |_, _| ())
                    .is_ok()
                {
                    fs::remove_dir_all(&out).unwrap();
                }
                assert!(!out.exists());
            }
        }
    }
}
