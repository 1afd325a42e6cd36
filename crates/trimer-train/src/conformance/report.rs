//! What a walk found: faults, and which checks looked at what.

use std::fmt;
use trimer_core::Hint;

/// One thing that a check found wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// [`super::Check::id`], or `registry` where there is nothing to check.
    pub check: &'static str,
    /// Who fails, for instance `gmu (small)`: model and preset.
    pub subject: String,
    /// What was found, with numbers and names of parameters.
    pub found: String,
    /// What the author of the model or plug-in should look at.
    pub look_at: &'static str,
}

impl Fault {
    /// A fault whose check and subject the caller of the check fills in.
    pub(super) const fn new(look_at: &'static str, found: String) -> Self {
        Self {
            check: "",
            subject: String::new(),
            found,
            look_at,
        }
    }

    pub(super) fn of(mut self, check: &'static str, subject: &str) -> Self {
        if self.check.is_empty() {
            self.check = check;
        }
        if self.subject.is_empty() {
            subject.clone_into(&mut self.subject);
        }
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            check,
            subject,
            found,
            look_at,
        } = self;
        write!(f, "{subject} fails `{check}`: {found}; look at {look_at}")
    }
}

impl std::error::Error for Fault {}

impl Hint for Fault {
    fn hint(&self) -> Option<String> {
        Some(format!("look at {}", self.look_at))
    }
}

/// What a check looked at on one subject without finding a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// [`super::Check::id`].
    pub check: &'static str,
    /// The subject, as in [`Fault::subject`].
    pub subject: String,
    /// How many cases held.
    pub cases: usize,
    /// What was left out, and why: what the model does not claim need not hold.
    pub skipped: Vec<String>,
}

/// Which checks ran on which subjects. A check that looked at nothing and cannot say why is no entry here
/// but a fault.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// In the order of subjects, then of checks; the checks that found a fault are left out.
    pub entries: Vec<Entry>,
}

impl Report {
    /// What `check` looked at, one entry per subject.
    pub fn of<'a>(&'a self, check: &'a str) -> impl Iterator<Item = &'a Entry> {
        self.entries.iter().filter(move |e| e.check == check)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for entry in &self.entries {
            let (subject, check) = (&entry.subject, entry.check);
            writeln!(f, "{subject}: `{check}` holds in {} cases", entry.cases)?;
            for skipped in &entry.skipped {
                writeln!(f, "    skipped: {skipped}")?;
            }
        }
        Ok(())
    }
}

/// Everything that a walk found wrong; one fault at least.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults {
    /// The model or plug-in that was asked for.
    pub id: String,
    /// At most one per check and subject.
    pub faults: Vec<Fault>,
    /// What holds nevertheless.
    pub report: Report,
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (n, sound) = (self.faults.len(), self.report.entries.len());
        write!(f, "`{}` fails {n} of {} checks:", self.id, n + sound)?;
        for fault in &self.faults {
            write!(f, "\n- {fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

impl Hint for Faults {
    fn hint(&self) -> Option<String> {
        self.faults.first()?.hint()
    }
}

/// What a check writes down while it runs.
#[derive(Debug, Default)]
pub(super) struct Tally {
    cases: usize,
    skipped: Vec<String>,
}

impl Tally {
    /// Counts a case that held.
    pub(super) const fn held(&mut self) {
        self.cases += 1;
    }

    /// Notes what is left out, and why.
    pub(super) fn skip(&mut self, why: impl Into<String>) {
        let why = why.into();
        if !self.skipped.contains(&why) {
            self.skipped.push(why);
        }
    }
}

/// Returns a [`Fault`] unless a condition holds: `ensure!(condition, look_at, "what was found")`.
macro_rules! ensure {
    ($holds:expr, $look_at:expr, $($found:tt)+) => {
        let holds: bool = $holds;
        if !holds {
            return Err($crate::conformance::report::Fault::new($look_at, format!($($found)+)));
        }
    };
}
pub(super) use ensure;

/// Runs one check on one subject. A panic of the subject is a fault like any other, and so is a check that
/// found nothing to look at.
pub(super) fn run(
    check: &'static str,
    subject: &str,
    f: impl FnOnce(&mut Tally) -> Result<(), Fault>,
) -> Result<Entry, Fault> {
    let mut tally = Tally::default();
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| f(&mut tally)));
    let outcome = outcome.unwrap_or_else(|panic| {
        let said = (panic.downcast_ref::<String>().map(String::as_str))
            .or_else(|| panic.downcast_ref::<&str>().copied());
        Err(Fault::new(
            "the place that panicked: shapes, indices, and modalities that a batch lacks",
            format!("it panicked: {}", said.unwrap_or("without a message")),
        ))
    });
    outcome.map_err(|fault| fault.of(check, subject))?;
    if tally.cases == 0 && tally.skipped.is_empty() {
        let nothing = Fault::new(
            "what the registry entry says: modalities, tasks, presets",
            "there was nothing to look at".into(),
        );
        return Err(nothing.of(check, subject));
    }
    Ok(Entry {
        check,
        subject: subject.to_owned(),
        cases: tally.cases,
        skipped: tally.skipped,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_that_looks_at_nothing_is_a_fault() {
        let fault = run("idle", "toy (small)", |_| Ok(())).unwrap_err();
        assert_eq!((fault.check, &*fault.subject), ("idle", "toy (small)"));
        assert!(fault.found.contains("nothing to look at"), "{fault}");
        let entry = run("idle", "toy (small)", |tally| {
            tally.skip("it claims nothing");
            Ok(())
        });
        assert_eq!(entry.unwrap().skipped, ["it claims nothing"]);
    }
}
