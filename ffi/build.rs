//! Gives the shared library its name, with the version of the interface, and hides everything but the interface.

use std::path::Path;

fn main() {
    println!("cargo:rerun-if-changed=src/version.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libcoffer.so.{}", abi_version());
    // Its threads run code that must not be unmapped under them.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
}

/// What `COFFER_ABI_VERSION` is in `src/version.rs`.
fn abi_version() -> u32 {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/version.rs");
    let source = std::fs::read_to_string(path).expect("the source is there");
    let (_, rest) = source.split_once("COFFER_ABI_VERSION: u32 = ").expect("the constant is there");
    let (number, _) = rest.split_once(';').expect("it ends");
    number.parse().expect("it is a number")
}
