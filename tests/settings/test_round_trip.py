"""Show that each key is read and shown alike: what is shown is read as the same settings again.

Values are made by the table of keys, so that a new row is tried with the first run after it was
written. Of texts without a list of words those of a configuration that sets every key are taken, and
some that YAML, or the environment, would take for something else. What is masked is put back from what
was written, and only there and only where the form that is shown is the form that was written: all
else must come back by itself.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from gateway.settings.credential_kinds import MASK, SecretText
from gateway.settings.document import read_document
from gateway.settings.environment import Environment
from gateway.settings.fields import MAIN_FILE
from gateway.settings.kinds import Buckets, Flag, Json, OneOrMore, Quantity, Ratio, Text, Whole
from gateway.settings.lists import Claims, ListOf, MapOf
from gateway.settings.load import Loaded
from gateway.settings.model import OutlierSettings, Settings, StaticKeySource
from gateway.settings.policy_keys import Expectation
from gateway.settings.problems import Severity, SpellingError
from gateway.settings.reading import Reading
from gateway.settings.sections import Field, Section
from gateway.settings.show import effective
from gateway.settings.state_keys import StateText
from gateway.settings.upstream_keys import OUTLIER
from gateway.tokens.configured_keys import keys_of
from tests.settings.conftest import Load
from tests.settings.every_key import FILES, WHOLE
from tests.settings.test_schema import MAIN, PLACES, WHOLE_VALUE, at, complaints, empty_reading, entries
from tests.support.sampling import FULL

SECRETS = [
    f"sha256:{'ab' * 16}:{'cd' * 32}",
    f"scrypt:1024:8:1:{'ef' * 16}:{'cd' * 32}",
    "env:BILLING_SECRET",
    "file:secrets/billing",
    "plain:a secret of many characters",
]
STATES = ["memory:", "sqlite:state/a b.db", "redis://h", "rediss://user:password@[::1]:7000/2"]
ENVIRONMENT = {"BILLING_SECRET": "another secret of many characters"}


def comparable(value: Any) -> Any:
    """Return settings as plain values, without where they were written; key sets by their keys."""
    if isinstance(value, StaticKeySource):
        return [(entry.kid, dict(entry.key.public_jwk)) for entry in keys_of(value).keys]
    if dataclasses.is_dataclass(value):
        compared = [item.name for item in dataclasses.fields(value) if item.compare]
        return type(value).__name__, {name: comparable(getattr(value, name)) for name in compared}
    if isinstance(value, Mapping):
        return {key: comparable(member) for key, member in value.items()}
    return tuple(comparable(item) for item in value) if isinstance(value, tuple) else value


def unmasked(shown: Any, written: Any) -> Any:
    """Return what is shown with the secrets that were written in place of their masks."""
    match shown:
        case str() if MASK in shown:
            parts, secret = shown.split(":"), written.split(":")
            assert parts[-1] == MASK
            assert secret[: len(parts) - 1] == parts[:-1]
            return written
        case str() if ":***@" in shown:
            url = written if isinstance(written, str) else written["url"]
            return shown.replace(":***@", f":{urlsplit(url).password}@")
        case list():
            return [unmasked(item, written[n] if MASK in str(item) else None) for n, item in enumerate(shown)]
        case dict() if isinstance(written, dict):
            return {key: unmasked(member, written.get(key, written)) for key, member in shown.items()}
    return shown


# --- a configuration that sets every key


def whole(load_text: Load, text: str = WHOLE) -> Loaded:
    more = {"secrets/billing": "a third secret of many characters"}
    return load_text(text, {**FILES, **more}, ENVIRONMENT)


def with_all_secrets() -> dict[str, Any]:
    value = json.loads(json.dumps(WHOLE_VALUE))
    value["clients"]["billing"]["secrets"] = SECRETS
    return dict(value)


def test_a_configuration_that_sets_every_key_is_shown_and_loads_as_the_same(load_text: Load) -> None:
    written = with_all_secrets()
    first = whole(load_text, json.dumps(written)).settings
    shown = yaml.safe_load(effective(first))
    assert json.dumps(shown).count(MASK) == len(SECRETS)
    again = whole(load_text, json.dumps(unmasked(shown, written))).settings
    assert comparable(once_read(again)) == comparable(once_read(first))


def once_read(settings: Settings) -> Settings:
    return dataclasses.replace(settings, content_hash="", watched=())


NOT_SHOWN = {"policies", "jwks_file", "bearer_token_file"}
"""Files are shown by what is in them, and of the last there is no value."""


def test_every_key_is_shown(load_text: Load) -> None:
    """Save for those in policy entries that say what is so without them."""
    shown = yaml.safe_load(effective(whole(load_text).settings))
    seen = set()
    for place in PLACES:
        key, value = place.field.key, at(WHOLE_VALUE, place.steps).get(place.field.key)
        is_idle = value is None or (place.section.is_sparse and value == place.field.default_value)
        if place.field.available and not is_idle and key not in NOT_SHOWN:
            members = at(shown, place.steps)
            assert key in members, place.name
            seen.add(place.field)
    assert len(seen) > 150
    assert complaints(MAIN, shown) == []


def test_a_key_that_cannot_be_shown_cannot_be_in_the_table() -> None:
    row = Field("new", Flag(), "New.")
    with pytest.raises(AttributeError, match="new"):
        Section("outlier", (*OUTLIER.fields, row), OutlierSettings())


# --- configurations made by the table

TRICKY = [
    "null",
    "~",
    "true",
    "off",
    "NO",
    "1:30",
    "2027-06-30",
    "010",
    "0o17",
    "1e3",
    ".inf",
    "- a",
    "a: b",
    "a #b",
    "'a",
    '"a"',
    "{a}",
    "*",
    "*.a",
    "é",
    "$${NAME}",
    "$$${NAME}",
    "a$$${",
    "/$$",
]
"""Texts as they are written, before expansion."""


def samples() -> Iterator[tuple[Field, Any]]:
    for place in PLACES:
        value = at(WHOLE_VALUE, place.steps).get(place.field.key)
        if value is not None:
            yield place.field, value


SAMPLES: dict[Field, list[Any]] = {}
for _field, _value in samples():
    SAMPLES.setdefault(_field, []).append(_value)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e9, 1e9) | st.sampled_from(TRICKY),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "${b}", "1"]), inner),
    max_leaves=6,
)


def may_be(kind: Text, text: str) -> bool:
    try:
        kind.parse(str(Environment({}).expand(text)))
    except SpellingError:
        return False
    return True


def quantities(kind: Quantity) -> SearchStrategy[Any]:
    if kind.measure.needs_unit:
        step = 1 if kind.whole else 0.001
        least, most = round(kind.least / step), round(min(kind.most / step, 10**8))
        return st.integers(least, most).map(lambda count: f"{count}{'s' if kind.whole else 'ms'}")
    return st.integers(int(kind.least), int(kind.most)) | st.sampled_from(["512KiB", "1MiB"])


def values(kind: Any, known: list[Any]) -> SearchStrategy[Any]:
    """Return what a kind may read; `known` are values that it is known to read."""
    match kind:
        case Section():
            return sections(kind)
        case ListOf():
            items = values(kind.item, [item for value in known for item in value])
            identity = partial(json.dumps, sort_keys=True) if kind.distinct else None
            return st.lists(items, min_size=kind.least, max_size=3, unique_by=identity)
        case MapOf():
            names = sorted({name for value in known for name in value})
            members = values(kind.value, [member for value in known for member in value.values()])
            return st.dictionaries(st.sampled_from(names), members, max_size=2)
        case Flag():
            return st.booleans()
        case Whole():
            return st.integers(kind.least, kind.most)
        case Ratio():
            return st.floats(0, 1, exclude_min=True)
        case Quantity():
            return quantities(kind)
        case Buckets():
            bounds = st.floats(0, 1e6, exclude_min=True, exclude_max=True)
            return st.lists(bounds, min_size=1, max_size=5, unique=True).map(sorted)
        case Json() | Claims():
            return st.dictionaries(st.sampled_from(["tenant", "level"]), JSON, max_size=2)
        case OneOrMore():
            scalars = st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(TRICKY)
            return scalars | st.lists(scalars, min_size=1, max_size=3)
        case SecretText():
            return st.sampled_from(SECRETS)
        case Expectation():
            return st.sampled_from(["allow", "deny", {"deny": "no_route"}, 401])
        case StateText():
            return st.sampled_from(STATES) | sections(kind.mapping)
        case Text():
            if kind.words:
                return st.sampled_from(kind.words)
            return st.sampled_from([*known, *(text for text in TRICKY if may_be(kind, text))])
    return st.sampled_from(known)


@st.composite
def sections(draw: st.DrawFn, section: Section) -> Any:
    """Return what a section may hold, as far as its own rules go."""
    there: dict[str, Any] = {}
    for item in section.fields:
        if item.available and (item.required or draw(st.booleans())):
            made = values(item.kind, SAMPLES[item]) if SAMPLES.get(item) else st.none()
            there[item.key] = draw(made | st.none() if item.takes_null else made)
    for group in section.one_of:
        for key in [key for key in group if key in there][1:]:
            del there[key]
    for item in section.fields:
        if item.needs and there.get(item.needs) is None:
            there.pop(item.key, None)
    return there


TOP = {
    item.key: item for item in MAIN_FILE.fields if item.available and item.key not in ("version", "policies")
}


def read(key: str, value: Any) -> tuple[Settings, list[str]]:
    """Return settings of which one key is set, and what is wrong with it."""
    reading: Reading = empty_reading(entries())
    reading.environment = Environment(ENVIRONMENT)
    document = read_document(json.dumps({key: value}), reading.environment.expand)
    assert document.root is not None
    found = MAIN_FILE.read_members(document.root, reading)
    if isinstance(found.get(key), dict):
        found[key] = MappingProxyType(found[key])
    errors = [note.message for note in reading.notes if note.severity is Severity.ERROR]
    return Settings(**found), errors


@pytest.mark.parametrize("key", TOP)
def test_what_is_shown_is_read_as_the_same(key: str) -> None:
    @settings(max_examples=200 if FULL else 20, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def try_values(data: st.DataObject) -> None:
        item = TOP[key]
        written = data.draw(values(item.kind, SAMPLES[item]))
        first, errors = read(key, written)
        assume(not errors)
        tried.append(written)
        shown = yaml.safe_load(effective(first))[key]
        assert shown is not None
        again, errors = read(key, unmasked(shown, written))
        assert errors == []
        assert comparable(again) == comparable(first)

    tried: list[Any] = []
    try_values()
    assert len(tried) > 1
