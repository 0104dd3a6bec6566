//! The C programs of `tests/c`, compiled against the header and linked with the library, run on every kind of store.
#![cfg(target_os = "linux")]

mod toolchain;

use coffer::{Options, Seal, Uri};
use coffer_rpc::server::{Server, ServerConfig};
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;
use toolchain::{Linked, Tools};

/// Runs a program and shows what it said if it failed.
fn run(program: &Path, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().expect("it can be run");
    assert!(
        output.status.success(),
        "{} {arguments:?}: {}\n{}{}",
        program.display(),
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Short elections, so that leases may be short.
const QUICK: [&str; 4] = ["heartbeat-interval", "50", "election-timeout", "500"];

/// Runs a program once on each kind of store, as `uri name value name value`.
fn on_every_store(program: &Path) {
    run(program, &[&["mem:"], &QUICK[..]].concat());
    for backend in ["segment", "sqlite"] {
        let dir = directory();
        let key = dir.path().join("key");
        Seal::generate_key_file(&key).expect("a key");
        let uri = format!("file://{}/store", dir.path().display());
        let key = key.display().to_string();
        let sealed = [&uri[..], "backend", backend, "seal-key-file", &key];
        run(program, &[&sealed, &QUICK[..]].concat());
    }
    let dir = directory();
    let socket = format!("unix://{}/socket", dir.path().display());
    let options = QUICK.chunks(2).try_fold(Options::default(), |options, pair| options.set(pair[0], pair[1]));
    let options = options.expect("they are known");
    for listen in [socket, "coffer://127.0.0.1:0".to_owned()] {
        let node = coffer::block_on(options.open_node(&Uri::Memory)).expect("a node");
        let server = Server::start(node.clone(), &[listen], ServerConfig::default()).expect("a server");
        run(program, &[&server.local_urls()[0], "command-timeout", "30s"]);
        server.shutdown();
        node.shutdown();
    }
}

fn directory() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

#[test]
fn every_function_does_on_every_store_what_it_says() {
    let Some(tools) = Tools::find(&["cc"]) else { return };
    on_every_store(&tools.compile("api", Linked::Shared));
}

#[test]
fn calls_that_do_not_wait_complete_on_every_store() {
    let Some(tools) = Tools::find(&["cc"]) else { return };
    on_every_store(&tools.compile("queue", Linked::Shared));
}

#[test]
fn threads_share_every_store() {
    let Some(tools) = Tools::find(&["cc"]) else { return };
    on_every_store(&tools.compile("threads", Linked::Shared));
}

#[test]
fn whatever_is_wrong_gives_a_status() {
    let Some(tools) = Tools::find(&["cc"]) else { return };
    for linked in [Linked::Shared, Linked::Static] {
        run(&tools.compile("misuse", linked), &[]);
    }
}

#[test]
fn keys_and_snapshots_of_every_backend() {
    let Some(tools) = Tools::find(&["cc"]) else { return };
    let program = tools.compile("admin", Linked::Shared);
    for backend in ["segment", "sqlite"] {
        let dir = directory();
        run(&program, &[&dir.path().display().to_string(), backend]);
    }
}

#[test]
fn a_child_of_a_fork_is_told() {
    let Some(tools) = Tools::find(&["cc"]) else { return };
    let program = tools.compile("fork", Linked::Shared);
    let dir = directory();
    run(&program, &[&format!("file://{}/store?unsealed", dir.path().display())]);
    run(&program, &["mem:"]);
}

#[test]
fn an_embedded_store_leaves_nothing_behind() {
    let Some(tools) = Tools::find(&["cc"]) else { return };
    let program = tools.compile("remains", Linked::Shared);
    for backend in ["segment", "sqlite"] {
        let dir = directory();
        let uri = format!("file://{}/store?unsealed", dir.path().display());
        run(&program, &[&[&uri[..], "backend", backend], &QUICK[..]].concat());
    }
    run(&program, &["mem:"]);
}

#[test]
fn a_panic_poisons_and_does_not_end_the_process() {
    let Some(tools) = Tools::find(&["cc"]) else { return };
    run(&tools.compile("panic", Linked::Static), &[]);
}

#[test]
fn the_log_hook_hears_what_is_said() {
    let Some(tools) = Tools::find(&["cc"]) else { return };
    let dir = directory();
    run(&tools.compile("log", Linked::Shared), &[&dir.path().display().to_string()]);
}

#[test]
fn signals_are_kept_off_the_threads_of_the_library() {
    let Some(tools) = Tools::find(&["cc"]) else { return };
    on_every_store(&tools.compile("signals", Linked::Shared));
}

/// Says how long a get takes; how to measure it in earnest stands in the program.
#[test]
fn a_get_is_measured() {
    let Some(tools) = Tools::find(&["cc"]) else { return };
    let dir = directory();
    let program = tools.compile("get_speed", Linked::Static);
    run(&program, &["5000", "1000", &format!("file://{}/store?unsealed", dir.path().display())]);
}
