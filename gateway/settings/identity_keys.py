"""List the keys of foreign identities and of where their public keys are, and make settings of them."""

import contextlib
from typing import Any

from gateway.observe.secret_parameters import mask_address
from gateway.settings.credential_kinds import InlineKeys, KeyFile
from gateway.settings.document import MapNode, Node, ScalarNode
from gateway.settings.kinds import EntryName, MovedFile, OneOrMore, PublicFile, Text
from gateway.settings.lists import MapOf
from gateway.settings.model import AssertionSettings, KeySource, RemoteKeySource, StaticKeySource
from gateway.settings.problems import SpellingError
from gateway.settings.reading import UNSAID, MovedToken, Reading
from gateway.settings.sections import Field, Section, SomeOf
from gateway.settings.shared_kinds import FLAG, Values, value_by
from gateway.settings.texts import parse_claim_name, parse_identity_text, parse_key_uri
from gateway.tokens.origins import BadAddressError, may_be_proxied, origin_of

REPLAY = value_by({"single_use": True, "allow": False})
_KEY_URI = Text("URL", parse_key_uri, is_address=True)
_IDENTITY = Text("text", parse_identity_text)
KEY_SOURCES = ("jwks", "jwks_file", "jwks_uri")
"""How the keys of others may be given: by one of these."""
_WAYS = ("ca_file", "bearer_token", "proxy")
"""How keys of an identity are fetched."""

KEY_FIELDS = (
    Field(
        "jwks",
        InlineKeys(),
        "Public keys as a JWK Set: EC P-256 (ES256), RSA from 2048 bits (RS256, or PS256 by their `alg`), "
        "Ed25519 (EdDSA).",
        default_text="{keys: []}",
        aliases="keys public_keys key_set jwk local_jwks inline_jwks",
    ),
    Field(
        "jwks_file",
        KeyFile(),
        "The same from a file, which is watched.",
        aliases="jwks_path key_file public_key_file",
    ),
    Field(
        "jwks_uri",
        _KEY_URI,
        "The same from a URL, fetched and kept fresh: `https://`, or `http://` on loopback.",
        such_as="https://accounts.example/jwks",
        aliases="jwks_url jwk_set_uri jwks_endpoint remote_jwks keys_url certs_url jwks_remote",
    ),
)

KEY_PROXY = Field(
    "proxy",
    EntryName("key_set_proxies"),
    "How the keys are reached, by a name of `key_set_proxies` in the main file. Null: directly.",
    such_as="corporate",
    aliases="http_proxy https_proxy proxy_url",
)


def choose_keys(values: Values) -> tuple[str, Any]:
    """Take the keys out of the values; return what they were written as, and what was written."""
    written = [(key, value) for key in KEY_SOURCES if (value := values.pop(key, None)) is not None]
    return written[0] if written else ("", None)


def check_way(source: RemoteKeySource, node: Node, reading: Reading) -> None:
    """Note a token that its source may not be sent, and a proxy that is never asked for it."""
    address = source.uri or source.issuer
    try:
        origin, is_outside = origin_of(address), may_be_proxied(address)
    except BadAddressError:
        return  # said already
    token = source.bearer_token
    # Without an address of their own the keys may be anywhere: the metadata say where.
    if token is not None and source.uri is not None and origin not in token.origins:
        hint = f"the operator lists the origins of the token under bearer_token_files.{token.name}"
        refuse_member(node, "bearer_token", f"this token may not be sent to {origin}", hint, reading)
    if source.proxy is not None and not is_outside:
        message = "has no effect: a proxy is never asked for http:// or loopback addresses"
        refuse_member(node, "proxy", message, "leave it out", reading)


def refuse_member(node: Node, key: str, message: str, hint: str, reading: Reading) -> None:
    """Note a mistake at a member of a mapping, or below the key of the mapping itself."""
    if isinstance(node, MapNode) and key in node.members:
        reading.error(node.members[key][0], message, hint)
    else:
        reading.error(node, message, hint, below=key)


def _moved_token(written: ScalarNode, address: object, reading: Reading) -> MovedToken:
    """Return where a token file was named by the identity itself, and for which origin."""
    origin = ""
    if isinstance(address, str):
        with contextlib.suppress(BadAddressError):
            origin = origin_of(address)
    return MovedToken(written, reading.directory / written.text, origin)


def part_keys(source: KeySource | None) -> Values:
    """Return where keys come from, by the keys of the configuration that say so."""
    match source:
        case RemoteKeySource(uri=uri, ca_file=ca_file, bearer_token=token, proxy=proxy):
            way = {"jwks_uri": uri, "ca_file": ca_file, "bearer_token": token, "proxy": proxy}
            return {"jwks": None, "jwks_file": None, **way}
        case StaticKeySource() | None:
            return {"jwks": source, **dict.fromkeys(("jwks_file", "jwks_uri", *_WAYS))}


def _join_assertion(values: Values, node: Node, reading: Reading) -> None:
    issuer = values["issuer"]
    key, keys = choose_keys(values)
    ways = {name: values.pop(name, None) for name in _WAYS}
    moved = values.pop("bearer_token_file", None)
    if moved is not None:
        reading.moved.append(_moved_token(moved, keys or issuer, reading))
    if not isinstance(keys, StaticKeySource):
        if not key and issuer:
            _check_discovery(issuer, node, reading)
        keys = RemoteKeySource(issuer, keys, **ways)
        check_way(keys, node, reading)
    else:
        for key in (name for name, way in ways.items() if way is not None):
            refuse_member(node, key, "has no effect: the keys are not fetched", "leave it out", reading)
    if values.get("allow_missing_exp"):
        reading.warn(
            node, "an assertion without exp and iat never expires: whoever gets hold of one keeps it"
        )
    values["keys"] = keys


def _check_discovery(issuer: str, node: Node, reading: Reading) -> None:
    """Note that the metadata of an issuer, which name its keys, cannot be asked for."""
    try:
        parse_key_uri(issuer)
    except SpellingError as reason:
        message = f"the keys cannot be discovered: the issuer {reason.message}"
        reading.error(node, message, "name them by jwks, jwks_file or jwks_uri", below="issuer")


def _part_assertion(assertion: AssertionSettings) -> Values:
    return {**part_keys(assertion.keys), "bearer_token_file": UNSAID}


ASSERTION = Section(
    "identity",
    (
        Field(
            "issuer",
            Text("text", parse_identity_text, spell=mask_address),
            "Who vouches for it: the `iss` of its tokens.",
            required=True,
            such_as="https://accounts.example",
            aliases="iss issuer_url issuer_uri provider",
        ),
        Field(
            "subject",
            _IDENTITY,
            "Who it is: the `sub` of its tokens. Null: any, and `claims` must tell who.",
            such_as="reporting-job",
            aliases="sub subjects principal",
        ),
        Field(
            "audience",
            _IDENTITY,
            "The one `aud` of its tokens. Null: our issuer identifier or the address of our token endpoint.",
            such_as="https://auth.example",
            aliases="aud audiences",
        ),
        Field(
            "claims",
            MapOf("mapping of claims", parse_claim_name, OneOrMore()),
            "Further claims that must be equal to the value, or to one of a list of values.",
            such_as="{repository: acme/api}",
            aliases="claim conditions bound_claims attributes",
        ),
        *KEY_FIELDS,
        Field(
            "ca_file",
            PublicFile(),
            "The certificate authorities (PEM) that are trusted when the keys are fetched, and no others; "
            "read again every time. Null: those of the system.",
            such_as="partner-ca.pem",
            aliases="ca ca_cert cacert ca_bundle trusted_ca certificate_authority",
        ),
        Field(
            "bearer_token",
            EntryName("bearer_token_files"),
            "The token to fetch the keys with, by its name in `bearer_token_files` of the main file.",
            such_as="kubernetes",
            aliases="token",
        ),
        Field(
            "bearer_token_file",
            MovedFile(),
            "Replaced by `bearer_token`: an error that prints the lines to write instead.",
            nullable=True,
        ),
        KEY_PROXY,
        Field(
            "replay",
            REPLAY,
            "`single_use`: each token works once. `allow`: for tokens that their platform sends again.",
            attribute="single_use",
        ),
        Field(
            "allow_missing_exp",
            FLAG,
            "Whether its tokens may be without `exp`, then bounded by their `iat` alone, if any. A warning.",
        ),
    ),
    AssertionSettings("", RemoteKeySource("", None)),
    _join_assertion,
    _part_assertion,
    is_sparse=True,
    one_of=(KEY_SOURCES,),
    some_of=(
        SomeOf(
            ("subject", "claims"),
            "everybody whom this issuer knows would be this client",
            "name the subject",
        ),
    ),
)
