//! The header is what the sources say, and every compiler takes it.

mod toolchain;

use std::fs;
use toolchain::{Tools, crate_dir, succeed, tool};

#[test]
fn the_header_is_made_from_the_sources() {
    let config = cbindgen::Config::from_file(crate_dir().join("cbindgen.toml")).expect("a configuration");
    let made = cbindgen::Builder::new()
        .with_config(config)
        .with_src(crate_dir().join("src/lib.rs"))
        .generate()
        .expect("the sources can be read");
    let mut fresh = Vec::new();
    made.write(&mut fresh);
    let path = crate_dir().join("include/coffer.h");
    let committed = fs::read(&path).expect("the header is there");
    if fresh != committed {
        let beside = std::env::temp_dir().join("coffer.h");
        fs::write(&beside, fresh).expect("there is room");
        panic!("{} is not what the sources say; take {} instead", path.display(), beside.display());
    }
}

#[test]
fn compilers_of_c_and_c_plus_plus_take_the_header() {
    let Some(tools) = Tools::find(&["cc", "c++"]) else { return };
    let source = tools.dir().join("all.c");
    let text = "#include \"coffer.h\"\n#include \"coffer.h\"\n\
                int main(void) {\n    coffer_result result = coffer_result_init();\n    \
                coffer_call call = coffer_call_init();\n    coffer_key_range range = coffer_all();\n    \
                return (int)(result.owner + call.flags + (range.kind - COFFER_RANGE_ALL));\n}\n";
    fs::write(&source, text).expect("there is room");
    let warnings = ["-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror", "-c", "-o", "/dev/null"];
    for (compiler, language, standard) in [
        ("cc", "c", "c99"),
        ("cc", "c", "c11"),
        ("cc", "c", "c17"),
        ("c++", "c++", "c++11"),
        ("c++", "c++", "c++17"),
    ] {
        let mut command = tool(compiler);
        command.args(["-x", language]).arg(format!("-std={standard}")).args(warnings);
        succeed(command.arg("-I").arg(crate_dir().join("include")).arg(&source));
    }
}
