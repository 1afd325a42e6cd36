//! `corpus.toml`: what a corpus says about itself.

use super::{Ceiling, CorpusError, CorpusInfo, FeatureDtype};
use crate::{LabelSpace, Modality, ModalityMap};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fs, io::Read, path::Path};

/// Name of the file.
pub(crate) const FILE: &str = "corpus.toml";
/// Version of the layout that this code writes and reads.
pub(crate) const FORMAT: u32 = 1;
/// A descriptor beyond this many bytes is refused; a corpus of a thousand shards needs a tenth.
const MAX_BYTES: u64 = 4 << 20;

/// One file of a corpus as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileEntry {
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

/// What is said about one modality.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ModalityEntry {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dim: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) extractor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rate_hz: Option<f64>,
}

/// The file as it lies on disk. Everything may be absent, because the same keys serve in a folder
/// of one's own data, where people write only what they know.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Descriptor {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) format: Option<u32>,
    pub(crate) name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) licence: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) citation: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) description: String,
    pub(crate) dtype: FeatureDtype,
    pub(crate) label_space: LabelSpace,
    pub(crate) modalities: BTreeMap<Modality, ModalityEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ceiling: Option<Ceiling>,
    pub(crate) files: BTreeMap<String, FileEntry>,
}

impl Descriptor {
    pub(crate) fn new(info: &CorpusInfo, dims: &ModalityMap<Option<usize>>) -> Self {
        let entry = |modality: Modality| ModalityEntry {
            dim: *dims.get(modality),
            extractor: info.extractors.get(modality).clone(),
            rate_hz: *info.rates_hz.get(modality),
        };
        Self {
            format: Some(FORMAT),
            name: info.name.clone(),
            version: info.version.clone(),
            licence: info.licence.clone(),
            citation: info.citation.clone(),
            description: info.description.clone(),
            dtype: info.dtype,
            label_space: info.label_space.clone(),
            modalities: Modality::ALL
                .into_iter()
                .map(|m| (m, entry(m)))
                .filter(|(_, e)| e.dim.is_some())
                .collect(),
            ceiling: None,
            files: BTreeMap::new(),
        }
    }

    pub(crate) fn info(&self) -> CorpusInfo {
        let of = |modality| self.modalities.get(&modality);
        CorpusInfo {
            name: self.name.clone(),
            version: self.version.clone(),
            licence: self.licence.clone(),
            citation: self.citation.clone(),
            description: self.description.clone(),
            label_space: self.label_space.clone(),
            dtype: self.dtype,
            extractors: ModalityMap::from_fn(|m| of(m).and_then(|e| e.extractor.clone())),
            rates_hz: ModalityMap::from_fn(|m| of(m).and_then(|e| e.rate_hz)),
        }
    }

    pub(crate) fn dims(&self) -> ModalityMap<Option<usize>> {
        ModalityMap::from_fn(|m| self.modalities.get(&m).and_then(|e| e.dim))
    }

    pub(crate) fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }

    /// Reads and parses the file without asking whether it describes a whole corpus.
    pub(crate) fn read(path: &Path) -> Result<Self, CorpusError> {
        let fail = |message: String| CorpusError::Descriptor {
            path: path.to_owned(),
            message,
        };
        let io = |source| CorpusError::io("read", path, source);
        let mut text = Vec::new();
        fs::File::open(path)
            .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut text))
            .map_err(io)?;
        if text.len() as u64 > MAX_BYTES {
            return Err(fail(format!("the file has more than {MAX_BYTES} bytes")));
        }
        let text = std::str::from_utf8(&text)
            .map_err(|e| fail(format!("not UTF-8 at byte {}", e.valid_up_to())))?;
        let descriptor: Self =
            toml::from_str(text).map_err(|e| fail(e.to_string().trim_end().to_owned()))?;
        descriptor
            .label_space
            .validate()
            .map_err(|e| fail(e.to_string()))?;
        for (modality, entry) in &descriptor.modalities {
            if let Some(rate) = entry.rate_hz
                && !(rate.is_finite() && rate > 0.0)
            {
                return Err(fail(format!(
                    "`modalities.{modality}.rate_hz` is {rate}, expected a positive number"
                )));
            }
            if entry.dim == Some(0) {
                return Err(fail(format!(
                    "`modalities.{modality}.dim` is 0, expected 1 or more"
                )));
            }
        }
        Ok(descriptor)
    }

    /// Reads the descriptor of a whole corpus.
    pub(crate) fn read_complete(path: &Path) -> Result<Self, CorpusError> {
        let fail = |message: String| CorpusError::Descriptor {
            path: path.to_owned(),
            message,
        };
        let descriptor = Self::read(path)?;
        match descriptor.format {
            Some(FORMAT) => {}
            Some(other) => {
                return Err(fail(format!(
                    "the layout version is {other}, this program reads {FORMAT}"
                )));
            }
            None => return Err(fail("the key `format` is missing".to_owned())),
        }
        for name in descriptor.files.keys() {
            if !is_plain_relative(name) {
                return Err(fail(format!(
                    "`files` names `{name}`, which is not a path inside the corpus"
                )));
            }
        }
        Ok(descriptor)
    }
}

/// Whether the name is `part/part/...` of plain parts, so that joining it stays inside.
pub(crate) fn is_plain_relative(name: &str) -> bool {
    !name.is_empty()
        && !name.contains('\\')
        && name
            .split('/')
            .all(|part| !part.is_empty() && part != "." && part != ".." && !part.contains(':'))
}
