"""Real text that every CPython carries: topics of the language reference, library docstrings.

About 2 MB of English prose for the demo to train on. The library is parsed, never imported or run.
"""

import ast
import hashlib
import json
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from encore import files

# Shorter docstrings are one-line summaries, hardly prose.
_LEAST_CHARACTERS = 200
# Not documentation of the library: other people's packages, tests, tools with their own texts.
_IGNORED_FOLDERS = {"site-packages", "test", "tests", "lib2to3", "idlelib"}


def write_jsonl(target: Path) -> int:
    """Write all documents as {"text": …} lines, atomically; returns how many there are.

    They are sorted by their hashes, so that any head and any tail hold the same mixture, and the
    same Python always gives the same file.
    """
    # Many modules carry the same docstring; a set holds each text once.
    documents = sorted({*_topics(), *_docstrings()}, key=_sha256)
    lines = [json.dumps({"text": text}) + "\n" for text in documents]
    files.write_text(target, "".join(lines))
    return len(documents)


def _sha256(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _topics() -> Iterator[str]:
    from pydoc_data.topics import topics

    yield from topics.values()


def _docstrings() -> Iterator[str]:
    library = Path(sysconfig.get_path("stdlib"))
    for path in sorted(library.rglob("*.py")):
        if _IGNORED_FOLDERS.intersection(path.parts):
            continue
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):  # the library holds deliberately broken files
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                text = ast.get_docstring(node)
                if text and len(text) >= _LEAST_CHARACTERS:
                    yield text
