//! Tables as comma-separated values, RFC 4180.

/// One row per line; fields are quoted where they must be.
pub(crate) fn to_csv<'a>(rows: impl IntoIterator<Item = &'a [String]>) -> String {
    let mut out = String::new();
    for row in rows {
        for (i, field) in row.iter().enumerate() {
            if i > 0 {
                out.push(',');
            }
            if field.contains(['"', ',', '\n', '\r']) {
                out.push('"');
                out.push_str(&field.replace('"', "\"\""));
                out.push('"');
            } else {
                out.push_str(field);
            }
        }
        out.push_str("\r\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_where_needed() {
        let rows = [
            ["a".to_owned(), "b,\"c\"".to_owned()],
            ["1".to_owned(), String::new()],
        ];
        assert_eq!(
            to_csv(rows.iter().map(<[_; 2]>::as_slice)),
            "a,\"b,\"\"c\"\"\"\r\n1,\r\n"
        );
    }
}
