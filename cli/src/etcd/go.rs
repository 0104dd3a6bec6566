//! Values as Go reads them: what etcd's flags, variables and files are made of.

/// Reads a boolean: `1`, `t`, `true` and their like.
pub(crate) fn boolean(text: &str) -> Result<bool, &'static str> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("parse error"),
    }
}

/// Reads a whole number from `min` to `max`: decimal, or `0x`, `0o`, `0b` and `0` before other bases, `_` between
/// digits.
pub(crate) fn number(text: &str, min: i128, max: i128) -> Result<i128, &'static str> {
    let (negative, rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    // Unsigned numbers take no sign at all.
    if rest.len() < text.len() && min >= 0 {
        return Err("parse error");
    }
    let lower = rest.to_ascii_lowercase();
    let (digits, base) = match lower.as_bytes() {
        [b'0', b'x', ..] => (&lower[2..], 16),
        [b'0', b'o', ..] => (&lower[2..], 8),
        [b'0', b'b', ..] => (&lower[2..], 2),
        [b'0', _, ..] => (&lower[1..], 8),
        _ => (lower.as_str(), 10),
    };
    // An underscore stands between digits, or between a prefix and a digit.
    let prefixed = digits.len() < lower.len();
    let stray = digits.ends_with('_') || digits.contains("__") || (digits.starts_with('_') && !prefixed);
    let plain: String = digits.chars().filter(|c| *c != '_').collect();
    if stray || plain.is_empty() || !plain.chars().all(|c| c.is_digit(base)) {
        return Err("parse error");
    }
    let value = i128::from_str_radix(&plain, base).map_err(|_| "value out of range")?;
    let value = if negative { -value } else { value };
    if (min..=max).contains(&value) { Ok(value) } else { Err("value out of range") }
}

/// Reads a duration: `5s`, `1h30m`, `.5s`, `-2m`; only 0 needs no unit. In nanoseconds, because it may be negative.
pub(crate) fn duration(text: &str) -> Result<i64, &'static str> {
    const WRONG: &str = "parse error";
    let (sign, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (-1, &text[1..]),
        Some(b'+') => (1, &text[1..]),
        _ => (1, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(WRONG);
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or(WRONG)?;
        let (whole, fraction) = rest[..end].split_once('.').unwrap_or((&rest[..end], ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(WRONG);
        }
        rest = &rest[end..];
        let unit_end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit: i128 = match &rest[..unit_end] {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return Err(WRONG),
        };
        rest = &rest[unit_end..];
        let digits = |digits: &str| if digits.is_empty() { Ok(0) } else { digits.parse::<i64>() };
        let whole = i128::from(digits(whole).map_err(|_| WRONG)?);
        // Beyond eighteen digits a fraction is less than the smallest unit.
        let fraction = &fraction[..fraction.len().min(18)];
        let scale = 10i128.pow(fraction.len() as u32);
        total += whole * unit + i128::from(digits(fraction).map_err(|_| WRONG)?) * unit / scale;
        if total > i128::from(i64::MAX) {
            return Err(WRONG);
        }
    }
    i64::try_from(sign * total).map_err(|_| WRONG)
}

/// Writes a string as Go's `%q` does.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans_are_those_of_go() {
        for (text, value) in [("1", true), ("True", true), ("t", true), ("F", false), ("0", false)] {
            assert_eq!(boolean(text), Ok(value), "{text}");
        }
        for text in ["", "yes", "on", "tRUE", "2"] {
            assert!(boolean(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_know_bases_and_bounds() {
        let unsigned = |text| number(text, 0, i128::from(u64::MAX));
        for (text, value) in
            [("128", 128), ("0", 0), ("0x10", 16), ("0X1f", 31), ("0b11", 3), ("0o17", 15), ("017", 15)]
        {
            assert_eq!(unsigned(text), Ok(value), "{text}");
        }
        assert_eq!(unsigned("1_000"), Ok(1000));
        assert_eq!(unsigned("0x_ff"), Ok(255));
        for text in ["", "-1", "+1", "1.5", "many", "_1", "1_", "1__0", "0x", "08", "0b2", " 1"] {
            assert_eq!(unsigned(text), Err("parse error"), "{text}");
        }
        assert_eq!(unsigned("18446744073709551616"), Err("value out of range"));
        assert_eq!(number("-5", i128::from(i64::MIN), i128::from(i64::MAX)), Ok(-5));
        assert_eq!(number("4294967296", 0, i128::from(u32::MAX)), Err("value out of range"));
    }

    #[test]
    fn durations_need_a_unit() {
        for (text, nanos) in [
            ("0", 0),
            ("5s", 5_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("1.5h", 5_400_000_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("100ms", 100_000_000),
            ("3µs", 3_000),
            ("3us7ns", 3_007),
            ("-2m", -120_000_000_000),
            ("0.1234567890123456789s", 123_456_789),
        ] {
            assert_eq!(duration(text), Ok(nanos), "{text}");
        }
        for text in ["", "5", "s", "1x", "1.2.3s", "-", ".s", "99999999999999999999h", "3000000h", "1s2"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn strings_are_quoted_as_go_quotes_them() {
        assert_eq!(quoted("a\"b\\c\n\u{1}é"), "\"a\\\"b\\\\c\\n\\x01é\"");
    }
}
