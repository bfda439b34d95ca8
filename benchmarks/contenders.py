"""Name the contenders: how each is configured, started and reached.

A contender is data and one function that writes its files, so that another one is
another entry in `contenders`.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

from benchmarks.tokens import SigningKey

PEERS = Path(__file__).parent / "peers"
THIS_CHECKOUT = Path(__file__).parents[1]
ISSUER = "http://127.0.0.1:8080"
AUDIENCE = "country-service"
SCOPE = "country.read"
CLIENTS = [f"caller-{number}" for number in range(8)]
ROUTES = 24

ROUTE_TEMPLATES = [
    f"/ms-{number}/country/code/{{code}}" if number % 2 else f"/ms-{number}/archive/**"
    for number in range(ROUTES)
]
PATHS = [
    f"/ms-{number}/country/code/AUS" if number % 2 else f"/ms-{number}/archive/2024/countries"
    for number in range(ROUTES)
]


@dataclass(frozen=True, slots=True)
class Setting:
    """What every contender is told."""

    upstream_port: int
    keys: Mapping[str, SigningKey]


@dataclass(frozen=True, slots=True)
class Contender:
    """One program that forwards to the upstream."""

    name: str
    prepare: Callable[[Path, Setting, int, int], Sequence[str]]
    """Write its files into a directory for the two ports given; returns the command."""
    algorithm: str = "ES256"
    """The tokens it is sent."""
    verifies: bool = True
    """False for a proxy that only forwards."""


def contenders(*, rs256: bool, before: Path | None = None, control: Path | None = None) -> list[Contender]:
    """Return who takes part, the reference first.

    Args:
        rs256: Take part with RS256 tokens as well.
        before: Another checkout of this project, whose gateway takes part too.
        control: Takes part behind this checkout: the other one once more.
    """
    algorithms = ["ES256", "RS256"] if rs256 else ["ES256"]
    earlier = [] if before is None else [Contender("before ES256", _sidegate("ES256", before))]
    again = [] if control is None else [Contender("control ES256", _sidegate("ES256", control))]
    return [
        Contender("nginx", _nginx("off"), verifies=False),
        Contender("nginx + access log", _nginx("access.log"), verifies=False),
        *(Contender(f"haproxy {algorithm}", _haproxy(algorithm), algorithm) for algorithm in algorithms),
        *earlier,
        *(Contender(f"sidegate {algorithm}", _sidegate(algorithm), algorithm) for algorithm in algorithms),
        *again,
    ]


def prepare_upstream(directory: Path, port: int, status_port: int) -> Sequence[str]:
    """Write the upstream's files, bodies included; returns the command."""
    files = directory / "files"
    files.mkdir()
    (files / "64k").write_bytes(bytes(range(256)) * 256)
    (files / "1m").write_bytes(bytes(range(256)) * 4096)
    return _nginx_command(directory, "upstream.conf", {"UPSTREAM_PORT": port, "STATUS_PORT": status_port})


def _nginx(access_log: str) -> Callable[[Path, Setting, int, int], Sequence[str]]:
    def prepare(directory: Path, setting: Setting, port: int, _: int) -> Sequence[str]:
        values = {"PORT": port, "UPSTREAM_PORT": setting.upstream_port, "ACCESS_LOG": access_log}
        return _nginx_command(directory, "nginx.conf", values)

    return prepare


def _nginx_command(directory: Path, template: str, values: Mapping[str, object]) -> Sequence[str]:
    _fill(template, directory / template, values)
    return ["nginx", "-p", str(directory), "-e", "stderr", "-c", template]


def _haproxy(algorithm: str) -> Callable[[Path, Setting, int, int], Sequence[str]]:
    def prepare(directory: Path, setting: Setting, port: int, _: int) -> Sequence[str]:
        public_key = directory / "public.pem"
        public_key.write_bytes(setting.keys[algorithm].public_pem())
        values = {
            "PORT": port,
            "UPSTREAM_PORT": setting.upstream_port,
            "ALGORITHM": algorithm,
            "PUBLIC_KEY": public_key,
            "ISSUER": ISSUER,
            "AUDIENCE": AUDIENCE,
        }
        _fill("haproxy.cfg", directory / "haproxy.cfg", values)
        return ["haproxy", "-db", "-f", "haproxy.cfg"]

    return prepare


def _sidegate(
    algorithm: str, checkout: Path = THIS_CHECKOUT
) -> Callable[[Path, Setting, int, int], Sequence[str]]:
    def prepare(directory: Path, setting: Setting, port: int, admin_port: int) -> Sequence[str]:
        keys = directory / "keys"
        keys.mkdir(mode=0o700)
        private_key = keys / "bench.pem"
        private_key.touch(mode=0o600)
        private_key.write_bytes(setting.keys[algorithm].private_pem())
        values = {
            "PORT": port,
            "ADMIN_PORT": admin_port,
            "UPSTREAM_PORT": setting.upstream_port,
            "ALGORITHM": algorithm,
            "ISSUER": ISSUER,
        }
        _fill("sidegate.yaml", directory / "gateway.yaml", values)
        (directory / "policy.yaml").write_text(_policy(), encoding="utf-8")
        command = [str(Path(sys.executable).parent / "sidegate"), "run", "-c", "gateway.yaml"]
        return ["env", f"PYTHONPATH={checkout}", *command]

    return prepare


def _policy() -> str:
    lines = ["clients:", f"  {AUDIENCE}:", f"    scopes: {{{SCOPE}: Read}}"]
    lines += [f'  {client}: {{secrets: ["sha256:{token_hex(16)}:{token_hex(32)}"]}}' for client in CLIENTS]
    lines.append("authorizations:")
    lines += [f"  - {{client: {client}, audience: {AUDIENCE}, scopes: [{SCOPE}]}}" for client in CLIENTS]
    lines.append("routes:")
    for template in [*ROUTE_TEMPLATES, "/files/{name}"]:
        lines.append(
            f'  - {{path: "{template}", upstream: country, '
            f"require: {{audience: {AUDIENCE}, scopes: [{SCOPE}]}}}}"
        )
    return "\n".join(lines) + "\n"


def _fill(template: str, target: Path, values: Mapping[str, object]) -> None:
    text = (PEERS / template).read_text(encoding="utf-8")
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    target.write_text(text, encoding="utf-8")
