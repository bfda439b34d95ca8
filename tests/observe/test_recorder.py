"""Show when finished requests are handed on, and that counting cannot break what is counted."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

from gateway.observe.access_log import json_lines
from gateway.observe.exchange import Exchange
from gateway.observe.families import ACCESS_LOG_DROPPED
from gateway.observe.line_writer import LineWriter
from gateway.observe.metrics import Metrics
from gateway.observe.recorder import BATCH_SIZE, AccessLog, Recorder
from gateway.settings.model import MetricsSettings


class RecordingMetrics(Metrics):
    """Metrics that remember the sizes of the batches they were fed and tell when one came."""

    def __init__(self) -> None:
        super().__init__(MetricsSettings(), issuer="i", version="v", uvloop_version="u")
        self.batches: list[int] = []
        self.fed = asyncio.Event()

    def absorb(self, exchanges: Sequence[Exchange]) -> None:
        super().absorb(exchanges)
        self.batches.append(len(exchanges))
        self.fed.set()


async def test_a_full_batch_is_handed_on_at_once() -> None:
    metrics = RecordingMetrics()
    recorder = Recorder(asyncio.get_running_loop(), metrics, None)
    for number in range(BATCH_SIZE + 1):
        recorder.record(Exchange(float(number)))
    assert metrics.batches == [BATCH_SIZE]
    recorder.close()
    assert metrics.batches == [BATCH_SIZE, 1]


async def test_a_lonely_request_is_handed_on_by_the_timer() -> None:
    metrics = RecordingMetrics()
    recorder = Recorder(asyncio.get_running_loop(), metrics, None)
    recorder.record(Exchange(1.0))
    assert metrics.batches == []
    await asyncio.wait_for(metrics.fed.wait(), 5)
    assert metrics.batches == [1]
    assert recorder._timer is None


async def test_every_request_becomes_one_line(tmp_path: Path) -> None:
    writer = LineWriter(tmp_path / "log")
    recorder = Recorder(
        asyncio.get_running_loop(), RecordingMetrics(), AccessLog(json_lines(query=False), writer)
    )
    for number in range(1000):
        recorder.record(Exchange(float(number), "GET", request_id=str(number)))
    recorder.close()
    assert writer.close(5.0)
    lines = (tmp_path / "log").read_text().splitlines()
    assert [json.loads(line)["request_id"] for line in lines] == [str(number) for number in range(1000)]


async def test_dropped_lines_are_counted_once(tmp_path: Path) -> None:
    writer = LineWriter(tmp_path / "log", queue_bytes=1)
    metrics = RecordingMetrics()
    recorder = Recorder(asyncio.get_running_loop(), metrics, AccessLog(json_lines(query=False), writer))
    for _ in range(2):
        recorder.record(Exchange(1.0))
        recorder.flush()
    recorder.close()
    dropped = [list(item.rows) for item in metrics.collect() if item.family is ACCESS_LOG_DROPPED]
    assert dropped == [[((), 2)]]
    writer.close(5.0)


async def test_an_error_while_counting_stays_inside(caplog) -> None:  # type: ignore[no-untyped-def]
    metrics = RecordingMetrics()
    recorder = Recorder(asyncio.get_running_loop(), metrics, None)
    recorder.record(Exchange(1.0, duration_s=None))  # type: ignore[arg-type]
    recorder.flush()
    assert "could not be recorded" in caplog.text
    recorder.record(Exchange(2.0))
    recorder.close()
    assert metrics.batches == [1]
