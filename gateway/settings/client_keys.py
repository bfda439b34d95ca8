"""List the keys of clients and of what they are authorized to, and make settings of them."""

import datetime
import re

from gateway.oauth_names import (
    AUTH_METHODS,
    CLIENT_CREDENTIALS,
    CLIENT_SECRET_BASIC,
    CLIENT_SECRET_POST,
    GRANTS,
    JWT_BEARER,
    MIN_HMAC_SECRET_BYTES,
    PRIVATE_KEY_JWT,
    auth_methods,
    grant_types,
)
from gateway.settings.credential_kinds import SecretText
from gateway.settings.document import Node
from gateway.settings.identity_keys import (
    ASSERTION,
    KEY_FIELDS,
    KEY_PROXY,
    KEY_SOURCES,
    REPLAY,
    check_way,
    choose_keys,
    part_keys,
    refuse_member,
)
from gateway.settings.kinds import Text
from gateway.settings.lists import Claims, ListOf, MapOf
from gateway.settings.model import AuthorizationSettings, ClientSettings, RemoteKeySource
from gateway.settings.problems import SpellingError
from gateway.settings.reading import Reading
from gateway.settings.sections import Field, Section
from gateway.settings.shared_kinds import CLIENT_ID, FLAG, LIFETIME, LINE, SCOPES, Values, later_key, one_of
from gateway.settings.texts import choose_from, parse_own_claim_name, parse_scope

GRANT_WORDS = tuple(
    dict.fromkeys(word for grant in GRANTS if grant.available for word in (grant.short, grant.grant_type))
)
"""The grants that work, in either spelling."""


def parse_grant(text: str) -> str:
    """Return the full name of a grant; each may be written short."""
    full = next((grant.grant_type for grant in GRANTS if grant.short == text), text)
    later = tuple(grant.grant_type for grant in GRANTS if not grant.available)
    return choose_from("a grant", grant_types(), later, {JWT_BEARER: "jwt jwt_bearer assertion"})(full)


def _join_client(values: Values, node: Node, reading: Reading) -> None:
    _, keys = choose_keys(values)
    proxy = values.pop("proxy", None)
    if isinstance(keys, str):
        keys = RemoteKeySource(values.get("id", ""), keys, proxy=proxy)
        check_way(keys, node, reading)
    elif proxy is not None:
        refuse_member(node, "proxy", "has no effect: the keys are not fetched", "leave it out", reading)
    values["keys"] = keys


def _part_client(client: ClientSettings) -> Values:
    return part_keys(client.keys)


CLIENT = Section(
    "client",
    (
        Field(
            "description",
            LINE,
            "For people.",
            such_as="Country codes",
            aliases="name client_name title comment display_name",
        ),
        Field(
            "scopes",
            MapOf("mapping from scope names to descriptions", parse_scope, LINE),
            "The scopes it offers when it is the audience: name and description.",
            such_as="{country.read: Read country codes}",
            aliases="scope offers offered_scopes",
        ),
        Field(
            "secrets",
            ListOf("list of secrets", SecretText(), distinct=False),
            "Its secrets, at most 16; any of them is valid, so two make a rotation. Forms: `sha256:SALT:HEX` "
            "for random secrets (printed by `sidegate secret generate`), `scrypt:N:R:P:SALT:HASH` for "
            "secrets that people chose (`sidegate secret hash`; N up to 2^15, R up to 8, P up to 2; at most "
            "4 of these), `env:NAME`, `file:PATH` (of both one line break at the end is dropped), and "
            "`plain:TEXT`, which is a warning. SALT, HEX and HASH are hexadecimal.",
            such_as="[env:REPORTING_SECRET]",
            aliases="secret client_secret client_secrets password credentials key api_key",
        ),
        Field(
            "default_audience",
            CLIENT_ID,
            "The audience of its tokens when it asks for none.",
            such_as="country-service",
            aliases="audience aud default_resource resource",
        ),
        Field(
            "token_lifetime",
            LIFETIME,
            "How long its tokens are valid, in place of the issuer's.",
            attribute="token_lifetime_s",
            aliases="ttl lifetime expires_in access_token_lifetime token_ttl access_token_ttl",
        ),
        Field(
            "grants",
            ListOf(
                "list of grants",
                Text("grant", parse_grant, words=GRANT_WORDS),
                1,
                frozenset,
                "leave the key out for all that its credentials make possible",
            ),
            "The grants it may use: `client_credentials`, `jwt-bearer`. Null: all that its credentials "
            "make possible.",
            such_as=f"[{CLIENT_CREDENTIALS}]",
            aliases="grant grant_types grant_type allowed_grant_types",
        ),
        Field(
            "auth_methods",
            ListOf(
                "list of methods",
                one_of(
                    *auth_methods(),
                    **{
                        CLIENT_SECRET_BASIC: "basic",
                        CLIENT_SECRET_POST: "post form",
                        PRIVATE_KEY_JWT: "private_key",
                    },
                    later=tuple(method.name for method in AUTH_METHODS if not method.available),
                ),
                into=lambda methods: frozenset(methods) or None,
            ),
            "How it may prove who it is: `client_secret_basic`, `client_secret_post`, `client_secret_jwt` "
            f"(with a readable secret of {MIN_HMAC_SECRET_BYTES} bytes or more), `private_key_jwt`. "
            "Empty: all that its credentials make possible.",
            default_text="[]",
            such_as=f"[{CLIENT_SECRET_BASIC}]",
            aliases="auth_method token_endpoint_auth_method token_endpoint_auth_methods "
            "authentication_methods client_authentication_methods",
        ),
        Field(
            "claims",
            Claims(parse_own_claim_name),
            "Further claims in its tokens, for `require.claims` of routes and for the services themselves.",
            such_as="{tenant: acme}",
            aliases="extra_claims custom_claims token_claims attributes metadata",
        ),
        Field(
            "disabled",
            FLAG,
            "True: no token for it, and its live tokens stop working.",
            aliases="enabled active suspended blocked",
        ),
        *KEY_FIELDS,
        KEY_PROXY,
        Field(
            "replay",
            REPLAY,
            "Whether the `jti` of an assertion by which it authenticates counts once (`single_use`) or may "
            "come again until `exp` (`allow`).",
            attribute="single_use_assertions",
        ),
        Field("require_jti", FLAG, "Whether such an assertion must have a `jti`."),
        Field(
            "legacy_audience",
            FLAG,
            "Whether each value of `aud` in such an assertion may be the address of the token endpoint, too, "
            "not only the issuer.",
        ),
        Field(
            "assertions",
            ListOf("list of identities", ASSERTION, distinct=False),
            "Identities of other platforms that act as this client (the `jwt-bearer` grant).",
            such_as="[{issuer: https://accounts.example, subject: reporting-job}]",
            aliases="identities identity assertion federated_identities trusted_issuers workload_identity "
            "jwt_bearer",
        ),
        later_key("tls_client_auth", "Its client certificate."),
        later_key("token_format", "`jwt` or `opaque`."),
    ),
    ClientSettings(""),
    _join_client,
    _part_client,
    is_sparse=True,
    one_of=(KEY_SOURCES,),
)


def _day_in(text: str) -> str:
    """Return the day that is spelled as elsewhere: `30.06.2027`, `2027/06/30`, with a time; or nothing."""
    match = re.match(r"([0-9]{4})[-/.]([0-9]{2})[-/.]([0-9]{2})(?:[T ].{0,30})?\Z", text, re.ASCII)
    parts = match.groups() if match else ()
    if (match := re.match(r"([0-9]{1,2})\.([0-9]{1,2})\.([0-9]{4})\Z", text, re.ASCII)) is not None:
        parts = match.groups()[::-1]
    try:
        return datetime.date(*map(int, parts)).isoformat() if parts else ""
    except ValueError:
        return ""


def parse_last_day(text: str) -> float:
    """Return the epoch second at which the day `YYYY-MM-DD` (UTC) is over."""
    try:
        if len(text) != 10 or not text.isascii():
            raise ValueError(text)
        day = datetime.date.fromisoformat(text)
        end = datetime.datetime.combine(day, datetime.time(), datetime.UTC) + datetime.timedelta(days=1)
    except (ValueError, OverflowError):
        hint = "YYYY-MM-DD, the last day (UTC) on which it holds"
        raise SpellingError("is not a day", hint, instead=_day_in(text)) from None
    return end.timestamp()


def spell_last_day(end: float) -> str:
    """Return the last day before an epoch second, as `parse_last_day` reads it."""
    return str((datetime.datetime.fromtimestamp(end, datetime.UTC) - datetime.timedelta(days=1)).date())


AUTHORIZATION = Section(
    "authorization",
    (
        Field(
            "client",
            CLIENT_ID,
            "The caller.",
            required=True,
            such_as="reporting-job",
            aliases="client_id azp caller principal who from",
        ),
        Field(
            "audience",
            CLIENT_ID,
            "The client that is called.",
            required=True,
            such_as="country-service",
            aliases="aud resource api service to",
        ),
        Field(
            "scopes",
            SCOPES,
            "The scopes it may ask for, all of them offered by the audience.",
            such_as="[country.read]",
            aliases="scope scp permissions roles actions allow",
        ),
        Field(
            "default_scopes",
            SCOPES,
            "What it gets when it asks for none; a part of `scopes`.",
            such_as="[country.read]",
            aliases="default_scope scopes_default",
        ),
        Field(
            "token_lifetime",
            LIFETIME,
            "How long these tokens are valid.",
            attribute="token_lifetime_s",
            such_as="15m",
            aliases="ttl lifetime expires_in token_ttl",
        ),
        Field(
            "until",
            Text("day", parse_last_day, spell=spell_last_day),
            "The last day (UTC) on which it holds, `YYYY-MM-DD`. `sidegate check` warns 14 days before.",
            such_as="2099-12-31",
            aliases="expires expiry exp expires_at valid_until not_after end ends",
        ),
    ),
    AuthorizationSettings("", ""),
    is_sparse=True,
)
