//! Follows an election: every leader, and everything that it proclaims.

use crate::convert::status;
use crate::front::read;
use crate::grpc::turns::oldest;
use crate::proto::v3electionpb::LeaderResponse;
use bytes::Bytes;
use coffer_core::node::Node;
use coffer_core::request::Header;
use coffer_core::watch::{WatchKind, WatchRequest, WatchResponse, WatchStream};
use coffer_core::{Error, KeyRange, KeyValue};
use std::collections::VecDeque;
use std::time::Duration;
use tonic::Status;

/// One caller's view of an election.
pub(super) struct Observer {
    node: Node,
    prefix: Bytes,
    /// How long a look at the store may take.
    limit: Duration,
    /// What is watched: the leader's key, or the prefix while there is no leader. `None` to look anew.
    watched: Option<Watched>,
    /// What was seen and not yet told.
    seen: VecDeque<LeaderResponse>,
}

struct Watched {
    stream: WatchStream,
    has_leader: bool,
}

impl Observer {
    pub(super) fn new(node: Node, prefix: Bytes, limit: Duration) -> Self {
        Self { node, prefix, limit, watched: None, seen: VecDeque::new() }
    }

    /// What is proclaimed next.
    pub(super) async fn next(mut self) -> Result<Option<(LeaderResponse, Self)>, Status> {
        loop {
            if let Some(response) = self.seen.pop_front() {
                return Ok(Some((response, self)));
            }
            let Some(watched) = &mut self.watched else {
                self.look().await?;
                continue;
            };
            let has_leader = watched.has_leader;
            let responses = watched.stream.next().await.ok_or_else(|| status(Error::Stopped))?;
            match has_leader {
                true => self.follow(responses)?,
                false => self.find(responses)?,
            }
        }
    }

    /// Finds the leader, or begins to wait for one.
    async fn look(&mut self) -> Result<(), Status> {
        let response = read(self.limit, self.node.range(oldest(&self.prefix))).await?;
        let header = response.header;
        match response.kvs.into_iter().next() {
            Some(leader) => self.lead(header, leader),
            None => self.watch(KeyRange::prefix(self.prefix.clone()), header.revision, false),
        }
    }

    /// Tells of a leader and watches its key.
    fn lead(&mut self, header: Header, leader: KeyValue) -> Result<(), Status> {
        let range = KeyRange::single(leader.key.clone());
        self.see(header, leader);
        self.watch(range, header.revision, true)
    }

    /// The first key that comes is the leader's.
    fn find(&mut self, responses: Vec<WatchResponse>) -> Result<(), Status> {
        for response in responses {
            match response.kind {
                WatchKind::Events { events, .. } => {
                    let Some(put) = events.iter().find(|event| !event.event.record.tombstone) else {
                        continue;
                    };
                    let leader = put.event.record.key_value();
                    let header = Header { revision: leader.mod_revision, ..self.node.header() };
                    return self.lead(header, leader);
                }
                WatchKind::Canceled { reason, .. } => return self.lost(reason),
                WatchKind::Created | WatchKind::Progress => {}
            }
        }
        Ok(())
    }

    /// Takes what the leader proclaims, until its key is gone.
    fn follow(&mut self, responses: Vec<WatchResponse>) -> Result<(), Status> {
        for response in responses {
            match response.kind {
                WatchKind::Events { events, .. } => {
                    let header = Header { revision: response.revision, ..self.node.header() };
                    for event in events.iter() {
                        if event.event.record.tombstone {
                            self.watched = None;
                            return Ok(());
                        }
                        self.see(header, event.event.record.key_value());
                    }
                }
                WatchKind::Canceled { reason, .. } => return self.lost(reason),
                WatchKind::Created | WatchKind::Progress => {}
            }
        }
        Ok(())
    }

    fn see(&mut self, header: Header, leader: KeyValue) {
        let (header, kv) = (Some(header.into()), Some(leader.into()));
        self.seen.push_back(LeaderResponse { header, kv });
    }

    /// Watches `range` from behind `revision` on.
    fn watch(&mut self, range: KeyRange, revision: i64, has_leader: bool) -> Result<(), Status> {
        let mut stream = self.node.watch();
        let request = WatchRequest { start_revision: revision + 1, ..WatchRequest::new(range) };
        stream.create(request).map_err(status)?;
        self.watched = Some(Watched { stream, has_leader });
        Ok(())
    }

    /// A watch that has fallen behind a compaction begins anew.
    fn lost(&mut self, reason: Error) -> Result<(), Status> {
        match reason {
            Error::Compacted { .. } => self.watched = None,
            reason => return Err(status(reason)),
        }
        Ok(())
    }
}
