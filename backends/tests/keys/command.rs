//! External commands: real programs that wrap, hang, fail, print garbage, and talk too much.

use crate::{Keys, create, disk, open, write};
use coffer_backends::seal::KeyError;
use coffer_backends::seal::source::{KeyCommand, KeySource, Parameters};
use std::fs;
use std::time::{Duration, Instant};

/// Wraps by rotating letters, which is as good as any cipher for a test. Leaves each request in the file `asked`.
const WRAPPER: &str = r#"
request=$(cat)
printf '%s\n' "$request" >> "$DIR/asked"
member() { printf '%s' "$request" | sed -n 's/.*"'"$1"'":"\([^"]*\)".*/\1/p'; }
rotated() { tr 'A-Za-z' 'N-ZA-Mn-za-m'; }
case $(member operation) in
status) echo '{"key_id": "key-1", "something": {"else": [1]}}' ;;
wrap) echo '{"key_id":"key-1","wrapped":"'$(member key | rotated | base64 | tr -d '\n')'"}' ;;
unwrap)
    [ "$(member key_id)" = key-1 ] || { echo '{"error":"no such key"}'; exit 0; }
    echo '{"key":"'$(member wrapped | base64 -d | rotated)'"}' ;;
esac
"#;

/// The script as a source; `$DIR` is the directory of `keys`.
fn source(keys: &Keys, script: &str) -> KeySource {
    KeySource::Command(command(keys, script))
}

fn command(keys: &Keys, script: &str) -> KeyCommand {
    let text = format!("DIR='{}'\n{script}", keys.directory.path().display());
    let path = keys.path(&format!("script-{}", fs::read_dir(keys.directory.path()).unwrap().count()));
    write(&path, 0o600, text.as_bytes());
    KeyCommand::new(vec!["/bin/sh".into(), path.display().to_string()]).unwrap()
}

/// The key that was sent to the program, as base64.
fn sent(keys: &Keys) -> String {
    let asked = fs::read_to_string(keys.path("asked")).unwrap();
    let (_, rest) = asked.split_once("\"key\":\"").unwrap();
    rest.split_once('"').unwrap().0.to_owned()
}

/// What becomes of an attempt to make a slot with the script.
fn refusal(keys: &Keys, command: KeyCommand) -> String {
    let disk = disk();
    let operations = disk.counters().operations;
    let store_id = crate::STORE_ID;
    let made = coffer_backends::seal::slots::Slots::create(
        std::sync::Arc::new(disk.clone()),
        std::path::Path::new(crate::STORE),
        store_id,
        &KeySource::Command(command),
        "",
    );
    let error = made.map(drop).unwrap_err();
    assert!(matches!(error, KeyError::Source { .. }), "{error}");
    assert_eq!(disk.counters().operations, operations, "nothing was written");
    let text = error.to_string();
    assert!(text.starts_with("key command /bin/sh: "), "{text}");
    if keys.path("asked").exists() {
        let debug = format!("{error:?}");
        assert!(!text.contains(&sent(keys)) && !debug.contains(&sent(keys)), "{text}");
    }
    text
}

#[test]
fn a_command_wraps_and_unwraps() {
    let (keys, disk) = (Keys::new(), disk());
    let (mut slots, root) = create(&disk, &source(&keys, WRAPPER));
    let Parameters::Command { program, key_id, wrapped } = slots.list()[0].parameters.clone() else {
        panic!("a command")
    };
    assert_eq!((program.as_str(), key_id.as_str(), wrapped.len()), ("/bin/sh", "key-1", 44));
    assert!(open(&disk).unlock(&source(&keys, WRAPPER)).unwrap() == root);
    assert_eq!(source(&keys, WRAPPER).key_id().unwrap().as_deref(), Some("key-1"));
    // Each slot has a key of its own.
    let second = slots.add(&root, &source(&keys, WRAPPER), "").unwrap();
    assert_ne!(slots.list()[0].parameters, slots.list()[1].parameters);
    slots.remove(&root, coffer_backends::seal::slots::SlotId::FIRST).unwrap();
    assert_eq!(open(&disk).unlock_slot(&source(&keys, WRAPPER)).unwrap().0, second);

    let asked = fs::read_to_string(keys.path("asked")).unwrap();
    let first = asked.lines().next().unwrap();
    let request: serde_json::Value = serde_json::from_str(first).unwrap();
    assert_eq!(request["version"], 1);
    assert_eq!(request["operation"], "wrap");
    assert_eq!(request["store_id"], "7468652073746f726527732069642e2e");
    assert_eq!(request["key"].as_str().unwrap().len(), 44);
}

#[test]
fn a_command_that_does_not_know_the_key_says_so() {
    let (keys, disk) = (Keys::new(), disk());
    create(&disk, &source(&keys, WRAPPER));
    let other = WRAPPER.replace("= key-1 ]", "= key-2 ]");
    let error = open(&disk).unlock(&source(&keys, &other)).unwrap_err();
    assert!(error.to_string().contains("refused to unwrap: no such key"), "{error}");
    // And one that unwraps to something else is a wrong key.
    let other = WRAPPER.replace("N-ZA-Mn-za-m", "B-ZAb-za");
    let error = open(&disk).unlock(&source(&keys, &other)).unwrap_err();
    assert!(matches!(error, KeyError::WrongKey { .. } | KeyError::Source { .. }), "{error}");
}

#[test]
fn a_command_that_fails_is_quoted_without_the_key() {
    let keys = Keys::new();
    let script = r#"cat | tee "$DIR/asked" >&2; printf 'the vault is sealed\n\033[31m' >&2; exit 3"#;
    let text = refusal(&keys, command(&keys, script));
    assert!(text.contains("exit status: 3") && text.contains("the vault is sealed"), "{text}");
    assert!(text.contains("(a key)"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text:?}");
    let text = refusal(&keys, command(&keys, r#"kill -TERM $$"#));
    assert!(text.contains("signal: 15"), "{text}");
}

#[test]
fn garbage_is_refused_and_never_quoted() {
    for garbage in [
        r#"cat > "$DIR/asked""#,
        r#"cat | tee "$DIR/asked""#,
        r#"cat > "$DIR/asked"; sed 's/.*"key":\("[^"]*"\).*/{"key_id": 1, "wrapped": [\1]}/' "$DIR/asked""#,
        r#"cat > "$DIR/asked"; sed 's/.*"key":\("[^"]*"\).*/\1/' "$DIR/asked""#,
        r#"cat > "$DIR/asked"; echo '{"key_id":"k","wrapped":"***"}'"#,
        r#"cat > "$DIR/asked"; echo '{"key_id":"k","wrapped":""}'"#,
        r#"cat > "$DIR/asked"; echo '{"key_id":"","wrapped":"AAAA"}'"#,
        r#"cat > "$DIR/asked"; echo '{"key_id":"k","wrapped":"AAAA"} trailing'"#,
        r#"cat > "$DIR/asked"; head -c 1000 /dev/urandom"#,
        r#"cat > "$DIR/asked"; sed 's/.*"key":\("[^"]*"\).*/{"key_id":"k","wrapped":\1}/' "$DIR/asked""#,
        r#"cat > "$DIR/asked"; sed 's/.*"key":\("[^"]*"\).*/{"error":\1}/' "$DIR/asked""#,
    ] {
        let keys = Keys::new();
        refusal(&keys, command(&keys, garbage));
        assert!(keys.path("asked").exists(), "{garbage}");
    }
    let keys = Keys::new();
    let text = refusal(&keys, command(&keys, "cat > /dev/null; head -c 70000 /dev/zero"));
    assert!(text.contains("more than 64 KiB"), "{text}");
}

#[test]
fn a_command_that_cannot_unwrap_what_it_wraps_gets_no_slot() {
    let keys = Keys::new();
    let text = refusal(&keys, command(&keys, &WRAPPER.replace("base64 -d | rotated", "base64 -d")));
    assert!(text.contains("does not unwrap") || text.contains("no `key`"), "{text}");
}

#[test]
fn a_command_that_hangs_is_killed_with_all_it_started() {
    for script in [
        r#"sleep 600 & echo $$ $! > "$DIR/started"; echo still here >&2; wait"#,
        r#"sleep 600 & echo $$ $! > "$DIR/started"; exec >&- 2>&-; wait"#,
        // Gone itself, and what it left behind holds the pipes.
        r#"sleep 600 & echo $$ $! > "$DIR/started"; echo still here >&2; exit 0"#,
    ] {
        let keys = Keys::new();
        let begun = Instant::now();
        let text = refusal(&keys, command(&keys, script).with_timeout(Duration::from_millis(700)));
        assert!(begun.elapsed() < Duration::from_secs(20), "it does not wait for the command");
        assert!(text.contains("no answer within 700ms"), "{text}");
        assert_eq!(text.contains("still here"), script.contains("still here"), "{text}");
        let started = fs::read_to_string(keys.path("started")).unwrap();
        for pid in started.split_whitespace() {
            let gone = || match fs::read_to_string(format!("/proc/{pid}/stat")) {
                // Dead, and its new parent has not looked yet.
                Ok(stat) => stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z')),
                Err(_) => true,
            };
            let deadline = Instant::now() + Duration::from_secs(20);
            while !gone() {
                assert!(Instant::now() < deadline, "{pid} of {script} is still there");
                std::thread::yield_now();
            }
        }
    }
}

#[test]
fn a_command_that_does_not_read_or_does_not_exist_is_an_error() {
    let keys = Keys::new();
    let text = refusal(&keys, command(&keys, "exec <&-; exit 0"));
    assert!(text.contains("not the JSON"), "{text}");
    let missing = KeySource::Command(KeyCommand::parse("/nowhere/at-all wrap").unwrap());
    let error = missing.key_id().unwrap_err();
    assert!(error.to_string().starts_with("key command /nowhere/at-all: cannot be started"), "{error}");
}

#[test]
fn a_shell_is_used_only_when_it_is_asked_for() {
    let keys = Keys::new();
    let marker = keys.path("marker");
    let line = format!("/bin/echo {{\"key_id\":\"k\"}} ; touch {}", marker.display());
    let error = KeySource::Command(KeyCommand::parse(&line).unwrap()).key_id().unwrap_err();
    assert!(error.to_string().contains("not the JSON"), "{error}");
    assert!(!marker.exists());

    let shell = format!("shell: touch {} && echo '{{\"key_id\":\"k\"}}'", marker.display());
    let asked = KeySource::Command(KeyCommand::parse(&shell).unwrap()).key_id();
    assert_eq!(asked.unwrap().as_deref(), Some("k"));
    assert!(marker.exists());

    let list = r#"["/bin/echo", "{\"key_id\": \"with space\"}"]"#;
    let asked = KeySource::Command(KeyCommand::parse(list).unwrap()).key_id();
    assert_eq!(asked.unwrap().as_deref(), Some("with space"));
    for nothing in ["", "  ", "[]", "[1]", "[\"\"]", "[\"a\""] {
        assert!(KeyCommand::parse(nothing).is_err(), "{nothing:?}");
    }
    let secret = KeyCommand::parse("/bin/prog --token=hidden").unwrap();
    assert!(!format!("{secret:?}").contains("hidden"));
}
