"""Make the TLS side of a listener from its files, and make it anew when they change.

A context that is in use is never changed: a half-written pair would break every
handshake, removed authorities would stay trusted, and a key of another type would
stand beside the old one. A new context is built whole, tried in a handshake in memory,
and only then takes the place of the old one; connections keep what they began with. A
new context also has new ticket keys, so no session outlives the authorities that
vouched for it.

Reading files and trying handshakes blocks: `load_certificate` is called before the loop
serves, or on a thread.

Sources: RFC 8446, RFC 9325 3 and 4 (versions, ciphers, renegotiation, compression), RFC 7301
(ALPN), Mozilla Server Side TLS 5.7, intermediate.
"""

import hashlib
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.files import UnusableFileError
from gateway.proxy.pem import CERTIFICATE_FORM, KEY_FORM, load_pair, read_pem
from gateway.settings.model import ClientCertificate, TlsSettings

CIPHERS = ":".join(
    f"ECDHE-{signature}-{cipher}"
    for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
    for signature in ("ECDSA", "RSA")
)
"""For TLS 1.2; those of 1.3 are all fine."""
EXPIRY_WARNING_S = 14 * 86400.0
_MOST_HANDSHAKE_STEPS = 20


class CertificateError(Exception):
    """The files of a listener cannot be used: the text says why, `key` which setting names the file."""

    def __init__(
        self, key: str, reason: str, hint: str = "", others: "tuple[CertificateError, ...]" = ()
    ) -> None:
        super().__init__(reason)
        self.key = key
        self.hint = hint
        """What to do about it."""
        self.others = others
        """What is wrong with the other files."""


@dataclass(frozen=True, slots=True, eq=False)
class ServerCertificate:
    """What new connections are served with."""

    context: ssl.SSLContext
    name: str
    """The certificate's first name, for people and metrics."""
    not_after: float
    """Epoch seconds at which the first certificate of the chain that callers get expires."""
    not_before: float
    fingerprint: str
    """Equal for two that show, prove and trust the same."""


def load_certificate(settings: TlsSettings) -> ServerCertificate:
    """Return what the files say now, tried in a handshake.

    Raises:
        CertificateError: A file cannot be used, or they do not fit together.
    """
    files = {"certificate_file": settings.certificate_file, "key_file": settings.key_file}
    if settings.client_certificate is not ClientCertificate.OFF and settings.client_ca_file is not None:
        files["client_ca_file"] = settings.client_ca_file
    chain, key, *_ = _read_all(files)
    certificates = _parse_certificates(chain, "certificate_file")
    context = _new_context()
    try:
        load_pair(
            context, chain, settings.certificate_file, key, settings.key_file, password=_refuse_passphrase
        )
    except (ssl.SSLError, ValueError, OSError) as error:
        raise CertificateError("key_file", *_why_no_pair(error)) from error
    try:
        _try_handshake(context)
    except ssl.SSLError as error:
        raise CertificateError(
            "certificate_file", f"no handshake succeeds with it: {_words(error)}"
        ) from error
    digest = hashlib.sha256(chain + b"\0" + key)
    if settings.client_certificate is not ClientCertificate.OFF:
        digest.update(b"\0" + _ask_for_certificates(context, settings))
    return ServerCertificate(
        context,
        _name_of(certificates[0]) or settings.certificate_file.name,
        min(certificate.not_valid_after_utc.timestamp() for certificate in certificates),
        max(certificate.not_valid_before_utc.timestamp() for certificate in certificates),
        digest.hexdigest(),
    )


def find_doubt(certificate: ServerCertificate, *, now: float) -> str:
    """Return what an operator must know of a certificate that works, or an empty text."""
    if certificate.not_before > now:
        return "is not valid yet"
    left_s = certificate.not_after - now
    if left_s <= 0:
        return "has expired"
    if left_s < EXPIRY_WARNING_S:
        return f"expires in {left_s / 86400:.1f} days"
    return ""


class TlsEndpoint:
    """The current certificate of one listener, and whether it is what the files say."""

    __slots__ = ("current", "listener", "refusal", "settings")

    def __init__(self, listener: str, settings: TlsSettings, certificate: ServerCertificate) -> None:
        self.listener = listener
        self.settings = settings
        self.current = certificate
        """What new connections are served with; those that stand keep what they began with."""
        self.refusal = ""
        """Why the files as they are now are not in use; empty when they are."""


def _new_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_SINGLE_ECDH_USE
    # All ciphers are strong: the caller knows better which of them its processor is quick at.
    context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["http/1.1"])
    return context


def _ask_for_certificates(context: ssl.SSLContext, settings: TlsSettings) -> bytes:
    """Let `context` check the certificates of callers; return what says by whom they may be signed."""
    path = settings.client_ca_file
    if path is None:
        raise CertificateError("client_ca_file", "is needed to check client certificates")
    octets = _read(path, "client_ca_file")
    authorities = _parse_certificates(octets, "client_ca_file")
    try:
        for authority in authorities:
            context.load_verify_locations(cadata=authority.public_bytes(Encoding.DER))
    except (ssl.SSLError, ValueError) as error:
        raise CertificateError("client_ca_file", f"cannot be used: {_words(error)}") from error
    required = settings.client_certificate is ClientCertificate.REQUIRED
    context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    # A resumed session is not verified again: without tickets a certificate that expires or
    # loses its authority ends with the connections that it opened.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    return octets


def _try_handshake(server_context: ssl.SSLContext) -> None:
    """Return when a client and `server_context` agree, both in memory. Raises ssl.SSLError."""
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname = False
    client_context.verify_mode = ssl.CERT_NONE  # it is tried whether the server can sign, not who trusts it
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    waiting = [
        client_context.wrap_bio(to_client, to_server),
        server_context.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(_MOST_HANDSHAKE_STEPS):
        side = waiting.pop(0)
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            waiting.append(side)
        if not waiting:
            return
    raise ssl.SSLError("the handshake does not end")


def _read_all(files: Mapping[str, Path]) -> list[bytes]:
    """Return what the files hold, by the keys that name them; one error tells of all that cannot be read."""
    octets: list[bytes] = []
    errors: list[CertificateError] = []
    for key, path in files.items():
        try:
            octets.append(_read(path, key))
        except CertificateError as error:
            errors.append(error)
    if errors:
        first, *others = errors
        raise CertificateError(first.key, str(first), first.hint, tuple(others))
    return octets


def _read(path: Path, key: str) -> bytes:
    try:
        return read_pem(path)
    except UnusableFileError as problem:
        raise CertificateError(key, str(problem), problem.remedy) from problem


def _parse_certificates(octets: bytes, key: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(octets)
    except ValueError as error:
        raise CertificateError(
            key, "holds no PEM certificate, or one that is cut short", CERTIFICATE_FORM
        ) from error


def _name_of(certificate: x509.Certificate) -> str:
    """Return the first DNS name, IP address or common name; empty when there is none."""
    return next(_names_of(certificate), "")


def _names_of(certificate: x509.Certificate) -> Iterator[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        pass
    else:
        yield from names.get_values_for_type(x509.DNSName)
        yield from (str(address) for address in names.get_values_for_type(x509.IPAddress))
    for attribute in certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME):
        yield str(attribute.value)


def _refuse_passphrase() -> str:
    raise ValueError("the key is encrypted")


def _why_no_pair(error: Exception) -> tuple[str, str]:
    """Return what is wrong with a key, and what to do about it."""
    reason = error.reason if isinstance(error, ssl.SSLError) else ""
    if reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"):
        return "is not the key of the certificate", "name the key that this certificate was made for"
    if isinstance(error, ValueError) and not isinstance(error, OSError):
        return "is encrypted, which is not supported", KEY_FORM
    if isinstance(error, ssl.SSLError) and not reason:  # the certificates were read already
        return "cannot be used: it holds no private key in PEM form", KEY_FORM
    return f"cannot be used: {_words(error)}", ""


def _words(error: Exception) -> str:
    """Return OpenSSL's own reason in lower-case words; never a path or content."""
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or "unknown reason"
    return str(reason).replace("_", " ").lower()
