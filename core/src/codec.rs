//! Primitive encoding shared by log entries and checkpoints: little-endian integers, LEB128 lengths, byte strings.
//!
//! Decoding never panics, never allocates more than the input holds, and shares the input's buffer.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use thiserror::Error;

/// The input is not what an encoder wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("malformed input: {0}")]
pub struct Malformed(pub &'static str);

/// Appends primitives to a buffer.
#[derive(Debug, Default)]
pub struct Encoder {
    buffer: BytesMut,
}

impl Encoder {
    /// An empty encoder with room for `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { buffer: BytesMut::with_capacity(capacity) }
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) {
        self.buffer.put_u8(value);
    }

    /// A boolean as one byte.
    pub fn bool(&mut self, value: bool) {
        self.buffer.put_u8(value.into());
    }

    /// An unsigned integer, LEB128: 1 to 10 bytes.
    pub fn u64(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.buffer.put_u8((value as u8) | 0x80);
            value >>= 7;
        }
        self.buffer.put_u8(value as u8);
    }

    /// A signed integer, zigzag LEB128.
    pub fn i64(&mut self, value: i64) {
        self.u64(((value << 1) ^ (value >> 63)) as u64);
    }

    /// A length and that many bytes.
    pub fn bytes(&mut self, value: &[u8]) {
        self.u64(value.len() as u64);
        self.buffer.put_slice(value);
    }

    /// Bytes written so far.
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The encoded bytes.
    pub fn finish(self) -> Bytes {
        self.buffer.freeze()
    }
}

/// Takes primitives from the front of a buffer. Byte strings share the buffer.
#[derive(Clone, Debug)]
pub struct Decoder {
    input: Bytes,
}

impl Decoder {
    /// Reads from `input`.
    pub fn new(input: Bytes) -> Self {
        Self { input }
    }

    /// One byte.
    ///
    /// # Errors
    /// The input has ended.
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        if self.input.is_empty() {
            return Err(Malformed("unexpected end"));
        }
        Ok(self.input.get_u8())
    }

    /// A boolean.
    ///
    /// # Errors
    /// The input has ended or the byte is neither 0 nor 1.
    pub fn bool(&mut self) -> Result<bool, Malformed> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed("boolean is neither 0 nor 1")),
        }
    }

    /// An unsigned integer.
    ///
    /// # Errors
    /// The input has ended or the integer exceeds 64 bits.
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = self.u8()?;
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed("integer exceeds 64 bits"))
    }

    /// A signed integer.
    ///
    /// # Errors
    /// As [`u64`](Self::u64).
    pub fn i64(&mut self) -> Result<i64, Malformed> {
        let value = self.u64()?;
        Ok(((value >> 1) as i64) ^ -((value & 1) as i64))
    }

    /// A byte string that shares the input's buffer.
    ///
    /// # Errors
    /// The input is shorter than the length says.
    pub fn bytes(&mut self) -> Result<Bytes, Malformed> {
        let length = self.u64()?;
        if length > self.input.len() as u64 {
            return Err(Malformed("byte string exceeds the input"));
        }
        Ok(self.input.split_to(length as usize))
    }

    /// A count of items that each take at least `item_bytes_min` bytes: bounds what may be allocated for them.
    ///
    /// # Errors
    /// The input cannot hold that many.
    pub fn count(&mut self, item_bytes_min: usize) -> Result<usize, Malformed> {
        let count = self.u64()?;
        if count > (self.input.len() / item_bytes_min.max(1)) as u64 {
            return Err(Malformed("count exceeds the input"));
        }
        Ok(count as usize)
    }

    /// Whether everything was read.
    pub fn is_empty(&self) -> bool {
        self.input.is_empty()
    }

    /// Checks that everything was read.
    ///
    /// # Errors
    /// Bytes are left over.
    pub fn finish(self) -> Result<(), Malformed> {
        if self.input.is_empty() { Ok(()) } else { Err(Malformed("bytes left over")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn integers_and_strings_round_trip(a: u64, b: i64, c: Vec<u8>, d: bool) {
            let mut encoder = Encoder::default();
            encoder.u64(a);
            encoder.i64(b);
            encoder.bytes(&c);
            encoder.bool(d);
            let mut decoder = Decoder::new(encoder.finish());
            prop_assert_eq!(decoder.u64(), Ok(a));
            prop_assert_eq!(decoder.i64(), Ok(b));
            prop_assert_eq!(decoder.bytes(), Ok(Bytes::from(c)));
            prop_assert_eq!(decoder.bool(), Ok(d));
            prop_assert_eq!(decoder.finish(), Ok(()));
        }

        #[test]
        fn any_input_is_read_or_refused(input: Vec<u8>) {
            let mut decoder = Decoder::new(input.into());
            while decoder.bytes().is_ok() && !decoder.is_empty() {}
        }
    }
}
