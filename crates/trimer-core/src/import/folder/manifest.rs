//! `manifest.csv`: one row per utterance.

use super::super::{ImportError, ImportLimits, Refusal};
use crate::{
    Head, HeadMap,
    corpus::{Split, label_column, score_column},
    error::nearest,
};
use std::{collections::BTreeMap, path::Path};

/// Columns that a manifest may have beside `id`; `binary_<name>` is known too.
const COLUMNS: [&str; 14] = [
    "id",
    "split",
    "conversation",
    "turn",
    "speaker",
    "transcript",
    "label",
    "score",
    "label_text",
    "label_audio",
    "label_vision",
    "score_text",
    "score_audio",
    "score_vision",
];

/// One row; what is empty in the file is `None`.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Row {
    pub(crate) line: u64,
    pub(crate) id: String,
    pub(crate) split: Option<Split>,
    pub(crate) conversation: Option<String>,
    pub(crate) turn: Option<i64>,
    pub(crate) speaker: Option<String>,
    pub(crate) transcript: Option<String>,
    pub(crate) labels: HeadMap<Option<String>>,
    pub(crate) scores: HeadMap<Option<f32>>,
    pub(crate) binary: Vec<bool>,
}

/// The whole file.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Manifest {
    pub(crate) rows: Vec<Row>,
    pub(crate) binary: Vec<String>,
    pub(crate) has_split_column: bool,
}

/// What one column of the file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Field {
    Id,
    Split,
    Conversation,
    Turn,
    Speaker,
    Transcript,
    Label(Head),
    Score(Head),
    Binary(usize),
}

/// Parses the bytes of a manifest; `path` is only for messages.
///
/// # Errors
/// [`ImportError::Refused`] with line, id and column.
pub(crate) fn parse(
    bytes: &[u8],
    path: &Path,
    limits: &ImportLimits,
) -> Result<Manifest, ImportError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(bytes);
    let mut manifest = Manifest::default();
    let headers = reader
        .byte_headers()
        .map_err(|e| csv_error(path, &e))?
        .clone();
    let fields = parse_headers(&headers, path, &mut manifest)?;
    manifest.has_split_column = fields.contains(&Field::Split);

    let mut lines = BTreeMap::new();
    for record in reader.byte_records() {
        let record = record.map_err(|e| csv_error(path, &e))?;
        let line = record.position().map_or(0, csv::Position::line);
        if record.len() != fields.len() {
            return Err(Refusal::new(
                path,
                format!("{} cells, the header has {}", record.len(), fields.len()),
            )
            .row(line)
            .hint("cells that contain commas or quotes must be quoted")
            .into());
        }
        if manifest.rows.len() >= limits.max_utterances {
            let message = format!("more than {} rows", limits.max_utterances);
            return Err(Refusal::new(path, message).row(line).into());
        }
        let row = parse_row(&record, &headers, &fields, &manifest.binary, line, path)?;
        if let Some(first) = lines.insert(row.id.clone(), line) {
            return Err(
                Refusal::new(path, format!("the id occurs already in line {first}"))
                    .row(line)
                    .id(row.id)
                    .hint("ids must be unique in the whole manifest")
                    .into(),
            );
        }
        manifest.rows.push(row);
    }
    if manifest.rows.is_empty() {
        return Err(Refusal::new(path, "there are no rows").into());
    }
    Ok(manifest)
}

fn csv_error(path: &Path, error: &csv::Error) -> ImportError {
    let refusal = Refusal::new(path, format!("not a CSV file: {error}"));
    match error.position() {
        Some(at) => refusal.row(at.line()).offset(at.byte()),
        None => refusal,
    }
    .into()
}

fn parse_headers(
    headers: &csv::ByteRecord,
    path: &Path,
    manifest: &mut Manifest,
) -> Result<Vec<Field>, ImportError> {
    let mut fields = Vec::with_capacity(headers.len());
    for header in headers {
        let name = std::str::from_utf8(header)
            .map_err(|_| Refusal::new(path, "the name of a column is not UTF-8").row(1))?
            .trim();
        let head =
            |column: fn(Head) -> &'static str| Head::ALL.into_iter().find(|h| column(*h) == name);
        let field = match name {
            "id" => Field::Id,
            "split" => Field::Split,
            "conversation" => Field::Conversation,
            "turn" => Field::Turn,
            "speaker" => Field::Speaker,
            "transcript" => Field::Transcript,
            other => {
                if let Some(head) = head(label_column) {
                    Field::Label(head)
                } else if let Some(head) = head(score_column) {
                    Field::Score(head)
                } else if let Some(label) = other.strip_prefix("binary_")
                    && !label.is_empty()
                {
                    manifest.binary.push(label.to_owned());
                    Field::Binary(manifest.binary.len() - 1)
                } else {
                    return Err(unknown_column(path, other).into());
                }
            }
        };
        let repeated = match field {
            Field::Binary(last) => manifest.binary[..last].contains(&manifest.binary[last]),
            _ => fields.contains(&field),
        };
        if repeated {
            return Err(Refusal::new(path, "the column occurs twice")
                .row(1)
                .key(name)
                .into());
        }
        fields.push(field);
    }
    if !fields.contains(&Field::Id) {
        return Err(Refusal::new(path, "there is no column `id`")
            .row(1)
            .hint("the first line must name the columns, one of them `id`")
            .into());
    }
    Ok(fields)
}

fn unknown_column(path: &Path, name: &str) -> Refusal {
    let refusal = Refusal::new(path, "unknown column").row(1).key(name);
    match nearest(&name.to_lowercase(), COLUMNS) {
        Some(known) => refusal.hint(format!("did you mean `{known}`?")),
        None => refusal.hint(format!(
            "known columns are `{}` and `binary_<name>`; remove or rename the others",
            COLUMNS.join("`, `")
        )),
    }
}

fn parse_row(
    record: &csv::ByteRecord,
    headers: &csv::ByteRecord,
    fields: &[Field],
    binary: &[String],
    line: u64,
    path: &Path,
) -> Result<Row, ImportError> {
    let id_at = fields.iter().position(|f| *f == Field::Id);
    let id = id_at.and_then(|k| record.get(k)).unwrap_or_default();
    let id =
        std::str::from_utf8(id).map_err(|_| Refusal::new(path, "the id is not UTF-8").row(line))?;
    let mut row = Row {
        line,
        id: id.to_owned(),
        ..Row::default()
    };
    if row.id.trim().is_empty() {
        return Err(Refusal::new(path, "the id is empty").row(line).into());
    }
    for ((cell, field), header) in record.iter().zip(fields).zip(headers) {
        let refuse = |message: String| {
            Refusal::new(path, message)
                .row(line)
                .id(&row.id)
                .key(String::from_utf8_lossy(header).trim())
        };
        let cell = std::str::from_utf8(cell).map_err(|_| refuse("not UTF-8".to_owned()))?;
        let text = cell.trim();
        if text.is_empty() {
            continue;
        }
        match *field {
            Field::Id => {}
            Field::Split => {
                row.split = Some(parse_split(text).ok_or_else(|| {
                    refuse(format!("`{text}` is not a split"))
                        .hint("expected `train`, `valid` (or `dev`, `val`) or `test`")
                })?);
            }
            Field::Conversation => row.conversation = Some(cell.to_owned()),
            Field::Speaker => row.speaker = Some(cell.to_owned()),
            Field::Transcript => row.transcript = Some(cell.to_owned()),
            Field::Turn => {
                row.turn = Some(
                    text.parse()
                        .map_err(|_| refuse(format!("`{text}` is not a whole number")))?,
                );
            }
            Field::Label(head) => *row.labels.get_mut(head) = Some(text.to_owned()),
            Field::Score(head) => {
                let score: f32 = text
                    .parse()
                    .map_err(|_| refuse(format!("`{text}` is not a number")))?;
                if !score.is_finite() {
                    return Err(refuse(format!("`{text}` is not a finite number")).into());
                }
                *row.scores.get_mut(head) = Some(score);
            }
            Field::Binary(at) => {
                let value = match text {
                    "1" | "true" | "True" | "TRUE" => true,
                    "0" | "false" | "False" | "FALSE" => false,
                    _ => return Err(refuse(format!("`{text}` is neither 0 nor 1")).into()),
                };
                row.binary.resize(binary.len(), false);
                row.binary[at] = value;
            }
        }
    }
    Ok(row)
}

/// The splits as different corpora spell them.
pub(crate) fn parse_split(text: &str) -> Option<Split> {
    match text.to_ascii_lowercase().as_str() {
        "train" | "training" => Some(Split::Train),
        "valid" | "val" | "dev" | "validation" | "development" => Some(Split::Valid),
        "test" | "testing" => Some(Split::Test),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Hint;
    use proptest::prelude::*;

    fn parse_text(text: &str) -> Result<Manifest, ImportError> {
        parse(
            text.as_bytes(),
            Path::new("manifest.csv"),
            &ImportLimits::default(),
        )
    }

    #[test]
    fn empty_cells_are_unknown_and_splits_have_synonyms() {
        let manifest =
            parse_text("id,split,turn,label,score_text\na,dev,3,joy,-0.5\nb,,,,\n").unwrap();
        let [a, b] = manifest.rows.as_slice() else {
            panic!("two rows")
        };
        assert_eq!((a.split, a.turn), (Some(Split::Valid), Some(3)));
        assert_eq!(a.labels.multimodal.as_deref(), Some("joy"));
        assert_eq!(a.scores.text, Some(-0.5));
        assert_eq!(
            b,
            &Row {
                line: 3,
                id: "b".into(),
                ..Row::default()
            }
        );
    }

    #[test]
    fn every_refusal_names_the_line() {
        for (text, message) in [
            (
                "split\ntrain\n",
                "`manifest.csv`: line 1: there is no column `id`",
            ),
            (
                "id,id\na,b\n",
                "`manifest.csv`: line 1, key `id`: the column occurs twice",
            ),
            (
                "id,lable\na,b\n",
                "`manifest.csv`: line 1, key `lable`: unknown column",
            ),
            ("id\n\"\"\n", "`manifest.csv`: line 2: the id is empty"),
            (
                "id,split\na,train,x\n",
                "`manifest.csv`: line 2: 3 cells, the header has 2",
            ),
            (
                "id\na\nb\na\n",
                "`manifest.csv`: line 4, utterance `a`: the id occurs already in line 2",
            ),
            (
                "id,split\na,fold1\n",
                "`manifest.csv`: line 2, utterance `a`, key `split`: `fold1` is not a split",
            ),
            (
                "id,turn\na,first\n",
                "`manifest.csv`: line 2, utterance `a`, key `turn`: `first` is not a whole number",
            ),
            (
                "id,score\na,nan\n",
                "`manifest.csv`: line 2, utterance `a`, key `score`: `nan` is not a finite number",
            ),
            ("", "`manifest.csv`: line 1: there is no column `id`"),
            ("id,label\n", "`manifest.csv`: there are no rows"),
        ] {
            let error = parse_text(text).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }

    #[test]
    fn a_misspelt_column_gets_a_suggestion() {
        let hint = |text| parse_text(text).unwrap_err().hint().unwrap();
        assert_eq!(hint("id,Speeker\na,b\n"), "did you mean `speaker`?");
        assert!(hint("id,weather_today\na,b\n").starts_with("known columns are `id`, "));
    }

    #[test]
    fn a_line_number_counts_lines_and_not_rows() {
        let error = parse_text("id,transcript,turn\na,\"two\nlines\",1\nb,x,y\n").unwrap_err();
        assert!(error.to_string().contains("line 4"), "{error}");
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_a_manifest_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes, Path::new("m"), &ImportLimits::default());
        }

        #[test]
        fn anything_below_a_good_header_ends_in_a_manifest_or_an_error(
            text in "[a-z0-9,\"\n\r \u{e9}.-]{0,200}"
        ) {
            let text = format!("id,split,turn,score,label,binary_x\n{text}");
            if let Ok(manifest) = parse(text.as_bytes(), Path::new("m"), &ImportLimits::default()) {
                prop_assert!(manifest.rows.iter().all(|r| !r.id.is_empty()));
            }
        }
    }
}
