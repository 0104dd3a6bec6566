//! What a cluster knows of a member beside its id. It stands in the membership, so that all members know it of each other.
//!
//! # Format
//! Nothing at all if there is nothing to say; else
//!
//! | Field | Encoding |
//! |---|---|
//! | format version | one byte, 2; 1 where what it adds is empty |
//! | name | a byte string, UTF-8 |
//! | number of peer URLs, then each | LEB128, byte strings, UTF-8 |
//! | in version 2: number of client URLs, then each | LEB128, byte strings, UTF-8 |
//! | and whether it is to get a vote once it has the log | one byte |

use crate::Error;
use crate::codec::{Decoder, Encoder, Malformed};
use bytes::Bytes;

const FORMAT_VERSION: u8 = 1;
const FORMAT_VERSION_MORE: u8 = 2;

/// What a cluster knows of a member beside its id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberInfo {
    /// What people call it; may be empty.
    pub name: String,
    /// Where other members reach it, as they were given; none for a member that is alone and embedded.
    pub peer_urls: Vec<String>,
    /// Where clients reach it, as it said itself when it started; none before.
    pub client_urls: Vec<String>,
    /// Whether it was added to vote: it gets its vote once it has the log.
    pub wants_vote: bool,
}

/// A member of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its id; not 0.
    pub id: u64,
    /// What else is known of it.
    pub info: MemberInfo,
}

impl Member {
    /// An id for a new member: random, and not 0.
    ///
    /// # Errors
    /// The system's generator failed.
    pub fn fresh_id() -> Result<u64, Error> {
        let id = getrandom::u64()
            .map_err(|error| Error::Fatal(format!("the system's random generator: {error}")))?;
        Ok((id >> 1).max(1))
    }
}

impl MemberInfo {
    /// As it stands in the membership.
    pub fn encode(&self) -> Bytes {
        if *self == Self::default() {
            return Bytes::new();
        }
        let mut out = Encoder::default();
        let tells_more = !self.client_urls.is_empty() || self.wants_vote;
        out.u8(if tells_more { FORMAT_VERSION_MORE } else { FORMAT_VERSION });
        out.bytes(self.name.as_bytes());
        put_texts(&mut out, &self.peer_urls);
        if tells_more {
            put_texts(&mut out, &self.client_urls);
            out.bool(self.wants_vote);
        }
        out.finish()
    }

    /// Out of the membership.
    ///
    /// # Errors
    /// It is not what [`encode`](Self::encode) makes.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let mut input = Decoder::new(bytes);
        let version = input.u8()?;
        if ![FORMAT_VERSION, FORMAT_VERSION_MORE].contains(&version) {
            return Err(Malformed("unknown format of what is known of a member"));
        }
        let (name, peer_urls) = (text(&mut input)?, texts(&mut input)?);
        let (client_urls, wants_vote) = match version {
            FORMAT_VERSION => (Vec::new(), false),
            _ => (texts(&mut input)?, input.bool()?),
        };
        input.finish()?;
        Ok(Self { name, peer_urls, client_urls, wants_vote })
    }
}

fn put_texts(out: &mut Encoder, texts: &[String]) {
    out.u64(texts.len() as u64);
    texts.iter().for_each(|text| out.bytes(text.as_bytes()));
}

fn texts(input: &mut Decoder) -> Result<Vec<String>, Malformed> {
    (0..input.count(1)?).map(|_| text(input)).collect()
}

fn text(input: &mut Decoder) -> Result<String, Malformed> {
    String::from_utf8(input.bytes()?.into()).map_err(|_| Malformed("a name or URL of a member is no text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_survives_its_encoding() {
        let urls = |urls: &[&str]| urls.iter().map(|url| String::from(*url)).collect();
        for (name, peer_urls, client_urls) in [
            ("", urls(&[]), urls(&[])),
            ("one", urls(&[]), urls(&[])),
            ("", urls(&["http://a:1"]), urls(&[])),
            ("zwölf", urls(&["http://a:1", "coffers://b:2"]), urls(&[])),
            ("zwölf", urls(&["http://a:1"]), urls(&["http://a:2", "coffer://a:3"])),
            ("", urls(&[]), urls(&["http://a:2"])),
        ] {
            let wants_vote = name == "one";
            let info = MemberInfo { name: name.into(), peer_urls, client_urls, wants_vote };
            let encoded = info.encode();
            assert_eq!(encoded.is_empty(), info == MemberInfo::default());
            assert_eq!(MemberInfo::decode(encoded.clone()), Ok(info));
            for end in 1..encoded.len() {
                assert!(MemberInfo::decode(encoded.slice(..end)).is_err(), "cut at {end}");
            }
        }
        for broken in [&[3, 0, 0][..], &[2, 0, 0, 0, 2], &[1, 1, 0xff, 0], &[1, 0, 0, 0]] {
            assert!(MemberInfo::decode(Bytes::copy_from_slice(broken)).is_err());
        }
    }
}
