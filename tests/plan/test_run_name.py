"""The run-name grammar: every name of the paper, ambiguity, and what is refused."""

import pytest
from encore.errors import UnknownNameError, UsageError
from encore.plan import run_name
from encore.registry import models
from encore.registry.corpora import load_corpora
from encore.registry.paper_runs import load_runs
from hypothesis import given
from hypothesis import strategies as st

LABELS = {
    "146m": 146_500_000,
    "1b1": 1_096_300_000,
    "2b8": 2_810_000_000,
    "4b2": 4_246_500_000,
    "500k": 500_000,
}


VARIANTS = ["dedup", "dedup25", "dedup25expanded", "perplexity25"]


def vocabulary(known: dict[str, run_name.Triple] | None = None) -> run_name.Vocabulary:
    return run_name.Vocabulary(LABELS, known or {}, ["c4", "oscar", "python"], VARIANTS)


def of_the_registry() -> run_name.Vocabulary:
    labels = {label: record.parameters for label, record in models.load_models().labels.items()}
    known = {
        name: (run.parameters, run.tokens, run.unique_tokens) for name, run in load_runs().items()
    }
    return run_name.Vocabulary(labels, known, load_corpora())


def test_every_known_run_parses_to_its_triple() -> None:
    words = of_the_registry()
    assert len(words.known) == 317
    # those runs' suffixes: corpora, seeds, versions, and `dedup`
    words = run_name.Vocabulary(words.labels, words.known, words.corpora, VARIANTS)
    assert {name: run_name.parse(name, words).triple for name in words.known} == words.known


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("146m14b400m", (146_500_000, 14 * 10**9, 400 * 10**6)),
        ("1b12b8100m", (1_096_300_000, 2_800_000_000, 100_000_000)),
        ("500k500k100k", (500_000, 500_000, 100_000)),
        ("2b855b1b25", (2_810_000_000, 55 * 10**9, 1_250_000_000)),
        ("4b284bc4dedup", (4_246_500_000, 84 * 10**9, 84 * 10**9)),
    ],
)
def test_a_name_with_one_reading_needs_no_known_run(name: str, expected: run_name.Triple) -> None:
    assert run_name.parse(name, vocabulary()).triple == expected


def test_an_ambiguous_name_lists_its_readings_and_how_to_choose() -> None:
    with pytest.raises(UsageError) as raised:
        run_name.parse("1b191b12b", vocabulary())
    assert "91,000,000,000 tokens / 12,000,000,000 unique" in str(raised.value)
    assert "91,100,000,000 tokens / 2,000,000,000 unique" in str(raised.value)
    assert raised.value.hint == (
        "choose one, for example with --params 1b1 --tokens 91b --unique 12b"
    )


def test_the_hint_of_an_ambiguous_name_resolves_it() -> None:
    choice = run_name.Choice("1b1", "91b1", "2b")
    assert run_name.parse("1b191b12b", vocabulary(), choice).triple == (
        1_096_300_000,
        91_100_000_000,
        2 * 10**9,
    )


def test_known_triples_decide_between_readings_also_for_suffixed_names() -> None:
    known = {"1b191b12b": (1_096_300_000, 91 * 10**9, 12 * 10**9)}
    assert run_name.parse("1b191b12boscarseed3", vocabulary(known)).triple == known["1b191b12b"]


def test_an_optimal_allocation_run_is_what_it_was_not_what_its_name_compares_with() -> None:
    assert run_name.parse("8b7178b25bopt", of_the_registry()).triple == (
        6_355_127_296,
        241_480_525_824,
        25 * 10**9,
    )


@pytest.mark.parametrize(
    ("suffix", "expected"),
    [
        ("", run_name.Suffix()),
        ("c4", run_name.Suffix("c4")),
        ("90c4py", run_name.Suffix("c4", 90)),
        ("c4py10", run_name.Suffix("c4", 90)),
        ("50oscarpy", run_name.Suffix("oscar", 50)),
        ("dedupseed2", run_name.Suffix(variant="dedup", seed=2)),
        ("oscarperplexity25", run_name.Suffix("oscar", variant="perplexity25")),
        ("oscardedup25expanded", run_name.Suffix("oscar", variant="dedup25expanded")),
        ("c4v2seed4", run_name.Suffix("c4", seed=4)),
        ("c4subopt", run_name.Suffix("c4")),
    ],
)
def test_suffixes(suffix: str, expected: run_name.Suffix) -> None:
    assert run_name.parse(f"146m14b400m{suffix}", vocabulary()).suffix == expected


def test_more_unique_than_trained_tokens_is_refused() -> None:
    with pytest.raises(UsageError, match="more than"):
        run_name.parse("146m400m14b", vocabulary())


def test_an_unknown_label_lists_the_nearest() -> None:
    with pytest.raises(UnknownNameError) as raised:
        run_name.parse("147m14b400m", vocabulary())
    assert "146m" in raised.value.hint


@pytest.mark.parametrize(
    "name",
    [
        "",
        "146m",
        "146m14b",
        "$(id)",
        "146m14b400m;ls",
        "146m14b400mc4py",
        "../146m14b400m",
        "a" * 5000,
        "1४6m1b1m",
    ],
)
def test_what_is_not_a_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        run_name.parse(name, vocabulary())


@given(st.integers(1, 999), st.sampled_from("kmb"), st.integers(0, 99))
def test_amount_labels_round_trip(whole: int, unit: str, hundredths: int) -> None:
    count = whole * run_name._SCALES[unit] + hundredths * run_name._SCALES[unit] // 100
    assert run_name.amount(run_name.amount_label(count)) == count


@given(
    st.sampled_from(sorted(LABELS)),
    st.integers(1, 999),
    st.integers(1, 999),
    st.sampled_from(["", "c4", "oscar", "dedup", "seed3"]),
)
def test_the_true_reading_is_always_among_those_offered(
    label: str, tokens: int, unique: int, suffix: str
) -> None:
    name = f"{label}{tokens}b{unique}m{suffix}"
    choice = run_name.Choice(label, f"{tokens}b", f"{unique}m")
    assert run_name.parse(name, vocabulary(), choice).triple == (
        LABELS[label],
        tokens * 10**9,
        unique * 10**6,
    )
