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
use crate::{Head, HeadMap, LabelSpace, Modality, ModalityMap};
use parquet::{
    basic::{LogicalType, Repetition, Type as Physical},
    column::reader::ColumnReader,
    data_type::{BoolType, ByteArray, ByteArrayType, FloatType, Int32Type, Int64Type},
    errors::ParquetError,
    file::{
        properties::WriterProperties,
        reader::{FileReader, RowGroupReader, SerializedFileReader},
        writer::{SerializedFileWriter, SerializedRowGroupWriter},
    },
    schema::types::Type,
};
use std::{
    fs::File,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
};

/// Name of the file.
pub(crate) const FILE: &str = "utterances.parquet";

/// Where the frames of one modality of one utterance lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) shard: u32,
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// A whole column, one entry per utterance.
#[derive(Debug, Clone, PartialEq)]
enum Column {
    Text(Vec<Option<ByteArray>>),
    Float(Vec<Option<f32>>),
    Bool(Vec<Option<bool>>),
    Int32(Vec<Option<i32>>),
    Int64(Vec<Option<i64>>),
}

impl Column {
    fn physical(&self) -> Physical {
        match self {
            Self::Text(_) => Physical::BYTE_ARRAY,
            Self::Float(_) => Physical::FLOAT,
            Self::Bool(_) => Physical::BOOLEAN,
            Self::Int32(_) => Physical::INT32,
            Self::Int64(_) => Physical::INT64,
        }
    }
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
    let written = write_columns(&file, &columns, rows.len()).map_err(|e| CorpusError::Table {
        path: path.to_owned(),
        message: e.to_string(),
    });
    written.and_then(|()| {
        file.sync_all()
            .map_err(|e| CorpusError::io("flush", path, e))
    })
}

fn to_columns(
    space: &LabelSpace,
    rows: &[Utterance],
    locations: &[ModalityMap<Option<Location>>],
) -> Vec<(String, Column)> {
    let text = |f: &dyn Fn(&Utterance) -> Option<&str>| {
        Column::Text(rows.iter().map(|u| f(u).map(ByteArray::from)).collect())
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
                    .and_then(|i| space.class_name(i).map(ByteArray::from))
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

fn write_columns(
    file: &File,
    columns: &[(String, Column)],
    n_rows: usize,
) -> Result<(), ParquetError> {
    let field = |(name, column): &(String, Column)| {
        let builder = Type::primitive_type_builder(name, column.physical()).with_repetition(
            if name == "id" {
                Repetition::REQUIRED
            } else {
                Repetition::OPTIONAL
            },
        );
        let builder = match column {
            Column::Text(_) => builder.with_logical_type(Some(LogicalType::String)),
            _ => builder,
        };
        builder.build().map(Arc::new)
    };
    let fields = columns.iter().map(field).collect::<Result<Vec<_>, _>>()?;
    let schema = Type::group_type_builder("utterances")
        .with_fields(fields)
        .build()?;
    let properties = WriterProperties::builder()
        .set_created_by(concat!("trimer ", env!("CARGO_PKG_VERSION")).to_owned())
        .build();
    let mut writer = SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties))?;
    if n_rows > 0 {
        let mut group = writer.next_row_group()?;
        for (name, column) in columns {
            let required = name == "id";
            match column {
                Column::Text(v) => {
                    write_column::<ByteArrayType, _>(&mut group, required, v, Clone::clone)
                }
                Column::Float(v) => write_column::<FloatType, _>(&mut group, required, v, |v| *v),
                Column::Bool(v) => write_column::<BoolType, _>(&mut group, required, v, |v| *v),
                Column::Int32(v) => write_column::<Int32Type, _>(&mut group, required, v, |v| *v),
                Column::Int64(v) => write_column::<Int64Type, _>(&mut group, required, v, |v| *v),
            }?;
        }
        group.close()?;
    }
    writer.close()?;
    Ok(())
}

fn write_column<T: parquet::data_type::DataType, V>(
    group: &mut SerializedRowGroupWriter<'_, &File>,
    required: bool,
    values: &[Option<V>],
    convert: impl Fn(&V) -> T::T,
) -> Result<(), ParquetError> {
    let mut writer = group
        .next_column()?
        .ok_or_else(|| ParquetError::General("the schema has too few columns".to_owned()))?;
    let present: Vec<T::T> = values.iter().flatten().map(convert).collect();
    let levels: Vec<i16> = values.iter().map(|v| i16::from(v.is_some())).collect();
    let levels = (!required).then_some(levels.as_slice());
    writer.typed::<T>().write_batch(&present, levels, None)?;
    writer.close()
}

/// What the table holds: utterances and, in parallel, where their frames lie.
pub(crate) type Rows = (Vec<Utterance>, Vec<ModalityMap<Option<Location>>>);

/// Reads the table.
///
/// # Errors
/// [`CorpusError::Table`] names the row (from 1) and column of whatever does not belong there.
pub(crate) fn read(path: &Path, space: &LabelSpace) -> Result<Rows, CorpusError> {
    let file = File::open(path).map_err(|e| CorpusError::io("open", path, e))?;
    // The Parquet reader is not ours, and hostile bytes must not end the program even if they find
    // a panic in it. It owns all that it works on, so nothing broken can be seen afterwards.
    let columns = catch_unwind(AssertUnwindSafe(|| read_columns(file)))
        .unwrap_or_else(|_| Err("the reader gave up on malformed content".to_owned()));
    columns
        .and_then(|(n_rows, columns)| from_columns(space, n_rows, columns))
        .map_err(|message| CorpusError::Table {
            path: path.to_owned(),
            message,
        })
}

fn read_columns(file: File) -> Result<(usize, Vec<(String, Column)>), String> {
    let text = |e: ParquetError| format!("not a usable Parquet file: {e}");
    let reader = SerializedFileReader::new(file).map_err(text)?;
    let metadata = reader.metadata();
    let n_rows = usize::try_from(metadata.file_metadata().num_rows())
        .ok()
        .filter(|n| *n <= MAX_UTTERANCES)
        .ok_or_else(|| {
            format!(
                "{} rows, expected at most {MAX_UTTERANCES}",
                metadata.file_metadata().num_rows()
            )
        })?;
    let schema = metadata.file_metadata().schema_descr();
    let mut columns = Vec::with_capacity(schema.num_columns());
    for index in 0..schema.num_columns() {
        let descr = schema.column(index);
        let name = descr.path().string();
        if descr.max_rep_level() > 0 || descr.max_def_level() > 1 || descr.path().parts().len() > 1
        {
            return Err(format!(
                "the column `{name}` is nested, expected plain values"
            ));
        }
        let mut column = match descr.physical_type() {
            Physical::BYTE_ARRAY => Column::Text(Vec::new()),
            Physical::FLOAT | Physical::DOUBLE => Column::Float(Vec::new()),
            Physical::BOOLEAN => Column::Bool(Vec::new()),
            Physical::INT32 | Physical::INT64 => Column::Int64(Vec::new()),
            other => return Err(format!("the column `{name}` has the type {other}")),
        };
        for group in 0..reader.num_row_groups() {
            let group = reader.get_row_group(group).map_err(text)?;
            let optional = descr.max_def_level() > 0;
            read_column(group.as_ref(), index, optional, &mut column)
                .map_err(|e| format!("column `{name}`: {e}"))?;
        }
        let found = match &column {
            Column::Text(v) => v.len(),
            Column::Float(v) => v.len(),
            Column::Bool(v) => v.len(),
            Column::Int32(v) => v.len(),
            Column::Int64(v) => v.len(),
        };
        if found != n_rows {
            return Err(format!(
                "the column `{name}` has {found} rows, the table says {n_rows}"
            ));
        }
        columns.push((name, column));
    }
    Ok((n_rows, columns))
}

fn read_column(
    group: &dyn RowGroupReader,
    index: usize,
    optional: bool,
    column: &mut Column,
) -> Result<(), String> {
    let rows = usize::try_from(group.metadata().num_rows())
        .ok()
        .filter(|n| *n <= MAX_UTTERANCES)
        .ok_or("the number of rows is impossible")?;
    // A macro, because the readers are different types with the same methods.
    macro_rules! append {
        ($reader:expr, $out:expr, $convert:expr) => {{
            let mut reader = $reader;
            let (mut values, mut levels) = (Vec::new(), Vec::new());
            let mut records = 0;
            while records < rows {
                let (n, _, _) = reader
                    .read_records(rows - records, Some(&mut levels), None, &mut values)
                    .map_err(|e| e.to_string())?;
                if n == 0 {
                    break;
                }
                records += n;
            }
            let mut values = values.into_iter();
            let convert = $convert;
            for k in 0..records {
                let present = !optional || levels.get(k).is_some_and(|level| *level > 0);
                let value = if present {
                    let value = values.next().ok_or("values are missing")?;
                    Some(convert(value)?)
                } else {
                    None
                };
                $out.push(value);
            }
        }};
    }
    let reader = group.get_column_reader(index).map_err(|e| e.to_string())?;
    match (reader, column) {
        (ColumnReader::ByteArrayColumnReader(reader), Column::Text(out)) => {
            append!(reader, out, |v: ByteArray| Ok::<_, String>(v));
        }
        (ColumnReader::FloatColumnReader(reader), Column::Float(out)) => {
            append!(reader, out, |v: f32| Ok::<_, String>(v));
        }
        (ColumnReader::DoubleColumnReader(reader), Column::Float(out)) => {
            append!(reader, out, |v: f64| Ok::<_, String>(v as f32));
        }
        (ColumnReader::BoolColumnReader(reader), Column::Bool(out)) => {
            append!(reader, out, |v: bool| Ok::<_, String>(v));
        }
        (ColumnReader::Int32ColumnReader(reader), Column::Int64(out)) => {
            append!(reader, out, |v: i32| Ok::<_, String>(i64::from(v)));
        }
        (ColumnReader::Int64ColumnReader(reader), Column::Int64(out)) => {
            append!(reader, out, |v: i64| Ok::<_, String>(v));
        }
        _ => return Err("the type differs from that of the schema".to_owned()),
    }
    Ok(())
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
            let split = parse_split(v).ok_or_else(|| {
                format!("`{v}` is not a split; expected `train`, `valid` or `test`")
            });
            row.split = Some(split?);
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

impl Column {
    fn wrong_type(&self, name: &str) -> String {
        format!("the column `{name}` has the type {}", self.physical())
    }

    fn int64(self, name: &str) -> Result<Vec<Option<i64>>, String> {
        match self {
            Self::Int64(values) => Ok(values),
            other => Err(other.wrong_type(name)),
        }
    }

    fn float(self, name: &str) -> Result<Vec<Option<f32>>, String> {
        match self {
            Self::Float(values) => Ok(values),
            other => Err(other.wrong_type(name)),
        }
    }

    fn bool(self, name: &str) -> Result<Vec<Option<bool>>, String> {
        match self {
            Self::Bool(values) => Ok(values),
            other => Err(other.wrong_type(name)),
        }
    }

    /// Calls `f` for every row that has a text in this column.
    fn each_text(
        &self,
        name: &str,
        rows: &mut [Utterance],
        f: impl Fn(&mut Utterance, &str) -> Result<(), String>,
    ) -> Result<(), String> {
        let Self::Text(values) = self else {
            return Err(self.wrong_type(name));
        };
        for (k, (row, value)) in rows.iter_mut().zip(values).enumerate() {
            let Some(value) = value else { continue };
            value
                .as_utf8()
                .map_err(|_| "text that is not UTF-8".to_owned())
                .and_then(|text| f(row, text))
                .map_err(|e| format!("row {}, column `{name}`: {e}", k + 1))?;
        }
        Ok(())
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
