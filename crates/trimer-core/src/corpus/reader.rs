//! Reading a corpus where it lies.

use super::{
    Ceiling, CorpusError, CorpusInfo, FeatureDtype, MAX_FRAMES_PER_UTTERANCE, Split, Utterance,
    descriptor::{self, Descriptor},
    map::Budget,
    shard::{Shard, decode, digest, hex, shard_name},
    table::{self, Location},
};
use crate::{Modality, ModalityMap};
use sha2::{Digest, Sha256};
use std::{
    collections::HashSet,
    ops::Range,
    path::{Path, PathBuf},
};

/// A corpus on disk. Features stay there: they are mapped into memory and converted on demand.
#[derive(Debug)]
pub struct Corpus {
    path: PathBuf,
    descriptor: Descriptor,
    info: CorpusInfo,
    dims: ModalityMap<Option<usize>>,
    utterances: Vec<Utterance>,
    locations: Vec<ModalityMap<Option<Location>>>,
    shards: ModalityMap<Vec<Shard>>,
    budget: Budget,
}

impl Corpus {
    /// Opens the corpus in a directory, without reading its features.
    ///
    /// Its files are mapped into memory: no program may change or shorten them while it is open.
    ///
    /// # Errors
    /// [`CorpusError::NotFound`] and [`CorpusError::NotACorpus`] for a wrong path; otherwise the
    /// error names the damaged file. The table is compared with its checksum, because a changed
    /// table changes results; shards are only checked for size and header, see [`Self::verify`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, CorpusError> {
        let path = path.as_ref();
        if !path.is_dir() {
            return Err(CorpusError::NotFound {
                path: path.to_owned(),
            });
        }
        for missing in [descriptor::FILE, table::FILE] {
            if !path.join(missing).is_file() {
                return Err(CorpusError::NotACorpus {
                    path: path.to_owned(),
                    missing,
                });
            }
        }
        let descriptor = Descriptor::read_complete(&path.join(descriptor::FILE))?;
        verify_file(path, &descriptor, table::FILE)?;
        let table = path.join(table::FILE);
        let (utterances, locations) = table::read(&table, &descriptor.label_space)?;
        let dims = descriptor.dims();
        let shards = ModalityMap::try_from_fn(|m| open_shards(path, &descriptor, m, *dims.get(m)))?;
        let mut corpus = Self::from_parts(descriptor, utterances, locations, shards);
        path.clone_into(&mut corpus.path);
        corpus
            .check_rows()
            .map_err(|message| CorpusError::Table {
                path: table,
                message,
            })
            .map(|()| corpus)
    }

    /// A corpus without a path.
    pub(super) fn from_parts(
        descriptor: Descriptor,
        utterances: Vec<Utterance>,
        locations: Vec<ModalityMap<Option<Location>>>,
        shards: ModalityMap<Vec<Shard>>,
    ) -> Self {
        Self {
            path: PathBuf::new(),
            info: descriptor.info(),
            dims: descriptor.dims(),
            descriptor,
            utterances,
            locations,
            shards,
            budget: Budget::default(),
        }
    }

    fn check_rows(&self) -> Result<(), String> {
        let mut ids = HashSet::with_capacity(self.utterances.len());
        for (utterance, location) in self.utterances.iter().zip(&self.locations) {
            let id = &utterance.id;
            if !ids.insert(id.as_str()) {
                return Err(format!("the id `{id}` occurs twice"));
            }
            for (modality, place) in location.iter() {
                let Some(place) = place else { continue };
                let shard = self
                    .shards
                    .get(modality)
                    .get(place.shard as usize)
                    .ok_or_else(|| {
                        format!(
                            "`{id}` has its {modality} frames in shard {}, which does not exist",
                            place.shard
                        )
                    })?;
                if place.length > MAX_FRAMES_PER_UTTERANCE as u64
                    || place
                        .offset
                        .checked_add(place.length)
                        .is_none_or(|end| end > shard.frames())
                {
                    return Err(format!(
                        "`{id}` has {} {modality} frames from {} in shard {}, which holds {}",
                        place.length,
                        place.offset,
                        place.shard,
                        shard.frames()
                    ));
                }
            }
        }
        Ok(())
    }

    /// The directory of the corpus.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the maker says about it.
    pub fn info(&self) -> &CorpusInfo {
        &self.info
    }

    /// The Bayes-optimal accuracy, for corpora whose making is known.
    pub fn ceiling(&self) -> Option<&Ceiling> {
        self.descriptor.ceiling.as_ref()
    }

    /// The width of a frame of each modality; `None` when no utterance has that modality.
    pub fn dims(&self) -> ModalityMap<Option<usize>> {
        self.dims
    }

    /// All utterances; everywhere else they are named by their place here.
    pub fn utterances(&self) -> &[Utterance] {
        &self.utterances
    }

    /// How many utterances there are.
    pub fn len(&self) -> usize {
        self.utterances.len()
    }

    /// Whether there are no utterances.
    pub fn is_empty(&self) -> bool {
        self.utterances.is_empty()
    }

    /// The utterances of a split, in the order of the corpus.
    pub fn indices(&self, split: Split) -> Vec<usize> {
        (0..self.len())
            .filter(|i| self.utterances[*i].split == Some(split))
            .collect()
    }

    /// Number of frames; 0 when the modality is absent or the index is out of range.
    pub fn frame_count(&self, idx: usize, modality: Modality) -> usize {
        self.location(idx, modality)
            .map_or(0, |place| place.length as usize)
    }

    /// The frames of one modality of one utterance; `None` when it is absent or the index is out of
    /// range.
    pub fn frames(&self, idx: usize, modality: Modality) -> Option<FrameView<'_>> {
        let place = self.location(idx, modality)?;
        let dim = (*self.dims.get(modality))?;
        let shard = self.shards.get(modality).get(place.shard as usize)?;
        Some(FrameView {
            corpus: self,
            shard,
            offset: place.offset,
            time: place.length as usize,
            dim,
            dtype: self.info.dtype,
        })
    }

    fn location(&self, idx: usize, modality: Modality) -> Option<Location> {
        *self.locations.get(idx)?.get(modality)
    }

    /// A hash of everything that can change a result: the checksums of the table and of all
    /// features, and the label space. Name, licence and description do not enter.
    pub fn fingerprint(&self) -> String {
        let mut hasher = Sha256::new();
        for (name, entry) in &self.descriptor.files {
            hasher.update(format!("{name}\t{}\n", entry.sha256));
        }
        for (modality, shards) in self.shards.iter() {
            for bytes in shards.iter().filter_map(Shard::memory) {
                hasher.update(format!("{modality}\t{}\n", hex(&Sha256::digest(bytes))));
            }
        }
        let space = &self.descriptor.label_space;
        for (kind, names) in [("class", &space.classes), ("binary", &space.binary)] {
            for name in names {
                hasher.update(format!("{kind}\t{name}\n"));
            }
        }
        if let Some([low, high]) = space.score {
            hasher.update(format!("score\t{low}\t{high}\n"));
        }
        hex(&hasher.finalize())
    }

    /// Recomputes the checksum of every file; returns those that differ, in order of their names.
    ///
    /// # Errors
    /// [`CorpusError::Io`] when a file cannot be read.
    pub fn verify(&self) -> Result<Vec<CorpusError>, CorpusError> {
        let mut different = Vec::new();
        for name in self.descriptor.files.keys() {
            match verify_file(&self.path, &self.descriptor, name) {
                Ok(()) => {}
                Err(error @ CorpusError::Checksum { .. }) => different.push(error),
                Err(error) => return Err(error),
            }
        }
        Ok(different)
    }
}

/// Opens the shards of a modality, whose numbers must run from 0 without a gap.
fn open_shards(
    path: &Path,
    descriptor: &Descriptor,
    modality: Modality,
    dim: Option<usize>,
) -> Result<Vec<Shard>, CorpusError> {
    let Some(dim) = dim else {
        return Ok(Vec::new());
    };
    let mut shards = Vec::new();
    for number in 0.. {
        let name = shard_name(modality, number);
        let Some(entry) = descriptor.files.get(&name) else {
            break;
        };
        shards.push(Shard::open(
            &path.join(name),
            modality,
            descriptor.dtype,
            dim,
            entry.bytes,
        )?);
    }
    Ok(shards)
}

fn verify_file(path: &Path, descriptor: &Descriptor, name: &str) -> Result<(), CorpusError> {
    let file = path.join(name);
    let Some(entry) = descriptor.files.get(name) else {
        return Err(CorpusError::Descriptor {
            path: path.join(descriptor::FILE),
            message: format!("`files` does not name `{name}`"),
        });
    };
    let (_, found) = digest(&file)?;
    if found == entry.sha256 {
        Ok(())
    } else {
        Err(CorpusError::Checksum {
            path: file,
            expected: entry.sha256.clone(),
            found,
        })
    }
}

/// The frames of one modality of one utterance, as they lie on disk.
#[derive(Debug, Clone, Copy)]
pub struct FrameView<'a> {
    corpus: &'a Corpus,
    shard: &'a Shard,
    offset: u64,
    time: usize,
    dim: usize,
    dtype: FeatureDtype,
}

impl FrameView<'_> {
    /// Number of frames.
    pub fn time(&self) -> usize {
        self.time
    }

    /// Width of one frame.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Copies some frames, converted to `f32`, row-major `[time, feature]`.
    ///
    /// # Panics
    /// When the range lies outside `0..time`, or `out` does not hold exactly its values.
    pub fn copy_rows(&self, rows: Range<usize>, out: &mut [f32]) {
        assert!(
            rows.start <= rows.end && rows.end <= self.time,
            "frames {rows:?} of {}",
            self.time
        );
        assert_eq!(
            out.len(),
            rows.len() * self.dim,
            "room for {} frames of {} values",
            rows.len(),
            self.dim
        );
        let start = self.offset + rows.start as u64;
        let bytes = self.shard.rows(start, rows.len() as u64);
        decode(self.dtype, bytes, out);
        let shards = self.corpus.shards.iter().flat_map(|(_, shards)| shards);
        let maps = shards.filter_map(Shard::map);
        self.corpus.budget.spend(bytes.len() as u64, maps);
    }

    /// All frames, converted to `f32`, row-major `[time, feature]`.
    pub fn to_vec(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.time * self.dim];
        self.copy_rows(0..self.time, &mut out);
        out
    }
}

#[cfg(test)]
mod tests;
