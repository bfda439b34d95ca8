"""Show every warning of settings that give everything away, each with its place, beside what has none."""
# ruff: noqa: E501 (rows of tables are read better whole)

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.settings.load import Loaded, load

Load = Callable[..., Loaded]
Problems = Callable[..., list[str]]

ROOT = Path(__file__).parents[2]
SECRET = "a-secret-that-is-long-enough"

ALL_ELEVEN = """\
trusted_proxies: [0.0.0.0/0]
limits:
  auth_failures: {requests: 0}
listeners: [{address: "127.0.0.1:8080"}]
admin:
  address: 0.0.0.0:9090
  token_file: admin.token
secrets_directory: .
upstreams:
  lies:
    targets: ["http://127.0.0.1:9001"]
    keep_headers: [X-Forwarded-For, X-HTTP-Method-Override]
  tokens:
    targets: ["http://10.0.0.5:9001"]
    forward_token: true
  admin: {targets: ["http://127.0.0.1:9090"]}
  self: {targets: ["http://localhost:8080"]}
clients:
  service: {scopes: {read: Read}}
  caller:
    secrets: [env:SHORT]
    token_lifetime: 365d
authorizations: [{client: caller, audience: service, scopes: [read]}]
"""


def test_eleven_settings_have_a_warning_each(problems_of: Problems, tmp_path: Path) -> None:
    (tmp_path / "admin.token").write_text("1\n")
    (tmp_path / "admin.token").chmod(0o666)
    (tmp_path / "gateway.yaml").touch()
    (tmp_path / "gateway.yaml").chmod(0o666)
    found = problems_of(ALL_ELEVEN, environ={"SHORT": "1"})
    assert [line.partition(": ")[0] + ": " + line.split(": ")[1] for line in found] == [
        "W gateway.yaml:1:1: everybody on this machine may write this file (hint",
        "W gateway.yaml:1:19: trusted_proxies[0]",
        "W gateway.yaml:3:29: limits.auth_failures.requests",
        "W gateway.yaml:7:15: admin.token_file",
        "W gateway.yaml:8:20: secrets_directory",
        "W gateway.yaml:12:19: upstreams.lies.keep_headers",
        "W gateway.yaml:15:20: upstreams.tokens.forward_token",
        "W gateway.yaml:16:21: upstreams.admin.targets[0]",
        "W gateway.yaml:17:20: upstreams.self.targets[0]",
        "W gateway.yaml:21:15: clients.caller.secrets[0]",
        "W gateway.yaml:22:21: clients.caller.token_lifetime",
    ]
    assert all("(hint: " in line for line in found)


@pytest.mark.parametrize(
    "main", ["config/gateway.yaml", "examples/playground/gateway.yaml", "gateway/demo/gateway.yaml"]
)
def test_what_is_shipped_gives_nothing_away(main: str, tmp_path: Path) -> None:
    source = (ROOT / main).parent
    for file in source.rglob("*.yaml"):
        (tmp_path / file.relative_to(source)).parent.mkdir(exist_ok=True)
        (tmp_path / file.relative_to(source)).write_text(file.read_text())
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/demo-client").write_text(SECRET)
    messages = [problem.message for problem in load(tmp_path / "gateway.yaml", environ={}).warnings]
    assert set(messages) <= {"nobody can use this secret", "the secret is readable in this file"}


def upstream(targets: str, more: str = "") -> str:
    return f"upstreams: {{u: {{targets: ['{targets}']{more}}}}}\n"


ADMIN = "is the admin listener"
SELF = "is a listener of this process"
EVERYBODY = "everybody is believed"
WILDCARD = "listeners: [{address: '0.0.0.0:8080'}]\n"
PLAIN = "receives tokens in plain http from other machines"
SERVING = (
    "clients: {a: {secrets: ['env:LONG'], scopes: {}}}\n"
    + upstream("http://127.0.0.1:9001")
    + "routes: [{name: r, path: /r, upstream: u, require: {audience: a}}]\n"
)
V6 = "listeners: [{address: '[::]:8080'}]\n"
WARNED = {
    "all of IPv6": ("trusted_proxies: ['::/0']", EVERYBODY),
    "two halves": ("trusted_proxies: [0.0.0.0/1, 128.0.0.0/1]", EVERYBODY),
    "four quarters": ("trusted_proxies: [0.0.0.0/2, 64.0.0.0/2, 128.0.0.0/2, 192.0.0.0/2]", EVERYBODY),
    "half of the internet": ("trusted_proxies: [128.0.0.0/1]", EVERYBODY),
    "all but a little": ("trusted_proxies: [0.0.0.0/2, 64.0.0.0/3, 96.0.0.0/3, 128.0.0.0/2]", EVERYBODY),
    "all public IPv6": ("trusted_proxies: ['2000::/3']", EVERYBODY),
    "halves of IPv6": ("trusted_proxies: ['::/1', '8000::/1']", EVERYBODY),
    "IPv4 written as IPv6": ("trusted_proxies: ['::ffff:0:0/96']", EVERYBODY),
    "bad tokens": ("limits: {bad_tokens: {requests: 0}}", "limits.bad_tokens.requests: signatures of tokens may be tried"),
    "auth failures": ("limits: {auth_failures: {requests: 0, per: 1h}}", "limits.auth_failures.requests: secrets of clients may be guessed"),
    "an override": (upstream("http://127.0.0.1:81", ", keep_headers: [X-Original-URL]"), "keep_headers: anybody may tell the service where"),
    "an address": (upstream("http://127.0.0.1:81", ", keep_headers: [X-Real-IP]"), "x-real-ip"),
    "a forwarding field in disguise": (upstream("http://127.0.0.1:81", ", keep_headers: [X_Forwarded_Host]"), "x_forwarded_host"),
    "tokens to a name": (upstream("http://a.example", ", forward_token: true"), "forward_token: callers' tokens travel readable to http://a.example"),
    "admin by name": (upstream("http://localhost:9090"), ADMIN),
    "admin by another name": (upstream("http://x.localhost.:9090"), ADMIN),
    "admin mapped": (upstream("http://[::ffff:127.0.0.1]:9090"), ADMIN),
    "admin by no address": (upstream("http://0.0.0.0:9090"), ADMIN),
    "admin everywhere": ("admin: {address: '0.0.0.0:9090', token_file: t}\n" + upstream("http://127.0.0.9:9090"), ADMIN),
    "admin at a name": ("admin: {address: 'ops.internal:9090', token_file: t}\n" + upstream("http://OPS.internal.:9090"), ADMIN),
    "admin at a socket": ("admin: {address: 'unix:run/admin.sock'}\n" + upstream("unix:run/../run/admin.sock"), ADMIN),
    "admin at a linked socket": ("admin: {address: 'unix:run/admin.sock'}\n" + upstream("unix:linked/admin.sock"), ADMIN),
    "ourselves": (upstream("http://127.0.0.1:8080"), SELF),
    "ourselves on https": (upstream("https://127.0.0.1:8080"), SELF),
    "ourselves at port 80": ("listeners: [{address: '127.0.0.1:80'}]\n" + upstream("http://127.0.0.1"), SELF),
    "a wildcard": (WILDCARD + upstream("http://127.0.0.1:8080"), SELF),
    "a wildcard by name": (WILDCARD + upstream("http://localhost:8080"), SELF),
    "a wildcard by our name": (WILDCARD + upstream(f"http://{socket.gethostname()}:8080"), SELF),
    "a wildcard by the issuer's name": (WILDCARD + "issuer: {url: 'https://auth.example'}\n" + upstream("http://auth.example:8080"), SELF),
    "a wildcard of IPv6": (V6 + upstream("http://[::1]:8080"), SELF),
    "a second listener": ("listeners: [{address: 'unix:a'}, {address: '[::1]:8081'}]\n" + upstream("http://localhost:8081"), SELF),
    "a socket of ours": ("listeners: [{address: 'unix:run/gate.sock'}]\n" + upstream("unix:run/gate.sock"), SELF),
    "the issuer's lifetime": ("issuer: {token_lifetime: 31d}", "issuer.token_lifetime: a token that leaks"),
    "assertions": ("issuer: {assertion_max_lifetime: 60d}", "issuer.assertion_max_lifetime: a token that leaks"),
    "a client's lifetime": ("clients: {a: {token_lifetime: 365d}}", "clients.a.token_lifetime: a token that leaks"),
    "an authorization's": ("clients: {a: {secrets: ['env:LONG']}}\nauthorizations: [{client: a, audience: a, token_lifetime: 31d}]", "authorizations[0].token_lifetime: a token that leaks"),
    "a short secret": ("clients: {a: {secrets: ['env:SHORT']}}", "clients.a.secrets[0]: the secret has fewer than 16 characters"),
    "a short secret in a file": ("clients: {a: {secrets: ['env:LONG', 'file:short']}}", "clients.a.secrets[1]: the secret has fewer than 16 characters"),
    "a short and readable one": ("clients: {a: {secrets: ['plain:x']}}", "readable in this file, and has fewer than 16 characters"),
    "fifteen characters of many octets": ("clients: {a: {secrets: ['env:WIDE']}}", "fewer than 16 characters"),
    "the state in secrets": ("secrets_directory: state", "secrets_directory: the directory holds what the process itself keeps secret: state"),
    "everything in secrets": ("secrets_directory: /", "gateway.yaml, keys.directory, state"),
    "the admin token in secrets": ("admin: {token_file: secrets/t}", "keeps secret: admin.token_file"),
    "a listener's key in secrets": ("secrets_directory: tls\nlisteners: [{address: '127.0.0.1:1', tls: {certificate_file: tls/a.pem, key_file: tls/a.key}}]", "listeners[0].tls.key_file"),
    "an upstream's key in secrets": ("secrets_directory: tls\nupstreams: {u: {targets: ['https://a.example'], tls: {certificate_file: tls/a.pem}}}", "upstreams.u.tls"),
    "tokens at every address": ("listeners: [{address: '0.0.0.0:8080'}]\n" + SERVING, "listeners[0].address: \"0.0.0.0:8080\" receives tokens in plain http from other machines"),
    "tokens at every address of IPv6": ("listeners: [{address: '[::]:8080', behind_tls: false}]\n" + SERVING, PLAIN),
    "tokens at one address": ("listeners: [{address: '10.0.0.5:8080'}]\n" + SERVING, PLAIN),
    "tokens at a name": ("listeners: [{address: 'gate.internal:8080'}]\n" + SERVING, PLAIN),
    "tokens at a second listener": ("listeners: [{address: '127.0.0.1:8080'}, {address: '10.0.0.5:8080'}]\n" + SERVING, "listeners[1].address: "),
    "tokens from a PROXY sender": ("trusted_proxies: [10.0.0.0/24]\nlisteners: [{address: '10.0.0.5:8080', proxy_protocol: true}]\n" + SERVING, PLAIN),
    "tokens that are issued": ("listeners: [{address: '10.0.0.5:8080', serves: [issuer]}]\n" + SERVING, PLAIN),
    "tokens that are asked for": ("listeners: [{address: '10.0.0.5:8080', serves: [gate]}]\n" + SERVING, PLAIN),
    "tokens that are looked at": ("listeners: [{address: '10.0.0.5:8080', serves: [gate]}]\n" + SERVING.replace("require: {audience: a}", "access: optional, require: {audience: a}"), PLAIN),
    "a short admin token": ("admin: {address: '10.0.0.1:9090', token_file: short}", "admin.token_file: the admin API is open to other machines in plain http, and the token has fewer"),
}  # fmt: skip
ENVIRON = {"SHORT": "fifteen-letters", "LONG": SECRET, "WIDE": "ä" * 15}


def prepare(at: Path) -> None:
    for name in ("secrets", "run"):
        (at / name).mkdir()
    (at / "linked").symlink_to("run")
    (at / "t").write_text(SECRET)
    (at / "secrets/t").write_text(SECRET)
    (at / "short").write_text("fifteen-letters\n")


@pytest.mark.parametrize(("text", "message"), WARNED.values(), ids=WARNED)
def test_a_setting_that_gives_everything_away(
    text: str, message: str, problems_of: Problems, tmp_path: Path
) -> None:
    prepare(tmp_path)
    (found,) = problems_of(text, environ=ENVIRON)
    assert found.startswith("W gateway.yaml:")
    assert message in found
    assert "(hint: " in found


SILENT = {
    "networks of a company": "trusted_proxies: [10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 'fd00::/8', '::ffff:10.0.0.0/104']",
    "a large provider": "trusted_proxies: [64.0.0.0/2, '2600::/12']",
    "limits": "limits: {auth_failures: {requests: 1}, bad_tokens: {requests: 1}}",
    "names with _": upstream("http://127.0.0.1:81", ", keep_headers: [X_Accept, trace_id]"),
    "tokens on this machine": upstream("http://127.0.0.1:81", ", forward_token: true"),
    "tokens on a socket": upstream("unix:run/x", ", forward_token: true"),
    "tokens in TLS": upstream("https://a.example", ", forward_token: true"),
    "another port": upstream("http://127.0.0.1:8081"),
    "another address": upstream("http://127.0.0.2:8080"),
    "another family": "listeners: [{address: '127.0.0.1:8080'}]\n" + upstream("http://[::1]:8080"),
    "a wildcard of another family": V6 + upstream("http://127.0.0.1:8080"),
    "another machine": WILDCARD + upstream("http://10.0.0.5:8080"),
    "another socket": "listeners: [{address: 'unix:run/gate.sock'}]\n" + upstream("unix:run/other.sock"),
    "a port that the system chooses": "listeners: [{address: '127.0.0.1:0'}]\n" + upstream("http://127.0.0.1:8080"),
    "tokens behind TLS": "listeners: [{address: '0.0.0.0:8080', behind_tls: true}]\n" + SERVING,
    "tokens on loopback": "listeners: [{address: '127.0.0.2:8080'}, {address: '[::1]:8080'}, {address: 'localhost:8081'}]\n" + SERVING,
    "tokens on a listener's socket": "listeners: [{address: 'unix:run/gate.sock'}]\n" + SERVING,
    "tokens in a listener's TLS": "listeners: [{address: '0.0.0.0:8443', tls: {certificate_file: a.pem, key_file: a.key}}]\n" + SERVING,
    "no tokens": "listeners: [{address: '0.0.0.0:8080', serves: [gate]}]\n" + SERVING.replace("require: {audience: a}", "access: public"),
    "nobody who could have one": WILDCARD,
    "thirty days": "issuer: {token_lifetime: 30d}\nclients: {a: {token_lifetime: 30d}}",
    "sixteen characters": "clients: {a: {secrets: ['env:LONG']}}",
    "a strong admin token elsewhere": "admin: {address: '10.0.0.1:9090', token_file: t}",
    "a short admin token at home": "admin: {token_file: short}",
    "a socket for admins": "admin: {address: 'unix:run/admin.sock', token_file: short}",
    "secrets of clients": "secrets_directory: secrets",
}  # fmt: skip


@pytest.mark.parametrize("text", SILENT.values(), ids=SILENT)
def test_what_gives_nothing_away(text: str, problems_of: Problems, tmp_path: Path) -> None:
    prepare(tmp_path)
    assert problems_of(text, environ=ENVIRON) == []


@pytest.mark.parametrize("mode", [0o666, 0o646, 0o602])
@pytest.mark.parametrize("name", ["gateway.yaml", "policies/p.yaml"])
def test_files_that_others_may_write(name: str, mode: int, problems_of: Problems, tmp_path: Path) -> None:
    (tmp_path / "policies").mkdir()
    for file in ("gateway.yaml", "policies/p.yaml"):
        (tmp_path / file).write_text("version: 1\n")
        (tmp_path / file).chmod(0o644)
    (tmp_path / name).chmod(mode)
    (found,) = problems_of("version: 1\n")
    assert (
        found
        == f"W {name}:1:1: everybody on this machine may write this file (hint: chmod 644, and 755 for its directory)"
    )


def test_directories_in_which_others_may_replace_files(problems_of: Problems, tmp_path: Path) -> None:
    main = tmp_path / "gateway.yaml"
    main.write_text("version: 1\n")
    tmp_path.chmod(0o777)
    assert len(problems_of("version: 1\n")) == 1
    tmp_path.chmod(0o1777)
    assert problems_of("version: 1\n") == []


def test_a_group_of_others_may_not_write(problems_of: Problems, tmp_path: Path) -> None:
    main = tmp_path / "gateway.yaml"
    main.write_text("version: 1\n")
    main.chmod(0o664)
    assert problems_of("version: 1\n") == []  # the private group of the user who runs this
    if os.geteuid() == 0:
        os.chown(main, -1, 65534)
        (found,) = problems_of("version: 1\n")
        assert "the group nogroup may write this file" in found


@pytest.mark.parametrize("content", ["1", SECRET])
def test_an_admin_token_that_others_may_write(content: str, problems_of: Problems, tmp_path: Path) -> None:
    (tmp_path / "t").write_text(content)
    (tmp_path / "t").chmod(0o666)
    (found,) = problems_of("admin: {address: '0.0.0.0:9090', token_file: t}")
    assert "everybody on this machine may write the file" in found
    assert ("fewer than 16 characters" in found) is (content == "1")


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9090/metrics", "http://localhost:9090/api/v1/status"])
@pytest.mark.parametrize(
    "policy",
    [
        "clients: {{a: {{jwks_uri: '{}'}}}}",
        "clients: {{a: {{assertions: [{{issuer: x, subject: s, jwks_uri: '{}'}}]}}}}",
        "clients: {{a: {{assertions: [{{issuer: '{}', subject: s}}]}}}}",
    ],
)
def test_no_policy_has_the_admin_listener_asked(policy: str, uri: str, problems_of: Problems) -> None:
    (found,) = problems_of("version: 1", {"policies/p.yaml": policy.format(uri)})
    assert found.startswith("E policies/p.yaml:1:")
    assert "is the admin listener, which has no keys of clients" in found
    other = policy.format(uri.replace("9090", "9091"))
    assert problems_of("version: 1", {"policies/p.yaml": other}) == []


def test_a_path_that_leads_in_circles_is_a_problem_like_any_other(
    problems_of: Problems, tmp_path: Path
) -> None:
    (tmp_path / "secrets").symlink_to("secrets")
    main = (
        "clients: {a: {secrets: ['file:secrets/a']}}\n"
        "admin: {address: '0.0.0.0:9090', token_file: secrets/t}\n"
        "listeners: [{address: 'unix:secrets/one.sock'}]\n"
        "upstreams: {u: {targets: ['unix:secrets/other.sock']}}\n"
    )
    found = problems_of(main)
    assert any("clients.a.secrets[0]" in line for line in found), found
    assert any("admin.token_file" in line for line in found), found
