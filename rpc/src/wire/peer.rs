//! What members say to each other, on the wire and as core's messages.

use super::list_len;
use crate::schema::peer_capnp as schema;
use bytes::Bytes;
use capnp::NotInSchema;
use coffer_core::Error;
use coffer_core::consensus::messages::{
    AppendRequest, AppendResponse, TransferRequest, Vote, VoteRequest, VoteResponse,
};
use coffer_core::consensus::{MemberChange, MemberError, ProposeError};
use coffer_core::storage::{EntryKind, LogEntry, LogId};

fn not_in_schema(what: NotInSchema) -> capnp::Error {
    capnp::Error::failed(format!("a value that this version does not know: {what}"))
}

pub(crate) fn put_id(id: Option<LogId>, mut to: schema::log_id::Builder<'_>) {
    if let Some(id) = id {
        to.set_present(true);
        to.set_term(id.term);
        to.set_index(id.index);
    }
}

pub(crate) fn get_id(from: schema::log_id::Reader<'_>) -> Option<LogId> {
    from.get_present().then(|| LogId { term: from.get_term(), index: from.get_index() })
}

/// An id that has to be there.
pub(crate) fn need_id(from: schema::log_id::Reader<'_>) -> capnp::Result<LogId> {
    get_id(from).ok_or_else(|| capnp::Error::failed("a log id is missing".to_owned()))
}

pub(crate) fn put_vote(vote: &Vote, mut to: schema::vote::Builder<'_>) {
    to.set_term(vote.term);
    to.set_candidate(vote.candidate);
    to.set_committed(vote.committed);
}

pub(crate) fn get_vote(from: schema::vote::Reader<'_>) -> Vote {
    Vote { term: from.get_term(), candidate: from.get_candidate(), committed: from.get_committed() }
}

pub(crate) fn put_vote_request(request: &VoteRequest, mut to: schema::vote_request::Builder<'_>) {
    put_vote(&request.vote, to.reborrow().init_vote());
    put_id(request.last, to.reborrow().init_last());
    to.set_pre_vote(request.pre_vote);
    to.set_transfer(request.transfer);
}

pub(crate) fn get_vote_request(from: schema::vote_request::Reader<'_>) -> capnp::Result<VoteRequest> {
    Ok(VoteRequest {
        vote: get_vote(from.get_vote()?),
        last: get_id(from.get_last()?),
        pre_vote: from.get_pre_vote(),
        transfer: from.get_transfer(),
    })
}

pub(crate) fn put_vote_answer(answer: &VoteResponse, mut to: schema::vote_answer::Builder<'_>) {
    put_vote(&answer.vote, to.reborrow().init_vote());
    put_id(answer.last, to.reborrow().init_last());
    to.set_granted(answer.granted);
}

pub(crate) fn get_vote_answer(from: schema::vote_answer::Reader<'_>) -> capnp::Result<VoteResponse> {
    Ok(VoteResponse {
        vote: get_vote(from.get_vote()?),
        granted: from.get_granted(),
        last: get_id(from.get_last()?),
    })
}

/// Bytes that a request's entries weigh in a window.
pub(crate) fn append_bytes(request: &AppendRequest) -> usize {
    request.entries.iter().map(|entry| entry.payload.len() + 64).sum::<usize>() + 64
}

pub(crate) fn put_append(request: &AppendRequest, mut to: schema::append_request::Builder<'_>) {
    put_vote(&request.vote, to.reborrow().init_vote());
    put_id(request.prev, to.reborrow().init_prev());
    put_id(request.committed, to.reborrow().init_committed());
    let mut entries = to.init_entries(list_len(request.entries.len()));
    for (index, entry) in (0..).zip(&request.entries) {
        let mut to = entries.reborrow().get(index);
        to.set_term(entry.id.term);
        to.set_index(entry.id.index);
        to.set_kind(match entry.kind {
            EntryKind::Blank => schema::entry::Kind::Blank,
            EntryKind::Normal => schema::entry::Kind::Normal,
            EntryKind::Membership => schema::entry::Kind::Membership,
        });
        to.set_payload(&entry.payload);
    }
}

pub(crate) fn get_append(from: schema::append_request::Reader<'_>) -> capnp::Result<AppendRequest> {
    let entries = from.get_entries()?.iter().map(|entry| {
        let kind = match entry.get_kind().map_err(not_in_schema)? {
            schema::entry::Kind::Blank => EntryKind::Blank,
            schema::entry::Kind::Normal => EntryKind::Normal,
            schema::entry::Kind::Membership => EntryKind::Membership,
        };
        let id = LogId { term: entry.get_term(), index: entry.get_index() };
        Ok(LogEntry { id, kind, payload: Bytes::copy_from_slice(entry.get_payload()?) })
    });
    Ok(AppendRequest {
        vote: get_vote(from.get_vote()?),
        prev: get_id(from.get_prev()?),
        entries: entries.collect::<capnp::Result<_>>()?,
        committed: get_id(from.get_committed()?),
        is_awaited: false,
    })
}

pub(crate) fn put_append_answer(answer: &AppendResponse, mut to: schema::append_answer::Builder<'_>) {
    match answer {
        AppendResponse::Matched(id) => put_id(*id, to.init_matched()),
        AppendResponse::Conflict(id) => put_id(Some(*id), to.init_conflict()),
        AppendResponse::HigherVote(vote) => put_vote(vote, to.reborrow().init_higher_vote()),
    }
}

pub(crate) fn get_append_answer(from: schema::append_answer::Reader<'_>) -> capnp::Result<AppendResponse> {
    use schema::append_answer::Which;
    Ok(match from.which().map_err(not_in_schema)? {
        Which::Matched(id) => AppendResponse::Matched(get_id(id?)),
        Which::Conflict(id) => AppendResponse::Conflict(need_id(id?)?),
        Which::HigherVote(vote) => AppendResponse::HigherVote(get_vote(vote?)),
    })
}

pub(crate) fn put_transfer(request: &TransferRequest, mut to: schema::transfer_request::Builder<'_>) {
    put_vote(&request.from, to.reborrow().init_from());
    to.set_to(request.to);
    put_id(request.last, to.init_last());
}

pub(crate) fn get_transfer(from: schema::transfer_request::Reader<'_>) -> capnp::Result<TransferRequest> {
    Ok(TransferRequest {
        from: get_vote(from.get_from()?),
        to: from.get_to(),
        last: get_id(from.get_last()?),
    })
}

pub(crate) fn put_read_index(outcome: Result<LogId, Error>, to: schema::index_answer::Builder<'_>) {
    match outcome {
        Ok(id) => put_id(Some(id), to.init_at()),
        Err(error) => {
            let mut to = to.init_error();
            to.set_reason(match error {
                Error::NotLeader => schema::failure::Reason::NotLeader,
                Error::NoLeader => schema::failure::Reason::NoLeader,
                _ => schema::failure::Reason::Stopped,
            });
            to.set_message(error.to_string());
        }
    }
}

pub(crate) fn get_read_index(from: schema::index_answer::Reader<'_>) -> capnp::Result<Result<LogId, Error>> {
    use schema::failure::Reason;
    use schema::index_answer::Which;
    Ok(match from.which().map_err(not_in_schema)? {
        Which::At(id) => Ok(need_id(id?)?),
        Which::Error(error) => Err(match error?.get_reason().map_err(not_in_schema)? {
            Reason::NotLeader => Error::NotLeader,
            _ => Error::NoLeader,
        }),
    })
}

pub(crate) fn put_proposed(outcome: Result<LogId, ProposeError>, to: schema::index_answer::Builder<'_>) {
    match outcome {
        Ok(id) => put_id(Some(id), to.init_at()),
        Err(error) => {
            let mut to = to.init_error();
            to.set_message(error.to_string());
            if let ProposeError::NotLeader { leader: Some(leader) } = error {
                to.set_leader(leader);
            }
            to.set_reason(match error {
                ProposeError::NotLeader { .. } => schema::failure::Reason::NotLeader,
                ProposeError::Overloaded => schema::failure::Reason::Overloaded,
                ProposeError::Stopped(_) => schema::failure::Reason::Stopped,
                _ => schema::failure::Reason::Unknown,
            });
        }
    }
}

pub(crate) fn get_proposed(
    from: schema::index_answer::Reader<'_>,
) -> capnp::Result<Result<LogId, ProposeError>> {
    use schema::failure::Reason;
    use schema::index_answer::Which;
    Ok(match from.which().map_err(not_in_schema)? {
        Which::At(id) => Ok(need_id(id?)?),
        Which::Error(error) => {
            let error = error?;
            Err(match error.get_reason().map_err(not_in_schema)? {
                Reason::Overloaded => ProposeError::Overloaded,
                // It surely did not append it, and somebody else may.
                Reason::NotLeader | Reason::NoLeader | Reason::Stopped => {
                    ProposeError::NotLeader { leader: Some(error.get_leader()).filter(|id| *id != 0) }
                }
                Reason::Unknown => ProposeError::Unknown,
            })
        }
    })
}

pub(crate) fn put_change(change: &MemberChange, mut to: schema::member_change::Builder<'_>) {
    use schema::member_change::Kind;
    let (member, kind, description) = match change {
        MemberChange::AddLearner { member, description } => (member, Kind::AddLearner, Some(description)),
        MemberChange::Promote { member } => (member, Kind::Promote, None),
        MemberChange::Remove { member } => (member, Kind::Remove, None),
        MemberChange::Describe { member, description } => (member, Kind::Describe, Some(description)),
    };
    to.set_member(*member);
    to.set_kind(kind);
    if let Some(description) = description {
        to.set_description(description);
    }
}

pub(crate) fn get_change(from: schema::member_change::Reader<'_>) -> capnp::Result<MemberChange> {
    use schema::member_change::Kind;
    let member = from.get_member();
    let description = Bytes::copy_from_slice(from.get_description()?);
    Ok(match from.get_kind().map_err(not_in_schema)? {
        Kind::AddLearner => MemberChange::AddLearner { member, description },
        Kind::Promote => MemberChange::Promote { member },
        Kind::Remove => MemberChange::Remove { member },
        Kind::Describe => MemberChange::Describe { member, description },
    })
}

pub(crate) fn put_changed(outcome: Result<(), MemberError>, mut to: schema::change_answer::Builder<'_>) {
    use schema::change_answer::Outcome;
    to.set_outcome(match &outcome {
        Ok(()) => Outcome::Done,
        Err(MemberError::NoLeader) => Outcome::NoLeader,
        Err(MemberError::NotLeader) => Outcome::NotLeader,
        Err(MemberError::InProgress) => Outcome::InProgress,
        Err(MemberError::NotFound) => Outcome::NotFound,
        Err(MemberError::Exists) => Outcome::Exists,
        Err(MemberError::LastVoter) => Outcome::LastVoter,
        Err(MemberError::Unhealthy) => Outcome::Unhealthy,
        Err(MemberError::NotInSync) => Outcome::NotInSync,
        Err(MemberError::Refused(_)) => Outcome::Refused,
        Err(_) => Outcome::Unknown,
    });
    if let Err(MemberError::Refused(reason)) = outcome {
        to.set_message(reason);
    }
}

pub(crate) fn get_changed(from: schema::change_answer::Reader<'_>) -> capnp::Result<Result<(), MemberError>> {
    use schema::change_answer::Outcome;
    Ok(match from.get_outcome().map_err(not_in_schema)? {
        Outcome::Done => Ok(()),
        Outcome::NoLeader => Err(MemberError::NoLeader),
        Outcome::NotLeader => Err(MemberError::NotLeader),
        Outcome::InProgress => Err(MemberError::InProgress),
        Outcome::NotFound => Err(MemberError::NotFound),
        Outcome::Exists => Err(MemberError::Exists),
        Outcome::LastVoter => Err(MemberError::LastVoter),
        Outcome::Unhealthy => Err(MemberError::Unhealthy),
        Outcome::NotInSync => Err(MemberError::NotInSync),
        Outcome::Refused => Err(MemberError::Refused(from.get_message()?.to_string()?)),
        Outcome::Unknown => Err(MemberError::Unknown),
    })
}
