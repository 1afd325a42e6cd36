//! A registry that grows: the entries that a crate brings, and those that a program adds.
//!
//! It belongs to the process. A program registers its own entries once, at the start; entries are never
//! taken away or changed, so a run directory is read the same way by every thread.

use crate::error::{NnError, Result};
use std::any::TypeId;
use std::sync::{PoisonError, RwLock};
use trimer_core::error::nearest;

/// What every entry says of itself.
pub trait Named {
    /// Name on the command line and in files.
    fn id(&self) -> &'static str;
    /// Full name.
    fn title(&self) -> &'static str;
}

/// Entries by id, in the order in which they came.
#[derive(Debug)]
pub struct Registry<E: 'static> {
    what: &'static str,
    builtin: &'static [E],
    added: RwLock<Vec<(TypeId, E)>>,
}

impl<E: Named + Copy> Registry<E> {
    /// A registry of `what` (`model`, `plug-in`) with the entries of a crate.
    pub const fn new(what: &'static str, builtin: &'static [E]) -> Self {
        Self {
            what,
            builtin,
            added: RwLock::new(Vec::new()),
        }
    }

    /// All entries.
    pub fn all(&self) -> Vec<E> {
        let added = self.added.read().unwrap_or_else(PoisonError::into_inner);
        let added = added.iter().map(|(_, entry)| *entry);
        self.builtin.iter().copied().chain(added).collect()
    }

    /// The entry of `id`.
    ///
    /// # Errors
    /// A hint with the nearest known id, or all of them.
    pub fn find(&self, id: &str) -> std::result::Result<E, String> {
        let all = self.all();
        if let Some(entry) = all.iter().find(|entry| entry.id() == id) {
            return Ok(*entry);
        }
        let ids: Vec<_> = all.iter().map(Named::id).collect();
        Err(match nearest(id, ids.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("registered {}s: {}", self.what, ids.join(", ")),
        })
    }

    /// Adds the entry of the configuration type `C`. Doing it twice changes nothing.
    ///
    /// # Errors
    /// An id that another entry has, or that is not made of lower-case letters, digits and `_`; no preset.
    pub fn add<C: 'static>(&self, entry: E, presets: &[&str]) -> Result<()> {
        let id = entry.id();
        let refuse = |expected: String| NnError::ConfigRange {
            key: format!("{}.id", self.what),
            value: format!("\"{id}\""),
            expected,
        };
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if id.is_empty() || !id.chars().all(is_plain) {
            return Err(refuse("lower-case letters, digits and `_`".into()));
        }
        if presets.is_empty() {
            return Err(refuse("an entry with one preset at least".into()));
        }
        let mut added = self.added.write().unwrap_or_else(PoisonError::into_inner);
        if added.iter().any(|(known, _)| *known == TypeId::of::<C>()) {
            return Ok(());
        }
        let taken = added.iter().map(|(_, entry)| entry);
        if let Some(known) = self.builtin.iter().chain(taken).find(|e| e.id() == id) {
            return Err(refuse(format!(
                "an id that is free; this one is that of `{}`",
                known.title()
            )));
        }
        added.push((TypeId::of::<C>(), entry));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, Copy)]
    struct One(&'static str);

    impl Named for One {
        fn id(&self) -> &'static str {
            self.0
        }
        fn title(&self) -> &'static str {
            "One"
        }
    }

    #[test]
    fn entries_are_added_once_and_ids_stay_unique() {
        static REGISTRY: Registry<One> = Registry::new("thing", &[One("a")]);
        REGISTRY.add::<u8>(One("beta"), &["p"]).unwrap();
        REGISTRY.add::<u8>(One("beta"), &["p"]).unwrap();
        assert_eq!(REGISTRY.all().len(), 2);
        assert_eq!(REGISTRY.find("beta").unwrap().0, "beta");
        assert_eq!(REGISTRY.find("bets").unwrap_err(), "did you mean `beta`?");
        assert_eq!(
            REGISTRY.find("zzzzzz").unwrap_err(),
            "registered things: a, beta"
        );
        for (entry, presets) in [
            (One("a"), &["p"][..]),
            (One("beta"), &["p"]),
            (One("Beta 2"), &["p"]),
            (One(""), &["p"]),
            (One("fine"), &[]),
        ] {
            let error = REGISTRY.add::<u16>(entry, presets).unwrap_err();
            assert!(error.to_string().contains("thing.id"), "{error}");
        }
        assert_eq!(REGISTRY.all().len(), 2);
    }
}
