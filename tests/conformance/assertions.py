"""Sign the assertions that stand in the requests of the rows, honest ones and every other kind.

`{client_X}` is a client assertion of the client `signer` and `{grant_X}` an assertion of
the identity `job` for the jwt-bearer grant, where X says what is wrong with it.
"""

import itertools
import time
from collections.abc import Callable, Mapping
from typing import Any

from tests.support.jws import Key, compact, hs256, make_key

PLATFORM = "https://platform.example"
HMAC_SECRET = "a readable secret of more than thirty-two bytes"
SIGNER = make_key("ES256", "signer-ec")
SIGNER_RSA = make_key("RS256", "signer-rsa")
JOB = make_key("ES256", "job-ec")
JOB_RSA = make_key("RS256", "job-rsa")
FORGERS = {SIGNER: make_key("ES256", "signer-ec"), JOB: make_key("ES256", "job-ec")}

CLIENT_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"

_NUMBERS = itertools.count()

Make = Callable[[str], str]
"""From our issuer identifier to an assertion."""


def _claims(issuer: str, by: str, subject: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    now = int(time.time())
    honest = {
        "iss": by,
        "sub": subject,
        "aud": issuer,
        "iat": now,
        "exp": now + 300,
        "jti": f"assertion {next(_NUMBERS)}",
    }
    changed = {name: value(now, issuer) if callable(value) else value for name, value in changes.items()}
    return {name: value for name, value in (honest | changed).items() if value is not None}


# What is wrong with an assertion -> the claims that differ; None is left out.
_DEFECTS: dict[str, dict[str, Any]] = {
    "honest": {},
    **{f"without_{claim}": {claim: None} for claim in ("iss", "sub", "aud", "exp")},
    "expired": {"exp": lambda now, _: now - 61},
    "early": {"nbf": lambda now, _: now + 600},
    "issued_tomorrow": {"iat": lambda now, _: now + 86_400, "exp": lambda now, _: now + 3_000},
    "long_lived": {"exp": lambda now, _: now + 86_400},
    "timed_by_text": {"exp": lambda now, _: str(now + 300)},
    "for_another": {"aud": "https://elsewhere.example"},
    "for_us_and_another": {"aud": lambda _, issuer: [issuer, "https://elsewhere.example"]},
    "for_us_in_a_list": {"aud": lambda _, issuer: [issuer]},
    "for_the_endpoint": {"aud": lambda _, issuer: issuer + "/oauth2/token"},
    "of_another_issuer": {"iss": "https://elsewhere.example"},
    "of_another_subject": {"sub": "somebody"},
    "of_nobody": {"iss": "nobody", "sub": "nobody"},
}


def _signed(key: Key, by: str, subject: str, changes: Mapping[str, Any], **header: Any) -> Make:
    return lambda issuer: key.token(_claims(issuer, by, subject, changes), **header)


def _use(use: str, key: Key, rsa: Key, by: str, subject: str) -> dict[str, Make]:
    def unsigned(issuer: str) -> str:
        return compact({"alg": "none"}, _claims(issuer, by, subject, {})).decode()

    return {
        **{f"{use}_{word}": _signed(key, by, subject, changes) for word, changes in _DEFECTS.items()},
        f"{use}_rs256": _signed(rsa, by, subject, {}),
        f"{use}_forged": _signed(FORGERS[key], by, subject, {}),
        f"{use}_unsigned": unsigned,
        f"{use}_typed_at_jwt": _signed(key, by, subject, {}, typ="at+jwt"),
        f"{use}_typed_jwt": _signed(key, by, subject, {}, typ="JWT"),
        f"{use}_critical": _signed(key, by, subject, {}, crit=["exp"]),
    }


def _mac(key: Callable[[], bytes], by: str) -> Make:
    return lambda issuer: compact({"alg": "HS256"}, _claims(issuer, by, by, {}), hs256(key())).decode()


ASSERTIONS: Mapping[str, Make] = {
    **_use("client", SIGNER, SIGNER_RSA, "signer", "signer"),
    **_use("grant", JOB, JOB_RSA, PLATFORM, "job"),
    "grant_of_idle": _signed(JOB, PLATFORM, "idler", {}),
    "client_typed": _signed(SIGNER, "signer", "signer", {}, typ="client-authentication+jwt"),
    "client_mac": _mac(HMAC_SECRET.encode, "hmac"),
    "client_mac_forged": _mac(lambda: b"another secret of more than thirty-two bytes", "hmac"),
    "client_mac_by_public_key": _mac(SIGNER.jwk.export_to_pem, "signer"),
}
