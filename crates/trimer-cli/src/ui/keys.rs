//! The flags that set the options of the libraries.
//!
//! Hints and messages of libraries name options by key, in backticks: `` `out` ``,
//! `` `frame_loss=0.2,0.5` ``, `` `train.epochs=N` ``. Users of the command line know flags.

/// Options of studies, importers and labels, and the flags that set them. Keys that are also columns
/// or sections of files (`split`, `corpus`) are options where they have a value.
const FLAGS: &[(&str, &str)] = &[
    ("abstain_at", "--abstain-at"),
    ("budget", "--budget"),
    ("fit_only", "--fit-only"),
    ("frame_loss", "--frame-loss"),
    ("import.classes", "--classes"),
    ("import.non_finite", "--non-finite"),
    ("labels.classes", "--classes"),
    ("labels.columns", "--column"),
    ("labels.format", "--format"),
    ("labels.min_votes", "--min-votes"),
    ("labels.rule", "--rule"),
    ("labels.threshold", "--threshold"),
    ("length_edges", "--length-edges"),
    ("min_turns", "--min-turns"),
    ("models", "--models"),
    ("online", "--online"),
    ("out", "--out"),
    ("pages", "--pages"),
    ("points", "--points"),
    ("resume", "trimer train --resume"),
    ("select_on", "--select-on"),
    ("snr", "--snr"),
    ("thresholds", "--thresholds"),
    ("turns", "--turns"),
];

/// Options that are meant only where they have a value.
const FLAGS_WITH_VALUE: &[(&str, &str)] = &[
    ("corpus", "--corpus"),
    ("device", "--device"),
    ("split", "--split"),
];

/// What stands in the backticks of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Words {
    /// Options, settings of a run, and words that are neither.
    Hint,
    /// The same, but a word alone may be a path or a column.
    Foreign,
    /// Options with their values, settings as they are, and paths.
    Message,
}

/// A text in which keys of options are flags, and in hints settings of a run arguments of `--set`.
pub(super) fn with_flags(text: &str, words: Words) -> String {
    let pieces: Vec<&str> = text.split('`').collect();
    if pieces.len().is_multiple_of(2) {
        return text.to_owned();
    }
    let quoted = |(i, piece): (usize, &&str)| {
        let flag = (i % 2 == 1).then(|| flag(piece, words)).flatten();
        flag.unwrap_or_else(|| (*piece).to_owned())
    };
    let pieces: Vec<String> = pieces.iter().enumerate().map(quoted).collect();
    pieces.join("`")
}

/// The flag for what stands in backticks, where it is an option.
fn flag(quoted: &str, words: Words) -> Option<String> {
    let find = |all: &[(&str, &'static str)], key: &str| {
        let found = all.iter().find(|(known, _)| *known == key);
        found.map(|(_, flag)| *flag)
    };
    let Some((key, value)) = quoted.split_once('=') else {
        let is_plain = !quoted.contains(['_', '.']) && quoted != "thresholds";
        let found = find(FLAGS, quoted).filter(|_| words == Words::Hint || !is_plain);
        return found.map(str::to_owned);
    };
    let (key, value) = (key.trim_end(), value.trim_start());
    match find(FLAGS, key).or_else(|| find(FLAGS_WITH_VALUE, key)) {
        Some(flag) => Some(format!("{flag} {value}")),
        None => (words != Words::Message && is_setting(key, value))
            .then(|| format!("--set {key}={value}")),
    }
}

/// Whether this sets a key of a run: `section.key=value`, which no section of a file looks like.
fn is_setting(key: &str, value: &str) -> bool {
    let word = |part: &str| {
        let mut bytes = part.bytes();
        !part.is_empty() && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    let sections = ["model", "data", "train"];
    let section = key.split('.').next().unwrap_or_default();
    let is_plugin = trimer_train::plugins::plugins()
        .iter()
        .any(|p| p.id == section);
    key.contains('.')
        && key.split('.').all(word)
        && !value.contains(' ')
        && (is_plugin || sections.contains(&section))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_become_flags_and_other_words_stay() {
        for (text, wanted) in [
            ("choose another `out`, or", "choose another `--out`, or"),
            (
                "several: `frame_loss=0.2,0.5`",
                "several: `--frame-loss 0.2,0.5`",
            ),
            (
                "`abstain_at = 1.5` is out of range",
                "`--abstain-at 1.5` is out of range",
            ),
            (
                "shorten it with `train.epochs=N`",
                "shorten it with `--set train.epochs=N`",
            ),
            (
                "use `fagm.variant=inputs`",
                "use `--set fagm.variant=inputs`",
            ),
            (
                "finish it with `resume=runs/a`",
                "finish it with `trimer train --resume runs/a`",
            ),
            ("with `corpus=DIR`", "with `--corpus DIR`"),
            (
                "`labels.columns=audio=VoiceVote`",
                "`--column audio=VoiceVote`",
            ),
            // What is no option stays.
            ("fill the column `split`", "fill the column `split`"),
            ("lower `train.lr`", "lower `train.lr`"),
            ("`--set train.lr=1`", "`--set train.lr=1`"),
            ("`manifest.csv` has `a=b`", "`manifest.csv` has `a=b`"),
            ("an odd ` one with `out`", "an odd ` one with `out`"),
        ] {
            assert_eq!(with_flags(text, Words::Hint), wanted);
        }
    }

    #[test]
    fn a_message_names_settings_as_they_are() {
        for (text, wanted) in [
            ("`train.select = last` stays", "`train.select = last` stays"),
            ("`budget = 5` does not reach", "`--budget 5` does not reach"),
            ("`abstain_at` needs", "`--abstain-at` needs"),
            ("cannot write `out`", "cannot write `out`"),
        ] {
            assert_eq!(with_flags(text, Words::Message), wanted);
        }
        let foreign = "create `out`, or set `import.non_finite=zero`";
        let wanted = "create `out`, or set `--non-finite zero`";
        assert_eq!(with_flags(foreign, Words::Foreign), wanted);
    }

    #[test]
    fn every_option_has_one_flag() {
        let all = FLAGS.iter().chain(FLAGS_WITH_VALUE);
        let keys: std::collections::BTreeSet<&str> = all.clone().map(|(key, _)| *key).collect();
        assert_eq!(keys.len(), all.count());
        assert!(FLAGS.is_sorted() && FLAGS_WITH_VALUE.is_sorted());
    }
}
