//! What a slot stores in the clear so that its source finds the key again.
//!
//! | kind | content |
//! |---|---|
//! | passphrase | salt (16), then u32: memory in KiB, passes, lanes; argon2id, version 0x13 |
//! | key file | nothing |
//! | command | program (bytes, UTF-8), key id (bytes, UTF-8), wrapped key (bytes) |
//! | Kubernetes KMS | socket (bytes, UTF-8), key id (bytes, UTF-8), wrapped key (bytes), number of annotations, for each, ascending: name (bytes, UTF-8), value (bytes) |

use super::passphrase::Argon2Cost;
use crate::format::wire::{Malformed, Reader, put_bytes, put_number};
use crate::seal::slots::SlotKind;
use std::collections::BTreeMap;

/// What a slot stores in the clear so that its source finds the key again. None of it is secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Parameters {
    /// Of a passphrase.
    Passphrase {
        /// Random, for this slot.
        salt: [u8; 16],
        /// How expensive a guess is.
        cost: Argon2Cost,
    },
    /// Of a key file: there are none.
    KeyFile,
    /// Of a command.
    Command {
        /// The program that wrapped the key, for people; what is run comes from the configuration.
        program: String,
        /// The program's name for the key that it wrapped with.
        key_id: String,
        /// The key-encryption key as the program wrapped it.
        wrapped: Vec<u8>,
    },
    /// Of a Kubernetes KMS v2 plugin.
    Kms {
        /// The socket of the plugin that wrapped the key, for people; what is connected to comes from the configuration.
        socket: String,
        /// The plugin's name for the key that it wrapped with.
        key_id: String,
        /// The key-encryption key as the plugin wrapped it.
        wrapped: Vec<u8>,
        /// What the plugin wants to be given back with it.
        annotations: BTreeMap<String, Vec<u8>>,
    },
}

impl Parameters {
    pub(crate) fn kind(&self) -> SlotKind {
        match self {
            Self::Passphrase { .. } => SlotKind::Passphrase,
            Self::KeyFile => SlotKind::KeyFile,
            Self::Command { .. } => SlotKind::Command,
            Self::Kms { .. } => SlotKind::Kms,
        }
    }

    /// The id of the key that a command or a plugin wrapped with.
    pub fn key_id(&self) -> Option<&str> {
        match self {
            Self::Passphrase { .. } | Self::KeyFile => None,
            Self::Command { key_id, .. } | Self::Kms { key_id, .. } => Some(key_id),
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Passphrase { salt, cost } => {
                out.extend(salt);
                out.extend(cost.memory_kib.to_le_bytes());
                out.extend(cost.passes.to_le_bytes());
                out.extend(cost.lanes.to_le_bytes());
            }
            Self::KeyFile => {}
            Self::Command { program, key_id, wrapped } => {
                put_bytes(&mut out, program.as_bytes());
                put_bytes(&mut out, key_id.as_bytes());
                put_bytes(&mut out, wrapped);
            }
            Self::Kms { socket, key_id, wrapped, annotations } => {
                put_bytes(&mut out, socket.as_bytes());
                put_bytes(&mut out, key_id.as_bytes());
                put_bytes(&mut out, wrapped);
                put_number(&mut out, annotations.len() as u64);
                for (name, value) in annotations {
                    put_bytes(&mut out, name.as_bytes());
                    put_bytes(&mut out, value);
                }
            }
        }
        out
    }

    pub(crate) fn decode(kind: SlotKind, bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let decoded = match kind {
            SlotKind::Passphrase => Self::Passphrase {
                salt: reader.array()?,
                cost: Argon2Cost { memory_kib: reader.u32()?, passes: reader.u32()?, lanes: reader.u32()? },
            },
            SlotKind::KeyFile => Self::KeyFile,
            SlotKind::Command => Self::Command {
                program: text(&mut reader)?,
                key_id: text(&mut reader)?,
                wrapped: reader.bytes()?.to_vec(),
            },
            SlotKind::Kms => {
                let (socket, key_id) = (text(&mut reader)?, text(&mut reader)?);
                let wrapped = reader.bytes()?.to_vec();
                let count = reader.number()?;
                let annotations = (0..count)
                    .map(|_| Ok((text(&mut reader)?, reader.bytes()?.to_vec())))
                    .collect::<Result<_, Malformed>>()?;
                Self::Kms { socket, key_id, wrapped, annotations }
            }
        };
        if reader.is_empty() { Ok(decoded) } else { Err(Malformed) }
    }
}

fn text(reader: &mut Reader<'_>) -> Result<String, Malformed> {
    Ok(std::str::from_utf8(reader.bytes()?).map_err(|_| Malformed)?.to_owned())
}
