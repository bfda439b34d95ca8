"""Keep the house in order: who may import whom, which cores are pure, what the map says.

The lists below are the architecture, in the form in which it is enforced;
`docs/architecture.md` explains them. After adding or renaming a module, run
`python tests/test_architecture.py` to renew the file list in that document.
"""

import ast
import json
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from re import _parser  # type: ignore[attr-defined]
from typing import NamedTuple

import pytest
from jwcrypto.jwk import JWK

from gateway import oauth_names
from gateway.cli.starter import write_starter
from gateway.http1 import dropped_fields
from gateway.observe import families as metric_families
from gateway.reasons import Reason

ROOT = Path(__file__).resolve().parent.parent
MAP = ROOT / "docs" / "architecture.md"

# --- the rules --------------------------------------------------------------------------

LAYERS: tuple[frozenset[str], ...] = (
    # What everything may use.
    frozenset({"version", "settings.model", "files", "hosts", "names", "oauth_names", "reasons", "services"}),
    frozenset({"observe", "own_answers"}),
    frozenset({"tokens", "state"}),
    frozenset({"clients", "policy", "http1"}),  # domain
    frozenset({"enforce"}),  # one request head -> one verdict
    frozenset({"issuer", "proxy", "admin", "settings", "demo"}),  # services; they never meet
    frozenset({"reload"}),  # follows the files and swaps in what they say
    frozenset({"app", "data_plane", "label_values", "lifecycle", "readiness", "views"}),  # composition
    frozenset({"cli", "__main__"}),
)
"""From the ground up. A module imports from its own package and from lower layers only; packages
of one layer do not know each other, but for `WITHIN_A_LAYER`."""

WITHIN_A_LAYER = {
    ("names", "hosts"): "`localhost` leads to this machine, whatever the system says",
    ("state", "tokens"): "a store keeps the revocations up to date that the gate looks into",
    ("clients", "policy"): "the registry writes the grants that decisions read",
    ("app", "data_plane"): "the composition root opens issuer and gate",
    ("app", "label_values"): "and tells the metrics what their labels can be",
    ("app", "lifecycle"): "and lives by its signals",
    ("app", "readiness"): "and asks what probes are to be told",
    ("app", "views"): "and hands the operators' views to the admin listener",
    ("views", "readiness"): "the views count what probes are told",
    ("views", "lifecycle"): "and tell systemd what is in force",
}
"""(importer, imported): the few pairs of one layer where one builds on the other, and why."""

THIRD_PARTY: dict[str, frozenset[str]] = {
    "names": frozenset({"aiohappyeyeballs"}),
    "http1": frozenset({"httptools"}),
    "tokens": frozenset({"aiohttp", "cryptography", "jwcrypto", "msgspec"}),
    "enforce": frozenset(),
    "policy": frozenset(),
    "clients": frozenset(),
    "state": frozenset({"redis"}),
    "settings": frozenset({"yaml"}),
    "observe": frozenset({"prometheus_client", "msgspec", "uvloop"}),
    "own_answers": frozenset({"aiohttp"}),
    "proxy": frozenset({"aiohappyeyeballs", "cryptography", "msgspec", "multidict", "uvloop"}),
    "issuer": frozenset({"msgspec", "multidict"}),
    "admin": frozenset({"aiohttp", "msgspec", "multidict"}),
    "demo": frozenset({"aiohttp", "msgspec"}),
    "app": frozenset({"uvloop"}),
    "data_plane": frozenset(),
    "services": frozenset({"multidict"}),
    "views": frozenset(),
    "lifecycle": frozenset({"uvloop"}),
    "cli": frozenset({"click", "msgspec", "uvloop", "yaml"}),
}
"""What each package may take from outside. A package that is missing takes nothing."""

PURE = (
    "policy",
    "http1",
    "clients",
    "enforce",
    "settings.model",
    "tokens",
    "reasons",
    "oauth_names",
    "hosts",
)
"""No I/O, no clock, no randomness, no logging: the same input gives the same output."""

SHELLS = {
    "clients.scrypt_worker": "runs scrypt on a thread of its own",
    "clients.secrets": "makes new secrets, so it asks the system for random bytes",
    "tokens.jwks_client": "fetches key sets and keeps them fresh",
    "tokens.key_server": "takes the answers of key servers off the socket",
    "tokens.keyfiles": "reads and writes the key directory",
}
"""Modules of pure packages that may touch the world, and why."""

IMPURE_MODULES = frozenset(
    {
        "asyncio", "concurrent", "fcntl", "glob", "io", "logging", "multiprocessing", "os", "queue",
        "random", "secrets", "select", "selectors", "shutil", "signal", "socket", "sqlite3", "ssl",
        "subprocess", "tempfile", "threading", "time", "urllib.request", "uuid",
    }
)  # fmt: skip
IMPURE_CALLS = frozenset({"open", "print", "input", "breakpoint"})
IMPURE_METHODS = frozenset(
    {
        "exists", "glob", "is_dir", "is_file", "iterdir", "mkdir", "now", "read_bytes", "read_text",
        "stat", "today", "touch", "unlink", "utcnow", "write_bytes", "write_text",
    }
)  # fmt: skip
"""Of paths and datetimes, which are harmless as values."""

OFFLINE_COMMANDS = ("check", "test", "config show")
"""They run in front of every commit and for every pull request."""

NOT_OFFLINE = frozenset(
    {
        "aiohttp", "asyncio", "email", "gateway.observe.logs", "gateway.proxy", "http", "httptools",
        "jwcrypto", "logging", "msgspec", "multidict", "prometheus_client", "redis", "socket", "ssl",
        "uvloop", "xml",
    }
)  # fmt: skip
"""What they do not load unless a private key is written as a JWK: serving, and what reads such a key."""

CLIENTS_OF_A_PROCESS = (
    "healthcheck",
    "reload",
    "token --issuer http://127.0.0.1:1 --as service-client --secret-file {secret}",
)
"""Containers are probed by the first every few seconds."""

NOT_FOR_CLIENTS = frozenset(
    {"cryptography", "gateway.policy", "gateway.settings.reading", "gateway.tokens.keyfiles"}
)
"""What these do not load besides: the loader of configurations, and keys."""

FORBIDDEN_NAMES = frozenset({"utils", "util", "helpers", "helper", "common", "base", "manager", "misc"})

# --- reading the source --------------------------------------------------------------------


class Module(NamedTuple):
    name: str
    """Dotted, without the leading `gateway.`; the package itself is `gateway`."""
    path: Path
    tree: ast.Module

    @property
    def package(self) -> str:
        return "settings.model" if self.name == "settings.model" else self.name.partition(".")[0]


@cache
def modules() -> tuple[Module, ...]:
    found = []
    for path in sorted((ROOT / "gateway").rglob("*.py")):
        parts = path.relative_to(ROOT / "gateway").with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__") or "gateway"
        found.append(Module(name, path, ast.parse(path.read_text("utf-8"))))
    return tuple(found)


def imports_of(module: Module) -> Iterator[tuple[str, int]]:
    """Yield every module that is imported, at any depth of the file, with its line."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module.name}:{node.lineno} imports relatively"
            known = {f"gateway.{other.name}" for other in modules()}
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield (whole if whole in known else str(node.module)), node.lineno


def layer_of(package: str) -> int:
    for height, packages in enumerate(LAYERS):
        if package in packages:
            return height
    raise AssertionError(
        f"gateway.{package} has no layer: add it to LAYERS, and say why in docs/architecture.md"
    )


def own_packages(module: Module) -> Iterator[tuple[str, int]]:
    """Yield (package, line) of everything imported from gateway."""
    for name, line in imports_of(module):
        if name.startswith("gateway."):
            inner = name.removeprefix("gateway.")
            yield ("settings.model" if inner == "settings.model" else inner.partition(".")[0]), line


def is_pure(module: Module) -> bool:
    return module.name not in SHELLS and any(
        module.name == core or module.name.startswith(core + ".") for core in PURE
    )


# --- the tests -------------------------------------------------------------------------------


def of_each_module(test: Callable[[Module], None]) -> Callable[[], None]:
    """Make one test that names every module for which `test` fails: hundreds of tests take seconds more."""

    def test_all() -> None:
        faults = []
        for module in modules():
            try:
                test(module)
            except (AssertionError, pytest.fail.Exception) as fault:
                faults.append(f"gateway.{module.name}: {fault}")
        assert not faults, "\n".join(faults)

    test_all.__doc__ = test.__doc__
    return test_all


@of_each_module
def test_imports_point_down(module: Module) -> None:
    if module.name == "gateway":
        return
    own = module.package
    for package, line in own_packages(module):
        if package == own or (own, package) in WITHIN_A_LAYER:
            continue
        if own == "settings.model" or layer_of(package) >= layer_of(own):
            pytest.fail(f"gateway.{module.name}:{line} imports gateway.{package}, which is not below it")


@of_each_module
def test_third_party_packages_are_where_they_belong(module: Module) -> None:
    allowed = THIRD_PARTY.get(module.package, frozenset())
    for name, line in imports_of(module):
        top = name.partition(".")[0]
        if top != "gateway" and top not in sys.stdlib_module_names and top not in allowed:
            pytest.fail(f"gateway.{module.name}:{line} imports {top}: not in THIRD_PARTY[{module.package!r}]")


def impurities(module: Module) -> Iterator[str]:
    """Yield what in a module touches the world."""
    for name, line in imports_of(module):
        if {name, name.partition(".")[0]} & IMPURE_MODULES or name.startswith("gateway.observe"):
            yield f"gateway.{module.name}:{line} imports {name}"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call):
            match node.func:
                case ast.Name(id=called) if called in IMPURE_CALLS:
                    yield f"gateway.{module.name}:{node.lineno} calls {called}"
                case ast.Attribute(attr=called) if called in IMPURE_METHODS:
                    yield f"gateway.{module.name}:{node.lineno} calls .{called}"


@of_each_module
def test_cores_are_pure(module: Module) -> None:
    if is_pure(module):
        assert list(impurities(module)) == []


def test_shells_are_declared_only_where_needed() -> None:
    by_name = {module.name: module for module in modules()}
    assert [name for name in SHELLS if name not in by_name or not any(impurities(by_name[name]))] == []


@of_each_module
def test_modules_say_what_they_do(module: Module) -> None:
    assert module.name.rpartition(".")[2] not in FORBIDDEN_NAMES
    if module.path.stat().st_size > 0:
        assert first_sentence(module).endswith("."), (
            f"gateway.{module.name} needs a docstring of whole sentences"
        )


PATTERN_FUNCTIONS = frozenset(
    {"compile", "match", "fullmatch", "search", "sub", "split", "finditer", "findall"}
)


@of_each_module
def test_no_pattern_has_a_possessive_quantifier(module: Module) -> None:
    """Before CPython 3.11.5 they can match too much (python/cpython#100061, #106052)."""
    for node in ast.walk(module.tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id == "re"
            and node.func.attr in PATTERN_FUNCTIONS
            and isinstance(node.args[0], ast.Constant)
        ):
            assert not _is_possessive(node.args[0].value), f"gateway.{module.name}:{node.lineno}"


def test_no_pattern_that_is_put_together_has_one_either() -> None:
    """What stands in modules when they are loaded, as a pattern or as a method of one."""
    loaded = [
        vars(sys.modules[f"gateway.{each.name}"])
        for each in modules()
        if f"gateway.{each.name}" in sys.modules
    ]
    values = [getattr(value, "__self__", value) for names in loaded for value in names.values()]
    patterns = [value for value in values if isinstance(value, re.Pattern)]
    assert len(patterns) > 20
    assert not [found for found in patterns if _is_possessive(found.pattern)]


def _is_possessive(pattern: str | bytes) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return "POSSESSIVE" in repr(_parser.parse(pattern).data)


FIELD_READERS = frozenset(
    {
        "charset", "content_disposition", "content_type", "cookies", "forwarded", "get_encoding",
        "http_range", "if_match", "if_modified_since", "if_none_match", "if_range", "if_unmodified_since",
        "json", "links", "multipart", "post", "query", "text",
    }
)  # fmt: skip
"""What aiohttp's requests and answers read for us, some of it by `email`'s parsers."""

OWN_ATTRIBUTES = frozenset({"rendering.content_type", "settings.query", "web.post", "msgspec.json"})
"""Of things that are neither, by the name they have there."""


@of_each_module
def test_aiohttp_reads_no_field_of_a_stranger(module: Module) -> None:
    """Its parsers of fields take more than linear time: one request stopped the process for 14 seconds.

    Take `headers.getall` and a pattern of our own. `tests/wire/test_linear_time.py` is the other
    half; ruff bans the modules.
    """
    if not any(name.partition(".")[0] == "aiohttp" for name, _ in imports_of(module)):
        return
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and node.attr in FIELD_READERS:
            assert ast.unparse(node) in OWN_ATTRIBUTES, (
                f"gateway.{module.name}:{node.lineno} has aiohttp read a field: .{node.attr}"
            )


# --- what commands load ------------------------------------------------------------------------

PARTNER = {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}
"""The key of RFC 8037 A.2."""

TELL_LOADED = """
import sys
from gateway.cli import main
try:
    main()
finally:
    print("loaded:", *sys.modules)
"""


def loaded_by(command: str, configuration: Path | None, *, expected: int = 0) -> frozenset[str]:
    """Return the modules that a command had loaded in the end, with the packages that they are in."""
    named = [] if configuration is None else ["-c", str(configuration)]
    run = subprocess.run(
        [sys.executable, "-c", TELL_LOADED, *command.split(), *named],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert run.returncode == expected, run.stderr
    names = run.stdout.rpartition("loaded: ")[2].split()
    return frozenset(".".join(name.split(".")[: n + 1]) for name in names for n in range(name.count(".") + 1))


@pytest.fixture(scope="module")
def starter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("starter")
    write_starter(directory)
    return directory / "config" / "gateway.yaml"


@pytest.mark.parametrize("command", OFFLINE_COMMANDS)
def test_offline_commands_are_light(command: str, starter: Path) -> None:
    """The starter has a policy, its tests and a signing key: one in PEM, as every key that we make."""
    loaded = loaded_by(command, starter)
    assert "gateway.settings.load" in loaded
    assert not loaded & NOT_OFFLINE


def test_the_schema_takes_the_table_of_keys_and_no_more() -> None:
    loaded = loaded_by("schema", None)
    assert "gateway.settings.fields" in loaded
    assert not loaded & (NOT_OFFLINE | {"cryptography", "gateway.settings.load", "jsonschema"})


@pytest.mark.parametrize("command", CLIENTS_OF_A_PROCESS)
def test_commands_that_ask_a_process_read_no_more_than_where_it_is(command: str, tmp_path: Path) -> None:
    """Nobody answers here; that is told after everything was loaded."""
    secret, configuration = tmp_path / "secret", tmp_path / "gateway.yaml"
    secret.write_text("a secret of more than thirty octets", "utf-8")
    configuration.write_text("version: 1\nadmin: {address: 'unix:absent.sock'}\n", "utf-8")
    loaded = loaded_by(command.format(secret=secret), configuration, expected=1)
    assert "http.client" in loaded
    assert not loaded & (NOT_FOR_CLIENTS | NOT_OFFLINE - {"email", "http", "socket", "ssl"})


def test_key_sets_in_a_policy_are_read_without_jwcrypto(starter: Path) -> None:
    policy = starter.parent / "policies" / "partner.yaml"
    policy.write_text(f"version: 1\nclients: {{partner: {{jwks: {json.dumps(PARTNER)}}}}}\n", "utf-8")
    try:
        loaded = loaded_by("check", starter)
        assert "gateway.tokens.foreign_keys" in loaded
        assert not loaded & NOT_OFFLINE
    finally:
        policy.unlink()


def test_a_private_key_that_is_written_as_a_jwk_is_read_with_jwcrypto(starter: Path) -> None:
    key = starter.parent / "keys" / "next.jwk"
    key.write_text(JWK.generate(kty="EC", crv="P-256").export_private(), "utf-8")
    key.chmod(0o600)
    try:
        assert "jwcrypto" in loaded_by("check", starter)
    finally:
        key.unlink()


# --- the map ---------------------------------------------------------------------------------

START, END = "<!-- files: written by tests/test_architecture.py -->", "<!-- end of files -->"


def first_sentence(module: Module) -> str:
    docstring = ast.get_docstring(module.tree) or ""
    return re.split(r"(?<=\.)(?:\s|$)", " ".join(docstring.split("\n\n")[0].split()))[0]


def file_list() -> str:
    """Return the modules with the first sentence of each, as Markdown."""
    lines = []
    for module in modules():
        sentence = first_sentence(module)
        if sentence and module.name != "gateway":
            mark = " *(shell)*" if module.name in SHELLS else ""
            lines.append(f"- `{module.path.relative_to(ROOT)}`{mark}: {sentence}")
    return "\n".join(lines)


def vocabularies() -> Iterator[tuple[str, frozenset[str]]]:
    """Yield the home of each vocabulary, and its words that could mean nothing else."""
    names = (grant.grant_type for grant in oauth_names.GRANTS)
    methods = oauth_names.auth_methods()
    yield "oauth_names", frozenset({*names, *methods, oauth_names.ASSERTION_TYPE})
    families = (value.name for value in vars(metric_families).values() if hasattr(value, "name"))
    yield "observe.families", frozenset(families)
    yield "reasons", frozenset(reason.value for reason in Reason) - EVERYDAY_WORDS
    groups = dropped_fields.GROUPS
    fields = {name.decode() for group in groups for name in (*group.names, *group.prefixes)}
    yield "http1.dropped_fields", frozenset(field for field in fields if "-" in field)


EVERYDAY_WORDS = frozenset({"ok", "public", "draining", "overloaded", "revoked"})
"""Reasons that mean other things in other places: the state of a process, a prefix in a store."""

HOMONYMS = {
    ("clients.authenticate", "method_not_allowed"): "a way to prove a client, no method of HTTP",
    ("policy.model", "no_token"): "the name of an attribute",
}


@of_each_module
def test_a_word_stands_in_one_module(module: Module) -> None:
    """Prose may speak of them; what the program compares or sends comes from their home."""
    docs = {
        id(node.value)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for home, words in vocabularies():
        if module.name == home:
            continue
        for node in ast.walk(module.tree):
            if (
                isinstance(node, ast.Constant)
                and id(node) not in docs
                and isinstance(node.value, str | bytes)
            ):
                text = node.value.decode("latin-1") if isinstance(node.value, bytes) else node.value
                spelled = {
                    word
                    for word in words & {text, text.removesuffix("_total"), text.lower()}
                    if (module.name, word) not in HOMONYMS
                }
                place = f"{module.name}:{node.lineno}"
                assert not spelled, f"{place} spells {', '.join(spelled)}: take it from gateway.{home}"


def test_the_map_lists_every_file() -> None:
    text = MAP.read_text("utf-8")
    listed = text.partition(START)[2].partition(END)[0].strip()
    assert listed == file_list(), "run `python tests/test_architecture.py` to renew docs/architecture.md"


if __name__ == "__main__":
    before, _, rest = MAP.read_text("utf-8").partition(START)
    MAP.write_text(f"{before}{START}\n\n{file_list()}\n\n{END}{rest.partition(END)[2]}", "utf-8")
