//! The state machine names nothing that could make two members differ, and nothing that could make it wait.

use std::path::{Path, PathBuf};

/// Words that must not occur in its sources. Tests inside them are not looked at.
const BANNED: &[&str] = &[
    // Clocks and waiting.
    "std::time",
    "Instant",
    "SystemTime",
    "Duration",
    "sleep",
    "park(",
    // Randomness and orders that differ between processes.
    "rand::",
    "getrandom",
    "HashMap",
    "HashSet",
    "RandomState",
    "DefaultHasher",
    "as_ptr",
    // Threads, I/O and surroundings.
    "std::thread",
    "thread::",
    "thread_local",
    "mpsc",
    "Condvar",
    "async ",
    ".await",
    "std::fs",
    "std::io",
    "std::net",
    "std::env",
    "std::process",
    "coffer_runtime",
    "tracing::",
    "f32",
    "f64",
];

#[test]
fn no_source_of_the_state_machine_names_what_is_not_deterministic() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![source.join("state.rs")];
    collect(&source.join("state"), &mut files);
    assert!(files.len() > 10, "the sources moved");
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for (number, line) in code.lines().enumerate() {
            let line = line.split("//").next().unwrap_or_default();
            let banned = BANNED.iter().find(|word| line.contains(*word));
            assert_eq!(banned, None, "{}:{}", file.display(), number + 1);
        }
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if !path.ends_with("tests.rs") {
            files.push(path);
        }
    }
}
