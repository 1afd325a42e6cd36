//! `trimer labels` and `trimer corpus stats` from outside.

use crate::{
    cli::{entries, trimer, with_corpus},
    golden,
};
use serde_json::Value;
use std::{fmt::Write as _, fs, path::Path};

/// Votes of the rule's every case: 3:0, 2:1, 3:1, 2:2, 2:1:1, 1:1:1 and two votes only.
fn write_votes(dir: &Path) {
    let mut text = String::from("id,modality,annotator,label\n");
    for (id, modality, votes) in [
        ("u1", "text", "jjj"),
        ("u1", "multimodal", "jjs"),
        ("u2", "text", "jsjj"),
        ("u2", "multimodal", "jsjs"),
        ("u3", "text", "jsja"),
        ("u3", "multimodal", "sss"),
        ("u4", "text", "jsa"),
        ("u4", "multimodal", "aa"),
        ("u5", "text", "sss"),
        ("u5", "multimodal", "aaa"),
    ] {
        for (k, vote) in votes.chars().enumerate() {
            let label = match vote {
                'j' => "joy",
                's' => "sad",
                _ => "anger",
            };
            let _ = writeln!(text, "{id},{modality},ann{k},{label}");
        }
    }
    fs::write(dir.join("votes.csv"), text).unwrap();
}

#[test]
fn votes_become_labels_by_the_rule_of_the_paper() {
    let dir = tempfile::tempdir().unwrap();
    write_votes(dir.path());
    let found = trimer(dir.path(), "labels aggregate votes.csv --out out --json").json();
    assert_eq!(found["rule"], "lfmim");
    assert_eq!(found["classes"], serde_json::json!(["anger", "joy", "sad"]));
    let text = &found["states"]["text"];
    assert_eq!([&text["accepted"], &text["discarded"]], [3, 2]);
    let joint = &found["states"]["multimodal"];
    assert_eq!(
        [
            &joint["accepted"],
            &joint["discarded"],
            &joint["needs_fourth_vote"],
            &joint["needs_votes"]
        ],
        [2, 1, 1, 1]
    );
    assert_eq!(found["complete"], 1);
    let todo: Vec<_> = found["todo"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| (t["id"].as_str().unwrap(), t["state"].as_str().unwrap()))
        .collect();
    assert_eq!(todo, [("u1", "needs_fourth_vote"), ("u4", "needs_votes")]);
    assert_eq!(
        entries(&dir.path().join("out")),
        ["labels.csv", "soft.csv", "summary.json", "todo.csv"]
    );
    let read = |name: &str| fs::read_to_string(dir.path().join("out").join(name)).unwrap();
    assert_eq!(
        read("labels.csv"),
        "id,label_text,label\nu1,joy,\nu2,joy,\nu3,,sad\nu4,,\nu5,sad,anger\n"
    );
    assert_eq!(
        read("todo.csv"),
        "id,modality,state,votes,missing_votes\nu1,multimodal,needs_fourth_vote,3,1\nu4,multimodal,needs_votes,2,1\n"
    );
    let soft = read("soft.csv");
    assert!(
        soft.starts_with("id,modality,state,label,votes,p_anger,p_joy,p_sad\n"),
        "{soft}"
    );
    assert!(
        soft.contains("u2,text,accepted,joy,4,0,0.75,0.25\n"),
        "{soft}"
    );
    trimer(dir.path(), "labels aggregate votes.csv --out out")
        .refused(&["exists already", "hint: "]);

    // the labels can be examined at once, and Parquet holds the same
    let stats = trimer(dir.path(), "labels stats out/labels.csv --json").json();
    assert_eq!(stats["n"], 5);
    trimer(
        dir.path(),
        "labels aggregate votes.csv --out p --parquet --complete",
    )
    .ok();
    let stats = trimer(dir.path(), "labels stats p/labels.parquet --json").json();
    assert_eq!(stats["n"], 1);
    assert_eq!(stats["conflicts"][0]["id"], "u5");
}

#[test]
fn a_vote_that_cannot_be_right_is_named_with_its_row() {
    let dir = tempfile::tempdir().unwrap();
    write_votes(dir.path());
    let good = fs::read_to_string(dir.path().join("votes.csv")).unwrap();
    let last = good.lines().count();
    let row =
        |text: &str| fs::write(dir.path().join("bad.csv"), format!("{good}{text}\n")).unwrap();
    let line = format!("line {}", last + 1);
    let run = |options: &str| trimer(dir.path(), &format!("labels aggregate bad.csv {options}"));
    row("u1,text,ann0,joy");
    run("").refused(&[&line, "utterance `u1`", "already in line 2", "hint: "]);
    row("u6,text,anm0,joy");
    run("--annotators ann0,ann1,ann2,ann3").refused(&[
        &line,
        "`anm0` is not an annotator",
        "hint: ",
    ]);
    row("u6,text,ann0,yoy");
    run("--classes anger,joy,sad").refused(&[&line, "`yoy`", "hint: did you mean `joy`?"]);
    row("u6,txt,ann0,joy");
    run("").refused(&[
        &line,
        "`txt` is not a modality",
        "hint: did you mean `text`?",
    ]);
    row("u6,text,ann0");
    run("").refused(&[&line, "3 cells, the header has 4"]);
    row("u6,text,ann0,\u{0}");
    run("").refused(&[&line, "NUL"]);
    row("");
    run("--rule majorty").refused(&["`majorty` is not a rule", "hint: did you mean `majority`?"]);
    run("--rule majority --threshold 1.5").refused(&["threshold"]);
    run("--format kounts").refused(&["format of votes", "hint: did you mean `counts`?"]);
    trimer(dir.path(), "labels aggregate none.csv").refused(&["none.csv", "hint: "]);
}

#[test]
fn hostile_tables_of_labels_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let cases: [(&str, Vec<u8>, &str); 6] = [
        ("utf16.csv", b"\xff\xfei\0d\0,\0l\0".to_vec(), "NUL"),
        ("latin1.csv", b"id,label\na,caf\xe9\n".to_vec(), "line 2"),
        (
            "huge.csv",
            [b"id,label\na,\"".to_vec(), vec![b'x'; 4 << 20]].concat(),
            "bytes in one row",
        ),
        (
            "missing.csv",
            b"id,score\na,1\n".to_vec(),
            "no column of labels",
        ),
        ("cut.parquet", b"PAR1\x15\x04\x15".to_vec(), "cut.parquet"),
        ("empty.csv", Vec::new(), "empty"),
    ];
    for (name, bytes, words) in cases {
        fs::write(at.join(name), bytes).unwrap();
        trimer(at, &format!("labels stats {name} --conflicts list.csv")).refused(&[name, words]);
        assert!(!at.join("list.csv").exists(), "{name}");
    }
}

#[test]
fn a_corpus_and_its_manifest_have_the_same_statistics() {
    let dir = with_corpus(200);
    let at = dir.path();
    trimer(at, "corpus export c folder").ok();
    let corpus = trimer(at, "labels stats c --json --report report.html").json();
    let table = trimer(
        at,
        "labels stats folder/manifest.csv --json --conflicts all.csv",
    )
    .json();
    for key in ["n", "inconsistency", "conflicts_total"] {
        assert_eq!(corpus[key], table[key], "{key}");
    }
    let check = trimer(at, "corpus check c --json");
    let check: Value = serde_json::from_str(&check.out).unwrap();
    for (pair, d) in corpus["inconsistency"]["pairs"]
        .as_array()
        .unwrap()
        .iter()
        .zip(check["disagreement"].as_array().unwrap())
    {
        assert_eq!(pair["value"], d["rate"], "{pair} {d}");
        let ci = &pair["ci"];
        assert!(ci[0].as_f64() < pair["value"].as_f64() && pair["value"].as_f64() < ci[1].as_f64());
    }
    let listed = fs::read_to_string(at.join("all.csv")).unwrap();
    assert_eq!(
        listed.lines().count() as u64 - 1,
        corpus["conflicts_total"].as_u64().unwrap()
    );
    let page = fs::read_to_string(at.join("report.html")).unwrap();
    assert!(page.contains("Incon(u1, u2)") && page.contains("<svg"));
    let capped = trimer(at, "labels stats c --json --max-conflicts 2").json();
    assert_eq!(capped["conflicts"].as_array().unwrap().len(), 2);
}

#[test]
fn a_data_card_in_three_forms() {
    let dir = with_corpus(200);
    let at = dir.path();
    trimer(
        at,
        "corpus stats c --card card.md --card card.html --card card.json",
    )
    .ok()
    .says(&["data card in card.md"]);
    let markdown = fs::read_to_string(at.join("card.md")).unwrap();
    assert!(
        markdown.contains("| utterances | 200 |")
            && markdown.contains("speakers: none in two splits")
    );
    let page = fs::read_to_string(at.join("card.html")).unwrap();
    assert!(
        page.starts_with("<!doctype html>") && page.contains("Leakage") || page.contains("Splits")
    );
    let json: Value =
        serde_json::from_str(&fs::read_to_string(at.join("card.json")).unwrap()).unwrap();
    assert_eq!(json["utterances"], 200);
    assert_eq!(json, trimer(at, "corpus stats c --json").json());
    trimer(at, "corpus stats c --card card.pdf").refused(&["card.pdf", "hint: "]);
}

/// CREMA-D's crowd votes. The numbers are those of
/// `crates/trimer-core/tests/data/labels_reference.py`, an independent computation.
#[test]
#[cfg_attr(not(trimer_data), ignore = "needs TRIMER_SHARED with data/")]
fn the_votes_of_crema_d_give_the_figures_of_the_reference() {
    let votes = golden::data().join("cremad_votes/tabulatedVotes.csv");
    let dir = tempfile::tempdir().unwrap();
    let line = format!(
        "labels aggregate {} --format cremad --rule majority --threshold 0 --resamples 20 --out out --json",
        votes.display()
    );
    let found = trimer(dir.path(), &line).json();
    let stats = trimer(dir.path(), "labels stats out/labels.csv --json").json();
    assert_eq!(
        (&found["utterances"], &stats["n"]),
        (&Value::from(7442), &Value::from(7442))
    );
    for (head, kappa, alpha) in AGREEMENT {
        let agreement = &found["agreement"][head];
        close(&agreement["fleiss_kappa"]["value"], kappa);
        close(&agreement["krippendorff_alpha"]["value"], alpha);
    }
    for (k, (a, b, value)) in INCON.into_iter().enumerate() {
        let pair = &stats["inconsistency"]["pairs"][k];
        assert_eq!([&pair["a"], &pair["b"]], [a, b]);
        close(&pair["value"], value);
    }
}

fn close(found: &Value, expected: f64) {
    let found = found.as_f64().unwrap();
    assert!((found - expected).abs() < 1e-9, "{found} {expected}");
}

const AGREEMENT: [(&str, f64, f64); 3] = [
    ("audio", 0.2778081689795171, 0.28110324021267385),
    ("vision", 0.4558645689738637, 0.4582469893830592),
    ("multimodal", 0.49436044723537836, 0.49666944404456603),
];
const INCON: [(&str, &str, f64); 3] = [
    ("audio", "vision", 0.4736017546608178),
    ("audio", "multimodal", 0.4119021654463312),
    ("vision", "multimodal", 0.18963165075034105),
];
