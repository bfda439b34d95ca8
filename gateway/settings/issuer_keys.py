"""List the keys of the issuer and of its signing keys, and make settings of them."""

from pathlib import Path

from gateway.settings.kinds import Quantity, Text
from gateway.settings.lists import ListOf
from gateway.settings.model import MAX_CLOCK_SKEW_S, IssuerSettings, KeySettings, Rate
from gateway.settings.quantities import DURATION
from gateway.settings.sections import Field, Section
from gateway.settings.shared_kinds import (
    COUNT_OR_NONE,
    LIFETIME,
    TIMEOUT,
    later_key,
    one_of,
    value_by,
)
from gateway.settings.texts import parse_file_text, parse_issuer_url, parse_origin, parse_path_prefix

CLIENT_RATE = Section(
    "rate",
    (
        Field(
            "requests",
            COUNT_OR_NONE,
            "How many per period. 0: unlimited.",
            required=True,
            aliases="rate limit average rps max count",
        ),
        Field("per", TIMEOUT, "The period.", attribute="per_s", aliases="period unit interval window"),
    ),
    Rate(0, 1.0),
)


ISSUER = Section(
    "issuer",
    (
        Field(
            "url",
            Text("URL", parse_issuer_url, is_address=True),
            "The issuer identifier: the `iss` claim of every token, byte for byte, and the beginning of "
            "the endpoint addresses in the metadata. Use `https://` everywhere but on loopback.",
            such_as="https://auth.example",
            aliases="iss issuer issuer_url base_url public_url external_url",
        ),
        Field(
            "path_prefix",
            Text("path prefix", parse_path_prefix),
            "Where the endpoints are mounted, e.g. `/ms-auth-server`. Empty: at the root. The metadata are"
            " also at the well-known places of `url`.",
            such_as="/ms-auth-server",
            aliases="prefix base_path path mount",
        ),
        Field(
            "token_lifetime",
            LIFETIME,
            "How long a token is valid, unless its client or authorization says otherwise.",
            attribute="token_lifetime_s",
            aliases="ttl lifetime expires_in access_token_lifetime token_ttl access_token_ttl",
        ),
        Field(
            "signing_algorithm",
            one_of("ES256", "RS256", "PS256", "EdDSA"),
            "What a newly made signing key uses: ES256, RS256, PS256 or EdDSA.",
            aliases="alg algorithm signature_algorithm",
        ),
        Field(
            "scope_claim",
            value_by({"string": False, "array": True}, array="list", string="text space_delimited"),
            "How tokens carry their scopes: one `string` separated by spaces (RFC 9068), or an `array`.",
            attribute="scope_claim_as_array",
            such_as="array",
            aliases="scope_format scp",
        ),
        Field(
            "introspection",
            value_by({"owner_or_audience": False, "any_client": True}, any_client="any all"),
            "Which client may ask about a token: its owner and its audience, or any client that "
            "authenticates.",
            attribute="introspection_by_any_client",
            such_as="any_client",
            aliases="introspect",
        ),
        Field(
            "assertion_max_lifetime",
            LIFETIME,
            "How far ahead the `exp` of an assertion may lie, and how far back its `iat`.",
            attribute="assertion_max_lifetime_s",
            aliases="max_assertion_lifetime max_age",
        ),
        Field(
            "clock_skew",
            Quantity(DURATION, 0, MAX_CLOCK_SKEW_S, "up to 10m"),
            "Leeway for the clocks of others, in assertions; never for our own tokens.",
            attribute="clock_skew_s",
            aliases="leeway skew tolerance",
        ),
        Field(
            "cors_origins",
            ListOf("list of origins", Text("origin", parse_origin, is_address=True)),
            "Origins (`https://app.example`) whose pages may call the token endpoint from a browser. Exact "
            "ones only, and never with cookies.",
            such_as="[https://app.example.com]",
            aliases="cors allowed_origins allow_origins cors_allowed_origins origins",
        ),
        Field(
            "rate_limit",
            CLIENT_RATE,
            "How many token, introspection and revocation requests of one client are answered, after it has "
            "proven itself (for the jwt-bearer grant: the client it acts as); beyond it 429 "
            "`temporarily_unavailable`. Each process counts alone. Null: no limit.",
            aliases="limit_req throttle quota",
        ),
        later_key("dpop", "Sender-constrained tokens (RFC 9449)."),
    ),
    IssuerSettings(),
)


def defer_path(_directory: Path, text: str) -> Path:
    """Return a path of the process's own data as written; see `defer_state`."""
    return Path(text)


KEYS = Section(
    "key directory",
    (
        Field(
            "directory",
            Text("path", parse_file_text, defer_path),
            "The directory of the signing keys, in `data_directory` if relative; made on the first start "
            "when absent.",
            aliases="dir path file folder",
        ),
        later_key("passphrase_file", "The passphrase of encrypted keys."),
        later_key("rotate_every", "Rotate the signing key by itself, e.g. every `30d`."),
        Field(
            "publish_ahead",
            Quantity(DURATION, 0, 30 * 86400, "up to 30d"),
            "How long a new key is in the JWKS before `sidegate keys activate` lets it sign: for so long "
            "callers may keep a copy.",
            attribute="publish_ahead_s",
        ),
    ),
    KeySettings(),
)
