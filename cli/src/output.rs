//! How answers are shown: etcdctl's simple form, tables, and etcdctl's JSON.

pub(crate) mod json;

use crate::failure::Failure;
use clap::ValueEnum;
use coffer::KeyValue;
use coffer::request::{DeleteRangeResponse, PutResponse, RangeResponse, TxnOpResponse, TxnResponse};
use comfy_table::Table;
use comfy_table::presets::ASCII_FULL_CONDENSED;
use std::io::{self, BufWriter, Stdout, Write};

/// How answers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people and line by line for scripts
    Simple,
    /// A table, where there is one
    Table,
    /// One JSON document per answer, bytes in base64
    Json,
}

/// Writes answers to stdout. Call [`flush`](Self::flush) at the end, and wherever the reader should not have to wait.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) format: Format,
    hex: bool,
    out: BufWriter<Stdout>,
}

impl Output {
    pub(crate) fn new(format: Format, hex: bool) -> Self {
        Self { format, hex, out: BufWriter::new(io::stdout()) }
    }

    /// Refuses tables, for a command whose answer has none.
    pub(crate) fn no_table(&self, command: &str) -> Result<(), Failure> {
        match self.format {
            Format::Table => Err(Failure::usage(format_args!(
                "`{command}` has no table output; use `-w simple` or `-w json`"
            ))),
            Format::Simple | Format::Json => Ok(()),
        }
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    pub(crate) fn line(&mut self, line: impl std::fmt::Display) -> io::Result<()> {
        writeln!(self.out, "{line}")
    }

    pub(crate) fn json(&mut self, answer: &impl serde::Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, answer)?;
        self.out.write_all(b"\n")
    }

    pub(crate) fn table<const N: usize>(
        &mut self,
        header: [&str; N],
        rows: impl IntoIterator<Item = [String; N]>,
    ) -> io::Result<()> {
        let mut table = Table::new();
        table.load_style(ASCII_FULL_CONDENSED);
        table.set_header(header);
        for row in rows {
            table.add_row(row);
        }
        writeln!(self.out, "{table}")
    }

    /// Bytes as they are, or as `\xNN`, and the end of the line.
    pub(crate) fn bytes_line(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.hex {
            true => self.out.write_all(hex(bytes).as_bytes())?,
            false => self.out.write_all(bytes)?,
        }
        self.out.write_all(b"\n")
    }

    /// Bytes for a place where they can not stand as they are.
    pub(crate) fn text(&self, bytes: &[u8]) -> String {
        match (self.hex, std::str::from_utf8(bytes)) {
            (false, Ok(text)) if !text.contains(|c: char| c.is_control() && c != '\n' && c != '\t') => {
                text.to_owned()
            }
            _ => hex(bytes),
        }
    }

    /// A key and its value, a line each.
    pub(crate) fn pair(&mut self, kv: &KeyValue) -> io::Result<()> {
        self.bytes_line(&kv.key)?;
        self.bytes_line(&kv.value)
    }

    pub(crate) fn simple_range(&mut self, response: &RangeResponse) -> io::Result<()> {
        response.kvs.iter().try_for_each(|kv| self.pair(kv))
    }

    pub(crate) fn simple_put(&mut self, response: &PutResponse) -> io::Result<()> {
        self.line("OK")?;
        response.prev_kv.iter().try_for_each(|kv| self.pair(kv))
    }

    pub(crate) fn simple_delete(&mut self, response: &DeleteRangeResponse) -> io::Result<()> {
        self.line(response.deleted)?;
        response.prev_kvs.iter().try_for_each(|kv| self.pair(kv))
    }

    pub(crate) fn simple_txn(&mut self, response: &TxnResponse) -> io::Result<()> {
        self.line(if response.succeeded { "SUCCESS" } else { "FAILURE" })?;
        response.responses.iter().try_for_each(|response| {
            self.line("")?;
            match response {
                TxnOpResponse::Range(response) => self.simple_range(response),
                TxnOpResponse::Put(response) => self.simple_put(response),
                TxnOpResponse::DeleteRange(response) => self.simple_delete(response),
                TxnOpResponse::Txn(response) => self.simple_txn(response),
            }
        })
    }

    pub(crate) fn table_of_pairs(&mut self, kvs: &[KeyValue]) -> io::Result<()> {
        let rows: Vec<_> = kvs
            .iter()
            .map(|kv| {
                [
                    self.text(&kv.key),
                    self.text(&kv.value),
                    kv.create_revision.to_string(),
                    kv.mod_revision.to_string(),
                    kv.version.to_string(),
                    if kv.lease.is_none() { String::new() } else { kv.lease.to_string() },
                ]
            })
            .collect();
        self.table(["KEY", "VALUE", "CREATE REVISION", "MOD REVISION", "VERSION", "LEASE"], rows)
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 4), |mut hex, byte| {
        // Writing to a string does not fail.
        let _ = write!(hex, "\\x{byte:02x}");
        hex
    })
}

/// A number of bytes for people, as etcdctl writes it.
pub(crate) fn human_bytes(bytes: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    match unit > 0 && value < 9.95 {
        true => format!("{value:.1} {}", units[unit]),
        false => format!("{value:.0} {}", units[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_like_those_of_etcdctl() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (24_576, "25 kB"),
            (9_960, "10 kB"),
            (2_147_483_648, "2.1 GB"),
        ] {
            assert_eq!(human_bytes(bytes), text);
        }
    }

    #[test]
    fn bytes_that_would_break_a_table_are_shown_in_hex() {
        let output = Output::new(Format::Table, false);
        assert_eq!(output.text(b"plain"), "plain");
        assert_eq!(output.text(b"\xff\x1b"), "\\xff\\x1b");
        assert_eq!(output.text(b"\x1b[0m"), "\\x1b\\x5b\\x30\\x6d");
    }
}
