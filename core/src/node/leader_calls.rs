//! What members ask of each other beside proposals and reads: of the leader the life of leases, which only its clock knows;
//! of each one the hash of its state.
//!
//! # Format, version 1
//! Primitives are those of [`crate::codec`].
//!
//! ```text
//! question := version:u8 = 1  kind:u8  body
//! body     := lease:i64                 kind 1, keep alive, and 2, time to live
//!           | start:u64 index:u64       kind 3, hash at an entry
//! answer   := 0:u8 value:i64 | 1:u8 error:bytes
//!             value: seconds, or the hash
//! ```
//!
//! # Invariants
//! - A lease is renewed by a leader that a quorum confirmed after the question came.
//! - A question may be asked again: what it asks for twice is as good as once.

use super::Node;
use super::equality::{Equality, Mark};
use super::leases::LeaseKeeper;
use crate::codec::{Decoder, Encoder, Malformed};
use crate::consensus::{Answerer, Consensus};
use crate::error::Error;
use crate::planted::{Bug, planted};
use crate::revision::LeaseId;
use bytes::Bytes;
use std::sync::{Arc, Weak};

const VERSION: u8 = 1;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// Renew the lease; answered with its TTL in seconds, 0 if there is no such lease.
    KeepAlive(LeaseId),
    /// How many seconds the lease has left; -1 if there is no such lease.
    TimeToLive(LeaseId),
    /// The hash of what was applied up to an entry; -1 if it is not known. Any member answers.
    HashAt(Mark),
}

impl Question {
    pub(super) fn encode(self) -> Bytes {
        let mut out = Encoder::default();
        out.u8(VERSION);
        match self {
            Self::KeepAlive(lease) => {
                out.u8(1);
                out.i64(lease.0);
            }
            Self::TimeToLive(lease) => {
                out.u8(2);
                out.i64(lease.0);
            }
            Self::HashAt(Mark { start, index }) => {
                out.u8(3);
                out.u64(start);
                out.u64(index);
            }
        }
        out.finish()
    }

    fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        let mut input = Decoder::new(bytes);
        if input.u8()? != VERSION {
            return Err(Malformed("a question of an unknown version: this member is to be upgraded first"));
        }
        let question = match input.u8()? {
            1 => Self::KeepAlive(LeaseId(input.i64()?)),
            2 => Self::TimeToLive(LeaseId(input.i64()?)),
            3 => Self::HashAt(Mark { start: input.u64()?, index: input.u64()? }),
            _ => return Err(Malformed("an unknown question: this member is to be upgraded first")),
        };
        input.finish()?;
        Ok(question)
    }
}

fn encode_answer(answer: Result<i64, Error>) -> Bytes {
    let mut out = Encoder::default();
    match answer {
        Ok(seconds) => {
            out.u8(0);
            out.i64(seconds);
        }
        Err(error) => {
            out.u8(1);
            out.bytes(error.to_string().as_bytes());
        }
    }
    out.finish()
}

pub(super) fn decode_answer(bytes: Bytes) -> Result<Result<i64, Error>, Malformed> {
    let mut input = Decoder::new(bytes);
    let answer = match input.bool()? {
        false => Ok(input.i64()?),
        true => {
            let text = String::from_utf8(input.bytes()?.into())
                .map_err(|_| Malformed("an error that is no text"))?;
            Err(Error::Unavailable(text))
        }
    };
    input.finish()?;
    Ok(answer)
}

/// Answers other members.
pub(super) fn answerer(
    leases: Arc<LeaseKeeper>,
    equality: Arc<Equality>,
    consensus: Weak<Consensus>,
) -> Answerer {
    Arc::new(move |question| {
        let (leases, equality, consensus) = (leases.clone(), equality.clone(), consensus.clone());
        Box::pin(async move {
            let answer = match Question::decode(question) {
                Ok(Question::HashAt(mark)) => Ok(equality.hash_at(mark)),
                Ok(Question::KeepAlive(_) | Question::TimeToLive(_)) if equality.check().is_err() => {
                    Err(Error::NotLeader)
                }
                Ok(question) => answer(question, &leases, &*consensus.upgrade()?).await,
                Err(malformed) => Err(Error::InvalidArgument(malformed.to_string())),
            };
            match answer {
                // Somebody else may know.
                Err(Error::NotLeader | Error::NoLeader | Error::Stopped) => None,
                answer => Some(encode_answer(answer)),
            }
        })
    })
}

/// The answer of this member, if it leads and a quorum says so.
async fn answer(question: Question, leases: &LeaseKeeper, consensus: &Consensus) -> Result<i64, Error> {
    let Some(term) = leases.term() else { return Err(Error::NotLeader) };
    // The barrier confirms the leader before the clock moves, and again nothing later is needed: the renewal is an act of
    // this clock alone.
    let unconfirmed = planted(Bug::LeaseRenewedUnconfirmed);
    if !unconfirmed {
        consensus.read_barrier().await?;
    }
    if !consensus.leads(term) && !unconfirmed {
        // Another leader was confirmed, and this clock has not heard of it.
        return Err(Error::NotLeader);
    }
    match question {
        Question::KeepAlive(lease) => leases.renew(lease).await,
        Question::TimeToLive(lease) => Ok(leases.remaining_s(lease)?.unwrap_or(-1)),
        // Not for the leader alone, and answered before.
        Question::HashAt(_) => Err(Error::NotLeader),
    }
}

impl Node {
    /// The answer of the leader, whoever it is.
    ///
    /// # Errors
    /// [`Error::NoLeader`]; why the leader could not.
    pub(super) async fn ask_leader(&self, question: Question) -> Result<i64, Error> {
        let inner = &self.inner;
        inner.check()?;
        match answer(question, &inner.leases, &inner.consensus).await {
            Err(Error::NotLeader) => {}
            answer => return answer,
        }
        let answer = inner.consensus.ask_leader(question.encode()).await?;
        decode_answer(answer).unwrap_or_else(|malformed| {
            Err(Error::Unavailable(format!("the leader's answer cannot be read: {malformed}")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_and_answers_survive_their_encoding() {
        let hash_at = Question::HashAt(Mark { start: 300, index: u64::MAX });
        for question in [Question::KeepAlive(LeaseId(7)), Question::TimeToLive(LeaseId(i64::MIN)), hash_at] {
            let encoded = question.encode();
            assert_eq!(Question::decode(encoded.clone()), Ok(question));
            (0..encoded.len())
                .for_each(|end| assert!(Question::decode(encoded.slice(..end)).is_err(), "{end}"));
        }
        assert_eq!(decode_answer(encode_answer(Ok(-1))), Ok(Ok(-1)));
        let told = decode_answer(encode_answer(Err(Error::TooManyRequests))).unwrap_or(Ok(0));
        assert_eq!(told, Err(Error::Unavailable(Error::TooManyRequests.to_string())));
        assert!(decode_answer(Bytes::from_static(&[2])).is_err());
    }
}
