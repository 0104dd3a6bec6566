//! Go's quoted strings, which etcdctl's transactions and watch environment are written in, and its words.

/// Reads one quoted string at the start of `text`: `"…"` with escapes, or `` `…` `` without. Gives its bytes and what
/// follows the closing quote.
pub(crate) fn unquote(text: &str) -> Result<(Vec<u8>, &str), String> {
    if let Some(raw) = text.strip_prefix('`') {
        let end = raw.find('`').ok_or("a ` is not closed")?;
        return Ok((raw.as_bytes()[..end].to_vec(), &raw[end + 1..]));
    }
    let mut rest = text.strip_prefix('"').ok_or("a \" is missing")?;
    let mut bytes = Vec::new();
    loop {
        let mut chars = rest.chars();
        match chars.next() {
            None => return Err("a \" is not closed".into()),
            Some('"') => return Ok((bytes, chars.as_str())),
            Some('\\') => rest = escape(chars.as_str(), &mut bytes)?,
            Some(char) => {
                push_char(&mut bytes, char);
                rest = chars.as_str();
            }
        }
    }
}

/// Reads what follows a backslash; gives what follows that.
fn escape<'a>(text: &'a str, bytes: &mut Vec<u8>) -> Result<&'a str, String> {
    let mut chars = text.chars();
    let kind = chars.next().ok_or("a backslash ends the line")?;
    let rest = chars.as_str();
    let simple = match kind {
        'a' => 0x07,
        'b' => 0x08,
        'f' => 0x0c,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 0x0b,
        '\\' | '"' | '\'' => kind as u8,
        'x' => return number(rest, 2, 16, "\\x", bytes, false),
        'u' => return number(rest, 4, 16, "\\u", bytes, true),
        'U' => return number(rest, 8, 16, "\\U", bytes, true),
        '0'..='7' => return number(text, 3, 8, "\\", bytes, false),
        other => return Err(format!("\\{other} is no escape")),
    };
    bytes.push(simple);
    Ok(rest)
}

fn number<'a>(
    text: &'a str,
    digits: usize,
    radix: u32,
    name: &str,
    bytes: &mut Vec<u8>,
    unicode: bool,
) -> Result<&'a str, String> {
    let wrong = || format!("{name} needs {digits} digits that make a character");
    let (number, rest) = text.split_at_checked(digits).ok_or_else(wrong)?;
    if !number.chars().all(|c| c.is_digit(radix)) {
        return Err(wrong());
    }
    let value = u32::from_str_radix(number, radix).map_err(|_| wrong())?;
    if unicode {
        push_char(bytes, char::from_u32(value).ok_or_else(wrong)?);
    } else {
        bytes.push(u8::try_from(value).map_err(|_| wrong())?);
    }
    Ok(rest)
}

fn push_char(bytes: &mut Vec<u8>, char: char) {
    bytes.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
}

/// Writes bytes as a quoted string that [`unquote`] reads back.
pub(crate) fn quote(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut quoted = String::with_capacity(bytes.len() + 2);
    quoted.push('"');
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '"' | '\\' => quoted.extend(['\\', char]),
                '\n' => quoted.push_str("\\n"),
                '\r' => quoted.push_str("\\r"),
                '\t' => quoted.push_str("\\t"),
                char if char.is_control() => {
                    // Writing to a string does not fail.
                    let _ = write!(quoted, "\\u{:04x}", char as u32);
                }
                char => quoted.push(char),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(quoted, "\\x{byte:02x}");
        }
    }
    quoted.push('"');
    quoted
}

/// Splits a line into words: bare ones, `'…'` taken as they are, `"…"` with escapes.
pub(crate) fn words(line: &str) -> Result<Vec<Vec<u8>>, String> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        rest = match first {
            '"' => {
                let (word, rest) = unquote(rest)?;
                words.push(word);
                rest
            }
            '\'' => {
                let end = rest[1..].find('\'').ok_or("a ' is not closed")?;
                words.push(rest.as_bytes()[1..1 + end].to_vec());
                &rest[end + 2..]
            }
            _ => {
                let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                words.push(rest.as_bytes()[..end].to_vec());
                &rest[end..]
            }
        }
        .trim_start();
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting_round_trips_any_bytes() {
        for bytes in [&b""[..], b"plain", b"a\"b\\c", b"\xff\xfe\0\n\t\x07", "grün".as_bytes(), b"\xe2\x82"]
        {
            let quoted = quote(bytes);
            assert_eq!(unquote(&quoted), Ok((bytes.to_vec(), "")), "{quoted}");
        }
    }

    #[test]
    fn escapes_are_those_of_go() {
        assert_eq!(unquote(r#""\x41\102\u0043\U00000044\'" x"#), Ok((b"ABCD'".to_vec(), " x")));
        assert_eq!(unquote("`a\\n`"), Ok((b"a\\n".to_vec(), "")));
        for wrong in [r#""open"#, r#""\q""#, r#""\x4""#, r#""\uD800""#, r#""\777""#, "bare", "`open", r#""\"#]
        {
            assert!(unquote(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn lines_split_into_words() {
        let split = |line: &str| {
            words(line)
                .map(|words| words.into_iter().map(|w| String::from_utf8(w).unwrap()).collect::<Vec<_>>())
        };
        assert_eq!(
            split(r#"put "a b" 'c "d' e"#),
            Ok(vec!["put".into(), "a b".into(), "c \"d".into(), "e".into()])
        );
        assert_eq!(split("  get --prefix \"\" "), Ok(vec!["get".into(), "--prefix".into(), "".into()]));
        assert_eq!(split(""), Ok(vec![]));
        assert!(split("put \"a").is_err() && split("put 'a").is_err());
    }
}
