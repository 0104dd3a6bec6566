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
        self.values
            .scan(first, last, &mut |record| visit(self.event(record)))
            .map_err(|error| self.fault(error))
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
