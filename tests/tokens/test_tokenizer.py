"""Tokenizers as Megatron would load them, from a folder, a file or the Hub's cache, or refused."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from encore import hub_library
from encore.errors import DataError
from encore.tokens import describe, encoders
from encore.tokens.tokenizer import load

GPT2 = Path(__file__).parents[1] / "data" / "gpt2"
ROOT = Path(__file__).parents[2]


def words(folder: Path, vocabulary: dict[str, int], config: Any = None) -> str:
    folder.mkdir(exist_ok=True)
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.enable_truncation(2)
    backend.enable_padding(length=9)
    backend.save(str(folder / "tokenizer.json"))
    if config is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return str(folder)


def test_gpt2s_two_files_are_megatrons_gpt2_tokenizer() -> None:
    tokenizer = load(str(GPT2))
    assert (tokenizer.megatron_type, tokenizer.vocabulary_size, tokenizer.eod) == (
        "GPT2BPETokenizer",
        50257,
        50256,
    )
    assert tokenizer.dtype.name == "uint16"
    assert [path.name for path in tokenizer.paths] == ["vocab.json", "merges.txt"]


def test_a_folder_and_its_tokenizer_json_are_the_same(tmp_path: Path) -> None:
    folder = words(tmp_path / "w", {"[UNK]": 0, "a": 1, "</s>": 2}, {"eos_token": "</s>"})
    one, other = load(folder), load(f"{folder}/tokenizer.json")
    assert (
        one.paths
        == other.paths
        == (tmp_path / "w" / "tokenizer.json", tmp_path / "w" / "tokenizer_config.json")
    )
    assert (one.megatron_type, one.eod, other.eod) == ("PretrainedFromHF", 2, 2)


def test_a_tokenizers_own_truncation_and_padding_are_off(tmp_path: Path) -> None:
    tokenizer = load(words(tmp_path / "w", {"[UNK]": 0, "a": 1}))
    tokenizer.backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    assert tokenizer.backend.encode("a a a a").ids == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("config", "eod"),
    [
        (None, 3),
        ({"eos_token": None}, 3),
        ({"eos_token": "</s>"}, 2),
        ({"eos_token": {"content": "</s>", "lstrip": False}}, 2),
        ({"eos_token": "not there"}, None),
    ],
)
def test_the_end_of_document_is_what_the_configuration_says_or_gpt2s(
    tmp_path: Path, config: Any, eod: int | None
) -> None:
    vocabulary = {"[UNK]": 0, "a": 1, "</s>": 2, "<|endoftext|>": 3}
    assert load(words(tmp_path / "w", vocabulary, config)).eod == eod


def test_ids_that_megatrons_dtype_would_overflow_are_refused(tmp_path: Path) -> None:
    assert load(words(tmp_path / "fits", {"[UNK]": 0, "a": 65_535})).dtype.name == "uint16"
    with pytest.raises(DataError, match="has id 65536, which uint16 cannot hold"):
        _ = load(words(tmp_path / "w", {"[UNK]": 0, "a": 65_536})).dtype


def test_a_folder_without_a_tokenizer_says_what_is_needed(tmp_path: Path) -> None:
    shutil.copy(GPT2 / "vocab.json", tmp_path)
    with pytest.raises(
        DataError, match=r"has neither tokenizer\.json nor vocab\.json and merges\.txt"
    ) as error:
        load(str(tmp_path))
    assert "save_pretrained" in error.value.hint


@pytest.mark.parametrize("content", ["", "{", "{}", '{"model": {"type": "NoSuchModel"}}', "[1]"])
def test_a_broken_tokenizer_json_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(DataError, match="cannot be read"):
        load(str(tmp_path))


@pytest.mark.parametrize("content", ["", "[1]", '"text"'])
def test_a_broken_configuration_is_refused(tmp_path: Path, content: str) -> None:
    words(tmp_path / "w", {"[UNK]": 0})
    (tmp_path / "w" / "tokenizer_config.json").write_text(content)
    with pytest.raises(DataError, match=r"tokenizer_config\.json is not (JSON: |a JSON object)"):
        load(str(tmp_path / "w"))


@pytest.mark.parametrize("token", [7, ["</s>"], {"content": 7}])
def test_an_end_that_is_no_string_is_refused(tmp_path: Path, token: Any) -> None:
    folder = words(tmp_path / "w", {"[UNK]": 0}, {"eos_token": token})
    with pytest.raises(DataError, match=r"tokenizer_config\.json: eos_token .* is not a string"):
        load(folder)


def test_an_end_without_a_content_is_gpt2s(tmp_path: Path) -> None:
    folder = words(tmp_path / "w", {"[UNK]": 0, "<|endoftext|>": 1}, {"eos_token": {}})
    assert load(folder).eod == 1


def test_broken_gpt2_files_are_refused(tmp_path: Path) -> None:
    shutil.copytree(GPT2, tmp_path / "x")
    vocabulary = json.loads((GPT2 / "vocab.json").read_text())
    (tmp_path / "x" / "vocab.json").write_text(
        json.dumps({k: v for k, v in vocabulary.items() if k != "\u0120the"})
    )
    with pytest.raises(DataError, match="cannot be read"):
        load(str(tmp_path / "x"))
    (tmp_path / "x" / "vocab.json").write_text(
        json.dumps({k: v for k, v in vocabulary.items() if k != "\u0100"})
    )
    with pytest.raises(DataError, match="lacks 1 of the 256 bytes"):
        load(str(tmp_path / "x"))


def offline(code: str, cache: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_CACHE": str(cache),
        "PYTHONPATH": "tools",
    }
    command = [sys.executable, "-c", f"from encore.tokens.tokenizer import load; {code}"]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def test_a_name_is_found_in_the_hubs_cache(tmp_path: Path) -> None:
    repository = tmp_path / "models--someone--words"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.parent.mkdir(parents=True)
    words(snapshot, {"[UNK]": 0, "</s>": 1}, {"eos_token": "</s>"})
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    ended = offline(
        "t = load('someone/words'); print(t.megatron_type, t.eod, len(t.paths))", tmp_path
    )
    assert ended.stdout.split() == ["PretrainedFromHF", "1", "2"], ended.stderr


def test_a_name_that_is_nowhere_is_one_clear_line(tmp_path: Path) -> None:
    last = offline("load('nobody/nothing')", tmp_path).stderr.splitlines()[-1]
    assert last.startswith(
        "encore.errors.HubError: tokenizer nobody/nothing is not a local folder,"
        " and nobody/nothing/tokenizer.json: "
    )


@pytest.mark.parametrize(
    "name", ["./no/such/folder", "no/such/folder", "not a name!", "../gpt2", "x/tokenizer.json"]
)
def test_a_path_that_does_not_exist_is_not_looked_for_on_the_hub(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # asking it would end in another error
    monkeypatch.setattr(hub_library, "is_reachable", lambda: pytest.fail("the Hub was asked"))
    with pytest.raises(DataError, match=f"tokenizer {name} does not exist"):
        load(name)


MODEL = {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}
# each makes tokenizers 0.23 panic, which is no Exception
PANICS: dict[str, dict[str, Any]] = {
    "while it is read": {
        "normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"},
    },
    "while it encodes": {"pre_tokenizer": {"type": "FixedLength", "length": 0}},
    "while it adds a template": {
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "x", "type_id": 0}}],
            "pair": [],
            "special_tokens": {},
        }
    },
}


@pytest.mark.parametrize("when", PANICS)
def test_a_panic_of_the_library_is_a_data_error_of_one_line(when: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(
        json.dumps({"version": "1.0", "model": MODEL, "added_tokens": []} | PANICS[when])
    )
    with pytest.raises(DataError) as error:
        encoders.with_fastest_encoder(load(str(path)), False, lambda encode: encode([b"ab"]))
    assert str(error.value).startswith(f"tokenizer {path} cannot ")
    assert "\n" not in str(error.value)


def test_a_panic_over_gpt2_files_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text('{"a": 0, "b": 0}')
    (tmp_path / "merges.txt").write_text("a b\n")
    with pytest.raises(DataError, match="cannot be read: range end index"):
        load(str(tmp_path))


def test_a_panic_while_decoding_is_a_data_error(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    decoder = {"type": "Strip", "content": "a", "start": 2**63, "stop": 2**63}
    path.write_text(json.dumps({"version": "1.0", "model": MODEL, "decoder": decoder}))
    with pytest.raises(DataError, match="cannot decode"):
        describe.text(np.array([0, 1]), load(str(path)))


def test_a_template_with_an_id_that_the_dtype_cannot_hold_is_refused(tmp_path: Path) -> None:
    """It would wrap around, silently."""
    path = tmp_path / "x.json"
    template = {"type": "BertProcessing", "sep": ["x", 70_000], "cls": ["y", 1]}
    path.write_text(json.dumps({"version": "1.0", "model": MODEL, "post_processor": template}))
    with pytest.raises(DataError, match="has id 70000, which uint16 cannot hold"):
        load(str(path)).dtype  # noqa: B018
