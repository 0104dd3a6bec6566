//! The committed compiler output belongs to the committed schema.

// A test fails by panicking.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

const FILES: [&str; 7] = [
    "types.capnp",
    "kv.capnp",
    "watch.capnp",
    "lease.capnp",
    "maintenance.capnp",
    "gate.capnp",
    "peer.capnp",
];

#[test]
fn compiled_schema_is_up_to_date() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema");
    let version = Command::new("capnp").arg("--version").output();
    if version.is_err() {
        assert!(std::env::var_os("COFFER_REQUIRE_ALL").is_none(), "the capnp tool is not on PATH");
        println!("SKIPPED: needs capnp");
        return;
    }
    let compiled = Command::new("capnp")
        .current_dir(&folder)
        .args(["compile", "-Iimport", "-o-"])
        .args(FILES)
        .output()
        .expect("capnp was there a moment ago");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let committed = std::fs::read(folder.join("coffer.cgr")).unwrap();
    assert!(
        without_tool_version(&compiled.stdout) == without_tool_version(&committed),
        "rpc/schema/coffer.cgr is not what the schema compiles to; in rpc/schema run:\n  \
         capnp compile -Iimport -o- {} > coffer.cgr",
        FILES.join(" ")
    );
    let listed: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".capnp"))
        .collect();
    assert_eq!(listed.len(), FILES.len(), "a schema file is not in the list: {listed:?}");
}

/// The Rust of every file, which is what counts. The tool's version is part of its output.
fn without_tool_version(request: &[u8]) -> Vec<(String, String)> {
    let out = tempfile::tempdir().unwrap();
    capnpc::codegen::CodeGenerationCommand::new()
        .output_directory(out.path())
        .default_parent_module(vec!["schema".into()])
        .run(request)
        .unwrap();
    FILES
        .map(|file| file.replace(".capnp", "_capnp.rs"))
        .map(|file| {
            let text = std::fs::read_to_string(out.path().join(&file)).unwrap();
            let text =
                text.lines().filter(|line| !line.starts_with("// capnp binary version")).collect::<Vec<_>>();
            (file, text.join("\n"))
        })
        .into()
}
