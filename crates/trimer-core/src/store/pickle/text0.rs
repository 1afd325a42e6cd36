//! The quoted and escaped text of protocol 0.

/// Reads a Python 2 string literal, quotes included: `'a\x00\n'`.
pub(super) fn string_literal(line: &[u8]) -> Option<Vec<u8>> {
    let (&quote, rest) = line.split_first()?;
    if quote != b'\'' && quote != b'"' {
        return None;
    }
    let body = rest.strip_suffix(&[quote])?;
    let mut out = Vec::with_capacity(body.len());
    let mut bytes = body.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        out.push(match bytes.next()? {
            b'x' => {
                let (high, low) = (hex(bytes.next()?)?, hex(bytes.next()?)?);
                (high << 4 | low) as u8
            }
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'a' => 0x07,
            b'b' => 0x08,
            b'v' => 0x0b,
            b'f' => 0x0c,
            same @ (b'\\' | b'\'' | b'"') => same,
            // Python writes no octal escapes.
            _ => return None,
        });
    }
    Some(out)
}

/// Reads text in which only `\uXXXX` and `\UXXXXXXXX` are escapes and all other bytes are Latin-1.
pub(super) fn raw_unicode_escape(line: &[u8]) -> Option<String> {
    let mut out = String::with_capacity(line.len());
    let mut at = 0;
    while let Some(&byte) = line.get(at) {
        let digits = match (byte, line.get(at + 1)) {
            (b'\\', Some(b'u')) => 4,
            (b'\\', Some(b'U')) => 8,
            _ => {
                out.push(byte as char);
                at += 1;
                continue;
            }
        };
        let code = line
            .get(at + 2..at + 2 + digits)?
            .iter()
            .try_fold(0_u32, |sum, &d| Some(sum << 4 | hex(d)?))?;
        at += 2 + digits;
        // A narrow build of Python 2 wrote the two halves of a surrogate pair.
        let code = match code {
            0xd800..0xdc00 => {
                let low = line.get(at..at + 6)?.strip_prefix(b"\\u")?;
                let low = low.iter().try_fold(0, |sum, &d| Some(sum << 4 | hex(d)?))?;
                if !(0xdc00..0xe000).contains(&low) {
                    return None;
                }
                at += 6;
                0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00)
            }
            code => code,
        };
        out.push(char::from_u32(code)?);
    }
    Some(out)
}

fn hex(digit: u8) -> Option<u32> {
    (digit as char).to_digit(16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_of_python_2_are_unescaped() {
        assert_eq!(
            string_literal(br#"'a\x00\xff\n\\\'"b'"#).unwrap(),
            b"a\x00\xff\n\\'\"b"
        );
        for bad in [&b"abc"[..], b"'abc", b"'\\x1'", b"'\\q'", b"'\\", b"'", b""] {
            assert!(string_literal(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn raw_escapes_become_code_points() {
        assert_eq!(
            raw_unicode_escape(b"a\\u4f60\xe9\\U0001f600\\ud83d\\ude00\\n").unwrap(),
            "a\u{4f60}\u{e9}\u{1f600}\u{1f600}\\n"
        );
        for bad in [
            &b"\\u12"[..],
            b"\\ud83d",
            b"\\ud83d\\u0041",
            b"\\uzzzz",
            b"\\Uffffffff",
        ] {
            assert!(raw_unicode_escape(bad).is_none(), "{bad:?}");
        }
    }
}
