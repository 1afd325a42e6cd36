//! Anybody's own data: a table and one array per utterance and modality.
//!
//! ```text
//! mydata/
//!   manifest.csv          id[, split, conversation, turn, speaker, transcript, label, score, ...]
//!   text/<id>.npy         [time, feature] or [feature], any numeric type
//!   audio/<id>.npy        a missing file means that the utterance lacks the modality
//!   vision/<id>.npy       a missing directory means that the corpus lacks it
//!   classes.txt           optional: class names in index order, one per line (else sorted by name)
//!   corpus.toml           optional: name, licence, citation, label space, as in a corpus
//! ```
//!
//! An id with characters that file names cannot have is looked for as [`file_stem`] writes it, then
//! as it is, so that the id `film/3` also finds `text/film/3.npy`.

mod manifest;

use super::{
    ImportError, ImportOptions, ImportSummary, Importer, ImporterInfo, Refusal, ScoreClasses,
    SplitCounts, resolve_non_finite,
};
use crate::{
    LabelSpace, Modality, ModalityMap,
    corpus::{
        Ceiling, CorpusInfo, CorpusWriter, Descriptor, Frames, Utterance, file_stem,
        is_plain_relative,
    },
    store::npy,
};
use manifest::{Manifest, Row};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Read,
    path::{Path, PathBuf},
};

/// A manifest beyond this many bytes is refused.
const MAX_MANIFEST: u64 = 4 << 30;
/// `classes.txt` beyond this many bytes is refused.
const MAX_CLASSES: u64 = 1 << 20;

/// Reads a folder with `manifest.csv` and `<modality>/<id>.npy`.
#[derive(Debug, Clone, Copy)]
pub struct Folder;

impl Importer for Folder {
    fn info(&self) -> &ImporterInfo {
        &ImporterInfo {
            id: "folder",
            title: "a manifest and one .npy file per utterance and modality",
            citation: "",
            licence: "",
            source: "a directory with `manifest.csv` and `text/`, `audio/` or `vision/` with `<id>.npy`",
        }
    }

    fn import(
        &self,
        options: &ImportOptions,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<ImportSummary, ImportError> {
        // People also point at the table itself.
        let source = match options.source.parent() {
            Some(parent) if options.source.ends_with("manifest.csv") => parent,
            _ => options.source.as_path(),
        };
        let path = source.join("manifest.csv");
        let bytes = read_limited(&path, MAX_MANIFEST)?.ok_or_else(|| ImportError::Missing {
            path: path.clone(),
            expected: "a table with one row per utterance and at least the column `id`".to_owned(),
        })?;
        let manifest = manifest::parse(&bytes, &path, &options.limits)?;
        drop(bytes);
        let mut warnings = Vec::new();
        let (mut info, ceiling) = read_info(source)?;
        info.name = options.corpus_name(&info.name);
        info.dtype = options.dtype.unwrap_or(info.dtype);
        let division = label_space(options, &manifest, &mut info.label_space, &mut warnings)?;
        let files = find_files(source, &manifest, &path, &mut warnings)?;

        let mut writer = CorpusWriter::create(&options.out, info.clone())?;
        if let Some(ceiling) = ceiling {
            writer = writer.with_ceiling(ceiling);
        }
        let mut reader = FrameReader {
            options,
            dims: ModalityMap::default(),
            replaced: 0,
        };
        let mut splits = SplitCounts::default();
        let total = manifest.rows.len() as u64;
        for (done, (row, files)) in manifest.rows.iter().zip(&files).enumerate() {
            let mut utterance = to_utterance(row, &info.label_space, &path)?;
            if let Some(division) = &division {
                division.label(&mut utterance);
            }
            let frames = ModalityMap::try_from_fn(|modality| {
                files
                    .get(modality)
                    .as_deref()
                    .map(|file| reader.read(file, &row.id, modality))
                    .transpose()
            })?;
            splits.add(utterance.split);
            writer.push(utterance, frames)?;
            progress(done as u64 + 1, total);
        }
        warn_about_rows(&manifest, &splits, reader.replaced, &mut warnings);
        let utterances = writer.len();
        Ok(ImportSummary {
            path: writer.finish()?,
            utterances,
            splits,
            warnings,
        })
    }
}

fn warn_about_rows(
    manifest: &Manifest,
    splits: &SplitCounts,
    replaced: u64,
    warnings: &mut Vec<String>,
) {
    if !manifest.has_split_column {
        warnings.push(
            "`manifest.csv` has no column `split`, so no utterance has one; training needs the splits `train`, `valid` and `test`"
                .to_owned(),
        );
    } else if splits.unassigned > 0 {
        warnings.push(format!(
            "{} of {} utterances have no split and will not be used in training",
            splits.unassigned,
            manifest.rows.len()
        ));
    }
    if replaced > 0 {
        warnings.push(format!(
            "{replaced} values that were NaN or infinite became 0"
        ));
    }
}

/// The content of a file; `None` when it does not exist.
fn read_limited(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, ImportError> {
    let io = |source| ImportError::Io {
        action: "read",
        path: path.to_owned(),
        source,
    };
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(io(e)),
    };
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > limit {
        return Err(Refusal::new(path, format!("the file has more than {limit} bytes")).into());
    }
    Ok(Some(bytes))
}

/// What `corpus.toml` and `classes.txt` say, where they exist.
fn read_info(source: &Path) -> Result<(CorpusInfo, Option<Ceiling>), ImportError> {
    let path = source.join("corpus.toml");
    let (mut info, ceiling) = if path.is_file() {
        let descriptor = Descriptor::read(&path)?;
        (descriptor.info(), descriptor.ceiling)
    } else {
        (CorpusInfo::default(), None)
    };
    let path = source.join("classes.txt");
    if let Some(bytes) = read_limited(&path, MAX_CLASSES)? {
        let text = std::str::from_utf8(&bytes)
            .map_err(|e| Refusal::new(&path, "not UTF-8").offset(e.valid_up_to() as u64))?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let classes: Vec<String> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect();
        let stated = &info.label_space.classes;
        if !stated.is_empty() && *stated != classes {
            return Err(
                Refusal::new(&path, "the classes differ from those in `corpus.toml`")
                    .hint("keep the list in one of the two files")
                    .into(),
            );
        }
        info.label_space.classes = classes;
        info.label_space
            .validate()
            .map_err(|e| Refusal::new(&path, e.to_string()))?;
    }
    Ok((info, ceiling))
}

/// Completes the label space from the rows; returns how scores become classes, if they do.
fn label_space(
    options: &ImportOptions,
    manifest: &Manifest,
    space: &mut LabelSpace,
    warnings: &mut Vec<String>,
) -> Result<Option<ScoreClasses>, ImportError> {
    let names: BTreeSet<&str> = manifest
        .rows
        .iter()
        .flat_map(|row| row.labels.iter().filter_map(|(_, l)| l.as_deref()))
        .collect();
    let scores = || {
        manifest
            .rows
            .iter()
            .flat_map(|row| row.scores.iter().filter_map(|(_, s)| *s))
    };
    if space.score.is_none() && scores().next().is_some() {
        let low = scores().fold(f32::INFINITY, f32::min);
        let high = scores().fold(f32::NEG_INFINITY, f32::max);
        let range = guess_range(low, high);
        space.score = Some(range);
        warnings.push(format!(
            "scores lie between {low} and {high}; their range was taken to be {} to {} (say `score = [low, high]` under `[label_space]` in a `corpus.toml` beside the manifest)",
            range[0], range[1]
        ));
    }
    if space.binary.is_empty() {
        space.binary.clone_from(&manifest.binary);
    } else if space.binary != manifest.binary {
        return Err(Refusal::new(
            options.source.join("corpus.toml"),
            format!(
                "`label_space.binary` is {:?}, the manifest has {:?}",
                space.binary, manifest.binary
            ),
        )
        .into());
    }
    if let Some(n) = options.classes {
        let Some(range) = space.score.filter(|_| names.is_empty()) else {
            return Err(ImportError::Option {
                option: "classes",
                value: n.to_string(),
                expected: if names.is_empty() {
                    "none, because the manifest has no scores".to_owned()
                } else {
                    "none, because the manifest has labels already".to_owned()
                },
            });
        };
        let division = ScoreClasses::new(range, n)?;
        space.classes = division.names();
        return Ok(Some(division));
    }
    if space.classes.is_empty() {
        space.classes = names.into_iter().map(str::to_owned).collect();
    }
    Ok(None)
}

/// The range of the two customary scales, or the next whole numbers.
fn guess_range(low: f32, high: f32) -> [f32; 2] {
    if low >= -1.0 && high <= 1.0 {
        [-1.0, 1.0]
    } else if low >= -3.0 && high <= 3.0 {
        [-3.0, 3.0]
    } else {
        let (low, high) = (low.floor(), high.ceil());
        if low < high {
            [low, high]
        } else {
            [low, low + low.abs().max(1.0)]
        }
    }
}

fn to_utterance(row: &Row, space: &LabelSpace, path: &Path) -> Result<Utterance, ImportError> {
    let mut labels = crate::HeadMap::<Option<u32>>::default();
    for (head, name) in row.labels.iter() {
        let Some(name) = name else { continue };
        let index = space.class_index(name).ok_or_else(|| {
            let refusal = Refusal::new(path, format!("`{name}` is none of the classes"))
                .row(row.line)
                .id(&row.id)
                .key(crate::corpus::label_column(head));
            match space.nearest_class(name) {
                Some(class) => refusal.hint(format!("did you mean `{class}`?")),
                None => refusal.hint(format!("the classes are `{}`", space.classes.join("`, `"))),
            }
        })?;
        *labels.get_mut(head) = Some(index);
    }
    for (head, score) in row.scores.iter() {
        if let (Some(score), Some([low, high])) = (score, space.score)
            && !(low..=high).contains(score)
        {
            return Err(
                Refusal::new(path, format!("{score} lies outside {low} to {high}"))
                    .row(row.line)
                    .id(&row.id)
                    .key(crate::corpus::score_column(head))
                    .into(),
            );
        }
    }
    Ok(Utterance {
        id: row.id.clone(),
        split: row.split,
        conversation: row.conversation.clone(),
        turn: row.turn,
        speaker: row.speaker.clone(),
        transcript: row.transcript.clone(),
        labels,
        scores: row.scores,
        binary: row.binary.clone(),
    })
}

/// The feature files of every row, in the order of the manifest.
fn find_files(
    source: &Path,
    manifest: &Manifest,
    manifest_path: &Path,
    warnings: &mut Vec<String>,
) -> Result<Vec<ModalityMap<Option<PathBuf>>>, ImportError> {
    let mut found = vec![ModalityMap::default(); manifest.rows.len()];
    let mut any_file = None;
    for modality in Modality::ALL {
        let dir = source.join(modality.as_str());
        let names = list_npy(&dir)?;
        let mut owners: BTreeMap<PathBuf, &str> = BTreeMap::new();
        for (row, slot) in manifest.rows.iter().zip(&mut found) {
            let refuse = |message: String| {
                Refusal::new(manifest_path, message)
                    .row(row.line)
                    .id(&row.id)
            };
            let Some(file) = file_of(&dir, &names, &row.id) else {
                continue;
            };
            if let Some(other) = owners.insert(file.clone(), &row.id) {
                return Err(refuse(format!(
                    "its {modality} file `{}` is also that of `{other}`",
                    file.display()
                ))
                .into());
            }
            *slot.get_mut(modality) = Some(file);
        }
        if any_file.is_none() {
            any_file = names.iter().next().map(|name| dir.join(name));
        }
        let missing = manifest.rows.len() - owners.len();
        if !owners.is_empty() && missing > 0 {
            warnings.push(format!(
                "{missing} of {} utterances have no {modality} file",
                manifest.rows.len()
            ));
        }
        let unused = names
            .iter()
            .filter(|name| !owners.contains_key(&dir.join(name)))
            .count();
        if unused > 0 {
            warnings.push(format!(
                "{unused} files in `{modality}/` belong to no row of the manifest"
            ));
        }
    }
    if found.iter().all(|row| row.iter().all(|(_, f)| f.is_none())) {
        let example = manifest.rows.first().map_or("", |row| row.id.as_str());
        return Err(match any_file {
            None => Refusal::new(source, "there are no features").hint(format!(
                "put one array per utterance into `text/`, `audio/` or `vision/`, for example `audio/{example}.npy`"
            )),
            Some(file) => Refusal::new(source, "no feature file belongs to a row of the manifest")
                .hint(format!(
                    "files are named by the id: `{example}.npy`, but there is `{}`",
                    file.display()
                )),
        }
        .into());
    }
    Ok(found)
}

/// Names of the `.npy` files in a directory; empty when there is no such directory.
fn list_npy(dir: &Path) -> Result<BTreeSet<String>, ImportError> {
    let io = |source| ImportError::Io {
        action: "list",
        path: dir.to_owned(),
        source,
    };
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(e) => return Err(io(e)),
    };
    let mut names = BTreeSet::new();
    for entry in entries {
        if let Ok(name) = entry.map_err(io)?.file_name().into_string()
            && Path::new(&name).extension().is_some_and(|e| e == "npy")
        {
            names.insert(name);
        }
    }
    Ok(names)
}

/// The file of an id: its name written safely, then the id taken as a path inside the directory.
fn file_of(dir: &Path, names: &BTreeSet<String>, id: &str) -> Option<PathBuf> {
    if let Ok(stem) = file_stem(id) {
        let name = format!("{stem}.npy");
        if names.contains(&name) {
            return Some(dir.join(name));
        }
    }
    let name = format!("{id}.npy");
    if names.contains(&name) {
        return Some(dir.join(name));
    }
    let nested = id.contains('/') && is_plain_relative(&name);
    let path = dir.join(name);
    (nested && path.is_file()).then_some(path)
}

/// Reads feature files and remembers the width of the first of each modality.
struct FrameReader<'a> {
    options: &'a ImportOptions,
    dims: ModalityMap<Option<(usize, PathBuf)>>,
    replaced: u64,
}

impl FrameReader<'_> {
    fn read(
        &mut self,
        file: &Path,
        id: &str,
        modality: Modality,
    ) -> Result<Frames<'static>, ImportError> {
        let refuse = |message: String| Refusal::new(file, message).id(id);
        let limits = &self.options.limits;
        let bytes = fs::metadata(file)
            .map_err(|source| ImportError::Io {
                action: "examine",
                path: file.to_owned(),
                source,
            })?
            .len();
        if bytes > limits.max_file_bytes {
            return Err(refuse(format!(
                "{bytes} bytes, expected at most {}",
                limits.max_file_bytes
            ))
            .into());
        }
        let array = npy::read(file).map_err(|e| {
            let hint = crate::Hint::hint(&e);
            let refusal = refuse("not a usable array".to_owned()).source(e);
            match hint {
                Some(hint) => refusal.hint(hint),
                None => refusal,
            }
        })?;
        let (time, dim) = match *array.shape() {
            [dim] => (1, dim),
            [time, dim] => (time, dim),
            ref other => {
                return Err(refuse(format!(
                    "the shape is {other:?}, expected [time, feature] or [feature]"
                ))
                .into());
            }
        };
        if time == 0 || dim == 0 {
            return Err(
                refuse(format!("the array is empty: its shape is [{time}, {dim}]"))
                    .hint("when the utterance lacks this modality, remove the file")
                    .into(),
            );
        }
        if time > limits.max_frames || dim > limits.max_dim {
            return Err(refuse(format!(
                "the shape is [{time}, {dim}], expected at most [{}, {}]",
                limits.max_frames, limits.max_dim
            ))
            .into());
        }
        match self.dims.get(modality) {
            Some((expected, first)) if *expected != dim => {
                return Err(refuse(format!(
                    "the frames have {dim} values, those of `{}` have {expected}",
                    first.display()
                ))
                .hint("all files of a modality must have the same number of features")
                .into());
            }
            Some(_) => {}
            None => *self.dims.get_mut(modality) = Some((dim, file.to_owned())),
        }
        let mut values = array.to_f32();
        self.replaced += resolve_non_finite(
            self.options.non_finite,
            &mut values,
            dim,
            file,
            id,
            modality,
        )?;
        Ok(Frames {
            values: values.into(),
            dim,
        })
    }
}

#[cfg(test)]
mod tests;
