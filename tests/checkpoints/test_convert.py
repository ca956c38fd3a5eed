"""Conversions lose nothing: there and back is the same bit for bit, after kills too."""

import gc
import hashlib
import json
import resource
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from encore import files
from encore.checkpoints import (
    convert,
    gpt2_reader,
    megatron_reader,
    model_states,
    safetensors_shards,
    step_folder,
    torch_file,
)
from encore.checkpoints.megatron_writer import MegatronTarget
from encore.checkpoints.trainer_format import DEEPSPEEDAI, TURKUNLP
from encore.errors import CheckpointError, DataError, OutputError, UsageError
from encore.model.config import ModelConfig
from encore.model.gpt import GPT
from encore.tokens import tokenizer as tokenizer_files
from helpers.examples import examples
from helpers.megatron_models import (
    SMALL,
    VOCABULARY,
    Layers,
    read_all,
    weights,
    write,
    write_deepspeedai,
)
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

TESTS = Path(__file__).parents[1]
GENUINE = TESTS / "data" / "megatron_tiny"
SHARD = 30_000


def digest(folder: Path) -> dict[str, str]:
    """The bytes of every file, but for where the sources lie."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != convert.RECORD
    }


def differing(one: Layers, other: Layers, rows: int) -> list[str]:
    """The weights that are not the same, bit for bit, words compared up to `rows`."""
    assert one.keys() == other.keys()
    wrong = []
    for number in one:
        assert one[number].keys() == other[number].keys()
        for name, value in one[number].items():
            ours, theirs = (
                v[:rows] if name == "word_embeddings.weight" else v
                for v in (value, other[number][name])
            )
            if ours.dtype != theirs.dtype or not torch.equal(ours, theirs):
                wrong.append(f"{number} {name}")
    return wrong


@st.composite
def models(draw: st.DrawFn) -> tuple[ModelConfig, int, int, int]:
    """A shape, a vocabulary, and two tensor-parallel degrees that fit it."""
    heads = draw(st.sampled_from([2, 4, 6]))
    channels = draw(st.sampled_from([4, 8]))
    dead = draw(st.sampled_from([0, 0, 1, 3]))
    config = replace(
        SMALL,
        num_layers=draw(st.integers(1, 4)),
        num_attention_heads=heads,
        kv_channels=channels,
        hidden_size=(heads + dead) * channels,
        ffn_hidden_size=draw(st.sampled_from([12, 36, 60])),
        max_position_embeddings=draw(st.integers(1, 9)),
    )
    fitting = st.sampled_from([t for t in (1, 2, 3, 6) if heads % t == 0])
    return config, draw(st.integers(1, 256)), draw(fitting), draw(fitting)


@pytest.fixture
def unsynced() -> Iterator[None]:
    """Round trips need no disk that outlives a power cut."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "fsync", lambda path: None)
        yield


@pytest.mark.usefixtures("unsynced")
@examples(12)
@given(
    model=models(),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    shard=st.integers(1, 60_000),
    stages=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_to_transformers_and_back_is_the_same_bit_for_bit(
    model: tuple[ModelConfig, int, int, int],
    dtype: torch.dtype,
    shard: int,
    stages: int,
    seed: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    config, vocabulary, tensor, other = model
    config = replace(config, padded_vocab_size=64 * 6 * 2)
    folder, pipeline = tmp_path_factory.mktemp("there"), min(stages, config.num_layers)
    layers = weights(config, seed, dtype=dtype)
    step = write(
        folder, config, layers, tensor, checkpoint_info={"original_vocab_size": vocabulary}
    )
    convert.to_transformers(step, folder / "hf", None, shard)
    back = megatron_reader.read(
        convert.to_megatron(folder / "hf", folder / "back", MegatronTarget(other, pipeline)).path
    )
    assert (back.states.tensor_parallel, back.states.pipeline_parallel, back.vocabulary) == (
        other,
        pipeline,
        vocabulary,
    )
    assert differing(read_all(back), layers, vocabulary) == []
    assert back.config == replace(config, padded_vocab_size=back.config.padded_vocab_size)


@pytest.mark.usefixtures("unsynced")
@examples(12)
@given(
    model=models(), dtype=st.sampled_from([torch.float32, torch.bfloat16]), stages=st.integers(1, 4)
)
def test_resharding_there_and_back_is_the_same_bit_for_bit(
    model: tuple[ModelConfig, int, int, int],
    dtype: torch.dtype,
    stages: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """With the padding too, as far as both degrees have room for it."""
    config, vocabulary, tensor, other = model
    config = replace(config, padded_vocab_size=-(-vocabulary // (64 * tensor)) * 64 * tensor)
    folder, pipeline = tmp_path_factory.mktemp("reshard"), min(stages, config.num_layers)
    layers = weights(config, dtype=dtype)
    step = write(
        folder, config, layers, tensor, checkpoint_info={"original_vocab_size": vocabulary}
    )
    there = convert.reshard(step, folder / "there", MegatronTarget(other, pipeline), None)
    room = min(config.padded_vocab_size, megatron_reader.read(there.path).config.padded_vocab_size)
    back = megatron_reader.read(
        convert.reshard(there.path, folder / "back", MegatronTarget(tensor, 1), None).path
    )
    assert (back.states.tensor_parallel, back.config.padded_vocab_size) == (
        tensor,
        config.padded_vocab_size,
    )
    assert room >= vocabulary and differing(read_all(back), layers, room) == []


@pytest.mark.usefixtures("unsynced")
@pytest.mark.parametrize(("tensor", "pipeline"), [(1, 1), (2, 2), (4, 1)])
@pytest.mark.parametrize("thirds", [True, False])
def test_deepspeedais_weights_are_the_same_bit_for_bit_in_transformers(
    thirds: bool, tensor: int, pipeline: int, tmp_path: Path
) -> None:
    layers = weights(SMALL)
    convert.to_transformers(write(tmp_path / "1", SMALL, layers), tmp_path / "spaced", None, SHARD)
    step = write_deepspeedai(tmp_path / "2", SMALL, layers, tensor, pipeline, thirds)
    convert.to_transformers(step, tmp_path / "close", None, SHARD)
    assert digest(tmp_path / "spaced") == digest(tmp_path / "close")


@pytest.mark.usefixtures("unsynced")
@pytest.mark.parametrize("tensor", [1, 2])
def test_layers_are_written_as_the_chosen_trainer_has_them(tensor: int, tmp_path: Path) -> None:
    layers = weights(SMALL)
    spaced = write(tmp_path / "1", SMALL, layers, tensor)
    close = write_deepspeedai(tmp_path / "2", SMALL, layers, tensor)
    to_close = MegatronTarget(tensor, 1, DEEPSPEEDAI)
    to_spaced = MegatronTarget(tensor, 1, TURKUNLP)
    kept = MegatronTarget(tensor, 1)
    convert.to_transformers(spaced, tmp_path / "hf", None, SHARD)
    for number, (conversion, expected) in enumerate(
        (
            (convert.reshard(spaced, tmp_path / "a", to_close, None), close),
            (convert.reshard(close, tmp_path / "b", to_spaced, None), spaced),
            (convert.reshard(close, tmp_path / "c", kept, None), close),
            (convert.reshard(spaced, tmp_path / "d", kept, None), spaced),
            (convert.to_megatron(tmp_path / "hf", tmp_path / "e", to_close), close),
            (convert.to_megatron(tmp_path / "hf", tmp_path / "f", kept), spaced),
        )
    ):
        names = sorted(path.name for path in expected.glob("layer_*"))
        assert sorted(path.name for path in conversion.path.glob("layer_*")) == names, number
        for name in names:
            written, reference = (torch_file.load(s / name) for s in (conversion.path, expected))
            assert written.keys() == reference.keys()
            for weight, value in reference.items():
                # the padding is new
                if weight != "word_embeddings.weight":
                    assert torch.equal(written[weight], value), (number, name, weight)
        is_close = expected is close
        assert conversion.record["trainer"] == (DEEPSPEEDAI if is_close else TURKUNLP).title
        # deepspeedai 4efb479 loads the optimizer's state whatever its arguments are
        assert any("--no-load-optim" in note for note in conversion.notes) != is_close
        assert step_folder.incomplete(conversion.path, optimizer=False) is None
        states = model_states.read(conversion.path)
        assert states.vocabulary(256) == VOCABULARY
        assert ("lr_decay_tokens" in states.raw["lr_scheduler"]) == is_close
        assert ("position_embedding_type" in states.arguments) != is_close


def test_the_vocabulary_is_cut_exactly_and_shards_are_bounded(tmp_path: Path) -> None:
    layers = weights(SMALL)
    step = write(tmp_path, SMALL, layers, tensor=2)
    convert.to_transformers(step, tmp_path / "hf", None, SHARD)
    shards = sorted((tmp_path / "hf").glob("*.safetensors"))
    assert len(shards) > 3 and shards[0].name == f"model-00001-of-{len(shards):05d}.safetensors"
    index = safetensors_shards.read_json(tmp_path / "hf" / "model.safetensors.index.json")
    held = {path.name: load_file(path) for path in shards}
    assert index["weight_map"] == {
        name: shard for shard, tensors in held.items() for name in tensors
    }
    assert index["metadata"]["total_size"] == sum(
        v.nbytes for tensors in held.values() for v in tensors.values()
    )
    assert all(
        sum(v.nbytes for v in tensors.values()) <= SHARD or len(tensors) == 1
        for tensors in held.values()
    )
    words = held[shards[0].name]["transformer.wte.weight"]
    assert torch.equal(words, layers[1]["word_embeddings.weight"][:VOCABULARY])
    assert safetensors_shards.read_json(tmp_path / "hf" / "config.json")["vocab_size"] == VOCABULARY


def test_a_tokenizer_comes_along_and_has_to_be_the_models(tmp_path: Path) -> None:
    import transformers

    tokenizer = tokenizer_files.load(str(GENUINE))
    convert.to_transformers(GENUINE / "tp2" / "checkpoint", tmp_path / "hf", tokenizer, 10**9)
    loaded = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")
    text = "The function returns naïve\n\n\t 日本 values."
    assert loaded(text)["input_ids"] == tokenizer.backend.encode(text).ids
    assert len(loaded) == 5000 and loaded.eos_token_id == 4999 and loaded.model_max_length == 64
    for name in ("vocab.json", "merges.txt"):
        assert (tmp_path / "hf" / name).read_bytes() == (GENUINE / name).read_bytes()
    with pytest.raises(DataError, match="has 5000 entries"):
        convert.to_transformers(
            write(tmp_path, SMALL, weights(SMALL)), tmp_path / "other", tokenizer, 10**9
        )
    assert not (tmp_path / "other").exists()


def test_a_vocabulary_that_nothing_states_is_asked_for(tmp_path: Path) -> None:
    step = write(tmp_path, SMALL, weights(SMALL), checkpoint_info=None)
    with pytest.raises(CheckpointError, match="does not state its vocabulary"):
        convert.to_transformers(step, tmp_path / "hf", None, SHARD)


def test_heads_that_gpt2_cannot_hold_are_refused_by_name(tmp_path: Path) -> None:
    for changed in ({"num_attention_heads": 8}, {"kv_channels": 7, "num_attention_heads": 2}):
        config = replace(SMALL, **changed)
        step = write(tmp_path / str(config.kv_channels), config, weights(config))
        with pytest.raises(
            CheckpointError, match=f"heads of kv size {config.kv_channels} at width 32"
        ):
            convert.to_transformers(step, tmp_path / "hf", None, SHARD)


def test_a_resharded_checkpoint_keeps_its_arguments_and_says_what_it_lacks(tmp_path: Path) -> None:
    conversion = convert.reshard(
        GENUINE / "tp1" / "checkpoint", tmp_path / "out", MegatronTarget(4, 2), None
    )
    assert any("--no-load-optim --no-load-rng" in note for note in conversion.notes)
    before = model_states.read(megatron_reader.find(GENUINE / "tp1" / "checkpoint")).arguments
    assert (
        conversion.path == tmp_path / "out" / "global_step20"
        and step_folder.newest(tmp_path / "out", False).step
    )
    assert (
        len(list(conversion.path.glob("mp_rank_*"))) == 8
        and len(list(conversion.path.glob("layer_*"))) == 16
    )
    for rank in range(8):
        states = model_states.read(conversion.path, rank)
        after = states.arguments
        changed = {name for name in before if before[name] != after[name]} - {
            "position_embedding_type",
            "rank",
        }
        assert changed <= {
            "tensor_model_parallel_size",
            "pipeline_model_parallel_size",
            "world_size",
            "local_rank",
        } | {"data_parallel_size"}
        assert after["position_embedding_type"].name == "megatron.enums.PositionEmbeddingType"
        assert after["position_embedding_type"].values == (2,)
        assert (after["rank"], states.model_ranks, states.raw["iteration"]) == (rank, 8, 20)
        assert states.raw["lr_scheduler"]["decay_style"] == "cosine"


def test_the_trainers_model_takes_what_to_megatron_writes(tmp_path: Path) -> None:
    convert.to_transformers(GENUINE / "tp1" / "checkpoint", tmp_path / "hf", None, SHARD)
    conversion = convert.to_megatron(tmp_path / "hf", tmp_path / "out", MegatronTarget(1, 1))
    assert (tmp_path / "out" / "latest").read_text() == "global_step0"
    arguments = model_states.read(conversion.path).arguments
    model = GPT.empty(model_states.model_config(arguments))
    model.fill(megatron_reader.read(conversion.path).weights())
    assert arguments["bf16"] and arguments["padded_vocab_size"] == 5120
    assert torch.equal(
        model.layers[1].mlp.dense_h_to_4h.weight,
        megatron_reader.read(GENUINE / "tp1" / "checkpoint")
        .layer(4)["mlp.dense_h_to_4h.weight"]
        .float(),
    )


def test_what_is_not_this_conversion_is_not_replaced(tmp_path: Path) -> None:
    step = write(tmp_path, SMALL, weights(SMALL))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    convert.to_transformers(step, tmp_path / "hf", None, SHARD)
    for out in (tmp_path / "mine", tmp_path / "hf", tmp_path / "mine" / "thesis.txt"):
        with pytest.raises(OutputError, match="already exists"):
            convert.reshard(step, out, MegatronTarget(1, 1), None)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    before = digest(tmp_path / "hf")
    convert.to_transformers(step, tmp_path / "hf", None, SHARD)
    assert digest(tmp_path / "hf") == before


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    step = write(tmp_path, SMALL, weights(SMALL))
    torn = step / "layer_06-model_00-model_states.pt"
    torn.write_bytes(torn.read_bytes()[:500])
    with pytest.raises(CheckpointError, match="layer_06"):
        convert.to_transformers(step, tmp_path / "out" / "hf", None, SHARD)
    assert list((tmp_path / "out").iterdir()) == []
    with pytest.raises(UsageError):
        convert.reshard(step, tmp_path / "out" / "hf", MegatronTarget(3, 1), None)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("act", ["to-transformers", "reshard"])
def test_a_full_disk_is_an_output_error_and_leaves_nothing(act: str, tmp_path: Path) -> None:
    step = write(tmp_path, SMALL, weights(SMALL))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
        with pytest.raises(OutputError, match="could not be written"):
            if act == "reshard":
                convert.reshard(step, tmp_path / "out" / "new", MegatronTarget(1, 1), None)
            else:
                convert.to_transformers(step, tmp_path / "out" / "new", None, SHARD)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"model_type": "llama"}, "model_type 'llama'"),
        ({"activation_function": "relu"}, "relu"),
        ({"tie_word_embeddings": False}, "tie_word_embeddings"),
        ({"scale_attn_by_inverse_layer_idx": True}, "inverse_layer"),
        ({"n_layer": "2"}, "n_layer '2'"),
        ({"n_layer": 3}, "layer 5 lacks"),
        ({"n_embd": 64}, "200×32, not 200×64"),
        ({"vocab_size": 199}, "200×32, not 199×32"),
        ({"n_head": 5, "n_embd": 40, "n_positions": 24}, "not"),
        ({"n_inner": 65}, "64×32, not 65×32"),
        ({gpt2_reader.LIVE_HEADS: 5}, "5 of 4 heads"),
    ],
)
def test_another_transformers_model_is_refused_by_name(
    change: dict[str, object], word: str, tmp_path: Path
) -> None:
    convert.to_transformers(write(tmp_path, SMALL, weights(SMALL)), tmp_path / "hf", None, SHARD)
    raw = safetensors_shards.read_json(tmp_path / "hf" / "config.json")
    (tmp_path / "hf" / "config.json").write_text(json.dumps(raw | change))
    with pytest.raises(CheckpointError, match=word):
        convert.to_megatron(tmp_path / "hf", tmp_path / "out", MegatronTarget(1, 1))
    assert not (tmp_path / "out").exists()


def test_an_index_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    convert.to_transformers(write(tmp_path, SMALL, weights(SMALL)), tmp_path / "hf", None, SHARD)
    for target in ("../secret.safetensors", "/etc/passwd", 3):
        index = {"weight_map": {"transformer.wte.weight": target}}
        (tmp_path / "hf" / "model.safetensors.index.json").write_text(json.dumps(index))
        with pytest.raises(CheckpointError, match="no files of its own folder"):
            gpt2_reader.read(tmp_path / "hf")


def test_the_hubs_own_gpt2_naming_and_pickled_weights_are_read(tmp_path: Path) -> None:
    layers = weights(SMALL)
    convert.to_transformers(write(tmp_path, SMALL, layers), tmp_path / "hf", None, 10**9)
    held = load_file(tmp_path / "hf" / "model.safetensors")
    (tmp_path / "hf" / "model.safetensors").unlink()
    bare = {name.removeprefix("transformer."): value for name, value in held.items()}
    bare |= {
        "h.0.attn.bias": torch.ones(1, 1, 24, 24),
        "lm_head.weight": held["transformer.wte.weight"].clone(),
    }
    torch.save(bare, tmp_path / "hf" / "pytorch_model.bin")
    assert differing(read_all(gpt2_reader.read(tmp_path / "hf")), layers, VOCABULARY) == []
    torch.save(
        bare | {"lm_head.weight": bare["lm_head.weight"] + 1}, tmp_path / "hf" / "pytorch_model.bin"
    )
    with pytest.raises(CheckpointError, match=r"lm_head\.weight"):
        gpt2_reader.read(tmp_path / "hf")


@pytest.mark.slow
@pytest.mark.parametrize("tensor", [1, 4])
def test_one_weight_is_in_memory_at_a_time(
    tensor: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All live tensors, counted when one is read and when a file is written.

    bench_convert.py measures the process.
    """
    config = replace(
        SMALL,
        num_layers=6,
        hidden_size=64,
        kv_channels=16,
        ffn_hidden_size=256,
        padded_vocab_size=1024,
    )
    step = write(tmp_path, config, weights(config), tensor)
    largest = max(path.stat().st_size for path in step.glob("layer_*"))
    gc.collect()
    gc.freeze()  # what was there before is not looked at again
    peaks: list[int] = []

    def counted(function: Callable[..., object]) -> Callable[..., object]:
        def run(*given: object, **named: object) -> object:
            result = function(*given, **named)
            peaks.append(live_bytes())
            return result

        return run

    monkeypatch.setattr(
        megatron_reader.MegatronCheckpoint,
        "_weight",
        counted(megatron_reader.MegatronCheckpoint._weight),
    )
    monkeypatch.setattr(safetensors_shards, "save_file", counted(safetensors_shards.save_file))
    monkeypatch.setattr(torch_file, "save", counted(torch_file.save))
    shard = 300_000
    convert.to_transformers(step, tmp_path / "hf", None, shard)
    assert len(peaks) > 80 and max(peaks) <= 1.3 * largest + shard
    peaks.clear()
    conversion = convert.reshard(step, tmp_path / "out", MegatronTarget(2, 1), None)
    assert len(peaks) > 80
    assert max(peaks) <= 1.3 * largest + max(
        path.stat().st_size for path in conversion.path.glob("layer_*")
    )
    gc.unfreeze()


def live_bytes() -> int:
    """The bytes of all tensors, each storage once."""
    storages = {
        t.untyped_storage().data_ptr(): t.nbytes
        for t in gc.get_objects()
        if type(t) is torch.Tensor
    }
    return sum(storages.values())
