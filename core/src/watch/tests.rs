//! Stories of what watchers are told, and a model that random histories are checked against.

mod limits;
mod model;
mod progress;
mod semantics;
mod store;
