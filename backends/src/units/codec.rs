//! How records stand in boxes, and what the key directory says of them.
//!
//! A box is one piece (kind 2, sequence = its number) with at most about 4 KiB of records, or one larger record. Its
//! text is a number of records and then each of them:
//!
//! | content | encoding |
//! |---|---|
//! | main revision, less the one before (0 for the first) | signed |
//! | sub revision | number |
//! | flags: 1 = tombstone | 1 byte |
//! | main revision less create revision | signed |
//! | version, lease | signed |
//! | key, value | length and bytes |
//!
//! A directory block is one piece (kind 3, sequence = its number) of at most about 32 KiB: a number of lines and then
//! each of them, ascending by key, then by revision:
//!
//! | content | encoding |
//! |---|---|
//! | bytes of the key that equal the line before (0 for the first of a block) | number |
//! | the rest of the key | length and bytes |
//! | flags: 1 = tombstone | 1 byte |
//! | main revision less the first one of the unit | signed |
//! | sub revision | number |
//! | main revision less create revision | signed |
//! | version, lease | signed |
//! | bytes of the value | number |
//! | number of the box | number |
//! | hash of the record | 8 bytes |
//!
//! Numbers are LEB128, signed ones zigzag. The hash is XXH3-64 of the value, seeded with that of the key, seeded with
//! that of main, sub, create revision, version, lease (8 bytes each, little-endian) and the flags.

use crate::format::wire::{Malformed, Reader, put_bytes, put_number, put_signed};
use bytes::Bytes;
use coffer_core::record::Record;
use coffer_core::revision::{LeaseId, Revision};
use coffer_core::storage::DirectoryEntry;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

pub(crate) const BOX_PIECE: u8 = 2;
pub(crate) const DIRECTORY_PIECE: u8 = 3;
pub(crate) const FOOTER_PIECE: u8 = 4;

/// What the directory says of a record, beside its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) entry: DirectoryEntry,
    pub(crate) box_number: u32,
    pub(crate) hash: u64,
}

impl Line {
    pub(crate) fn of(record: &Record, box_number: u32) -> Self {
        let entry = DirectoryEntry {
            revision: record.revision,
            create_revision: record.create_revision,
            version: record.version,
            lease: record.lease,
            tombstone: record.tombstone,
            value_bytes: record.value.len() as u32,
        };
        Self { entry, box_number, hash: record_hash(record) }
    }
}

/// A hash of everything that a record says.
pub(crate) fn record_hash(record: &Record) -> u64 {
    let mut fixed = [0; 41];
    let numbers = [
        record.revision.main,
        i64::from(record.revision.sub),
        record.create_revision,
        record.version,
        record.lease.0,
    ];
    for (bytes, number) in fixed.chunks_exact_mut(8).zip(numbers) {
        bytes.copy_from_slice(&number.to_le_bytes());
    }
    fixed[40] = record.tombstone.into();
    xxh3_64_with_seed(&record.value, xxh3_64_with_seed(&record.key, xxh3_64(&fixed)))
}

/// Appends a record to the text of a box whose last main revision is `previous`.
pub(crate) fn put_record(out: &mut Vec<u8>, record: &Record, previous: i64) {
    let main = record.revision.main;
    put_signed(out, main.wrapping_sub(previous));
    put_number(out, record.revision.sub.into());
    out.push(record.tombstone.into());
    put_signed(out, main.wrapping_sub(record.create_revision));
    put_signed(out, record.version);
    put_signed(out, record.lease.0);
    put_bytes(out, &record.key);
    put_bytes(out, &record.value);
}

/// Reads the text of a box. Keys and values share `text`.
pub(crate) fn parse_box(text: &Bytes) -> Result<Vec<Record>, Malformed> {
    let mut reader = Reader::new(text);
    let count: usize = reader.small()?;
    let mut records = Vec::with_capacity(count.min(text.len() / 8));
    let mut main = 0i64;
    for _ in 0..count {
        main = main.wrapping_add(reader.signed()?);
        let revision = Revision { main, sub: reader.small()? };
        let tombstone = flag(&mut reader)?;
        let create_revision = main.wrapping_sub(reader.signed()?);
        let (version, lease) = (reader.signed()?, LeaseId(reader.signed()?));
        let (key, value) = (shared(&mut reader, text)?, shared(&mut reader, text)?);
        records.push(Record { revision, key, value, create_revision, version, lease, tombstone });
    }
    if reader.is_empty() { Ok(records) } else { Err(Malformed) }
}

fn shared(reader: &mut Reader<'_>, text: &Bytes) -> Result<Bytes, Malformed> {
    let bytes = reader.bytes()?.len();
    Ok(text.slice(reader.position() - bytes..reader.position()))
}

fn flag(reader: &mut Reader<'_>) -> Result<bool, Malformed> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Malformed),
    }
}

/// Appends a line to the text of a directory block. `previous` is the key before it in the block.
pub(crate) fn put_line(out: &mut Vec<u8>, previous: &[u8], key: &[u8], line: &Line, first_main: i64) {
    let shared = previous.iter().zip(key).take_while(|(a, b)| a == b).count();
    let entry = &line.entry;
    put_number(out, shared as u64);
    put_bytes(out, &key[shared..]);
    out.push(entry.tombstone.into());
    put_signed(out, entry.revision.main.wrapping_sub(first_main));
    put_number(out, entry.revision.sub.into());
    put_signed(out, entry.revision.main.wrapping_sub(entry.create_revision));
    put_signed(out, entry.version);
    put_signed(out, entry.lease.0);
    put_number(out, entry.value_bytes.into());
    put_number(out, line.box_number.into());
    out.extend_from_slice(&line.hash.to_le_bytes());
}

/// Takes the next line of a directory block; turns `key` from the one before into its own.
#[inline]
pub(crate) fn take_line(
    reader: &mut Reader<'_>,
    key: &mut Vec<u8>,
    first_main: i64,
) -> Result<Line, Malformed> {
    let shared: usize = reader.small()?;
    if shared > key.len() {
        return Err(Malformed);
    }
    key.truncate(shared);
    key.extend_from_slice(reader.bytes()?);
    let tombstone = flag(reader)?;
    let main = first_main.wrapping_add(reader.signed()?);
    let revision = Revision { main, sub: reader.small()? };
    let create_revision = main.wrapping_sub(reader.signed()?);
    let (version, lease) = (reader.signed()?, LeaseId(reader.signed()?));
    let value_bytes = reader.small()?;
    let entry = DirectoryEntry { revision, create_revision, version, lease, tombstone, value_bytes };
    Ok(Line { entry, box_number: reader.small()?, hash: reader.u64()? })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn any_record() -> impl Strategy<Value = Record> {
        let numbers = (any::<i64>(), any::<u32>(), any::<i64>(), any::<i64>(), any::<i64>(), any::<bool>());
        let bytes = (prop::collection::vec(any::<u8>(), 1..40), prop::collection::vec(any::<u8>(), 0..300));
        (numbers, bytes).prop_map(
            |((main, sub, create_revision, version, lease, tombstone), (key, value))| Record {
                revision: Revision { main, sub },
                key: key.into(),
                value: value.into(),
                create_revision,
                version,
                lease: LeaseId(lease),
                tombstone,
            },
        )
    }

    proptest! {
        #[test]
        fn boxes_go_there_and_back(records in prop::collection::vec(any_record(), 0..20)) {
            let mut text = Vec::new();
            put_number(&mut text, records.len() as u64);
            let mut previous = 0;
            for record in &records {
                put_record(&mut text, record, previous);
                previous = record.revision.main;
            }
            prop_assert_eq!(parse_box(&text.into()), Ok(records));
        }

        #[test]
        fn lines_go_there_and_back(records in prop::collection::vec(any_record(), 0..20), first_main: i64) {
            let mut text = Vec::new();
            let mut previous = Bytes::new();
            for record in &records {
                put_line(&mut text, &previous, &record.key, &Line::of(record, 3), first_main);
                previous = record.key.clone();
            }
            let mut reader = Reader::new(&text);
            let mut key = Vec::new();
            for record in &records {
                prop_assert_eq!(take_line(&mut reader, &mut key, first_main), Ok(Line::of(record, 3)));
                prop_assert_eq!(&key[..], &record.key[..]);
            }
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn any_box_is_read_or_refused(text: Vec<u8>) {
            let _ = parse_box(&text.into());
        }
    }
}
