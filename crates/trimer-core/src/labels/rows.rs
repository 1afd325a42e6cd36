//! Rows of a table, one at a time: CSV without ever holding more than one record, or Parquet.
//!
//! Nothing is trusted: a record has a largest size, a NUL byte ends the reading, every row must
//! have as many cells as the header.

use super::LabelError;
use crate::{
    import::Refusal,
    store::columns::{Column, read_columns},
};
use csv_core::ReadRecordResult;
use std::{
    fs::File,
    io::{BufRead, BufReader, Cursor, Read},
    path::{Path, PathBuf},
};

/// A record of more bytes is refused.
const MAX_RECORD_BYTES: usize = 1 << 20;
/// A header of more columns is refused.
const MAX_COLUMNS: usize = 1 << 12;
/// No table has more rows than this.
const MAX_ROWS: usize = crate::corpus::MAX_UTTERANCES;

/// The cells of one row.
#[derive(Debug, Default)]
struct Record {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    len: usize,
}

impl Record {
    fn cell(&self, index: usize) -> &[u8] {
        let end = self.ends.get(index).copied().unwrap_or(0);
        let start = match index {
            0 => 0,
            _ => self.ends.get(index - 1).copied().unwrap_or(0),
        };
        self.bytes.get(start..end).unwrap_or_default()
    }
}

enum Source {
    Csv {
        input: Box<dyn BufRead>,
        reader: Box<csv_core::Reader>,
        /// Line ends that were passed over outside of the reader.
        skipped: u64,
    },
    Parquet {
        columns: Vec<Column>,
        n_rows: usize,
        next: usize,
    },
}

/// A table being read.
pub struct Rows {
    path: PathBuf,
    headers: Vec<String>,
    record: Record,
    /// Line of a CSV file, from 1; number of the row in a Parquet file, from 1.
    line: u64,
    n_read: usize,
    source: Source,
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows")
            .field("path", &self.path)
            .field("headers", &self.headers)
            .field("line", &self.line)
            .finish_non_exhaustive()
    }
}

impl Rows {
    /// Opens a CSV or Parquet file and reads its header; Parquet is known by its first bytes.
    ///
    /// # Errors
    /// When the file cannot be read or has no usable header.
    pub fn open(path: &Path) -> Result<Self, LabelError> {
        let io = |source| LabelError::Io {
            action: "read",
            path: path.to_owned(),
            source,
        };
        let mut file = File::open(path).map_err(io)?;
        if file.metadata().map_err(io)?.is_dir() {
            return Err(Refusal::new(path, "a directory, expected a file")
                .hint("name a CSV or Parquet file, or a corpus directory with `corpus.toml`")
                .into());
        }
        let mut magic = Vec::with_capacity(4);
        file.by_ref().take(4).read_to_end(&mut magic).map_err(io)?;
        if magic == b"PAR1" {
            let again = File::open(path).map_err(io)?;
            return Self::parquet(again, path);
        }
        let input = BufReader::with_capacity(1 << 18, Cursor::new(magic).chain(file));
        Self::csv(Box::new(input), path)
    }

    /// Reads CSV from anywhere; `path` is only for messages.
    ///
    /// # Errors
    /// When there is no usable header.
    pub fn csv(mut input: Box<dyn BufRead>, path: &Path) -> Result<Self, LabelError> {
        let start = input.fill_buf().map_err(|source| LabelError::Io {
            action: "read",
            path: path.to_owned(),
            source,
        })?;
        // A short read of less than a byte order mark is possible only for pipes of tiny pieces.
        let bom = if start.starts_with(b"\xef\xbb\xbf") {
            3
        } else {
            0
        };
        input.consume(bom);
        let mut rows = Self {
            path: path.to_owned(),
            headers: Vec::new(),
            record: Record {
                bytes: vec![0; 1 << 12],
                ends: vec![0; 64],
                len: 0,
            },
            line: 1,
            n_read: 0,
            source: Source::Csv {
                input,
                reader: Box::new(csv_core::Reader::new()),
                skipped: 0,
            },
        };
        if !rows.read_csv()? {
            return Err(rows
                .refuse("the file is empty")
                .hint("the first line must name the columns")
                .into());
        }
        for index in 0..rows.record.len {
            let name = std::str::from_utf8(rows.record.cell(index))
                .map_err(|_| rows.refuse("the name of a column is not UTF-8"))?;
            rows.headers.push(name.trim().to_owned());
        }
        rows.check_headers()?;
        Ok(rows)
    }

    fn parquet(file: File, path: &Path) -> Result<Self, LabelError> {
        let (n_rows, columns) =
            read_columns(file, MAX_ROWS).map_err(|message| Refusal::new(path, message))?;
        let (headers, columns): (Vec<String>, Vec<Column>) = columns.into_iter().unzip();
        let rows = Self {
            path: path.to_owned(),
            headers,
            record: Record::default(),
            line: 0,
            n_read: 0,
            source: Source::Parquet {
                columns,
                n_rows,
                next: 0,
            },
        };
        rows.check_headers()?;
        Ok(rows)
    }

    fn check_headers(&self) -> Result<(), LabelError> {
        for (index, name) in self.headers.iter().enumerate() {
            if !name.is_empty() && self.headers[..index].contains(name) {
                return Err(Refusal::new(&self.path, "the column occurs twice")
                    .row(1)
                    .key(name)
                    .into());
            }
        }
        Ok(())
    }

    /// Names of the columns.
    pub fn headers(&self) -> &[String] {
        &self.headers
    }

    /// The file, as it was named.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the current row lies: line of a CSV file or row of a Parquet file, from 1.
    pub const fn line(&self) -> u64 {
        self.line
    }

    /// The start of an error about the current row.
    pub fn refuse(&self, message: impl Into<String>) -> Refusal {
        Refusal::new(&self.path, message).row(self.line)
    }

    /// Goes to the next row; `false` at the end.
    ///
    /// # Errors
    /// [`LabelError::Refused`] with the line, for a row that is no row of this table.
    #[expect(
        clippy::should_implement_trait,
        reason = "it lends, which an iterator cannot"
    )]
    pub fn next(&mut self) -> Result<bool, LabelError> {
        let more = match &self.source {
            Source::Csv { .. } => self.read_csv()?,
            Source::Parquet { .. } => self.read_parquet(),
        };
        if !more {
            return Ok(false);
        }
        self.n_read += 1;
        if self.n_read > MAX_ROWS {
            return Err(self.refuse(format!("more than {MAX_ROWS} rows")).into());
        }
        if self.record.len != self.headers.len() {
            return Err(self
                .refuse(format!(
                    "{} cells, the header has {}",
                    self.record.len,
                    self.headers.len()
                ))
                .hint("cells that contain commas or quotes must be quoted")
                .into());
        }
        Ok(true)
    }

    /// A cell of the current row without the white space around it.
    ///
    /// # Errors
    /// When it is not UTF-8.
    pub fn cell(&self, column: usize) -> Result<&str, LabelError> {
        match std::str::from_utf8(self.record.cell(column)) {
            Ok(text) => Ok(text.trim()),
            Err(_) => Err(self
                .refuse("not UTF-8")
                .key(self.headers.get(column).map_or("", String::as_str))
                .hint("save the table as UTF-8")
                .into()),
        }
    }

    fn read_csv(&mut self) -> Result<bool, LabelError> {
        let Source::Csv {
            input,
            reader,
            skipped,
        } = &mut self.source
        else {
            return Ok(false);
        };
        let io = |source| LabelError::Io {
            action: "read",
            path: self.path.clone(),
            source,
        };
        // Empty lines before a record would spoil the number of its line.
        loop {
            let buffer = input.fill_buf().map_err(io)?;
            let n = buffer.iter().take_while(|b| b"\r\n".contains(b)).count();
            *skipped += buffer[..n]
                .iter()
                .map(|b| u64::from(*b == b'\n'))
                .sum::<u64>();
            input.consume(n);
            if n == 0 {
                break;
            }
        }
        self.line = reader.line() + *skipped;
        let (mut bytes, mut ends) = (0, 0);
        let record = &mut self.record;
        loop {
            let buffer = input.fill_buf().map_err(io)?;
            let (result, n_in, n_out, n_ends) =
                reader.read_record(buffer, &mut record.bytes[bytes..], &mut record.ends[ends..]);
            input.consume(n_in);
            bytes += n_out;
            ends += n_ends;
            let refuse = |message: String| Refusal::new(&self.path, message).row(self.line);
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull if record.bytes.len() >= MAX_RECORD_BYTES => {
                    return Err(
                        refuse(format!("more than {MAX_RECORD_BYTES} bytes in one row"))
                            .hint("a quote that is opened must be closed")
                            .into(),
                    );
                }
                ReadRecordResult::OutputFull => record.bytes.resize(record.bytes.len() * 2, 0),
                ReadRecordResult::OutputEndsFull if record.ends.len() >= MAX_COLUMNS => {
                    return Err(refuse(format!("more than {MAX_COLUMNS} cells in one row")).into());
                }
                ReadRecordResult::OutputEndsFull => record.ends.resize(record.ends.len() * 2, 0),
                ReadRecordResult::Record => break,
                ReadRecordResult::End => return Ok(false),
            }
        }
        record.len = ends;
        if record.bytes[..bytes].contains(&0) {
            return Err(Refusal::new(&self.path, "a NUL byte, expected text")
                .row(self.line)
                .hint("save the table as CSV in UTF-8, not in UTF-16 or as a spreadsheet")
                .into());
        }
        Ok(true)
    }

    fn read_parquet(&mut self) -> bool {
        let Source::Parquet {
            columns,
            n_rows,
            next,
        } = &mut self.source
        else {
            return false;
        };
        if *next >= *n_rows {
            return false;
        }
        let record = &mut self.record;
        record.bytes.clear();
        record.ends.clear();
        for column in columns.iter() {
            append_cell(column, *next, &mut record.bytes);
            record.ends.push(record.bytes.len());
        }
        record.len = columns.len();
        *next += 1;
        self.line = *next as u64;
        true
    }
}

/// A cell as CSV would show it; nothing for a null. Bytes of texts are left as they are, so that
/// those that are not UTF-8 are noticed.
fn append_cell(column: &Column, row: usize, out: &mut Vec<u8>) {
    match column {
        Column::Text(values) => {
            if let Some(value) = values.get(row).and_then(Option::as_ref) {
                out.extend_from_slice(value.data());
            }
        }
        other => out.extend_from_slice(other.cell(row).as_bytes()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::Hint;
    use proptest::prelude::*;

    pub(crate) fn rows_of(bytes: &[u8]) -> Result<Rows, LabelError> {
        Rows::csv(Box::new(Cursor::new(bytes.to_vec())), Path::new("t.csv"))
    }

    fn all(bytes: &[u8]) -> Result<Vec<(u64, Vec<String>)>, LabelError> {
        let mut rows = rows_of(bytes)?;
        let mut found = Vec::new();
        while rows.next()? {
            let cells = (0..rows.headers().len()).map(|k| rows.cell(k).map(str::to_owned));
            found.push((rows.line(), cells.collect::<Result<_, _>>()?));
        }
        Ok(found)
    }

    #[test]
    fn lines_are_counted_through_empty_lines_and_quoted_line_ends() {
        let found =
            all(b"\xef\xbb\xbfid,label\r\na,x\r\n\r\n\r\n\"b\nb\",\"y,\"\"y\"\nc,z").unwrap();
        let lines: Vec<u64> = found.iter().map(|row| row.0).collect();
        assert_eq!(lines, [2, 5, 7]);
        assert_eq!(found[1].1, ["b\nb", "y,\"y"]);
        assert_eq!(found[2].1, ["c", "z"]);
    }

    #[test]
    fn hostile_bytes_are_refused_with_their_line() {
        let huge = [b"id,label\na,\"".to_vec(), vec![b'x'; 3 << 20]].concat();
        let wide = [b"id,label\n".to_vec(), vec![b','; 3 << 20]].concat();
        let cases: [(&[u8], &str); 7] = [
            (b"", "`t.csv`: line 1: the file is empty"),
            (
                b"id,id\n",
                "`t.csv`: line 1, key `id`: the column occurs twice",
            ),
            (
                b"id,label\na\n",
                "`t.csv`: line 2: 1 cells, the header has 2",
            ),
            (
                b"id,label\na,\0\n",
                "`t.csv`: line 2: a NUL byte, expected text",
            ),
            (
                b"id,label\na,b\nc,\xff\xfe\n",
                "`t.csv`: line 3, key `label`: not UTF-8",
            ),
            (&huge, "`t.csv`: line 2: more than 1048576 bytes in one row"),
            (&wide, "`t.csv`: line 2: more than 4096 cells in one row"),
        ];
        for (bytes, message) in cases {
            assert_eq!(all(bytes).unwrap_err().to_string(), message);
        }
        assert!(all(&huge).unwrap_err().hint().unwrap().contains("quote"));
    }

    #[test]
    fn a_parquet_file_gives_the_same_cells_and_damaged_ones_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.parquet");
        let columns = vec![
            (
                "id".to_owned(),
                Column::text([Some("a"), Some("b")].into_iter()),
            ),
            ("n".to_owned(), Column::Int64(vec![Some(3), None])),
        ];
        crate::store::columns::write_columns(&File::create(&path).unwrap(), "t", &columns).unwrap();
        let mut rows = Rows::open(&path).unwrap();
        assert_eq!(rows.headers(), ["id", "n"]);
        assert!(rows.next().unwrap());
        assert_eq!((rows.cell(0).unwrap(), rows.cell(1).unwrap()), ("a", "3"));
        assert!(rows.next().unwrap());
        assert_eq!((rows.cell(1).unwrap(), rows.line()), ("", 2));
        assert!(!rows.next().unwrap());
        let whole = std::fs::read(&path).unwrap();
        for cut in [4, 9, whole.len() / 2, whole.len() - 1] {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert!(Rows::open(&path).is_err(), "{cut}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_rows_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = all(&bytes);
        }

        #[test]
        fn what_the_csv_crate_writes_is_read_back(
            table in prop::collection::vec(prop::collection::vec("[a-z,\" \n\r]{1,6}", 3), 0..8)
        ) {
            let mut writer = csv::Writer::from_writer(Vec::new());
            writer.write_record(["a", "b", "c"]).unwrap();
            for row in &table {
                writer.write_record(row).unwrap();
            }
            let found = all(&writer.into_inner().unwrap()).unwrap();
            let trimmed: Vec<Vec<String>> = table
                .iter()
                .map(|row| row.iter().map(|c| c.trim().to_owned()).collect())
                .collect();
            prop_assert_eq!(found.into_iter().map(|r| r.1).collect::<Vec<_>>(), trimmed);
        }
    }
}
