//! The programs of `docs/embedding.md` compile without a warning, run, and say what a reader expects.

mod toolchain;

use std::fs;
use toolchain::{Linked, Tools, crate_dir, succeed, tool};

/// What each program writes, in the order of the document.
const EXPECTED: [&str; 3] =
    ["hello\n", "attempt 1: taken at revision 2\nattempt 2: me has it\n", "config/colour is now blue\n"];

#[test]
fn the_programs_of_the_document_run() {
    let Some(tools) = Tools::find(&["cc"]) else { return };
    let document =
        fs::read_to_string(crate_dir().join("../docs/embedding.md")).expect("the document is there");
    let programs: Vec<&str> = document
        .split("```c\n")
        .skip(1)
        .map(|rest| rest.split_once("```").expect("every program ends").0)
        .collect();
    assert_eq!(programs.len(), EXPECTED.len());
    for (number, (text, expected)) in programs.into_iter().zip(EXPECTED).enumerate() {
        let place = tools.dir().join("store").display().to_string();
        let source = tools.dir().join(format!("program{number}.c"));
        fs::write(&source, text.replace("/tmp/coffer-example", &place)).expect("there is room");
        let program = tools.compile_file(&source, &format!("program{number}"), Linked::Shared);
        assert_eq!(succeed(tool(program).current_dir(tools.dir())), expected, "{number}");
    }
}
