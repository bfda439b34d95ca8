"""Start one process that reads a file of every kind there is, and ask it whether all of them are in force.

It runs as an ordinary user, so that modes mean what they say.
"""

import json
import os
import re
import shutil
import signal
import socket
import ssl
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

from tests.journeys.conftest import Answer, Appliance, call, wait_for
from tests.support.certificates import Authority
from tests.support.jws import Key, make_key
from tests.support.ordinary_user import ORDINARY_ID
from tests.support.ports import free_port

AS_ORDINARY_USER = Path(__file__).parent.parent / "support" / "ordinary_user.py"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
CLIENT_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ADMIN_TOKEN = "the-token-of-the-administrators"
SECRET = "a-secret-of-thirty-two-characters"
SERVICE_TOKEN = "the-token-for-the-key-server"

MAIN = """\
version: 1
listeners:
  - {{address: "127.0.0.1:{port}"}}
  - address: 127.0.0.1:{tls_port}
    tls: {{certificate_file: tls/server.pem, key_file: tls/server.key, client_certificate: optional, \
client_ca_file: tls/clients.pem}}
admin: {{address: "127.0.0.1:{admin_port}", token_file: admin.token}}
issuer: {{url: "http://127.0.0.1:{port}"}}
state: "memory:"
logs: {{access: "off"}}
upstreams:
  country: {{targets: ["http://127.0.0.1:{upstream_port}"]}}
  vault:
    targets: ["https://127.0.0.1:{vault_port}"]
    tls: {{ca_file: tls/vault.pem, certificate_file: tls/own.pem, key_file: tls/own.key}}
bearer_token_files: {{cluster: {{file: cluster.token, origins: ["https://127.0.0.1:{vault_port}"]}}}}
policies: [policies/*.yaml]
# Whoever cuts this file short leaves out what the policies need, or a bracket:
limits: {{header_count: 90}}
"""

POLICY = """\
routes:
  - {{name: read, path: "/ms-system/**", methods: [GET], upstream: country, \
require: {{audience: country-service, scopes: [country.read]}}}}
  - {{name: write, path: /write, upstream: country, \
require: {{audience: country-service, scopes: [country.write]}}}}
  - {{name: vault, path: /vault, upstream: vault, require: {{audience: country-service}}}}
clients: {{
  country-service: {{scopes: {{country.read: Read, country.write: Write}}}},
  caller: {{secrets: ["file:{directory}/secrets/caller.secret"]}},
  signer: {{jwks_file: {directory}/sets/signer.json, replay: allow}},
  workload: {{assertions: [{{issuer: "https://platform.example", subject: job, audience: us, \
jwks_uri: "https://127.0.0.1:{vault_port}/keys", ca_file: {directory}/sets/servers.pem, \
bearer_token: cluster, replay: allow}}]}}
}}
authorizations: [
  {{client: caller, audience: country-service, scopes: [country.read]}},
  {{client: signer, audience: country-service, scopes: [country.read]}},
  {{client: workload, audience: country-service, scopes: [country.read]}}
]
"""


@dataclass
class Vault:
    """An upstream that wants our certificate, and a server of keys that wants our token."""

    port: int
    keys: list[Key]
    asked_for_keys: int = 0


@contextmanager
def serving_vault(authority: Authority, clients: Authority, directory: Path) -> Iterator[Vault]:
    vault = Vault(0, [make_key("ES256", "platform-1")])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/keys":
                vault.asked_for_keys += 1
                allowed = self.headers["Authorization"] == f"Bearer {SERVICE_TOKEN}"
            else:
                allowed = cast(ssl.SSLSocket, self.connection).getpeercert() is not None
            body = json.dumps({"keys": [key.public for key in vault.keys]}).encode()
            self.send_response(200 if allowed else 403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, *_: object) -> None:
            """Say nothing of handshakes that are given up."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.server().write(directory, "vault"))
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_verify_locations(cadata=clients.pem.decode())
    with Server(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        vault.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield vault
        finally:
            server.shutdown()
            thread.join()


@dataclass
class EveryFile:
    """The process, its files, and what must hold for as long as none of them counts that is not whole."""

    appliance: Appliance
    tls_port: int
    vault: Vault
    servers: Authority
    callers: Authority
    signer: Key
    token: str = ""

    @property
    def directory(self) -> Path:
        return self.appliance.directory

    # --- what is in force

    def differences(self) -> list[str]:
        """Return what is otherwise than the files said at the start: nothing, it is hoped."""
        ask = self.appliance.get
        seen = {
            "a token with the scope passes": (ask(bearer=self.token).status, 200),
            "no token does not": (ask().status, 401),
            "a scope too little does not": (ask("/write", bearer=self.token).status, 403),
            "what no route names does not": (ask("/elsewhere", bearer=self.token).status, 404),
            "the upstream is reached by TLS with our certificate": (
                ask("/vault", bearer=self.token).status,
                200,
            ),
            "the right secret gets a token": (self.ask_token(SECRET).status, 200),
            "a wrong one does not": (self.ask_token("wrong").status, 401),
            "a client's own key set counts": (self._sign_in(self.signer).status, 200),
            "another key does not": (self._sign_in(make_key("ES256", self.signer.kid)).status, 401),
            "the keys of the platform count": (self._grant(self.vault.keys[0]).status, 200),
            "other keys do not": (self._grant(make_key("ES256", "platform-1")).status, 400),
            "a certificate of the callers' authority is taken": (self._handshakes(self.callers), True),
            "one of another authority is not": (self._handshakes(self.servers), False),
        }
        return [f"{what}: {found}" for what, (found, expected) in seen.items() if found != expected]

    def ask_token(self, secret: str) -> Answer:
        form = {"grant_type": "client_credentials", "scope": "country.read"}
        return call(self.appliance.port, "POST", "/oauth2/token", form=form, basic=("caller", secret))

    def _sign_in(self, key: Key) -> Answer:
        claims = {"iss": "signer", "sub": "signer", "aud": f"http://127.0.0.1:{self.appliance.port}"}
        form = {"grant_type": "client_credentials", "scope": "country.read"}
        form |= {"client_assertion_type": CLIENT_ASSERTION, "client_assertion": _signed(key, claims)}
        return self.appliance.post_form("/oauth2/token", form)

    def _grant(self, key: Key) -> Answer:
        claims = {"iss": "https://platform.example", "sub": "job", "aud": "us"}
        form = {"grant_type": JWT_BEARER, "assertion": _signed(key, claims), "scope": "country.read"}
        return self.appliance.post_form("/oauth2/token", form)

    def _handshakes(self, authority: Authority) -> bool:
        context = ssl.create_default_context(cadata=self.servers.pem.decode())
        with tempfile.TemporaryDirectory() as directory:
            context.load_cert_chain(*authority.client("someone").write(Path(directory), "client"))
        try:
            with (
                socket.create_connection(("127.0.0.1", self.tls_port), timeout=10) as connection,
                context.wrap_socket(connection, server_hostname="localhost") as secure,
            ):
                secure.sendall(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
                return secure.recv(65536).startswith(b"HTTP/1.1 404")
        except ssl.SSLCertVerificationError:
            raise
        except OSError:
            return False

    # --- what operators see

    def degraded(self) -> dict[str, dict[str, Any]]:
        """Return what /readyz calls degraded, by name; it is ready all the same."""
        answer = self.appliance.admin("GET", "/readyz")
        assert answer.status == 200, answer.body
        return {entry["name"]: entry for entry in answer.json["degraded"]}

    def successful(self) -> dict[str, bool]:
        """Return whether the last load of each source succeeded, as the metrics tell it."""
        text = self.appliance.admin("GET", "/metrics").body.decode()
        found = re.findall(
            r'^sidegate_source_last_load_successful\{source="(\w+)"\} (\S+)$', text, re.MULTILINE
        )
        return {source: float(value) == 1 for source, value in found}

    @property
    def ports(self) -> tuple[int, int]:
        """Return the ports of gate and admin listener."""
        return self.appliance.port, self.appliance.admin_port

    def ask_admin(self, token: str) -> Answer:
        """Return what the admin API answers to this token."""
        return call(self.appliance.admin_port, "GET", "/api/v1/status", bearer=token)

    def told(self) -> list[str]:
        """Return the lines of the log that say that something is wrong."""
        return [
            each["message"]
            for each in self.appliance.logged
            if each["level"] in ("error", "warning") and each["logger"] != "gateway.observe.loop_watch"
        ]

    def hang_up(self) -> None:
        self.appliance.signal(signal.SIGHUP)

    def stop(self) -> float:
        """Return within how many seconds the process ended with 0."""
        begun = time.monotonic()
        assert self.appliance.stop() == 0, self.appliance.err
        return time.monotonic() - begun


def _signed(key: Key, claims: dict[str, str]) -> str:
    now = int(time.time())
    return key.token({**claims, "iat": now, "exp": now + 300, "jti": os.urandom(8).hex()})


def give_away(path: Path) -> None:
    """Make a path the ordinary user's."""
    if os.geteuid() == 0:
        os.chown(path, ORDINARY_ID, ORDINARY_ID, follow_symlinks=False)


@contextmanager
def every_file(upstream_port: int, *, descriptors: int = 0) -> Iterator[EveryFile]:
    """Yield the running process, with all that it reads in force; it is killed if it still runs in the end.

    Its directory lies where an ordinary user can get at it, which pytest's own is not for root.
    """
    directory = Path(tempfile.mkdtemp(prefix="every-file-"))
    directory.chmod(0o755)
    servers, callers, ours = (Authority.make(name) for name in ("Servers", "Callers", "Ours"))
    try:
        with serving_vault(servers, ours, directory) as vault:
            house = _write(directory, upstream_port, vault, servers, callers, ours)
            house.appliance.started_by = (sys.executable, AS_ORDINARY_USER, str(descriptors))
            house.appliance.start()
            try:
                house.token = str(house.ask_token(SECRET).json["access_token"])
                wait_for(lambda: not house.differences(), "all of it to be in force")
                yield house
            finally:
                process = house.appliance.process
                if process is not None and process.poll() is None:
                    process.kill()
                    process.wait()
    finally:
        for path in directory.rglob("*"):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o755)
        shutil.rmtree(directory)


def _write(
    directory: Path, upstream_port: int, vault: Vault, servers: Authority, callers: Authority, ours: Authority
) -> EveryFile:
    port, admin_port, tls_port = (free_port() for _ in range(3))
    signer = make_key("ES256", "signer-1")
    main = MAIN.format(
        port=port,
        admin_port=admin_port,
        tls_port=tls_port,
        vault_port=vault.port,
        upstream_port=upstream_port,
    )
    server, own = servers.server(), ours.client("gateway")
    for name, octets in {
        "gateway.yaml": main.encode(),
        "policies/country.yaml": POLICY.format(directory=directory, vault_port=vault.port).encode(),
        "tls/server.pem": server.pem,
        "tls/server.key": server.key_pem,
        "tls/clients.pem": callers.pem,
        "tls/own.pem": own.pem,
        "tls/own.key": own.key_pem,
        "tls/vault.pem": servers.pem,
        "sets/servers.pem": servers.pem,
        "sets/signer.json": json.dumps({"keys": [signer.public]}).encode(),
        "cluster.token": SERVICE_TOKEN.encode(),
        "admin.token": ADMIN_TOKEN.encode(),
        "secrets/caller.secret": SECRET.encode(),
    }.items():
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(octets)
        path.chmod(0o640)
    (directory / "aside").mkdir()
    for path in (directory, *directory.rglob("*")):
        give_away(path)
    return EveryFile(Appliance(directory, port, admin_port), tls_port, vault, servers, callers, signer)
