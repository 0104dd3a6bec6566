//! Between JSON and messages.
//!
//! Names of fields as in the proto files or in camel case; bytes in base64; 64-bit integers as strings or numbers;
//! enumerations by name or number; unknown fields passed over. Nesting is bounded by `serde_json`, at 127.

use prost::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Deserializer, Value};
use tonic::Status;

/// The message that the first JSON value of `text` is; what follows is not looked at. No value is an empty message.
///
/// # Errors
/// It is not JSON, or not that message.
pub(super) fn to_message<M: Message + DeserializeOwned + Default>(text: &[u8]) -> Result<Vec<u8>, Status> {
    Ok(parse::<M>(text).map_err(Status::invalid_argument)?.encode_to_vec())
}

/// The JSON of a message.
///
/// # Errors
/// The bytes are not that message.
pub(super) fn to_json<M: Message + Serialize + Default>(message: bytes::Bytes) -> Result<Vec<u8>, Status> {
    let message = M::decode(message).map_err(|error| Status::internal(error.to_string()))?;
    serde_json::to_vec(&message).map_err(|error| Status::internal(error.to_string()))
}

fn parse<M: DeserializeOwned + Default>(text: &[u8]) -> Result<M, String> {
    let text = text.trim_ascii_start();
    let Some(first) = text.first() else { return Ok(M::default()) };
    if *first != b'{' {
        return Err(no_object(text));
    }
    let error = match first_value::<M>(text) {
        Ok(message) => return Ok(message),
        Err(error) => error,
    };
    // Protobuf's JSON has two habits that the generated code does not know. They are rare enough to try a second time.
    if error.is_data()
        && let Ok(mut value) = first_value::<Value>(text)
        && normalize(&mut value)
        && let Ok(message) = M::deserialize(value)
    {
        return Ok(message);
    }
    Err(if error.is_eof() { "unexpected EOF".into() } else { error.to_string() })
}

fn first_value<T: DeserializeOwned>(text: &[u8]) -> serde_json::Result<T> {
    T::deserialize(&mut Deserializer::from_slice(text))
}

/// Takes away fields that are null (they are unset), and turns whole numbers with a fraction of zero into integers.
/// Returns whether anything was there to do.
fn normalize(value: &mut Value) -> bool {
    match value {
        Value::Object(fields) => {
            let before = fields.len();
            fields.retain(|_, field| !field.is_null());
            let removed = fields.len() != before;
            fields.values_mut().fold(removed, |changed, field| normalize(field) | changed)
        }
        Value::Array(items) => items.iter_mut().fold(false, |changed, item| normalize(item) | changed),
        Value::Number(number) if number.is_f64() => {
            let whole = number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < 9.0e15);
            whole.map(|float| *value = Value::from(float as i64)).is_some()
        }
        _ => false,
    }
}

/// What is wrong with a text that does not begin as an object.
fn no_object(text: &[u8]) -> String {
    let unexpected = |token: &str| format!("proto: syntax error (line 1:1): unexpected token {token}");
    if text.starts_with(b"[") {
        return unexpected("[");
    }
    match first_value::<Value>(text) {
        Ok(value) => unexpected(&value.to_string()),
        Err(error) if error.is_eof() => "unexpected EOF".into(),
        Err(_) => {
            let first = String::from_utf8_lossy(text).chars().next().unwrap_or_default();
            format!("invalid character '{first}' looking for beginning of value")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::etcdserverpb::{RangeRequest, TxnRequest};

    #[test]
    fn what_protobufs_json_allows_is_taken() {
        let expected = RangeRequest { key: "foo".into(), limit: 5, sort_order: 2, ..Default::default() };
        for text in [
            r#"{"key":"Zm9v","limit":"5","sort_order":"DESCEND"}"#,
            r#" {"key":"Zm9v","limit":5,"sortOrder":2} trailing"#,
            r#"{"key":"Zm9v","limit":5.0,"sort_order":2,"unknown":[{"a":null}]}"#,
            r#"{"key":"Zm9v","limit":5,"sort_order":"DESCEND","range_end":null,"serializable":null}"#,
        ] {
            assert_eq!(parse::<RangeRequest>(text.as_bytes()).as_ref(), Ok(&expected), "{text}");
        }
        assert_eq!(parse::<RangeRequest>(b" \n"), Ok(RangeRequest::default()));
        let url_safe = parse::<RangeRequest>(br#"{"key":"-_8"}"#).unwrap();
        assert_eq!(&url_safe.key[..], [0xfb, 0xff]);
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (text, told) in [
            ("{", "unexpected EOF"),
            (r#"{"key":"Zm9v""#, "unexpected EOF"),
            ("[]", "proto: syntax error (line 1:1): unexpected token ["),
            ("3", "proto: syntax error (line 1:1): unexpected token 3"),
            ("null", "proto: syntax error (line 1:1): unexpected token null"),
            ("x", "invalid character 'x' looking for beginning of value"),
        ] {
            assert_eq!(parse::<RangeRequest>(text.as_bytes()), Err(told.to_owned()), "{text}");
        }
        for text in [
            r#"{"limit":"x"}"#,
            r#"{"limit":1.5}"#,
            r#"{"key":"***"}"#,
            r#"{"serializable":"true"}"#,
            r#"{"key":"Zm9v","key":"Zm9v"}"#,
            r#"{"sort_order":"SIDEWAYS"}"#,
            r#"{"sort_order":17}"#,
            r#"{"key":1}"#,
            "{\"key\":\"\u{1}\"}",
            "{]",
        ] {
            assert!(parse::<RangeRequest>(text.as_bytes()).is_err(), "{text}");
        }
        assert!(parse::<RangeRequest>(b"{\"key\":\"\xff\"}").is_err());
    }

    #[test]
    fn nesting_is_bounded() {
        for text in
            ["[".repeat(100_000), r#"{"success":[{"request_txn":"#.repeat(100_000), "{\"a\":".repeat(100_000)]
        {
            assert!(parse::<TxnRequest>(text.as_bytes()).is_err());
        }
        let nested = |depth| {
            let text = r#"{"success":[{"request_txn":"#.repeat(depth) + "{}" + &"}]}".repeat(depth);
            to_message::<TxnRequest>(text.as_bytes())
        };
        let message = nested(40).unwrap();
        assert!(TxnRequest::decode(&message[..]).is_ok(), "what JSON may nest, a message may");
        assert!(nested(50).is_err());
    }
}
