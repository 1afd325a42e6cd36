//! The stack machine: one function per opcode family, no recursion, no execution.

mod opcodes;

use super::{
    Allowed, Fault, MAX_VALUES, Pickle, PickleError, Value, numpy,
    torch::{self, StorageKind},
    value::{Id, Name, Unfilled},
};
use crate::store::{ByteView, ElementKind};
use opcodes::{Action, INDEX, OPCODES, decimal};
use std::collections::HashMap;

/// A harmless name that a pickle may mention. None of them is ever called: the machine builds what
/// they would return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Global {
    Reconstruct,
    FromBuffer,
    NdArray,
    Dtype,
    Scalar,
    Encode,
    Set,
    List,
    Dict,
    OrderedDict,
    DefaultDict,
    Tuple,
    Bytes,
    Complex,
    /// `int`, `float`, `str`, `bool`: only as the factory of a default dictionary.
    Factory,
    RebuildTensor,
    /// Names the element type besides an untyped storage.
    RebuildTensorTyped,
    RebuildParameter,
    TorchSize,
    TorchDevice,
    TorchDtype(ElementKind),
    Storage(StorageKind),
}

impl Global {
    fn find(module: &str, name: &str, allowed: Allowed) -> Option<Self> {
        Some(match (module, name) {
            (
                "numpy.core.multiarray" | "numpy._core.multiarray" | "numpy.core._multiarray_umath",
                name,
            ) => match name {
                "_reconstruct" => Self::Reconstruct,
                "scalar" => Self::Scalar,
                _ => return None,
            },
            ("numpy.core.numeric" | "numpy._core.numeric", "_frombuffer") => Self::FromBuffer,
            ("numpy", "ndarray") => Self::NdArray,
            ("numpy", "dtype") => Self::Dtype,
            ("_codecs", "encode") => Self::Encode,
            ("builtins" | "__builtin__", name) => match name {
                "set" | "frozenset" => Self::Set,
                "list" => Self::List,
                "dict" => Self::Dict,
                "tuple" => Self::Tuple,
                "bytes" | "bytearray" => Self::Bytes,
                "complex" => Self::Complex,
                "int" | "float" | "str" | "bool" => Self::Factory,
                _ => return None,
            },
            ("collections", "OrderedDict") => Self::OrderedDict,
            ("collections", "defaultdict") => Self::DefaultDict,
            _ if allowed == Allowed::Torch => return torch::global(module, name),
            _ => return None,
        })
    }
}

pub(super) struct Machine {
    bytes: ByteView,
    at: usize,
    /// Where the current instruction starts.
    start: usize,
    opcode: &'static str,
    allowed: Allowed,
    values: Vec<Value>,
    stack: Vec<Id>,
    /// Heights of the stack at the open marks.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
    /// Bytes and members that constructors may still copy: a small file must not grow by copying
    /// one memoised value again and again.
    copies_left: usize,
    constants: [Option<Id>; 3],
}

/// No constructor takes more.
const MAX_ARGUMENTS: usize = 16;

pub(super) type Step<T = ()> = Result<T, Fault>;

impl Machine {
    pub(super) fn new(bytes: ByteView, allowed: Allowed) -> Self {
        let copies_left = bytes.len();
        Self {
            bytes,
            at: 0,
            start: 0,
            opcode: "",
            allowed,
            values: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            copies_left,
            constants: [None; 3],
        }
    }

    /// Runs to `STOP`; also returns where that was.
    pub(super) fn run(mut self) -> Result<(Pickle, usize), PickleError> {
        loop {
            self.start = self.at;
            self.opcode = "end of file";
            match self.step() {
                Ok(None) => {}
                Ok(Some(root)) => {
                    let pickle = Pickle {
                        values: self.values,
                        root,
                    };
                    return Ok((pickle, self.at));
                }
                Err(fault) => {
                    return Err(PickleError::At {
                        offset: self.start,
                        opcode: self.opcode,
                        fault,
                    });
                }
            }
        }
    }

    fn step(&mut self) -> Step<Option<Id>> {
        let code = self.take(1)?[0];
        let &(_, name, action) = OPCODES
            .get(usize::from(INDEX[usize::from(code)]))
            .ok_or_else(|| {
                self.opcode = "?";
                Fault::UnknownOpcode { byte: code }
            })?;
        self.opcode = name;
        match action {
            Action::Stop => {
                let root = self.pop()?;
                let left = self.stack.len() + self.marks.len();
                if left > 0 {
                    return Err(Fault::Leftover { left: left + 1 });
                }
                return Ok(Some(root));
            }
            Action::Run(run) => run(self)?,
            Action::Refuse(why) => return Err(Fault::Unsupported(why)),
        }
        Ok(None)
    }

    // Reading.

    fn take(&mut self, n: usize) -> Step<&[u8]> {
        let range = self.range(n as u64)?;
        Ok(&self.bytes[range])
    }

    fn range(&mut self, n: u64) -> Step<std::ops::Range<usize>> {
        let available = self.bytes.len() - self.at;
        if n > available as u64 {
            return Err(Fault::End {
                needed: n,
                available,
            });
        }
        let start = self.at;
        self.at += n as usize;
        Ok(start..self.at)
    }

    /// An unsigned number of `width` bytes, the least significant first.
    fn uint(&mut self, width: usize) -> Step<u64> {
        let mut raw = [0; 8];
        raw[..width].copy_from_slice(self.take(width)?);
        Ok(u64::from_le_bytes(raw))
    }

    fn view(&mut self, len: u64) -> Step<ByteView> {
        let range = self.range(len)?;
        Ok(self
            .bytes
            .slice(range)
            .expect("the range was checked against the file"))
    }

    fn line(&mut self) -> Step<ByteView> {
        let rest = &self.bytes[self.at..];
        let len = rest.iter().position(|&b| b == b'\n').ok_or(Fault::End {
            needed: rest.len() as u64 + 1,
            available: rest.len(),
        })?;
        let line = self.view(len as u64)?;
        self.at += 1;
        Ok(line)
    }

    // The stack and the arena.

    fn add(&mut self, value: Value) -> Step<Id> {
        if self.values.len() >= MAX_VALUES {
            return Err(Fault::Limit {
                limit: MAX_VALUES,
                what: "values",
            });
        }
        self.values.push(value);
        Ok(Id((self.values.len() - 1) as u32))
    }

    fn push(&mut self, value: Value) -> Step {
        let id = self.add(value)?;
        self.stack.push(id);
        Ok(())
    }

    /// Pushes `None`, `False` or `True`, which need one place each.
    fn push_constant(&mut self, which: usize, value: Value) -> Step {
        let id = match self.constants[which] {
            Some(id) => id,
            None => self.add(value)?,
        };
        self.constants[which] = Some(id);
        self.stack.push(id);
        Ok(())
    }

    /// The lowest place that may be popped: what lies below the last mark is out of reach.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Step<Id> {
        if self.stack.len() <= self.floor() {
            return Err(Fault::Stack);
        }
        self.stack.pop().ok_or(Fault::Stack)
    }

    fn top(&self) -> Step<Id> {
        if self.stack.len() <= self.floor() {
            return Err(Fault::Stack);
        }
        self.stack.last().copied().ok_or(Fault::Stack)
    }

    fn pop_to_mark(&mut self) -> Step<Vec<Id>> {
        let mark = self.marks.pop().ok_or(Fault::Stack)?;
        Ok(self.stack.split_off(mark))
    }

    fn pop_n(&mut self, n: usize) -> Step<Vec<Id>> {
        let from = self
            .stack
            .len()
            .checked_sub(n)
            .filter(|from| *from >= self.floor())
            .ok_or(Fault::Stack)?;
        Ok(self.stack.split_off(from))
    }

    pub(super) fn value(&self, id: Id) -> &Value {
        &self.values[id.0 as usize]
    }

    /// Counts bytes or members that are about to be copied.
    pub(super) fn copy(&mut self, n: usize) -> Step {
        self.copies_left = self.copies_left.checked_sub(n).ok_or(Fault::Limit {
            limit: self.bytes.len(),
            what: "bytes made by copying",
        })?;
        Ok(())
    }

    fn append(&mut self, items: Vec<Id>) -> Step {
        let target = self.top()?;
        match &mut self.values[target.0 as usize] {
            Value::List(list) | Value::Set(list) => list.extend(items),
            _ => return Err(argument("members are added to what is no list or set")),
        }
        Ok(())
    }

    fn set_items(&mut self, items: &[Id]) -> Step {
        let target = self.top()?;
        let (pairs, rest) = items.as_chunks::<2>();
        let Value::Dict(entries) = &mut self.values[target.0 as usize] else {
            return Err(argument("entries are added to what is no dictionary"));
        };
        if !rest.is_empty() {
            return Err(argument("a key without a value"));
        }
        entries.extend(pairs.iter().map(|&[k, v]| (k, v)));
        Ok(())
    }

    fn memo_get(&mut self, index: u64) -> Step {
        let id = *self.memo.get(&index).ok_or(Fault::Memo { index })?;
        self.stack.push(id);
        Ok(())
    }

    fn memo_put(&mut self, index: u64) -> Step {
        let id = self.top()?;
        self.memo.insert(index, id);
        Ok(())
    }

    fn memo_line(&mut self) -> Step<u64> {
        let line = self.line()?;
        decimal(&line).ok_or_else(|| argument("a memo number is not decimal"))
    }

    fn push_text(&mut self, len: u64) -> Step {
        let text = self.view(len)?;
        if std::str::from_utf8(&text).is_err() {
            return Err(argument("text is not UTF-8"));
        }
        self.push(Value::Text(text))
    }

    fn push_bytes(&mut self, len: u64) -> Step {
        let bytes = self.view(len)?;
        self.push(Value::Bytes(bytes))
    }

    fn push_long(&mut self, len: u64) -> Step {
        let raw = self.view(len)?;
        let value = if raw.len() <= 8 {
            let mut wide = [raw
                .last()
                .map_or(0, |b| if b & 0x80 != 0 { 0xff } else { 0 }); 8];
            wide[..raw.len()].copy_from_slice(&raw);
            Value::Int(i64::from_le_bytes(wide))
        } else {
            Value::Long(raw)
        };
        self.push(value)
    }

    // Names and constructors.

    fn global(&mut self, module: &[u8], name: &[u8]) -> Step {
        let (module, name) = (
            String::from_utf8_lossy(module),
            String::from_utf8_lossy(name),
        );
        let global =
            Global::find(&module, &name, self.allowed).ok_or_else(|| Fault::Forbidden {
                // Names are short; a hostile one must not flood the terminal.
                module: module.chars().take(100).collect(),
                name: name.chars().take(100).collect(),
            })?;
        self.push(Value::Name(Name(global)))
    }

    fn call(&mut self, function: Id, args: Vec<Id>) -> Step {
        let Value::Name(Name(global)) = *self.value(function) else {
            return Err(argument("what is to be called is no known constructor"));
        };
        let value = self.build_value(global, &args)?;
        self.push(value)
    }

    fn build_value(&mut self, global: Global, args: &[Id]) -> Step<Value> {
        let wrong = || argument(format!("`{global:?}` does not take such arguments"));
        Ok(match global {
            Global::Reconstruct => numpy::reconstruct(self, args)?,
            Global::FromBuffer => numpy::from_buffer(self, args)?,
            Global::Dtype => numpy::dtype(self, args)?,
            Global::Scalar => numpy::scalar(self, args)?,
            Global::Encode => self.encode_latin1(args)?,
            Global::Set => Value::Set(self.members(args)?),
            Global::List => Value::List(self.members(args)?),
            Global::Tuple => Value::Tuple(self.members(args)?),
            Global::Dict | Global::OrderedDict => self.dictionary(args)?,
            Global::DefaultDict => Value::Dict(Vec::new()),
            Global::Bytes => match args {
                [] => Value::Bytes(ByteView::from(Vec::new())),
                [bytes] => match self.value(*bytes) {
                    Value::Bytes(bytes) => Value::Bytes(bytes.clone()),
                    _ => return Err(wrong()),
                },
                [text, _encoding] => match self.encode_latin1(&[*text])? {
                    value @ Value::Bytes(_) => value,
                    _ => return Err(wrong()),
                },
                _ => return Err(wrong()),
            },
            Global::Complex => Value::Opaque("complex"),
            Global::NdArray | Global::Factory => return Err(wrong()),
            Global::RebuildTensor
            | Global::RebuildTensorTyped
            | Global::RebuildParameter
            | Global::TorchSize
            | Global::TorchDevice
            | Global::TorchDtype(_)
            | Global::Storage(_) => torch::build(self, global, args)?,
        })
    }

    /// Python 3 writes `bytes` in protocols below 3 as text of the same code points, to be encoded
    /// as Latin-1.
    fn encode_latin1(&mut self, args: &[Id]) -> Step<Value> {
        let wrong = || argument("only text with code points below 256 is encoded");
        let text = match args {
            [text] => *text,
            [text, encoding] => match self.value(*encoding) {
                Value::Text(e) | Value::Bytes(e)
                    if matches!(&**e, b"latin1" | b"latin-1" | b"iso-8859-1") =>
                {
                    *text
                }
                _ => return Err(argument("the only encoding known is `latin1`")),
            },
            _ => return Err(wrong()),
        };
        let text = match self.value(text) {
            Value::Text(text) => text.clone(),
            Value::Bytes(bytes) => return Ok(Value::Bytes(bytes.clone())),
            _ => return Err(wrong()),
        };
        self.copy(text.len())?;
        // Byte by byte, because whole arrays of gigabytes come this way. The text is UTF-8: a code
        // point from 128 to 255 is one of two leading bytes and one continuation byte.
        let mut bytes = Vec::with_capacity(text.iter().filter(|b| **b & 0xc0 != 0x80).count());
        let mut rest = text.iter();
        while let Some(&first) = rest.next() {
            bytes.push(match first {
                0..0x80 => first,
                0xc2 | 0xc3 => first << 6 | rest.next().ok_or_else(wrong)? & 0x3f,
                _ => return Err(wrong()),
            });
        }
        Ok(Value::Bytes(ByteView::from(bytes)))
    }

    fn members(&mut self, args: &[Id]) -> Step<Vec<Id>> {
        match args {
            [] => Ok(Vec::new()),
            [one] => match self.value(*one) {
                Value::List(ids) | Value::Tuple(ids) | Value::Set(ids) => {
                    let ids = ids.clone();
                    self.copy(ids.len())?;
                    Ok(ids)
                }
                _ => Err(argument("a container is made of what is no container")),
            },
            _ => Err(argument("a container takes at most one argument")),
        }
    }

    fn dictionary(&mut self, args: &[Id]) -> Step<Value> {
        if let [one] = args
            && let Value::Dict(entries) = self.value(*one)
        {
            let entries = entries.clone();
            self.copy(2 * entries.len())?;
            return Ok(Value::Dict(entries));
        }
        let mut entries = Vec::new();
        for pair in self.members(args)? {
            match self.value(pair) {
                Value::List(pair) | Value::Tuple(pair) if pair.len() == 2 => {
                    entries.push((pair[0], pair[1]));
                }
                _ => return Err(argument("a dictionary is made of what are no pairs")),
            }
        }
        Ok(Value::Dict(entries))
    }

    /// Gives an object its state.
    fn build(&mut self) -> Step {
        let state = self.pop()?;
        let target = self.top()?;
        let value = match self.value(target) {
            Value::Shell(Unfilled(shell)) => numpy::fill(self, *shell, state)?,
            Value::Dtype(dtype) => {
                let dtype = (**dtype).clone();
                Value::Dtype(Box::new(numpy::dtype_state(self, dtype, state)?))
            }
            // Attributes of an ordered dictionary, e.g. the versions PyTorch keeps beside weights.
            Value::Dict(_) => return Ok(()),
            Value::Opaque(_) => return Ok(()),
            _ => return Err(argument("this value takes no state")),
        };
        self.values[target.0 as usize] = value;
        Ok(())
    }

    /// The members of a tuple of arguments.
    fn tuple(&self, id: Id) -> Step<Vec<Id>> {
        match self.value(id) {
            // A long tuple in the memo could be passed, and copied, millions of times.
            Value::Tuple(ids) if ids.len() > MAX_ARGUMENTS => Err(Fault::Limit {
                limit: MAX_ARGUMENTS,
                what: "arguments",
            }),
            Value::Tuple(ids) => Ok(ids.clone()),
            _ => Err(argument("arguments are no tuple")),
        }
    }
}

pub(super) fn argument(what: impl Into<String>) -> Fault {
    Fault::Argument(what.into())
}
