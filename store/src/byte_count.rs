//! Numbers of bytes as people write them: `512`, `64KiB`, `8MiB`, `1GiB`, `1TiB`.

/// Reads a number of bytes above zero.
///
/// # Errors
/// What is wrong with the text, and how to write it.
pub fn parse(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no number of bytes: write it like 65536, 512KiB or 8MiB");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let shift = match &text[digits..] {
        "" | "B" => 0,
        "KiB" | "K" => 10,
        "MiB" | "M" => 20,
        "GiB" | "G" => 30,
        "TiB" | "T" => 40,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    number.checked_mul(1 << shift).filter(|bytes| *bytes > 0).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_binary() {
        let read =
            [("1", 1), ("7B", 7), ("64KiB", 64 << 10), ("8MiB", 8 << 20), ("2G", 2 << 30), ("1TiB", 1 << 40)];
        for (text, bytes) in read {
            assert_eq!(parse(text), Ok(bytes));
        }
        for text in ["", "0", "8 MiB", "-1", "1.5MiB", "KiB", "99999999999GiB", "8mib"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
