//! Runs capnp-rpc over a connection that this side opened.

use super::link::{Fault, Link};
use capnp_rpc::RpcSystem;
use capnp_rpc::rpc_twoparty_capnp::Side;
use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;

/// Runs until the connection ends. Afterwards nothing waits on it any more, and its link says why it ended.
pub(crate) async fn drive(mut system: RpcSystem<Side>, link: Link) {
    let disconnector = system.get_disconnector();
    if AssertUnwindSafe(&mut system).catch_unwind().await.is_err() {
        // Seen with a server that answers with a null capability.
        tracing::error!("a panic while talking to a server; the connection is closed");
        link.fail(Fault::Panic);
    }
    link.fail(Fault::Closed);
    // Fails what still waits, and lets go of what the two sides hold of each other.
    let _ = disconnector.now_or_never();
}
