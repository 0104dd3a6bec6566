//! The rules of the house that the compiler does not check: which crate may depend on which, who may name the crates
//! that are confined to one place, and the licences of everything that is linked in.

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

/// Arrows between the workspace's crates: a crate and what it may depend on in its library or program.
const ARROWS: &[(&str, &[&str])] = &[
    ("coffer-runtime", &[]),
    ("coffer-core", &["coffer-runtime"]),
    ("coffer-kms", &["coffer-runtime"]),
    ("coffer-backends", &["coffer-core", "coffer-kms", "coffer-runtime"]),
    ("coffer-rpc", &["coffer-core", "coffer-runtime"]),
    ("coffer-etcd", &["coffer-core", "coffer-runtime"]),
    ("coffer", &["coffer-rpc", "coffer-backends", "coffer-core", "coffer-runtime"]),
    ("coffer-ffi", &["coffer"]),
    ("coffer-cli", &["coffer", "coffer-rpc", "coffer-etcd", "coffer-core", "coffer-runtime"]),
];

/// Crates for tests and measurements may depend on everything.
const OUTSIDE: &[&str] = &["coffer-tests", "coffer-simulation", "coffer-bench"];

/// Dependencies that only these crates may name.
const CONFINED: &[(&str, &[&str])] = &[
    ("async-std", &["coffer-runtime"]),
    ("openraft", &["coffer-core"]),
    ("openraft-rt", &["coffer-core"]),
    ("capnp", &["coffer-rpc"]),
    ("capnp-rpc", &["coffer-rpc"]),
    // A server for clients of etcd, and a client of plugins that keep keys.
    ("tonic", &["coffer-etcd", "coffer-kms"]),
    ("hyper", &["coffer-etcd", "coffer-kms"]),
    ("clap", &["coffer-cli"]),
];

/// Licences that may be linked into an Apache-2.0 program without further duties than their notices.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Tools of tests, which nothing is linked with.
const TOOLS: &[&str] = &["cbindgen"];

fn metadata() -> Metadata {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    MetadataCommand::new()
        .manifest_path(manifest)
        .other_options(vec!["--locked".into(), "--offline".into()])
        .exec()
        .expect("cargo metadata describes the workspace")
}

fn normal_dependencies(package: &Package) -> impl Iterator<Item = &str> {
    package
        .dependencies
        .iter()
        .filter(|dependency| dependency.kind == DependencyKind::Normal)
        .map(|dependency| dependency.name.as_str())
}

#[test]
fn arrows_between_crates_are_those_of_the_design() {
    let metadata = metadata();
    let members = metadata.workspace_packages();
    let names: Vec<&str> = members.iter().map(|package| package.name.as_str()).collect();
    for package in &members {
        let name = package.name.as_str();
        if OUTSIDE.contains(&name) {
            continue;
        }
        let allowed = ARROWS.iter().find(|(from, _)| *from == name).map(|(_, to)| *to);
        let allowed =
            allowed.unwrap_or_else(|| panic!("{name} has no row in ARROWS: decide what it may know"));
        for dependency in normal_dependencies(package).filter(|dependency| names.contains(dependency)) {
            assert!(allowed.contains(&dependency), "{name} must not depend on {dependency}");
        }
    }
}

#[test]
fn confined_crates_are_named_where_they_belong() {
    let metadata = metadata();
    for package in metadata.workspace_packages() {
        let name = package.name.as_str();
        for dependency in normal_dependencies(package) {
            let homes =
                CONFINED.iter().find(|(confined, _)| *confined == dependency).map(|(_, homes)| *homes);
            if let Some(homes) = homes
                && !OUTSIDE.contains(&name)
            {
                assert!(homes.contains(&name), "{dependency} belongs into {homes:?} alone, not into {name}");
            }
        }
    }
}

#[test]
fn tools_of_tests_are_linked_into_nothing() {
    let metadata = metadata();
    for package in &metadata.packages {
        for dependency in normal_dependencies(package) {
            assert!(!TOOLS.contains(&dependency), "{} depends on {dependency}", package.name);
        }
    }
}

#[test]
fn every_dependency_has_a_licence_that_fits() {
    let metadata = metadata();
    let linked = metadata.packages.iter().filter(|package| !TOOLS.contains(&package.name.as_str()));
    for package in linked {
        let licence = package.license.as_deref().unwrap_or_default();
        assert!(allows(licence), "{} {} has the licence {licence:?}", package.name, package.version);
    }
}

/// Whether an SPDX expression can be satisfied from [`LICENCES`]. `OR` binds weaker than `AND`; parentheses as
/// crates use them; the old `/` means `OR`.
fn allows(expression: &str) -> bool {
    let text = expression.replace('/', " OR ");
    let mut depth = 0i32;
    for (separator, all) in [(" OR ", false), (" AND ", true)] {
        let mut parts = Vec::new();
        let mut start = 0;
        for (at, byte) in text.bytes().enumerate() {
            match byte {
                b'(' => depth += 1,
                b')' => depth -= 1,
                b' ' if depth == 0 && text[at..].starts_with(separator) => {
                    parts.push(&text[start..at]);
                    start = at + separator.len();
                }
                _ => {}
            }
        }
        if start > 0 {
            parts.push(&text[start..]);
            return if all { parts.iter().all(|p| allows(p)) } else { parts.iter().any(|p| allows(p)) };
        }
    }
    let text = text.trim();
    match text.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')) {
        Some(inner) => allows(inner),
        None => LICENCES.contains(&text),
    }
}

#[test]
fn licence_expressions_are_understood() {
    assert!(allows("MIT OR Apache-2.0"));
    assert!(allows("MIT/Apache-2.0"));
    assert!(allows("(MIT OR GPL-3.0) AND Unicode-3.0"));
    assert!(allows("Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT"));
    assert!(!allows("MIT AND GPL-3.0"));
    assert!(!allows("GPL-3.0"));
    assert!(!allows(""));
}
