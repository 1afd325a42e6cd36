//! `utterances.parquet`: one row per utterance.
//!
//! | column | type | content |
//! |---|---|---|
//! | `id` | string | unique |
//! | `split` | string, may be null | `train`, `valid` or `test` |
//! | `conversation`, `speaker`, `transcript` | string, may be null | |
//! | `turn` | int64, may be null | place in the conversation, from 0 |
//! | `label`, `label_text`, `label_audio`, `label_vision` | string, may be null | name of the class |
//! | `score`, `score_text`, `score_audio`, `score_vision` | float, may be null | |
//! | `binary_<name>` | boolean, may be null | one column per yes/no label |
//! | `<modality>_shard` | int32, may be null | number of the file; null where the modality is absent |
//! | `<modality>_offset`, `<modality>_length` | int64, may be null | first frame and number of frames |

use super::{
    CorpusError, MAX_UTTERANCES, Split, UnknownSplit, Utterance,
    label_space::{label_column, score_column},
};
use crate::store::columns::{Column, read_columns, write_columns};
use crate::{Head, HeadMap, LabelSpace, Modality, ModalityMap};
use std::{fs::File, path::Path};

/// Name of the file.
pub(crate) const FILE: &str = "utterances.parquet";

/// Where the frames of one modality of one utterance lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) shard: u32,
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// Writes the table; `rows` and `locations` run in parallel.
pub(crate) fn write(
    path: &Path,
    space: &LabelSpace,
    rows: &[Utterance],
    locations: &[ModalityMap<Option<Location>>],
) -> Result<(), CorpusError> {
    let file = File::create_new(path).map_err(|e| CorpusError::io("create", path, e))?;
    let columns = to_columns(space, rows, locations);
    write_columns(&file, "utterances", &columns).map_err(|message| CorpusError::Table {
        path: path.to_owned(),
        message,
    })?;
    file.sync_all()
        .map_err(|e| CorpusError::io("flush", path, e))
}

fn to_columns(
    space: &LabelSpace,
    rows: &[Utterance],
    locations: &[ModalityMap<Option<Location>>],
) -> Vec<(String, Column)> {
    let text = |f: &dyn Fn(&Utterance) -> Option<&str>| Column::text(rows.iter().map(f));
    let mut columns: Vec<(String, Column)> = vec![
        ("id".into(), text(&|u| Some(&u.id))),
        ("split".into(), text(&|u| u.split.map(Split::as_str))),
        ("conversation".into(), text(&|u| u.conversation.as_deref())),
        (
            "turn".into(),
            Column::Int64(rows.iter().map(|u| u.turn).collect()),
        ),
        ("speaker".into(), text(&|u| u.speaker.as_deref())),
        ("transcript".into(), text(&|u| u.transcript.as_deref())),
    ];
    if !space.classes.is_empty() {
        for head in Head::ALL {
            let name = |u: &Utterance| u.labels.get(head).and_then(|i| space.class_name(i));
            let column = Column::text(rows.iter().map(name));
            columns.push((label_column(head).into(), column));
        }
    }
    if space.score.is_some() {
        for head in Head::ALL {
            let column = Column::Float(rows.iter().map(|u| *u.scores.get(head)).collect());
            columns.push((score_column(head).into(), column));
        }
    }
    for (k, name) in space.binary.iter().enumerate() {
        let column = Column::Bool(rows.iter().map(|u| u.binary.get(k).copied()).collect());
        columns.push((format!("binary_{name}"), column));
    }
    for modality in Modality::ALL {
        let at = |f: fn(&Location) -> i64| -> Vec<Option<i64>> {
            locations
                .iter()
                .map(|l| l.get(modality).as_ref().map(f))
                .collect()
        };
        let shard = locations
            .iter()
            .map(|l| l.get(modality).map(|l| l.shard as i32))
            .collect();
        columns.push((format!("{modality}_shard"), Column::Int32(shard)));
        columns.push((
            format!("{modality}_offset"),
            Column::Int64(at(|l| l.offset as i64)),
        ));
        columns.push((
            format!("{modality}_length"),
            Column::Int64(at(|l| l.length as i64)),
        ));
    }
    columns
}

/// What the table holds: utterances and, in parallel, where their frames lie.
pub(crate) type Rows = (Vec<Utterance>, Vec<ModalityMap<Option<Location>>>);

/// Reads the table.
///
/// # Errors
/// [`CorpusError::Table`] names the row (from 1) and column of whatever does not belong there.
pub(crate) fn read(path: &Path, space: &LabelSpace) -> Result<Rows, CorpusError> {
    let file = File::open(path).map_err(|e| CorpusError::io("open", path, e))?;
    read_columns(file, MAX_UTTERANCES)
        .and_then(|(n_rows, columns)| from_columns(space, n_rows, columns))
        .map_err(|message| CorpusError::Table {
            path: path.to_owned(),
            message,
        })
}

fn from_columns(
    space: &LabelSpace,
    n_rows: usize,
    columns: Vec<(String, Column)>,
) -> Result<Rows, String> {
    let mut rows = vec![Utterance::default(); n_rows];
    let mut places = vec![ModalityMap::<[Option<i64>; 3]>::default(); n_rows];
    if n_rows > 0 && !columns.iter().any(|(name, _)| name == "id") {
        return Err("the column `id` is missing".to_owned());
    }
    for (name, column) in columns {
        if let Some((modality, k)) = place_column(&name) {
            for (row, value) in places.iter_mut().zip(column.int64(&name)?) {
                row.get_mut(modality)[k] = value;
            }
        } else {
            fill(&mut rows, space, &name, column)?;
        }
    }
    let mut locations = Vec::with_capacity(n_rows);
    for (k, row) in places.into_iter().enumerate() {
        locations.push(ModalityMap::try_from_fn(|m| {
            to_location(*row.get(m)).map_err(|()| {
                format!(
                    "row {}: `{m}_shard`, `{m}_offset` and `{m}_length` contradict each other",
                    k + 1
                )
            })
        })?);
    }
    for row in &rows {
        // Scores outside their range are left to the doctor, which can name all of them.
        space
            .check_labels(&row.id, &row.labels, &HeadMap::default(), &row.binary)
            .map_err(|e| e.to_string())?;
    }
    Ok((rows, locations))
}

/// Which of `_shard`, `_offset` and `_length` of which modality a column is.
fn place_column(name: &str) -> Option<(Modality, usize)> {
    Modality::ALL.into_iter().find_map(|m| {
        let rest = name.strip_prefix(m.as_str())?;
        let k = ["_shard", "_offset", "_length"]
            .iter()
            .position(|s| *s == rest)?;
        Some((m, k))
    })
}

/// Sets one field of all rows.
fn fill(
    rows: &mut [Utterance],
    space: &LabelSpace,
    name: &str,
    column: Column,
) -> Result<(), String> {
    let head = |names: fn(Head) -> &'static str| Head::ALL.into_iter().find(|h| names(*h) == name);
    if let Some(head) = head(label_column) {
        return column.each_text(name, rows, |row, class| {
            let index = space
                .class_index(class)
                .ok_or_else(|| format!("`{class}` is none of the classes of the corpus"));
            *row.labels.get_mut(head) = Some(index?);
            Ok(())
        });
    }
    if let Some(head) = head(score_column) {
        for (row, value) in rows.iter_mut().zip(column.float(name)?) {
            *row.scores.get_mut(head) = value;
        }
        return Ok(());
    }
    match name {
        "id" => {
            column.each_text(name, rows, |row, v| {
                v.clone_into(&mut row.id);
                Ok(())
            })?;
            match rows.iter().position(|row| row.id.is_empty()) {
                Some(k) => Err(format!("row {} has no id", k + 1)),
                None => Ok(()),
            }
        }
        "split" => column.each_text(name, rows, |row, v| {
            row.split = Some(v.parse().map_err(|e: UnknownSplit| e.to_string())?);
            Ok(())
        }),
        "conversation" => column.each_text(name, rows, |row, v| {
            row.conversation = Some(v.to_owned());
            Ok(())
        }),
        "speaker" => column.each_text(name, rows, |row, v| {
            row.speaker = Some(v.to_owned());
            Ok(())
        }),
        "transcript" => column.each_text(name, rows, |row, v| {
            row.transcript = Some(v.to_owned());
            Ok(())
        }),
        "turn" => {
            for (row, value) in rows.iter_mut().zip(column.int64(name)?) {
                row.turn = value;
            }
            Ok(())
        }
        other => {
            let Some(label) = other.strip_prefix("binary_") else {
                return Ok(()); // columns that other tools added are theirs
            };
            let at = space.binary.iter().position(|b| b == label);
            let at = at.ok_or_else(|| format!("`{other}` is no yes/no label of the corpus"))?;
            for (row, value) in rows.iter_mut().zip(column.bool(name)?) {
                let Some(value) = value else { continue };
                row.binary.resize(space.binary.len(), false);
                row.binary[at] = value;
            }
            Ok(())
        }
    }
}

/// An error when the three numbers make no sense together.
fn to_location(raw: [Option<i64>; 3]) -> Result<Option<Location>, ()> {
    match raw {
        [None, None, None] => Ok(None),
        [Some(shard), Some(offset), Some(length)] => Ok(Some(Location {
            shard: u32::try_from(shard).map_err(|_| ())?,
            offset: u64::try_from(offset).map_err(|_| ())?,
            length: u64::try_from(length).map_err(|_| ())?,
        })),
        _ => Err(()),
    }
}
