"""The C interface is all there, and what is not understood is refused."""

import os
import re
import sys
from pathlib import Path

import coffer
import pytest
from coffer._native import lib

PACKAGE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PACKAGE))
import header  # noqa: E402

HEADER = Path(os.environ.get("COFFER_HEADER") or PACKAGE.parents[1] / "ffi/include/coffer.h")


def test_every_function_and_constant_of_the_header_is_there() -> None:
    text = re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.DOTALL)
    text = text[: text.index("static inline")]
    functions = set(re.findall(r"\b(coffer_\w+)\(", text))
    constants = dict(re.findall(r"^#define (COFFER_\w+) (-?\d+)$", text, flags=re.MULTILINE))
    assert len(functions) > 40 and len(constants) > 100
    assert [name for name in functions if not hasattr(lib, name)] == []
    assert {name: str(getattr(lib, name)) for name in constants} == constants


def test_the_library_is_the_one_that_it_was_compiled_for() -> None:
    assert lib.coffer_abi_version() == lib.COFFER_ABI_VERSION
    assert re.fullmatch(r"\d+\.\d+\.\d+", coffer.version())


@pytest.mark.parametrize("line", ["#define NEW(x) x", "#define WIDTH 3.5", "#if defined(NEW)", "#pragma once", "extern int x;"])
def test_what_is_not_understood_is_refused(line: str) -> None:
    with pytest.raises(header.HeaderError):
        header.declarations(f"#ifndef COFFER_H\n{line}\n#endif\n")


def test_declarations_are_what_a_compiler_of_c_sees() -> None:
    text = """
    /* A comment with #define NO 1 */
#ifndef COFFER_H
#define COFFER_H
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#else
#define COFFER_YES 1
#endif
COFFER_MUST_USE int coffer_f(void);
static inline int coffer_g(void) {
    if (1) {
        return 1;
    }
}
#endif
"""
    assert header.declarations(text) == "#define COFFER_YES 1\n int coffer_f(void);\n"
