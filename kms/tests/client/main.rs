//! The client, against a real gRPC server on a socket, and against sockets that are no plugin.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "a test, and a part that others use")]

mod plugin;

use coffer_kms::{KmsClient, KmsError};
use coffer_runtime::net::UnixStream;
use futures_util::io::{AsyncReadExt, AsyncWriteExt};
use plugin::{Behaviour, Plugin, listen};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tonic::{Code, Status};

const PLAINTEXT: &[u8; 32] = b"thirty-two bytes that are a key.";

fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kms.sock");
    (directory, path)
}

fn client(plugin: &Plugin) -> KmsClient {
    KmsClient::new(&format!("unix://{}", plugin.path.display())).unwrap()
}

#[test]
fn what_was_encrypted_is_decrypted() {
    let (_directory, path) = place();
    let plugin = Plugin::start(&path, Behaviour::default());
    let client = client(&plugin);
    assert_eq!(client.status().unwrap(), "key-1");
    let encrypted = client.encrypt(PLAINTEXT, "uid-1").unwrap();
    assert_eq!(encrypted.key_id, "key-1");
    assert_ne!(encrypted.ciphertext, PLAINTEXT);
    // After the plugin's key was exchanged, and from within another executor.
    plugin.change(|behaviour| behaviour.key = 2);
    assert_eq!(client.status().unwrap(), "key-2");
    let decrypted = coffer_runtime::block_on(async { client.decrypt(&encrypted, "uid-2") });
    assert_eq!(**decrypted.unwrap(), *PLAINTEXT);
    let calls = plugin.calls();
    assert_eq!(calls[1..], [("encrypt", "uid-1".into()), ("status", "".into()), ("decrypt", "uid-2".into())]);
}

#[test]
fn a_refusal_is_told_with_its_reason() {
    let (_directory, path) = place();
    let refusal = Some(Status::failed_precondition("the vault is\u{1b}[31m sealed"));
    let plugin = Plugin::start(&path, Behaviour { refusal, ..Behaviour::default() });
    let error = client(&plugin).encrypt(PLAINTEXT, "u").unwrap_err();
    assert!(matches!(error, KmsError::Refused { code: Code::FailedPrecondition, .. }), "{error:?}");
    assert_eq!(plugin.plaintext(), [], "it was refused before that");
    assert_eq!(error.to_string(), "refused to encrypt (FailedPrecondition): the vault is [31m sealed");
}

#[test]
fn answers_that_the_api_forbids_are_refused() {
    let (_directory, path) = place();
    let plugin = Plugin::start(&path, Behaviour::default());
    type Change = fn(&mut coffer_kms::proto::EncryptResponse);
    let forbidden: [(Change, &str); 5] = [
        (|answer| answer.ciphertext.clear(), "0 bytes of ciphertext"),
        (|answer| answer.ciphertext = vec![1; 1025], "1025 bytes of ciphertext"),
        (|answer| answer.key_id.clear(), "key id of 0 bytes"),
        (|answer| answer.key_id = "x".repeat(1025), "key id of 1025 bytes"),
        (|answer| _ = answer.annotations.insert("x".into(), vec![0; 33 << 10]), "bytes of annotations"),
    ];
    for (change, reason) in forbidden {
        plugin.change(|behaviour| behaviour.encrypted = change);
        let error = client(&plugin).encrypt(PLAINTEXT, "u").unwrap_err();
        assert!(matches!(&error, KmsError::Answer(text) if text.contains(reason)), "{error}");
    }
    // More than anything may have.
    plugin.change(|behaviour| behaviour.encrypted = |answer| answer.ciphertext = vec![1; 1 << 20]);
    assert!(client(&plugin).encrypt(PLAINTEXT, "u").is_err());
    plugin.change(|behaviour| behaviour.version = "v1beta1".into());
    assert!(matches!(client(&plugin).status(), Err(KmsError::Answer(text)) if text.contains("v1beta1")));
    plugin.change(|behaviour| (behaviour.version, behaviour.healthz) = ("v2beta1".into(), "key lost".into()));
    assert!(matches!(client(&plugin).status(), Err(KmsError::Unhealthy(text)) if text == "key lost"));
}

#[test]
fn a_plugin_that_hangs_is_left() {
    let (_directory, path) = place();
    let plugin = Plugin::start(&path, Behaviour { hangs: true, ..Behaviour::default() });
    let begun = Instant::now();
    let client = client(&plugin).with_timeout(Duration::from_millis(300));
    assert!(matches!(client.status(), Err(KmsError::Late(after)) if after.as_millis() == 300));
    assert!(begun.elapsed() < Duration::from_secs(20));
    // The next call is not disturbed by the one that was given up.
    plugin.change(|behaviour| behaviour.hangs = false);
    assert_eq!(client.with_timeout(Duration::from_secs(20)).status().unwrap(), "key-1");
}

#[test]
fn a_socket_without_a_plugin_is_told_from_a_plugin() {
    let (directory, path) = place();
    let client = |path: &PathBuf| {
        KmsClient::new(path.to_str().unwrap()).unwrap().with_timeout(Duration::from_secs(20))
    };
    assert!(matches!(client(&path).status(), Err(KmsError::Unreachable(_))));

    let (stop, thread) = listen(&path, async |mut stream: UnixStream| {
        let mut bytes = [0; 24];
        stream.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    });
    let error = client(&path).status().unwrap_err();
    assert!(matches!(error, KmsError::Connection(_)), "{error:?}");
    drop(stop);
    thread.join().unwrap();

    let gone = directory.path().join("gone.sock");
    let (stop, thread) = listen(&gone, async |stream| drop(stream));
    let error = client(&gone).status().unwrap_err();
    assert!(matches!(error, KmsError::Connection(_)), "{error:?}");
    drop(stop);
    thread.join().unwrap();
}

#[test]
fn an_endpoint_is_a_unix_socket_with_an_absolute_path() {
    for endpoint in ["", "kms.sock", "http://localhost", "unix://kms.sock", "unix:///@kms", "tcp://1.2.3.4:5"]
    {
        assert!(matches!(KmsClient::new(endpoint), Err(KmsError::Endpoint { .. })), "{endpoint}");
    }
    for endpoint in ["unix:///run/kms.sock", "/run/kms.sock"] {
        assert_eq!(KmsClient::new(endpoint).unwrap().socket(), PathBuf::from("/run/kms.sock"));
    }
}
