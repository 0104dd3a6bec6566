//! A server that refuses calls as overloaded, and how often it is asked again.

use crate::support::*;
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::{RpcSystem, new_client, twoparty};
use coffer_core::Error;
use coffer_core::request::PutResponse;
use coffer_rpc::schema::gate_capnp::{gate, session};
use coffer_rpc::schema::kv_capnp::kv;
use coffer_rpc::schema::lease_capnp::lease;
use coffer_rpc::schema::maintenance_capnp::{cluster, maintenance};
use coffer_rpc::schema::watch_capnp::watch;
use coffer_rpc::{Client, ClientConfig};
use coffer_runtime::net::{Address, Listener};
use futures_util::AsyncReadExt;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Refuses the first `refusals` puts.
#[derive(Clone)]
struct Refusing {
    refusals: u32,
    puts: Arc<AtomicU32>,
}

impl gate::Server for Refusing {
    async fn info(self: Rc<Self>, _: gate::InfoParams, mut results: gate::InfoResults) -> capnp::Result<()> {
        results.get().set_frame_bytes_max(1 << 20);
        Ok(())
    }

    async fn login(
        self: Rc<Self>,
        _: gate::LoginParams,
        mut results: gate::LoginResults,
    ) -> capnp::Result<()> {
        results.get().set_session(new_client(Self::clone(&self)));
        Ok(())
    }
}

impl coffer_rpc::schema::gate_capnp::pinger::Server for Refusing {}

impl session::Server for Refusing {
    async fn kv(self: Rc<Self>, _: session::KvParams, mut results: session::KvResults) -> capnp::Result<()> {
        results.get().set_kv(new_client(Self::clone(&self)));
        Ok(())
    }

    async fn watch(
        self: Rc<Self>,
        _: session::WatchParams,
        mut results: session::WatchResults,
    ) -> capnp::Result<()> {
        results.get().set_watch(new_client(Self::clone(&self)));
        Ok(())
    }

    async fn lease(
        self: Rc<Self>,
        _: session::LeaseParams,
        mut results: session::LeaseResults,
    ) -> capnp::Result<()> {
        results.get().set_lease(new_client(Self::clone(&self)));
        Ok(())
    }

    async fn maintenance(
        self: Rc<Self>,
        _: session::MaintenanceParams,
        mut results: session::MaintenanceResults,
    ) -> capnp::Result<()> {
        results.get().set_maintenance(new_client(Self::clone(&self)));
        Ok(())
    }

    async fn cluster(
        self: Rc<Self>,
        _: session::ClusterParams,
        mut results: session::ClusterResults,
    ) -> capnp::Result<()> {
        results.get().set_cluster(new_client(Self::clone(&self)));
        Ok(())
    }
}

impl kv::Server for Refusing {
    async fn put(self: Rc<Self>, _: kv::PutParams, mut results: kv::PutResults) -> capnp::Result<()> {
        if self.puts.fetch_add(1, Ordering::SeqCst) < self.refusals {
            return Err(capnp::Error::overloaded("as the test wants it".into()));
        }
        results.get().init_ok().init_header().set_revision(7);
        Ok(())
    }
}

impl watch::Server for Refusing {}
impl lease::Server for Refusing {}
impl maintenance::Server for Refusing {}
impl cluster::Server for Refusing {}

/// A client of a server that refuses `refusals` puts, and the number of puts that reached the server. The server
/// serves this one client, on a thread that ends with it.
fn connect_to_refusing(refusals: u32) -> (Client, Arc<AtomicU32>) {
    let puts = Arc::new(AtomicU32::new(0));
    let refusing = Refusing { refusals, puts: puts.clone() };
    let (url, listening) = async_channel::bounded(1);
    drop(coffer_runtime::local::run("refusing", move || async move {
        let listener = Listener::bind(&Address::Tcp("127.0.0.1:0".into())).unwrap();
        let Address::Tcp(address) = listener.local_address().unwrap() else { unreachable!() };
        url.send(format!("coffer://{address}")).await.unwrap();
        let (reader, writer) = listener.accept().await.unwrap().0.split();
        let network = twoparty::VatNetwork::new(reader, writer, Side::Server, Default::default());
        let gate: gate::Client = new_client(refusing);
        let _ = RpcSystem::new(Box::new(network), Some(gate.client)).await;
    }));
    let url = wait(listening.recv()).unwrap();
    (wait(Client::connect(ClientConfig::new([url]))).unwrap(), puts)
}

#[test]
fn a_refused_call_is_made_again() {
    let (client, puts) = connect_to_refusing(2);
    let PutResponse { header, .. } = put(&client, "k", "v");
    assert_eq!(header.revision, 7);
    assert_eq!(puts.load(Ordering::SeqCst), 3);
}

#[test]
fn a_call_that_is_refused_until_its_deadline_says_why() {
    let (client, puts) = connect_to_refusing(u32::MAX);
    let client = client.with_deadline(Duration::from_secs(4));
    assert_eq!(wait(client.put(put_request("k", "v"))), Err(Error::TooManyRequests));
    // Each pause is about twice the one before, the first about 25 ms.
    let puts = puts.load(Ordering::SeqCst);
    assert!((2..=10).contains(&puts), "{puts}");
}
