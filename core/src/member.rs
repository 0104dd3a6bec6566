//! What a cluster knows of a member beside its id. It stands in the membership, so that all members know it of each other.
//!
//! # Format
//! Nothing at all if there is nothing to say; else
//!
//! | Field | Encoding |
//! |---|---|
//! | format version | one byte, 1 |
//! | name | a byte string, UTF-8 |
//! | number of peer URLs, then each | LEB128, byte strings, UTF-8 |

use crate::codec::{Decoder, Encoder, Malformed};
use bytes::Bytes;

const FORMAT_VERSION: u8 = 1;

/// What a cluster knows of a member beside its id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberInfo {
    /// What people call it; may be empty.
    pub name: String,
    /// Where other members reach it, as they were given; none for a member that is alone and embedded.
    pub peer_urls: Vec<String>,
}

/// A member of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its id; not 0.
    pub id: u64,
    /// What else is known of it.
    pub info: MemberInfo,
}

impl MemberInfo {
    pub(crate) fn encode(&self) -> Bytes {
        if *self == Self::default() {
            return Bytes::new();
        }
        let mut out = Encoder::default();
        out.u8(FORMAT_VERSION);
        out.bytes(self.name.as_bytes());
        out.u64(self.peer_urls.len() as u64);
        self.peer_urls.iter().for_each(|url| out.bytes(url.as_bytes()));
        out.finish()
    }

    pub(crate) fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let mut input = Decoder::new(bytes);
        if input.u8()? != FORMAT_VERSION {
            return Err(Malformed("unknown format of what is known of a member"));
        }
        let name = text(&mut input)?;
        let peer_urls = (0..input.count(1)?).map(|_| text(&mut input)).collect::<Result<_, _>>()?;
        input.finish()?;
        Ok(Self { name, peer_urls })
    }
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
        for (name, peer_urls) in [
            ("", urls(&[])),
            ("one", urls(&[])),
            ("", urls(&["http://a:1"])),
            ("zwölf", urls(&["http://a:1", "coffers://b:2"])),
        ] {
            let info = MemberInfo { name: name.into(), peer_urls };
            let encoded = info.encode();
            assert_eq!(encoded.is_empty(), info == MemberInfo::default());
            assert_eq!(MemberInfo::decode(encoded.clone()), Ok(info));
            for end in 1..encoded.len() {
                assert!(MemberInfo::decode(encoded.slice(..end)).is_err(), "cut at {end}");
            }
        }
        for broken in [&[2, 0, 0][..], &[1, 1, 0xff, 0], &[1, 0, 0, 0]] {
            assert!(MemberInfo::decode(Bytes::copy_from_slice(broken)).is_err());
        }
    }
}
