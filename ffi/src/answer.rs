//! What the store answers, in the shape of the interface.
//!
//! An [`Answer`] is a filled [`coffer_result`] and the memory that it points into. When it is handed over, the memory goes
//! into a table, and the result bears its number.

use crate::arena::Arena;
use crate::failure::Failure;
use crate::handles::{Kind, Table};
use crate::input::{optional, out};
use crate::queue::coffer_call;
use crate::result::*;
use coffer::request::*;
use coffer::{Event, EventKind, KeyValue, KeysStatus, Update};
use std::ffi::c_char;
use std::ptr;
use std::time::{SystemTime, UNIX_EPOCH};

/// An answer that was not handed over yet.
#[derive(Debug)]
pub(crate) struct Answer {
    view: coffer_result,
    held: Option<Held>,
}

// SAFETY: what the view points to is held beside it, or lives for ever.
unsafe impl Send for Answer {}

/// The memory behind a result. Results point to what lists and arenas have on the heap, which stays where it is wherever
/// this goes, and is not touched any more.
#[derive(Debug, Default)]
struct Held {
    /// Keys and values.
    arena: Arena,
    kvs: Vec<coffer_kv>,
    more: Option<Box<More>>,
}

/// What only some answers have. A struct alone is a list of one.
#[derive(Debug, Default)]
struct More {
    previous: Vec<coffer_kv>,
    events: Vec<coffer_event>,
    parts: Vec<coffer_result>,
    /// What the parts point to.
    inner: Vec<Held>,
    leases: Vec<i64>,
    members: Vec<coffer_member>,
    /// Each with a zero byte at its end.
    texts: Vec<Vec<u8>>,
    store: Vec<coffer_store_info>,
    snapshot: Vec<coffer_snapshot_info>,
    keys: Vec<coffer_keys_info>,
    slots: Vec<coffer_key_slot>,
    data_keys: Vec<coffer_data_key>,
}

// SAFETY: what the pointers in it point to is in it, too, or lives for ever.
unsafe impl Send for Held {}
// SAFETY: it is not changed after it was made.
unsafe impl Sync for Held {}

static RESULTS: Table<Held> = Table::new(Kind::Result);

/// Frees what a result holds.
pub(crate) fn free(owner: u64) -> Result<(), Failure> {
    if owner != 0 {
        drop(RESULTS.remove(owner)?);
    }
    Ok(())
}

/// Where a call puts its answer: looked at before the call begins, so that no answer is lost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target(*mut coffer_result);

impl Target {
    /// The target of a call that may have a queue: then there is none, whatever was passed. `needed` says whether a call
    /// that waits must have one.
    ///
    /// # Safety
    /// `call` is as [`optional`] wants it, and `result` too, which can be written to until the call has returned.
    pub(crate) unsafe fn of(
        call: *const coffer_call,
        result: *mut coffer_result,
        needed: bool,
    ) -> Result<Self, Failure> {
        // SAFETY: the caller's contract is the same.
        match unsafe { optional(call) }? {
            Some(call) if call.queue.id != 0 => Ok(Self(ptr::null_mut())),
            // SAFETY: the caller's contract is the same.
            _ => unsafe { Self::waiting(result, needed) },
        }
    }

    /// The target of a call that waits.
    ///
    /// # Safety
    /// `result` is as [`optional`] wants it, and can be written to until the call has returned.
    pub(crate) unsafe fn waiting(result: *mut coffer_result, needed: bool) -> Result<Self, Failure> {
        let result = if needed { out(result)? } else { result };
        // SAFETY: the caller's contract is the same.
        match unsafe { optional(result.cast_const()) }? {
            None => Ok(Self(result)),
            Some(before) => Self::empty(result, before),
        }
    }

    fn empty(result: *mut coffer_result, before: coffer_result) -> Result<Self, Failure> {
        match before.owner {
            0 => Ok(Self(result)),
            _ => Err(Failure::argument(
                "the result still holds an answer: free it, or begin with coffer_result_init()",
            )),
        }
    }

    /// Hands an answer over.
    pub(crate) fn fill(self, answer: Answer) -> Result<(), Failure> {
        if !self.0.is_null() {
            let view = answer.hand_over()?;
            // SAFETY: whoever made the target promised that it can be written to during the call, which this is.
            unsafe { self.0.write_unaligned(view) };
        }
        Ok(())
    }
}

impl Answer {
    /// A result that owns what it points to.
    pub(crate) fn hand_over(mut self) -> Result<coffer_result, Failure> {
        if let Some(held) = self.held.take() {
            self.view.owner = RESULTS.insert(held)?;
        }
        Ok(self.view)
    }

    /// Says nothing.
    pub(crate) fn empty() -> Self {
        Self { view: coffer_result::EMPTY, held: None }
    }

    /// Says who answers.
    pub(crate) fn of(header: Header) -> Self {
        let view = coffer_result {
            cluster_id: header.cluster_id,
            member_id: header.member_id,
            raft_term: header.raft_term,
            revision: header.revision,
            ..coffer_result::EMPTY
        };
        Self { view, held: None }
    }

    pub(crate) fn with_flag(mut self, flag: u32, set: bool) -> Self {
        if set {
            self.view.flags |= flag;
        }
        self
    }

    pub(crate) fn with_revision(mut self, revision: i64) -> Self {
        self.view.revision = revision;
        self
    }

    fn more(&mut self) -> &mut More {
        self.held.get_or_insert_default().more.get_or_insert_default()
    }

    /// One pair, or none.
    pub(crate) fn one(header: Header, kv: Option<KeyValue>) -> Self {
        let mut answer = Self::of(header).with_kvs(kv.as_slice());
        answer.view.count = i64::from(kv.is_some());
        answer
    }

    fn with_kvs(mut self, kvs: &[KeyValue]) -> Self {
        if !kvs.is_empty() {
            let held = self.held.get_or_insert_default();
            held.arena = Arena::new(kvs.iter().map(pair_bytes).sum());
            held.kvs = kvs.iter().map(|kv| copy(&mut held.arena, kv)).collect();
            (self.view.kvs, self.view.kv_count) = list(&held.kvs);
        }
        self
    }

    pub(crate) fn range(response: RangeResponse) -> Self {
        let RangeResponse { header, kvs, more, count } = response;
        let mut answer = Self::of(header).with_kvs(&kvs).with_flag(COFFER_RESULT_MORE, more);
        answer.view.count = count;
        answer
    }

    /// A page of an iterator.
    pub(crate) fn page(revision: i64, kvs: &[KeyValue]) -> Self {
        let mut answer = Self::empty().with_kvs(kvs).with_revision(revision);
        answer.view.count = kvs.len() as i64;
        answer
    }

    pub(crate) fn put(response: PutResponse) -> Self {
        Self::of(response.header).with_kvs(response.prev_kv.as_slice())
    }

    pub(crate) fn delete(response: DeleteRangeResponse) -> Self {
        let mut answer = Self::of(response.header).with_kvs(&response.prev_kvs);
        answer.view.count = response.deleted;
        answer
    }

    pub(crate) fn txn(response: TxnResponse) -> Self {
        let TxnResponse { header, succeeded, responses } = response;
        let mut answer = Self::of(header).with_flag(COFFER_RESULT_SUCCEEDED, succeeded);
        if !responses.is_empty() {
            let parts = responses.into_iter().map(|response| match response {
                TxnOpResponse::Range(response) => Self::range(response),
                TxnOpResponse::Put(response) => Self::put(response),
                TxnOpResponse::DeleteRange(response) => Self::delete(response),
                TxnOpResponse::Txn(response) => Self::txn(response),
            });
            let more = answer.more();
            for part in parts {
                more.parts.push(part.view);
                more.inner.extend(part.held);
            }
            (answer.view.parts, answer.view.part_count) = list(&answer.more().parts);
        }
        answer
    }

    pub(crate) fn update(update: &Update) -> Self {
        let mut answer = Self::empty()
            .with_revision(update.revision)
            .with_flag(COFFER_RESULT_PROGRESS, update.events.is_empty())
            .with_flag(COFFER_RESULT_FRAGMENT, update.fragment);
        if !update.events.is_empty() {
            let previous_bytes = |event: &Event| event.prev_kv.as_ref().map_or(0, pair_bytes);
            let bytes = update.events.iter().map(|event| pair_bytes(&event.kv) + previous_bytes(event)).sum();
            let mut arena = Arena::new(bytes);
            let previous = update.events.iter().filter_map(|event| event.prev_kv.as_ref());
            let before: Vec<_> = previous.map(|kv| copy(&mut arena, kv)).collect();
            let mut previous = before.iter();
            let mut events = Vec::with_capacity(update.events.len());
            for event in &update.events {
                let before = event.prev_kv.as_ref().and_then(|_| previous.next());
                let kind = match event.kind {
                    EventKind::Put => COFFER_EVENT_PUT,
                    EventKind::Delete => COFFER_EVENT_DELETE,
                };
                let previous = before.map_or(ptr::null(), ptr::from_ref);
                events.push(coffer_event { kind, reserved: 0, kv: copy(&mut arena, &event.kv), previous });
            }
            let more = answer.more();
            (more.previous, more.events) = (before, events);
            (answer.view.events, answer.view.event_count) = list(&answer.more().events);
            answer.held.get_or_insert_default().arena = arena;
        }
        answer
    }

    pub(crate) fn lease(header: Header, id: coffer::LeaseId, ttl_s: i64) -> Self {
        let mut answer = Self::of(header);
        (answer.view.lease, answer.view.ttl_s) = (id.0, ttl_s);
        answer
    }

    pub(crate) fn time_to_live(response: LeaseTimeToLiveResponse) -> Self {
        let kvs: Vec<KeyValue> =
            response.keys.into_iter().map(|key| KeyValue { key, ..KeyValue::default() }).collect();
        let mut answer = Self::lease(response.header, response.id, response.ttl_s).with_kvs(&kvs);
        answer.view.granted_ttl_s = response.granted_ttl_s;
        answer
    }

    pub(crate) fn leases(response: LeaseListResponse) -> Self {
        let mut answer = Self::of(response.header);
        answer.more().leases = response.leases.into_iter().map(|id| id.0).collect();
        (answer.view.leases, answer.view.lease_count) = list(&answer.more().leases);
        answer
    }

    pub(crate) fn hash(response: HashKvResponse) -> Self {
        let mut answer = Self::of(response.header).with_revision(response.hash_revision);
        (answer.view.hash, answer.view.compact_revision) = (response.hash, response.compact_revision);
        answer
    }

    pub(crate) fn status(response: StatusResponse) -> Self {
        let alarm = |kind| response.alarms.iter().any(|alarm| alarm.kind == kind);
        let flags = [
            (COFFER_STORE_SEALED, response.sealed),
            (COFFER_STORE_LEARNER, response.is_learner),
            (COFFER_STORE_NO_SPACE, alarm(AlarmKind::NoSpace)),
            (COFFER_STORE_CORRUPT, alarm(AlarmKind::Corrupt)),
        ];
        let mut answer = Self::of(response.header);
        let more = answer.more();
        let info = coffer_store_info {
            flags: or(&flags),
            reserved: 0,
            version: more.text(&response.version),
            backend: more.text(&response.backend),
            errors: more.text(&response.errors.join("\n")),
            size_bytes: response.db_size_bytes,
            in_use_bytes: response.db_size_in_use_bytes,
            quota_bytes: response.quota_bytes,
            leader: response.leader,
            raft_index: response.raft_index,
            raft_applied_index: response.raft_applied_index,
            compact_revision: response.compact_revision,
            keys: response.keys,
            leases: response.leases,
            watchers: response.watchers,
        };
        more.store.push(info);
        answer.view.store = more.store.as_ptr();
        answer
    }

    pub(crate) fn members(response: MembersResponse) -> Self {
        let mut answer = Self::of(response.header);
        let more = answer.more();
        for (member, votes) in response.members {
            let flags =
                [(COFFER_MEMBER_LEARNER, !votes), (COFFER_MEMBER_LEADER, member.id == response.leader)];
            let member = coffer_member {
                id: member.id,
                flags: or(&flags),
                reserved: 0,
                name: more.text(&member.info.name),
                peer_urls: more.text(&member.info.peer_urls.join(",")),
                client_urls: more.text(&member.info.client_urls.join(",")),
            };
            more.members.push(member);
        }
        (answer.view.members, answer.view.member_count) = list(&answer.more().members);
        answer
    }

    pub(crate) fn snapshot(mut self, info: coffer_snapshot_info) -> Self {
        self.view.revision = info.revision;
        (self.view.cluster_id, self.view.member_id) = (info.cluster_id, info.member_id);
        let more = self.more();
        more.snapshot.push(info);
        self.view.snapshot = more.snapshot.as_ptr();
        self
    }

    pub(crate) fn keys(status: &KeysStatus, changed_id: u32) -> Self {
        let mut answer = Self::empty();
        let more = answer.more();
        more.slots(&status.slots);
        more.data_keys = status.data.keys.iter().map(data_key).collect();
        let (slots, slot_count) = list(&more.slots);
        let (data_keys, data_key_count) = list(&more.data_keys);
        let info = coffer_keys_info {
            rewriting: u32::from(status.data.rewriting),
            changed_id,
            outdated_bytes: status.data.outdated_bytes,
            slots,
            slot_count,
            data_keys,
            data_key_count,
        };
        more.keys.push(info);
        answer.view.keys = more.keys.as_ptr();
        answer
    }

    /// The slots of a snapshot file.
    pub(crate) fn slots(slots: &[coffer::SlotInfo]) -> Self {
        let mut answer = Self::empty();
        let more = answer.more();
        more.slots(slots);
        let (slots, slot_count) = list(&more.slots);
        let info = coffer_keys_info {
            rewriting: 0,
            changed_id: 0,
            outdated_bytes: 0,
            slots,
            slot_count,
            data_keys: ptr::null(),
            data_key_count: 0,
        };
        more.keys.push(info);
        answer.view.keys = more.keys.as_ptr();
        answer
    }
}

impl More {
    /// Keeps a text.
    fn text(&mut self, text: &str) -> *const c_char {
        let mut text = text.replace('\0', "?").into_bytes();
        text.push(0);
        let at = text.as_ptr().cast();
        self.texts.push(text);
        at
    }

    fn slots(&mut self, slots: &[coffer::SlotInfo]) {
        for slot in slots {
            let slot = coffer_key_slot {
                id: slot.id.0,
                reserved: 0,
                kind: self.text(&slot.kind.to_string()),
                label: self.text(&slot.label),
                created_s: seconds(slot.created),
            };
            self.slots.push(slot);
        }
    }
}

fn data_key(key: &coffer::KeyStatus) -> coffer_data_key {
    let flags = [
        (COFFER_DATA_KEY_ACTIVE, key.state == coffer::KeyState::Active),
        (COFFER_DATA_KEY_IN_USE, key.in_use),
    ];
    coffer_data_key {
        id: key.id,
        flags: or(&flags),
        created_s: seconds(key.created),
        sealed_bytes: key.sealed_bytes,
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn or(flags: &[(u32, bool)]) -> u32 {
    flags.iter().filter(|(_, set)| *set).fold(0, |flags, (flag, _)| flags | flag)
}

fn list<T>(items: &[T]) -> (*const T, usize) {
    if items.is_empty() { (ptr::null(), 0) } else { (items.as_ptr(), items.len()) }
}

fn pair_bytes(kv: &KeyValue) -> usize {
    kv.key.len() + kv.value.len()
}

fn copy(arena: &mut Arena, kv: &KeyValue) -> coffer_kv {
    coffer_kv {
        key: arena.copy(&kv.key),
        value: arena.copy(&kv.value),
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        lease: kv.lease.0,
    }
}
