//! A KMS plugin as the source, over real gRPC.

#[path = "../../../kms/tests/client/plugin.rs"]
#[allow(unreachable_pub, reason = "also a part of other tests")]
mod plugin;

use crate::{Keys, STORE, STORE_ID, create, disk, open};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use coffer_backends::seal::KeyError;
use coffer_backends::seal::slots::{SlotId, SlotKind, Slots};
use coffer_backends::seal::source::{KeySource, KmsPlugin, Parameters};
use plugin::{Behaviour, Plugin};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tonic::Status;

fn source(plugin: &Plugin) -> KeySource {
    KeySource::Kms(KmsPlugin::new(&format!("unix://{}", plugin.path.display())).unwrap())
}

/// What becomes of an attempt to make a slot.
fn refusal(source: &KeySource) -> KeyError {
    let disk = disk();
    let operations = disk.counters().operations;
    let made = Slots::create(Arc::new(disk.clone()), Path::new(STORE), STORE_ID, source, "");
    assert_eq!(disk.counters().operations, operations, "nothing was written");
    let error = made.map(drop).unwrap_err();
    assert!(matches!(&error, KeyError::Source { origin, .. } if origin.contains("kms.sock")), "{error}");
    error
}

#[test]
fn a_plugin_opens_a_slot_and_its_key_can_be_exchanged() {
    let (keys, disk) = (Keys::new(), disk());
    let plugin = Plugin::start(&keys.path("kms.sock"), Behaviour::default());
    let source = source(&plugin);
    let (mut slots, root) = create(&disk, &source);
    let [slot] = &slots.list()[..] else { panic!("one slot") };
    let Parameters::Kms { socket, key_id, wrapped, annotations } = &slot.parameters else { panic!("kms") };
    assert_eq!((slot.kind, key_id.as_str(), wrapped.len()), (SlotKind::Kms, "key-1", 32));
    assert_eq!(*socket, plugin.path.display().to_string());
    assert_eq!(annotations.get("local.plugin.example"), Some(&vec![1]));
    assert!(open(&disk).unlock(&source).unwrap() == root);

    // The plugin goes on to another key: the slot is told from a fresh one, opens, and is rewrapped.
    plugin.change(|behaviour| behaviour.key = 2);
    assert_eq!(source.key_id().unwrap().as_deref(), Some("key-2"));
    assert_eq!(slots.list()[0].parameters.key_id(), Some("key-1"));
    assert!(open(&disk).unlock(&source).unwrap() == root);
    slots.rotate_kek(&root, SlotId::FIRST, &source).unwrap();
    assert_eq!(open(&disk).list()[0].parameters.key_id(), Some("key-2"));
    assert!(open(&disk).unlock(&source).unwrap() == root);
    let uids: Vec<String> =
        plugin.calls().into_iter().map(|(_, uid)| uid).filter(|uid| !uid.is_empty()).collect();
    assert!(uids.iter().all(|uid| uid.starts_with("coffer-")));
}

#[test]
fn annotations_and_key_ids_at_their_limits_are_kept() {
    let (keys, disk) = (Keys::new(), disk());
    let plugin = Plugin::start(&keys.path("kms.sock"), Behaviour::default());
    plugin.change(|behaviour| {
        behaviour.encrypted = |answer| {
            answer.annotations.insert("large.example".into(), vec![7; 32 << 10 >> 1]);
            answer.annotations.insert("larger.example".into(), vec![8; 16_000]);
        };
    });
    let (mut slots, root) = create(&disk, &source(&plugin));
    for _ in 1..coffer_backends::seal::slots::SLOTS_MAX {
        slots.add(&root, &source(&plugin), &"x".repeat(255)).unwrap();
    }
    assert!(open(&disk).unlock(&source(&plugin)).unwrap() == root);
    assert_eq!(open(&disk).list(), slots.list());
}

#[test]
fn a_plugin_that_refuses_hangs_or_lies_gets_no_slot() {
    let keys = Keys::new();
    let plugin = Plugin::start(&keys.path("kms.sock"), Behaviour::default());
    let source = KeySource::Kms(
        KmsPlugin::new(plugin.path.to_str().unwrap()).unwrap().with_timeout(Duration::from_secs(20)),
    );
    plugin.change(|behaviour| behaviour.refusal = Some(Status::unavailable("sealed")));
    let text = refusal(&source).to_string();
    assert!(text.ends_with("refused to encrypt (Unavailable): sealed"), "{text}");

    plugin.change(|behaviour| behaviour.refusal = None);
    plugin.change(|behaviour| behaviour.key = 0);
    assert!(refusal(&source).to_string().contains("gave the key back"));
    plugin.change(|behaviour| behaviour.key = 1);
    plugin.change(|behaviour| behaviour.encrypted = |answer| answer.ciphertext[0] ^= 1);
    assert!(refusal(&source).to_string().contains("does not unwrap"));
    plugin.change(|behaviour| behaviour.encrypted = |answer| answer.ciphertext.push(1));
    assert!(refusal(&source).to_string().contains("33 bytes"));
    plugin.change(|behaviour| behaviour.encrypted = |answer| answer.annotations.clear());
    assert!(refusal(&source).to_string().contains("the annotation is missing"));

    plugin.change(|behaviour| behaviour.hangs = true);
    let hasty =
        KmsPlugin::new(plugin.path.to_str().unwrap()).unwrap().with_timeout(Duration::from_millis(200));
    assert!(refusal(&KeySource::Kms(hasty)).to_string().contains("no answer within 200ms"));
}

#[test]
fn a_plugin_that_is_away_or_has_another_key_opens_nothing() {
    let (keys, disk) = (Keys::new(), disk());
    let path = keys.path("kms.sock");
    let plugin = Plugin::start(&path, Behaviour::default());
    let (_, root) = create(&disk, &source(&plugin));
    let source = source(&plugin);
    plugin.change(|behaviour| behaviour.refusal = Some(Status::not_found("no such key")));
    let error = open(&disk).unlock(&source).unwrap_err();
    assert!(error.to_string().contains("refused to decrypt (NotFound): no such key"), "{error}");
    drop(plugin);
    std::fs::remove_file(&path).unwrap_or_default();
    let error = open(&disk).unlock(&source).unwrap_err();
    assert!(error.to_string().contains("cannot be reached"), "{error}");
    // And back again.
    let _plugin = Plugin::start(&path, Behaviour::default());
    assert!(open(&disk).unlock(&source).unwrap() == root);
}

/// What a plugin says is shown to people, and it may say what it was given.
#[test]
fn a_plugin_that_repeats_the_key_is_not_quoted_with_it() {
    let keys = Keys::new();
    let plugin = Plugin::start(&keys.path("kms.sock"), Behaviour::default());
    plugin.change(|behaviour| behaviour.repeats = true);
    let error = refusal(&source(&plugin));
    let key = STANDARD.encode(plugin.plaintext());
    assert!(error.to_string().contains("(a key)"), "{error}");
    assert!(!format!("{error} {error:?}").contains(&key));
    assert!(KmsPlugin::new("http://somewhere").is_err());
}
