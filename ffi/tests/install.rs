//! The library as it is installed: its names, its symbols, and pkg-config.

mod toolchain;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use toolchain::{Tools, built, crate_dir, succeed, tool};

/// The functions that the header declares, without those that it defines.
fn declared() -> BTreeSet<String> {
    let header = fs::read_to_string(crate_dir().join("include/coffer.h")).expect("the header is there");
    let declarations = header.lines().filter(|line| !line.starts_with("static") && !line.starts_with(' '));
    declarations
        .filter_map(|line| {
            let (before, _) = line.split_once('(')?;
            let name = before.rsplit([' ', '*']).next()?;
            (name.starts_with("coffer_") && before.contains(' ') && !before.contains("typedef"))
                .then(|| name.to_owned())
        })
        .collect()
}

/// What nm says of defined symbols that others see.
fn symbols(library: &Path, dynamic: bool) -> BTreeSet<String> {
    let mut nm = tool("nm");
    nm.args(["-g", "--defined-only", "--format=posix"]).args(dynamic.then_some("-D")).arg(library);
    let listed = succeed(&mut nm);
    let symbols = listed.lines().filter(|line| line.contains(' ') && !line.ends_with(':'));
    symbols.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

#[test]
fn the_shared_library_shows_the_interface_and_nothing_else() {
    let Some(_tools) = Tools::find(&["nm", "readelf"]) else { return };
    let library = built().join("libcoffer_ffi.so");
    assert_eq!(symbols(&library, true), declared());
    let dynamic = succeed(tool("readelf").arg("-dW").arg(&library));
    let name = format!("[libcoffer.so.{}]", coffer_ffi::version::COFFER_ABI_VERSION);
    assert!(dynamic.lines().any(|line| line.contains("SONAME") && line.contains(&name)), "{dynamic}");
    assert!(dynamic.contains("NODELETE"), "{dynamic}");
}

#[test]
fn what_is_installed_is_found_and_works() {
    let Some(tools) = Tools::find(&["cc", "ld", "objcopy", "ar", "pkg-config", "nm"]) else { return };
    let root = tools.dir().join("root");
    let mut install = tool(crate_dir().join("install"));
    succeed(
        install.env("DESTDIR", &root).env("PREFIX", "/opt/coffer").env("BUILD", built()).env_remove("LIBDIR"),
    );
    let lib = root.join("opt/coffer/lib");
    assert_eq!(symbols(&lib.join("libcoffer.a"), false), declared());
    let link = fs::read_link(lib.join("libcoffer.so")).expect("a link");
    assert_eq!(link.to_str(), Some(&*format!("libcoffer.so.{}", coffer_ffi::version::COFFER_ABI_VERSION)));

    let source = crate_dir().join("tests/c/misuse.c");
    for (name, flags) in [("shared", &[][..]), ("static", &["--static"])] {
        let mut pkg_config = tool("pkg-config");
        pkg_config.env("PKG_CONFIG_PATH", lib.join("pkgconfig")).env("PKG_CONFIG_SYSROOT_DIR", &root);
        let said = succeed(pkg_config.args(flags).args(["--cflags", "--libs", "coffer"]));
        let program = tools.dir().join(name);
        let mut cc = tool("cc");
        cc.args(["-std=c99", "-D_POSIX_C_SOURCE=200809L", "-o"]).arg(&program).arg(&source);
        if name == "static" {
            // What pkg-config says lets the linker choose, which takes the shared one if it is there.
            cc.args(
                said.split_whitespace().map(|flag| if flag == "-lcoffer" { "-l:libcoffer.a" } else { flag }),
            );
        } else {
            cc.args(said.split_whitespace());
        }
        succeed(&mut cc);
        succeed(
            tool(&program).env("LD_LIBRARY_PATH", if name == "shared" { &*lib } else { Path::new("/none") }),
        );
    }
    let mut version = tool("pkg-config");
    version.env("PKG_CONFIG_PATH", lib.join("pkgconfig")).args(["--modversion", "coffer"]);
    assert_eq!(succeed(&mut version).trim(), env!("CARGO_PKG_VERSION"));
}
