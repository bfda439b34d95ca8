"""Show that the commands of the documents run as they stand, and list those that cannot, with the reason.

Every fenced block of commands on a page is pasted, line by line and in order, into one bash, in
a copy of the repository with `.venv/bin` on the PATH where the page says so. Ports are other
ones, so that pages can be tried beside each other and beside whatever the machine runs. A
command that stays in the foreground runs in the background until the page is done.

A line that uses a program of `NEEDS`, or has a placeholder in it, is not run; one that uses a
program of which nothing is known fails, so that no command gets into a document unseen.
"""

import contextlib
import json
import os
import re
import selectors
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.jws import make_key
from tests.support.ports import free_port

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    str(page.relative_to(ROOT))
    for page in (
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("examples/**/*.md"),
        *ROOT.glob("benchmarks/*.md"),
        *ROOT.glob("loadtests/*.md"),
    )
)
PATIENCE_S = 60.0

ELSEWHERE = {
    "examples/playground/README.md": "tests/journeys/test_playground.py runs the whole page on its own ports",
}
"""Pages whose commands another test runs."""

RUNNABLE = frozenset({"cd", "curl", "echo", "eval", "export", "make", "python", "sidegate"})
NEEDS = {
    "git": "the repository's address is not known here",
    "docker": "needs a container engine",
    "podman": "needs a container engine",
    "runc": "needs root and a root file system",
    "kubectl": "needs a cluster",
    "kustomize": "needs a cluster's tools",
    "helm": "needs a cluster's tools",
    "systemctl": "needs systemd",
    "systemd-analyze": "needs systemd",
    "systemd-sysusers": "needs systemd",
    "useradd": "changes the machine",
    "install": "changes the machine",
    "sudo": "changes the machine",
    "apt-get": "changes the machine",
    "pip": "changes the machine",
    "python3": "changes the machine",
    "pipx": "changes the machine",
    "promtool": "is not among the programs that the tests may install",
    "sqlite3": "is not among the programs that the tests may install",
}
"""Programs that no test may, or can, run, and why."""
WHOLE_LINES = {
    "make check": "it runs these tests",
    "make test-system": "needs root, containers and other servers, and runs for long",
    'make bench BENCH="--before HEAD~1 --control"': "it takes minutes and a quiet machine",
    'make bench BENCH="--before HEAD~1 --control --loads cold"': "it takes minutes and a quiet machine",
    'make bench BENCH="--before HEAD~1 --control --loads 64k"': "it takes minutes and a quiet machine",
}
_PLACEHOLDER = re.compile(
    r"(?<![\w$/{])(?:DIR|FILE|HOST|ID|KID|NAME|PATH|PID|POD|URL|COPY|OLD|NEW)(?!\w|=)|…|<[a-z]"
)
_OUTSIDE = re.compile(r"(?<=\s)/(?!dev/null|var/run/secrets/)\w[\w/.-]*")
"""A path of the machine: what a command would make or change there is not ours."""
UNKNOWN = "nobody knows whether it may run here"
_FOREGROUND = re.compile(r"(?:sidegate run|make run)\b")
_BLOCK = re.compile(r"^( *)```(bash|sh|console|shell)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
_WORDS = re.compile(r"(?:^|&&|\|\|?|;|\$\()\s*(?:[A-Z_]+=\S*\s+)*(?:\.venv/bin/)?([\w./~-]+)")


def commands(page: str) -> list[str]:
    """Return the commands of a page: what is pasted line by line, comments and prompts aside."""
    found = []
    for indent, language, block in _BLOCK.findall((ROOT / page).read_text(encoding="utf-8")):
        text = re.sub(rf"(?m)^{indent}", "", block).replace("\\\n", " ")
        if language == "console":
            text = "\n".join(line[2:] for line in text.splitlines() if line.startswith("$ "))
        lines = (re.sub(r"(?:^|\s)#\s.*$", "", line).strip() for line in text.splitlines())
        found += [line for line in lines if line]
    return found


def why_not(line: str) -> str | None:
    """Return why a command is not run here, or None when it is."""
    if line in WHOLE_LINES:
        return WHOLE_LINES[line]
    for program in _WORDS.findall(line):
        if program in NEEDS:
            return f"{program}: {NEEDS[program]}"
        if "/" in program:
            return f"{program}: is outside of the repository"
    outside = _OUTSIDE.search(line)
    if outside:
        return f"{outside[0].strip()}: is outside of the repository"
    if _PLACEHOLDER.search(line):
        return "a word in it stands for something else"
    unknown = set(_WORDS.findall(line)) - RUNNABLE
    return f"{UNKNOWN}: {', '.join(sorted(unknown))}" if unknown else None


ALL = [(page, line) for page in PAGES for line in commands(page)]


@pytest.mark.parametrize(("page", "line"), ALL, ids=[f"{page}: {line[:60]}" for page, line in ALL])
def test_every_command_is_run_or_says_why_not(page: str, line: str) -> None:
    if page in ELSEWHERE:
        return
    reason = why_not(line)
    assert not (reason or "").startswith(UNKNOWN), (
        f"{reason}: name it in RUNNABLE, or in NEEDS with the reason"
    )
    assert reason or page in WALKS, f"{page} has commands now: say in WALKS what they need"


@pytest.mark.parametrize(
    "line",
    [
        "python -m venv /opt/sidegate",
        "/opt/sidegate/bin/pip install .",
        "sidegate init /etc/sidegate",
        "cp -r config/. /etc/sidegate/",
        "X=1 sudo sidegate run",
        "curl -s https://example.com | sh",
        "cd x && rm -rf y",
    ],
)
def test_what_would_change_the_machine_is_never_run(line: str) -> None:
    assert why_not(line)


def test_some_are_run() -> None:
    run = [line for page, line in ALL if page in WALKS and why_not(line) is None]
    assert len(run) >= 15


@dataclass
class Shell:
    """One bash in a copy of the repository, as a reader has it."""

    root: Path
    ports: dict[str, int]
    environment: dict[str, str]
    behind: list["subprocess.Popen[bytes]"] = field(default_factory=list)
    process: "subprocess.Popen[str]" = field(init=False)

    def __post_init__(self) -> None:
        self.process = subprocess.Popen(
            ["bash", "--norc"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.root,
            env=self.environment,
            start_new_session=True,
        )

    def here(self, line: str) -> str:
        """Return the command with this test's ports."""
        for written, port in self.ports.items():
            line = re.sub(rf"(?<=:){written}\b|(?<=--port ){written}\b", str(port), line)
        return line

    def run(self, line: str) -> str:
        """Return what a command prints; fail when it fails."""
        line = self.here(line)
        if _FOREGROUND.match(line):
            line = f"{line} > {shlex.quote(str(self.root / 'behind.log'))} 2>&1 &"
        mark = "---done-with-it---"
        assert self.process.stdin is not None
        self.process.stdin.write(f'{line}\necho "{mark} $?"\n')
        self.process.stdin.flush()
        output = self._until(mark)
        printed, _, status = output.rpartition(mark)
        assert status.strip() == "0", f"{line}\n{printed}{self.log}"
        return printed

    def _until(self, mark: str) -> str:
        assert self.process.stdout is not None
        output, deadline = "", time.monotonic() + PATIENCE_S
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while not re.search(rf"{mark} \d+\n", output):
                assert selector.select(max(0.0, deadline - time.monotonic())), f"no end of it: {output}"
                read = os.read(self.process.stdout.fileno(), 65536).decode()
                assert read, output
                output += read
        return output

    @property
    def log(self) -> str:
        path = self.root / "behind.log"
        return path.read_text() if path.exists() else ""

    def await_ready(self) -> None:
        """Wait until the process behind says that it is ready."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(f"http://127.0.0.1:{self.ports['9090']}/readyz", timeout=5),
            ):
                return
            assert time.monotonic() < deadline, self.log
            time.sleep(0.05)

    def close(self) -> None:
        """End bash and whatever it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()
        self.process.wait(PATIENCE_S)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    root = tmp_path / "sidegate"
    kept = [
        ROOT / name for name in ("Makefile", "pyproject.toml", "README.md", "tools", "gateway", "examples")
    ]
    root.mkdir()
    for path in (*kept, *ROOT.glob("requirements*.lock")):
        copy = shutil.copytree if path.is_dir() else shutil.copy2
        copy(path, root / path.name)
    binaries = root / ".venv" / "bin"
    binaries.mkdir(parents=True)
    for name in ("python", "sidegate"):  # never the environment itself: `make` might renew it
        program = binaries / name
        program.write_text(f'#!/bin/sh\nexec "{Path(sys.executable).with_name(name)}" "$@"\n')
        program.chmod(0o755)
    for stamp in (".runtime-installed", ".development-installed"):
        (root / ".venv" / stamp).touch()
    ports = {written: free_port() for written in ("8080", "9090", "9001")}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SIDEGATE")}
    environment |= {
        "PYTHONPATH": str(ROOT),
        "SIDEGATE_ADDRESS": f"127.0.0.1:{ports['8080']}",
        "SIDEGATE_ADMIN_ADDRESS": f"127.0.0.1:{ports['9090']}",
        "SIDEGATE_ISSUER_URL": f"http://127.0.0.1:{ports['8080']}",
        "SIDEGATE_UPSTREAM": f"http://127.0.0.1:{ports['9001']}",
    }
    shell = Shell(root, ports, environment)
    yield shell
    shell.close()


Walk = Callable[[Shell, str], None]


def readme(shell: Shell, line: str) -> None:
    """Walk through the first minutes: the demo, then a configuration of one's own."""
    if line == "make run":
        shell.run(f'make run DEMO="--port {shell.ports["8080"]} --admin-port {shell.ports["9090"]}"')
        shell.await_ready()
        shell.run("kill %1; wait %1 || true")
        return
    shell.run(line)
    if line == "sidegate run":
        shell.await_ready()


def operations(shell: Shell, line: str) -> None:
    """Walk through the page with a demo service behind, and the files that the page speaks of."""
    if line.startswith("sidegate init"):
        shell.run('export PATH="$PWD/.venv/bin:$PATH"')  # the README's first line
        shell.run(f"python -m gateway.demo.country_service --port {shell.ports['9001']} > /dev/null 2>&1 &")
        printed = shell.run(line)
        (secret,) = re.findall(r"shown once\): (\S+)", printed)
        gateway = shell.root / "my-gateway"
        (gateway / "secret").write_text(secret)
        write_other_clients(gateway, shell)
        return
    printed = shell.run(line)
    if line == "sidegate run":
        shell.await_ready()
    elif line.startswith("curl -H"):
        assert "AUSTRALIA" in printed
    elif line.startswith("sidegate introspect"):
        assert json.loads(printed)["active"] is True


def write_other_clients(gateway: Path, shell: Shell) -> None:
    """Write the clients that the page tells of, and the keys, the secret and the token that they need."""
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    told = [
        " ".join(text.split())
        for text in re.findall(r"`((?:keyed|shared|workload): \{.*?\})`", page, re.DOTALL)
    ]
    assert len(told) == 3
    policies = gateway / "config" / "policies"
    (policies / "more.yaml").write_text(
        "clients:\n"
        + "".join(f"  {client}\n" for client in told)
        + "authorizations:\n"
        + "".join(
            f"  - {{client: {name}, audience: country-service, scopes: [country.read]}}\n"
            for name in ("keyed", "shared", "workload")
        )
    )
    secrets = gateway / "config" / "secrets"
    secrets.mkdir(mode=0o700)
    (secrets / "shared-secret").write_text("s" * 43)
    (secrets / "shared-secret").chmod(0o600)
    for name in ("keyed", "platform"):
        key = make_key()
        (policies / f"{name}.jwks").write_text(json.dumps({"keys": [key.public]}))
        if name == "keyed":
            (gateway / "keyed.pem").write_bytes(key.jwk.export_to_pem(private_key=True, password=None))
        else:
            now = int(time.time())
            claims = {"iss": "https://platform.example", "sub": "job-1", "iat": now, "exp": now + 600}
            claims |= {"aud": f"http://127.0.0.1:{shell.ports['8080']}", "jti": "1"}
            (gateway / "platform.jwt").write_text(key.token(claims))


def workload_identity(shell: Shell, line: str) -> None:
    """Run the page's one call with an issuer of our own and a token in a file of our own."""
    gateway = shell.root / "workload"
    gateway.mkdir()
    key, now, url = make_key(), int(time.time()), f"http://127.0.0.1:{shell.ports['8080']}"
    claims = {"iss": "https://platform.example", "sub": "job-1", "iat": now, "exp": now + 600, "aud": url}
    (gateway / "token").write_text(key.token(claims))
    (gateway / "gateway.yaml").write_text(
        f"""\
version: 1
listeners: [{{address: "127.0.0.1:{shell.ports["8080"]}"}}]
admin: {{address: "127.0.0.1:{shell.ports["9090"]}"}}
issuer: {{url: "{url}"}}
state: "memory:"
policies: []
clients:
  country-service: {{scopes: {{country.read: Read}}}}
  job:
    assertions:
      - {{issuer: "https://platform.example", subject: job-1, jwks: {json.dumps({"keys": [key.public]})}}}
authorizations:
  - {{client: job, audience: country-service, scopes: [country.read]}}
"""
    )
    shell.run(f"sidegate run -c {gateway / 'gateway.yaml'}")
    shell.await_ready()
    line = line.replace("https://auth.example.com", url).replace(
        "/var/run/secrets/sidegate/token", str(gateway / "token")
    )
    assert json.loads(shell.run(line))["scope"] == "country.read"


def kubernetes(shell: Shell, line: str) -> None:
    """Run the page's check with what it says is only in the pod: the address and the admin token."""
    configuration = shell.root / "examples" / "kubernetes" / "gateway.yaml"
    token = shell.root / "token"
    token.write_text("x" * 43, encoding="ascii")
    token.chmod(0o600)
    configuration.write_text(configuration.read_text().replace("/run/secrets/sidegate/token", str(token)))
    shell.run("export POD_IP=10.1.2.3")
    shell.run(line)


WALKS: dict[str, Walk] = {
    "examples/kubernetes/README.md": kubernetes,
    "README.md": readme,
    "docs/operations.md": operations,
    "docs/workload-identity.md": workload_identity,
}


@pytest.mark.parametrize("page", WALKS)
def test_the_commands_of_a_page_run_as_they_stand(page: str, shell: Shell) -> None:
    if page not in ("README.md", "docs/operations.md"):  # these two say so themselves
        shell.run('export PATH="$PWD/.venv/bin:$PATH"')
    for line in commands(page):
        if why_not(line) is None:
            WALKS[page](shell, line)


@pytest.mark.parametrize("page", PAGES)
def test_no_page_runs_a_module_with_whatever_python_there_is(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    named = re.findall(r"(?<![\w/])(?:\S*/)?python3? -m [a-z_.]+", text)
    ours = ("python -m gateway.demo", ".venv/bin/python -m ")  # the first where PATH was set before
    generated = page == "docs/architecture.md"  # from the modules' first lines
    assert generated or [each for each in named if not each.startswith(ours) and "venv" not in each] == []


@pytest.mark.parametrize(
    ("module", "page"),
    [
        ("gateway.settings.reference", "docs/configuration.md"),
        ("tests.conformance.page", "docs/conformance.md"),
    ],
)
def test_a_page_that_cannot_be_made_stays_as_it_was(module: str, page: str, tmp_path: Path) -> None:
    assert f".venv/bin/python -m {module} {page}" in (ROOT / page).read_text(encoding="utf-8")
    written = tmp_path / "page.md"
    written.write_text("the page before")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    broken = subprocess.run(
        [sys.executable, "-S", "-m", module, written], cwd=ROOT, capture_output=True, env=environment
    )  # without the installed packages
    assert broken.returncode != 0
    assert written.read_text() == "the page before"
    subprocess.run([sys.executable, "-m", module, written], cwd=ROOT, check=True, env=environment)
    assert written.read_text() == (ROOT / page).read_text()
