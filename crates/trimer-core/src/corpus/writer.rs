//! Writing a corpus, utterance by utterance.

use super::{
    Ceiling, CorpusError, CorpusInfo, FeatureDtype, Frames, MAX_FRAMES_PER_UTTERANCE, Utterance,
    descriptor::{self, Descriptor, FileEntry},
    partial::PartialDir,
    shard::{ShardWriter, digest, encode, shard_name},
    table::{self, Location},
};
use crate::{Modality, ModalityMap};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

/// A shard is closed once it holds this many bytes.
const SHARD_BYTES: u64 = 256 << 20;

/// Writes a corpus so that it appears under its name only when it is complete.
///
/// Features go to disk as they come; what stays in memory are the rows of the table. Until
/// [`Self::finish`] everything lies in a sibling directory `.<name>.partial-<pid>`, which is
/// removed when the writer is dropped, or, after a kill, by the next writer to the same output.
///
/// # Example
/// ```
/// use trimer_core::corpus::{Corpus, CorpusInfo, CorpusWriter, Frames, Utterance};
/// use trimer_core::{Modality, ModalityMap};
/// # let dir = tempfile::tempdir()?;
/// # let out = dir.path().join("mine");
/// let mut writer = CorpusWriter::create(&out, CorpusInfo::default())?;
/// let mut features = ModalityMap::default();
/// *features.get_mut(Modality::Text) = Some(Frames { values: vec![0.5, 1.5].into(), dim: 2 });
/// writer.push(Utterance { id: "a".into(), ..Utterance::default() }, features)?;
/// let corpus = Corpus::open(writer.finish()?)?;
/// assert_eq!(corpus.frames(0, Modality::Text).unwrap().to_vec(), [0.5, 1.5]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct CorpusWriter {
    partial: PartialDir,
    info: CorpusInfo,
    ceiling: Option<Ceiling>,
    shard_bytes: u64,
    dims: ModalityMap<Option<usize>>,
    open: ModalityMap<Option<ShardWriter>>,
    shards: ModalityMap<u32>,
    files: Vec<(String, FileEntry)>,
    ids: BTreeSet<String>,
    rows: Vec<Utterance>,
    locations: Vec<ModalityMap<Option<Location>>>,
    scratch: Vec<u8>,
}

impl CorpusWriter {
    /// Starts a corpus that will lie at `out`.
    ///
    /// # Errors
    /// [`CorpusError::Exists`] unless `out` is absent or an empty directory,
    /// [`CorpusError::LabelSpace`] when `info.label_space` contradicts itself, [`CorpusError::Io`].
    pub fn create(out: &Path, info: CorpusInfo) -> Result<Self, CorpusError> {
        info.label_space.validate()?;
        let partial = PartialDir::create(out)?;
        let features = partial.path().join("features");
        fs::create_dir(&features).map_err(|e| CorpusError::io("create", &features, e))?;
        Ok(Self {
            partial,
            info,
            ceiling: None,
            shard_bytes: SHARD_BYTES,
            dims: ModalityMap::default(),
            open: ModalityMap::default(),
            shards: ModalityMap::default(),
            files: Vec::new(),
            ids: BTreeSet::new(),
            rows: Vec::new(),
            locations: Vec::new(),
            scratch: Vec::new(),
        })
    }

    /// Closes a shard once it holds this many bytes (default 256 MiB).
    pub fn with_shard_bytes(mut self, bytes: u64) -> Self {
        self.shard_bytes = bytes;
        self
    }

    /// Records the Bayes-optimal accuracy on this corpus.
    pub fn with_ceiling(mut self, ceiling: Ceiling) -> Self {
        self.ceiling = Some(ceiling);
        self
    }

    /// How many utterances were written so far.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether no utterance was written yet.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Adds an utterance; a modality that is `None` is absent for it.
    ///
    /// Values that are not finite are stored as they are, because only the importer knows what
    /// they mean; [`super::check`] reports them.
    ///
    /// # Errors
    /// Names the id when it is empty or repeated, a label or score lies outside the label space,
    /// frames have another width than those before, or a value does not fit the storage type. The
    /// writer can go on after such an error, without that utterance.
    pub fn push(
        &mut self,
        utterance: Utterance,
        features: ModalityMap<Option<Frames<'_>>>,
    ) -> Result<(), CorpusError> {
        if utterance.id.is_empty() {
            return Err(CorpusError::EmptyId {
                position: self.rows.len() + 1,
            });
        }
        if self.ids.contains(&utterance.id) {
            return Err(CorpusError::DuplicateId { id: utterance.id });
        }
        self.info.label_space.check_labels(
            &utterance.id,
            &utterance.labels,
            &utterance.scores,
            &utterance.binary,
        )?;
        // All modalities are encoded before the first is written: an error leaves no half row.
        let mut bytes = std::mem::take(&mut self.scratch);
        bytes.clear();
        let ends = self.encode_all(&utterance.id, &features, &mut bytes);
        let written = ends.and_then(|ends| self.write_all(&features, &ends, &bytes));
        self.scratch = bytes;
        self.locations.push(written?);
        self.ids.insert(utterance.id.clone());
        self.rows.push(utterance);
        Ok(())
    }

    /// Checks all frames and encodes them one after the other; returns where each modality ends.
    fn encode_all(
        &self,
        id: &str,
        features: &ModalityMap<Option<Frames<'_>>>,
        bytes: &mut Vec<u8>,
    ) -> Result<ModalityMap<usize>, CorpusError> {
        ModalityMap::try_from_fn(|modality| {
            let Some(frames) = features.get(modality) else {
                return Ok(bytes.len());
            };
            let dim = frames.dim;
            check_frames(id, modality, frames, *self.dims.get(modality))?;
            encode(self.info.dtype, &frames.values, bytes).map_err(|at| CorpusError::Overflow {
                id: id.to_owned(),
                modality,
                frame: at / dim,
                feature: at % dim,
                value: frames.values.get(at).copied().unwrap_or_default(),
                dtype: self.info.dtype,
            })?;
            Ok(bytes.len())
        })
    }

    fn write_all(
        &mut self,
        features: &ModalityMap<Option<Frames<'_>>>,
        ends: &ModalityMap<usize>,
        bytes: &[u8],
    ) -> Result<ModalityMap<Option<Location>>, CorpusError> {
        let mut start = 0;
        ModalityMap::try_from_fn(|modality| {
            let end = *ends.get(modality);
            let part = bytes.get(start..end).unwrap_or_default();
            start = end;
            let Some(frames) = features.get(modality) else {
                return Ok(None);
            };
            let shard = self.shard_for(modality, frames.dim, part.len() as u64)?;
            let offset = shard.push(part)?;
            Ok(Some(Location {
                shard: *self.shards.get(modality) - 1,
                offset,
                length: frames.time() as u64,
            }))
        })
    }

    /// The shard that takes the next `bytes`, opened if need be.
    fn shard_for(
        &mut self,
        modality: Modality,
        dim: usize,
        bytes: u64,
    ) -> Result<&mut ShardWriter, CorpusError> {
        *self.dims.get_mut(modality) = Some(dim);
        let full = self.open.get(modality).as_ref().is_some_and(|shard| {
            shard.frames() > 0 && shard.data_bytes().saturating_add(bytes) > self.shard_bytes
        });
        if full {
            self.close_shard(modality)?;
        }
        let open = self.open.get_mut(modality);
        let shard = if let Some(shard) = open.take() {
            shard
        } else {
            let number = self.shards.get_mut(modality);
            let path = self.partial.path().join(shard_name(modality, *number));
            *number += 1;
            ShardWriter::create(path, modality, self.info.dtype, dim)?
        };
        Ok(open.insert(shard))
    }

    fn close_shard(&mut self, modality: Modality) -> Result<(), CorpusError> {
        if let Some(shard) = self.open.get_mut(modality).take() {
            let path = shard.finish()?;
            let (bytes, sha256) = digest(&path)?;
            let name = shard_name(modality, *self.shards.get(modality) - 1);
            self.files.push((name, FileEntry { bytes, sha256 }));
        }
        Ok(())
    }

    /// Completes the corpus and returns its path.
    ///
    /// # Errors
    /// [`CorpusError::Io`] when the disk refuses, [`CorpusError::Exists`] when something else took
    /// the name meanwhile. Nothing is left behind then.
    pub fn finish(mut self) -> Result<PathBuf, CorpusError> {
        for modality in Modality::ALL {
            self.close_shard(modality)?;
        }
        let table = self.partial.path().join(table::FILE);
        table::write(&table, &self.info.label_space, &self.rows, &self.locations)?;
        let (bytes, sha256) = digest(&table)?;
        self.files
            .push((table::FILE.to_owned(), FileEntry { bytes, sha256 }));

        let mut descriptor = Descriptor::new(&self.info, &self.dims);
        descriptor.ceiling = self.ceiling.take();
        descriptor.files = self.files.drain(..).collect();
        let path = self.partial.path().join(descriptor::FILE);
        let text = descriptor.to_toml().map_err(|e| CorpusError::Descriptor {
            path: path.clone(),
            message: e.to_string(),
        })?;
        File::create_new(&path)
            .and_then(|mut file| {
                file.write_all(text.as_bytes())?;
                file.sync_all()
            })
            .map_err(|e| CorpusError::io("write", &path, e))?;
        let features = self.partial.path().join("features");
        super::partial::sync_dir(&features)?;
        self.partial.publish()
    }

    /// How the features will be stored.
    pub fn dtype(&self) -> FeatureDtype {
        self.info.dtype
    }
}

/// Refuses frames that are ragged, too many, or of another width than those before.
pub(super) fn check_frames(
    id: &str,
    modality: Modality,
    frames: &Frames<'_>,
    expected: Option<usize>,
) -> Result<(), CorpusError> {
    let dim = frames.dim;
    if dim == 0 || !frames.values.len().is_multiple_of(dim) {
        return Err(CorpusError::Ragged {
            id: id.to_owned(),
            modality,
            values: frames.values.len(),
            dim,
        });
    }
    if let Some(expected) = expected
        && expected != dim
    {
        return Err(CorpusError::Dim {
            id: id.to_owned(),
            modality,
            expected,
            found: dim,
        });
    }
    if frames.time() > MAX_FRAMES_PER_UTTERANCE {
        return Err(CorpusError::TooLong {
            id: id.to_owned(),
            modality,
            frames: frames.time(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
