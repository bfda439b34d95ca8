"""Load every snippet of docs/workload-identity.md and prove an identity by it.

The tokens have the shape in which each platform issues them (header and claims as
captured, names changed); they are signed with keys of our own, which stand in for the
platform's.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.settings.load import load
from gateway.settings.model import (
    AssertionSettings,
    AuthorizationSettings,
    BearerTokenSettings,
    IssuerSettings,
    RemoteKeySource,
    Settings,
    StaticKeySource,
)
from tests.docs.test_snippets import snippets
from tests.issuer.conftest import EC_RING, NOW, ServedIssuer, issuer  # noqa: F401
from tests.support.jws import Key, make_key

PAGE = "docs/workload-identity.md"
US = "https://auth.example.com"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
RSA = make_key("RS256", "platform-rsa")
EC = make_key("ES256", "platform-ec")
EKS = "https://oidc.eks.eu-central-1.amazonaws.com/id/EXAMPLED539D4633E53DE1B71EXAMPLE"
AKS = (
    "https://westeurope.oic.prod-aks.azure.com/11111111-2222-3333-4444-555555555555/"
    "66666666-7777-8888-9999-000000000000/"
)
AWS = "https://0a1b2c3d-1111-2222-3333-444455556666.tokens.sts.global.api.aws"
ENTRA = "https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/v2.0"


def times(seconds: int = 3600, **more: Any) -> dict[str, Any]:
    return {"iat": int(NOW), "exp": int(NOW) + seconds, **more}


def service_account(platform: str) -> dict[str, Any]:
    """Return the claims of a projected service-account token."""
    return {
        "aud": [US],
        **times(nbf=int(NOW)),
        "iss": platform,
        "jti": "0f9f1f4e-6a0e-4a0e-8a53-3f0b8a7a2c11",
        "kubernetes.io": {
            "namespace": "shop",
            "node": {"name": "node-1", "uid": "6d6b0a0c-2b0c-4cb0-9c7f-1f2e3d4c5b6a"},
            "pod": {"name": "orders-7d4b9c", "uid": "0b1c2d3e-4f5a-6b7c-8d9e-0f1a2b3c4d5e"},
            "serviceaccount": {"name": "orders", "uid": "1a2b3c4d-5e6f-7a8b-9c0d-1e2f3a4b5c6d"},
            "warnafter": int(NOW) + 3607,
        },
        "sub": "system:serviceaccount:shop:orders",
    }


GITHUB = {
    "jti": "8f1d3c5e-2b4a-4c6d-8e0f-1a3b5c7d9e0f",
    "sub": "repo:acme/orders:ref:refs/heads/main",
    "aud": US,
    "ref": "refs/heads/main",
    "sha": "3b5d7f9a1c2e4b6d8f0a2c4e6b8d0f1a3c5e7b9d",
    "repository": "acme/orders",
    "repository_owner": "acme",
    "repository_owner_id": "1234567",
    "run_id": "9876543210",
    "run_number": "42",
    "run_attempt": "1",
    "repository_visibility": "private",
    "repository_id": "7654321",
    "actor_id": "24681012",
    "actor": "octocat",
    "workflow": "deploy",
    "head_ref": "",
    "base_ref": "",
    "event_name": "push",
    "ref_protected": "true",
    "ref_type": "branch",
    "workflow_ref": "acme/orders/.github/workflows/deploy.yml@refs/heads/main",
    "job_workflow_ref": "acme/orders/.github/workflows/deploy.yml@refs/heads/main",
    "runner_environment": "github-hosted",
    "iss": "https://token.actions.githubusercontent.com",
    **times(300, nbf=int(NOW) - 300),
}
GOOGLE = {
    "aud": US,
    "azp": "112233445566778899000",
    "email": "orders@shop-prod.iam.gserviceaccount.com",
    "email_verified": True,
    **times(),
    "iss": "https://accounts.google.com",
    "sub": "112233445566778899000",
}
STS = {
    "aud": US,
    "sub": "arn:aws:iam::123456789012:role/orders",
    "https://sts.amazonaws.com/": {"aws_account": "123456789012", "source_region": "eu-central-1"},
    "iss": AWS,
    **times(300),
    "jti": "2c4e6a8c-0e2a-4c6e-8a0c-2e4a6c8e0a2c",
}
MANAGED = {
    "aud": "99999999-8888-7777-6666-555555555555",
    "iss": ENTRA,
    # Entra ID writes the times of issue five minutes back, and `exp` a day ahead.
    "iat": int(NOW) - 300,
    "nbf": int(NOW) - 300,
    "exp": int(NOW) + 86_400,
    "aio": "k2RgYFhpfK1x3cT5",
    "azp": "12121212-3434-5656-7878-909090909090",
    "azpacr": "2",
    "oid": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
    "rh": "1.AXkA",
    "sub": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
    "tid": "11111111-2222-3333-4444-555555555555",
    "uti": "xYz0123456789AbCdEf",
    "ver": "2.0",
}
SVID = {
    "aud": [US],
    **times(300),
    "iss": "https://oidc.spire.example.org",
    "sub": "spiffe://example.org/ns/shop/sa/orders",
}
SPIFFE_BUNDLE = {
    "keys": [
        {**{k: v for k, v in RSA.public.items() if k != "alg"}, "use": "x509-svid", "x5c": ["MIIB"]},
        {**{k: v for k, v in EC.public.items() if k != "alg"}, "use": "jwt-svid"},
    ],
    "spiffe_sequence": 2,
    "spiffe_refresh_hint": 300,
}

PRESETS: list[tuple[str, Key, dict[str, Any], dict[str, Any], str]] = [
    ("Kubernetes", RSA, {}, service_account("https://kubernetes.default.svc.cluster.local"), "allow"),
    ("GitHub Actions", RSA, {"typ": "JWT", "x5t": "ykNaY4qM_ta4k2TgZOCEYLkcYlA"}, GITHUB, "single_use"),
    ("Google", RSA, {"typ": "JWT"}, GOOGLE, "allow"),
    ("EKS", RSA, {}, service_account(EKS), "allow"),
    ("AWS STS", RSA, {"typ": "JWT"}, STS, "single_use"),
    ("AKS", RSA, {}, service_account(AKS), "allow"),
    ("Entra managed identity", RSA, {"typ": "JWT"}, MANAGED, "allow"),
    ("SPIFFE", EC, {"typ": "JWT"}, SVID, "allow"),
]
SPIFFE = len(PRESETS) - 1


def documented(tmp_path: Path) -> tuple[list[Settings], Settings]:
    """Return the settings of each preset with the page's own grants, and those of the last snippet."""
    shared, *presets = snippets(PAGE, "yaml")
    loaded = []
    for number, preset in enumerate(presets):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "gateway.yaml").write_text(
            f"version: 1\nissuer: {{url: {US}}}\npolicies: [grants.yaml]\n{preset}"
        )
        (folder / "grants.yaml").write_text(shared)
        found = load(folder / "gateway.yaml", environ={}, now=NOW)
        assert found.warnings == ()
        loaded.append(found.settings)
    return loaded[:-1], loaded[-1]


def standing_in(settings: Settings, keys: bytes) -> Settings:
    """Return the settings with keys of ours in the place of the platform's."""
    client = settings.clients["orders"]
    (entry,) = client.assertions
    assert isinstance(entry.keys, RemoteKeySource)
    entry = replace(entry, keys=StaticKeySource(keys))
    clients = {**settings.clients, "orders": replace(client, assertions=(entry,))}
    return replace(settings, clients=clients, issuer=IssuerSettings(url=US, assertion_max_lifetime_s=86_400))


@pytest.mark.parametrize("number", range(len(PRESETS)), ids=[preset[0] for preset in PRESETS])
async def test_a_preset_takes_the_platform_s_token_until_its_end(
    issuer: ServedIssuer,  # noqa: F811
    tmp_path: Path,
    number: int,
) -> None:
    presets, _ = documented(tmp_path)
    _, key, header, claims, _ = PRESETS[number]
    keys = json.dumps(SPIFFE_BUNDLE if key is EC else {"keys": [key.public]}).encode()
    known = standing_in(presets[number], keys)
    longest = 86_400 if claims is MANAGED else 3_600
    issuer.configure(replace(known, issuer=IssuerSettings(url=US, assertion_max_lifetime_s=longest)), EC_RING)
    issuer.now = claims["exp"] + 59
    status, body = await ask(issuer, key.token(claims, **header))
    assert status == 200, body


async def ask(served: ServedIssuer, token: str) -> tuple[int, Any]:
    form = {
        "grant_type": JWT_BEARER,
        "assertion": token,
        "scope": "country.read",
        "audience": "country-service",
    }
    async with served.http.post(served.url + "/oauth2/token", data=form) as answer:
        return answer.status, await answer.json()


@pytest.mark.parametrize("number", range(len(PRESETS)), ids=[preset[0] for preset in PRESETS])
async def test_a_preset_takes_the_platform_s_token_and_no_other(
    issuer: ServedIssuer,  # noqa: F811
    tmp_path: Path,
    number: int,
) -> None:
    presets, _ = documented(tmp_path)
    assert len(presets) == len(PRESETS)
    _, key, header, claims, replay = PRESETS[number]
    keys = json.dumps(SPIFFE_BUNDLE if key is EC else {"keys": [key.public]}).encode()
    issuer.configure(standing_in(presets[number], keys), EC_RING)

    token = key.token(claims, **header)
    status, body = await ask(issuer, token)
    assert (status, body.get("scope")) == (200, "country.read"), body
    again, body = await ask(issuer, token)
    assert (again, body.get("error")) == ((200, None) if replay == "allow" else (400, "invalid_grant"))

    # Somebody else on the same platform, and the same workload's token for somebody else.
    for changes in (
        {"sub": claims["sub"] + "-2"},
        {"aud": "https://other.example"},
        {"iss": claims["iss"] + "x"},
    ):
        status, body = await ask(issuer, key.token({**claims, "jti": "another", **changes}, **header))
        assert (status, body["error"]) == (400, "invalid_grant")


@pytest.mark.parametrize("typ", ["JWT", "JOSE", "jose", "application/jose", None])
async def test_an_svid_is_of_either_type_of_its_specification(
    issuer: ServedIssuer,  # noqa: F811
    tmp_path: Path,
    typ: str | None,
) -> None:
    presets, _ = documented(tmp_path)
    issuer.configure(standing_in(presets[SPIFFE], json.dumps(SPIFFE_BUNDLE).encode()), EC_RING)
    assert (await ask(issuer, EC.token(SVID, typ=typ)))[0] == 200
    for other in ("JOSE+JSON", "jwt-svid", "at+jwt"):
        assert (await ask(issuer, EC.token(SVID, typ=other)))[0] == 400


def test_the_keys_are_where_the_page_says(tmp_path: Path) -> None:
    presets, signer = documented(tmp_path)
    kubernetes = presets[0].clients["orders"].assertions[0]
    assert isinstance(kubernetes, AssertionSettings)
    assert kubernetes.keys == RemoteKeySource(
        "https://kubernetes.default.svc.cluster.local",
        "https://kubernetes.default.svc/openid/v1/jwks",
        Path("/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"),
        BearerTokenSettings(
            "kubernetes",
            Path("/var/run/secrets/kubernetes.io/serviceaccount/token"),
            ("https://kubernetes.default.svc:443",),
        ),
    )
    discovered = [preset.clients["orders"].assertions[0].keys for preset in presets[1:]]
    assert all(isinstance(keys, RemoteKeySource) and keys.uri is None for keys in discovered)
    assert signer.clients["orders"].require_jti
    assert isinstance(signer.authorizations[0], AuthorizationSettings)
