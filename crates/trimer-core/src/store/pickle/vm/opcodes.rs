//! Every instruction of the protocols 0 to 5.

use super::{Machine, Step, argument};
use crate::store::{
    ByteView,
    pickle::{Allowed, Fault, Value, text0},
};

/// What an instruction does.
#[derive(Clone, Copy)]
pub(super) enum Action {
    Run(fn(&mut Machine) -> Step),
    Refuse(&'static str),
    Stop,
}

use Action::{Refuse, Run, Stop};

const BY_EXTENSION: &str = "extension registries are not known to this reader";
const OUT_OF_BAND: &str = "a buffer was saved outside of the pickle";
const BY_NAME: &str = "persistent names are not known to this reader";

/// Every opcode with its name in Python's `pickletools`.
pub(super) const OPCODES: &[(u8, &str, Action)] = &[
    // Control.
    (
        0x80,
        "PROTO",
        Run(|m| match m.uint(1)? as u8 {
            0..=5 => Ok(()),
            version => Err(Fault::Protocol { version }),
        }),
    ),
    (
        0x95,
        "FRAME",
        Run(|m| {
            let needed = m.uint(8)?;
            let available = m.bytes.len() - m.at;
            if needed > available as u64 {
                return Err(Fault::End { needed, available });
            }
            Ok(())
        }),
    ),
    (b'.', "STOP", Stop),
    (
        b'(',
        "MARK",
        Run(|m| {
            m.marks.push(m.stack.len());
            Ok(())
        }),
    ),
    (
        b'0',
        "POP",
        Run(|m| {
            if m.stack.len() > m.floor() {
                m.pop().map(drop)
            } else {
                m.marks.pop().map(drop).ok_or(Fault::Stack)
            }
        }),
    ),
    (b'1', "POP_MARK", Run(|m| m.pop_to_mark().map(drop))),
    (
        b'2',
        "DUP",
        Run(|m| {
            let id = m.top()?;
            m.stack.push(id);
            Ok(())
        }),
    ),
    // Constants and numbers.
    (b'N', "NONE", Run(|m| m.push_constant(0, Value::None))),
    (
        0x89,
        "NEWFALSE",
        Run(|m| m.push_constant(1, Value::Bool(false))),
    ),
    (
        0x88,
        "NEWTRUE",
        Run(|m| m.push_constant(2, Value::Bool(true))),
    ),
    (
        b'K',
        "BININT1",
        Run(|m| {
            let value = m.uint(1)? as i64;
            m.push(Value::Int(value))
        }),
    ),
    (
        b'M',
        "BININT2",
        Run(|m| {
            let value = m.uint(2)? as i64;
            m.push(Value::Int(value))
        }),
    ),
    (
        b'J',
        "BININT",
        Run(|m| {
            let value = i64::from(m.uint(4)? as u32 as i32);
            m.push(Value::Int(value))
        }),
    ),
    (
        0x8a,
        "LONG1",
        Run(|m| {
            let len = m.uint(1)?;
            m.push_long(len)
        }),
    ),
    (
        0x8b,
        "LONG4",
        Run(|m| {
            let len = m.uint(4)?;
            m.push_long(len)
        }),
    ),
    (
        b'G',
        "BINFLOAT",
        Run(|m| {
            // The one number that comes with its most significant byte first.
            let value = f64::from_bits(m.uint(8)?.swap_bytes());
            m.push(Value::Float(value))
        }),
    ),
    (
        b'I',
        "INT",
        Run(|m| {
            let line = m.line()?;
            match &*line {
                b"00" => m.push_constant(1, Value::Bool(false)),
                b"01" => m.push_constant(2, Value::Bool(true)),
                digits => {
                    let value = decimal(digits).ok_or_else(|| argument("not a decimal integer"))?;
                    m.push(Value::Int(value))
                }
            }
        }),
    ),
    (
        b'L',
        "LONG",
        Run(|m| {
            let line = m.line()?;
            let digits = line.strip_suffix(b"L").unwrap_or(&line);
            let value =
                decimal(digits).ok_or_else(|| argument("not a decimal integer of 64 bits"))?;
            m.push(Value::Int(value))
        }),
    ),
    (
        b'F',
        "FLOAT",
        Run(|m| {
            let line = m.line()?;
            let value = decimal(&line).ok_or_else(|| argument("not a decimal number"))?;
            m.push(Value::Float(value))
        }),
    ),
    // Text and bytes.
    (
        0x8c,
        "SHORT_BINUNICODE",
        Run(|m| {
            let len = m.uint(1)?;
            m.push_text(len)
        }),
    ),
    (
        b'X',
        "BINUNICODE",
        Run(|m| {
            let len = m.uint(4)?;
            m.push_text(len)
        }),
    ),
    (
        0x8d,
        "BINUNICODE8",
        Run(|m| {
            let len = m.uint(8)?;
            m.push_text(len)
        }),
    ),
    (
        b'V',
        "UNICODE",
        Run(|m| {
            let line = m.line()?;
            let text = text0::raw_unicode_escape(&line).ok_or_else(|| argument("bad escape"))?;
            m.push(Value::Text(ByteView::from(text.into_bytes())))
        }),
    ),
    (
        b'U',
        "SHORT_BINSTRING",
        Run(|m| {
            let len = m.uint(1)?;
            m.push_bytes(len)
        }),
    ),
    (
        b'T',
        "BINSTRING",
        Run(|m| {
            let len = m.uint(4)?;
            m.push_bytes(len)
        }),
    ),
    (
        b'S',
        "STRING",
        Run(|m| {
            let line = m.line()?;
            let bytes = text0::string_literal(&line).ok_or_else(|| argument("bad literal"))?;
            m.push(Value::Bytes(ByteView::from(bytes)))
        }),
    ),
    (
        b'C',
        "SHORT_BINBYTES",
        Run(|m| {
            let len = m.uint(1)?;
            m.push_bytes(len)
        }),
    ),
    (
        b'B',
        "BINBYTES",
        Run(|m| {
            let len = m.uint(4)?;
            m.push_bytes(len)
        }),
    ),
    (
        0x8e,
        "BINBYTES8",
        Run(|m| {
            let len = m.uint(8)?;
            m.push_bytes(len)
        }),
    ),
    (
        0x96,
        "BYTEARRAY8",
        Run(|m| {
            let len = m.uint(8)?;
            m.push_bytes(len)
        }),
    ),
    (0x97, "NEXT_BUFFER", Refuse(OUT_OF_BAND)),
    (0x98, "READONLY_BUFFER", Refuse(OUT_OF_BAND)),
    // Containers.
    (b']', "EMPTY_LIST", Run(|m| m.push(Value::List(Vec::new())))),
    (b'}', "EMPTY_DICT", Run(|m| m.push(Value::Dict(Vec::new())))),
    (
        b')',
        "EMPTY_TUPLE",
        Run(|m| m.push(Value::Tuple(Vec::new()))),
    ),
    (0x8f, "EMPTY_SET", Run(|m| m.push(Value::Set(Vec::new())))),
    (
        b'l',
        "LIST",
        Run(|m| {
            let items = m.pop_to_mark()?;
            m.push(Value::List(items))
        }),
    ),
    (
        b't',
        "TUPLE",
        Run(|m| {
            let items = m.pop_to_mark()?;
            m.push(Value::Tuple(items))
        }),
    ),
    (
        0x91,
        "FROZENSET",
        Run(|m| {
            let items = m.pop_to_mark()?;
            m.push(Value::Set(items))
        }),
    ),
    (
        b'd',
        "DICT",
        Run(|m| {
            let items = m.pop_to_mark()?;
            m.push(Value::Dict(Vec::new()))?;
            m.set_items(&items)
        }),
    ),
    (
        0x85,
        "TUPLE1",
        Run(|m| {
            let items = m.pop_n(1)?;
            m.push(Value::Tuple(items))
        }),
    ),
    (
        0x86,
        "TUPLE2",
        Run(|m| {
            let items = m.pop_n(2)?;
            m.push(Value::Tuple(items))
        }),
    ),
    (
        0x87,
        "TUPLE3",
        Run(|m| {
            let items = m.pop_n(3)?;
            m.push(Value::Tuple(items))
        }),
    ),
    (
        b'a',
        "APPEND",
        Run(|m| {
            let items = m.pop_n(1)?;
            m.append(items)
        }),
    ),
    (
        b'e',
        "APPENDS",
        Run(|m| {
            let items = m.pop_to_mark()?;
            m.append(items)
        }),
    ),
    (
        0x90,
        "ADDITEMS",
        Run(|m| {
            let items = m.pop_to_mark()?;
            m.append(items)
        }),
    ),
    (
        b's',
        "SETITEM",
        Run(|m| {
            let items = m.pop_n(2)?;
            m.set_items(&items)
        }),
    ),
    (
        b'u',
        "SETITEMS",
        Run(|m| {
            let items = m.pop_to_mark()?;
            m.set_items(&items)
        }),
    ),
    // The memo.
    (
        b'p',
        "PUT",
        Run(|m| {
            let index = m.memo_line()?;
            m.memo_put(index)
        }),
    ),
    (
        b'q',
        "BINPUT",
        Run(|m| {
            let index = m.uint(1)?;
            m.memo_put(index)
        }),
    ),
    (
        b'r',
        "LONG_BINPUT",
        Run(|m| {
            let index = m.uint(4)?;
            m.memo_put(index)
        }),
    ),
    (0x94, "MEMOIZE", Run(|m| m.memo_put(m.memo.len() as u64))),
    (
        b'g',
        "GET",
        Run(|m| {
            let index = m.memo_line()?;
            m.memo_get(index)
        }),
    ),
    (
        b'h',
        "BINGET",
        Run(|m| {
            let index = m.uint(1)?;
            m.memo_get(index)
        }),
    ),
    (
        b'j',
        "LONG_BINGET",
        Run(|m| {
            let index = m.uint(4)?;
            m.memo_get(index)
        }),
    ),
    // Names and constructors.
    (
        b'c',
        "GLOBAL",
        Run(|m| {
            let (module, name) = (m.line()?, m.line()?);
            m.global(&module, &name)
        }),
    ),
    (
        0x93,
        "STACK_GLOBAL",
        Run(|m| {
            let names = m.pop_n(2)?;
            match (m.value(names[0]), m.value(names[1])) {
                (Value::Text(module), Value::Text(name)) => {
                    let (module, name) = (module.clone(), name.clone());
                    m.global(&module, &name)
                }
                _ => Err(argument("a global's name is no text")),
            }
        }),
    ),
    (
        b'i',
        "INST",
        Run(|m| {
            let (module, name) = (m.line()?, m.line()?);
            m.global(&module, &name)?;
            let function = m.stack.pop().ok_or(Fault::Stack)?;
            let args = m.pop_to_mark()?;
            m.call(function, args)
        }),
    ),
    (
        b'o',
        "OBJ",
        Run(|m| {
            let mut args = m.pop_to_mark()?;
            if args.is_empty() {
                return Err(Fault::Stack);
            }
            let function = args.remove(0);
            m.call(function, args)
        }),
    ),
    (
        b'R',
        "REDUCE",
        Run(|m| {
            let pair = m.pop_n(2)?;
            let args = m.tuple(pair[1])?;
            m.call(pair[0], args)
        }),
    ),
    (
        0x81,
        "NEWOBJ",
        Run(|m| {
            let pair = m.pop_n(2)?;
            let args = m.tuple(pair[1])?;
            m.call(pair[0], args)
        }),
    ),
    (
        0x92,
        "NEWOBJ_EX",
        Run(|m| {
            let parts = m.pop_n(3)?;
            if !matches!(m.value(parts[2]), Value::Dict(entries) if entries.is_empty()) {
                return Err(argument("named arguments are not supported"));
            }
            let args = m.tuple(parts[1])?;
            m.call(parts[0], args)
        }),
    ),
    (b'b', "BUILD", Run(Machine::build)),
    (b'P', "PERSID", Refuse(BY_NAME)),
    (
        b'Q',
        "BINPERSID",
        Run(|m| {
            if m.allowed != Allowed::Torch {
                return Err(Fault::Unsupported(BY_NAME));
            }
            let id = m.pop()?;
            m.push(Value::Persistent(id))
        }),
    ),
    (0x82, "EXT1", Refuse(BY_EXTENSION)),
    (0x83, "EXT2", Refuse(BY_EXTENSION)),
    (0x84, "EXT4", Refuse(BY_EXTENSION)),
];

/// Places in [`OPCODES`] by byte; 255 where there is none.
pub(super) const INDEX: [u8; 256] = {
    let mut index = [255; 256];
    let mut i = 0;
    while i < OPCODES.len() {
        index[OPCODES[i].0 as usize] = i as u8;
        i += 1;
    }
    index
};

pub(super) fn decimal<T: std::str::FromStr>(line: &[u8]) -> Option<T> {
    std::str::from_utf8(line).ok()?.trim().parse().ok()
}
