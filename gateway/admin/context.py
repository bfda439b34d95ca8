"""Name what the admin listener needs from the rest of the process.

The composition root passes these callables; the admin pages know nothing of the
issuer, the gate or the settings loader.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from gateway.observe.exposition import Rendering
from gateway.settings.model import AdminSettings


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One condition of readiness. `detail` is a short phrase for people, without secrets."""

    ok: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Degradation:
    """Something that is amiss while the process serves. `detail` is for people, without secrets."""

    name: str
    detail: str
    since: float
    """Epoch seconds."""


@dataclass(frozen=True, slots=True)
class ReloadOutcome:
    """What one reload led to.

    `problems` are JSON objects as `sidegate check --format json` prints them; when
    the reload took effect they can only be warnings. Of a dry run, what it would lead to.
    """

    applied: bool
    config_hash: str
    """Of the configuration in effect afterwards."""
    problems: tuple[Mapping[str, object], ...] = ()
    changes: tuple[str, ...] = ()
    """What is different now, or would be, a phrase each."""


def nothing_amiss() -> Sequence[Degradation]:
    """Return nothing."""
    return ()


async def knows_no_client(client_id: str) -> int | None:
    """Return that there is no such client."""
    return None


@dataclass(frozen=True, slots=True)
class AdminContext:
    """The callables behind the admin pages."""

    settings: Callable[[], AdminSettings]
    """The admin settings in effect now: `hosts` and `token_file` follow reloads."""
    ready_checks: Callable[[], Awaitable[Mapping[str, CheckResult]]]
    """Check name -> result; the process is ready when all are ok."""
    status: Callable[[], Mapping[str, object]]
    """The members of `/api/v1/status`: plain JSON values, no secrets."""
    reload: Callable[[bool], Awaitable[ReloadOutcome]]
    """Load all sources again; True only says what would change. Concurrent calls are the callee's to
    put in order."""
    render_metrics: Callable[[str], Rendering]
    """The metrics for an `Accept` value."""
    degraded: Callable[[], Sequence[Degradation]] = nothing_amiss
    """What is amiss while the process may be ready all the same."""
    revoke_client: Callable[[str], Awaitable[int | None]] = knows_no_client
    """Revoke all tokens that a client holds; return the last second of issue that this is for,
    or None when there is no such client. May raise `StateUnavailableError`: nothing was revoked."""
