"""Show that what asks an upstream or a service is made of a permit, by its type, and of nothing else."""

import subprocess
import sys
from pathlib import Path

import pytest

from gateway.enforce.verdict import Permit
from gateway.proxy.in_flight import RequestInFlight
from gateway.proxy.relay import Relay
from gateway.proxy.service_call import ServiceCall

ROOT = Path(__file__).resolve().parents[2]
MAKES = """\
from gateway.enforce.verdict import Permit, Refused
from gateway.http1.request import RequestHead
from gateway.proxy.downstream import DownstreamConnection
from gateway.proxy.gate import Gate
from gateway.proxy.relay import Relay
from gateway.proxy.service_call import ServiceCall


def make(gate: Gate, connection: DownstreamConnection, head: RequestHead, no: Refused, yes: Permit) -> None:
    Relay(gate, connection, head, yes, 0.0, 0.0, True, False)
    Relay(gate, connection, head, no, 0.0, 0.0, True, False)
    ServiceCall(gate, connection, head, yes, 0.0, 0.0, True, False)
    ServiceCall(gate, connection, head, no, 0.0, 0.0, True, False)
"""


@pytest.mark.parametrize("kind", [Relay, ServiceCall])
def test_it_takes_a_permit(kind: type) -> None:
    assert kind.__orig_bases__ == (RequestInFlight[Permit],)  # type: ignore[attr-defined]


def test_the_type_checker_refuses_to_make_one_of_a_refusal(tmp_path: Path) -> None:
    source = tmp_path / "makes.py"
    source.write_text(MAKES, "ascii")
    command = [sys.executable, "-m", "mypy", "--strict", str(source)]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    refused = [line for line in checked.stdout.splitlines() if " error: " in line]
    assert [line.split(":")[1] for line in refused] == ["11", "13"], checked.stdout
    assert all('"Refused"; expected "Permit"' in line for line in refused)
