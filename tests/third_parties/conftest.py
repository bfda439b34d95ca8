"""Start the whole process once for all client libraries, with clients that hold keys and secrets."""

import json
from collections.abc import Iterator

import pytest
import yaml

from tests.journeys.conftest import Appliance
from tests.support.jws import Key, make_key
from tests.support.ports import free_port

SECRET = "a readable secret that is long enough to sign with"


@pytest.fixture(scope="session")
def key() -> Key:
    """Return the private key of the client `signer`."""
    return make_key("ES256", "signer-1")


@pytest.fixture(scope="session")
def rsa_key() -> Key:
    """Return the other private key of the client `signer`."""
    return make_key("RS256", "signer-2")


@pytest.fixture(scope="session")
def process(tmp_path_factory: pytest.TempPathFactory, key: Key, rsa_key: Key) -> Iterator[Appliance]:
    """Return the running process; clients: `signer` (keys) and `caller` (secret)."""
    directory = tmp_path_factory.mktemp("third-parties")
    appliance = Appliance(directory, free_port(), free_port())
    grants = {"audience": "country-service", "scopes": ["country.read"]}
    configuration = {
        "version": 1,
        "listeners": [{"address": f"127.0.0.1:{appliance.port}"}],
        "admin": {"address": f"127.0.0.1:{appliance.admin_port}"},
        "issuer": {"url": f"http://127.0.0.1:{appliance.port}"},
        "state": "memory:",
        "clients": {
            "country-service": {"scopes": {"country.read": "Read"}},
            "signer": {"jwks_file": "signer.jwks"},
            "workload": {
                "assertions": [
                    {"issuer": "https://platform.example", "subject": "job", "jwks_file": "signer.jwks"}
                ]
            },
            "older": {"jwks_file": "signer.jwks", "legacy_audience": True},
            "caller": {"secrets": [f"plain:{SECRET}"]},
        },
        "authorizations": [
            {"client": client, **grants} for client in ("signer", "older", "caller", "workload")
        ],
    }
    (directory / "signer.jwks").write_text(json.dumps({"keys": [key.public, rsa_key.public]}))
    appliance.main.write_text(yaml.safe_dump(configuration))
    appliance.start()
    yield appliance
    assert appliance.stop() == 0
