//! Makes a snapshot file.

use super::{END_PIECE, HEAD_PIECE, LEASES_PIECE, RECORDS_PIECE};
use crate::format::header::{FileKind, HEADER_BYTES, seal_header};
use crate::format::piece::append_piece;
use crate::format::wire::{put_number, put_signed};
use crate::seal::{Nonces, Place, Sealer, Sealing};
use crate::units::codec::put_record;
use bytes::Bytes;
use coffer_core::record::Record;
use coffer_core::storage::{SnapshotHead, SnapshotLease, SnapshotWriter, StorageError};

/// Bytes of records after which a piece ends.
const PIECE_BYTES: usize = 1 << 20;
/// Leases of one piece.
const PIECE_LEASES: usize = 16 * 1024;

/// A snapshot file under way.
#[derive(Debug)]
pub(crate) struct Writer {
    sealer: Sealer,
    nonces: Nonces,
    /// The key slots of the store, as their file has them.
    slots: Vec<u8>,
    offset: u64,
    pieces: u64,
    leases: u64,
    records: u64,
}

impl Writer {
    /// A file that the keys of `sealing` seal.
    ///
    /// # Errors
    /// The slots cannot be read; the system's generator failed.
    pub(crate) fn new(sealing: &Sealing) -> Result<Self, StorageError> {
        let (sealer, slots) = sealing.sealer_for_snapshot(FileKind::Snapshot as u8)?;
        let nonces = sealing.nonces();
        Ok(Self { sealer, nonces, slots, offset: 0, pieces: 0, leases: 0, records: 0 })
    }

    fn append(
        &mut self,
        out: &mut Vec<u8>,
        kind: u8,
        fill: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), StorageError> {
        let place = Place { kind, offset: self.offset, sequence: self.pieces };
        let start = out.len();
        append_piece(out, &self.sealer, &mut self.nonces, place, fill)?;
        self.offset += (out.len() - start) as u64;
        self.pieces += 1;
        Ok(())
    }
}

impl SnapshotWriter for Writer {
    fn begin(&mut self, head: &SnapshotHead) -> Result<Bytes, StorageError> {
        let nonce = self.nonces.draw()?;
        let fields = (self.slots.len() as u32).to_le_bytes();
        let (header, _) = seal_header(&self.sealer, 0, nonce, &fields);
        let mut out = header.to_vec();
        out.append(&mut self.slots);
        self.offset = out.len() as u64;
        debug_assert!(self.offset >= HEADER_BYTES as u64);
        self.append(&mut out, HEAD_PIECE, |text| {
            text.extend_from_slice(&head.cluster_id.to_le_bytes());
            text.extend_from_slice(&head.member_id.to_le_bytes());
            put_signed(text, head.revision);
            put_signed(text, head.compact_revision);
            put_number(text, head.applied.term);
            put_number(text, head.applied.index);
            put_number(text, head.created_s);
        })?;
        Ok(out.into())
    }

    fn leases(&mut self, leases: &[SnapshotLease]) -> Result<Bytes, StorageError> {
        let mut out = Vec::new();
        for leases in leases.chunks(PIECE_LEASES) {
            self.leases += leases.len() as u64;
            self.append(&mut out, LEASES_PIECE, |text| {
                put_number(text, leases.len() as u64);
                for lease in leases {
                    put_signed(text, lease.id.0);
                    put_signed(text, lease.ttl_s);
                    put_signed(text, lease.remaining_s);
                }
            })?;
        }
        Ok(out.into())
    }

    fn records(&mut self, mut records: &[Record]) -> Result<Bytes, StorageError> {
        let mut out = Vec::new();
        while !records.is_empty() {
            let mut bytes = 0;
            let fits = records.iter().take_while(|record| {
                let fits = bytes < PIECE_BYTES;
                bytes += record.key.len() + record.value.len();
                fits
            });
            let (piece, rest) = records.split_at(fits.count());
            self.records += piece.len() as u64;
            self.append(&mut out, RECORDS_PIECE, |text| {
                put_number(text, piece.len() as u64);
                let mut previous = 0;
                for record in piece {
                    put_record(text, record, previous);
                    previous = record.revision.main;
                }
            })?;
            records = rest;
        }
        Ok(out.into())
    }

    fn end(&mut self) -> Result<Bytes, StorageError> {
        let (leases, records, pieces) = (self.leases, self.records, self.pieces);
        let mut out = Vec::new();
        self.append(&mut out, END_PIECE, |text| {
            put_number(text, leases);
            put_number(text, records);
            put_number(text, pieces);
        })?;
        Ok(out.into())
    }
}
