"""Show what is suggested in place of a text that is not what it should be, and when nothing is."""

from collections.abc import Callable

import pytest

from gateway.settings.problems import SpellingError
from gateway.settings.quantities import parse_duration, parse_size
from gateway.settings.suggestions import as_url, authority_in, closest_word, path_in, without_port

MEANT: list[tuple[Callable[[str], object], str, str]] = [
    (parse_duration, "5 seconds", "5s"),
    (parse_duration, "1 hour", "1h"),
    (parse_duration, "1m30s", "90s"),
    (parse_duration, "1h30m", "90m"),
    (parse_duration, "1.5s", "1500ms"),
    (parse_duration, "2 Days", "2d"),
    (parse_duration, "100 msec", "100ms"),
    (parse_duration, "5", ""),
    (parse_duration, "PT5M", ""),
    (parse_duration, "soon", ""),
    (parse_duration, "0.0001s", ""),
    (parse_size, "1MB", "1MiB"),
    (parse_size, "10m", "10MiB"),
    (parse_size, "64 KB", "64KiB"),
    (parse_size, "2g", "2GiB"),
    (parse_size, "1.5MB", ""),
    (parse_size, "unlimited", ""),
]


@pytest.mark.parametrize(("parse", "text", "meant"), MEANT)
def test_a_quantity_in_another_spelling(parse: Callable[[str], object], text: str, meant: str) -> None:
    with pytest.raises(SpellingError) as caught:
        parse(text)
    assert caught.value.instead == meant
    if meant:
        parse(meant)


def test_what_is_meant_by_a_word() -> None:
    known, others = ("enforce", "shadow"), {"shadow": "dry_run report"}
    assert closest_word("Dry-Run", known, others) == "shadow"
    assert closest_word("ENFORCE", known, others) == "enforce"
    assert closest_word("enforced", known, others) == "enforce"
    assert closest_word("off", known, others) == ""
    assert closest_word("HS256", ("RS256", "PS256"), {}) == ""  # another algorithm, no slip of the pen


def test_what_is_meant_by_an_address() -> None:
    assert authority_in("https://a.example:8443/x?y") == ("a.example:8443", True)
    assert authority_in("a.example/x") == ("a.example", False)
    assert without_port("[::1]:8080") == "[::1]"
    assert without_port("user:secret@host") == ""
    assert as_url("http", "127.0.0.1:9001/api") == "http://127.0.0.1:9001"
    assert as_url("https", "auth.example/x", whole=True) == "https://auth.example/x"
    assert as_url("http", "user:secret@host") == ""
    assert path_in("https://a.example/health") == "/health"
    assert path_in("health/{id}") == "/health/{id}"
    assert path_in("^/health.*$") == ""


FROM_ENVIRONMENT = [
    ("upstreams: {u: {targets: ['${V}']}}", "127.0.0.1:9001"),
    ("issuer: {token_lifetime: '${V}'}", "1 hour"),
    ("logs: {level: '${V}'}", "warn"),
    ("limits: {body_bytes: '${V}'}", "10 MB"),
    ("state: '${V}'", "memory"),
    ("admin: {hosts: ['${V}']}", "https://hidden.example/"),
]


@pytest.mark.parametrize(("text", "value"), FROM_ENVIRONMENT)
def test_nothing_is_made_of_what_came_from_the_environment(
    text: str, value: str, problems_of: Callable[..., list[str]]
) -> None:
    (said,) = problems_of(text, environ={"V": value})
    assert '"${V}"' in said or "***" in said
    assert "did you mean" not in said
    assert "(hint: " in said
    (said,) = problems_of(text.replace("${V}", value))
    assert "did you mean" in said


MANY = 2000


def test_of_many_mistakes_the_first_are_looked_at_closely(problems_of: Callable[..., list[str]]) -> None:
    found = problems_of("".join(f"listenerz{number}: 1\n" for number in range(MANY)))
    assert len(found) == MANY
    assert found[0].endswith("the key is unknown (hint: did you mean listeners?)")
    assert found[-1].endswith("the key is unknown")


NAMES = """\
upstreams: {country: {targets: ["http://127.0.0.1:9001"]}}
clients:
  service: {scopes: {country.write: Write}}
  job: {secrets: ["plain:0123456789abcdef"]}
authorizations: [{client: job, audience: service, scopes: [SCOPE]}]
routes:
  - {path: /a, upstream: UPSTREAM, require: {audience: service, scopes: [SCOPE]}}
  - {path: /b, upstream: UPSTREAM, access: public}
"""


def errors(found: list[str]) -> list[str]:
    return [line for line in found if line.startswith("E")]


def test_a_misspelled_definition_is_one_mistake(problems_of: Callable[..., list[str]]) -> None:
    text = NAMES.replace("SCOPE", "country.write").replace("UPSTREAM", "contry")
    (said,) = errors(problems_of(text))
    assert said.startswith("E gateway.yaml:1:13: upstreams.country: nothing uses this name, and 2 places use")
    assert "did you mean contry?" in said


def test_another_name_is_no_misspelled_one(problems_of: Callable[..., list[str]]) -> None:
    text = NAMES.replace("SCOPE", "country.delete").replace("UPSTREAM", "country")
    first, second = errors(problems_of(text))
    assert "authorizations[0].scopes[0]" in first
    assert "routes[0].require.scopes[0]" in second


def test_a_name_that_came_from_the_environment_is_not_told(problems_of: Callable[..., list[str]]) -> None:
    text = NAMES.replace("SCOPE", "country.write").replace("UPSTREAM", '"${V}"')
    (said,) = errors(problems_of(text, environ={"V": "contry"}))
    assert "contry?" not in said
