//! The past of the store as watchers read it.

use super::failure::Failure;
use super::values::ValueStore;
use crate::error::Error;
use crate::record::Record;
use crate::revision::Revision;
use crate::state::{Event, StateReader};
use crate::storage::StorageError;
use crate::watch::History;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Index and records, as one history of events.
pub(super) struct NodeHistory {
    pub(super) reader: StateReader,
    pub(super) values: Arc<ValueStore>,
    pub(super) failure: Arc<Failure>,
}

impl History for NodeHistory {
    fn published(&self) -> i64 {
        self.reader.revision()
    }

    fn compact_revision(&self) -> i64 {
        self.reader.compact_revision()
    }

    fn scan(
        &self,
        first: i64,
        last: i64,
        visit: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let last = last.min(self.reader.revision());
        if first > last {
            return Ok(());
        }
        let _pin = self.reader.pin_at(first)?;
        let mut replaced = Ok(());
        let scanned = self.values.scan(first, last, &mut |record| {
            let event = self.event(record);
            // After the look at the index, and before the event is passed on: events before it may be missing.
            replaced = self.values.check_not_replaced(first);
            if replaced.is_ok() { visit(event) } else { ControlFlow::Break(()) }
        });
        scanned.map_err(|error| self.fault(error))?;
        replaced
    }

    fn record(&self, revision: Revision) -> Result<Option<Arc<Record>>, Error> {
        let record = self.values.find(revision).map_err(|error| self.fault(error))?;
        Ok(record.map(Arc::new))
    }
}

impl NodeHistory {
    /// A local fault stops the node.
    fn fault(&self, error: StorageError) -> Error {
        let error = Error::from(error);
        self.failure.set(error.clone());
        error
    }

    fn event(&self, record: &Record) -> Event {
        let before = self.reader.get(&record.key, record.revision.main - 1);
        Event { record: Arc::new(record.clone()), prev: before.map(|version| version.revision) }
    }
}
