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
    CorpusError, MAX_UTTERANCES, Split, Utterance,
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
    write_columns(&file, "utterances", &columns)
        .map_err(|message| CorpusError::Table { path: path.to_owned(), message })?;
    file.sync_all().map_err(|e| CorpusError::io("flush", path, e))
}

fn to_columns(
    space: &LabelSpace,
    rows: &[Utterance],
    locations: &[ModalityMap<Option<Location>>],
) -> Vec<(String, Column)> {
    let text = |f: &dyn Fn(&Utterance) -> Option<&str>| {
        Column::Text(rows.iter().map(|u| f(u).map(str::to_owned)).collect())
    };
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
            let name = |u: &Utterance| {
                u.labels
                    .get(head)
                    .and_then(|i| space.class_name(i).map(str::to_owned))
            };
            let column = Column::Text(rows.iter().map(name).collect());
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
        .map_err(|message| CorpusError::Table { path: path.to_owned(), message })
}

fn from_columns(
    space: &LabelSpace,
    n_rows: usize,
    columns: Vec<(String, Column)>,
) -> Result<Rows, String> {
    let mut rows = vec![Utterance::default(); n_rows];
    let mut raw = vec![ModalityMap::<[Option<i64>; 3]>::default(); n_rows];
    let mut has_id = false;
    for (name, column) in columns {
        let wrong_type = || format!("the column `{name}` has another type than expected");
        let head_of = |column: fn(Head) -> &'static str| {
            Head::ALL.into_iter().find(|h| column(*h) == name.as_str())
        };
        let place = Modality::ALL.into_iter().find_map(|m| {
            let rest = name.strip_prefix(m.as_str())?;
            ["_shard", "_offset", "_length"]
                .iter()
                .position(|s| *s == rest)
                .map(|k| (m, k))
        });
        if let Some((modality, k)) = place {
            let Column::Int64(values) = column else {
                return Err(wrong_type());
            };
            for (row, value) in raw.iter_mut().zip(values) {
                row.get_mut(modality)[k] = value;
            }
        } else if let Some(head) = head_of(label_column) {
            let Column::Text(values) = column else {
                return Err(wrong_type());
            };
            for (k, (row, value)) in rows.iter_mut().zip(values).enumerate() {
                *row.labels.get_mut(head) = value
                    .map(|class| {
                        space.class_index(&class).ok_or_else(|| {
                            format!(
                                "row {}, column `{name}`: `{class}` is none of the classes of the corpus",
                                k + 1
                            )
                        })
                    })
                    .transpose()?;
            }
        } else if let Some(head) = head_of(score_column) {
            let values = match column {
                Column::Float(values) => values,
                // A table rewritten by other tools may hold doubles.
                Column::Double(values) => values.into_iter().map(|v| v.map(|v| v as f32)).collect(),
                _ => return Err(wrong_type()),
            };
            for (row, value) in rows.iter_mut().zip(values) {
                *row.scores.get_mut(head) = value;
            }
        } else {
            match (name.as_str(), column) {
                ("id", Column::Text(values)) => {
                    has_id = true;
                    for (k, (row, value)) in rows.iter_mut().zip(values).enumerate() {
                        row.id = value
                            .filter(|id| !id.is_empty())
                            .ok_or_else(|| format!("row {} has no id", k + 1))?;
                    }
                }
                ("split", Column::Text(values)) => {
                    for (k, (row, value)) in rows.iter_mut().zip(values).enumerate() {
                        row.split = value
                            .map(|v| parse_split(&v).ok_or_else(|| {
                                format!("row {}: `{v}` is not a split; expected `train`, `valid` or `test`", k + 1)
                            }))
                            .transpose()?;
                    }
                }
                ("conversation", Column::Text(values)) => {
                    set(&mut rows, values, |row, v| row.conversation = v);
                }
                ("speaker", Column::Text(values)) => {
                    set(&mut rows, values, |row, v| row.speaker = v);
                }
                ("transcript", Column::Text(values)) => {
                    set(&mut rows, values, |row, v| row.transcript = v);
                }
                ("turn", Column::Int64(values)) => set(&mut rows, values, |row, v| row.turn = v),
                ("id" | "split" | "conversation" | "speaker" | "transcript" | "turn", _) => {
                    return Err(wrong_type());
                }
                (other, Column::Bool(values)) if other.starts_with("binary_") => {
                    let at = space
                        .binary
                        .iter()
                        .position(|b| other["binary_".len()..] == **b);
                    let Some(at) = at else {
                        return Err(format!(
                            "the column `{other}` is no yes/no label of the corpus"
                        ));
                    };
                    for (row, value) in rows.iter_mut().zip(values) {
                        let Some(value) = value else { continue };
                        row.binary.resize(space.binary.len(), false);
                        row.binary[at] = value;
                    }
                }
                // Columns that other tools added are theirs.
                _ => {}
            }
        }
    }
    if !has_id && n_rows > 0 {
        return Err("the column `id` is missing".to_owned());
    }
    let locations = raw
        .into_iter()
        .enumerate()
        .map(|(k, row)| {
            ModalityMap::try_from_fn(|m| {
                to_location(*row.get(m)).map_err(|()| {
                    format!(
                        "row {}: `{m}_shard`, `{m}_offset` and `{m}_length` contradict each other",
                        k + 1
                    )
                })
            })
        })
        .collect::<Result<_, _>>()?;
    for row in &rows {
        space
            .check_labels(&row.id, &row.labels, &HeadMap::default(), &row.binary)
            .map_err(|e| e.to_string())?;
    }
    Ok((rows, locations))
}

fn set<V>(rows: &mut [Utterance], values: Vec<V>, f: impl Fn(&mut Utterance, V)) {
    for (row, value) in rows.iter_mut().zip(values) {
        f(row, value);
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

pub(crate) fn parse_split(name: &str) -> Option<Split> {
    Split::ALL.into_iter().find(|s| s.as_str() == name)
}
