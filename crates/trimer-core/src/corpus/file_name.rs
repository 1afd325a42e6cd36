//! Ids as names of files, on every system.

use super::CorpusError;
use std::fmt::Write as _;

/// Names that Windows keeps for devices, whatever follows the first dot.
const RESERVED: [&str; 4] = ["con", "prn", "aux", "nul"];
/// File systems take 255 bytes; some of them go to the extension and to partial files.
const MAX_BYTES: usize = 200;

/// The name of a file for an id, without extension.
///
/// Letters of all scripts, digits, spaces inside and the signs `-_.,;=+@#$&()[]{}!'~^` stay. Path
/// separators, `%`, control characters and what Windows refuses become `%XX`, so different ids
/// have different names.
///
/// # Errors
/// [`CorpusError::FileName`] when the id is empty or the name would be longer than 200 bytes.
pub fn file_stem(id: &str) -> Result<String, CorpusError> {
    let fail = |reason| {
        Err(CorpusError::FileName {
            id: id.to_owned(),
            reason,
        })
    };
    if id.is_empty() {
        return fail("it is empty");
    }
    let mut stem = String::with_capacity(id.len());
    let last = id.chars().count() - 1;
    let device = id.split('.').next().is_some_and(is_device);
    for (k, c) in id.chars().enumerate() {
        let at_edge = (k == 0 || k == last) && (c == '.' || c == ' ');
        let unsafe_char = c.is_control() || "/\\%:*?\"<>|".contains(c);
        if unsafe_char || at_edge || (k == 0 && device) {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                let _ = write!(stem, "%{byte:02X}");
            }
        } else {
            stem.push(c);
        }
    }
    if stem.len() > MAX_BYTES {
        return fail("the name would be longer than 200 bytes");
    }
    Ok(stem)
}

fn is_device(stem: &str) -> bool {
    let stem = stem.to_ascii_lowercase();
    RESERVED.contains(&stem.as_str())
        || ["com", "lpt"].iter().any(|port| {
            stem.strip_prefix(port)
                .is_some_and(|n| n.len() == 1 && n.as_bytes()[0].is_ascii_digit())
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn plain_ids_stay_and_dangerous_ones_are_escaped() {
        for (id, stem) in [
            ("drama01_00011", "drama01_00011"),
            ("video$_$3", "video$_$3"),
            ("平静 1", "平静 1"),
            ("../../etc", "%2E.%2F..%2Fetc"),
            ("a%2Fb", "a%252Fb"),
            ("nul.x", "%6Eul.x"),
            ("com1", "%63om1"),
            (".", "%2E"),
            ("a ", "a%20"),
        ] {
            assert_eq!(file_stem(id).unwrap(), stem);
        }
    }

    #[test]
    fn a_name_that_no_file_system_takes_is_refused() {
        assert!(file_stem(&"x".repeat(201)).is_err());
        assert!(file_stem("").is_err());
    }

    proptest! {
        #[test]
        fn different_ids_have_different_names(a in "\\PC{1,20}", b in "\\PC{1,20}") {
            prop_assume!(a != b);
            prop_assert_ne!(file_stem(&a).unwrap(), file_stem(&b).unwrap());
        }
    }
}
