//! Generates the Rust of the schema from the schema compiler's committed output, so that building needs no tool.
//! `tests/schema.rs` checks that `coffer.cgr` belongs to the `.capnp` files.

use std::error::Error;
use std::fs::File;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let request = "schema/coffer.cgr";
    println!("cargo:rerun-if-changed={request}");
    println!("cargo:rerun-if-changed=build.rs");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    capnpc::codegen::CodeGenerationCommand::new()
        .output_directory(out)
        .default_parent_module(vec!["schema".into()])
        .run(File::open(request)?)?;
    Ok(())
}
