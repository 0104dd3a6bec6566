//! Data directories that can not be used: the daemon and the commands say what to do, and touch nothing.
//!
//! Whoever runs this may be root, whom no permission stops: then the program runs as somebody else. What needs a disk
//! of its own gets one in a mount namespace; without any the checks that need it are skipped, and say so.

use crate::support::{Ran, on_own_disk, program, run};
use rustix::process::geteuid;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// A user that owns nothing.
const NOBODY: u32 = 65534;

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// The command line of the daemon, and of a command that opens the store itself.
fn uses(dir: &Path) -> [Vec<String>; 2] {
    let serve =
        ["serve", "--log-level", "error", "--listen-client-urls", "coffer://127.0.0.1:0", "--data-dir"];
    let uri = format!("file://{}", dir.display());
    [
        serve.into_iter().chain([text(dir)]).map(str::to_owned).collect(),
        ["--store", &uri, "put", "a", "2"].map(str::to_owned).to_vec(),
    ]
}

/// Makes a store with one key in `dir`.
fn make_store(dir: &Path) {
    let uri = format!("file://{}", dir.display());
    assert_eq!(run(["--store", &uri, "put", "a", "1"]).ok(), "OK\n");
}

/// The names and bytes of all files in `dir` but the lock, which names who tried last.
fn content(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let paths = fs::read_dir(dir).expect("readable").map(|entry| entry.expect("an entry").path());
    let name = |path: &Path| path.file_name().expect("a name").to_string_lossy().into_owned();
    let files = paths.map(|path| (name(&path), fs::read(&path).expect("a file")));
    let mut files: Vec<_> = files.filter(|(name, _)| name != "LOCK").collect();
    files.sort();
    files
}

#[test]
fn another_format_version_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = dir.path().join("store");
    make_store(&store);
    for (name, mut bytes) in content(&store) {
        if name.starts_with("manifest") {
            bytes[8..12].copy_from_slice(&9_u32.to_le_bytes());
            let checksum = crc32c::crc32c(&bytes[..12]);
            bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
            fs::write(store.join(name), bytes).expect("written");
        }
    }
    let before = content(&store);
    for arguments in uses(&store) {
        let ran = run(&arguments);
        assert!(ran.stderr.contains(text(&store)), "{}", ran.stderr);
        ran.fails(1, "has format version 9, and this program knows version 1: open it with the version of");
        assert!(content(&store) == before, "{arguments:?}");
    }
}

#[test]
fn a_directory_of_somebody_else_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let allow = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).expect("set");
    allow(dir.path(), 0o755);
    // A copy where everybody may run it, wherever this was built.
    let copy = dir.path().join("coffer");
    fs::copy(env!("CARGO_BIN_EXE_coffer"), &copy).expect("copied");
    let store = dir.path().join("store");
    make_store(&store);
    let before = content(&store);
    let run_as_nobody = |arguments: &[String]| {
        let mut command = Command::new(&copy);
        command.env_clear().env("COFFER_UNSEALED", "true").args(arguments).stdin(Stdio::null());
        if geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        let output = command.output().expect("it runs");
        Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    };
    // Not to be entered, not to be written, and where none may be made.
    let inside = store.join("new");
    for (path, mode) in [(&store, 0o000), (&store, 0o555), (&inside, 0o555)] {
        for arguments in uses(path) {
            allow(&store, mode);
            let ran = run_as_nobody(&arguments);
            allow(&store, 0o700);
            assert!(ran.stderr.contains(text(path)), "{mode:o}: {}", ran.stderr);
            ran.fails(1, "let the user that runs this read and write it, or name another directory");
        }
    }
    assert!(content(&store) == before);
}

#[test]
fn a_read_only_disk_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let script = "
        \"$0\" --store \"file://$1/store\" put a 1
        mount -o remount,ro \"$1\"
        for path in store new; do
            for command in 'get a' 'put a 2'; do
                \"$0\" --store \"file://$1/$path\" $command && exit 9 || echo $?
            done
            \"$0\" serve --log-level error --data-dir \"$1/$path\" && exit 9 || echo $?
        done";
    let Some(mut command) = on_own_disk(dir.path(), "40m", script) else { return };
    let output = command.output().expect("it runs");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(stdout, "OK\n1\n1\n1\n1\n1\n1\n", "{stderr}");
    let lines: Vec<_> = stderr.lines().collect();
    assert_eq!(lines.len(), 6, "{stderr}");
    for (line, path) in lines.iter().zip(["store", "store", "store", "new", "new", "new"]) {
        let named = line.starts_with("Error: cannot open store: ") && line.contains(&format!("/{path}: "));
        assert!(named, "{line}");
    }
    let advised = |line: &&&str| line.ends_with(": mount it for writing, or name another directory");
    // Only a reader is told that there is no such store.
    assert_eq!(lines.iter().filter(advised).count(), 5, "{stderr}");
    assert!(lines[3].ends_with("name the directory of a store, or allow it to be created"), "{stderr}");
}

#[test]
fn a_socket_in_a_directory_that_is_missing_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, socket) = (dir.path().join("store"), dir.path().join("no/such/socket"));
    let url = format!("unix://{}", socket.display());
    let output = program()
        .args(["serve", "--log-level", "error", "--listen-client-urls", &url, "--data-dir"])
        .arg(&store)
        .output()
        .expect("it runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains(&url) && stderr.contains("--listen-client-urls names another place"), "{stderr}");
}
