//! Sealed stores: which ones are made, what opens them, and what is refused and left as it is.

use crate::home::{CANARY_KEY, CANARY_VALUE, Home, bare, canaries, content, get, put, seen, serve, text};
use crate::support::{Daemon, bare_program, output_of, run_with, wait_for};
use rustix::process::Signal;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

#[test]
fn a_new_store_is_not_made_in_the_clear_by_accident() {
    let home = Home::new();
    let (uri, dir) = (home.uri("store"), text(&home.path("store")));
    let commands: [&[&str]; 4] = [
        &["--store", &uri, "put", "a", "1"],
        &["--store", &format!("{uri}?backend=sqlite"), "put", "a", "1"],
        &[
            "serve",
            "--data-dir",
            &dir,
            "--listen-client-urls",
            "coffer://127.0.0.1:0",
            "--log-level",
            "error",
        ],
        &[
            "import-etcd",
            concat!(env!("CARGO_MANIFEST_DIR"), "/../etcd/testdata/etcd-3.7.1.snapshot.db"),
            "--data-dir",
            &dir,
        ],
    ];
    for command in commands {
        let ran = output_of(bare_program().args(command), b"");
        for way in
            ["--seal-key-file", "--seal-passphrase-file", "--seal-command", "--seal-kms-socket", "--unsealed"]
        {
            assert!(ran.stderr.contains(way), "{command:?}: {}", ran.stderr);
        }
        ran.fails(1, "");
        assert!(content(home.dir.path()).is_empty() && !home.path("store").exists(), "{command:?}");
    }
    // An empty directory stays empty.
    fs::create_dir(home.path("store")).expect("created");
    bare(["--store", &uri, "put", "a", "1"]).fails(1, "--unsealed");
    assert_eq!(fs::read_dir(home.path("store")).expect("readable").count(), 0);
    // Memory needs no key.
    bare(["--store", "mem:", "put", "a", "1"]).ok();
}

#[test]
fn a_sealed_store_opens_with_its_key_only() {
    for backend in ["segment", "sqlite"] {
        opens_with_its_key_only(backend);
    }
}

fn opens_with_its_key_only(backend: &str) {
    let home = Home::new();
    let (key, other) = (home.key("key", 7), home.key("other", 8));
    let words = home.secret("words", "open sesame\n");
    let uri = home.uri("store");
    put(&["--store", &format!("{uri}?backend={backend}"), "--seal-key-file", &key], "a", "1");
    let before = content(&home.path("store"));
    let cases: [(&[&str], &str); 4] = [
        (&[], "is sealed: give its key (key-file by --seal-key-file)"),
        (&["--unsealed"], "is sealed: give its key (key-file by --seal-key-file)"),
        (&["--seal-key-file", &other], "it is not this store's key"),
        (&["--seal-passphrase-file", &words], "it has no slot of kind passphrase; it opens with: key-file"),
    ];
    for (flags, reason) in cases {
        for command in [&["put", "b", "2"][..], &["get", "a"]] {
            let args = [&["--store", uri.as_str()], flags, command].concat();
            output_of(bare_program().args(args), b"").fails(1, reason);
            assert!(content(&home.path("store")) == before, "{backend}, {flags:?}: it was left as it is");
        }
        let serve = ["serve", "--log-level", "error", "--data-dir", &text(&home.path("store"))];
        output_of(bare_program().args(serve.iter().chain(flags)), b"").fails(1, reason);
        assert!(content(&home.path("store")) == before, "{backend}, {flags:?}: it was left as it is");
    }
    assert_eq!(get(&["--store", &uri, "--seal-key-file", &key], "a"), "1\n");
    // The other ways to name the same key.
    assert_eq!(get(&["--store", &format!("{uri}?seal-key-file={key}")], "a"), "1\n");
    let mut command = bare_program();
    command.args(["--store", &uri, "get", "--print-value-only", "a"]).env("COFFER_SEAL_KEY_FILE", &key);
    assert_eq!(output_of(&mut command, b"").ok(), "1\n");
}

#[test]
fn a_store_in_the_clear_opens_without_a_key_only() {
    let home = Home::new();
    let key = home.key("key", 7);
    let uri = home.uri("store");
    put(&["--store", &uri, "--unsealed"], "a", "1");
    let before = content(&home.path("store"));
    bare(["--store", &uri, "--seal-key-file", &key, "get", "a"]).fails(1, "coffer convert");
    assert!(content(&home.path("store")) == before, "it was left as it is");
    for store in
        [&["--store", &uri][..], &["--store", &uri, "--unsealed"], &["--store", &format!("{uri}?unsealed")]]
    {
        assert_eq!(get(store, "a"), "1\n", "{store:?}");
    }
}

#[test]
fn one_key_is_given_and_not_two() {
    let home = Home::new();
    let (key, uri) = (home.key("key", 7), home.uri("store"));
    let store = ["--store", &uri];
    for flags in [
        &["--seal-key-file", &key, "--unsealed"][..],
        &["--seal-key-file", &key, "--seal-passphrase-file", &key],
        &["--seal-command", "wrap", "--seal-kms-socket", "/kms.sock"],
    ] {
        let args = store.iter().chain(flags).chain(&["put", "a", "1"]);
        output_of(bare_program().args(args), b"").fails(2, "a store is opened with one key, or unsealed");
    }
    let mut command = bare_program();
    command.args(store).args(["put", "a", "1"]);
    command.env("COFFER_SEAL_KEY_FILE", &key).env("COFFER_UNSEALED", "true");
    output_of(&mut command, b"").fails(2, "COFFER_SEAL_KEY_FILE and COFFER_UNSEALED are given");
    let in_uri = format!("{uri}?seal-key-file={key}");
    bare(["--store", &in_uri, "--unsealed", "put", "a", "1"]).fails(2, "opened with one key");
    bare(["--seal-key-file", &key, "get", "a"]).fails(2, "who asks a daemon needs none");
    // A flag goes before the environment.
    let mut command = bare_program();
    command.args(store).args(["--seal-key-file", &key, "put", "a", "1"]).env("COFFER_UNSEALED", "true");
    output_of(&mut command, b"").ok();
    assert!(home.path("store/slots").exists());
}

#[test]
fn every_source_opens_what_it_has_made() {
    let home = Home::new();
    let words = home.secret("words", "open sesame\n");
    // Wraps by turning the key around, which is no secret and good enough to come back.
    let program = home.secret(
        "wrap",
        "import base64,json,sys\nq=json.load(sys.stdin)\nturn=lambda t:base64.b64encode(base64.b64decode(t)[::-1]).decode()\n\
         print(json.dumps({'status':lambda:{'key_id':'k'},'wrap':lambda:{'key_id':'k','wrapped':turn(q['key'])},\
         'unwrap':lambda:{'key':turn(q['wrapped'])}}[q['operation']]()))\n",
    );
    let command = format!("python3 {program}");
    for (name, flags) in
        [("passphrase", ["--seal-passphrase-file", &words]), ("command", ["--seal-command", &command])]
    {
        let uri = home.uri(name);
        let store = ["--store", &uri, flags[0], flags[1]];
        put(&store, "a", name);
        assert_eq!(get(&store, "a"), format!("{name}\n"));
    }
    // The passphrase in the environment is the same one, and warned of.
    let mut command = bare_program();
    command.args(["--store", &home.uri("passphrase"), "get", "--print-value-only", "a"]);
    let ran = output_of(command.env("COFFER_SEAL_PASSPHRASE", "open sesame"), b"");
    assert_eq!((ran.code, &ran.stdout[..]), (0, &b"passphrase\n"[..]), "{}", ran.stderr);
    assert!(ran.stderr.starts_with("Warning: the passphrase is in the environment"), "{}", ran.stderr);
    // Nobody is there to be asked.
    let mut command = bare_program();
    command.args(["--store", &home.uri("passphrase"), "--seal-passphrase", "get", "a"]);
    output_of(Command::new("setsid").arg("-w").arg(command.get_program()).args(command.get_args()), b"")
        .fails(2, "can only be asked for on a terminal");
    // A file that others may read is no secret.
    fs::set_permissions(home.path("words"), Permissions::from_mode(0o644)).expect("set");
    bare(["--store", &home.uri("passphrase"), "--seal-passphrase-file", &words, "get", "a"])
        .fails(1, "chmod 600");
}

/// Many processes create one store at once: one makes it, and whoever comes while it is open is told so.
#[test]
fn processes_that_create_one_store_at_once_agree() {
    let home = Home::new();
    let (key, uri) = (home.key("key", 7), home.uri("store"));
    for round in 0..3 {
        let uri = format!("{uri}-{round}");
        let runs: Vec<_> = (0..6)
            .map(|number| {
                let (key, uri) = (key.clone(), uri.clone());
                thread::spawn(move || {
                    bare(["--store", &uri, "--seal-key-file", &key, "put", &format!("k{number}"), "v"])
                })
            })
            .collect();
        let runs: Vec<_> = runs.into_iter().map(|run| run.join().expect("no panic")).collect();
        let stored = runs.iter().filter(|ran| ran.code == 0).count();
        for ran in runs.iter().filter(|ran| ran.code != 0) {
            assert!(ran.stderr.contains("is in use"), "{}", ran.stderr);
        }
        assert!(stored > 0);
        let count =
            bare(["--store", &uri, "--seal-key-file", &key, "get", "", "--prefix", "--count-only"]).ok();
        assert_eq!(count, format!("{stored}\n"));
    }
}

#[test]
fn a_daemon_takes_its_key_from_flags_environment_or_file() {
    let home = Home::new();
    let key = home.key("key", 7);
    let config = home.path("coffer.toml");
    fs::write(&config, format!("seal-key-file = {key:?}\n")).expect("written");
    let dir = home.path("store");
    let serve = || {
        let mut command = bare_program();
        command.args(["serve", "--listen-client-urls", "coffer://127.0.0.1:0", "--data-dir"]).arg(&dir);
        command.stderr(Stdio::piped());
        command
    };
    let variable = |mut command: Command| {
        command.env("COFFER_SEAL_KEY_FILE", &key);
        command
    };
    let file = |mut command: Command| {
        command.arg("--config").arg(&config);
        command
    };
    let flag = |mut command: Command| {
        command.args(["--seal-key-file", &key]);
        command
    };
    for (number, mut command) in [flag(serve()), variable(serve()), file(serve())].into_iter().enumerate() {
        let daemon = Daemon::start_with(&mut command);
        let endpoint = daemon.endpoint.clone();
        bare(["--endpoints", &endpoint, "put", &format!("k{number}"), "v"]).ok();
        let status = bare(["--endpoints", &endpoint, "status", "-w", "json"]).json();
        assert_eq!(status[0]["Status"]["sealed"], true);
        assert!(!bare(["--endpoints", &endpoint, "status"]).ok().contains("UNSEALED"));
        assert!(!bare(["--endpoints", &endpoint, "status", "-w", "table"]).ok().contains("UNSEALED"));
        let (code, log) = stop(daemon);
        assert_eq!(code, Some(0));
        assert!(log.contains("the store is sealed") && !log.contains("UNSEALED"), "{log}");
    }
    let two = format!("seal-key-file = {key:?}\nunsealed = true\n");
    fs::write(&config, two).expect("written");
    output_of(&mut file(serve()), b"").fails(2, "a store is opened with one key, or unsealed");
}

/// Stops a daemon whose standard error is piped, and gives what it wrote there.
fn stop(mut daemon: Daemon) -> (Option<i32>, String) {
    daemon.signal(Signal::TERM);
    let code = daemon.wait();
    (code, daemon.stderr())
}

#[test]
fn what_is_not_sealed_says_so_wherever_one_looks() {
    let home = Home::new();
    let mut command = bare_program();
    command
        .args(["serve", "--unsealed", "--listen-client-urls", "coffer://127.0.0.1:0", "--data-dir"])
        .arg(home.path("store"))
        .stderr(Stdio::piped());
    let daemon = Daemon::start_with(&mut command);
    let endpoint = daemon.endpoint.clone();
    for format in ["simple", "table"] {
        let shown = bare(["--endpoints", &endpoint, "status", "-w", format]).ok();
        assert!(shown.contains("UNSEALED"), "{shown}");
    }
    let status = bare(["--endpoints", &endpoint, "status", "-w", "json"]).json();
    assert_eq!(status[0]["Status"]["sealed"], false);
    let (_, log) = stop(daemon);
    assert!(log.contains("WARN") && log.contains("UNSEALED"), "{log}");
    let shown = bare(["--store", &home.uri("store"), "status"]).ok();
    assert!(shown.contains("UNSEALED"), "{shown}");
}

/// Runs as etcd until it serves, and gives its log.
fn etcd(home: &Home, data_dir: &str, more: &[&str]) -> String {
    let mut command = bare_program();
    command.args(["etcd", "--listen-client-urls", "http://127.0.0.1:0", "--advertise-client-urls"]);
    command.args(["http://127.0.0.1:0", "--data-dir"]).arg(home.path(data_dir)).args(more);
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut log = String::new();
    let mut lines = BufReader::new(child.stderr.take().expect("piped"));
    let mut line = String::new();
    while lines.read_line(&mut line).expect("readable") > 0 {
        log.push_str(&line);
        if line.contains("ready to serve client requests") {
            rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::TERM)
                .expect("it runs");
        }
        line.clear();
    }
    wait_for(|| child.try_wait().expect("waitable"));
    log
}

#[test]
fn in_the_place_of_etcd_a_store_is_in_the_clear_and_the_log_warns_unless_a_key_is_given() {
    let home = Home::new();
    let key = home.key("key", 7);
    let log = etcd(&home, "clear", &[]);
    let warning = log.lines().find(|line| line.contains("UNSEALED")).unwrap_or_else(|| panic!("{log}"));
    assert!(warning.contains("\"level\":\"warn\""), "{warning}");
    assert!(!home.path("clear/slots").exists());
    let log = etcd(&home, "sealed", &["--seal-key-file", &key]);
    assert!(log.contains("the store is sealed") && !log.contains("UNSEALED"), "{log}");
    assert!(home.path("sealed/slots").exists());
    let log = etcd(&home, "sealed", &[]);
    assert!(log.contains("is sealed: give its key (key-file by --seal-key-file)"), "{log}");
    assert_eq!(get(&["--store", &home.uri("sealed"), "--seal-key-file", &key], "none"), "");
}

#[test]
fn convert_seals_and_unseals_and_changes_keys() {
    let home = Home::new();
    let (key, other) = (home.key("key", 7), home.key("other", 8));
    let dir = |name: &str| text(&home.path(name));
    let convert = |args: &[&str]| output_of(bare_program().arg("convert").args(args), b"");
    put(&["--store", &home.uri("clear"), "--unsealed"], "a", "1");
    let (clear, sealed, rekeyed, again) = (dir("clear"), dir("sealed"), dir("rekeyed"), dir("again"));
    convert(&[&clear, &sealed]).fails(1, "has the backend segment already");
    convert(&[&clear, &sealed, "--backend", "sqlite"])
        .fails(1, "is in the clear: say what is to seal the new store");
    convert(&[&clear, &sealed, "--new-key-file", &key, "--new-unsealed"])
        .fails(2, "a store has the one or the other");
    assert!(!home.path("sealed").exists());
    assert_eq!(convert(&[&clear, &sealed, "--new-key-file", &key]).code, 0);
    convert(&[&sealed, &rekeyed, "--new-key-file", &other]).fails(1, "is sealed: give its key");
    assert_eq!(convert(&[&sealed, &rekeyed, "--seal-key-file", &key, "--new-key-file", &other]).code, 0);
    assert_eq!(convert(&[&rekeyed, &again, "--seal-key-file", &other, "--new-unsealed"]).code, 0);
    assert_eq!(get(&["--store", &home.uri("sealed"), "--seal-key-file", &key], "a"), "1\n");
    assert_eq!(get(&["--store", &home.uri("rekeyed"), "--seal-key-file", &other], "a"), "1\n");
    assert_eq!(get(&["--store", &home.uri("again")], "a"), "1\n");
}

/// What was stored is in no file of a sealed store and in nothing that the daemon says, whatever happens to it.
#[test]
fn nothing_that_was_stored_is_on_the_disk_or_in_the_log() {
    for backend in ["segment", "sqlite"] {
        is_nowhere_in_the_clear(backend);
    }
}

fn is_nowhere_in_the_clear(backend: &str) {
    let home = Home::new();
    let key = home.key("key", 7);
    let mut logs = String::new();
    let start = || serve(&home, "store", ["--backend", backend, "--seal-key-file", &key]);
    let daemon = start();
    let place = ["--endpoints".to_owned(), daemon.endpoint.clone()];
    let run_there = |place: &[String], args: &[&str], input: &[u8]| {
        run_with(place.iter().map(String::as_str).chain(args.iter().copied()), input)
    };
    let import = run_there(&place, &["import"], canaries().as_bytes());
    assert_eq!(import.code, 0, "{}", import.stderr);
    assert_eq!(seen(&home.path("store")), Vec::<PathBuf>::new(), "while it runs");
    // Killed, so that the log has to be replayed.
    let mut daemon = daemon;
    daemon.signal(Signal::KILL);
    daemon.wait();
    assert_eq!(seen(&home.path("store")), Vec::<PathBuf>::new(), "after it was killed");
    let daemon = start();
    let place = ["--endpoints".to_owned(), daemon.endpoint.clone()];
    let count = run_there(&place, &["get", CANARY_KEY, "--prefix", "--count-only"], b"").ok();
    assert_eq!(count, "2000\n");
    run_there(&place, &["del", &format!("{CANARY_KEY}/1"), "--prefix"], b"").ok();
    run_there(&place, &["compact", "1900", "--physical"], b"").ok();
    // What goes wrong names no key either.
    for args in [
        &["put", CANARY_KEY, CANARY_VALUE, "--lease", "77"][..],
        &["get", CANARY_KEY, "--rev", "5"],
        &["put", &format!("{CANARY_KEY}/none"), "--ignore-value"],
    ] {
        logs.push_str(&run_there(&place, args, b"").stderr);
    }
    assert_eq!(daemon.stop(Signal::TERM).0, Some(0));
    logs.push_str(&fs::read_to_string(home.path("log")).expect("a log"));
    assert_eq!(seen(&home.path("store")), Vec::<PathBuf>::new(), "after it was closed");
    assert!(!logs.contains(CANARY_KEY) && !logs.contains(CANARY_VALUE), "{logs}");
    // The search finds what it looks for.
    let uri = format!("{}?backend={backend}", home.uri("clear"));
    let import =
        output_of(bare_program().args(["--store", &uri, "--unsealed", "import"]), canaries().as_bytes());
    assert_eq!(import.code, 0, "{}", import.stderr);
    assert!(!seen(&home.path("clear")).is_empty());
}

/// Damage that a running daemon meets stops it, and neither it nor who asked says what was stored.
#[test]
fn a_daemon_that_meets_damage_says_nothing_of_what_was_stored() {
    let home = Home::new();
    // In the clear as well: there the damaged bytes themselves are keys and values.
    for seal in [&["--seal-key-file", home.key("key", 7).as_str()][..], &["--unsealed"]] {
        let name = if seal.len() > 1 { "sealed" } else { "clear" };
        let daemon = serve(&home, name, seal);
        let import = output_of(
            bare_program().args(["--endpoints", &daemon.endpoint, "import"]),
            canaries().as_bytes(),
        );
        assert_eq!(import.code, 0, "{}", import.stderr);
        assert_eq!(daemon.stop(Signal::TERM).0, Some(0));
        // Started again it has read keys and no values.
        let mut daemon = serve(&home, name, seal);
        let mut flipped = 0;
        for (path, mut bytes) in content(&home.path(name)) {
            if path.extension().is_some_and(|extension| extension == "records") {
                bytes.iter_mut().skip(600).step_by(500).for_each(|byte| *byte ^= 0x10);
                fs::write(&path, bytes).expect("written");
                flipped += 1;
            }
        }
        assert!(flipped > 0);
        let asked = ["--endpoints", &daemon.endpoint];
        let ran = output_of(bare_program().args(asked).args(["get", CANARY_KEY, "--prefix"]), b"");
        assert_eq!((ran.code, ran.stdout.len()), (5, 0), "{}", ran.stderr);
        assert_eq!(daemon.wait(), Some(5));
        let said = format!("{}{}", ran.stderr, fs::read_to_string(home.path("log")).expect("a log"));
        assert!(said.contains(".records") && said.contains("damaged"), "{said}");
        assert!(!said.contains(CANARY_KEY) && !said.contains(CANARY_VALUE), "{said}");
        assert!(!said.contains(&CANARY_KEY[..8]) && !said.contains(&CANARY_VALUE[..8]), "{said}");
    }
}
