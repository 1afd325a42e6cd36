//! What every error of this project can do beyond its message: offer a way out.

/// An error that may know what the user can try next.
///
/// The message of an error (its `Display`) is one sentence, lower case, without a final period. The
/// suggestion is kept apart, so that a program can print it on a line of its own (`hint: ...`).
pub trait Hint: std::error::Error {
    /// A sentence that tells what to try, if there is one.
    fn hint(&self) -> Option<String> {
        None
    }
}

/// The closest of `known` to `given`, when it is close enough to be a likely misspelling.
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(given, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.chars().count().max(3) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_finds_a_misspelling_and_refuses_a_stranger() {
        assert_eq!(nearest("epohcs", ["epochs", "lr"]), Some("epochs"));
        assert_eq!(nearest("zzzzzzzz", ["epochs", "lr"]), None);
    }
}
