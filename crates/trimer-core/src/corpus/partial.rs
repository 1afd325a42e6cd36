//! A directory that appears under its name only when it is complete.

use super::CorpusError;
use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

const LOCK: &str = ".lock";

/// The place beside the output where a corpus grows. It vanishes on drop unless it was published.
///
/// A killed process cannot clean up after itself, so the next one that writes to the same output
/// does. A lock file tells leftovers from the work of a living process: the system frees the lock
/// with its holder, where a process id could have been taken over by a stranger meanwhile.
#[derive(Debug)]
pub(crate) struct PartialDir {
    path: PathBuf,
    out: PathBuf,
    published: bool,
    lock: Option<File>,
}

impl PartialDir {
    /// # Errors
    /// [`CorpusError::Exists`] unless `out` is absent or an empty directory.
    pub(crate) fn create(out: &Path) -> Result<Self, CorpusError> {
        if !is_free(out)? {
            return Err(CorpusError::Exists {
                path: out.to_owned(),
            });
        }
        let name = out.file_name().ok_or_else(|| CorpusError::Exists {
            path: out.to_owned(),
        })?;
        let parent = parent_of(out);
        fs::create_dir_all(&parent).map_err(|e| CorpusError::io("create", &parent, e))?;
        remove_stale_partials(out)?;
        let prefix = format!(".{}.partial-{}", name.to_string_lossy(), std::process::id());
        // Two writers of one process to the same output must not meet either.
        for attempt in 0..1000_u32 {
            let path = parent.join(match attempt {
                0 => prefix.clone(),
                n => format!("{prefix}-{n}"),
            });
            match fs::create_dir(&path) {
                Ok(()) => {
                    let mut partial = Self {
                        path,
                        out: out.to_owned(),
                        published: false,
                        lock: None,
                    };
                    partial.take_lock()?;
                    return Ok(partial);
                }
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(CorpusError::io("create", path, e)),
            }
        }
        Err(CorpusError::Exists {
            path: parent.join(prefix),
        })
    }

    fn take_lock(&mut self) -> Result<(), CorpusError> {
        let path = self.path.join(LOCK);
        let file = File::create(&path).map_err(|e| CorpusError::io("create", &path, e))?;
        // Where the file system has no locks, leftovers are told by their age alone.
        drop(file.try_lock());
        self.lock = Some(file);
        Ok(())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Flushes the directory to disk and moves it to its final name.
    pub(crate) fn publish(mut self) -> Result<PathBuf, CorpusError> {
        let lock = self.path.join(LOCK);
        fs::remove_file(&lock).map_err(|e| CorpusError::io("remove", &lock, e))?;
        sync_dir(&self.path)?;
        if !is_free(&self.out)? {
            return Err(CorpusError::Exists {
                path: self.out.clone(),
            });
        }
        if self.out.is_dir() {
            fs::remove_dir(&self.out).map_err(|e| CorpusError::io("replace", &self.out, e))?;
        }
        fs::rename(&self.path, &self.out).map_err(|e| CorpusError::io("create", &self.out, e))?;
        self.published = true;
        sync_dir(&parent_of(&self.out))?;
        Ok(self.out.clone())
    }
}

impl Drop for PartialDir {
    fn drop(&mut self) {
        if !self.published {
            // Nothing sensible is left to do when removing fails: the next writer tries again.
            drop(fs::remove_dir_all(&self.path));
        }
    }
}

/// Removes what killed writers of `out` left beside it; returns how many directories went.
///
/// # Errors
/// [`CorpusError::Io`] when the parent directory cannot be listed.
pub fn remove_stale_partials(out: &Path) -> Result<usize, CorpusError> {
    let parent = parent_of(out);
    let Some(name) = out.file_name() else {
        return Ok(0);
    };
    let prefix = format!(".{}.partial-", name.to_string_lossy());
    let entries = match fs::read_dir(&parent) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(e) => return Err(CorpusError::io("list", parent, e)),
    };
    let mut removed = 0;
    for entry in entries.flatten() {
        let matches = entry
            .file_name()
            .to_string_lossy()
            .strip_prefix(&prefix)
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        let is_dir = entry.file_type().is_ok_and(|t| t.is_dir());
        if matches && is_dir && is_stale(&entry.path()) && fs::remove_dir_all(entry.path()).is_ok()
        {
            removed += 1;
        }
    }
    Ok(removed)
}

fn is_stale(dir: &Path) -> bool {
    let old_enough = |age: Duration| {
        fs::metadata(dir)
            .and_then(|m| m.modified())
            .ok()
            .and_then(|t| SystemTime::now().duration_since(t).ok())
            .is_some_and(|a| a > age)
    };
    match File::open(dir.join(LOCK)) {
        // Its maker died between two system calls, or is just between them.
        Err(_) => maker_is_gone(dir) || old_enough(Duration::from_mins(1)),
        Ok(file) => match file.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => false,
            Err(TryLockError::Error(_)) => old_enough(Duration::from_hours(24)),
        },
    }
}

/// Whether the process whose number is in the directory's name does not live any more; false where
/// the system does not tell.
fn maker_is_gone(dir: &Path) -> bool {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    let pid = name
        .rsplit_once(".partial-")
        .map(|(_, rest)| rest.split('-').next().unwrap_or(rest));
    let processes = Path::new("/proc");
    processes.join("self").exists() && pid.is_some_and(|pid| !processes.join(pid).exists())
}

/// Whether nothing is there, or a directory without entries.
fn is_free(out: &Path) -> Result<bool, CorpusError> {
    match fs::symlink_metadata(out) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(e) => Err(CorpusError::io("examine", out, e)),
        Ok(meta) if meta.is_dir() => {
            let mut entries = fs::read_dir(out).map_err(|e| CorpusError::io("list", out, e))?;
            Ok(entries.next().is_none())
        }
        Ok(_) => Ok(false),
    }
}

fn parent_of(out: &Path) -> PathBuf {
    match out.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(unix)]
pub(crate) fn sync_dir(path: &Path) -> Result<(), CorpusError> {
    File::open(path)
        .and_then(|dir| dir.sync_all())
        .map_err(|e| CorpusError::io("flush", path, e))
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "same signature as on unix")]
pub(crate) fn sync_dir(_path: &Path) -> Result<(), CorpusError> {
    Ok(()) // other systems cannot open a directory to flush it
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(dir)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_dropped_directory_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let partial = PartialDir::create(&dir.path().join("out")).unwrap();
        fs::write(partial.path().join("x"), "x").unwrap();
        drop(partial);
        assert!(names(dir.path()).is_empty());
    }

    #[test]
    fn a_published_directory_replaces_an_empty_one_and_keeps_no_lock() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        fs::create_dir(&out).unwrap();
        let partial = PartialDir::create(&out).unwrap();
        fs::write(partial.path().join("x"), "x").unwrap();
        partial.publish().unwrap();
        assert_eq!(names(dir.path()), ["out"]);
        assert_eq!(names(&out), ["x"]);
    }

    #[test]
    fn leftovers_of_the_dead_go_and_the_work_of_the_living_stays() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let living = PartialDir::create(&out).unwrap();
        // What a killed process leaves: a lock file that nobody holds.
        let dead = dir.path().join(".out.partial-1");
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join(LOCK), "").unwrap();
        let stranger = dir.path().join(".out2.partial-1");
        fs::create_dir(&stranger).unwrap();
        fs::write(stranger.join(LOCK), "").unwrap();

        assert_eq!(remove_stale_partials(&out).unwrap(), 1);
        assert!(living.path().is_dir());
        assert!(!dead.exists());
        assert!(stranger.is_dir());
    }

    #[test]
    fn two_writers_of_one_output_do_not_share_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let first = PartialDir::create(&out).unwrap();
        let second = PartialDir::create(&out).unwrap();
        assert_ne!(first.path(), second.path());
        fs::write(first.path().join("x"), "x").unwrap();
        first.publish().unwrap();
        assert!(matches!(second.publish(), Err(CorpusError::Exists { .. })));
        assert_eq!(names(dir.path()), ["out"]);
    }

    #[test]
    fn a_full_directory_and_a_file_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let full = dir.path().join("full");
        fs::create_dir(&full).unwrap();
        fs::write(full.join("x"), "x").unwrap();
        assert!(matches!(
            PartialDir::create(&full),
            Err(CorpusError::Exists { .. })
        ));
        assert!(matches!(
            PartialDir::create(&full.join("x")),
            Err(CorpusError::Exists { .. })
        ));
        assert_eq!(names(dir.path()), ["full"]);
    }
}
