"""Runs every snippet of a document, as it stands there, and compares what it prints with what the document says.

    run.py docs/recipes.md

A fenced block whose language is sh, go or python is a snippet, and the next block, of language text, is its output.
Snippets run in the order of the document, against the server that ENDPOINT names, each in a fresh process: sh by bash
with ETCDCTL_ENDPOINTS set, go as a program in a module that has the dependencies of tests/clients/go, python by the
interpreter that runs this. A snippet without output, or an output without a snippet, is an error: nothing in the
document is left unproved.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent


def blocks(text):
    """(line, language, content) of each fenced block."""
    for match in re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        yield text.count("\n", 0, match.start()) + 1, match[1], match[2]


def snippets(text):
    """(line, language, content, output), and an error for what has no partner."""
    waiting = None
    for line, language, content in blocks(text):
        if language == "text":
            if waiting is None:
                sys.exit(f"line {line}: an output without a snippet")
            yield *waiting, content
            waiting = None
        elif waiting is not None:
            sys.exit(f"line {waiting[0]}: a snippet without its output")
        else:
            waiting = line, language, content
    if waiting is not None:
        sys.exit(f"line {waiting[0]}: a snippet without its output")


def command(language, content, folder):
    """The words that run a snippet."""
    if language == "sh":
        return ["bash", "-euo", "pipefail", "-c", content]
    if language == "python":
        return [sys.executable, "-c", content]
    if language == "go":
        for name in ("go.mod", "go.sum"):
            shutil.copy(HERE.parent / "go" / name, folder)
        (folder / "main.go").write_text(content)
        return ["go", "run", "main.go"]
    sys.exit(f"no way to run {language}")


def main(document):
    endpoint = os.environ["ENDPOINT"]
    environment = os.environ | {"ETCDCTL_ENDPOINTS": endpoint, "ETCDCTL_API": "3", "ENDPOINT": endpoint}
    ran = 0
    for line, language, content, output in snippets(pathlib.Path(document).read_text()):
        with tempfile.TemporaryDirectory() as folder:
            words = command(language, content, pathlib.Path(folder))
            done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
        if done.returncode != 0 or done.stdout != output:
            sys.exit(
                f"{document}:{line}: the {language} snippet ended with {done.returncode} and printed\n{done.stdout}"
                f"instead of\n{output}\nstandard error:\n{done.stderr}"
            )
        ran += 1
    if ran == 0:
        sys.exit(f"{document} has no snippets")
    print(f"{ran} snippets of {document} do what it says")


main(sys.argv[1])
