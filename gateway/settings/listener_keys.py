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
    "TLS",
    (
        Field(
            "certificate_file",
            FILE,
            "PEM file with the certificate and the chain behind it. This and the two other files are "
            "read again when they change; until they fit together the former ones stay in use.",
            required=True,
        ),
        Field("key_file", FILE, "PEM file with the private key, not encrypted.", required=True),
        Field(
            "client_certificate",
            member_of(ClientCertificate),
            "Whether callers are asked for a certificate. `optional`: one that is sent must be valid; "
            "`required`: no connection without one.",
        ),
        Field(
            "client_ca_file",
            FILE,
            "PEM file with the authorities that may have signed callers' certificates. Needed unless "
            "`client_certificate` is `off`.",
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
        ),
        Field(
            "serves",
            ListOf("list of parts", one_of(*_PARTS), 1, hint="issuer, gate or both"),
            "Which halves answer here. On a listener that serves both, the issuer's endpoints win over "
            "routes.",
        ),
        Field(
            "proxy_protocol",
            FLAG,
            "Each connection begins with a PROXY protocol header (v1 or v2) that names the caller. Only "
            "peers in `trusted_proxies`, and those that may open the unix socket, are let in.",
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
        ),
        Field(
            "hosts",
            ListOf("list of hosts", Text("host", parse_admin_host)),
            "`Host` values it answers to besides loopback names; all others are refused (DNS rebinding).",
        ),
        Field(
            "token_file",
            FILE,
            "A file with the bearer token of the admin API. Demanded as soon as `address` is neither "
            "loopback nor a unix socket.",
        ),
    ),
    AdminSettings(),
)
