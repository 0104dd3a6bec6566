//! Finds what C programs are made with, and makes them.
#![allow(dead_code, reason = "each test uses some of it")]

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// What a program that has the library in it is linked with besides.
pub(crate) const STATIC_LIBRARIES: [&str; 6] = ["-lgcc_s", "-lutil", "-lrt", "-lpthread", "-lm", "-ldl"];

/// How a program comes to the library.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Linked {
    /// It loads it.
    Shared,
    /// It has it in it.
    Static,
}

/// Everything that a C program is made with, and where it is made.
pub(crate) struct Tools {
    dir: TempDir,
}

impl Tools {
    /// Looks for programs. Without them nothing can be tested here, which is said, or fails if everything is required.
    pub(crate) fn find(needed: &[&str]) -> Option<Self> {
        let missing = needed.iter().find(|tool| {
            let shown = self::tool(tool).arg("--version").output();
            !shown.is_ok_and(|output| output.status.success())
        });
        if let Some(tool) = missing {
            let required = std::env::var("COFFER_REQUIRE_ALL").is_ok_and(|value| value == "1");
            assert!(!required, "needs {tool}");
            let _ = writeln!(std::io::stderr(), "SKIPPED: needs {tool}");
            return None;
        }
        let dir = tempfile::tempdir().expect("a directory");
        // The names under which programs look for the library.
        for name in
            ["libcoffer.so".to_owned(), format!("libcoffer.so.{}", coffer_ffi::version::COFFER_ABI_VERSION)]
        {
            let target = built().join("libcoffer_ffi.so");
            std::os::unix::fs::symlink(target, dir.path().join(name)).expect("a link");
        }
        Some(Self { dir })
    }

    /// Where programs are made.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Compiles and links a program of `tests/c`.
    pub(crate) fn compile(&self, name: &str, linked: Linked) -> PathBuf {
        self.compile_file(&crate_dir().join(format!("tests/c/{name}.c")), name, linked)
    }

    /// Compiles and links a program.
    pub(crate) fn compile_file(&self, source: &Path, name: &str, linked: Linked) -> PathBuf {
        let program = self.dir.path().join(format!("{name}-{linked:?}"));
        let mut cc = tool("cc");
        cc.args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-g"]);
        cc.args(["-D_POSIX_C_SOURCE=200809L", "-pthread", "-I"]).arg(crate_dir().join("include"));
        cc.arg("-o").arg(&program).arg(source);
        match linked {
            Linked::Shared => {
                cc.arg("-L").arg(self.dir.path()).arg("-lcoffer");
                cc.arg(format!("-Wl,-rpath,{}", self.dir.path().display()));
            }
            Linked::Static => {
                cc.arg(built().join("libcoffer_ffi.a")).args(STATIC_LIBRARIES);
            }
        }
        succeed(&mut cc);
        program
    }
}

/// A program of the system's. What cargo tells the loader would have it load libraries of the compiler's.
pub(crate) fn tool(name: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(name);
    command.env_remove("LD_LIBRARY_PATH");
    command
}

/// Runs a command that must succeed, and gives what it wrote.
pub(crate) fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("it writes text")
}

/// Where cargo leaves the library: beside this test.
pub(crate) fn built() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows where it is");
    test.parent().expect("it lies in a directory").to_owned()
}

pub(crate) fn crate_dir() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
