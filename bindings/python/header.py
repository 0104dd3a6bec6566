"""Makes of coffer.h what cffi reads, so that the bindings cannot drift from the header.

cffi understands declarations, and of the preprocessor only constants. The header is made by a tool and so regular: what is
met here and not understood is an error, never skipped.
"""

import re
from typing import List

# What these macros stand for concerns C compilers only.
EMPTY_MACROS = ("COFFER_MUST_USE",)
IGNORED_DEFINES = ("COFFER_H", "COFFER_ZERO") + EMPTY_MACROS

# Which branch a compiler of C takes that is neither C++ nor knows anything else.
CONDITIONS = {
    "#ifndef COFFER_H": True,
    "#ifdef __cplusplus": False,
    "#if defined(__GNUC__) || defined(__clang__)": False,
}


class HeaderError(Exception):
    """The header has something that nobody taught this module."""


def declarations(header: str) -> str:
    """The declarations and integer constants of the header, for `FFI.cdef`."""
    text = re.sub(r"/\*.*?\*/|//[^\n]*", "", header, flags=re.DOTALL)
    text = "\n".join(_taken_lines(text))
    for macro in EMPTY_MACROS:
        text = re.sub(rf"\b{macro}\b", "", text)
    # Functions with a body are conveniences for C; each ends with a brace at the beginning of a line.
    text = re.sub(r"^static inline [^{;]*\{.*?^\}$", "", text, flags=re.DOTALL | re.MULTILINE)
    if re.search(r"\bstatic\b|\bextern\b", text):
        raise HeaderError("a definition or linkage that is not understood is left")
    return re.sub(r"\n\s*\n+", "\n", text).strip() + "\n"


def _taken_lines(text: str) -> List[str]:
    """The lines that the preprocessor would leave, and definitions of integers."""
    taken: List[str] = []
    branches: List[bool] = []
    for line in (line.rstrip() for line in text.splitlines()):
        if not line.startswith("#"):
            if all(branches):
                taken.append(line)
        elif line in CONDITIONS:
            branches.append(CONDITIONS[line])
        elif line == "#else" and branches:
            branches[-1] = not branches[-1]
        elif line == "#endif" and branches:
            branches.pop()
        elif all(branches) and not re.fullmatch(r"#include <std(int|def)\.h>", line):
            taken.extend(_constant(line))
    if branches:
        raise HeaderError("a condition without an end")
    return taken


def _constant(line: str) -> List[str]:
    """The definition of an integer as it is, of an ignored macro nothing."""
    define = re.fullmatch(r"#define (\w+)(?: (.*))?", line)
    if define and define.group(1) in IGNORED_DEFINES:
        return []
    if define and re.fullmatch(r"-?\d+", define.group(2) or ""):
        return [line]
    raise HeaderError(f"not understood: {line}")
