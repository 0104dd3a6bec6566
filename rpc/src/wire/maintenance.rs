//! Status, hashes, snapshots.

use super::{get_header, list_len, put_header};
use crate::schema::maintenance_capnp::{hash_kv_response, snapshot_opened, status_response};
use coffer_core::request::{HashKvResponse, StatusResponse};
use coffer_core::storage::{LogId, SnapshotHead};

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
