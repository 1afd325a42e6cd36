//! `predict --explain`: contributions that sum to what they explain, and that are nothing for noise.

use crate::cli::{TINY, entries, import_rows, trimer, with_corpus};
use serde_json::Value;
use std::{collections::BTreeMap, fs, path::Path};
use trimer::corpus::Corpus;

fn number(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("{value} is no number"))
}

/// The sum of the contributions must be the difference that they explain.
fn check_sums(part: &Value) {
    let parts = part["contributions"].as_object().unwrap();
    let sum: f64 = parts.values().map(number).sum();
    let difference = number(&part["with_all"]) - number(&part["with_none"]);
    assert!((sum - difference).abs() < 1e-6, "{part}");
}

fn train(dir: &Path, more: &str) {
    trimer(dir, &format!("train --corpus c {TINY} --out r {more}")).ok();
}

#[test]
fn contributions_sum_to_the_difference_and_less_is_what_a_model_with_less_says() {
    let dir = with_corpus(60);
    let at = dir.path();
    train(at, "--set train.epochs=3 --set data.normalise=standard");
    let said = trimer(at, "predict r --corpus c --split test --json").json();
    let why = trimer(at, "predict r --corpus c --split test --explain --json").json();
    trimer(at, "corpus export c e").ok();
    for (said, one) in said.as_array().unwrap().iter().zip(why.as_array().unwrap()) {
        assert_eq!(said["heads"], one["heads"]);
        let e = &one["explanation"];
        assert_eq!(
            (&e["head"], &e["value"]),
            (&"multimodal".into(), &"probability".into())
        );
        assert_eq!(e["class"], said["heads"]["multimodal"]["class"]);
        check_sums(e);
        let targets = e["targets"].as_object().unwrap();
        assert_eq!(targets.len(), 7);
        let mut by_modality: BTreeMap<&str, f64> = BTreeMap::new();
        for (class, part) in targets {
            check_sums(part);
            assert_eq!(
                part["with_all"],
                said["heads"]["multimodal"]["probabilities"][class]
            );
            for (m, v) in part["contributions"].as_object().unwrap() {
                *by_modality.entry(m).or_default() += number(v);
            }
        }
        // Probabilities sum to 1 whatever is seen, so what a class gains another loses.
        assert!(
            by_modality.values().all(|sum| sum.abs() < 1e-6),
            "{by_modality:?}"
        );
        let subsets = e["subsets"].as_array().unwrap();
        assert_eq!(subsets.len(), 8);
        assert_eq!(subsets[0]["keep"], serde_json::json!([]));
        assert_eq!(
            subsets[7]["probabilities"],
            said["heads"]["multimodal"]["probabilities"]
        );
    }
    // Exact Shapley values of three from the eight subsets, written out.
    let e = &why[0]["explanation"];
    let class = e["class"].as_str().unwrap();
    let v = |keep: &[&str]| {
        let found = e["subsets"].as_array().unwrap().iter();
        let mut found = found.filter(|s| s["keep"] == serde_json::json!(keep));
        number(&found.next().unwrap()["probabilities"][class])
    };
    let (t, a, i) = ("text", "audio", "vision");
    let audio = (v(&[a]) - v(&[])) / 3.0
        + (v(&[t, a]) - v(&[t])) / 6.0
        + (v(&[a, i]) - v(&[i])) / 6.0
        + (v(&[t, a, i]) - v(&[t, i])) / 3.0;
    assert!((number(&e["contributions"]["audio"]) - audio).abs() < 1e-9);
    // Without audio is what the model says about an utterance that has none.
    let id = why[0]["id"].as_str().unwrap();
    let files = [t, i]
        .map(|m| format!("--features {m}=e/{m}/{id}.npy"))
        .join(" ");
    let deaf = trimer(at, &format!("predict r {files} --explain --json")).json();
    for (class, p) in deaf[0]["heads"]["multimodal"]["probabilities"]
        .as_object()
        .unwrap()
    {
        let expected = number(&e["without"]["audio"]["probabilities"][class]);
        assert!((number(p) - expected).abs() < 1e-5, "{class}");
    }
    let d = &deaf[0]["explanation"];
    check_sums(d);
    assert_eq!(d["modalities"], serde_json::json!(["text", "vision"]));
    assert_eq!(d["subsets"].as_array().unwrap().len(), 4);
    // Raw probabilities are explained as such.
    let raw = trimer(
        at,
        &format!("predict r --corpus c --id {id} --raw --explain --json"),
    )
    .json();
    check_sums(&raw[0]["explanation"]);
    assert_eq!(
        raw[0]["explanation"]["with_all"],
        raw[0]["heads"]["multimodal"]["probabilities"][class]
    );
    assert_ne!(raw[0]["explanation"]["with_all"], e["with_all"]);
    // For people: one row per utterance.
    let text = trimer(at, "predict r --corpus c --split test --explain").ok();
    assert_eq!(text.out.lines().count(), said.as_array().unwrap().len() + 1);
    assert!(text.out.contains("without audio"), "{text}");
}

/// What is told of one utterance's attention: which frames, and the share that each has.
fn check_attention(one: &Value, corpus: &Corpus, towers: &[&str], out: &str) {
    let attention = &one["explanation"]["attention"];
    let frames = &attention["frames"]["audio"];
    let index: Vec<u64> = frames["index"]
        .as_array()
        .unwrap()
        .iter()
        .map(|i| i.as_u64().unwrap())
        .collect();
    // Audio has more frames than the four that are read: the first and the last among them.
    let available = {
        let id = one["id"].as_str().unwrap();
        let row = corpus.utterances().iter().position(|u| u.id == id).unwrap();
        corpus.frame_count(row, trimer::Modality::Audio) as u64
    };
    assert_eq!(index.len(), 4);
    assert!(index.is_sorted() && *index.last().unwrap() < available);
    if out == "r" {
        assert_eq!(
            (index[0], index[3]),
            (0, available - 1),
            "spread over the utterance"
        );
    }
    assert_eq!(number(&frames["seconds"][1]), index[1] as f64 / 25.0);
    let layers = attention["layers"].as_array().unwrap();
    let mut seen: Vec<&str> = layers
        .iter()
        .map(|l| l["tower"].as_str().unwrap())
        .collect();
    seen.dedup();
    let mut expected = towers.to_vec();
    seen.sort_unstable();
    expected.sort_unstable();
    assert_eq!(seen, expected, "{out}");
    for layer in layers {
        let shares = layer["shares"].as_object().unwrap();
        let mut sum = number(&layer["elsewhere"]);
        for (modality, shares) in shares {
            let shares = shares.as_array().unwrap();
            let n = attention["frames"][modality]["index"]
                .as_array()
                .unwrap()
                .len();
            assert_eq!(shares.len(), n);
            assert!(shares.iter().all(|s| (0.0..=1.0).contains(&number(s))));
            sum += shares.iter().map(number).sum::<f64>();
        }
        assert!((sum - 1.0).abs() < 1e-5, "{layer}");
    }
}

#[test]
fn attention_is_told_over_the_frames_that_the_model_reads() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    trimer(at, "corpus synth s --utterances 40 --seed 3").ok();
    // The corpus knows the rate of its audio.
    trimer(at, "corpus export s e").ok();
    trimer(at, "corpus import e c").ok();
    let about = at.join("c/corpus.toml");
    let text = fs::read_to_string(&about).unwrap();
    assert!(text.contains("[modalities.audio]"), "{text}");
    fs::write(
        &about,
        text.replace(
            "[modalities.audio]\n",
            "[modalities.audio]\nrate_hz = 25.0\n",
        ),
    )
    .unwrap();
    for (out, more, towers) in [
        (
            "r",
            "--set model.n_layers=2",
            vec!["multimodal", "text", "audio", "vision"],
        ),
        (
            "released",
            "--set model.preset=released",
            vec!["multimodal", "text", "audio", "vision"],
        ),
        (
            "masked",
            "--set model.mask_padding=true",
            vec!["multimodal", "text", "audio", "vision"],
        ),
        (
            "late",
            "--model lf_transformer",
            vec!["text", "audio", "vision"],
        ),
        ("early", "--model ef_transformer", vec!["multimodal"]),
        (
            "alone",
            "--model unimodal --set model.modality=audio",
            vec!["audio"],
        ),
    ] {
        let line = format!("train --corpus c {TINY} --set train.epochs=1 --out {out} {more}");
        trimer(at, &line).ok();
        let why = trimer(
            at,
            &format!("predict {out} --corpus c --split test --explain --json"),
        )
        .json();
        let corpus = Corpus::open(at.join("c")).unwrap();
        for one in why.as_array().unwrap() {
            check_attention(one, &corpus, &towers, out);
        }
    }
}

#[test]
fn noise_contributes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    trimer(
        at,
        "corpus synth c --utterances 1500 --seed 5 --noise vision",
    )
    .ok();
    let line = "train --corpus c --out r --set model.d_model=24 --set model.n_heads=2 \
        --set model.d_ff=48 --set model.n_layers=2 --set train.epochs=8 --set train.batch_size=32 \
        --set train.lr=2e-3 --set train.modality_dropout=0.2 --set data.lengths.audio=14";
    let trained = trimer(at, &format!("{line} --json")).json();
    let accuracy = number(&trained["heads"]["multimodal"]["accuracy"]);
    assert!(
        accuracy > 0.6,
        "a model that knows nothing explains nothing: {accuracy}"
    );
    let why = trimer(at, "predict r --corpus c --split test --explain --json").json();
    let mut sums: BTreeMap<&str, [f64; 2]> = BTreeMap::new();
    let n = why.as_array().unwrap().len() as f64;
    for one in why.as_array().unwrap() {
        check_sums(&one["explanation"]);
        for (modality, part) in one["explanation"]["contributions"].as_object().unwrap() {
            let [mean, size] = sums.entry(modality).or_default();
            *mean += number(part) / n;
            *size += number(part).abs() / n;
        }
    }
    println!("modality  mean contribution  mean |contribution|");
    for (modality, [mean, size]) in &sums {
        println!("{modality:8}  {mean:17.4}  {size:19.4}");
    }
    let [text, audio, vision] = ["text", "audio", "vision"].map(|m| sums[m]);
    assert!(vision[0].abs() < 0.02, "{sums:?}");
    assert!(vision[1] < 0.2 * text[1].min(audio[1]), "{sums:?}");
    assert!(text[0] > 0.05 && audio[0] > 0.05, "{sums:?}");
}

#[test]
fn every_utterance_gets_a_page_of_its_own() {
    let dir = with_corpus(40);
    let at = dir.path();
    train(at, "--set train.epochs=1");
    let line = "predict r --corpus c --id 00000 --id 00001 --explain --pages why";
    trimer(at, line).ok();
    assert_eq!(entries(&at.join("why")), ["00000.html", "00001.html"]);
    let page = fs::read_to_string(at.join("why/00000.html")).unwrap();
    for word in [
        "Contributions",
        "Without audio",
        "Attention over time",
        "Shapley",
        "viewport",
        "light dark",
    ] {
        assert!(page.contains(word), "{word}");
    }
    for outside in ["src=\"http", "href=\"http", "<script", "url(http"] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.len() < 1_000_000);
    // Taken places are refused before anything is computed, and pages need explanations.
    trimer(at, line).refused(&["`why` is not an empty directory", "hint: "]);
    let alone = trimer(at, "predict r --corpus c --pages other");
    assert!(alone.code == Some(2) && !at.join("other").exists());
}

#[test]
fn one_modality_and_scores_and_conversations_are_explained_too() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let rows: Vec<String> = (0..40)
        .map(|i| {
            let split = ["train", "valid", "test", "train"][i % 4];
            format!(
                "{split},talk{},{},{},{}",
                i / 8,
                i % 8,
                ["x", "y"][i % 2],
                (i % 7) as f64 - 3.0
            )
        })
        .collect();
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    import_rows(at, "c", "split,conversation,turn,speaker,score", &rows).ok();
    // Scores: contributions to the score itself.
    train(at, "--set train.epochs=1");
    let why = trimer(at, "predict r --corpus c --split test --explain --json").json();
    let e = &why[0]["explanation"];
    check_sums(e);
    assert_eq!(
        (&e["value"], &e["with_all"]),
        (&"score".into(), &why[0]["heads"]["multimodal"]["score"])
    );
    assert!(e["without"]["text"]["score"].is_f64());
    // One modality: all of the difference is its own.
    trimer(at, &format!("train --corpus c {TINY} --model unimodal --set model.modality=audio --set train.epochs=1 --out one")).ok();
    let why = trimer(at, "predict one --corpus c --split test --explain --json").json();
    let e = &why[0]["explanation"];
    check_sums(e);
    let others = ["text", "vision"].map(|m| e["contributions"][m].as_f64());
    assert!(others.iter().all(|o| o.is_none_or(|v| v == 0.0)), "{e}");
    trimer(
        at,
        "predict one --corpus c --split test --explain --pages pages",
    )
    .ok();
    // Conversations: a modality is taken from the whole conversation.
    trimer(
        at,
        "train --corpus c --model bc_lstm --set train.epochs=1 --out talk",
    )
    .ok();
    for more in ["", "--online"] {
        let why = trimer(
            at,
            &format!("predict talk --corpus c --split test --explain --json {more}"),
        )
        .json();
        for one in why.as_array().unwrap() {
            check_sums(&one["explanation"]);
            assert!(one["explanation"]["attention"].is_null());
            let explained = number(&one["explanation"]["with_all"]);
            assert!((explained - number(&one["heads"]["multimodal"]["score"])).abs() < 1e-6);
        }
    }
    trimer(at, "predict r --corpus c --online --explain").refused(&["single utterances", "hint: "]);
    trimer(
        at,
        "predict talk --corpus c --split test --explain --pages talks",
    )
    .ok();
    assert_eq!(entries(&at.join("talks")).len(), 10);
}
