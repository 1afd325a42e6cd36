//! Plain text: tables with aligned columns, and names that are safe in paths.

use std::fmt::Write as _;

/// A table with aligned columns; numbers right, words left.
///
/// ```
/// let text = trimer_study::text::table(&["name", "n"], &[vec!["b".into(), "12".into()]]);
/// assert_eq!(text, "name  n\nb     12\n");
/// ```
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count());
        cells
            .chain([head[column].chars().count()])
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut text = String::new();
    let head: Vec<String> = head.iter().map(|h| (*h).to_owned()).collect();
    for row in std::iter::once(&head).chain(rows) {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let pad = widths
                .get(column)
                .map_or(0, |w| w.saturating_sub(cell.chars().count()));
            let numeric = cell.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c))
                || cell.starts_with("NaN");
            if column > 0 {
                line.push_str("  ");
            }
            if numeric && column > 0 {
                line.push_str(&" ".repeat(pad));
                line.push_str(cell);
            } else {
                line.push_str(cell);
                line.push_str(&" ".repeat(pad));
            }
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// A name that leads to no other directory.
pub(crate) fn plain_name(name: &str) -> String {
    let plain: String = name
        .chars()
        .map(|c| {
            if c.is_alphanumeric() || "-_.".contains(c) {
                c
            } else {
                '-'
            }
        })
        .take(100)
        .collect();
    match plain.trim_start_matches('.') {
        "" => "row".into(),
        rest => rest.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_aligned_to_the_right() {
        let text = table(
            &["name", "n"],
            &[vec!["a".into(), "5".into()], vec!["b".into(), "12".into()]],
        );
        assert_eq!(text, "name  n\na      5\nb     12\n");
    }
}
