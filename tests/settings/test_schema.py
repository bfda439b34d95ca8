"""Hold the loader and the JSON Schema together: what the one reads the other takes, and both refuse the same.

The shapes are tried by the table of keys: into every place of a configuration that sets each key goes
every type of value, an unknown neighbour, and nothing at all. What a text says is the loader's alone.
"""

import ast
import copy
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from gateway.cli import main
from gateway.settings.document import read_document
from gateway.settings.environment import Environment
from gateway.settings.fields import MAIN_FILE, POLICY_FILE
from gateway.settings.kinds import Quantity
from gateway.settings.lists import ListOf, MapOf
from gateway.settings.policy_keys import POLICY_FIELDS
from gateway.settings.problems import Severity
from gateway.settings.process_keys import PROCESS_FIELDS
from gateway.settings.reading import Reading, plain_value
from gateway.settings.reference import examples
from gateway.settings.schema import main_schema, policy_schema
from gateway.settings.sections import Field, Section
from tests.settings.conftest import Load
from tests.settings.every_key import FILES, POLICY, PROCESS, WHOLE

ROOT = Path(__file__).parents[2]
MAIN, POLICIES = Draft202012Validator(main_schema()), Draft202012Validator(policy_schema())


def as_written(text: str) -> Any:
    """Return what an editor sees: the values of a YAML text before anything is expanded."""
    document = read_document(text, lambda written: written)
    assert document.root is not None
    assert not document.faults
    return plain_value(document.root)


def complaints(validator: Draft202012Validator, value: Any) -> list[str]:
    """Return what the schema says against a value, alternatives that do not fit included."""
    found, waiting = [], list(validator.iter_errors(value))
    while waiting:
        error = waiting.pop()
        found.append(f"{error.json_path}: {error.message}")
        waiting += error.context or ()
    return found


@cache
def entries() -> dict[str, Any]:
    """Return what the main file defines for policies to name."""
    reading = empty_reading()
    root = read_document(PROCESS, lambda written: written).root
    assert root is not None
    return dict(MAIN_FILE.read_members(root, reading))


def empty_reading(known: dict[str, Any] | None = None) -> Reading:
    key_set = FILES["partner.jwks"].encode()
    return Reading(
        "gateway.yaml",
        Path("/configuration"),
        Environment({}),
        lambda path: b"a secret of many characters",
        lambda path: key_set,
        lambda path: None,
        known or {},
    )


BETWEEN_KEYS = frozenset({"has no effect: the keys are not fetched"})
"""What the loader says of keys that do not go together, and the schema does not know."""


def refusals(section: Section, value: Any) -> list[str]:
    """Return what the loader says against a value for reasons of its own, before names are looked up."""
    reading = empty_reading(entries())
    document = read_document(json.dumps(value), lambda written: written)
    assert document.root is not None
    assert not document.faults
    section.read(document.root, reading)
    moved = ["the key is replaced"] * len(reading.moved)
    found = [note.message for note in reading.notes if note.severity is Severity.ERROR]
    return [message for message in found if message not in BETWEEN_KEYS] + moved


# --- what is right


@pytest.mark.parametrize("validator", [MAIN, POLICIES], ids=["main", "policy"])
def test_it_is_a_schema_of_its_draft(validator: Draft202012Validator) -> None:
    Draft202012Validator.check_schema(validator.schema)
    known = {f"#/$defs/{name}" for name in validator.schema["$defs"]}
    assert set(re.findall(r'"\$ref": "([^"]*)"', json.dumps(validator.schema))) == known


FILES_OF_THE_REPOSITORY = [
    path
    for directory in (
        "config",
        "examples/kubernetes",
        "examples/playground",
        "gateway/starter",
        "gateway/demo",
    )
    for path in sorted((ROOT / directory).rglob("*.yaml"))
    if path.name == "gateway.yaml" or path.parent.name == "policies"
]


@pytest.mark.parametrize("path", FILES_OF_THE_REPOSITORY, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_files_of_the_repository_are_valid(path: Path) -> None:
    validator = MAIN if path.name == "gateway.yaml" else POLICIES
    assert complaints(validator, as_written(path.read_text("utf-8"))) == []


@pytest.mark.parametrize("text", examples().values(), ids=examples())
def test_the_examples_of_the_reference_are_valid(text: str) -> None:
    assert complaints(MAIN, as_written(text)) == []


def test_a_configuration_that_sets_every_key_is_valid_and_loads(load_text: Load) -> None:
    assert complaints(MAIN, as_written(WHOLE)) == []
    assert complaints(POLICIES, as_written(POLICY)) == []
    assert load_text(WHOLE, FILES).settings.clients["billing"].assertions


def strings_of_the_tests() -> Iterator[str]:
    """Yield each text that stands in the code of tests, or in a fence of the documentation."""
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
    for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")]):
        yield from re.findall(r"^```yaml\n(.*?)^```$", path.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def test_whatever_the_tests_load_is_valid() -> None:
    """Every text of them that the loader reads as a file, without a mistake, before names are looked up."""
    read = 0
    keys = tuple(item.key for item in MAIN_FILE.fields)
    for text in dict.fromkeys(strings_of_the_tests()):
        if not any(f"{key}:" in text for key in keys) or "${" in text:
            continue
        document = read_document(text, lambda written: written)
        if document.faults or document.root is None:
            continue
        for section, validator in ((MAIN_FILE, MAIN), (POLICY_FILE, POLICIES)):
            reading = empty_reading(entries())
            section.read(document.root, reading)
            if all(note.severity is not Severity.ERROR for note in reading.notes):
                assert complaints(validator, plain_value(document.root)) == [], text
                read += 1
    assert read > 250


# --- what is wrong, by the table


class Place(NamedTuple):
    """Where in the whole configuration a section stands, and one of its keys."""

    steps: tuple[str | int, ...]
    section: Section
    field: Field

    @property
    def name(self) -> str:
        return ".".join(str(step) for step in (*self.steps, self.field.key))


def sections_in(
    kind: Any, value: Any, steps: tuple[str | int, ...]
) -> Iterator[tuple[Section, tuple[str | int, ...]]]:
    """Yield the sections that a kind reads a value by, and where they stand."""
    match kind:
        case Section():
            yield kind, steps
        case ListOf():
            for index, item in enumerate(value):
                yield from sections_in(kind.item, item, (*steps, index))
        case MapOf():
            for name, item in value.items():
                yield from sections_in(kind.value, item, (*steps, name))
    mapping = getattr(kind, "mapping", None)
    if mapping is not None and isinstance(value, dict):
        yield mapping, steps


def places(section: Section, value: dict[str, Any], steps: tuple[str | int, ...] = ()) -> Iterator[Place]:
    """Yield every key of the table in every mapping that it is read by, set there or not."""
    for item in section.fields:
        yield Place(steps, section, item)
        if value.get(item.key) is not None:
            for inner, there in sections_in(item.kind, value[item.key], (*steps, item.key)):
                yield from places(inner, at(value, there[len(steps) :]), there)


def at(value: Any, steps: tuple[str | int, ...]) -> Any:
    for step in steps:
        value = value[step]
    return value


WHOLE_VALUE: dict[str, Any] = as_written(WHOLE)
PLACES = list(places(MAIN_FILE, WHOLE_VALUE))
ENTRIES = {item.key for item in MAIN_FILE.fields if isinstance(item.kind, ListOf | MapOf)}
"""The keys of the main file below which there are entries of one sort."""
VALUES: dict[str, Any] = {
    "null": None,
    "true": True,
    "a whole number": 7,
    "a negative number": -1,
    "zero": 0,
    "a large number": 10**16,
    "a fraction": 0.5,
    "text": "text",
    "an empty text": "",
    "a list": [],
    "a list of numbers": [1, 2],
    "a list of texts": ["text"],
    "a list with a text twice": ["text", "text"],
    "a list of lists": [[]],
    "a list of mappings": [{}],
    "a mapping": {},
    "a mapping to a number": {"text": 1},
    "a mapping to a mapping": {"text": {}},
    "a mapping to a list": {"text": []},
}


def changed(place: Place, **members: Any) -> dict[str, Any]:
    """Return the whole configuration with other members at a place."""
    whole = copy.deepcopy(WHOLE_VALUE)
    at(whole, place.steps).update(members)
    return whole


def judged(whole: dict[str, Any], among: Place) -> tuple[list[str], list[str]]:
    """Return what loader and schema say of the one entry that the place lies in."""
    part = part_of(whole, among)
    return refusals(MAIN_FILE, part), complaints(MAIN, part)


def part_of(whole: dict[str, Any], among: Place) -> dict[str, Any]:
    top = str((*among.steps, among.field.key)[0])
    part = {key: value for key, value in whole.items() if key == top or key not in WHOLE_VALUE}
    if top in ENTRIES and len(among.steps) > 1:
        step = among.steps[1]
        part[top] = {step: whole[top][step]} if isinstance(whole[top], dict) else [whole[top][step]]
    return part


def holds_text(value: Any) -> bool:
    """Return whether what a text says can be wrong about it."""
    if isinstance(value, dict):
        return any(map(holds_text, value)) or any(map(holds_text, value.values()))
    return isinstance(value, str) or (isinstance(value, list) and any(map(holds_text, value)))


def test_the_whole_configuration_sets_each_key() -> None:
    there = {place.field for place in PLACES if place.field.key in at(WHOLE_VALUE, place.steps)}
    missing = [place.name for place in PLACES if place.field.available and place.field not in there]
    assert missing == []
    assert len({id(place.field) for place in PLACES}) > 150


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_they_agree_about_every_type_at_every_key(value: Any) -> None:
    for place in {place.field: place for place in reversed(PLACES)}.values():
        refused, invalid = judged(changed(place, **{place.field.key: value}), place)
        if not refused or not holds_text(value):
            assert bool(refused) == bool(invalid), (place.name, refused, invalid)


@pytest.mark.parametrize(
    "text", ["0", "0s", "00m", "0KiB", "1.5s", "-1s", "1 s", "1w", "1S", "s", "KiB", "${NAME"]
)
def test_they_agree_about_nothing_and_about_units(text: str) -> None:
    """How much a text stands for is the loader's alone, but for nothing at all."""
    tried = [place for place in PLACES if isinstance(place.field.kind, Quantity)]
    assert len(tried) > 30
    for place in tried:
        refused, invalid = judged(changed(place, **{place.field.key: text}), place)
        assert bool(refused) == bool(invalid), (place.name, refused, invalid)


def test_they_refuse_an_item_that_is_in_a_list_twice() -> None:
    for place in PLACES:
        value = at(WHOLE_VALUE, place.steps).get(place.field.key)
        if isinstance(value, list) and value and getattr(place.field.kind, "distinct", True):
            refused, invalid = judged(changed(place, **{place.field.key: [*value, value[0]]}), place)
            assert refused, place.name
            assert any("non-unique" in text for text in invalid), (place.name, invalid)


def test_they_agree_about_every_key_that_is_left_out() -> None:
    required = 0
    for place in PLACES:
        if place.steps:
            whole = copy.deepcopy(WHOLE_VALUE)
            at(whole, place.steps).pop(place.field.key, None)
            refused, invalid = judged(whole, place)
            assert bool(refused) == bool(invalid), (place.name, refused, invalid)
            if place.field.required:
                assert "the key is required" in refused
                assert any(f"'{place.field.key}' is a required property" in text for text in invalid)
                required += 1
    assert required > 20


def test_they_refuse_two_keys_of_which_one_may_be_given() -> None:
    tried = 0
    for place in PLACES:
        here = at(WHOLE_VALUE, place.steps)
        for group in place.section.one_of:
            for other in group:
                given, value = here.get(place.field.key), example_of(place.section, other)
                if place.field.key in group and given is not None and other != place.field.key:
                    refused, invalid = judged(changed(place, **{other: value}), place)
                    assert refused == [f"{min(place.field.key, other, key=group.index)} is given too"]
                    assert invalid
                    tried += 1
                    idle = next(item for item in place.section.fields if item.key == other)
                    if idle.default is not None:
                        assert judged(changed(place, **{other: idle.default_value}), place) == ([], [])
    assert tried > 10


def test_they_refuse_a_section_without_any_of_the_keys_that_it_needs() -> None:
    tried = 0
    for steps, section in {(place.steps, place.section): None for place in PLACES}:
        for rule in section.some_of:
            place = next(place for place in PLACES if place.steps == steps)
            sound = {key: at(WHOLE_VALUE, steps)[key] for key in rule.keys if key in at(WHOLE_VALUE, steps)}
            idle = {item.key: item.default_value for item in section.fields if item.key in rule.keys}
            refused, invalid = judged(changed(place, **idle), place)
            assert refused == [rule.message]
            assert invalid
            for key, value in sound.items():
                assert judged(changed(place, **{**idle, key: value}), place) == ([], [])
                tried += 1
    assert tried > 3


def example_of(section: Section, key: str) -> Any:
    """Return what the whole configuration sets a key of a section to."""
    return next(
        value
        for place in PLACES
        if place.section is section and (value := at(WHOLE_VALUE, place.steps).get(key)) is not None
    )


@pytest.mark.parametrize("name", ["unknown", "x-unknown", "Version", "$schema"])
def test_they_refuse_every_unknown_neighbour(name: str) -> None:
    for place in {(place.steps, id(place.section)): place for place in PLACES}.values():
        refused, invalid = judged(changed(place, **{name: 1}), place)
        assert "the key is unknown" in refused, place.name
        assert any(f"'{name}' was unexpected" in text for text in invalid), (place.name, invalid)


def test_they_refuse_every_key_that_does_not_work_yet() -> None:
    later = [place for place in PLACES if not place.field.available]
    assert later
    for place in later:
        refused, invalid = judged(changed(place, **{place.field.key: None}), place)
        assert "the key is not available in this version" in refused
        assert any("was unexpected" in text for text in invalid)


@pytest.mark.parametrize("key", [item.key for item in PROCESS_FIELDS])
def test_they_refuse_what_belongs_into_the_main_file(key: str) -> None:
    value = {key: WHOLE_VALUE.get(key), "clients": {}}
    assert refusals(POLICY_FILE, value) == ["the key belongs into the main file"]
    assert any("was unexpected" in text for text in complaints(POLICIES, value))


@pytest.mark.parametrize("root", [None, 1, "text", []])
def test_they_refuse_a_file_that_is_no_mapping(root: object) -> None:
    for section, validator in ((MAIN_FILE, MAIN), (POLICY_FILE, POLICIES)):
        assert refusals(section, root)
        assert complaints(validator, root)


# --- what comes from the environment


def scalar_places() -> Iterator[Place]:
    for place in PLACES:
        value = at(WHOLE_VALUE, place.steps).get(place.field.key)
        if place.field.available and value is not None and not isinstance(value, dict | list):
            yield place


def test_a_reference_stands_for_any_scalar() -> None:
    """What comes out of it has the type that the loader wants."""
    for place in scalar_places():
        for text in ("${NAME}", "${NAME:-default}", "$$${NAME:-}, $${A}${B}"):
            whole = changed(place, **{place.field.key: text})
            assert complaints(MAIN, part_of(whole, place)) == [], place.name


@pytest.mark.parametrize("text", ["$NAME", "$${NAME}", "${}", "${1}", "${A:-${B}}", "{NAME}"])
def test_what_is_no_reference_stands_for_nothing(text: str) -> None:
    for place in scalar_places():
        if type(at(WHOLE_VALUE, place.steps)[place.field.key]) is not str:
            assert complaints(MAIN, part_of(changed(place, **{place.field.key: text}), place)), place.name


def test_lists_and_mappings_do_not_come_from_the_environment() -> None:
    for key in ("upstreams", "listeners", "clients", "policies", "limits"):
        assert complaints(MAIN, {key: "${NAME}"})
        assert refusals(MAIN_FILE, {key: "${NAME}"})


def test_the_command_prints_them() -> None:
    runner = CliRunner()
    assert json.loads(runner.invoke(main, ["schema"]).stdout) == MAIN.schema
    assert json.loads(runner.invoke(main, ["schema", "--policy"]).stdout) == POLICIES.schema


def test_policy_keys_are_the_same_in_both() -> None:
    for item in POLICY_FIELDS:
        assert MAIN.schema["properties"][item.key] == POLICIES.schema["properties"][item.key]
