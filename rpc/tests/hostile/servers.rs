//! Servers that break the rules: a client reports them and goes on.

use crate::frames;
use crate::world::{Random, wait};
use capnp::message::Builder;
use capnp_rpc::rpc_capnp::message;
use coffer_core::Error;
use coffer_rpc::{Client, ClientConfig};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

/// A server that answers every connection with `bytes`.
fn answers_with(bytes: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("coffer://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let bytes = bytes.clone();
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                // The client speaks first.
                let _ = stream.read(&mut buffer);
                let _ = stream.write_all(&bytes);
                while matches!(stream.read(&mut buffer), Ok(1..)) {}
            });
        }
    });
    url
}

/// An answer without content, where a capability is expected.
fn null_answer(question: u32) -> Vec<u8> {
    let mut builder = Builder::new_default();
    let mut answer = builder.init_root::<message::Builder<'_>>().init_return();
    answer.set_answer_id(question);
    answer.init_results();
    capnp::serialize::write_message_to_words(&builder)
}

#[test]
fn nonsense_from_a_server_is_an_error() {
    let mut random = Random(0x5eed_0003);
    let mut nonsense = vec![
        Vec::new(),
        vec![0xff; 64],
        frames::bootstrap(0),
        [null_answer(0), null_answer(1), null_answer(2), null_answer(3)].concat(),
        vec![0, 0, 0, 0, 255, 255, 255, 127],
    ];
    nonsense.extend((0..20).map(|_| random.bytes(300)));
    for bytes in nonsense {
        let url = answers_with(bytes.clone());
        let config = ClientConfig { connect_timeout: Duration::from_millis(100), ..ClientConfig::new([url]) };
        let outcome = wait(Client::connect(config));
        assert!(matches!(outcome, Err(Error::Unavailable(_))), "{outcome:?} after {bytes:?}");
    }
}
