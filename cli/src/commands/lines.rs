//! The JSON lines of `export` and `import`: one key and its value each.
//!
//! `{"key":…,"value":…}` where both are UTF-8, else `{"key_base64":…,"value_base64":…}`. Reading takes either form of
//! each.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::io::{self, Write};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    key: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    value: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    key_base64: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    value_base64: Option<Cow<'a, str>>,
}

/// Writes one line.
pub(crate) fn write(out: &mut impl Write, key: &[u8], value: &[u8]) -> io::Result<()> {
    let mut line = Line { key: None, value: None, key_base64: None, value_base64: None };
    match (std::str::from_utf8(key), std::str::from_utf8(value)) {
        (Ok(key), Ok(value)) => {
            line.key = Some(key.into());
            line.value = Some(value.into());
        }
        _ => {
            line.key_base64 = Some(STANDARD.encode(key).into());
            line.value_base64 = Some(STANDARD.encode(value).into());
        }
    }
    serde_json::to_writer(&mut *out, &line)?;
    out.write_all(b"\n")
}

/// Reads one line; says what is wrong with it otherwise.
pub(crate) fn parse(line: &[u8]) -> Result<(Bytes, Bytes), String> {
    let line: Line<'_> = serde_json::from_slice(line).map_err(|error| describe(&error))?;
    let key = bytes("key", line.key, line.key_base64)?;
    let value = bytes("value", line.value, line.value_base64)?;
    if key.is_empty() {
        return Err("the key is empty".into());
    }
    Ok((key, value))
}

fn bytes(name: &str, text: Option<Cow<'_, str>>, base64: Option<Cow<'_, str>>) -> Result<Bytes, String> {
    match (text, base64) {
        (Some(text), None) => Ok(text.into_owned().into()),
        (None, Some(base64)) => match STANDARD.decode(base64.as_bytes()) {
            Ok(bytes) => Ok(bytes.into()),
            Err(error) => Err(format!("`{name}_base64` is no base64: {error}")),
        },
        (None, None) => Err(format!("`{name}` is missing, and so is `{name}_base64`")),
        (Some(_), Some(_)) => Err(format!("both `{name}` and `{name}_base64` are given")),
    }
}

/// serde_json's text, without its line number, which is always 1 here.
fn describe(error: &serde_json::Error) -> String {
    let text = error.to_string().replace(" at line 1 column ", " at column ");
    match error.classify() {
        serde_json::error::Category::Data => text,
        _ => format!("it is no JSON: {text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(key: &[u8], value: &[u8]) -> String {
        let mut line = Vec::new();
        write(&mut line, key, value).unwrap();
        assert_eq!(parse(&line), Ok((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value))));
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn lines_round_trip() {
        assert_eq!(round_trip(b"a", b"b"), "{\"key\":\"a\",\"value\":\"b\"}\n");
        assert_eq!(round_trip(b"a\n\0\"", "ü".as_bytes()), "{\"key\":\"a\\n\\u0000\\\"\",\"value\":\"ü\"}\n");
        assert_eq!(round_trip(b"a", b"\xff"), "{\"key_base64\":\"YQ==\",\"value_base64\":\"/w==\"}\n");
        round_trip(&(0..=255).collect::<Vec<u8>>(), b"");
    }

    #[test]
    fn either_form_is_read() {
        let expected = Ok((Bytes::from_static(b"a"), Bytes::from_static(b"b")));
        assert_eq!(parse(br#" {"value_base64": "Yg==", "key": "a"} "#), expected);
        assert_eq!(parse(br#"{"key_base64":"YQ==","value":"b"}"#), expected);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, reason) in [
            (&b"nonsense"[..], "it is no JSON"),
            (br#"{"key":"a""#, "it is no JSON"),
            (br#"{"key":"a"}"#, "`value` is missing"),
            (br#"{"value":"a"}"#, "`key` is missing"),
            (br#"{"key":"a","key_base64":"YQ==","value":""}"#, "both `key` and"),
            (br#"{"key_base64":"?","value":""}"#, "is no base64"),
            (br#"{"key":"","value":""}"#, "the key is empty"),
            (br#"{"key":"a","value":1}"#, "invalid type"),
            (br#"{"key":"a","value":"b","lease":1}"#, "unknown field `lease`"),
            (b"{\"key\":\"\xff\",\"value\":\"b\"}", "it is no JSON"),
        ] {
            let error = parse(line).expect_err(reason);
            assert!(error.contains(reason), "{error}");
            assert!(!error.contains("line 1"), "{error}");
        }
    }
}
