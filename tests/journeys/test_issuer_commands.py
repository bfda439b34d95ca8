"""Get, introspect and revoke tokens with the commands, against a running process."""

import json
import subprocess
import time

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.journeys.conftest import SIDEGATE, configured

LONG_SECRET = "a readable secret of more than thirty-two bytes"
PLATFORM = "https://platform.example"
EVERY_METHOD = """\
clients:
  service: {{scopes: {{read: Read}}}}
  basic: {{secrets: ["plain:{secret}"]}}
  post: {{secrets: ["plain:{secret}"], auth_methods: [client_secret_post]}}
  hmac: {{secrets: ["plain:{secret}"], auth_methods: [client_secret_jwt]}}
  signer: {{jwks: {keys}}}
  workload:
    secrets: ["plain:{secret}"]
    assertions: [{{issuer: "{platform}", subject: job, jwks: {keys}}}]
authorizations:
  - {{client: basic, audience: service, scopes: [read]}}
  - {{client: post, audience: service, scopes: [read]}}
  - {{client: hmac, audience: service, scopes: [read]}}
  - {{client: signer, audience: service, scopes: [read]}}
  - {{client: workload, audience: service, scopes: [read]}}
"""
POLICY_WITH_URL = """\
clients:
  https://orders.example/api: {scopes: {orders.read: Read}}
  caller: {secrets: ["plain:caller-secret"]}
authorizations:
  - {client: caller, audience: https://orders.example/api, scopes: [orders.read]}
"""


def run(appliance, *arguments, stdin="", secret="caller-secret"):
    environment = {**appliance.environment, "SIDEGATE_CLIENT_SECRET": f"{secret}\n"}
    return subprocess.run(
        [appliance.command, *arguments, "-c", appliance.main],
        input=stdin,
        capture_output=True,
        text=True,
        cwd=appliance.directory,
        env=environment,
        timeout=30,
    )


@pytest.fixture
def commanded(appliance, sidegate):
    appliance.command = sidegate
    return appliance


def test_a_token_lives_from_token_to_revoke(commanded):
    got = run(commanded, "token", "--as", "caller", "--scope", "country.read")
    assert got.returncode == 0, got.stderr
    token = got.stdout.strip()
    assert commanded.get(bearer=token).status == 200
    shown = run(commanded, "introspect", "--as", "caller", stdin=token)
    assert shown.returncode == 0
    assert '"active": true' in shown.stdout
    assert '"scope": "country.read"' in shown.stdout
    assert (
        run(commanded, "revoke", "--as", "caller", stdin=f"Authorization: Bearer {token}\n").returncode == 0
    )
    assert commanded.get(bearer=token).reason == "revoked"
    shown = run(commanded, "introspect", "--as", "caller", stdin=token)
    assert (shown.returncode, shown.stdout) == (1, '{\n  "active": false\n}\n')


def test_the_secret_may_lie_in_a_file(commanded):
    secret = commanded.directory / "secret"
    secret.write_text("caller-secret\n")
    got = run(
        commanded, "token", "--as", "caller", "--secret-file", str(secret), "--format", "header", secret="x"
    )
    assert got.returncode == 0, got.stderr
    assert got.stdout.startswith("Authorization: Bearer ey")


@pytest.fixture(scope="module")
def methods(tmp_path_factory):
    """Return a process with a client for each way to prove itself, and a key in `client.pem`."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = {**json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key())), "kid": "one"}
    policy = EVERY_METHOD.format(secret=LONG_SECRET, platform=PLATFORM, keys=json.dumps({"keys": [public]}))
    appliance = configured(tmp_path_factory.mktemp("gateway") / "methods", upstream_port=9, policy=policy)
    (appliance.directory / "client.pem").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    appliance.command = SIDEGATE
    yield appliance.start()
    appliance.end()


@pytest.mark.parametrize(
    ("client", "proof"),
    [
        ("basic", []),
        ("basic", ["--auth-method", "client_secret_post"]),
        ("basic", ["--auth-method", "client_secret_jwt"]),
        ("basic", ["--issuer", "{issuer}"]),
        ("post", []),
        ("post", ["--auth-method", "client_secret_post", "--issuer", "{issuer}"]),
        ("hmac", []),
        ("hmac", ["--auth-method", "client_secret_jwt", "--issuer", "{issuer}"]),
        ("signer", ["--key-file", "client.pem"]),
        ("signer", ["--key-file", "client.pem", "--auth-method", "private_key_jwt"]),
    ],
)
def test_a_client_proves_itself_as_it_is_registered(methods, client, proof):
    issuer = f"http://127.0.0.1:{methods.port}"
    who = ["--as", client, *(word.format(issuer=issuer) for word in proof)]
    got = run(methods, "token", *who, "--scope", "read", secret=LONG_SECRET)
    assert got.returncode == 0, got.stderr
    shown = run(methods, "introspect", *who, stdin=got.stdout, secret=LONG_SECRET)
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)["client_id"] == client
    assert run(methods, "revoke", *who, stdin=got.stdout, secret=LONG_SECRET).returncode == 0
    assert run(methods, "introspect", *who, stdin=got.stdout, secret=LONG_SECRET).returncode == 1


@pytest.mark.parametrize("who", [[], ["--as", "workload"], ["--as", "workload", "--secret-file", "secret"]])
def test_an_assertion_of_a_file_gets_a_token(methods, who):
    (methods.directory / "secret").write_text(f"{LONG_SECRET}\n")
    signed = run(methods, "assertion", "--key", "client.pem", "--as", PLATFORM, "--subject", "job", "--grant")
    (methods.directory / "assertion").write_text(f"{signed.stdout}\n")
    # A secret that lies about in the environment is not sent along.
    got = run(methods, "token", "--assertion-file", "assertion", "--scope", "read", *who, secret="another")
    assert got.returncode == 0, got.stderr
    claims = jwt.decode(got.stdout.strip(), options={"verify_signature": False})
    assert (claims["client_id"], claims["scope"]) == ("workload", "read")


def test_a_proof_that_cannot_be_made_is_said(methods):
    (methods.directory / "empty").write_text("\n")
    for arguments, secret, said in (
        (["--as", "hmac"], "short", "client_secret_jwt needs a secret of 32 bytes or more"),
        (["--as", "signer", "--auth-method", "private_key_jwt"], "", "needs --key-file"),
        (["--as", "post", "--auth-method", "client_secret_post", "--key-file", "k"], "", "has no use for"),
        (["--assertion-file", "empty"], "", "empty: holds no assertion"),
        (["--assertion-file", "client.pem"], "", "invalid_grant (400): "),
    ):
        done = run(methods, "token", *arguments, secret=secret)
        assert (done.returncode, done.stdout) == (1, "")
        assert said in done.stderr


def test_what_goes_wrong_is_said_and_holds_no_secret(commanded):
    wrong = run(commanded, "token", "--as", "caller", secret="not-the-secret")
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("invalid_client (401): ")
    assert "not-the-secret" not in wrong.stderr
    scope = run(commanded, "token", "--as", "caller", "--scope", "country.drop")
    assert (scope.returncode, scope.stdout) == (1, "")
    assert scope.stderr.startswith("invalid_scope (400): ")
    missing = run(commanded, "revoke", "--as", "caller", stdin="")
    assert "there is no token" in missing.stderr
    silent = run(commanded, "token", "--as", "caller", "--issuer", "http://127.0.0.1:1")
    assert (silent.returncode, "does not answer" in silent.stderr) == (1, True)
    other = run(commanded, "token", "--as", "caller", "--issuer", f"http://localhost:{commanded.port}")
    assert "not of 'http://localhost" in other.stderr
    assert run(commanded, "revoke").returncode == 2


def test_an_issuer_is_found_by_its_url_wherever_its_endpoints_are_mounted(make, sidegate):
    appliance = make()
    appliance.command = sidegate
    text = appliance.main.read_text()
    issuer = f"http://127.0.0.1:{appliance.port}"
    mounted = text.replace(f'url: "{issuer}"', f'url: "{issuer}", path_prefix: /ms-auth-server')
    assert mounted != text
    appliance.main.write_text(mounted)
    appliance.start()
    token = run(appliance, "token", "--as", "caller")
    assert token.returncode == 0, token.stderr
    assert run(appliance, "introspect", "--as", "caller", stdin=token.stdout).returncode == 0
    assert run(appliance, "revoke", "--as", "caller", stdin=token.stdout).returncode == 0
    assert run(appliance, "introspect", "--as", "caller", stdin=token.stdout).returncode == 1


def test_everything_of_a_client_is_revoked_at_once_and_for_good(make, sidegate):
    appliance = make(state="sqlite:state/sidegate.db", more="limits: {loop_lag: 0}\n").start()
    appliance.command = sidegate
    tokens = [appliance.token(scope=scope) for scope in ("country.read", "country.read country.write")]
    done = run(appliance, "revoke", "--client", "caller")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("revoked: all tokens of caller that were issued up to 20")
    for token in tokens:
        assert appliance.get(bearer=token).reason == "revoked"
        assert appliance.introspect(token) == {"active": False}
    appliance.signal(9)
    appliance.wait()
    appliance.start()
    assert [appliance.get(bearer=token).reason for token in tokens] == ["revoked", "revoked"]


def test_a_client_gets_no_token_that_is_revoked_already(appliance):
    appliance.token()
    answer = appliance.admin("POST", "/api/v1/clients/caller/revoke")
    assert answer.status == 200
    deadline = time.monotonic() + 5
    while (asked := appliance.ask_token()).status == 503:
        assert (asked.json["error"], asked.headers["Retry-After"]) == ("temporarily_unavailable", "1")
        assert time.monotonic() < deadline
    assert asked.status == 200
    assert appliance.introspect(asked.json["access_token"])["active"] is True
    assert appliance.get(bearer=appliance.token()).status == 200


def test_only_a_client_of_the_configuration_is_revoked(make, sidegate):
    appliance = make(policy=POLICY_WITH_URL).start()
    appliance.command = sidegate
    assert run(appliance, "revoke", "--client", "https://orders.example/api").returncode == 0
    unknown = run(appliance, "revoke", "--client", "nobody")
    assert (unknown.returncode, unknown.stderr) == (1, "not revoked: there is no such client (404)\n")


def test_an_assertion_is_signed_for_the_issuer(appliance, sidegate):
    key = ec.generate_private_key(ec.SECP256R1())
    path = appliance.directory / "client.pem"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    appliance.command = sidegate
    signed = run(appliance, "assertion", "--key", str(path), "--as", "caller", "--lifetime", "2m")
    assert signed.returncode == 0, signed.stderr
    assertion = signed.stdout.strip()
    issuer = f"http://127.0.0.1:{appliance.port}"
    claims = jwt.decode(assertion, key.public_key(), ["ES256"], audience=issuer)
    assert (claims["iss"], claims["sub"], claims["exp"] - claims["iat"]) == ("caller", "caller", 120)
    assert jwt.get_unverified_header(assertion)["typ"] == "client-authentication+jwt"
    granted = run(
        appliance,
        "assertion",
        "--key",
        str(path),
        "--as",
        "a",
        "--subject",
        "b",
        "--audience",
        "http://c",
        "--grant",
    )
    claims = jwt.decode(granted.stdout.strip(), key.public_key(), ["ES256"], audience="http://c")
    assert (claims["iss"], claims["sub"]) == ("a", "b")
    assert run(appliance, "assertion", "--key", str(appliance.main), "--as", "a").returncode == 1
