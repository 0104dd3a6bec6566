//! The language of `txn`: etcdctl's lines of compares and requests.

use super::kv;
use crate::args::kv::{DelOptions, GetOptions, PutOptions};
use crate::args::lease::lease_id;
use crate::quote::{unquote, words};
use clap::Parser;
use clap::error::ErrorKind;
use coffer::KeyRange;
use coffer::request::{Compare, CompareResult, CompareTarget, TxnOp};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// Reads `target("key") operator "value"`.
pub(crate) fn parse_compare(line: &str) -> Result<Compare, String> {
    let malformed = |reason: &str| format!("malformed comparison: {line} ({reason})");
    let (target, rest) =
        line.split_once('(').ok_or_else(|| malformed("write it like mod(\"key\") > \"0\""))?;
    let (key, rest) = unquote(rest.trim_start()).map_err(|reason| malformed(&reason))?;
    let rest = rest.trim_start().strip_prefix(')').ok_or_else(|| malformed("a ) is missing"))?;
    let (result, rest) =
        operator(rest.trim_start()).ok_or_else(|| malformed("the operator is none of = != < >"))?;
    let given = given(rest.trim()).map_err(|reason| malformed(&reason))?;
    let number = || {
        let text = std::str::from_utf8(&given).map_err(|_| malformed("a number is expected"))?;
        text.trim().parse::<i64>().map_err(|_| malformed(&format!("`{text}` is no number")))
    };
    let target = match target.trim() {
        "ver" | "version" => CompareTarget::Version(number()?),
        "c" | "create" => CompareTarget::Create(number()?),
        "m" | "mod" => CompareTarget::Mod(number()?),
        "val" | "value" => CompareTarget::Value(given.into()),
        "lease" => {
            let text = String::from_utf8_lossy(&given);
            CompareTarget::Lease(lease_id(text.trim()).map_err(|reason| malformed(&reason))?)
        }
        target => return Err(malformed(&format!("unknown target {target}"))),
    };
    Ok(Compare { range: KeyRange::single(key), result, target })
}

fn operator(text: &str) -> Option<(CompareResult, &str)> {
    [
        ("!=", CompareResult::NotEqual),
        ("=", CompareResult::Equal),
        ("<", CompareResult::Less),
        (">", CompareResult::Greater),
    ]
    .into_iter()
    .find_map(|(sign, result)| Some((result, text.strip_prefix(sign)?)))
}

/// The right side: quoted, or a bare number.
fn given(text: &str) -> Result<Vec<u8>, String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-') {
        return Ok(text.as_bytes().to_vec());
    }
    match unquote(text)? {
        (given, "") => Ok(given),
        (_, rest) => Err(format!("`{rest}` follows the value")),
    }
}

/// `get`, `put` and `del` as commands read them.
#[derive(Debug, Parser)]
#[command(no_binary_name = true, disable_help_subcommand = true, disable_help_flag = true)]
enum Request {
    Get(GetOptions),
    Put(PutOptions),
    Del(DelOptions),
}

/// Reads `put key value`, `get key` or `del key`, with options.
pub(crate) fn parse_request(line: &str) -> Result<TxnOp, String> {
    let invalid = |reason: &str| format!("invalid txn request: {line} ({reason})");
    let words = words(line).map_err(|reason| invalid(&reason))?;
    let words = words.into_iter().map(OsString::from_vec);
    let request = Request::try_parse_from(words).map_err(|error| invalid(&first_line(&error)))?;
    match request {
        Request::Get(options) => Ok(TxnOp::Range(kv::range_request(&options))),
        Request::Del(options) => Ok(TxnOp::DeleteRange(kv::delete_request(options))),
        Request::Put(mut options) => {
            if options.file.is_some() {
                return Err(invalid("--file can not be used here"));
            }
            let value = match options.value.take() {
                Some(value) => value.into_vec(),
                None if options.ignore_value => Vec::new(),
                None => return Err(invalid("the value is missing")),
            };
            Ok(TxnOp::Put(kv::put_request(options, value)))
        }
    }
}

fn first_line(error: &clap::Error) -> String {
    if error.kind() == ErrorKind::InvalidSubcommand {
        return "it is none of get, put, del".into();
    }
    let text = error.to_string();
    let line = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let line: Vec<_> =
        line.take_while(|line| !line.starts_with("Usage") && !line.starts_with("For more")).collect();
    line.join(" ").trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use coffer::LeaseId;
    use coffer::request::{DeleteRangeRequest, PutRequest, RangeRequest};

    #[test]
    fn compares_are_read() {
        for (line, key, result, target) in [
            (r#"mod("key1") > "0""#, &b"key1"[..], CompareResult::Greater, CompareTarget::Mod(0)),
            (r#"m("k")>"7""#, b"k", CompareResult::Greater, CompareTarget::Mod(7)),
            (r#"ver("k") = "1""#, b"k", CompareResult::Equal, CompareTarget::Version(1)),
            (r#"version("k") != 12"#, b"k", CompareResult::NotEqual, CompareTarget::Version(12)),
            (r#"c("k") < "3""#, b"k", CompareResult::Less, CompareTarget::Create(3)),
            (r#"create("k") = -1"#, b"k", CompareResult::Equal, CompareTarget::Create(-1)),
            (
                r#"val("a \"b\"") = "x\ny\xff""#,
                b"a \"b\"",
                CompareResult::Equal,
                CompareTarget::Value(b"x\ny\xff"[..].into()),
            ),
            (
                r#"value("k") > `raw\n`"#,
                b"k",
                CompareResult::Greater,
                CompareTarget::Value(b"raw\\n"[..].into()),
            ),
            (
                r#"lease("k") = "694da1fdf2468c18""#,
                b"k",
                CompareResult::Equal,
                CompareTarget::Lease(LeaseId(0x694d_a1fd_f246_8c18)),
            ),
            (r#"lease("k") = "0""#, b"k", CompareResult::Equal, CompareTarget::Lease(LeaseId::NONE)),
        ] {
            let expected = Compare { range: KeyRange::single(key.to_vec()), result, target };
            assert_eq!(parse_compare(line), Ok(expected), "{line}");
        }
    }

    #[test]
    fn malformed_compares_say_what_is_wrong() {
        for (line, reason) in [
            ("mod", "write it like"),
            (r#"modd("k") = "1""#, "unknown target modd"),
            (r#"mod(k) = "1""#, "a \" is missing"),
            (r#"mod("k" = "1""#, "a ) is missing"),
            (r#"mod("k") == "1""#, "a \" is missing"),
            (r#"mod("k") ~ "1""#, "the operator is none of"),
            (r#"mod("k") = "abc""#, "`abc` is no number"),
            (r#"mod("k") = "1" 2"#, "follows the value"),
            (r#"val("k") = open"#, "a \" is missing"),
            (r#"lease("k") = "zz""#, "hexadecimal"),
        ] {
            let error = parse_compare(line).expect_err(line);
            assert!(error.contains(reason) && error.starts_with("malformed comparison"), "{error}");
        }
    }

    #[test]
    fn requests_are_read() {
        let put = |key: &'static [u8], value: &'static [u8]| PutRequest {
            key: key.into(),
            value: value.into(),
            ..PutRequest::default()
        };
        assert_eq!(parse_request(r#"put b "x y""#), Ok(TxnOp::Put(put(b"b", b"x y"))));
        assert_eq!(parse_request(r#"put "q\"1" ''"#), Ok(TxnOp::Put(put(b"q\"1", b""))));
        assert_eq!(parse_request("put k -5"), Ok(TxnOp::Put(put(b"k", b"-5"))));
        assert_eq!(
            parse_request("put k v --lease=1f --prev-kv"),
            Ok(TxnOp::Put(PutRequest { lease: LeaseId(31), prev_kv: true, ..put(b"k", b"v") }))
        );
        assert_eq!(
            parse_request("put k --ignore-value"),
            Ok(TxnOp::Put(PutRequest { ignore_value: true, ..put(b"k", b"") }))
        );
        let range = RangeRequest { limit: 3, keys_only: true, ..RangeRequest::new(KeyRange::prefix("a")) };
        assert_eq!(parse_request("get a --prefix --limit 3 --keys-only"), Ok(TxnOp::Range(range)));
        assert_eq!(
            parse_request("get \"\" --prefix"),
            Ok(TxnOp::Range(RangeRequest::new(KeyRange::from("\0"))))
        );
        let del = DeleteRangeRequest { range: KeyRange::between("a", "c"), prev_kv: true };
        assert_eq!(parse_request("del a c --prev-kv"), Ok(TxnOp::DeleteRange(del)));
    }

    #[test]
    fn malformed_requests_say_what_is_wrong() {
        for (line, reason) in [
            ("putt a b", "none of get, put, del"),
            ("put onlykey", "the value is missing"),
            ("put k --file x", "--file can not be used"),
            ("put \"k v", "is not closed"),
            ("get a b --prefix", "cannot be used with"),
            ("get a --nonsense", "--nonsense"),
            ("del", "required"),
            ("get --help", "--help"),
        ] {
            let error = parse_request(line).expect_err(line);
            assert!(error.contains(reason) && error.starts_with("invalid txn request"), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
