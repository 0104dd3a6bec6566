"""What the documents show works."""

import re
from pathlib import Path
from typing import Dict

import pytest

PACKAGE = Path(__file__).resolve().parents[1]
DOCUMENTS = [PACKAGE / "README.md", PACKAGE.parents[1] / "docs/embedding.md"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: str(document.name))
def test_snippets(document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The snippets of a document, one after another, as one program."""
    monkeypatch.chdir(tmp_path)
    snippets = list(re.finditer(r"^```python\n(.*?)^```$", document.read_text(), flags=re.DOTALL | re.MULTILINE))
    assert snippets
    names: Dict[str, object] = {"data_dir": tmp_path / "data", "__name__": "__main__"}
    for snippet in snippets:
        line = document.read_text()[: snippet.start(1)].count("\n")
        exec(compile("\n" * line + snippet[1], str(document), "exec"), names)


def test_every_console_command_is_real() -> None:
    """The commands of the README name files that exist."""
    readme = DOCUMENTS[0].read_text()
    for path in re.findall(r"bindings/python\S*", "\n".join(re.findall(r"^\$ (.*)$", readme, flags=re.MULTILINE))):
        assert (PACKAGE.parents[1] / path).exists(), path
