"""The released repositories and runs agree with each other and with the rest of the registry."""

import shutil
from pathlib import Path

import pytest
from encore.errors import RegistryError, UnknownNameError, UsageError
from encore.registry import released
from encore.registry.corpora import load_corpora
from encore.registry.folder import FOLDER
from encore.registry.paper_runs import load_runs


def test_the_numbers_are_those_of_the_sources() -> None:
    places = [place for run in released.runs().values() for place in run]
    assert (
        len(released.repositories()) == 46
        and len(released.repositories("dataset")) == 10
        and len(places) == 488
    )
    counts = {
        kind: sum(place.attribution == kind for place in places) for kind in released.ATTRIBUTIONS
    }
    assert counts == {"named": 89, "seed": 172, "inferred": 214, "unknown": 13}


def test_the_repositories_name_corpora_of_the_registry() -> None:
    assert set(released.corpora()) <= load_corpora().keys()


def test_runs_with_known_steps_were_released() -> None:
    stepped = {
        name for name, run in load_runs().items() if run.global_step
    } & released.runs().keys()
    assert "146m14b400m" in stepped and released.place("146m14b400m").repository == "lm1-misc"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("146m14b400m", "146m14b400m"),
        ("146M14B400M", "146m14b400m"),
        ("lm1-146m14b400m", "146m14b400m"),
        ("LM1-146m-14b-400m", "146m14b400m"),
        ("datablations/lm1-misc", "lm1-misc"),
        ("datablations/LM1-misc/146m14b400m", "lm1-misc/146m14b400m"),
        ("lm1-4b2-84b-oscarroots", "lm1-4b2-84b-oscarroots"),  # a run of that name
        ("lm1-4b2-84b-c4py", "lm1-4b2-84b-c4py"),  # a repository
        ("lm1-2b8-55b-90c4py", "2b855b90c4py"),
        ("146m-14b-400m", "146m-14b-400m"),  # no name of the Hub
        ("146\u212a14b400m", "146\u212a14b400m"),  # the lower case of the Kelvin sign is k
        ("", ""),
    ],
)
def test_names_as_people_and_the_hub_write_them(text: str, name: str) -> None:
    assert released.plain_name(text) == name


def test_a_run_in_several_places_asks_which() -> None:
    with pytest.raises(
        UsageError, match="8b7178b25b is in 2 repositories: lm1-8b7-178b-c4-repetitions, lm1"
    ) as it:
        released.place("8b7178b25b")
    assert it.value.hint == "choose with --repo"
    assert released.place("8b7178b25b", "lm1-8b7-178b-oscar-repetitions").attribution == "named"


def test_a_run_of_unknown_place_and_a_wrong_repository_are_refused() -> None:
    with pytest.raises(UsageError, match="no source states that 2b84b4b is in any repository"):
        released.place("2b84b4b")
    with pytest.raises(
        UsageError, match="no source states that 146m14b400m is in c4-subsets"
    ) as caught:
        released.place("146m14b400m", "c4-subsets")
    assert caught.value.hint == "it is in lm1-misc"
    with pytest.raises(UnknownNameError, match="unknown released run '146m14b401m'"):
        released.places("146m14b401m")


def test_only_a_repository_of_one_run_is_that_run() -> None:
    assert released.is_whole_repository("lm1-4b2-84b-oscarroots", "lm1-4b2-84b-oscarroots")
    assert not released.is_whole_repository("146m14b400m", "lm1-misc")


@pytest.mark.parametrize(
    ("file", "old", "new", "what"),
    [
        ("repositories.csv", "mup,dataset", "mup,space", "mup is a 'space'"),
        (
            "released_runs.csv",
            "146m14b400m,lm1-misc,",
            "146m14b400m,lm1-mics,",
            "146m14b400m: 'lm1-mics', 'named'",
        ),
        (
            "released_runs.csv",
            "lm1-misc,named,README example",
            "lm1-misc,sure,README example",
            "'lm1-misc', 'sure'",
        ),
        ("released_runs.csv", "2b84b4b,,unknown", "2b84b4b,,named", "2b84b4b: None, 'named'"),
    ],
)
def test_a_wrong_table_is_refused_by_name(
    tmp_path: Path, file: str, old: str, new: str, what: str
) -> None:
    for name in ("repositories.csv", "released_runs.csv"):
        shutil.copy(FOLDER / name, tmp_path)
    text = (tmp_path / file).read_text()
    assert old in text
    (tmp_path / file).write_text(text.replace(old, new, 1))
    with pytest.raises(RegistryError, match=what):
        released.runs(tmp_path)
