from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import Field

from aiida_hqe.campaign import document, protocols
from aiida_hqe.campaign.schema import Campaign
from aiida_hqe.embedding.level import Level
from aiida_hqe.errors import InputError
from aiida_hqe.settings import Settings
from aiida_hqe.units import Length


class Inner(Settings):
    shells: int = Field(ge=1)


class Outer(Settings):
    name: str = "x"
    length: Length = Field(1.0, gt=0)
    kind: Literal["huzinaga", "fermi-huzinaga"] | Inner = "huzinaga"
    steps: list[int] = Field(default_factory=list)
    flag: bool = False
    part: Inner | None = None


def fault(tmp_path: Path, text: str | bytes, model: type[Settings] = Outer) -> str:
    path = tmp_path / "file.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(InputError) as raised:
        document.read(path, model)
    return str(raised.value).removeprefix(f"{path}:").removeprefix(" ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: a\nlenght: 1 nm\n", "2: lenght: a known key was expected (got 'lenght'): did you mean length?"),
        ("name: a\nqqq: 1\n", "2: qqq: a known key was expected (got 'qqq'): one of name, length, kind"),
        ("\n\nlength: 1.5\n", "3: length: a length with its unit, such as '1 angstrom' (got 1.5, which has no unit)"),
        ("length: 3 fs\n", "1: length: a length in one of angstrom, A, nm, bohr, pm (got '3 fs')"),
        ("length: 0 nm\n", "1: length: a value greater than 0 nm was expected (got '0 nm')"),
        (
            "kind: huzinga\n",
            "1: kind: one of huzinaga, fermi-huzinaga or a mapping of shells was expected (got 'huzinga'): did",
        ),
        ("kind:\n  shels: 1\n", "2: kind.shels: a known key was expected (got 'shels'): did you mean shells?"),
        ("kind:\n  shells: 0\n", "2: kind.shells: a value at least 1 was expected (got 0)"),
        ("steps:\n - 1\n - x\n", "3: steps.1: an integer was expected (got 'x')"),
        ("part: {}\n", "1: part.shells: an integer was expected (got nothing): add shells"),
        ("name: a\nname: b\n", "2: YAML was expected (got key 'name' a second time: remove one of the two)"),
        ("part: &a {shells: 1}\nkind: *a\n", "2: YAML was expected (got the alias *a: write its value)"),
        ("name: !!python/object:os.system x\n", "1: YAML was expected (got the tag"),
        ("name: [1, 2\nflag: }\n", "2: YAML was expected"),
        ("? [1]\n: 2\n", "1: YAML was expected (got a key that is no word)"),
        ("- 1\n", "1: a mapping of settings, `key: value`, was expected (got a list)"),
        ("just words\n", "1: a mapping of settings"),
        ("", "a mapping of settings was expected (got an empty file): start from a template"),
        ("# nothing\n", "a mapping of settings was expected (got an empty file)"),
        ("a: 1\n---\nb: 2\n", "2: YAML was expected"),
        (b"name: \xff\n", "1: UTF-8 text was expected (got byte 0xff)"),
        (b"name: a\x00b\n", "YAML was expected"),
        ("length: .nan\n", "1: YAML was expected (got .nan, which is no finite number)"),
        ("length: 1e999\n", "1: YAML was expected (got 1e999, which is no finite number)"),
        ("steps: " + "[" * 100 + "]" * 100 + "\n", "1: YAML was expected (got more than 40 levels of nesting)"),
        (b"name: a\n" + b"#" * 1_000_001, "at most 1000000 bytes of settings were expected"),
    ],
)
def test_a_fault_is_one_line_with_its_line_key_and_remedy(tmp_path: Path, text: str | bytes, expected: str) -> None:
    message = fault(tmp_path, text)
    assert message.startswith(expected)
    assert "\n" not in message


def test_every_fault_is_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    first, second, third = fault(tmp_path, "flag: maybe\nlength: 1\nstep: 3\n").splitlines()
    assert first == "1: flag: true or false was expected (got 'maybe')"
    assert ":2: length: " in second
    assert third.endswith(":3: step: a known key was expected (got 'step'): did you mean steps?")


def test_scalars_are_those_of_yaml_1_2(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text("a: 1.0e6\nb: no\nc: 010\nd: 2026-11-21\ne: ~\nf: '1'\ng: -.5e-3\nh: True\ni: 12:30\n")
    data = document.load(path).data
    assert data == {
        "a": 1.0e6, "b": "no", "c": 10, "d": "2026-11-21", "e": None, "f": "1", "g": -5e-4, "h": True, "i": "12:30",
    }  # fmt: skip


def test_a_key_is_located_where_it_stands_or_at_what_contains_it(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text("a:\n  b:\n    - 1\n    - c: 2\n")
    assert document.locate(path, "a.b.1.c") == 4
    assert document.locate(path, "a.b[0]") == 3
    assert document.locate(path, "a.b.7.x") == 2
    assert document.locate(path, "z") == 1
    located = document.load(path).located(InputError("wrong", "a.b"))
    assert str(located) == f"{path}:2: a.b: wrong"
    assert located.key == "a.b"


def test_a_missing_file_and_a_directory_are_named(tmp_path: Path) -> None:
    for path, found in ((tmp_path / "none.yaml", "no such file"), (tmp_path, "a directory")):
        with pytest.raises(InputError, match=found):
            document.read(path, Outer)


tree = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["1 nm", "hf", "inf"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
models = [Campaign, Level, *(field.annotation for field in Campaign.model_fields.values())]
keys = sorted({key for model in models for key in getattr(model, "model_fields", ())})
section = st.dictionaries(st.sampled_from(keys) | st.text(max_size=6), tree, max_size=5)
only_input_errors = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def read_anything(path: Path) -> None:
    """Read as a campaign and as a level; whatever is in the file, only `InputError` may come out."""
    for model, resolve in ((Campaign, protocols.resolve), (Level, None)):
        try:
            document.read(path, model, resolve)
        except InputError as error:
            stray = [line for line in str(error).split("\n") if not line.startswith(str(path))]
        else:
            stray = []
        assert not stray


@given(st.dictionaries(st.sampled_from(keys), section | tree, max_size=5))
@only_input_errors
def test_no_tree_of_data_breaks_the_reader(tmp_path: Path, data: Any) -> None:
    path = tmp_path / "tree.yaml"
    path.write_text(yaml.safe_dump(data, allow_unicode=True), encoding="utf-8")
    read_anything(path)


@given(st.binary(max_size=200) | st.text(alphabet="{}[]:,-?&*!|>'\"%@#\n\t ab1.~", max_size=80).map(str.encode))
@only_input_errors
def test_no_bytes_break_the_reader(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "bytes.yaml"
    path.write_bytes(data)
    read_anything(path)


@given(st.integers(0, 2**31 - 1), st.floats(1e-6, 1e6), st.sampled_from(["a", "no", "1", "~", "true", "x: y", "#"]))
@only_input_errors
def test_valid_settings_are_read_back_as_they_were_dumped(tmp_path: Path, step: int, length: float, name: str) -> None:
    path = tmp_path / "valid.yaml"
    given_settings = Outer(name=name, length=f"{length!r} angstrom", steps=[step])  # type: ignore[arg-type]
    path.write_text(yaml.safe_dump(given_settings.model_dump(mode="json")))
    assert document.read(path, Outer) == given_settings
