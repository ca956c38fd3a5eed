"""Real text that every CPython carries: the language reference's topics and the standard library's docstrings.

About 2 MB of English prose, read without importing or running any of it; what the demo trains on.
"""

import ast
import hashlib
import json
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from encore import files

_LEAST_CHARACTERS = 200  # shorter docstrings are one-line summaries


def write_jsonl(target: Path) -> int:
    """Write all documents as {"text": …} lines, atomically; returns their number.

    Sorted by the texts' hashes, so that any head and any tail hold the same mixture.
    """
    documents = sorted(
        {*_topics(), *_docstrings()}, key=lambda text: hashlib.sha256(text.encode()).digest()
    )
    files.write_text(target, "".join(json.dumps({"text": text}) + "\n" for text in documents))
    return len(documents)


def _topics() -> Iterator[str]:
    from pydoc_data.topics import topics

    yield from topics.values()


def _docstrings() -> Iterator[str]:
    for path in sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py")):
        if {"site-packages", "test", "tests", "lib2to3", "idlelib"} & set(path.parts):
            continue
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):  # deliberately broken files are part of the library
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                text = ast.get_docstring(node)
                if text and len(text) >= _LEAST_CHARACTERS:
                    yield text
