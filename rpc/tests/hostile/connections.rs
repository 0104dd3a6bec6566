//! Very many connections.

use crate::frames;
use crate::world::*;
use coffer_rpc::ServerConfig;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const COUNT: usize = 10_000;
/// Tells the process that holds the clients' ends where the server is.
const SERVER_VARIABLE: &str = "COFFER_TEST_HOLD_CONNECTIONS_TO";

/// Lets this process have as many descriptors as the system allows.
fn raise_descriptor_limit() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    let needed = COUNT as u64 + 300;
    assert!(maximum.is_none_or(|maximum| maximum >= needed), "the test needs {needed} descriptors");
}

/// Connects and logs half of the connections in, and keeps them all until nobody needs them any more.
fn hold_connections(address: &str) {
    raise_descriptor_limit();
    let log_in = frames::log_in();
    let streams: Vec<_> = (0..COUNT)
        .map(|index| {
            let mut stream = TcpStream::connect(address).unwrap();
            if index % 2 == 0 {
                stream.write_all(&log_in).unwrap();
            }
            stream
        })
        .collect();
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    drop(streams);
}

/// A process of this same program that runs only the test `test`, which finds [`SERVER_VARIABLE`] set.
fn start_holder(test: &str, address: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(SERVER_VARIABLE, address)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// The clients' ends are in a process of their own, so that each process needs little more than one descriptor for
/// each connection.
#[test]
fn ten_thousand_connections_that_do_nothing() {
    if let Ok(address) = std::env::var(SERVER_VARIABLE) {
        return hold_connections(&address);
    }
    raise_descriptor_limit();
    let config = ServerConfig {
        login_timeout: Duration::from_secs(60),
        idle_timeout: Duration::from_secs(120),
        ..impatient()
    };
    let world = World::new(config);
    let before = resident_bytes();
    let begun = Instant::now();
    let name = "connections::ten_thousand_connections_that_do_nothing";
    let mut holder = start_holder(name, &world.address());
    until("all being accepted", || world.server.stats().connections == COUNT + 1);
    for _ in 0..20 {
        world.others_are_served();
    }
    let grown = resident_bytes().saturating_sub(before);
    println!(
        "{COUNT} connections in {:?}: {} bytes each, half of them logged in",
        begun.elapsed(),
        grown / COUNT
    );
    assert!(grown / COUNT < 40_000, "{grown}");
    drop(holder.stdin.take());
    assert!(holder.wait().unwrap().success());
    assert_eq!(world.server.stats().refused, 0);
    world.only_the_ordinary_client_is_left();
}

#[test]
fn connections_come_and_go() {
    let world = World::new(impatient());
    let round = || {
        for index in 0..500 {
            let mut stream = world.attack();
            let _ = stream.write_all(if index % 2 == 0 { b"" } else { b"\0\0\0\0" });
            if index % 3 == 0 {
                let _ = stream.write_all(&frames::log_in());
            }
        }
        until("their end", || world.server.stats().connections == 1);
    };
    round();
    let before = resident_bytes();
    for _ in 0..4 {
        round();
    }
    let grown = resident_bytes().saturating_sub(before);
    println!("2000 connections that went: {grown} bytes");
    assert!(grown < 16 << 20, "{grown}");
    world.only_the_ordinary_client_is_left();
}
