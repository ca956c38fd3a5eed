"""The demo's text: real, deterministic, well mixed; nothing is imported to read it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from encore.corpus import python_docs

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.mark.slow
def test_the_text_is_large_english_and_free_of_duplicates(tmp_path: Path) -> None:
    target = tmp_path / "text.jsonl"
    count = python_docs.write_jsonl(target)
    texts = [json.loads(line)["text"] for line in target.read_text().splitlines()]
    assert count == len(texts) == len(set(texts)) > 1000
    assert sum(map(len, texts)) > 1_000_000
    assert sum(" the " in text for text in texts) > len(texts) / 2


_WRITE_IN_A_NEW_PROCESS = """
import sys
from pathlib import Path
from encore.corpus import python_docs

python_docs.write_jsonl(Path(sys.argv[1]))
assert "antigravity" not in sys.modules
"""


@pytest.mark.slow
def test_the_same_python_gives_the_same_bytes(tmp_path: Path) -> None:
    one, two = tmp_path / "1", tmp_path / "2"
    python_docs.write_jsonl(one)
    subprocess.run(
        [sys.executable, "-c", _WRITE_IN_A_NEW_PROCESS, str(two)],
        check=True,
        env={"PYTHONHASHSEED": "7", "PYTHONPATH": str(TOOLS)},
    )
    assert one.read_bytes() == two.read_bytes()
