use super::*;
use crate::{
    Hint,
    corpus::{Corpus, FeatureDtype, Split, export_folder},
    import::NonFinite,
};
use tempfile::TempDir;

struct Source(TempDir);

impl Source {
    fn new(manifest: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("in")).unwrap();
        fs::write(dir.path().join("in/manifest.csv"), manifest).unwrap();
        Self(dir)
    }

    fn array(self, name: &str, shape: &[usize], values: &[f32]) -> Self {
        let path = self.0.path().join("in").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        npy::write_f32(&path, shape, values).unwrap();
        self
    }

    fn file(self, name: &str, text: &str) -> Self {
        fs::write(self.0.path().join("in").join(name), text).unwrap();
        self
    }

    fn options(&self) -> ImportOptions {
        ImportOptions::new(self.0.path().join("in"), self.0.path().join("out"))
    }

    fn import(&self) -> Result<ImportSummary, ImportError> {
        Folder.import(&self.options(), &mut |_, _| {})
    }

    /// Imports, checks that nothing was left behind, and gives the message without the directory.
    fn refusal(&self) -> (String, Option<String>) {
        let error = self.import().unwrap_err();
        assert_eq!(fs::read_dir(self.0.path()).unwrap().count(), 1, "only `in`");
        let root = self.0.path().join("in/").display().to_string();
        (error.to_string().replace(&root, ""), error.hint())
    }
}

#[test]
fn rows_and_arrays_become_a_corpus() {
    let source = Source::new("id,split,label,label_text\na,train,joy,anger\nb,dev,anger,\n")
        .array("text/a.npy", &[2, 2], &[1.0, 2.0, 3.0, 4.0])
        .array("text/b.npy", &[2], &[5.0, 6.0])
        .array("audio/b.npy", &[1, 1], &[7.0]);
    let summary = source.import().unwrap();
    assert_eq!(summary.utterances, 2);
    assert_eq!((summary.splits.train, summary.splits.valid), (1, 1));
    assert_eq!(summary.warnings, ["1 of 2 utterances have no audio file"]);

    let corpus = Corpus::open(&summary.path).unwrap();
    assert_eq!(corpus.info().name, "out");
    assert_eq!(corpus.info().label_space.classes, ["anger", "joy"]);
    assert_eq!(corpus.utterances()[0].labels.multimodal, Some(1));
    assert_eq!(corpus.utterances()[0].labels.text, Some(0));
    assert_eq!(corpus.utterances()[1].labels.text, None);
    assert_eq!(corpus.indices(Split::Valid), [1]);
    assert_eq!(corpus.dims().vision, None);
    assert!(corpus.frames(0, Modality::Audio).is_none());
    assert_eq!(
        corpus.frames(1, Modality::Text).unwrap().to_vec(),
        [5.0, 6.0]
    );
}

#[test]
fn classes_txt_gives_the_order() {
    let source = Source::new("id,label\na,joy\n")
        .array("text/a.npy", &[1], &[1.0])
        .file("classes.txt", "neutral\njoy\n\nanger\n");
    let corpus = Corpus::open(source.import().unwrap().path).unwrap();
    assert_eq!(
        corpus.info().label_space.classes,
        ["neutral", "joy", "anger"]
    );
    assert_eq!(corpus.utterances()[0].labels.multimodal, Some(1));
}

#[test]
fn corpus_toml_says_what_the_manifest_cannot() {
    let source = Source::new("id,score\na,2\n")
        .array("text/a.npy", &[1], &[1.0])
        .file(
            "corpus.toml",
            "name = \"mine\"\nlicence = \"CC0\"\ndtype = \"f16\"\n[label_space]\nscore = [-5.0, 5.0]\n[modalities.text]\nextractor = \"bert\"\n",
        );
    let summary = source.import().unwrap();
    let corpus = Corpus::open(summary.path).unwrap();
    let info = corpus.info();
    assert_eq!((info.name.as_str(), info.licence.as_str()), ("mine", "CC0"));
    assert_eq!(info.dtype, FeatureDtype::F16);
    assert_eq!(info.label_space.score, Some([-5.0, 5.0]));
    assert_eq!(info.extractors.text.as_deref(), Some("bert"));
}

#[test]
fn scores_become_classes_on_request() {
    let source = Source::new("id,split,score,score_text\na,train,-0.8,0.2\n").array(
        "text/a.npy",
        &[1],
        &[1.0],
    );
    let options = ImportOptions {
        classes: Some(5),
        ..source.options()
    };
    let summary = Folder.import(&options, &mut |_, _| {}).unwrap();
    assert!(
        summary.warnings[0].contains("taken to be -1 to 1"),
        "{:?}",
        summary.warnings
    );
    let corpus = Corpus::open(summary.path).unwrap();
    let labels = corpus.utterances()[0].labels;
    assert_eq!(
        (labels.multimodal, labels.text, labels.audio),
        (Some(0), Some(3), None)
    );
}

#[test]
fn a_folder_without_splits_is_taken_with_a_warning() {
    let source = Source::new("id\na\n").array("text/a.npy", &[1], &[1.0]);
    let summary = source.import().unwrap();
    assert_eq!(summary.splits.unassigned, 1);
    assert!(summary.warnings[0].contains("no column `split`"));
}

#[test]
fn a_value_that_is_not_finite_is_named_or_zeroed() {
    let source = Source::new("id,split\na,train\n").array(
        "text/a.npy",
        &[2, 2],
        &[1.0, 2.0, 3.0, f32::NEG_INFINITY],
    );
    assert_eq!(
        source.refusal().0,
        "`text/a.npy`: utterance `a`: text value -inf at frame 1, feature 1 is not finite"
    );
    let options = ImportOptions {
        non_finite: NonFinite::Zero,
        ..source.options()
    };
    let summary = Folder.import(&options, &mut |_, _| {}).unwrap();
    assert_eq!(
        summary.warnings,
        ["1 values that were NaN or infinite became 0"]
    );
    let corpus = Corpus::open(summary.path).unwrap();
    assert_eq!(
        corpus.frames(0, Modality::Text).unwrap().to_vec(),
        [1.0, 2.0, 3.0, 0.0]
    );
}

#[test]
fn every_refusal_names_the_file_and_leaves_nothing() {
    let one = || Source::new("id,label\na,joy\n");
    for (source, message, hint) in [
        (
            one(),
            "there are no features",
            "put one array per utterance into `text/`, `audio/` or `vision/`, for example `audio/a.npy`",
        ),
        (
            one().array("text/b.npy", &[1], &[1.0]),
            "no feature file belongs to a row of the manifest",
            "files are named by the id: `a.npy`",
        ),
        (
            one().array("text/a.npy", &[1, 1, 1], &[1.0]),
            "`text/a.npy`: utterance `a`: the shape is [1, 1, 1], expected [time, feature] or [feature]",
            "",
        ),
        (
            one().array("text/a.npy", &[0, 4], &[]),
            "`text/a.npy`: utterance `a`: the array is empty: its shape is [0, 4]",
            "remove the file",
        ),
        (
            one()
                .array("text/a.npy", &[1], &[1.0])
                .file("classes.txt", "anger\njoyy"),
            "`manifest.csv`: line 2, utterance `a`, key `label`: `joy` is none of the classes",
            "did you mean `joyy`?",
        ),
        (
            one()
                .array("text/a.npy", &[1], &[1.0])
                .file("text/a.npy", "nonsense"),
            "`text/a.npy`: utterance `a`: not a usable array",
            "",
        ),
        (
            one()
                .array("text/a.npy", &[1], &[1.0])
                .file("corpus.toml", "nam = 1"),
            "`corpus.toml`: TOML parse error at line 1",
            "",
        ),
        (
            Source::new("id\na\nb\n")
                .array("text/a.npy", &[1, 2], &[1.0, 2.0])
                .array("text/b.npy", &[1, 3], &[1.0, 2.0, 3.0]),
            "`text/b.npy`: utterance `b`: the frames have 3 values, those of `text/a.npy` have 2",
            "same number of features",
        ),
    ] {
        let (found, found_hint) = source.refusal();
        assert!(found.contains(message), "{found}");
        assert!(found_hint.unwrap_or_default().contains(hint), "{message}");
    }
}

#[test]
fn the_manifest_itself_may_be_given() {
    let source = Source::new("id\na\n").array("text/a.npy", &[1], &[1.0]);
    let options = ImportOptions {
        source: source.options().source.join("manifest.csv"),
        ..source.options()
    };
    assert_eq!(
        Folder.import(&options, &mut |_, _| {}).unwrap().utterances,
        1
    );
}

#[test]
fn a_missing_manifest_is_said_to_be_missing() {
    let dir = tempfile::tempdir().unwrap();
    let options = ImportOptions::new(dir.path(), dir.path().join("out"));
    let error = Folder.import(&options, &mut |_, _| {}).unwrap_err();
    assert!(matches!(error, ImportError::Missing { .. }), "{error}");
}

#[test]
fn an_id_may_name_a_nested_file_but_never_one_outside() {
    let source = Source::new("id\nfilm/3\n../secret\n")
        .array("text/film/3.npy", &[1], &[1.0])
        .array("secret.npy", &[1], &[2.0]);
    let corpus = Corpus::open(source.import().unwrap().path).unwrap();
    assert_eq!(corpus.frames(0, Modality::Text).unwrap().to_vec(), [1.0]);
    assert!(corpus.frames(1, Modality::Text).is_none());
}

#[test]
fn an_exported_corpus_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let info = CorpusInfo {
        name: "c".into(),
        citation: "someone".into(),
        label_space: LabelSpace {
            classes: vec!["joy".into(), "anger".into()],
            score: Some([-2.0, 2.0]),
            binary: vec!["loud".into()],
        },
        ..CorpusInfo::default()
    };
    let mut writer = CorpusWriter::create(&dir.path().join("c"), info).unwrap();
    for (k, id) in ["plain", "a/b", "a%2Fb", "../x", "con", "平静, \"1\"\n"]
        .iter()
        .enumerate()
    {
        let mut utterance = Utterance {
            id: (*id).to_owned(),
            split: Some(Split::ALL[k % 3]),
            turn: Some(k as i64),
            transcript: Some("a, \"b\"\nc".to_owned()),
            ..Utterance::default()
        };
        utterance.labels.multimodal = Some(k as u32 % 2);
        utterance.scores.vision = Some(0.1 * k as f32);
        if k % 2 == 0 {
            utterance.binary = vec![k == 0];
        }
        let mut features = ModalityMap::default();
        if k != 1 {
            features.audio = Some(Frames {
                values: vec![k as f32, 0.1].into(),
                dim: 1,
            });
        }
        features.text = Some(Frames {
            values: vec![-(k as f32)].into(),
            dim: 1,
        });
        writer.push(utterance, features).unwrap();
    }
    let corpus = Corpus::open(writer.finish().unwrap()).unwrap();
    let folder = export_folder(&corpus, &dir.path().join("f"), &mut |_, _| {}).unwrap();
    let options = ImportOptions::new(folder, dir.path().join("again"));
    let again = Corpus::open(Folder.import(&options, &mut |_, _| {}).unwrap().path).unwrap();
    assert_eq!(again.utterances(), corpus.utterances());
    assert_eq!(again.info(), corpus.info());
    assert_eq!(again.fingerprint(), corpus.fingerprint());
}
