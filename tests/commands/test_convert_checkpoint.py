"""The command: what it prints, its exit codes, and one line for what cannot be."""

import json
from pathlib import Path

import convert_checkpoint
import pytest
from encore.errors import CheckpointError, DataError, OutputError, UsageError
from safetensors.torch import load_file, save_file

GENUINE = Path(__file__).parents[1] / "data" / "megatron_tiny"
STEP = str(GENUINE / "tp2" / "checkpoint" / "global_step20")


def run(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, dict[str, object]]:
    code = convert_checkpoint.main([*map(str, argv), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_there_and_back_verified(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hf, out = tmp_path / "hf", tmp_path / "out"
    code, said = run(capsys, "to-transformers", STEP, hf, "--tokenizer", GENUINE, "--verify")
    assert code == 0 and said["same"] and said["relative"] <= 1e-5 and said["vocabulary"] == 5000
    assert said["weights_from"] == "layer files" and said["tokens"] == 64
    code, said = run(capsys, "to-megatron", hf, out, "--tp", 2, "--pp", 2, "--verify")
    assert code == 0 and said["same"] and said["out"] == str(out / "global_step0")
    code, said = run(capsys, "verify", STEP, out)
    assert code == 0 and said["greatest_difference"] == 0
    code, said = run(capsys, "reshard", out, tmp_path / "four", "--tp", 4, "--verify")
    assert code == 0 and said["same"]
    code, said = run(capsys, "inspect", tmp_path / "four")
    assert (
        code == 0 and said["tensor_parallel"] == 4 and said["missing"] == ["4 of 4 optimizer files"]
    )


def test_a_difference_ends_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "to-transformers", STEP, tmp_path / "hf")
    path = tmp_path / "hf" / "model.safetensors"
    held = load_file(path)
    held["transformer.h.0.attn.c_attn.bias"][0] += 1
    save_file(held, path, metadata={"format": "pt"})
    code, said = run(capsys, "verify", STEP, tmp_path / "hf")
    assert code == 1 and not said["same"] and said["relative"] > 1e-5


def test_weights_that_cannot_be_read_end_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "reshard", STEP, tmp_path / "out")
    layer = tmp_path / "out" / "global_step20" / "layer_04-model_00-model_states.pt"
    layer.write_bytes(b"torn")
    code, said = run(capsys, "inspect", layer.parent)
    assert code == 1 and "layer_04" in said["unreadable"][0]


def test_tables_are_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert convert_checkpoint.main(["inspect", STEP]) == 0
    assert "consumed_train_tokens   10,240" in capsys.readouterr().out
    assert convert_checkpoint.main(["reshard", STEP, str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    assert "reshard" in printed.out and "note: optimizer and random states" in printed.err


def test_the_optimizers_weights_are_compared_with_themselves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    step = GENUINE / "tp1" / "checkpoint"
    code, said = run(
        capsys, "to-transformers", step, tmp_path / "hf", "--from-optimizer", "--verify"
    )
    assert code == 0 and said["weights_from"] == "optimizer files"
    code, said = run(capsys, "verify", step, tmp_path / "hf")
    assert code == 1 and said["relative"] < 0.01


@pytest.mark.parametrize(
    ("argv", "error"),
    [
        (["inspect", "absent"], CheckpointError),
        (["verify", STEP, "absent"], CheckpointError),
        (["to-megatron", STEP, "out"], CheckpointError),
        (["to-transformers", "absent", "out"], CheckpointError),
        (["to-transformers", STEP, "out", "--tokenizer", str(GENUINE / "data")], DataError),
        (["reshard", STEP, "out", "--tp", "3"], UsageError),
        (["reshard", STEP, "out", "--pp", "9"], UsageError),
        (["reshard", STEP, str(GENUINE)], OutputError),
    ],
)
def test_what_cannot_be_is_a_user_error(
    argv: list[str], error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error):
        convert_checkpoint.main(argv)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("size", ["", "0", "0.4", "0GiB", "-1", "GiB", "4GiBs", "K4", "1e9"])
def test_sizes_that_are_none_are_usage_errors(size: str) -> None:
    with pytest.raises(SystemExit) as ended:
        convert_checkpoint.main(["to-transformers", STEP, "out", f"--max-shard-size={size}"])
    assert ended.value.code == 2


def test_sizes_are_read_as_people_write_them() -> None:
    assert [convert_checkpoint.shard_size(text) for text in ("7", "5KB", "500MB", "1.5GiB")] == [
        7,
        5000,
        500_000_000,
        3 << 29,
    ]
