"""List the keys of the listeners, those of callers and that of operators, and make settings of them."""

from pathlib import Path

from gateway.settings.document import Node
from gateway.settings.kinds import Text
from gateway.settings.lists import ListOf
from gateway.settings.model import AdminSettings, ClientCertificate, ListenerSettings, TcpAddress, TlsSettings
from gateway.settings.reading import Reading
from gateway.settings.sections import Field, Section
from gateway.settings.shared_kinds import FILE, FLAG, Values, member_of, one_of
from gateway.settings.texts import parse_address, parse_admin_host, place_address

_ADDRESS = Text("address", parse_address, place_address)


_PARTS = ("issuer", "gate")

SERVER_TLS = Section(
    "TLS setting",
    (
        Field(
            "certificate_file",
            FILE,
            "PEM file with the certificate and the chain behind it. This and the two other files are "
            "read again when they change; until they fit together the former ones stay in use.",
            required=True,
            such_as="tls/server.pem",
            aliases="cert cert_file certificate crt ssl_certificate cert_path certificate_chain",
        ),
        Field(
            "key_file",
            FILE,
            "PEM file with the private key, not encrypted.",
            required=True,
            such_as="tls/server.key",
            aliases="key private_key private_key_file ssl_certificate_key key_path",
        ),
        Field(
            "client_certificate",
            member_of(
                ClientCertificate, off="none disabled", optional="request", required="require verify on"
            ),
            "Whether callers are asked for a certificate. `optional`: one that is sent must be valid; "
            "`required`: no connection without one.",
            such_as="required",
            aliases="client_auth mtls verify_client ssl_verify_client client_auth_type "
            "require_client_certificate",
        ),
        Field(
            "client_ca_file",
            FILE,
            "PEM file with the authorities that may have signed callers' certificates. Needed unless "
            "`client_certificate` is `off`.",
            such_as="tls/clients.pem",
            aliases="client_ca ca ca_file ssl_client_certificate trusted_ca",
        ),
    ),
    TlsSettings(Path(), Path()),
)


def _join_listener(values: Values, _node: Node, _reading: Reading) -> None:
    serves = values.pop("serves", _PARTS)
    values |= {f"serves_{part}": part in serves for part in _PARTS}


def _part_listener(listener: ListenerSettings) -> Values:
    return {"serves": tuple(part for part in _PARTS if getattr(listener, f"serves_{part}"))}


LISTENER = Section(
    "listener",
    (
        Field(
            "address",
            _ADDRESS,
            'Where to listen: `host:port`, IPv6 in brackets (`"[::1]:8080"`, quoted), or `unix:PATH`, made '
            "with mode 0660. Port 0 lets the system choose.",
            required=True,
            such_as="127.0.0.1:8080",
            aliases="listen bind port host url addr socket",
        ),
        Field(
            "serves",
            ListOf(
                "list of parts",
                one_of(*_PARTS, issuer="token oauth2 auth", gate="gateway proxy routes"),
                1,
                hint="issuer, gate or both",
            ),
            "Which halves answer here. On a listener that serves both, the issuer's endpoints win over "
            "routes.",
            aliases="serve roles parts",
        ),
        Field(
            "proxy_protocol",
            FLAG,
            "Each connection begins with a PROXY protocol header (v1 or v2) that names the caller. Only "
            "peers in `trusted_proxies`, and those that may open the unix socket, are let in.",
            aliases="proxyproto accept_proxy",
        ),
        Field(
            "behind_tls",
            FLAG,
            "Something before this listener ends TLS for every caller, and nobody comes past it. So services "
            "are told `https`, unless a trusted proxy says otherwise, and nothing warns of tokens in plain "
            "http.",
        ),
        Field(
            "tls",
            SERVER_TLS,
            "Certificate and key of this listener, and what it asks of client certificates.",
            aliases="ssl https certificate",
        ),
    ),
    ListenerSettings(TcpAddress("", 0)),
    _join_listener,
    _part_listener,
)


ADMIN = Section(
    "admin listener",
    (
        Field(
            "address",
            _ADDRESS,
            "Where metrics, health and the admin API answer: `host:port` or `unix:PATH`. Keep it on "
            "loopback or a unix socket, or set `token_file`.",
            aliases="listen bind port addr",
        ),
        Field(
            "hosts",
            ListOf("list of hosts", Text("host", parse_admin_host)),
            "`Host` values it answers to besides loopback names; all others are refused (DNS rebinding).",
            such_as="[sidegate.internal]",
            aliases="host allowed_hosts server_names",
        ),
        Field(
            "token_file",
            FILE,
            "A file with the bearer token of the admin API. Demanded as soon as `address` is neither "
            "loopback nor a unix socket.",
            such_as="secrets/admin.token",
            aliases="token bearer_token password auth",
        ),
    ),
    AdminSettings(),
)
