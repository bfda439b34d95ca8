"""Make certificates: authorities, servers, clients, of any key type and age."""

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True)
class Issued:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: Key

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def key_pem(self) -> bytes:
        return self.key_bytes(serialization.NoEncryption())

    def key_bytes(self, encryption: serialization.KeySerializationEncryption) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
        )

    def write(self, directory: Path, name: str) -> tuple[Path, Path]:
        """Write `name`.pem and `name`.key; return their paths."""
        certificate, key = directory / f"{name}.pem", directory / f"{name}.key"
        certificate.write_bytes(self.pem)
        key.write_bytes(self.key_pem)
        return certificate, key


def new_key(kind: str) -> Key:
    if kind == "rsa":
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return ec.generate_private_key(ec.SECP256R1())


class Authority(Issued):
    """Signs certificates."""

    @classmethod
    def make(cls, name: str) -> "Authority":
        key = new_key("ec")
        certificate = _builder(name, name, key.public_key(), days=(-1, 365)).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        return cls(certificate.sign(key, hashes.SHA256()), key)

    def server(
        self, name: str = "localhost", *, kind: str = "ec", days: tuple[float, float] = (-1, 90)
    ) -> Issued:
        """Return one for a server at `name` and 127.0.0.1; `days` from now it begins and ends."""
        key = new_key(kind)
        names = [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        builder = (
            self._issue(name, key, days)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        )
        return Issued(builder.sign(self.key, hashes.SHA256()), key)

    def client(self, name: str, *, days: tuple[float, float] = (-1, 90)) -> Issued:
        key = new_key("ec")
        builder = self._issue(name, key, days).add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        return Issued(builder.sign(self.key, hashes.SHA256()), key)

    def _issue(self, name: str, key: Key, days: tuple[float, float]) -> x509.CertificateBuilder:
        issuer = self.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
        return _builder(name, str(issuer), key.public_key(), days=days).add_extension(
            x509.BasicConstraints(ca=False, path_length=None), critical=True
        )


def _builder(
    name: str,
    issuer: str,
    public_key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
    *,
    days: tuple[float, float],
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + datetime.timedelta(days=days[0]))
        .not_valid_after(now + datetime.timedelta(days=days[1]))
    )
