"""Hold the loop of a whole process, and read what it says about that."""

import json
import re
import subprocess
import sys
from pathlib import Path

SCRIPT = """\
import asyncio, re, sys, time
from pathlib import Path
from gateway.app import run

def hold():
    size, took_s = 500, 0.0
    while took_s < 0.3:
        size = int(size * 1.5)
        started = time.perf_counter()
        re.sub(r'(?s)"(?:[^"\\\\]|\\\\.)*"', "", '"' + '\\\\"' * size)
        took_s = time.perf_counter() - started

async def beside(running):
    # On a busy machine, something else may be logged first, and then nothing for ten seconds.
    while " hold < " not in Path(sys.argv[2]).read_text():
        hold()
        await asyncio.sleep(0.5)
    reader, writer = await asyncio.open_connection(*running.admin_address.rsplit(":", 1))
    writer.write(b"GET /metrics HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n")
    Path(sys.argv[3]).write_bytes(await reader.read())
    writer.close()

sys.exit(run(Path(sys.argv[1]), beside=beside))
"""


def test_a_held_loop_is_counted_and_its_stack_logged(tmp_path: Path) -> None:
    configuration = tmp_path / "gateway.yaml"
    configuration.write_text(
        'version: 1\nlisteners: [{address: "127.0.0.1:0"}]\nadmin: {address: "127.0.0.1:0"}\n'
        'issuer: {url: "http://127.0.0.1:8080"}\nstate: "memory:"\npolicies: []\n'
    )
    log, metrics = tmp_path / "log", tmp_path / "metrics"
    with log.open("wb") as file:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, configuration, log, metrics], stderr=file, timeout=60, check=False
        )
    assert done.returncode == 0, log.read_text()
    lines = [json.loads(line) for line in log.read_bytes().splitlines()]
    *_, line = [line for line in lines if line["logger"] == "gateway.observe.loop_watch"]
    assert line["level"] == "warning"
    assert line["message"].startswith("the event loop stood still for ")
    stack = line["stack"].split(" < ")
    assert any(frame.endswith(" hold") for frame in stack), stack
    assert any(frame.endswith(" beside") for frame in stack), stack
    assert re.search(r"\nsidegate_loop_held_total [1-9][0-9]*(?:\.0)?\n", metrics.read_text())
