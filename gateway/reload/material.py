"""Load the files that a configuration names beside policies and keys: certificates, authorities, tokens.

They are an input of their own. A configuration is compiled without those that the process
uses already: a pair that somebody is just writing must not keep a policy from taking effect,
and a new certificate need not compile ten thousand routes. What a configuration names for the
first time must be usable, for there is nothing to keep in its place.

Shell: reads files, so it belongs on a thread. The modules that read are imported when there
is something to read: a configuration without certificates needs none of them.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gateway.files import UnusableFileError, read_file
from gateway.settings.findings import Finding, Step
from gateway.settings.model import (
    ClientCertificate,
    Origin,
    RemoteKeySource,
    Settings,
    TargetSettings,
    TlsSettings,
    UpstreamTlsSettings,
)
from gateway.settings.problems import Severity

LARGEST_TOKEN_BYTES = 4096


class UnusableMaterialError(Exception):
    """Why files cannot be used: `key` names the setting, `message` continues "the file …"."""

    def __init__(
        self, key: str, message: str, hint: str = "", others: "tuple[UnusableMaterialError, ...]" = ()
    ) -> None:
        super().__init__(message)
        self.key = key
        self.message = message
        self.hint = hint
        self.others = others
        """What is wrong with the other files."""


@dataclass(frozen=True, slots=True)
class Material:
    """Files that are read, judged and used together."""

    key: Hashable
    """Equal for two that are the same files, used in the same way."""
    name: str
    """For people: what stays as it was when the files cannot be used."""
    files: tuple[Path, ...]
    load: Callable[[], Any] = field(compare=False)
    """Returns what the files say, or None where it is read at each use. Raises UnusableMaterialError."""
    owner: Origin | None = None
    steps: tuple[Step, ...] = ()
    """Where the configuration names them."""
    find_doubt: Callable[[Any, float], str] | None = field(default=None, compare=False)
    """Returns what an operator must know of what was loaded, at an epoch second; or an empty text."""

    def refuse(self, error: UnusableMaterialError) -> tuple[Finding, ...]:
        """Return the findings that say why the files cannot be used."""
        return tuple(
            Finding(self.owner, (*self.steps, each.key), each.message, each.hint, quoted=True)
            for each in (error, *error.others)
        )


def material_of(settings: Settings) -> tuple[Material, ...]:
    """Return everything that `settings` name, each once, in the order of the file."""
    found: dict[Hashable, Material] = {}
    for group in (_of_listeners, _of_admin, _of_upstreams, _of_tokens, _of_key_sets):
        for material in group(settings):
            found.setdefault(material.key, material)
    return tuple(found.values())


def load_new(
    settings: Settings, known: Mapping[Hashable, Any], *, now: float
) -> tuple[dict[Hashable, Any], tuple[Finding, ...]]:
    """Return all that `settings` name: what is known as it is, the rest loaded; and what is wrong.

    Args:
        settings: May have errors of their own.
        known: What is in use, by `Material.key`.
        now: Epoch seconds, by which certificates are judged.
    """
    values: dict[Hashable, Any] = {}
    findings: list[Finding] = []
    for material in material_of(settings):
        if material.key in known:
            values[material.key] = known[material.key]
            continue
        try:
            value = values[material.key] = material.load()
        except UnusableMaterialError as error:
            findings += material.refuse(error)
            continue
        doubt = "" if material.find_doubt is None else material.find_doubt(value, now)
        if doubt:
            steps = (*material.steps, "certificate_file")
            findings.append(
                Finding(material.owner, steps, doubt, "replace it", Severity.WARNING, quoted=True)
            )
    return values, tuple(findings)


# --- what there is


def listener_key(address: object, tls: TlsSettings) -> Hashable:
    """Return the key of a listener's certificate."""
    return ("listener", str(address), tls)


def upstream_key(tls: UpstreamTlsSettings) -> Hashable:
    """Return the key of what an upstream's `https://` targets are verified with."""
    return ("upstream", tls)


def _of_listeners(settings: Settings) -> Iterator[Material]:
    for index, listener in enumerate(settings.listeners):
        tls = listener.tls
        if tls is None or Path() in (tls.certificate_file, tls.key_file):
            continue  # a path that is missing is said already
        files = (tls.certificate_file, tls.key_file, tls.client_ca_file)
        yield Material(
            listener_key(listener.address, tls),
            f"the certificate of {listener.address}",
            tuple(path for path in files if path is not None),
            lambda tls=tls: _load_certificate(tls),  # type: ignore[misc]
            steps=("listeners", index, "tls"),
            find_doubt=_doubt_certificate,
        )


def _load_certificate(tls: TlsSettings) -> object:
    from gateway.proxy.certificates import CertificateError, load_certificate

    if tls.client_ca_file is None:  # where it is missing, that is said already
        tls = replace(tls, client_certificate=ClientCertificate.OFF)
    try:
        return load_certificate(tls)
    except CertificateError as error:
        others = (UnusableMaterialError(each.key, str(each), each.hint) for each in error.others)
        raise UnusableMaterialError(error.key, str(error), error.hint, tuple(others)) from None


def _doubt_certificate(certificate: Any, now: float) -> str:
    from gateway.proxy.certificates import find_doubt

    return find_doubt(certificate, now=now)


def _of_admin(settings: Settings) -> Iterator[Material]:
    path = settings.admin.token_file
    if path is not None and path != Path():
        yield Material(
            ("admin token", path),
            "the admin token",
            (path,),
            lambda: _try_admin_token(path),
            steps=("admin",),
        )


def _try_admin_token(path: Path) -> None:
    try:
        token = read_file(path, largest_bytes=LARGEST_TOKEN_BYTES).octets.strip()
    except UnusableFileError as problem:
        text = f"cannot be used: the file {problem}"
        raise UnusableMaterialError("token_file", text, problem.remedy) from None
    if not token:
        hint = "write a long random token into it: `openssl rand -hex 32`"
        raise UnusableMaterialError("token_file", "cannot be used: the file is empty", hint)


def _of_upstreams(settings: Settings) -> Iterator[Material]:
    for name, upstream in settings.upstreams.items():
        if any(isinstance(target, TargetSettings) and target.tls for target in upstream.targets):
            tls = upstream.tls
            yield Material(
                upstream_key(tls),
                f"the certificates of upstream {name}",
                tls.files,
                lambda tls=tls: _load_upstream_tls(tls),  # type: ignore[misc]
                steps=("upstreams", name, "tls"),
            )


def _load_upstream_tls(tls: UpstreamTlsSettings) -> object:
    from gateway.proxy.targets import TlsFileError, read_upstream_tls

    try:
        return read_upstream_tls(tls)
    except TlsFileError as error:
        raise UnusableMaterialError(error.key, error.message, error.hint) from None


def _of_tokens(settings: Settings) -> Iterator[Material]:
    for name, token in settings.bearer_token_files.items():
        path = token.file
        if path != Path():
            yield Material(
                ("bearer token", path),
                f"the token {name} of bearer_token_files",
                (path,),
                lambda path=path: _try_token(path),  # type: ignore[misc]
                steps=("bearer_token_files", name),
            )


def _try_token(path: Path) -> None:
    from gateway.tokens.jwks_client import find_unusable_token

    if (problem := find_unusable_token(path)) is not None:
        raise UnusableMaterialError(problem.key, problem.message, problem.hint)


def _of_key_sets(settings: Settings) -> Iterator[Material]:
    for client in settings.clients.values():
        for index, identity in enumerate(client.assertions):
            source = identity.keys
            if not isinstance(source, RemoteKeySource) or source.ca_file is None:
                continue
            path = source.ca_file
            yield Material(
                ("key set authorities", path),
                f"the authorities for the keys of {source.issuer}",
                (path,),
                lambda path=path: _try_authorities(path),  # type: ignore[misc]
                owner=client.origin,
                steps=("assertions", index),
            )


def _try_authorities(path: Path) -> None:
    from gateway.tokens.jwks_client import find_unusable_authorities

    if (problem := find_unusable_authorities(path)) is not None:
        raise UnusableMaterialError(problem.key, problem.message, problem.hint)
