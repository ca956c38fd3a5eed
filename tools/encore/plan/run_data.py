"""What a run reads: from corpora and shares to the groups, file names and lines of data paths."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from encore.errors import UnknownNameError, UsageError
from encore.plan import run_name
from encore.registry.corpora import Corpus, Files
from encore.tokens import data_paths
from encore.tokens.data_paths import Group, WeightedPrefix

# A subset of nearly all of a corpus is the corpus: no other file of that size was ever cut.
_WHOLE = 0.99


@dataclass(frozen=True)
class DataSpec:
    """What is trained on; unique_tokens None: all that the corpus has.

    mix: another corpus and its percentage of the training tokens.
    """

    corpus: str
    unique_tokens: int | None = None
    variant: str | None = None
    mix: tuple[str, int] | None = None


def train_group(spec: DataSpec, corpora: Mapping[str, Corpus]) -> Group:
    """The training data of a run; raises UnknownNameError or UsageError where no corpus has it."""
    if spec.mix is None:
        return Group("train", (_train_part(1.0, spec, corpora),))
    added, percent = spec.mix
    if not 0 < percent < 100:
        raise UsageError(f"{percent}% of {added} cannot be mixed in", "a share is 1 to 99 percent")
    # The paper's files read a subset of the run's tokens of Python too; weights make the mix.
    added_spec = DataSpec(added, spec.unique_tokens)
    first = _train_part((100 - percent) / 100, spec, corpora)
    second = _train_part(percent / 100, added_spec, corpora)
    return Group("train", (first, second))


def _train_part(weight: float, spec: DataSpec, corpora: Mapping[str, Corpus]) -> WeightedPrefix:
    """A training data set: its whole file, less an end that is held out for validation."""
    file = prefix(spec, corpora)
    validation = corpora[spec.corpus].validation
    end = 1.0
    if validation is not None and validation.file == file:
        end = validation.start
    return WeightedPrefix(weight, 0.0, end, file)


def prefix(spec: DataSpec, corpora: Mapping[str, Corpus]) -> str:
    """The .bin/.idx prefix of a corpus, a variant or a subset, relative to the data folder."""
    corpus = _corpus(spec.corpus, corpora)
    files, description = _files(corpus, spec.variant)
    if files.whole and (_is_whole(spec, corpus) or not files.subset):
        return files.whole
    if not files.subset:
        raise UsageError(
            f"{description} has no tokenized files",
            f"add them to registry/corpora/{corpus.name}.yml",
        )
    if spec.unique_tokens is None:
        raise UsageError(
            f"{description} is not tokenized as a whole",
            "state the unique tokens, for example 146m14b400m",
        )
    return files.subset.replace("{subset}", subset_label(spec.unique_tokens))


def _is_whole(spec: DataSpec, corpus: Corpus) -> bool:
    if spec.unique_tokens is None:
        return True
    return corpus.tokens is not None and spec.unique_tokens >= _WHOLE * corpus.tokens


def subset_label(unique_tokens: int) -> str:
    """1_250_000_000 → `1B25`, as the subsets' file names spell it."""
    return run_name.amount_label(unique_tokens).upper()


def file_names(spec: DataSpec, corpora: Mapping[str, Corpus]) -> tuple[str, str]:
    """The names of a run's two data-path files, train400m.txt and val.txt.

    Source: the files of datablations' utils/datapaths.
    """
    amount = ""
    if spec.unique_tokens:
        amount = run_name.amount_label(spec.unique_tokens)
    train_words = _file_word(spec.corpus, corpora)
    if spec.mix is not None:
        added, percent = spec.mix
        train_words = f"{100 - percent}{spec.corpus}{_file_word(added, corpora)}"
    first, *others = _validated_corpora(spec, corpora)
    # a corpus without a word of its own is named as soon as there is another
    valid_words = first if others else _file_word(first, corpora)
    for name in others:
        valid_words += _file_word(name, corpora)
    return f"train{amount}{train_words}{spec.variant or ''}.txt", f"val{valid_words}.txt"


def _file_word(name: str, corpora: Mapping[str, Corpus]) -> str:
    """What stands for a corpus in the names of data-path files; empty for the usual one."""
    word = _corpus(name, corpora).file_word
    return name if word is None else word


def valid_groups(spec: DataSpec, corpora: Mapping[str, Corpus]) -> tuple[Group, ...]:
    """The validation sets of a run: those that its corpora name.

    A single set is called `validation`, several are `validation_c4`, `validation_oscar`. A corpus
    that states its group's name keeps it and does not count (`validation` beside
    `validation_python`). Raises UsageError where a corpus has no validation set.
    """
    validations = {}
    unnamed = 0
    for name in _validated_corpora(spec, corpora):
        validation = _corpus(name, corpora).validation
        if validation is None:
            raise UsageError(
                f"corpus {name} has no validation set", f"add one to registry/corpora/{name}.yml"
            )
        validations[name] = validation
        if not validation.group:
            unnamed += 1
    groups = []
    for name, validation in validations.items():
        group_name = validation.group
        if not group_name:
            group_name = "validation" if unnamed == 1 else f"validation_{name}"
        part = WeightedPrefix(1.0, validation.start, validation.end, validation.file)
        groups.append(Group(group_name, (part,)))
    return tuple(groups)


def line(groups: Sequence[Group], data_folder: str) -> str:
    """The one line of a data-path file, with its newline; raises DataError for a bad path."""
    absolute = []
    for group in groups:
        parts = []
        for part in group.parts:
            parts.append(replace(part, prefix=f"{data_folder}/{part.prefix}"))
        absolute.append(Group(group.name, tuple(parts)))
    return data_paths.render(absolute)


def _validated_corpora(spec: DataSpec, corpora: Mapping[str, Corpus]) -> list[str]:
    """The corpora that a run is validated on, each once, in order."""
    trained_on = [spec.corpus]
    if spec.mix is not None:
        trained_on.append(spec.mix[0])
    names: list[str] = []
    for name in trained_on:
        names += _corpus(name, corpora).validated_on or (name,)
    return list(dict.fromkeys(names))


def _corpus(name: str, corpora: Mapping[str, Corpus]) -> Corpus:
    if name not in corpora:
        raise UnknownNameError("corpus", name, corpora)
    return corpora[name]


def _files(corpus: Corpus, variant: str | None) -> tuple[Files, str]:
    """The files of a corpus or its variant, and what errors call them."""
    if variant is None:
        return corpus.files, f"corpus {corpus.name}"
    if variant not in corpus.variants:
        raise UnknownNameError(f"variant of {corpus.name}", variant, corpus.variants)
    return corpus.variants[variant], f"variant {variant} of {corpus.name}"
