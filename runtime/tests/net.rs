//! Sockets of both kinds, over the same test.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use coffer_runtime::net::{Address, Listener, Stream, UnixListener};
use coffer_runtime::{block_on, local};
use futures_util::{AsyncReadExt, AsyncWriteExt};
use std::io;
use std::net::Shutdown;
use std::path::PathBuf;
use std::rc::Rc;

/// A folder of this test alone.
fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("coffer-net-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn echo(address: &Address) {
    let listener = Listener::bind(address).unwrap();
    let address = listener.local_address().unwrap();
    let server = local::run("echo", move || async move {
        let (stream, _) = listener.accept().await.unwrap();
        let kept = Rc::new(stream);
        let task = local::spawn(async move {
            let (mut reader, mut writer) = (Stream::clone(&kept), Stream::clone(&kept));
            let mut buffer = [0; 1024];
            let mut total = 0;
            loop {
                let count = reader.read(&mut buffer).await.unwrap();
                if count == 0 {
                    return total;
                }
                writer.write_all(&buffer[..count]).await.unwrap();
                total += count;
            }
        });
        task.await.unwrap()
    })
    .unwrap();
    block_on(async {
        let mut stream = Stream::connect(&address).await.unwrap();
        let sent = vec![7; 100_000];
        let writing = sent.clone();
        let mut writer = stream.clone();
        let writer = local::spawn(async move {
            writer.write_all(&writing).await.unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let mut received = Vec::new();
        stream.read_to_end(&mut received).await.unwrap();
        writer.await.unwrap();
        assert_eq!(received, sent);
    });
    assert_eq!(server.join(), Ok(100_000));
}

#[test]
fn tcp_streams_carry_bytes_both_ways() {
    echo(&Address::Tcp("127.0.0.1:0".into()));
}

#[test]
fn unix_streams_carry_bytes_both_ways() {
    let folder = folder("echo");
    echo(&Address::Unix(folder.join("socket")));
    assert!(!folder.join("socket").exists(), "the listener removes its file");
    std::fs::remove_dir(folder).unwrap();
}

#[test]
fn a_port_in_use_is_refused() {
    let first = Listener::bind(&Address::Tcp("127.0.0.1:0".into())).unwrap();
    let second = Listener::bind(&first.local_address().unwrap());
    assert_eq!(second.unwrap_err().kind(), io::ErrorKind::AddrInUse);
}

#[test]
fn a_stale_socket_file_is_replaced_and_a_live_one_is_not() {
    let folder = folder("stale");
    let path = folder.join("socket");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let live = UnixListener::bind(&path).unwrap();
    assert_eq!(UnixListener::bind(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    drop(live);
    std::fs::write(&path, "not a socket").unwrap();
    assert!(UnixListener::bind(&path).is_err());
    assert_eq!(std::fs::read(&path).unwrap(), b"not a socket");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn tasks_left_behind_are_dropped_with_their_thread() {
    let (sender, receiver) = async_channel::bounded::<()>(1);
    let thread = local::run("left-behind", move || async move {
        local::spawn(async move {
            let _sender = sender;
            std::future::pending::<()>().await;
        });
        coffer_runtime::yield_now().await;
    })
    .unwrap();
    assert_eq!(thread.join(), Ok(()));
    assert!(receiver.recv_blocking().is_err(), "the sender was dropped");
}
