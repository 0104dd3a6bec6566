//! What a member asks of the leader beside proposals and reads: the life of leases, which only the leader's clock knows.
//!
//! # Format, version 1
//! Primitives are those of [`crate::codec`].
//!
//! ```text
//! question := version:u8 = 1  kind:u8 (1 keep alive, 2 time to live)  lease:i64
//! answer   := 0:u8 seconds:i64 | 1:u8 error:bytes
//! ```
//!
//! # Invariants
//! - A lease is renewed by a leader that a quorum confirmed after the question came.
//! - A question may be asked again: what it asks for twice is as good as once.

use super::Node;
use super::leases::LeaseKeeper;
use crate::codec::{Decoder, Encoder, Malformed};
use crate::consensus::{Answerer, Consensus};
use crate::error::Error;
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
}

impl Question {
    fn encode(self) -> Bytes {
        let (kind, lease) = match self {
            Self::KeepAlive(lease) => (1, lease),
            Self::TimeToLive(lease) => (2, lease),
        };
        let mut out = Encoder::default();
        out.u8(VERSION);
        out.u8(kind);
        out.i64(lease.0);
        out.finish()
    }

    fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        let mut input = Decoder::new(bytes);
        if input.u8()? != VERSION {
            return Err(Malformed("a question of an unknown version: this member is to be upgraded first"));
        }
        let (kind, lease) = (input.u8()?, LeaseId(input.i64()?));
        input.finish()?;
        match kind {
            1 => Ok(Self::KeepAlive(lease)),
            2 => Ok(Self::TimeToLive(lease)),
            _ => Err(Malformed("an unknown question: this member is to be upgraded first")),
        }
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

fn decode_answer(bytes: Bytes) -> Result<Result<i64, Error>, Malformed> {
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

/// Answers questions while this member leads.
pub(super) fn answerer(leases: Arc<LeaseKeeper>, consensus: Weak<Consensus>) -> Answerer {
    Arc::new(move |question| {
        let (leases, consensus) = (leases.clone(), consensus.clone());
        Box::pin(async move {
            let answer = match Question::decode(question) {
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
    consensus.read_barrier().await?;
    if !consensus.leads(term) {
        // Another leader was confirmed, and this clock has not heard of it.
        return Err(Error::NotLeader);
    }
    match question {
        Question::KeepAlive(lease) => leases.renew(lease).await,
        Question::TimeToLive(lease) => Ok(leases.remaining_s(lease)?.unwrap_or(-1)),
    }
}

impl Node {
    /// The answer of the leader, whoever it is.
    ///
    /// # Errors
    /// [`Error::NoLeader`]; why the leader could not.
    pub(super) async fn ask_leader(&self, question: Question) -> Result<i64, Error> {
        let inner = &self.inner;
        inner.failure.check()?;
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
        for question in [Question::KeepAlive(LeaseId(7)), Question::TimeToLive(LeaseId(i64::MIN))] {
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
