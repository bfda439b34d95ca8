"""Certificates, authorities and tokens as a source: each file set is replaced, or kept, by itself.

Listeners get their new certificate for new connections, upstreams open new connections with
theirs; authorities and tokens for key sets, and the admin token, are read at each use and only
tried here, so that an operator hears of it before it is needed.
"""

import time
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.proxy.certificates import TlsEndpoint
from gateway.reload.apply import Live
from gateway.reload.aside import OneThread
from gateway.reload.material import Material, UnusableMaterialError, listener_key, material_of
from gateway.reload.plan import plan_material
from gateway.reload.source import Outcome, Result
from gateway.settings.problems import Problem, Severity


@dataclass(frozen=True, slots=True)
class _Loaded:
    values: dict[Hashable, Any]
    problems: tuple[Problem, ...]
    refused: dict[Hashable, str]
    """Why files are not in use, by their key."""


class CertificateSource:
    """All files that the configuration in force names beside policies and keys.

    Args:
        file: The main file, for problems.
        live: Where the certificates of upstreams are swapped in.
        endpoints: Of the listeners.
        since: Epoch seconds at which the files began to be read first.
    """

    name = "certificates"

    def __init__(self, file: Path, live: Live, endpoints: Iterable[TlsEndpoint], *, since: float) -> None:
        self.since = since
        self._file = file
        self._live = live
        self._thread = OneThread()
        self._endpoints = {listener_key(each.listener, each.settings): each for each in endpoints}
        self._of_endpoints = tuple(
            each for each in material_of(live.plan.snapshot.settings) if each.key in self._endpoints
        )
        """What listeners began with and have until a restart, whatever the configuration names by then."""

    def watched(self) -> tuple[Path, ...]:
        """Return every such file."""
        return tuple(dict.fromkeys(file for each in self._material() for file in each.files))

    def _material(self) -> tuple[Material, ...]:
        named = material_of(self._live.plan.snapshot.settings)
        return tuple({each.key: each for each in (*self._of_endpoints, *named)}.values())

    async def load(self, *, dry_run: bool) -> Outcome:
        """Use what the files say now where that can be used, unless it is a dry run."""
        plan = self._live.plan
        material = self._material()
        now = time.time()
        loaded = await self._thread.run(lambda: self._load(material, now))
        in_use = {key: endpoint.current for key, endpoint in self._endpoints.items()}
        known = {**plan.snapshot.configuration.material, **in_use}
        changes = [
            f"{each.name}: changed"
            for each in material
            if _mark(loaded.values.get(each.key)) != _mark(known.get(each.key)) and each.key in loaded.values
        ]
        if not dry_run:
            fresh = {key: value for key, value in loaded.values.items() if _mark(value) != _mark(known[key])}
            if fresh:
                self._live.apply(plan_material(plan, {**known, **fresh}))
            for key, endpoint in self._endpoints.items():
                endpoint.current = fresh.get(key, endpoint.current)
                endpoint.refusal = loaded.refused.get(key, "")
        return Outcome(
            Result.INVALID if loaded.refused else Result.OK,
            loaded.problems,
            changes=tuple(changes),
            swapped=bool(changes),
        )

    def _load(self, material: Iterable[Material], now: float) -> _Loaded:
        values: dict[Hashable, Any] = {}
        problems: list[Problem] = []
        refused: dict[Hashable, str] = {}
        for each in material:
            try:
                value = values[each.key] = each.load()
            except UnusableMaterialError as error:
                refused[each.key] = f"{error.key}: {error.message}"
                text = f"the former stays in use: the file {error.message}"
                problems.append(self._problem(each, str(error.key), text, Severity.ERROR, error.hint))
                continue
            doubt = "" if each.find_doubt is None else each.find_doubt(value, now)
            if doubt:
                problems.append(self._problem(each, "certificate_file", doubt, Severity.WARNING))
        return _Loaded(values, tuple(problems), refused)

    def _problem(
        self, material: Material, key: str, message: str, severity: Severity, hint: str = ""
    ) -> Problem:
        at = material.owner
        place = (str(self._file), 1, 1) if at is None else (at.file, at.line, at.column)
        return Problem(*place, key, f"{material.name}: {message}", hint, severity)


def _mark(value: Any) -> object:
    """Return what tells two values of the same files apart: they are made anew at each load."""
    return getattr(value, "fingerprint", value)
