"""Load sources that hang, raise or lie, one beside the other."""

import asyncio
import logging
import os
import threading
import time
from pathlib import Path

import pytest

from gateway.reload import sources as reloading
from gateway.reload.aside import run_aside
from gateway.reload.source import Cause, Outcome, Result, failed
from gateway.reload.sources import WATCH, Sources
from gateway.settings.problems import Problem, Severity
from tests.support.waiting import until

FILE = Path("gateway.yaml")


class Scripted:
    """A source that does what it is told."""

    def __init__(self, name: str, *outcomes: Outcome | Exception) -> None:
        self.name = name
        self.since = float("inf")
        self.outcomes = list(outcomes)
        self.loads = 0
        self.hold: threading.Event | None = None

    def watched(self) -> tuple[Path, ...]:
        return ()

    async def load(self, *, dry_run: bool) -> Outcome:
        self.loads += 1
        if self.hold is not None:
            await run_aside(self.hold.wait)
        outcome = self.outcomes.pop(0) if self.outcomes else Outcome(swapped=True)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def sources_of(*sources: Scripted, deadline_s: float = 30.0) -> tuple[Sources, list[tuple[str, str, str]]]:
    noted: list[tuple[str, str, str]] = []
    made = Sources(
        sources,
        FILE,
        note=lambda name, cause: noted.append((name, str(made.last[name].outcome.result), str(cause))),
        deadline_s=deadline_s,
    )
    return made, noted


async def test_what_goes_wrong_with_one_is_no_other_s_matter() -> None:
    keys = Scripted("keys", RuntimeError("inside"), failed(FILE, "half a key", Result.INVALID))
    configuration = Scripted("configuration")
    sources, noted = sources_of(keys, configuration)
    report = await sources.reload(Cause.SIGNAL)
    assert report.applied
    assert [str(problem.severity) for problem in report.problems] == ["warning"]
    assert noted == [("keys", "invalid", "signal"), ("configuration", "ok", "signal")]
    assert sources.amiss() == {
        "keys": "the last reload failed: loading the keys failed inside the gateway; see the log"
    }
    assert (await sources.reload(Cause.WATCH, only=("keys",))).result is Result.INVALID
    assert configuration.loads == 1
    assert sources.amiss() == {"keys": "the last reload failed: half a key"}
    await sources.reload(Cause.WATCH, only=("keys",))
    assert sources.amiss() == {}


async def test_a_load_that_hangs_is_given_up_and_the_next_one_works() -> None:
    """A file system that does not answer holds a thread, and nobody else."""
    configuration = Scripted("configuration")
    configuration.hold = threading.Event()
    sources, noted = sources_of(configuration, deadline_s=0.05)
    report = await sources.reload(Cause.API)
    assert (report.applied, report.result) == (False, Result.TIMEOUT)
    assert [problem.message for problem in report.problems] == [
        "loading the configuration took more than 0.05 s and was given up"
    ]
    assert sources.amiss().keys() == {"configuration"}
    configuration.hold.set()
    configuration.hold = None
    assert (await sources.reload(Cause.API)).applied
    assert [result for _, result, _ in noted] == ["timeout", "ok"]


async def test_what_the_system_says_is_an_io_error() -> None:
    configuration = Scripted("configuration", OSError(5, os.strerror(5)))
    sources, _ = sources_of(configuration)
    report = await sources.reload(Cause.API)
    assert report.result is Result.IO_ERROR
    assert report.problems[0].message == "the configuration cannot be read: Input/output error"


async def test_what_probes_are_told_holds_no_value_of_a_configuration() -> None:
    problems = tuple(
        Problem("/etc/sidegate/policies/a.yaml", line, 1, "p", f"a value {line}", severity=severity)
        for line, severity in ((3, Severity.WARNING), (7, Severity.ERROR), (9, Severity.ERROR))
    )
    sources, _ = sources_of(Scripted("configuration", Outcome(Result.INVALID, problems)))
    assert not (await sources.reload(Cause.API)).applied
    assert sources.amiss() == {
        "configuration": "the last reload failed at a.yaml:7 (and 1 more); see the log"
    }


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("/etc/sidegate/keys/a.pem: it is no key", "a.pem: it is no key"),
        ("/keys: the key directory is gone", "keys: the key directory is gone"),
        ("the file /run/tls/a.crt cannot be read", "the file a.crt cannot be read"),
        ("the keys of https://a.example/x/y: gone", "the keys of https://a.example/x/y: gone"),
        ("either/or / both", "either/or / both"),
    ],
)
async def test_probes_are_not_told_where_files_lie(message: str, told: str) -> None:
    sources, _ = sources_of(Scripted("keys", failed(FILE, message, Result.INVALID)))
    await sources.reload(Cause.API)
    assert sources.amiss() == {"keys": f"the last reload failed: {told}"}


async def test_the_log_says_cause_and_what_changed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    outcome = Outcome(
        changes=("routes: 1 added: a", "limits: changed"), swapped=True, former="one", current="two"
    )
    sources, _ = sources_of(Scripted("configuration", outcome))
    await sources.reload(Cause.WATCH)
    (record,) = caplog.records
    assert record.getMessage() == "the configuration was reloaded"
    told = {name: record.__dict__[name] for name in ("cause", "former", "current", "changes")}
    assert told == {
        "cause": "watch",
        "former": "one",
        "current": "two",
        "changes": "routes: 1 added: a; limits: changed",
    }


async def test_problems_without_end_are_not_all_logged(caplog: pytest.LogCaptureFixture) -> None:
    problems = tuple(Problem("f", line, 1, "", "wrong") for line in range(1000))
    sources, _ = sources_of(Scripted("configuration", Outcome(Result.INVALID, problems)))
    await sources.reload(Cause.API)
    assert len(caplog.records) == reloading.MOST_LOGGED + 1


async def test_a_look_that_hangs_is_told_and_not_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    hold, looks = threading.Event(), [0]

    def hanging(_: object) -> dict[Path, object]:
        looks[0] += 1
        hold.wait()
        return {}

    monkeypatch.setattr(reloading, "take_look", hanging)
    sources, _ = sources_of(Scripted("configuration"), deadline_s=0.5)  # a busy machine begins it, too
    task = asyncio.create_task(sources.watch(interval_s=0.001))
    await until(lambda: WATCH in sources.amiss())
    assert looks == [1]
    assert (await sources.reload(Cause.API)).applied
    hold.set()
    await until(lambda: looks[0] > 1 and WATCH not in sources.amiss())
    task.cancel()


async def test_a_clock_that_is_set_back_puts_no_retry_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reloading, "RETRY_S", 0.01)
    configuration = Scripted("configuration", failed(FILE, "the disk", Result.IO_ERROR))
    sources, _ = sources_of(configuration)
    await sources.reload(Cause.API)
    an_hour_ago = time.time() - 3600
    monkeypatch.setattr(time, "time", lambda: an_hour_ago)
    task = asyncio.create_task(sources.watch(interval_s=0.001))
    await until(lambda: not sources.amiss())
    task.cancel()
