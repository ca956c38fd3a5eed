"""What a run reads: from corpora and shares to the groups, file names and lines of its data paths."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from encore.errors import UnknownNameError, UsageError
from encore.plan import run_name
from encore.registry.corpora import Corpus, Files
from encore.tokens import data_paths
from encore.tokens.data_paths import Group, WeightedPrefix

# a subset of nearly all of a corpus is the corpus: no other file of that size was ever cut
_WHOLE = 0.99


@dataclass(frozen=True)
class DataSpec:
    """What is trained on: `mix` adds another corpus by its percentage of the tokens; None tokens: all there are."""

    corpus: str
    unique_tokens: int | None = None
    variant: str | None = None
    mix: tuple[str, int] | None = None


def train_group(spec: DataSpec, corpora: Mapping[str, Corpus]) -> Group:
    """The training data of a run; raises UnknownNameError or UsageError for what no corpus has."""
    if not spec.mix:
        return Group("train", (_train_part(1.0, spec, corpora),))
    added, percent = spec.mix
    if not 0 < percent < 100:
        raise UsageError(f"{percent}% of {added} cannot be mixed in", "a share is 1 to 99 percent")
    first = _train_part((100 - percent) / 100, spec, corpora)
    return Group(
        "train", (first, _train_part(percent / 100, DataSpec(added, spec.unique_tokens), corpora))
    )


def _train_part(weight: float, spec: DataSpec, corpora: Mapping[str, Corpus]) -> WeightedPrefix:
    """A training dataset: all of its file, but for an end that is held out for validation."""
    file, held_out = prefix(spec, corpora), corpora[spec.corpus].validation
    end = held_out.start if held_out and held_out.file == file else 1.0
    return WeightedPrefix(weight, 0.0, end, file)


def prefix(spec: DataSpec, corpora: Mapping[str, Corpus]) -> str:
    """The .bin/.idx that hold a corpus, one of its variants, or a subset of either; relative to the data folder."""
    corpus = _corpus(spec.corpus, corpora)
    files, what = _files(corpus, spec.variant)
    everything = corpus.tokens is not None and (spec.unique_tokens or 0) >= _WHOLE * corpus.tokens
    if files.whole and (spec.unique_tokens is None or everything or not files.subset):
        return files.whole
    if not files.subset:
        raise UsageError(
            f"{what} has no tokenized files", f"add them to registry/corpora/{corpus.name}.yml"
        )
    if spec.unique_tokens is None:
        raise UsageError(
            f"{what} is not tokenized as a whole", "name the unique tokens, as in 146m14b400m"
        )
    return files.subset.replace("{subset}", subset_label(spec.unique_tokens))


def subset_label(unique_tokens: int) -> str:
    """1_250_000_000 → `1B25`, as the subsets' file names spell it."""
    return run_name.amount_label(unique_tokens).upper()


def file_names(spec: DataSpec, corpora: Mapping[str, Corpus]) -> tuple[str, str]:
    """The names that a run's two data-path files have, as datablations' utils/datapaths: train400m.txt, val.txt."""
    amount = run_name.amount_label(spec.unique_tokens) if spec.unique_tokens else ""
    trained = _word(spec.corpus, corpora)
    if spec.mix:
        trained = f"{100 - spec.mix[1]}{spec.corpus}{_word(spec.mix[0], corpora)}"
    first, *others = _measured(spec, corpora)
    valid = (
        first + "".join(_word(name, corpora) for name in others)
        if others
        else _word(first, corpora)
    )
    return f"train{amount}{trained}{spec.variant or ''}.txt", f"val{valid}.txt"


def _word(name: str, corpora: Mapping[str, Corpus]) -> str:
    word = _corpus(name, corpora).file_word
    return name if word is None else word


def valid_groups(spec: DataSpec, corpora: Mapping[str, Corpus]) -> tuple[Group, ...]:
    """The validation sets of a run: those that its corpora name.

    A single set is called `validation`; several are `validation_c4`, `validation_oscar`; a corpus that states its
    group's name keeps it and does not count (`validation` beside `validation_python`). Raises UsageError where one of
    the corpora has no validation set.
    """
    sets = [(name, _corpus(name, corpora).validation) for name in _measured(spec, corpora)]
    nameless = [name for name, validation in sets if validation and not validation.group]
    groups = []
    for name, validation in sets:
        if validation is None:
            raise UsageError(
                f"corpus {name} has no validation set", f"add one to registry/corpora/{name}.yml"
            )
        title = validation.group or ("validation" if len(nameless) == 1 else f"validation_{name}")
        groups.append(
            Group(title, (WeightedPrefix(1.0, validation.start, validation.end, validation.file),))
        )
    return tuple(groups)


def line(groups: Sequence[Group], data_folder: str) -> str:
    """The one line of a data-path file, with its newline; raises DataError for what it cannot hold."""
    return data_paths.render([_below(data_folder, group) for group in groups])


def _below(folder: str, group: Group) -> Group:
    return Group(
        group.name, tuple(replace(part, prefix=f"{folder}/{part.prefix}") for part in group.parts)
    )


def _measured(spec: DataSpec, corpora: Mapping[str, Corpus]) -> list[str]:
    """The corpora that a run is validated on, in order."""
    trained_on = [spec.corpus] + ([spec.mix[0]] if spec.mix else [])
    return list(
        dict.fromkeys(
            n for name in trained_on for n in (_corpus(name, corpora).validated_on or (name,))
        )
    )


def _corpus(name: str, corpora: Mapping[str, Corpus]) -> Corpus:
    if name not in corpora:
        raise UnknownNameError("corpus", name, corpora)
    return corpora[name]


def _files(corpus: Corpus, variant: str | None) -> tuple[Files, str]:
    if variant is None:
        return corpus.files, f"corpus {corpus.name}"
    if variant not in corpus.variants:
        raise UnknownNameError(f"variant of {corpus.name}", variant, corpus.variants)
    return corpus.variants[variant], f"variant {variant} of {corpus.name}"
