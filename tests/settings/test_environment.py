"""Show how references to the environment are replaced: once, and only the allowed ones."""

import pytest

from gateway.settings.environment import Environment, Unexpanded

ENVIRONMENT = Environment({"A": "one", "B": "${A}", "EMPTY": "", "DOLLAR": "$", "RAW": "\udcff"})


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("${A}", "one"),
        ("x${A}y${A}", "xoneyone"),
        ("${B}", "${A}"),
        ("${DOLLAR}{A}", "${A}"),
        ("$${A}", "${A}"),
        ("$$${A}", "$${A}"),
        ("${EMPTY}", ""),
        ("${EMPTY:-d}", "d"),
        ("${MISSING:-}", ""),
        ("${MISSING:-http://x:1/}", "http://x:1/"),
        ("${MISSING:-$$}", "$$"),
        ("${MISSING:-}}", "}"),
        ("${A:-d}", "one"),
        ("$A and $", "$A and $"),
    ],
)
def test_expansion(text: str, expanded: str) -> None:
    assert ENVIRONMENT.expand(text) == expanded


@pytest.mark.parametrize(
    "text", ["${MISSING}", "${}", "${A", "${a-b}", "${A:d}", "${1}", "${ A}", "${RAW}", "${"]
)
def test_no_expansion(text: str) -> None:
    assert isinstance(ENVIRONMENT.expand(text), Unexpanded)


def test_only_allowed_names() -> None:
    limited = Environment({"A": "one", "B": "two"}, frozenset({"A", "C"}))
    assert limited.expand("${A}${C:-three}") == "onethree"
    refused = limited.expand("${B:-default}")
    assert isinstance(refused, Unexpanded)
    assert "policy_environment" in refused.hint


@pytest.mark.parametrize(
    "text",
    [
        "${MISSING:-${A}}",
        "${A:-${B}}",
        "${A:-x{y}",
        "x${MISSING:-$${A}}",
        "${EMPTY:-{}}",
        "${A}${A:-${A:-${A}}}",
    ],
)
def test_defaults_do_not_nest(text: str) -> None:
    refused = ENVIRONMENT.expand(text)
    assert isinstance(refused, Unexpanded)
    assert "defaults do not nest" in refused.message
    assert refused.hint
