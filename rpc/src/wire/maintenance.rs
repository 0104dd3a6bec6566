//! Status, hashes, snapshots, members.

use super::{get_header, list_len, put_header};
use crate::schema::maintenance_capnp::{
    hash_kv_response, member_request, members_response, snapshot_opened, status_response,
};
use capnp::text_list;
use coffer_core::request::{HashKvResponse, MemberRequest, MembersResponse, StatusResponse};
use coffer_core::storage::{LogId, SnapshotHead};
use coffer_core::{Member, MemberInfo};

pub(crate) fn put_status(response: &StatusResponse, mut to: status_response::Builder<'_>) {
    put_header(&response.header, to.reborrow().init_header());
    to.set_version(&response.version);
    to.set_db_size_bytes(response.db_size_bytes);
    to.set_db_size_in_use_bytes(response.db_size_in_use_bytes);
    to.set_leader(response.leader);
    to.set_raft_index(response.raft_index);
    to.set_raft_applied_index(response.raft_applied_index);
    to.set_raft_term(response.raft_term);
    to.set_is_learner(response.is_learner);
    to.set_compact_revision(response.compact_revision);
    to.set_keys(response.keys);
    to.set_leases(response.leases);
    to.set_watchers(response.watchers);
    to.set_backend(&response.backend);
    to.set_sealed(response.sealed);
    let mut errors = to.init_errors(list_len(response.errors.len()));
    for (index, error) in (0..).zip(&response.errors) {
        errors.set(index, error);
    }
}

pub(crate) fn get_status(from: status_response::Reader<'_>) -> capnp::Result<StatusResponse> {
    Ok(StatusResponse {
        header: get_header(from.get_header()?),
        version: from.get_version()?.to_string()?,
        db_size_bytes: from.get_db_size_bytes(),
        db_size_in_use_bytes: from.get_db_size_in_use_bytes(),
        leader: from.get_leader(),
        raft_index: from.get_raft_index(),
        raft_applied_index: from.get_raft_applied_index(),
        raft_term: from.get_raft_term(),
        is_learner: from.get_is_learner(),
        compact_revision: from.get_compact_revision(),
        keys: from.get_keys(),
        leases: from.get_leases(),
        watchers: from.get_watchers(),
        backend: from.get_backend()?.to_string()?,
        sealed: from.get_sealed(),
        errors: from
            .get_errors()?
            .iter()
            .map(|error| Ok(error?.to_string()?))
            .collect::<capnp::Result<_>>()?,
        // Alarms are among the errors; the quota is not sent.
        ..StatusResponse::default()
    })
}

pub(crate) fn put_hash_kv(response: &HashKvResponse, mut to: hash_kv_response::Builder<'_>) {
    to.set_hash(response.hash);
    to.set_compact_revision(response.compact_revision);
    to.set_hash_revision(response.hash_revision);
    put_header(&response.header, to.init_header());
}

pub(crate) fn get_hash_kv(from: hash_kv_response::Reader<'_>) -> capnp::Result<HashKvResponse> {
    Ok(HashKvResponse {
        header: get_header(from.get_header()?),
        hash: from.get_hash(),
        compact_revision: from.get_compact_revision(),
        hash_revision: from.get_hash_revision(),
    })
}

pub(crate) fn put_snapshot_head(head: &SnapshotHead, mut to: snapshot_opened::Builder<'_>) {
    to.set_cluster_id(head.cluster_id);
    to.set_member_id(head.member_id);
    to.set_revision(head.revision);
    to.set_compact_revision(head.compact_revision);
    to.set_applied_term(head.applied.term);
    to.set_applied_index(head.applied.index);
    to.set_created_s(head.created_s);
}

pub(crate) fn get_snapshot_head(from: snapshot_opened::Reader<'_>) -> SnapshotHead {
    SnapshotHead {
        cluster_id: from.get_cluster_id(),
        member_id: from.get_member_id(),
        revision: from.get_revision(),
        compact_revision: from.get_compact_revision(),
        applied: LogId { term: from.get_applied_term(), index: from.get_applied_index() },
        created_s: from.get_created_s(),
    }
}

pub(crate) fn put_texts(texts: &[String], mut to: text_list::Builder<'_>) {
    for (index, text) in (0..).zip(texts) {
        to.set(index, text);
    }
}

fn get_texts(from: text_list::Reader<'_>) -> capnp::Result<Vec<String>> {
    from.iter().map(|text| Ok(text?.to_string()?)).collect()
}

pub(crate) fn put_members(response: &MembersResponse, mut to: members_response::Builder<'_>) {
    put_header(&response.header, to.reborrow().init_header());
    to.set_leader(response.leader);
    to.set_added(response.added);
    let mut list = to.init_members(list_len(response.members.len()));
    for (index, (Member { id, info }, votes)) in (0..).zip(&response.members) {
        let mut to = list.reborrow().get(index);
        to.set_id(*id);
        to.set_name(&info.name);
        to.set_votes(*votes);
        to.set_wants_vote(info.wants_vote);
        put_texts(&info.peer_urls, to.reborrow().init_peer_urls(list_len(info.peer_urls.len())));
        put_texts(&info.client_urls, to.init_client_urls(list_len(info.client_urls.len())));
    }
}

pub(crate) fn get_members(from: members_response::Reader<'_>) -> capnp::Result<MembersResponse> {
    let member = |from: members_response::member::Reader<'_>| {
        let info = MemberInfo {
            name: from.get_name()?.to_string()?,
            peer_urls: get_texts(from.get_peer_urls()?)?,
            client_urls: get_texts(from.get_client_urls()?)?,
            wants_vote: from.get_wants_vote(),
        };
        Ok((Member { id: from.get_id(), info }, from.get_votes()))
    };
    Ok(MembersResponse {
        header: get_header(from.get_header()?),
        members: from.get_members()?.iter().map(member).collect::<capnp::Result<_>>()?,
        leader: from.get_leader(),
        added: from.get_added(),
    })
}

pub(crate) fn put_member_request(request: &MemberRequest, mut to: member_request::Builder<'_>) {
    match request {
        MemberRequest::Add { peer_urls, learner } => {
            let mut to = to.init_add();
            to.set_learner(*learner);
            put_texts(peer_urls, to.init_peer_urls(list_len(peer_urls.len())));
        }
        MemberRequest::Promote { id } => to.set_promote(*id),
        MemberRequest::Remove { id } => to.set_remove(*id),
        MemberRequest::Update { id, peer_urls } => {
            let mut to = to.init_update();
            to.set_id(*id);
            put_texts(peer_urls, to.init_peer_urls(list_len(peer_urls.len())));
        }
        MemberRequest::MoveLeader { id } => to.set_move_leader(*id),
        MemberRequest::Replace { id } => to.set_replace(*id),
    }
}

pub(crate) fn get_member_request(from: member_request::Reader<'_>) -> capnp::Result<MemberRequest> {
    use member_request::Which;
    Ok(match from.which()? {
        Which::Add(add) => {
            let add = add?;
            MemberRequest::Add { peer_urls: get_texts(add.get_peer_urls()?)?, learner: add.get_learner() }
        }
        Which::Promote(id) => MemberRequest::Promote { id },
        Which::Remove(id) => MemberRequest::Remove { id },
        Which::Update(update) => {
            let update = update?;
            MemberRequest::Update { id: update.get_id(), peer_urls: get_texts(update.get_peer_urls()?)? }
        }
        Which::MoveLeader(id) => MemberRequest::MoveLeader { id },
        Which::Replace(id) => MemberRequest::Replace { id },
    })
}
