"""Edit the policies of a running process in every clumsy way: nothing passes meanwhile that must not.

Files are written piece by piece, cut short, removed, renamed, their directory is moved away; between
the steps are pauses of up to 4 s, while requests go on. What passes must be allowed by each file as it was or
as it will be; in the end the new policy is in force. The watch looks twenty times as often as it
ships, and every pause is so much shorter.
"""

import http.client
import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.journeys.conftest import Appliance, Make, wait_for

FULL = bool(os.environ.get("SIDEGATE_SOAK"))
EXAMPLES = 400 if FULL else 4
QUICK_WATCH = Path(__file__).parent.parent / "support" / "quick_watch.py"
INTERVAL_S = 0.05
LONGEST_PAUSE = 4.0
"""In intervals, as everything here. A file that was left alone for 5 is whole, for all that can be known."""
TAKEN_FOR_WHOLE = 4.8
IN_FORCE_WITHIN_S = 20.0

MAIN = """\
routes: [{name: wide, path: "/area/**", upstream: country, access: public}]
clients: {country-service: {scopes: {country.read: Read, country.write: Write}}}
"""
ROUTE = """\
routes:
  - name: {name}
    path: /area/{name}
    upstream: country
"""
# Each cut at a line is valid, and allows more than the whole.
VARIANTS = {
    "writers": ROUTE + "    require:\n      audience: country-service\n      scopes: [country.write]\n",
    "readers": ROUTE + "    require:\n      audience: country-service\n      scopes: [country.read]\n",
    "public": ROUTE + "    access: public\n",
    "absent": "",
}
CLIENTS = {
    "enabled": """\
authorizations:
  - {client: caller, audience: country-service, scopes: [country.read]}
clients:
  caller:
    secrets: ["plain:caller-secret"]
""",
}
CLIENTS["disabled"] = CLIENTS["enabled"] + "    disabled: true\n"
ROUTES = ("a", "b")

Policy = dict[str, str]
"""The variant of each file by its name, without ending."""
Request = tuple[str, bool]
"""The route, and whether a reader's token is sent."""


def text_of(name: str, variant: str) -> str:
    return CLIENTS[variant] if name == "clients" else VARIANTS[variant].format(name=name)


def is_allowed(request: Request, route: str, client: str) -> bool:
    """Return whether a request passes under a variant of its route's file and one of the clients'."""
    _, with_token = request
    if route in ("public", "absent"):
        return True
    return with_token and route == "readers" and client == "enabled"


REQUESTS: list[Request] = list(product(ROUTES, (False, True)))


@dataclass(frozen=True)
class Step:
    """One thing that befalls a file, or with the name `*` the directory, and the pause after it."""

    name: str
    how: str
    cuts: tuple[int, ...]
    """Before which of its last lines a text is cut."""
    pause: float
    """In intervals."""


pauses = st.one_of(st.just(LONGEST_PAUSE), st.floats(0.0, LONGEST_PAUSE))
cuts = st.lists(st.integers(1, 4), max_size=2).map(lambda found: tuple(sorted(found, reverse=True)))
policies = st.fixed_dictionaries(
    {
        **{name: st.sampled_from(("writers", "writers", *VARIANTS)) for name in ROUTES},
        "clients": st.sampled_from(list(CLIENTS)),
    }
)
STRICT: Policy = {"a": "writers", "b": "writers", "clients": "disabled"}
LIVE = {**STRICT, "clients": "enabled"}
WAYS = ("in place", "cut short", "away", "anew", "in the middle", "replaced")
steps = st.one_of(
    st.builds(Step, st.sampled_from((*ROUTES, "clients")), st.sampled_from(WAYS), cuts, pauses),
    st.builds(Step, st.just("*"), st.sampled_from(("away", "replaced")), st.just(()), pauses),
)


def line_starts(text: str, from_end: tuple[int, ...]) -> list[int]:
    """Return where these lines begin, counted from the end."""
    lines = text.splitlines(keepends=True)
    return [len("".join(lines[: max(0, len(lines) - count)])) for count in from_end]


@dataclass
class Editor:
    """Edits the files of a running process, and knows how long each state of them stood."""

    directory: Path
    texts: dict[str, str]
    """What each file is to hold in the end."""
    longest: float = 0.0
    """The longest time between two changes, in intervals: longer than was meant on a busy machine."""
    _changed_at: float = field(default_factory=time.monotonic)

    def path(self, name: str) -> Path:
        return self.directory / f"{name}.yaml"

    def changed(self) -> None:
        now = time.monotonic()
        self.longest = max(self.longest, (now - self._changed_at) / INTERVAL_S)
        self._changed_at = now

    def pause(self, intervals: float) -> None:
        time.sleep(max(0.0, self._changed_at + intervals * INTERVAL_S - time.monotonic()))

    def take(self, step: Step) -> None:
        if step.name == "*":
            self._move_directory(step)
        elif not self.texts[step.name]:
            self.path(step.name).unlink(missing_ok=True)
            self.changed()
        else:
            self._edit(self.path(step.name), self.texts[step.name], step)
        self.pause(step.pause)

    def _move_directory(self, step: Step) -> None:
        aside = self.directory.with_name("aside")
        self.directory.rename(aside)
        self.changed()
        if step.how == "replaced":
            self.directory.mkdir()
            self.changed()
        self.pause(step.pause)
        if step.how == "replaced":
            self.directory.rmdir()
        aside.rename(self.directory)
        self.changed()

    def _edit(self, path: Path, text: str, step: Step) -> None:
        places = line_starts(text, step.cuts)
        match step.how:
            case "in place":
                self._write(path, text, places, step.pause)
            case "anew":
                path.unlink(missing_ok=True)
                self.changed()
                self.pause(step.pause)
                self._write(path, text, places, step.pause)
            case "cut short":
                if path.exists():
                    os.truncate(path, line_starts(path.read_text(), step.cuts or (1,))[0])
                    self.changed()
            case "in the middle":
                self._write(path, text, [place + 3 for place in places], step.pause)
            case "replaced":
                beside = path.with_suffix(".new")
                beside.write_text(text)
                beside.rename(path)
                self.changed()
            case "away" if path.exists():
                aside = path.with_suffix(".aside")
                path.rename(aside)
                self.changed()
                self.pause(step.pause)
                aside.rename(path)
                self.changed()

    def _write(self, path: Path, text: str, places: list[int], pause: float) -> None:
        with path.open("w", buffering=1) as file:
            self.changed()
            for start, end in zip([0, *places], [*places, len(text)], strict=True):
                file.write(text[start:end])
                file.flush()
                self.changed()
                self.pause(pause if end < len(text) else 0.0)


class Hammer:
    """Sends all requests over and over and keeps which of them passed."""

    def __init__(self, port: int, token: str) -> None:
        self._port = port
        self._token = token
        self.passed: set[Request] = set()
        self.rounds = 0
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Hammer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_over.is_set():
            self.passed |= self.ask_all()
            self.rounds += 1

    def ask_all(self) -> set[Request]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        try:
            return {request for request in REQUESTS if self._passes(connection, request)}
        finally:
            connection.close()

    def _passes(self, connection: http.client.HTTPConnection, request: Request) -> bool:
        name, with_token = request
        headers = {"Authorization": f"Bearer {self._token}"} if with_token else {}
        connection.request("GET", f"/area/{name}", headers=headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status == 200


@dataclass
class Edited:
    """A running process whose policies are edited."""

    appliance: Appliance
    token: str
    judged: int = 0
    """Examples in which no pause was longer than it was meant to be."""


@pytest.fixture
def edited(make: Make) -> Iterator[Edited]:
    appliance = make(policy=CLIENTS["enabled"], more=MAIN + "limits: {loop_lag: 0}\n")
    appliance.policy.rename(appliance.policy.with_name("clients.yaml"))
    appliance.started_by = (sys.executable, QUICK_WATCH, str(INTERVAL_S))
    appliance.start()
    yield Edited(appliance, appliance.token())
    assert appliance.stop() == 0


def put(directory: Path, policy: Policy) -> None:
    for path in directory.iterdir():
        path.unlink()
    for name, variant in policy.items():
        if text := text_of(name, variant):
            (directory / f"{name}.yaml").write_text(text)


def test_nothing_passes_that_no_version_allows(edited: Edited) -> None:
    appliance = edited.appliance
    directory = appliance.policy.parent

    @settings(
        max_examples=EXAMPLES,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        database=None,
    )
    @given(policies, policies, st.lists(steps, min_size=1, max_size=6))
    @example(LIVE, LIVE, [Step("a", "cut short", (1,), LONGEST_PAUSE)])
    @example(LIVE, {**LIVE, "a": "readers"}, [Step("b", "in place", (3, 1), LONGEST_PAUSE)])
    @example(STRICT, STRICT, [Step("clients", "anew", (1,), LONGEST_PAUSE)])
    @example(STRICT, STRICT, [Step("*", "replaced", (), LONGEST_PAUSE), Step("a", "away", (), LONGEST_PAUSE)])
    def hold(old: Policy, new: Policy, script: list[Step]) -> None:
        put(directory, old)
        assert appliance.reload().status == 200
        editor = Editor(directory, {name: text_of(name, variant) for name, variant in new.items()})
        with Hammer(appliance.port, edited.token) as hammer:
            for step in script:
                editor.take(step)
            for name in new:
                editor.take(Step(name, "in place", (), 0.0))
            longest = editor.longest
            expected = {each for each in REQUESTS if is_allowed(each, new[each[0]], new["clients"])}
            wait_for(lambda: hammer.ask_all() == expected, "the new policy", patience_s=IN_FORCE_WITHIN_S)
        if longest > TAKEN_FOR_WHOLE:
            return  # a pause was longer than was meant
        edited.judged += 1
        versions = [(old, old), (old, new), (new, old), (new, new)]
        for request in hammer.passed:
            name = request[0]
            assert any(is_allowed(request, route[name], client["clients"]) for route, client in versions), (
                request,
                old,
                new,
                script,
            )

    hold()
    assert edited.judged >= EXAMPLES / 4
