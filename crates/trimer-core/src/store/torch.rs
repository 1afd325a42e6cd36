//! PyTorch checkpoints (`.pth`, `.pt`): what `torch.save` writes, in both of its containers.
//!
//! - The zip container (since PyTorch 1.6): `data.pkl` describes the tensors, `data/<key>` holds one
//!   storage each.
//! - The legacy container: five pickles in a row (magic number, protocol, system, content, storage
//!   keys), then the storages, each preceded by its number of elements.
//!
//! Tensors may share storages and step through them with strides. Nested dictionaries and lists (a
//! training state, say) are flattened to dotted names: `model.fc.weight`, `optimizer.state.0.step`.
//! The pickle is read by the restricted reader of [`pickle`]; it runs nothing.

mod error;

pub use error::{StorageFault, TorchError};

use super::{
    ByteView, Element, NdArray,
    archive::Archive,
    pickle::{self, Allowed, Node, Pickle, StorageKind, TensorRef, Value},
};
use std::{collections::BTreeMap, path::Path};

/// A tensor of a checkpoint; it looks into the file.
pub type TorchTensor = NdArray;

/// Little-endian two's complement of 0x1950a86a20f9469cfc6c, with which a legacy file starts.
const LEGACY_MAGIC: &[u8] = &[0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

/// Depth to which nested containers are followed; also ends cycles.
const MAX_DEPTH: usize = 32;

/// Most values that are visited while following containers. A container that appears in several
/// places counts each time, so that a small file cannot unfold without end.
const MAX_VISITED: usize = 1 << 20;

/// Longest dotted name in bytes.
const MAX_NAME: usize = 1024;

/// The tensors of a checkpoint.
#[derive(Debug)]
pub struct TorchFile {
    tensors: BTreeMap<String, TorchTensor>,
    names: Vec<String>,
    others: Vec<Other>,
}

/// Something in a checkpoint that is no tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Other {
    /// Dotted name.
    pub name: String,
    /// Python type.
    pub type_name: &'static str,
    /// The value, when it is a short number or text.
    pub value: Option<String>,
}

impl TorchFile {
    /// Opens a checkpoint. Large files are mapped; tensors look into the map until they are
    /// converted.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, is damaged, or would run code.
    pub fn open(path: &Path) -> Result<Self, TorchError> {
        ByteView::open(path)
            .map_err(TorchError::from)
            .and_then(Self::parse)
            .map_err(|fault| fault.in_file(path))
    }

    /// Reads a checkpoint in memory.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn parse(bytes: ByteView) -> Result<Self, TorchError> {
        if Archive::detect(&bytes) {
            from_zip(bytes)
        } else if bytes.first() == Some(&0x80) {
            from_legacy(bytes)
        } else {
            Err(TorchError::Container)
        }
    }

    /// All tensors by dotted name.
    pub const fn tensors(&self) -> &BTreeMap<String, TorchTensor> {
        &self.tensors
    }

    /// Dotted names in the order in which the checkpoint lists them.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// One tensor.
    pub fn get(&self, name: &str) -> Option<&TorchTensor> {
        self.tensors.get(name)
    }

    /// What else the checkpoint holds: epochs, learning rates, ...
    pub fn others(&self) -> &[Other] {
        &self.others
    }

    /// The tensors whose dotted name starts with `prefix`, by the rest of their name. A full stop
    /// between prefix and rest is dropped: `model` and `model.` select the same.
    pub fn select(&self, prefix: &str) -> BTreeMap<&str, &TorchTensor> {
        let prefix = prefix.strip_suffix('.').unwrap_or(prefix);
        self.tensors
            .iter()
            .filter_map(|(name, tensor)| {
                let rest = if prefix.is_empty() {
                    name
                } else {
                    name.strip_prefix(prefix)?.strip_prefix('.')?
                };
                Some((rest, tensor))
            })
            .collect()
    }
}

/// Where storages come from.
enum Storages {
    Zip {
        archive: Archive,
        root: String,
        cache: BTreeMap<String, ByteView>,
    },
    Legacy(BTreeMap<String, ByteView>),
}

impl Storages {
    fn get(&mut self, key: &str) -> Result<ByteView, StorageFault> {
        match self {
            Self::Legacy(storages) => {
                storages
                    .get(key)
                    .cloned()
                    .ok_or_else(|| StorageFault::Missing {
                        key: key.to_owned(),
                    })
            }
            Self::Zip {
                archive,
                root,
                cache,
            } => {
                if let Some(bytes) = cache.get(key) {
                    return Ok(bytes.clone());
                }
                let bytes = archive
                    .read(&format!("{root}data/{key}"))
                    .map_err(|fault| StorageFault::Archive {
                        key: key.to_owned(),
                        fault,
                    })?;
                cache.insert(key.to_owned(), bytes.clone());
                Ok(bytes)
            }
        }
    }
}

fn from_zip(bytes: ByteView) -> Result<TorchFile, TorchError> {
    let mut archive = Archive::parse(bytes)?;
    let mut roots = archive
        .names()
        .iter()
        .filter_map(|name| name.strip_suffix("data.pkl"))
        .filter(|root| root.is_empty() || root.ends_with('/'))
        .map(str::to_owned);
    let root = match (roots.next(), roots.next()) {
        (Some(root), None) => root,
        (None, _) => return Err(TorchError::Malformed("`data.pkl` is missing".to_owned())),
        (Some(_), Some(_)) => {
            return Err(TorchError::Malformed(
                "`data.pkl` appears more than once".to_owned(),
            ));
        }
    };
    drop(roots);
    let byteorder = format!("{root}byteorder");
    let big_endian = if archive.names().contains(&byteorder) {
        match &*archive.read(&byteorder)? {
            b"little" => false,
            b"big" => true,
            _ => {
                return Err(TorchError::Malformed(
                    "`byteorder` is neither `little` nor `big`".to_owned(),
                ));
            }
        }
    } else {
        false
    };
    let data = archive.read(&format!("{root}data.pkl"))?;
    let content = pickle::parse(data, Allowed::Torch).map_err(TorchError::pickle("data.pkl"))?;
    let storages = Storages::Zip {
        archive,
        root,
        cache: BTreeMap::new(),
    };
    collect(&content, storages, big_endian)
}

fn from_legacy(bytes: ByteView) -> Result<TorchFile, TorchError> {
    let mut at = 0;
    let mut part = |name: &str| {
        let rest = bytes
            .slice(at..bytes.len())
            .expect("each pickle ends within the file");
        let (pickle, length) =
            pickle::parse_prefix(rest, Allowed::Torch).map_err(TorchError::pickle(name))?;
        at += length;
        Ok::<_, TorchError>(pickle)
    };
    let malformed = |what: &str| TorchError::Malformed(what.to_owned());
    if !matches!(part("magic number")?.root().value(), Value::Long(raw) if **raw == *LEGACY_MAGIC) {
        return Err(TorchError::Container);
    }
    if part("protocol version")?.root().as_i64() != Some(1001) {
        return Err(malformed("the protocol version is not 1001"));
    }
    let big_endian = match part("system")?.root().get("little_endian").map(Node::value) {
        None | Some(Value::Bool(true)) => false,
        Some(Value::Bool(false)) => true,
        Some(_) => return Err(malformed("`little_endian` is no boolean")),
    };
    let content = part("content")?;
    let keys = part("storage keys")?;
    let sizes = element_sizes(&content)?;
    let mut storages = BTreeMap::new();
    for key in keys
        .root()
        .items()
        .ok_or_else(|| malformed("the storage keys are no list"))?
    {
        let key = key
            .as_utf8()
            .ok_or_else(|| malformed("a storage key is no text"))?;
        let Some(size) = sizes.get(key) else {
            return Err(TorchError::Malformed(format!(
                "storage `{key}` belongs to no tensor, so its size is not known"
            )));
        };
        let count = bytes
            .get(at..)
            .and_then(|rest| rest.first_chunk::<8>())
            .map(|raw| i64::from_le_bytes(*raw))
            .and_then(|count| usize::try_from(count).ok())
            .and_then(|count| count.checked_mul(*size));
        let storage = count
            .and_then(|len| bytes.slice(at + 8..(at + 8).checked_add(len)?))
            .ok_or_else(|| {
                TorchError::Malformed(format!(
                    "storage `{key}` at byte {at} reaches beyond the end of the file"
                ))
            })?;
        at += 8 + storage.len();
        storages.insert(key.to_owned(), storage);
    }
    collect(&content, Storages::Legacy(storages), big_endian)
}

/// How a pickle identifies a storage: `('storage', class, key, location, elements, view)`.
struct Identification<'a> {
    kind: StorageKind,
    key: &'a str,
    count: usize,
    /// Start and length of a part, in elements: a legacy storage may be a part of another.
    view: Option<(usize, usize)>,
}

impl<'a> Identification<'a> {
    fn read(node: Node<'a>) -> Option<Self> {
        let Value::Persistent(id) = node.value() else {
            return None;
        };
        let parts: Vec<_> = node.at(*id).items()?.take(7).collect();
        let &[tag, class, key, _location, count, ref rest @ ..] = &parts[..] else {
            return None;
        };
        if tag.as_utf8() != Some("storage") {
            return None;
        }
        let size = |node: Node<'_>| usize::try_from(node.as_i64()?).ok();
        let view = match rest {
            [] => None,
            [view] if view.is_none() => None,
            [view] => {
                let view: Vec<_> = view.items()?.take(4).collect();
                let &[_key, start, len] = &view[..] else {
                    return None;
                };
                Some((size(start)?, size(len)?))
            }
            _ => return None,
        };
        Some(Self {
            kind: class.storage_kind()?,
            key: key.as_utf8()?,
            count: size(count)?,
            view,
        })
    }
}

/// Bytes per element of every storage that the content mentions.
fn element_sizes(content: &Pickle) -> Result<BTreeMap<String, usize>, TorchError> {
    let mut sizes = BTreeMap::new();
    for node in content.nodes() {
        if let Value::Persistent(_) = node.value() {
            let id = Identification::read(node).ok_or_else(|| {
                TorchError::Malformed("a storage is not identified as expected".to_owned())
            })?;
            let size = match id.kind {
                StorageKind::Typed(kind) => kind.size(),
                StorageKind::Untyped => 1,
            };
            if sizes
                .insert(id.key.to_owned(), size)
                .is_some_and(|s| s != size)
            {
                return Err(TorchError::Malformed(format!(
                    "storage `{}` has two element types",
                    id.key
                )));
            }
        }
    }
    Ok(sizes)
}

/// Follows the content's containers to its tensors.
fn collect(
    content: &Pickle,
    mut storages: Storages,
    big_endian: bool,
) -> Result<TorchFile, TorchError> {
    let mut file = TorchFile {
        tensors: BTreeMap::new(),
        names: Vec::new(),
        others: Vec::new(),
    };
    let mut visited = 0;
    let mut open = vec![(String::new(), 0, content.root())];
    while let Some((name, depth, node)) = open.pop() {
        visited += 1;
        if visited > MAX_VISITED {
            return Err(TorchError::Limit {
                limit: MAX_VISITED,
                what: "values",
            });
        }
        if let Value::Tensor(tensor) = node.value() {
            let array = resolve(node, tensor, &mut storages, big_endian).map_err(|fault| {
                TorchError::Tensor {
                    name: name.clone(),
                    fault,
                }
            })?;
            file.names.push(name.clone());
            if file.tensors.insert(name.clone(), array).is_some() {
                return Err(TorchError::Duplicate { name });
            }
            continue;
        }
        let members = members(node);
        if members.is_empty() {
            file.others.push(Other {
                name,
                type_name: node.type_name(),
                value: short_value(node),
            });
            continue;
        }
        if depth == MAX_DEPTH {
            return Err(TorchError::Limit {
                limit: MAX_DEPTH,
                what: "levels of nesting",
            });
        }
        // The last one is taken first.
        for (key, member) in members.into_iter().rev() {
            let name = if name.is_empty() {
                key
            } else {
                format!("{name}.{key}")
            };
            if name.len() > MAX_NAME {
                return Err(TorchError::Limit {
                    limit: MAX_NAME,
                    what: "bytes in a name",
                });
            }
            if open.len() > MAX_VISITED {
                return Err(TorchError::Limit {
                    limit: MAX_VISITED,
                    what: "values",
                });
            }
            open.push((name, depth + 1, member));
        }
    }
    Ok(file)
}

/// Members of a dictionary, list or tuple with the last part of their names.
fn members(node: Node<'_>) -> Vec<(String, Node<'_>)> {
    if let Some(entries) = node.entries() {
        return entries
            .take(MAX_VISITED)
            .enumerate()
            .map(|(place, (key, value))| {
                let key = match key.as_text() {
                    // Long keys are refused with their length once they are part of a name.
                    Some(text) => text.chars().take(MAX_NAME + 1).collect(),
                    None => key
                        .as_i64()
                        .map_or_else(|| format!("<key {place}>"), |key| key.to_string()),
                };
                (key, value)
            })
            .collect();
    }
    match node.value() {
        Value::List(_) | Value::Tuple(_) => node.items().map_or_else(Vec::new, |items| {
            items
                .take(MAX_VISITED)
                .enumerate()
                .map(|(place, item)| (place.to_string(), item))
                .collect()
        }),
        _ => Vec::new(),
    }
}

fn short_value(node: Node<'_>) -> Option<String> {
    match node.value() {
        Value::Bool(b) => Some(b.to_string()),
        Value::Int(i) => Some(i.to_string()),
        Value::Float(f) => Some(f.to_string()),
        Value::Text(text) if text.len() <= 100 => node.as_utf8().map(str::to_owned),
        _ => None,
    }
}

fn resolve(
    node: Node<'_>,
    tensor: &TensorRef,
    storages: &mut Storages,
    big_endian: bool,
) -> Result<TorchTensor, StorageFault> {
    let id = Identification::read(node.at(tensor.storage)).ok_or(StorageFault::Identification)?;
    let (kind, unit) = match (id.kind, tensor.kind) {
        (StorageKind::Typed(kind), None) => (kind, kind.size()),
        (StorageKind::Typed(storage), Some(kind)) => (kind, storage.size()),
        (StorageKind::Untyped, Some(kind)) => (kind, 1),
        (StorageKind::Untyped, None) => return Err(StorageFault::Kind),
    };
    let element = Element { kind, big_endian };
    if tensor.shape.contains(&0) {
        // PyTorch writes no bytes for an empty storage; some versions leave the entry out.
        let none = ByteView::from(Vec::new());
        return Ok(NdArray::contiguous(
            tensor.shape.clone(),
            false,
            element,
            none,
        )?);
    }
    let bytes = storages.get(id.key)?;
    let (start, count) = id.view.unwrap_or((0, id.count));
    let short = |needed: u128| StorageFault::Short {
        key: id.key.to_owned(),
        needed,
        available: bytes.len(),
    };
    let end = (start as u128 + count as u128) * unit as u128;
    let part = usize::try_from(end)
        .ok()
        .and_then(|end| bytes.slice(start.checked_mul(unit)?..end))
        .ok_or_else(|| short(end))?;
    Ok(NdArray::strided(
        tensor.shape.clone(),
        tensor.strides.clone(),
        tensor.offset,
        element,
        part,
    )?)
}

#[cfg(test)]
mod tests;
