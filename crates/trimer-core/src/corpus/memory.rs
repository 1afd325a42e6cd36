//! A corpus of one utterance that never touches the disk.

use super::{
    Corpus, CorpusError, CorpusInfo, Frames, Utterance, descriptor::Descriptor, shard::Shard,
    table::Location, writer::check_frames,
};
use crate::ModalityMap;

impl Corpus {
    /// A corpus of this utterance alone, in memory, for an answer about features that belong to no
    /// corpus. Its path is empty, and it has no label space.
    ///
    /// # Errors
    /// As [`CorpusWriter::push`](super::CorpusWriter::push).
    ///
    /// # Example
    /// ```
    /// use trimer_core::corpus::{Corpus, Frames, Utterance};
    /// use trimer_core::{Modality, ModalityMap};
    ///
    /// let mut features = ModalityMap::default();
    /// *features.get_mut(Modality::Text) = Some(Frames { values: vec![0.5, 1.5].into(), dim: 2 });
    /// let corpus = Corpus::of_one(Utterance { id: "a".into(), ..Utterance::default() }, features)?;
    /// assert_eq!(corpus.frames(0, Modality::Text).ok_or("no text")?.to_vec(), [0.5, 1.5]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn of_one(
        utterance: Utterance,
        features: ModalityMap<Option<Frames<'_>>>,
    ) -> Result<Self, CorpusError> {
        if utterance.id.is_empty() {
            return Err(CorpusError::EmptyId { position: 1 });
        }
        let info = CorpusInfo {
            name: "one".into(),
            ..CorpusInfo::default()
        };
        info.label_space.check_labels(
            &utterance.id,
            &utterance.labels,
            &utterance.scores,
            &utterance.binary,
        )?;
        for (modality, frames) in features.iter() {
            if let Some(frames) = frames {
                check_frames(&utterance.id, modality, frames, None)?;
            }
        }
        let dims = ModalityMap::from_fn(|m| features.get(m).as_ref().map(|f| f.dim));
        let location = ModalityMap::from_fn(|m| {
            features.get(m).as_ref().map(|frames| Location {
                shard: 0,
                offset: 0,
                length: frames.time() as u64,
            })
        });
        let shards = ModalityMap::from_fn(|m| {
            let frames = features.get(m).as_ref();
            frames.map(Shard::in_memory).into_iter().collect()
        });
        let descriptor = Descriptor::new(&info, &dims);
        Ok(Self::from_parts(
            descriptor,
            vec![utterance],
            vec![location],
            shards,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::CorpusWriter;
    use crate::{Hint, Modality};
    use std::collections::BTreeMap;

    fn features(values: Vec<f32>, dim: usize) -> ModalityMap<Option<Frames<'static>>> {
        let mut all = ModalityMap::default();
        *all.get_mut(Modality::Audio) = Some(Frames {
            values: values.into(),
            dim,
        });
        all
    }

    fn utterance() -> Utterance {
        Utterance {
            id: "a".into(),
            ..Utterance::default()
        }
    }

    #[test]
    fn it_reads_as_the_same_corpus_from_disk() {
        let values = vec![1.0, f32::MIN_POSITIVE, -3.5, 1e30, 0.0, 7.25];
        let memory = Corpus::of_one(utterance(), features(values.clone(), 3)).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut writer =
            CorpusWriter::create(&dir.path().join("c"), CorpusInfo::default()).unwrap();
        writer
            .push(utterance(), features(values.clone(), 3))
            .unwrap();
        let disk = Corpus::open(writer.finish().unwrap()).unwrap();
        assert_eq!(memory.len(), 1);
        assert_eq!(memory.dims(), disk.dims());
        assert_eq!(memory.utterances(), disk.utterances());
        for corpus in [&memory, &disk] {
            let view = corpus.frames(0, Modality::Audio).unwrap();
            assert_eq!((view.time(), view.dim()), (2, 3));
            assert_eq!(view.to_vec(), values);
            assert!(corpus.frames(0, Modality::Text).is_none());
        }
    }

    #[test]
    fn the_fingerprint_follows_from_the_features() {
        let prints: BTreeMap<String, f32> = [1.0, 2.0]
            .map(|x| {
                let corpus = Corpus::of_one(utterance(), features(vec![x], 1)).unwrap();
                (corpus.fingerprint(), x)
            })
            .into();
        assert_eq!(prints.len(), 2);
    }

    #[test]
    fn ragged_frames_and_an_empty_id_are_refused() {
        let error = Corpus::of_one(utterance(), features(vec![1.0, 2.0, 3.0], 2)).unwrap_err();
        assert!(matches!(error, CorpusError::Ragged { .. }), "{error}");
        let _ = error.hint();
        let nameless = Corpus::of_one(Utterance::default(), features(vec![1.0], 1));
        assert!(matches!(nameless, Err(CorpusError::EmptyId { .. })));
    }
}
