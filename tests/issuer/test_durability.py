"""Kill the issuer after it has answered a revocation; the revocation is still there."""

import asyncio
import base64
import json
import subprocess
import sys
import urllib.request
from pathlib import Path

from gateway.state.sqlite import open_sqlite

SERVER = """
import asyncio, sys
from pathlib import Path
from gateway.clients.registry import compile_registry
from gateway.clients.scrypt_worker import ScryptWorker
from gateway.issuer.context import IssuerContext
from gateway.issuer.snapshot import build_issuer_snapshot
from gateway.settings.model import AuthorizationSettings, ClientSettings, PlainSecret, Settings
from gateway.state.sqlite import open_sqlite
from gateway.tokens.keyfiles import load_keys
from gateway.tokens.revocations import Revocations
from tests.support.issuer_server import serving_issuer

async def main(directory):
    settings = Settings(
        clients={"reader": ClientSettings("reader", secrets=(PlainSecret(b"s"),))},
        authorizations=(AuthorizationSettings("reader", "reader"),),
    )
    keys = load_keys(directory / "keys", "ES256", create=True).ring
    snapshot = build_issuer_snapshot(settings, compile_registry(settings), keys)
    store = await open_sqlite(directory / "state.db")
    revocations = Revocations(await store.load())
    context = IssuerContext(lambda: snapshot, revocations, store, ScryptWorker())
    async with serving_issuer(context) as server:
        print(server.url.rpartition(":")[2], flush=True)
        await asyncio.Event().wait()

asyncio.run(main(Path(sys.argv[1])))
"""


class RunningIssuer:
    """One issuer in a process of its own."""

    def __init__(self, directory: Path) -> None:
        command = [sys.executable, "-c", SERVER, str(directory)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def post(self, path: str, form: str) -> tuple[int, bytes]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", form.encode())
        request.add_header("Authorization", "Basic " + base64.b64encode(b"reader:s").decode())
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


def test_an_answered_revocation_survives_kill_9(tmp_path: Path) -> None:
    first = RunningIssuer(tmp_path)
    tokens = [
        json.loads(first.post("/oauth2/token", "grant_type=client_credentials")[1])["access_token"]
        for _ in range(2)
    ]
    assert first.post("/oauth2/revoke", f"token={tokens[0]}") == (200, b"")
    first.kill()

    second = RunningIssuer(tmp_path)
    answers = [json.loads(second.post("/oauth2/introspect", f"token={token}")[1]) for token in tokens]
    second.kill()
    assert answers[0] == {"active": False}
    assert answers[1]["active"] is True

    async def stored() -> int:
        store = await open_sqlite(tmp_path / "state.db")
        count = len(await store.load())
        await store.close()
        return count

    assert asyncio.run(stored()) == 1
