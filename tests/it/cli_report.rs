//! `trimer report`: every kind of run on a page, and what is refused before anything is written.

use crate::cli::{Folder, TINY, entries, import_rows, trimer, with_corpus};
use serde_json::Value;
use std::fs;
use std::path::Path;
use trimer::corpus::{Corpus, CorpusInfo, CorpusWriter, Frames, Split, Utterance};
use trimer::{LabelSpace, ModalityMap};

const SECTIONS: [&str; 12] = [
    "protocol",
    "training",
    "plugins",
    "classes",
    "confusions",
    "head_against_head",
    "spread",
    "calibration",
    "embedding",
    "robustness",
    "conversations",
    "hardest",
];

fn train(dir: &Path, corpus: &str, out: &str, more: &str) {
    let line = format!("train --corpus {corpus} --set train.epochs=2 {more} --out {out}");
    trimer(dir, &line).ok();
}

/// The page asks nobody for anything, runs nothing, and its links lead to parts that exist.
fn sound(page: &str) {
    assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
    assert!(page.len() < 5_000_000, "{} bytes", page.len());
    for bad in [
        "<script", "<img", "<link", " src=", "@import", "url(", "<iframe",
    ] {
        assert!(!page.contains(bad), "{bad}");
    }
    for (i, _) in page.match_indices("href=\"") {
        let link = &page[i + 6..i + 40];
        let target = link.split('"').next().unwrap();
        match target.strip_prefix('#') {
            Some(id) => assert!(page.contains(&format!("<section id=\"{id}")), "{id}"),
            None => assert!(target.starts_with("data:"), "{target}"),
        }
    }
    assert!(!page.contains(">NaN<") && !page.contains("=\"NaN"));
}

/// Ids of sections that have something to show, and of those that were left out with a reason.
fn parts(run: &Value) -> (Vec<&str>, Vec<&str>) {
    SECTIONS.iter().copied().partition(|id| {
        assert!(!run[*id].is_null(), "{id} is not in the JSON");
        let reason = &run[*id]["left_out"];
        assert!(
            reason.is_null() || reason.as_str().unwrap().len() > 10,
            "{reason}"
        );
        reason.is_null()
    })
}

#[test]
fn a_run_of_utterances_has_its_sections_and_the_page_stays_the_same() {
    let dir = with_corpus(80);
    let at = dir.path();
    train(at, "c", "r", &format!("{TINY} --seeds 2"));
    let first = trimer(at, "report r --out a.html --figures figs --json").json();
    let page = fs::read_to_string(at.join("a.html")).unwrap();
    sound(&page);
    let run = &first["runs"][0];
    let (shown, left_out) = parts(run);
    assert_eq!(left_out, ["plugins", "conversations"], "{shown:?}");
    assert_eq!(first["bytes"].as_u64().unwrap() as usize, page.len());
    for title in [
        "Summary",
        "Data",
        "Protocol",
        "Training",
        "Classes",
        "Truth and prediction",
        "Head against head",
        "Spread of F1 over modalities",
        "Calibration",
        "Maps of the representations",
        "Robustness",
        "Hardest utterances",
        "Left out",
    ] {
        assert!(page.contains(&format!("<h2>{title}</h2>")), "{title}");
    }

    // The same numbers as elsewhere.
    let eval = trimer(at, "eval r --json").json();
    assert_eq!(run["heads"], eval["heads"]);
    let missing = trimer(at, "eval r --missing --json").json();
    let cases = run["robustness"]["cases"].as_array().unwrap();
    assert_eq!(cases.len(), missing["cases"].as_array().unwrap().len());
    for (ours, theirs) in cases.iter().zip(missing["cases"].as_array().unwrap()) {
        assert_eq!(ours["keep"], theirs["keep"]);
        let value = &theirs["heads"]["multimodal"]["accuracy"];
        assert_eq!(&ours["scores"]["accuracy"], value, "{ours}");
    }
    let accuracy = run["calibration"]["multimodal"]["before"]["accuracy"]
        .as_f64()
        .unwrap();
    let expected = eval["heads"]["multimodal"]["accuracy"].as_f64().unwrap();
    assert!((accuracy - expected).abs() < 1e-12);
    let f1 = |head: &str, class: &str| eval["heads"][head]["f1"][class].as_f64().unwrap();
    for (class, spread) in run["spread"]["classes"].as_object().unwrap() {
        let values = ["text", "audio", "vision"].map(|head| f1(head, class));
        let mean = values.iter().sum::<f64>() / 3.0;
        let deviation = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 3.0).sqrt();
        let found = spread["standard_deviation"].as_f64().unwrap();
        assert!((found - deviation).abs() < 1e-12, "{class}: {spread}");
    }
    check_hardest(at, run);
    check_pairs(at, run);

    check_figures(at, &first["figures"]);

    // The test split was opened once more, which is noted; the page is the same to the byte.
    let protocol = fs::read_to_string(at.join("r/protocol.json")).unwrap();
    assert_eq!(protocol.matches("\"report\"").count(), 1);
    trimer(at, "report r --out b.html").ok();
    trimer(at, "report r --out d.html").ok();
    let protocol = fs::read_to_string(at.join("r/protocol.json")).unwrap();
    assert_eq!(protocol.matches("\"report\"").count(), 3);
    // evaluations lie between the first page and these two
    let [again, once_more] = ["b.html", "d.html"].map(|name| fs::read(at.join(name)).unwrap());
    assert!(again == once_more);

    // Validation is not test, and less is shown when less is asked for.
    let valid = trimer(
        at,
        "report r --split valid --without robustness,embedding,data --out v.html --json",
    )
    .json();
    assert!(valid["runs"][0]["robustness"].is_null());
    let text = fs::read_to_string(at.join("v.html")).unwrap();
    assert!(!text.contains("<h2>Robustness</h2>") && !text.contains("<h2>Data</h2>"));
    let protocol = fs::read_to_string(at.join("r/protocol.json")).unwrap();
    assert_eq!(protocol.matches("\"report\"").count(), 3);
}

/// Every figure lies in the folder `figs`, twice.
fn check_figures(at: &Path, figures: &Value) {
    let figures = figures.as_array().unwrap();
    let files = entries(&at.join("figs"));
    assert_eq!(files.len(), 2 * figures.len());
    assert!(figures.len() > 15, "{figures:?}");
    for name in figures {
        let name = name.as_str().unwrap();
        let svg = fs::read_to_string(at.join(format!("figs/{name}.svg"))).unwrap();
        assert!(
            svg.starts_with("<?xml") && svg.ends_with("</svg>\n"),
            "{name}"
        );
        let csv = fs::read_to_string(at.join(format!("figs/{name}.csv"))).unwrap();
        assert!(csv.lines().count() > 1, "{name}");
    }
}

/// The hardest utterances are those whose true class has the lowest probability.
fn check_hardest(at: &Path, run: &Value) {
    let mut losses: Vec<(f64, String)> = Vec::new();
    let corpus = Corpus::open(at.join("c")).unwrap();
    let predicted = [1, 2].map(|seed| {
        trimer(
            at,
            &format!("predict r --corpus c --split test --seed {seed} --raw --json"),
        )
        .json()
    });
    let classes = &corpus.info().label_space.classes;
    for (i, one) in predicted[0].as_array().unwrap().iter().enumerate() {
        let id = one["id"].as_str().unwrap();
        let found = corpus.utterances().iter().find(|u| u.id == id).unwrap();
        let class = &classes[found.labels.multimodal.unwrap() as usize];
        let loss = |seed: &Value| {
            let p = &seed[i]["heads"]["multimodal"]["probabilities"][class];
            -p.as_f64().unwrap().ln()
        };
        let mean = f64::midpoint(loss(&predicted[0]), loss(&predicted[1]));
        losses.push((mean, id.to_owned()));
    }
    losses.sort_by(|a, b| b.0.total_cmp(&a.0));
    let listed = run["hardest"]["utterances"].as_array().unwrap();
    for ((loss, _), hard) in losses.iter().zip(listed) {
        assert!(
            (hard["loss"].as_f64().unwrap() - loss).abs() < 1e-4,
            "{hard}"
        );
    }
    assert_eq!(listed[0]["id"], losses[0].1);
}

/// How often text and audio differ, counted once more from what `predict` says.
fn check_pairs(at: &Path, run: &Value) {
    let (mut n, mut differ, mut first) = (0, 0, 0);
    let corpus = Corpus::open(at.join("c")).unwrap();
    let classes = &corpus.info().label_space.classes;
    for seed in [1, 2] {
        let line = format!("predict r --corpus c --split test --seed {seed} --json");
        for one in trimer(at, &line).json().as_array().unwrap() {
            let best = |head: &str| {
                let all = one["heads"][head]["probabilities"].as_object().unwrap();
                let mut best = ("", f64::MIN);
                for class in classes {
                    let p = all[class].as_f64().unwrap();
                    if p > best.1 {
                        best = (class, p);
                    }
                }
                best.0.to_owned()
            };
            let id = one["id"].as_str().unwrap();
            let found = corpus.utterances().iter().find(|u| u.id == id).unwrap();
            let truth = &classes[found.labels.multimodal.unwrap() as usize];
            let (text, audio) = (best("text"), best("audio"));
            n += 1;
            if text != audio {
                differ += 1;
                first += usize::from(text == *truth);
            }
        }
    }
    let pair = &run["head_against_head"]["pairs"][0];
    assert_eq!((&pair["a"], &pair["b"]), (&"text".into(), &"audio".into()));
    let share = pair["differ"].as_f64().unwrap();
    assert!(
        (share - f64::from(differ) / f64::from(n)).abs() < 1e-12,
        "{pair}"
    );
    let right = pair["a_right"].as_f64();
    let expected = (differ > 0).then(|| first as f64 / f64::from(differ));
    assert_eq!(right.is_some(), expected.is_some());
    if let (Some(right), Some(expected)) = (right, expected) {
        assert!((right - expected).abs() < 1e-12, "{pair}");
    }
}

#[test]
fn runs_of_different_corpora_and_models_stand_side_by_side() {
    let dir = with_corpus(60);
    let at = dir.path();
    trimer(at, "corpus synth other --utterances 60 --seed 9").ok();
    train(at, "c", "one", TINY);
    trimer(at, "train --corpus other --model majority --out two").ok();
    let both = trimer(at, "report one two --out r.html --json").json();
    let page = fs::read_to_string(at.join("r.html")).unwrap();
    sound(&page);
    assert_eq!(both["runs"].as_array().unwrap().len(), 2);
    assert!(page.contains("different corpora"));
    assert!(page.contains("<h3>one</h3>") && page.contains("<h3>two</h3>"));
    let (_, left_out) = parts(&both["runs"][1]);
    for id in ["embedding", "robustness", "plugins"] {
        assert!(left_out.contains(&id), "{left_out:?}");
    }
    assert!(page.contains("Left out: "), "a column says why it is empty");
    // Two runs of one name are distinguished by their paths.
    fs::create_dir(at.join("sub")).unwrap();
    train(at, "c", "sub/one", TINY);
    let same = trimer(
        at,
        "report one sub/one --without robustness --out s.html --json",
    )
    .json();
    assert_eq!(same["runs"][1]["name"], "sub/one");
    let page = fs::read_to_string(at.join("s.html")).unwrap();
    assert!(!page.contains("different corpora"));
    assert_eq!(page.matches("<h2>Data</h2>").count(), 1);
}

#[test]
fn scores_have_a_page_too() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let source = at.join("s");
    let mut folder = Folder::new(&source, "split,transcript,score,score_text");
    for i in 0..60 {
        let split = ["train", "train", "valid", "test"][i % 4];
        let score = (i % 13) as f64 / 2.0 - 3.0;
        folder.add(&format!(
            "{split},\"<b>no. {i}</b> & <script>x</script>\",{score},{}",
            -score
        ));
    }
    folder.finish();
    trimer(at, "corpus import s c").ok();
    train(at, "c", "r", TINY);
    let found = trimer(at, "report r --out r.html --json").json();
    let page = fs::read_to_string(at.join("r.html")).unwrap();
    sound(&page);
    assert!(
        page.contains("&lt;script&gt;"),
        "transcripts are shown as text"
    );
    let (shown, left_out) = parts(&found["runs"][0]);
    assert_eq!(
        left_out,
        [
            "plugins",
            "classes",
            "spread",
            "calibration",
            "conversations"
        ],
        "{shown:?}"
    );
    assert!(page.contains("predicted score"));
}

#[test]
fn yes_no_labels_have_a_page_too() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    yes_no(&at.join("c"));
    let tiny = "--model mult --set model.preset=paper --set model.d_model=8 --set model.n_heads=2 \
                --set model.n_layers=1 --set train.batch_size=16";
    train(at, "c", "r", tiny);
    let found = trimer(at, "report r --out r.html --json").json();
    sound(&fs::read_to_string(at.join("r.html")).unwrap());
    let run = &found["runs"][0];
    let (shown, left_out) = parts(run);
    assert_eq!(
        left_out,
        ["plugins", "head_against_head", "spread", "conversations"],
        "{shown:?}"
    );
    assert_eq!(run["confusions"].as_object().unwrap().len(), 2);
    let counts = &run["confusions"]["happy"];
    let n: f64 = (0..4).map(|k| counts[k / 2][k % 2].as_f64().unwrap()).sum();
    assert_eq!(n, 20.0);
}

fn yes_no(folder: &Path) {
    let info = CorpusInfo {
        name: "yes-no".into(),
        label_space: LabelSpace {
            binary: vec!["happy".into(), "sad".into()],
            ..LabelSpace::default()
        },
        ..CorpusInfo::default()
    };
    let mut writer = CorpusWriter::create(folder, info).unwrap();
    for i in 0..80_usize {
        let frames = |salt: usize| {
            let values = (0..6).map(|k| ((i * 7 + (k + salt) * 13) % 11) as f32 - 5.0);
            Some(Frames {
                values: values.collect(),
                dim: 2,
            })
        };
        let utterance = Utterance {
            id: format!("u{i:03}"),
            split: Some([Split::Train, Split::Train, Split::Valid, Split::Test][i % 4]),
            binary: vec![i % 3 == 0, i % 5 < 2],
            ..Utterance::default()
        };
        let features = ModalityMap {
            text: frames(0),
            audio: frames(50),
            vision: None,
        };
        writer.push(utterance, features).unwrap();
    }
    writer.finish().unwrap();
}

#[test]
fn a_model_of_conversations_is_evaluated_by_their_length() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    trimer(
        at,
        "corpus synth c --preset dialogue --utterances 300 --seed 3",
    )
    .ok();
    train(
        at,
        "c",
        "r",
        "--model bc_lstm --set model.d_hidden=8 --set train.batch_size=8",
    );
    let found = trimer(at, "report r --out r.html --json").json();
    sound(&fs::read_to_string(at.join("r.html")).unwrap());
    let run = &found["runs"][0];
    let (_, left_out) = parts(run);
    assert!(!left_out.contains(&"conversations"), "{left_out:?}");
    let groups = run["conversations"]["groups"].as_array().unwrap();
    let corpus = Corpus::open(at.join("c")).unwrap();
    let n: u64 = groups
        .iter()
        .map(|g| g["utterances"].as_u64().unwrap())
        .sum();
    assert_eq!(n as usize, corpus.indices(Split::Test).len());
    // The groups together are as good as the whole.
    let right: f64 = groups
        .iter()
        .map(|g| g["accuracy"].as_f64().unwrap() * g["utterances"].as_f64().unwrap())
        .sum();
    let accuracy = run["heads"]["multimodal"]["accuracy"].as_f64().unwrap();
    assert!((right / n as f64 - accuracy).abs() < 1e-9, "{groups:?}");
}

#[test]
fn a_stored_temperature_is_shown_before_and_after() {
    let dir = with_corpus(60);
    let at = dir.path();
    train(at, "c", "r", TINY);
    let calibration = at.join("r/seed-1/calibration.json");
    // What the seed stored itself gives way.
    let text = fs::read_to_string(&calibration).unwrap();
    let mut stored: serde_json::Value = serde_json::from_str(&text).unwrap();
    stored["heads"]["multimodal"]["temperature"] = 2.0.into();
    fs::write(calibration, stored.to_string()).unwrap();
    let found = trimer(
        at,
        "report r --without robustness,embedding --out r.html --json",
    )
    .json();
    let head = &found["runs"][0]["calibration"]["multimodal"];
    assert_eq!(head["temperatures"], serde_json::json!([2.0]));
    assert_eq!(head["before"]["accuracy"], head["after"]["accuracy"]);
    assert_ne!(head["before"]["ece"], head["after"]["ece"]);
    let page = fs::read_to_string(at.join("r.html")).unwrap();
    assert!(page.contains("Reliability of the multimodal head, with temperature"));
}

#[test]
fn what_cannot_be_shown_is_refused_before_anything_is_written() {
    let dir = with_corpus(40);
    let at = dir.path();
    train(at, "c", "r", &format!("{TINY} --seeds 2"));
    let protocol = || fs::read_to_string(at.join("r/protocol.json")).unwrap();
    let before = protocol();
    fs::create_dir(at.join("taken")).unwrap();
    for (line, words) in [
        ("report nothing", vec!["nothing", "no such directory"]),
        ("report c", vec!["it is not a run"]),
        ("report r r", vec!["named twice"]),
        ("report r --out taken", vec!["is a directory"]),
        (
            "report r --out none/r.html",
            vec!["create the directory `none` first"],
        ),
        ("report r --figures taken", vec!["exists already"]),
        (
            "report r --without robustnes",
            vec!["did you mean `robustness`?"],
        ),
        ("report r --points 9999", vec!["out of range", "0 to 5000"]),
        ("report r --corpus none", vec!["none"]),
        ("report r --device gpu", vec!["gpu"]),
    ] {
        trimer(at, line).refused(&words);
        assert!(!at.join("report.html").exists(), "{line}");
    }
    assert_eq!(before, protocol(), "the test split stays closed");
    // A seed without weights.
    let weights = at.join("r/seed-2/best.safetensors");
    fs::rename(&weights, at.join("kept")).unwrap();
    trimer(at, "report r").refused(&["seed 2 is not trained", "--resume r"]);
    fs::rename(at.join("kept"), &weights).unwrap();
    // Weights of a training that goes on.
    fs::rename(at.join("r/metrics.json"), at.join("kept")).unwrap();
    trimer(at, "report r").refused(&["has not ended", "--resume r"]);
    fs::rename(at.join("kept"), at.join("r/metrics.json")).unwrap();
    // A corpus that is gone or has changed.
    fs::rename(at.join("c"), at.join("moved")).unwrap();
    trimer(at, "report r").refused(&["not there any more", "--corpus DIR"]);
    trimer(
        at,
        "report r --corpus moved --without robustness --out m.html",
    )
    .ok();
    trimer(at, "corpus synth c --utterances 50 --seed 1").ok();
    trimer(at, "report r").refused(&["has changed"]);
    import_rows(
        at,
        "unlabelled",
        "split",
        &["train", "train", "train", "test", "valid"],
    )
    .ok();
    let before = protocol();
    let ran = trimer(at, "report r --corpus unlabelled");
    assert_eq!(ran.code, Some(2), "{ran}");
    assert_eq!(before, protocol());
    assert!(!at.join("report.html").exists());
    // A run that selected on test.
    train(at, "moved", "bad", &format!("{TINY} --select-on test"));
    trimer(at, "report bad").refused(&["selected its epoch on the test split"]);
    trimer(
        at,
        "report bad --select-on test --without robustness --out bad.html",
    )
    .ok();
    let page = fs::read_to_string(at.join("bad.html")).unwrap();
    assert!(page.contains("SELECTED ON TEST"));
}

/// The losses that a model asks for in addition to its heads stand in every line of the log, but no plug-in made them.
#[test]
fn losses_of_the_model_are_nothing_that_plugins_measured() {
    let dir = with_corpus(60);
    let at = dir.path();
    let line = "train --corpus c --model mlf_dnn --set train.epochs=1 --out r";
    trimer(at, line).ok();
    let log = fs::read_to_string(at.join("r/seed-1/log.jsonl")).unwrap();
    assert!(log.contains("aux_losses"), "{log}");
    let line = "report r --without robustness --without embedding --out r.html --json";
    let run = trimer(at, line).json()["runs"][0].take();
    assert!(run["plugins"]["left_out"].is_string(), "{}", run["plugins"]);
}
