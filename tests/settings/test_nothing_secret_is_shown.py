"""Plant a secret at every place of a configuration, break it in many ways, and look for it in what is said.

The places are walked by the table of keys, so that a new key is tried with the first run
after it was written. Whatever came from the environment, and whatever has the shape of a
secret (a password in a URL, a stored secret, a token, a private key), stays out of every
message: as a value, within a list or a mapping, as a key, and in a file that is no YAML.
"""
# ruff: noqa: E501 (rows and documents are read better whole)

import json
import random
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.reload.compile import compile_configuration
from gateway.settings.credential_kinds import InlineKeys, SecretText
from gateway.settings.fields import MAIN_FILE
from gateway.settings.kinds import Text
from gateway.settings.lists import ListOf, MapOf
from gateway.settings.load import Loaded
from gateway.settings.policy_keys import POLICY_FIELDS
from gateway.settings.problems import Problem, SettingsError
from gateway.settings.reading import Kind
from gateway.settings.sections import Field, Section
from gateway.settings.show import effective
from tests.support.jws import make_key
from tests.support.sampling import FULL, some

Load = Callable[..., Loaded]

MARKER = "Mrkr8c1f"
KEY = make_key("ES256", "k")


def leaves(
    fields: tuple[Field, ...], wrap: Callable[[Any], Any] = lambda value: value
) -> Iterator[tuple[str, Kind, Callable[[Any], Any]]]:
    """Yield each key that holds no section: its path, its kind, and what makes a document of its value."""
    for item in fields:

        def put(value: Any, item: Field = item) -> Any:
            return wrap({item.key: value})

        for path, kind, build in _below(item.key, item.kind, put):
            if isinstance(kind, Section):
                yield from ((f"{path}.{below}", k, b) for below, k, b in leaves(kind.fields, build))
            else:
                yield path, kind, build


def _below(
    path: str, kind: Kind, put: Callable[[Any], Any]
) -> Iterator[tuple[str, Kind, Callable[[Any], Any]]]:
    if isinstance(kind, ListOf):
        yield from _below(f"{path}[]", kind.item, lambda value: put([value]))
    elif isinstance(kind, MapOf):
        yield from _below(f"{path}.*", kind.value, lambda value: put({"n": value}))
    else:
        yield path, kind, put
        if (mapping := getattr(kind, "mapping", None)) is not None:
            yield path, mapping, put


PLACES = {path: (kind, build) for path, kind, build in leaves(MAIN_FILE.fields)}
OTHER_PLACES = sorted(PLACES.keys() - {"policies[]"})
"""All but the names of files, by which mistakes are told."""
SECRET_SHAPES = {
    "user information": f"https://u:{MARKER}@h.example/x",
    "base64 password": f"redis://:{MARKER}/a+b==@h.example:6379/0",
    "password with @": f"redis://u:a@{MARKER}@b{MARKER}@h.example",
    "password without a host": f"redis://:{MARKER}/x",
    "password of a target": f"http://{MARKER}:{MARKER}@127.0.0.1:81",
    "half a URL": f"//u:{MARKER}@h.example",
    "query": f"https://h.example/jwks?token={MARKER}",
    "fragment": f"https://h.example/jwks#{MARKER}",
    "plain secret": f"plain:{MARKER}",
    "hashed secret": f"sha256:{MARKER}:{MARKER}",
    "scrypt secret": f"scrypt:1024:8:1:{MARKER}:{MARKER}",
    "variable": f"env:{MARKER}-{MARKER}",
    "token": f"eyJhbGciOi{MARKER}.eyJzdWIi.{MARKER}",
    "authorization": f"Authorization: Bearer {MARKER}",
    "private key": f"-----BEGIN PRIVATE KEY-----\n{MARKER}\n-----END PRIVATE KEY-----\n",
    "client secret": f"client_secret={MARKER}",
}
AROUND: dict[str, Callable[[str], Any]] = {
    "as it is": lambda secret: secret,
    "in a list": lambda secret: [secret, secret],
    "in a mapping": lambda secret: {"password": secret, "url": [secret]},
    "as a key": lambda secret: {secret: {secret: 1}},
}
FROM_ENVIRONMENT = (
    (MARKER, "${S}"),
    (MARKER, "https://u:${S}@h.example/x"),
    (f"https://{MARKER}.example/{MARKER}", "${S}"),
    (f"plain:{MARKER}", "${S}"),
    (MARKER, "env:${S}"),
    (MARKER, "/${S}"),
)
"""The value of the variable, and the text that names it."""


def said(at: Path, environ: dict[str, str] | None = None) -> str:
    """Return everything that is said of a configuration: as `check` prints it, as text and as JSON."""
    problems: tuple[Problem, ...]
    try:
        problems = compile_configuration(at, environ=environ or {}, now=1_800_000_000.0).warnings
    except SettingsError as error:
        problems = error.problems
    return "\n".join(str(problem) for problem in problems) + json.dumps([p.as_object() for p in problems])


@pytest.mark.parametrize("path", OTHER_PLACES)
def test_what_looks_like_a_secret_is_not_repeated(path: str, tmp_path: Path) -> None:
    kind, build = PLACES[path]
    # Where secrets belong, every shape in every way; elsewhere, where they come by mistake, some.
    may_hold_one = isinstance(kind, SecretText | InlineKeys) or getattr(kind, "is_address", False)
    tried = list(SECRET_SHAPES) if may_hold_one else ["user information", "plain secret", "token"]
    (tmp_path / "policies").mkdir()
    main = tmp_path / "gateway.yaml"
    main.write_text("version: 1\n")
    is_policy = path.partition(".")[0].partition("[")[0] in {item.key for item in POLICY_FIELDS}
    file = tmp_path / "policies/p.yaml" if is_policy else main
    for shape, around in some(product(tried, AROUND), of=path, one_in=3):
        file.write_text(yaml.safe_dump(build(AROUND[around](SECRET_SHAPES[shape])), sort_keys=False))
        out = said(main)
        assert MARKER not in out, (shape, around, out)


@pytest.mark.parametrize("path", OTHER_PLACES)
def test_what_came_from_the_environment_is_not_told(path: str, tmp_path: Path) -> None:
    _, build = PLACES[path]
    file = tmp_path / "gateway.yaml"
    for (value, text), around in some(
        product(FROM_ENVIRONMENT, ("as it is", "in a list")), of=path, one_in=3
    ):
        file.write_text(yaml.safe_dump(build(AROUND[around](text)), sort_keys=False))
        out = said(file, {"S": value})
        assert MARKER not in out, (value, text, around, out)


def test_every_kind_that_can_hold_a_secret_is_among_the_places() -> None:
    kinds = [kind for kind, _ in PLACES.values()]
    assert {type(kind) for kind in kinds} >= {SecretText, InlineKeys}
    addresses = {path for path, (kind, _) in PLACES.items() if isinstance(kind, Text) and kind.is_address}
    assert {"state", "issuer.url", "upstreams.*.targets[]", "key_set_proxies.*"} <= addresses
    assert {path.rpartition(".")[2] for path in addresses} >= {
        "jwks_uri",
        "origins[]",
        "cors_origins[]",
        "url",
    }


# --- a whole configuration, broken in many ways

WHOLE = f"""\
version: 1
admin: {{address: "127.0.0.1:9090", token_file: private/admin.token}}
issuer: {{url: "https://auth.example"}}
state: "redis://user:{MARKER}%2Fa@{MARKER}@127.0.0.1:6379/0"
bearer_token_files:
  platform: {{file: private/bearer.token, origins: ["https://k.example"]}}
key_set_proxies: {{out: "http://proxy.example:3128"}}
policy_environment: [S]
upstreams:
  u:
    targets: ["http://127.0.0.1:9001"]
    health_check: {{path: "/healthz?token={MARKER}"}}
clients:
  service: {{scopes: {{read: Read}}}}
  a:
    secrets:
      - "plain:{MARKER}{MARKER}{MARKER}"
      - env:S
      - file:private/client.secret
    jwks: {{keys: [{json.dumps(json.loads(KEY.jwk.export_public()))}, {{kty: EC, crv: P-256, x: "{MARKER}", y: "{MARKER}", d: "{MARKER}"}}, {{kty: oct, k: "{MARKER}"}}]}}
  b: {{jwks_uri: "https://k.example/jwks?token={MARKER}"}}
  c:
    assertions:
      - {{issuer: "https://k.example", subject: s, jwks_uri: "https://k.example/k?access_token={MARKER}", bearer_token: platform, proxy: out}}
authorizations: [{{client: a, audience: service, scopes: [read]}}]
routes:
  - {{path: "/x", upstream: u, require: {{audience: service, scopes: [read]}}}}
tests:
  - {{request: "GET /x?access_token={MARKER}", expect: {{deny: no_token}}}}
"""
ENVIRON = {"S": f"{MARKER}-of-the-environment"}


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    (tmp_path / "private").mkdir()
    for name in ("admin.token", "bearer.token", "client.secret"):
        (tmp_path / "private" / name).write_text(f"{MARKER}-0123456789abcdef\n")
    (tmp_path / "gateway.yaml").write_text(WHOLE)
    return tmp_path / "gateway.yaml"


def test_the_whole_configuration_loads_and_is_shown_without_its_secrets(whole: Path) -> None:
    configuration = compile_configuration(whole, environ=ENVIRON, now=1_800_000_000.0)
    shown = effective(configuration.settings)
    assert MARKER not in shown
    assert "redis://user:***@127.0.0.1:6379/0" in shown
    assert KEY.public["x"] in shown
    assert MARKER not in said(whole, ENVIRON)
    assert MARKER not in repr(configuration.settings.state)


def broken(text: str, dice: random.Random) -> str:
    """Return the text with one of its lines, or a few characters, damaged."""
    lines = text.split("\n")
    at = dice.randrange(len(lines))
    line = lines[at]
    match dice.randrange(9):
        case 0:
            cut = dice.randrange(len(line) + 1)
            lines[at] = line[:cut]
        case 1:
            place = dice.randrange(len(line) + 1)
            lines[at] = line[:place] + dice.choice("\"'{}[]:,#&*!|>%@`-?\t\\") + line[place:]
        case 2:
            lines[at] = line.replace(dice.choice("\"'{}[]:,"), "", 1)
        case 3:
            lines[at] = " " * dice.randrange(7) + line.strip()
        case 4:
            lines.insert(at, line)
        case 5:
            lines[at] = line.replace(": ", ":", 1)
        case 6:
            lines[at] = line.replace('"', dice.choice(["", "*", "!", "&", "'"]))
        case 7:
            del lines[at]
        case _:
            lines[at] = line.replace(":", f"{dice.choice('xyz')}:", 1)
    return "\n".join(lines)


@pytest.mark.parametrize("seed", range(4))
def test_a_broken_configuration_tells_nothing(whole: Path, seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(100 if FULL else 25):
        text = WHOLE
        for _ in range(dice.choice([1, 1, 2, 3])):
            text = broken(text, dice)
        whole.write_text(text)
        out = said(whole, ENVIRON)
        assert MARKER not in out, (text, [line for line in out.split("\n") if MARKER in line])


def test_the_policy_sections_are_walked_too() -> None:
    assert {item.key for item in POLICY_FIELDS} <= {
        path.partition(".")[0].partition("[")[0] for path in PLACES
    }
