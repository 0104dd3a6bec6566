//! What has to be known of a watcher to go on after a connection broke: pure, so that it can be tested alone.
//!
//! # Invariants
//! - `next_revision` is the first revision that was not delivered whole; 0 while the server has not said where the
//!   watcher begins.
//! - Of `next_revision` itself, `partial` events were delivered (fragments).

use coffer_core::watch::{WatchEvent, WatchKind, WatchRequest, WatchResponse};
use std::sync::Arc;

/// One watcher of a user.
#[derive(Debug)]
pub(super) struct Watcher {
    request: WatchRequest,
    next_revision: i64,
    partial: usize,
    /// Events of `next_revision` that come again after a resume.
    skip: usize,
    announced: bool,
}

impl Watcher {
    pub(super) fn new(request: WatchRequest) -> Self {
        let next_revision = request.start_revision.max(0);
        Self { request, next_revision, partial: 0, skip: 0, announced: false }
    }

    /// The id that the user knows.
    pub(super) fn user_id(&self) -> i64 {
        self.request.watch_id
    }

    /// The request with which to begin on a new stream, under that stream's id.
    pub(super) fn begin(&mut self, watch_id: i64) -> WatchRequest {
        self.skip = self.partial;
        let start_revision =
            if self.next_revision == 0 { self.request.start_revision } else { self.next_revision };
        WatchRequest { watch_id, start_revision, ..self.request.clone() }
    }

    /// Takes note of what the server says. Returns what the user is told of it, `None` if that was told before.
    pub(super) fn receive(&mut self, revision: i64, kind: &WatchKind) -> Option<WatchKind> {
        match kind {
            WatchKind::Created => {
                if self.next_revision == 0 {
                    self.next_revision = revision + 1;
                }
                (!std::mem::replace(&mut self.announced, true)).then_some(WatchKind::Created)
            }
            WatchKind::Events { events, fragment } => self.receive_events(events, *fragment),
            WatchKind::Progress => {
                self.deliver_whole(revision);
                Some(WatchKind::Progress)
            }
            WatchKind::Canceled { .. } => Some(kind.clone()),
        }
    }

    fn receive_events(&mut self, events: &Arc<[WatchEvent]>, fragment: bool) -> Option<WatchKind> {
        let revision_of = |event: &WatchEvent| event.event.record.revision.main;
        let of_next = events.iter().take_while(|event| revision_of(event) == self.next_revision).count();
        let again = of_next.min(self.skip);
        self.skip -= again;
        let new = &events[again..];
        let Some(last) = new.last().map(revision_of) else {
            // All of it came again; where the revision ends here, it is whole now.
            if !fragment && again > 0 {
                self.deliver_whole(self.next_revision);
            }
            return None;
        };
        if fragment {
            let of_last = new.iter().rev().take_while(|event| revision_of(event) == last).count();
            self.partial = if last == self.next_revision { self.partial + of_last } else { of_last };
            self.next_revision = last;
            self.skip = 0;
        } else {
            self.deliver_whole(last);
        }
        let events = if again == 0 { events.clone() } else { new.into() };
        Some(WatchKind::Events { events, fragment })
    }

    fn deliver_whole(&mut self, revision: i64) {
        if revision >= self.next_revision {
            self.next_revision = revision + 1;
            self.partial = 0;
            self.skip = 0;
        }
    }
}

/// A response for one watcher.
pub(super) fn response(watch_id: i64, revision: i64, kind: WatchKind) -> WatchResponse {
    WatchResponse { watch_ids: vec![watch_id], revision, kind }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use coffer_core::state::Event;
    use coffer_core::{KeyRange, Record, Revision};

    fn event(main: i64, sub: u32) -> WatchEvent {
        let record = Record::deletion(Revision { main, sub }, Bytes::from_static(b"k"));
        WatchEvent { event: Event { record: Arc::new(record), prev: None }, prev_kv: None }
    }

    fn events(list: &[(i64, u32)], fragment: bool) -> WatchKind {
        WatchKind::Events { events: list.iter().map(|&(main, sub)| event(main, sub)).collect(), fragment }
    }

    fn told(kind: Option<WatchKind>) -> Vec<(i64, u32)> {
        match kind {
            Some(WatchKind::Events { events, .. }) => events
                .iter()
                .map(|event| (event.event.record.revision.main, event.event.record.revision.sub))
                .collect(),
            _ => Vec::new(),
        }
    }

    fn watcher() -> Watcher {
        Watcher::new(WatchRequest { watch_id: 7, fragment: true, ..WatchRequest::new(KeyRange::all()) })
    }

    #[test]
    fn a_watcher_from_now_on_resumes_where_it_began() {
        let mut watcher = watcher();
        assert_eq!(watcher.begin(1).start_revision, 0);
        assert_eq!(watcher.receive(10, &WatchKind::Created), Some(WatchKind::Created));
        assert_eq!(watcher.begin(2).start_revision, 11);
        assert_eq!(watcher.receive(15, &WatchKind::Created), None);
        assert_eq!(told(watcher.receive(12, &events(&[(11, 0), (12, 0)], false))), [(11, 0), (12, 0)]);
        assert_eq!(watcher.begin(3).start_revision, 13);
        watcher.receive(20, &WatchKind::Progress);
        assert_eq!(watcher.begin(4).start_revision, 21);
    }

    #[test]
    fn fragments_are_not_repeated() {
        let mut watcher = watcher();
        watcher.receive(10, &WatchKind::Created);
        told(watcher.receive(11, &events(&[(11, 0), (11, 1)], true)));
        told(watcher.receive(11, &events(&[(11, 2)], true)));
        assert_eq!(watcher.begin(2).start_revision, 11);
        assert!(told(watcher.receive(11, &events(&[(11, 0), (11, 1)], true))).is_empty());
        assert_eq!(told(watcher.receive(11, &events(&[(11, 2), (11, 3)], true))), [(11, 3)]);
        assert_eq!(watcher.begin(3).start_revision, 11);
        assert_eq!(
            told(
                watcher.receive(12, &events(&[(11, 0), (11, 1), (11, 2), (11, 3), (11, 4), (12, 0)], false))
            ),
            [(11, 4), (12, 0)]
        );
        assert_eq!(watcher.begin(4).start_revision, 13);
    }

    #[test]
    fn a_resume_that_breaks_again_forgets_nothing() {
        let mut watcher = watcher();
        watcher.receive(10, &WatchKind::Created);
        told(watcher.receive(11, &events(&[(11, 0), (11, 1)], true)));
        watcher.begin(2);
        assert!(told(watcher.receive(11, &events(&[(11, 0)], true))).is_empty());
        watcher.begin(3);
        assert_eq!(told(watcher.receive(11, &events(&[(11, 0), (11, 1), (11, 2)], true))), [(11, 2)]);
    }

    #[test]
    fn a_revision_that_was_whole_but_for_its_end_is_whole_after_the_resume() {
        let mut watcher = watcher();
        watcher.receive(10, &WatchKind::Created);
        told(watcher.receive(11, &events(&[(11, 0), (11, 1)], true)));
        watcher.begin(2);
        assert!(told(watcher.receive(11, &events(&[(11, 0), (11, 1)], false))).is_empty());
        assert_eq!(watcher.begin(3).start_revision, 12);
    }
}
