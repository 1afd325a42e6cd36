//! Quoting for comma-separated values.

use std::borrow::Cow;

/// A field of a CSV file as RFC 4180 writes it: quoted when it holds a comma, a quote or the end of a
/// line, with its own quotes doubled.
///
/// ```
/// use trimer_core::io::csv_field;
///
/// assert_eq!(csv_field("plain"), "plain");
/// assert_eq!(csv_field("a \"b\", c"), "\"a \"\"b\"\", c\"");
/// ```
pub fn csv_field(text: &str) -> Cow<'_, str> {
    if text.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\"")).into()
    } else {
        text.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_reads_back() {
        for text in ["", "a", "a,b", "\"", "a\nb", "a\r", " padded "] {
            let line = format!("{},x\n", csv_field(text));
            let mut reader = csv::ReaderBuilder::new()
                .has_headers(false)
                .from_reader(line.as_bytes());
            let record = reader.records().next().unwrap().unwrap();
            assert_eq!([&record[0], &record[1]], [text, "x"], "{line:?}");
        }
    }
}
