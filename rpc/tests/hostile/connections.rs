//! Very many connections.

use crate::frames;
use crate::world::*;
use coffer_rpc::ServerConfig;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::Write;
use std::time::{Duration, Instant};

const WANTED: usize = 10_000;

/// As many connections as descriptors allow, both ends of each being in this process.
fn connections_possible() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let descriptors = getrlimit(Resource::Nofile).current.map_or(WANTED * 3, |limit| limit as usize);
    WANTED.min((descriptors.saturating_sub(200)) / 2)
}

#[test]
fn ten_thousand_connections_that_do_nothing() {
    let count = connections_possible();
    let config = ServerConfig {
        login_timeout: Duration::from_secs(60),
        idle_timeout: Duration::from_secs(120),
        ..impatient()
    };
    let world = World::new(config);
    let before = resident_bytes();
    let begun = Instant::now();
    let log_in = frames::log_in();
    let streams: Vec<_> = (0..count)
        .map(|index| {
            let mut stream = world.attack();
            if index % 2 == 0 {
                stream.write_all(&log_in).unwrap();
            }
            stream
        })
        .collect();
    until("all being accepted", || world.server.stats().connections == count + 1);
    for _ in 0..20 {
        world.others_are_served();
    }
    let grown = resident_bytes().saturating_sub(before);
    println!(
        "{count} connections (wanted {WANTED}) in {:?}: {} bytes each, half of them logged in",
        begun.elapsed(),
        grown / count
    );
    assert!(grown / count < 40_000, "{grown}");
    drop(streams);
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
