"""Text from checkpoints, genuine ones and our own."""

import json
from pathlib import Path

import pytest
import sample_text
import torch
from encore.checkpoints import generate
from encore.errors import CheckpointError, DataError, UsageError
from encore.tokens import tokenizer as tokenizer_files

TINY = Path(__file__).parents[1] / "data" / "megatron_tiny"
CHECKPOINTS = TINY / "tp1" / "checkpoint"


def sample(capsys: pytest.CaptureFixture[str], *more: str) -> str:
    assert (
        sample_text.main([str(CHECKPOINTS), "--tokenizer", str(TINY), "--tokens", "12", *more]) == 0
    )
    return capsys.readouterr().out


def test_a_seed_decides_the_text(capsys: pytest.CaptureFixture[str]) -> None:
    once = sample(capsys, "--prompt", "The function")
    assert once.startswith("The function") and len(once) > len("The function\n")
    assert (
        once
        == sample(capsys, "--prompt", "The function")
        != sample(capsys, "--prompt", "The function", "--seed", "1")
    )


def test_zero_temperature_takes_the_likeliest(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(
        sample(capsys, "--prompt", "The", "--temperature", "0", "--tokens", "3", "--json")
    )
    assert found == json.loads(
        sample(capsys, "--prompt", "The", "--top-k", "1", "--tokens", "3", "--json", "--seed", "9")
    ) | {"seed": 1234}
    model, tokenizer = generate.load(CHECKPOINTS / "global_step20"), tokenizer_files.load(str(TINY))
    tokens = tokenizer.backend.encode("The").ids
    for expected in found["token_ids"]:
        with torch.no_grad():
            assert model(torch.tensor([tokens]))[0, -1, :5000].argmax() == expected
        tokens.append(expected)
    assert found["text"] == tokenizer.backend.decode(found["token_ids"])


def test_more_tokens_than_positions_are_written() -> None:
    model, tokenizer = generate.load(CHECKPOINTS), tokenizer_files.load(str(TINY))
    _, ids = generate.text(model, tokenizer, "", generate.Sampling(tokens=80, seed=3))
    assert len(ids) == 80 or tokenizer.eod is not None
    assert all(0 <= token < 5000 for token in ids)


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    common = ["--tokenizer", str(TINY)]
    with pytest.raises(CheckpointError, match="has no global_stepN folder"):
        sample_text.main([str(tmp_path), *common])
    with pytest.raises(UsageError):
        sample_text.main([str(CHECKPOINTS), *common, "--tokens", "0"])
    for temperature in ("-1", "nan"):
        with pytest.raises(SystemExit, match="2"):
            sample_text.main([str(CHECKPOINTS), *common, "--temperature", temperature])
    vocabulary = json.loads((TINY / "vocab.json").read_text())
    large = vocabulary | {f"<{n}>": n for n in range(5000, 5200)}
    (tmp_path / "vocab.json").write_text(json.dumps(large))
    (tmp_path / "merges.txt").write_text((TINY / "merges.txt").read_text())
    with pytest.raises(DataError, match="5200 entries, the model 5120"):
        sample_text.main([str(CHECKPOINTS), "--tokenizer", str(tmp_path)])


def test_text_is_decoded_as_it_was_encoded() -> None:
    tokenizer = tokenizer_files.load(str(TINY))
    text = "naïve  def f(x):\n\treturn 'Ω'"
    assert tokenizer.backend.decode(tokenizer.backend.encode(text).ids) == text


def test_an_empty_prompt_is_one_and_no_other_option_may_be_empty(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["checkpoints", "--tokenizer", "x", "--prompt", ""]
    assert sample_text.build_parser().parse_args(words).prompt == ""
    with pytest.raises(SystemExit):
        sample_text.build_parser().parse_args(["", "--tokenizer", "x"])
    assert "an empty argument" in capsys.readouterr().err


def test_a_temperature_that_leaves_no_probabilities_is_refused() -> None:
    for text in ("1e-320", "1e-40"):
        with pytest.raises(UsageError, match=r"--temperature .* is too small"):
            sample_text.main(["x", "--tokenizer", "x", "--temperature", text])
