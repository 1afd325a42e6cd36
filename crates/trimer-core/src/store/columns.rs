//! Plain tables as Parquet files: named columns of equal length, no nesting.

use parquet::{
    basic::{LogicalType, Repetition, Type as Physical},
    column::reader::ColumnReader,
    data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, FloatType, Int32Type, Int64Type},
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
    sync::Arc,
};

/// A whole column, one entry per row; `None` is a null.
#[derive(Debug, Clone, PartialEq)]
pub enum Column {
    /// UTF-8 text.
    Text(Vec<Option<ByteArray>>),
    /// 32-bit floats.
    Float(Vec<Option<f32>>),
    /// 64-bit floats.
    Double(Vec<Option<f64>>),
    /// Truth values.
    Bool(Vec<Option<bool>>),
    /// 32-bit integers; read back as [`Self::Int64`].
    Int32(Vec<Option<i32>>),
    /// 64-bit integers.
    Int64(Vec<Option<i64>>),
}

impl Column {
    /// Number of rows.
    pub const fn len(&self) -> usize {
        match self {
            Self::Text(v) => v.len(),
            Self::Float(v) => v.len(),
            Self::Double(v) => v.len(),
            Self::Bool(v) => v.len(),
            Self::Int32(v) => v.len(),
            Self::Int64(v) => v.len(),
        }
    }

    /// Whether the column has no row.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// An entry as text tables show it; empty for a null or beyond the end.
    pub fn cell(&self, row: usize) -> String {
        fn of<T: ToString>(values: &[Option<T>], row: usize) -> String {
            let value = values.get(row).and_then(Option::as_ref);
            value.map_or_else(String::new, ToString::to_string)
        }
        match self {
            Self::Text(v) => {
                let value = v.get(row).and_then(Option::as_ref);
                value.map_or_else(String::new, |b| {
                    String::from_utf8_lossy(b.data()).into_owned()
                })
            }
            Self::Float(v) => of(v, row),
            Self::Double(v) => of(v, row),
            Self::Bool(v) => of(v, row),
            Self::Int32(v) => of(v, row),
            Self::Int64(v) => of(v, row),
        }
    }

    fn physical(&self) -> Physical {
        match self {
            Self::Text(_) => Physical::BYTE_ARRAY,
            Self::Float(_) => Physical::FLOAT,
            Self::Double(_) => Physical::DOUBLE,
            Self::Bool(_) => Physical::BOOLEAN,
            Self::Int32(_) => Physical::INT32,
            Self::Int64(_) => Physical::INT64,
        }
    }
}

/// Writes the columns as one table; a column named `id` may hold no null.
///
/// # Errors
/// What the writer said, in words.
pub fn write_columns(file: &File, table: &str, columns: &[(String, Column)]) -> Result<(), String> {
    try_write(file, table, columns).map_err(|e| e.to_string())
}

fn try_write(file: &File, table: &str, columns: &[(String, Column)]) -> Result<(), ParquetError> {
    let n_rows = columns.first().map_or(0, |(_, column)| column.len());
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
    let schema = Type::group_type_builder(table)
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
                Column::Double(v) => write_column::<DoubleType, _>(&mut group, required, v, |v| *v),
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

/// A table: number of rows, columns in order.
pub type Table = (usize, Vec<(String, Column)>);

/// Reads a table of at most `max_rows` rows.
///
/// # Errors
/// In words, with the column where it is known. Bytes that are no table never end the program.
pub fn read_columns(file: File, max_rows: usize) -> Result<Table, String> {
    // The Parquet reader is not ours, and hostile bytes must not end the program even if they find
    // a panic in it. It owns all that it works on, so nothing broken can be seen afterwards.
    catch_unwind(AssertUnwindSafe(|| try_read(file, max_rows)))
        .unwrap_or_else(|_| Err("the reader gave up on malformed content".to_owned()))
}

fn try_read(file: File, max_rows: usize) -> Result<Table, String> {
    let text = |e: ParquetError| format!("not a usable Parquet file: {e}");
    let reader = SerializedFileReader::new(file).map_err(text)?;
    let metadata = reader.metadata();
    let n_rows = usize::try_from(metadata.file_metadata().num_rows())
        .ok()
        .filter(|n| *n <= max_rows)
        .ok_or_else(|| {
            format!(
                "{} rows, expected at most {max_rows}",
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
            Physical::FLOAT => Column::Float(Vec::new()),
            Physical::DOUBLE => Column::Double(Vec::new()),
            Physical::BOOLEAN => Column::Bool(Vec::new()),
            Physical::INT32 | Physical::INT64 => Column::Int64(Vec::new()),
            other => return Err(format!("the column `{name}` has the type {other}")),
        };
        for group in 0..reader.num_row_groups() {
            let group = reader.get_row_group(group).map_err(text)?;
            let optional = descr.max_def_level() > 0;
            read_column(group.as_ref(), index, optional, max_rows, &mut column)
                .map_err(|e| format!("column `{name}`: {e}"))?;
        }
        let found = column.len();
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
    max_rows: usize,
    column: &mut Column,
) -> Result<(), String> {
    let rows = usize::try_from(group.metadata().num_rows())
        .ok()
        .filter(|n| *n <= max_rows)
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
        (ColumnReader::DoubleColumnReader(reader), Column::Double(out)) => {
            append!(reader, out, |v: f64| Ok::<_, String>(v));
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

impl Column {
    /// A column of text.
    pub fn text<'a>(values: impl Iterator<Item = Option<&'a str>>) -> Self {
        Self::Text(values.map(|v| v.map(ByteArray::from)).collect())
    }

    fn wrong_type(&self, name: &str) -> String {
        format!("the column `{name}` has the type {}", self.physical())
    }

    /// The integers.
    ///
    /// # Errors
    /// When the column, called `name`, holds something else.
    pub fn int64(self, name: &str) -> Result<Vec<Option<i64>>, String> {
        match self {
            Self::Int64(values) => Ok(values),
            other => Err(other.wrong_type(name)),
        }
    }

    /// The floats; 64-bit ones, as other tools write them, are rounded.
    ///
    /// # Errors
    /// When the column, called `name`, holds something else.
    pub fn float(self, name: &str) -> Result<Vec<Option<f32>>, String> {
        match self {
            Self::Float(values) => Ok(values),
            Self::Double(values) => Ok(values.into_iter().map(|v| v.map(|v| v as f32)).collect()),
            other => Err(other.wrong_type(name)),
        }
    }

    /// The truth values.
    ///
    /// # Errors
    /// When the column, called `name`, holds something else.
    pub fn bool(self, name: &str) -> Result<Vec<Option<bool>>, String> {
        match self {
            Self::Bool(values) => Ok(values),
            other => Err(other.wrong_type(name)),
        }
    }

    /// Calls `f` for every row that has a text in this column.
    ///
    /// # Errors
    /// Names column and row (from 1) of what is no text, or of what `f` refuses.
    pub fn each_text<R>(
        &self,
        name: &str,
        rows: &mut [R],
        f: impl Fn(&mut R, &str) -> Result<(), String>,
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
