"""Strict YAML: what a registry file may say, and the one line that tells what is wrong with it.

Every case runs with libyaml's loader, where it is built in, and with PyYAML's own.
"""

import dataclasses
import datetime
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import pytest
import yaml
from encore.errors import RegistryError
from encore.registry import strict_yaml
from hypothesis import given
from hypothesis import strategies as st


@dataclasses.dataclass(frozen=True)
class Part:
    name: str
    count: int
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Whole:
    title: str = "none"
    rate: float = 0.0
    big: bool = False
    day: datetime.date | None = None
    kind: Literal["small", "large"] = "small"
    words: tuple[str, ...] = ()
    parts: dict[str, Part] = dataclasses.field(default_factory=dict)
    listed: tuple[Part, ...] = ()
    inner: Part | None = None
    numbers: dict[str, int] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.rate < 0:
            raise ValueError("rate is below 0")


def python_loader() -> ModuleType:
    """A second copy of the module, made where libyaml is absent."""
    spec = importlib.util.spec_from_file_location(
        "strict_yaml_without_libyaml", strict_yaml.__file__
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    fast = yaml.__dict__.pop("CSafeLoader", None)
    try:
        spec.loader.exec_module(module)
    finally:
        if fast is not None:
            yaml.CSafeLoader = fast  # type: ignore[misc]
    return module


@pytest.fixture(params=["libyaml", "python"])
def loader(request: pytest.FixtureRequest) -> ModuleType:
    return strict_yaml if request.param == "libyaml" else python_loader()


@pytest.fixture
def read(loader: ModuleType, tmp_path: Path) -> Any:
    def read_text(text: str | bytes, record: type = Whole) -> Any:
        path = tmp_path / "facts.yml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return loader.load(path, record)

    return read_text


def refusal(read: Any, text: str | bytes) -> str:
    """The message and hint of the one error."""
    with pytest.raises(RegistryError) as caught:
        read(text)
    return f"{caught.value}; {caught.value.hint}"


def test_both_loaders_are_what_they_claim() -> None:
    assert issubclass(python_loader()._Loader, yaml.SafeLoader)
    if hasattr(yaml, "CSafeLoader"):
        assert issubclass(strict_yaml._Loader, yaml.CSafeLoader)


def test_a_file_becomes_frozen_records(read: Any) -> None:
    whole = read(
        "title: T\nrate: 3.0e-4\nbig: true\nday: 2026-11-23\nkind: large\nwords: [a, b]\n"
        "parts:\n  one: {count: 1}\n  two: {count: 2, note: n}\n"
        "listed:\n- {name: x, count: 1_000}\ninner: null\n"
    )
    assert whole == Whole(
        title="T",
        rate=3.0e-4,
        big=True,
        day=datetime.date(2026, 11, 23),
        kind="large",
        words=("a", "b"),
        parts={"one": Part("one", 1), "two": Part("two", 2, "n")},
        listed=(Part("x", 1000),),
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        whole.title = "other"


def test_a_whole_number_serves_as_a_number(read: Any) -> None:
    rate = read("rate: 3\n").rate
    assert rate == 3.0 and type(rate) is float


def test_a_file_gives_its_stem_as_the_name(read: Any) -> None:
    assert read("count: 1\n", Part) == Part("facts", 1)


def test_a_name_that_the_key_states_is_not_written_again(read: Any) -> None:
    assert "facts.yml:3: unknown key 'name'" in refusal(
        read, "parts:\n  one:\n    name: one\n    count: 1\n"
    )


def test_an_unknown_key_lists_the_valid_ones(read: Any) -> None:
    message = refusal(read, "title: T\nparts:\n  one: {count: 1, colour: red}\n")
    assert "facts.yml:3: unknown key 'colour'" in message and "valid keys: count, note" in message


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("title: a\nbig: true\ntitle: b\n", ":3:", "key 'title' occurs twice"),
        ("parts:\n  one: {count: 1}\n  one: {count: 1}\n", ":3:", "key 'one' occurs twice"),
        ("numbers: {a: 1,\n  a: 2}\n", ":2:", "key 'a' occurs twice"),
        ("parts:\n  one: {note: n}\n", ":2:", "missing key count in parts.one"),
        ("listed:\n- name: a\n  count: 1\n- {}\n", ":4:", "missing keys name, count in listed[1]"),
        ("rate: 3e-4\n", ":1:", "rate must be a number, not '3e-4'; write 3.0e-4"),
        ("rate: 1e18\n", ":1:", "not '1e18'; write 3.0e-4 or 3.0e+10"),
        ("rate: true\n", ":1:", "rate must be a number, not True"),
        ("rate: .nan\n", ":1:", ".nan is not a finite decimal number"),
        ("rate: -.inf\n", ":1:", "-.inf is not a finite"),
        ("rate: 1.0e+999\n", ":1:", "1.0e+999 is not a finite"),
        ("rate: 1:30.5\n", ":1:", "1:30.5 is not a finite decimal"),
        ("rate: -1\n", ":1:", "rate is below 0"),
        (
            "title: 48:00:00\n",
            ":1:",
            'YAML reads 48:00:00 as a number of another base; quote it if it is text: "48',
        ),
        ("title: T\nnumbers:\n  mode: 0644\n", ":3:", "0644 as a number of another base"),
        ("numbers: {a: 0x1F}\n", ":1:", "0x1F as a number of another base"),
        ("numbers: {a: 0b11}\n", ":1:", "0b11 as a number of another base"),
        ("numbers: {a: 1.0}\n", ":1:", "numbers.a must be a whole number, not 1.0"),
        ("numbers: {a: '1'}\n", ":1:", "numbers.a must be a whole number, not '1'"),
        ("numbers: {a: true}\n", ":1:", "numbers.a must be a whole number, not True"),
        ("title: no\n", ":1:", 'YAML reads no as a flag; write true or false, or quote it: "no"'),
        ("big: yes\n", ":1:", "YAML reads yes as a flag"),
        ("big: 1\n", ":1:", "big must be bool, not 1"),
        ("title: 12\n", ":1:", 'title must be text, not 12; quote it: "12"'),
        ("title: 2026-11-23\n", ":1:", "title must be text"),
        ("title:\n", ":1:", "title must be text, not None"),
        ("day: 2026-13-45\n", ":1:", "'2026-13-45': month must be in 1..12"),
        ("day: 2026-11-23 10:00:00\n", ":1:", "day must be date"),
        ("kind: huge\n", ":1:", "kind must be one of small, large, not 'huge'"),
        ("words: a\n", ":1:", "words must be a list, not 'a'"),
        ("words:\n- a\n- b\n- 3\n", ":4:", "words[2] must be text, not 3"),
        ("parts: [a]\n", ":1:", "parts must be a mapping, not ['a']"),
        ("parts:\n  1: {count: 1}\n", ":2:", "key 1 of parts must be text"),
        ("inner: text\n", ":1:", "inner must be a mapping, not 'text'"),
        ("- title\n", ":1:", "the file must be a mapping, not ['title']"),
        ("just text\n", ":1:", "the file must be a mapping"),
        ("", ":1:", "the file must be a mapping, not None"),
        ("# only a comment\n", ":1:", "the file must be a mapping, not None"),
        ("? [a, b]\n: 1\n", ":1:", "a key is a list or a mapping"),
        ("? {a: b}\n: 1\n", ":1:", "a key is a list or a mapping"),
        ("title: T\n\tbig: true\n", ":2:", "not valid YAML"),
        ("\ttitle: T\n", ":1:", "not valid YAML"),
        ("title: T\nwords: [a, b\nbig: true\n", ":3:", "not valid YAML"),
        ("title: T\n---\ntitle: U\n", ":2:", "not valid YAML: but found another document"),
        ("title: 'a\n", ":2:", "not valid YAML"),
        ("title: a\x00b\n", "", "not valid YAML"),
        ("title: a\nwords: &w [a]\nparts: *w\n", ":2:", "an anchor (&) is used again"),
        ("inner: &i {count: 1}\nparts:\n  one: {<<: *i}\n", ":3:", "not valid YAML"),
        ("title: *nothing\n", ":1:", "not valid YAML: found undefined alias"),
        (
            "title: !!python/name:os.system\n",
            ":1:",
            "not valid YAML: could not determine a constructor",
        ),
        ("title: !local x\n", ":1:", "not valid YAML: could not determine a constructor"),
        ("words: !!set {a, b}\n", ":1:", "words must be a list"),
        ("title: !!binary aGk=\n", ":1:", "title must be text, not b'hi'"),
    ],
)
def test_a_refusal_names_line_and_cause(read: Any, text: str, where: str, what: str) -> None:
    message = refusal(read, text)
    assert f"facts.yml{where}" in message
    assert what in message


def test_tags_are_never_executed(read: Any, tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    assert "constructor" in refusal(
        read, f"title: !!python/object/apply:os.system ['touch {witness}']\n"
    )
    assert not witness.exists()


@pytest.mark.parametrize(
    "text",
    [
        "title: !!map x",
        "title: !!seq x",
        "title: !!str [x]",
        "title: !!str {x: y}",
        "title: !!int [1]",
        "title: !!int {a: 1}",
        "title: !!float {}",
        "title: !!bool []",
        "title: !!bool x",
        "title: !!null [x]",
        "title: !!timestamp x",
        "title: !!timestamp [x]",
        "title: !!binary [x]",
        "title: !!binary x",
        "title: !!set x",
        "title: !!set [x]",
        "title: !!omap x",
        "title: !!pairs x",
        "title: !!value [x]",
        "title: !!merge [x]",
        "title: !own x",
        "!!seq {title: x}",
        "!!map [x]",
        "!!int 5",
        "? !!map x\n: y",
        "? !!seq [x]\n: y",
        "title: " + "9" * 4400,
        "numbers: {a: " + "9" * 4400 + "}",
        "rate: " + "9" * 400 + ".0",
    ],
)
def test_a_tag_or_a_number_out_of_place_is_refused_in_one_short_line(read: Any, text: str) -> None:
    with pytest.raises(RegistryError) as raised:
        read(text)
    assert len(f"{raised.value}") < 700 and "\n" not in str(raised.value)


def test_text_that_is_not_utf8_is_refused(read: Any) -> None:
    assert "not UTF-8 (invalid start byte at byte 7)" in refusal(read, b"title: \xff\n")


def test_a_byte_order_mark_and_windows_line_ends_are_taken(read: Any) -> None:
    assert read(b"\xef\xbb\xbftitle: T\r\nbig: true\r\n") == Whole(title="T", big=True)


def test_repeated_aliases_do_not_grow(read: Any) -> None:
    lines = ['a0: &a0 ["x"]'] + [
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 60)
    ]
    assert "used again" in refusal(read, "\n".join(lines) + "\n")


@pytest.mark.parametrize(
    "text", ["[" * 200_000, "{a: " * 3_000 + "1", "- " * 100_000, "words: " + "x" * 10_000_000]
)
def test_a_file_that_could_exhaust_the_stack_is_refused(read: Any, text: str) -> None:
    assert "too many brackets or too long a line" in refusal(read, text)


@pytest.mark.parametrize(
    "text", ["[" * 2_000 + "]" * 2_000, "- " * 2_000 + "1", "words: " + "[" * 900 + "]" * 900]
)
def test_deep_nesting_is_refused_in_one_short_line(read: Any, text: str) -> None:
    assert len(refusal(read, text)) < 300


def test_a_missing_file_is_named(loader: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match=r"absent\.yml: no such file"):
        loader.load(tmp_path / "absent.yml", Whole)


def test_an_extending_file_takes_what_it_does_not_state(read: Any, tmp_path: Path) -> None:
    (tmp_path / "base.yml").write_text("title: base\nkind: large\n")
    assert read("extends: base\ntitle: own\n") == Whole(title="own", kind="large")


@pytest.mark.parametrize("name", ["absent", "../base", "/etc/passwd", "[base]", "null", "chained"])
def test_only_a_sibling_that_extends_nothing_is_extended(
    read: Any, tmp_path: Path, name: str
) -> None:
    (tmp_path / "base.yml").write_text("title: base\n")
    (tmp_path / "chained.yml").write_text("extends: base\n")
    assert "facts.yml:2: " in refusal(read, f"title: T\nextends: {name}\n")


def test_what_an_extended_file_states_is_checked(read: Any, tmp_path: Path) -> None:
    (tmp_path / "base.yml").write_text("colour: red\n")
    assert "facts.yml:1: unknown key 'colour'" in refusal(read, "extends: base\n")


plain = st.text(
    st.characters(
        codec="utf-8", exclude_categories=["Cs", "Cc"], exclude_characters="\x85\u2028\u2029"
    )
)


@given(
    title=plain,
    rate=st.floats(min_value=0, allow_nan=False, allow_infinity=False),
    words=st.lists(plain, max_size=4),
    numbers=st.dictionaries(
        st.from_regex(r"[a-z]{2,8}-[0-9]", fullmatch=True), st.integers(-(10**12), 10**12)
    ),
)
def test_what_is_written_as_yaml_is_read_back(
    tmp_path_factory: pytest.TempPathFactory,
    title: str,
    rate: float,
    words: list[str],
    numbers: dict[str, int],
) -> None:
    path = tmp_path_factory.mktemp("yaml") / "facts.yml"
    value = {"title": title, "rate": rate, "words": words, "numbers": numbers}
    path.write_text(yaml.safe_dump(value, allow_unicode=True), encoding="utf-8")
    assert strict_yaml.load(path, Whole) == Whole(
        title=title, rate=rate, words=tuple(words), numbers=numbers
    )


@given(text=st.text(max_size=80))
def test_any_text_is_read_or_refused_with_a_registry_error(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.mktemp("yaml") / "facts.yml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    try:
        strict_yaml.load(path, Whole)
    except RegistryError as error:
        assert "facts.yml" in str(error)
