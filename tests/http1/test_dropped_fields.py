"""Hold the table of fields that callers are not believed to what is forwarded, and the document to the table.

After changing the table, run `python tests/http1/test_dropped_fields.py` to renew the list in
docs/security.md.
"""

import re
from pathlib import Path

import pytest

from gateway.http1.dropped_fields import (
    GROUPS,
    LONGEST_REMEMBERED_NAME_BYTES,
    FieldGroup,
    Kept,
    group_of,
    spelled_alike,
)
from gateway.http1.forwarding import forwardable_trailers
from gateway.http1.forwarding_rules import ForwardingRules, may_forward

DOCUMENT = Path(__file__).resolve().parent.parent.parent / "docs" / "security.md"
START, END = "<!-- fields: written by tests/http1/test_dropped_fields.py -->", "<!-- end of fields -->"

EXAMPLES = [
    (group, name)
    for group in GROUPS
    for name in (*sorted(group.names), *(prefix + b"anything" for prefix in group.prefixes))
]


def rules(*, keep: bytes | None = None, trusted: bool = False) -> ForwardingRules:
    return ForwardingRules(
        keep_headers=frozenset() if keep is None else frozenset({keep}),
        forward_token=False,
        host=None,
        forwarded_x=False,
        trusted_peer=trusted,
    )


def spellings(name: bytes) -> list[bytes]:
    """Return names that servers cannot tell from `name`, in lower case."""
    return [
        name,
        name.replace(b"-", b"_"),
        name.replace(b"-", b"."),
        name.replace(b"-", b"~", 1),
        name.replace(b"-", b"--"),
        b"-" + name,
        name + b"_",
    ]


@pytest.mark.parametrize(("group", "name"), EXAMPLES, ids=[name.decode() for _, name in EXAMPLES])
def test_each_field_is_kept_from_those_the_table_says(group: FieldGroup, name: bytes) -> None:
    kept = group.kept
    for spelled in spellings(name):
        assert not may_forward(spelled, rules()), spelled
        by_name = kept in (Kept.NAMED, Kept.TRUSTED_OR_NAMED)
        assert may_forward(spelled, rules(keep=spelled)) is by_name, spelled
        trusted_only = kept is Kept.TRUSTED_OR_NAMED and spelled == name
        assert may_forward(spelled, rules(trusted=True)) is trusted_only, spelled
        assert may_forward(spelled, rules(keep=spelled, trusted=True)) is (kept is not Kept.NEVER), spelled


@pytest.mark.parametrize(("group", "name"), EXAMPLES, ids=[name.decode() for _, name in EXAMPLES])
def test_no_spelling_passes_from_a_trailer_section(group: FieldGroup, name: bytes) -> None:
    for spelled in spellings(name):
        line = b"%b: 1\r\n" % spelled.title()
        assert forwardable_trailers(line, frozenset(), rules()) == b""
        most = forwardable_trailers(line, frozenset(), rules(keep=spelled, trusted=True))
        assert most == (line if group.in_trailers and group.kept is not Kept.NEVER else b"")


@pytest.mark.parametrize(
    "name",
    [
        *(b"x-envoy-original-path", b"x-envoy-original-host", b"x-envoy-original-method", b"x-original-path"),
        *(b"x-original-method", b"x-request-uri", b"x-override-url", b"x-accel-mapping", b"x-accel-redirect"),
        *(b"x-sendfile-type", b"x-sendfile", b"script-name", b"x-script-name", b"path-info", b"x-path-info"),
        *(b"path-translated", b"request-uri", b"x-request-method", b"x-replaced-path", b"method-override"),
        *(b"impersonate-user", b"impersonate-group", b"impersonate-extra-scopes", b"x-impersonate-user"),
        *(b"x-nginx-ssl-client-verify", b"x-verified-client", b"x-client-verified", b"x-verify-client"),
        *(
            b"x-forward-for",
            b"x-clientip",
            b"forwarded-for",
            b"x-http-forwarded-for",
            b"http-x-forwarded-for",
        ),
        *(b"http-client-ip", b"x-http-client-ip", b"x-true-client-ip", b"x-source-ip", b"z-forwarded-for"),
        *(
            b"x-envoy-internal",
            b"x-server-port",
            b"x-port",
            b"x-original-port",
            b"server-port",
            b"server-name",
        ),
        *(b"iv-user", b"iv-groups", b"sm-user", b"sm-serversessionid", b"oam-remote-user", b"osso-user-dn"),
        *(b"ct-remote-user", b"saml-subject", b"x-saml-subject", b"x-remote-groups", b"x-trusted-user"),
        *(
            b"x-appengine-cron",
            b"x-appengine-queuename",
            b"cloudfront-viewer-address",
            b"x-user-ip",
            b"clientip",
        ),
        *(b"x-vercel-forwarded-for", b"fly-forwarded-proto", b"fastly-ssl", b"client-certificate", b"xfcc"),
        *(b"x-orig-url", b"x-orig-path", b"x-origin-url", b"x-rewrite-path", b"request-target"),
    ],
)
def test_what_other_hops_say_is_kept_from_anybody(name: bytes) -> None:
    for spelled in spellings(name):
        assert not may_forward(spelled, rules()), spelled


@pytest.mark.parametrize(
    "name",
    [
        *(b"accept", b"content-type", b"cookie", b"origin", b"referer", b"user-agent", b"if-none-match"),
        *(b"x-requested-with", b"x-csrf-token", b"x-api-key", b"x-tenant", b"x-user-id", b"x-correlation-id"),
        *(b"idempotency-key", b"sec-fetch-site", b"sec-websocket-key", b"dpop", b"traceparent", b"b3"),
        *(b"x-authority", b"x-author", b"x-authenticity-token", b"x-hostname", b"x-schema", b"x-b3-traceid"),
        *(
            b"x-request-id",
            b"x-envoy-decorator-operation",
            b"x-transport",
            b"x-support",
            b"x-methods",
            b"path",
        ),
        *(
            b"x-forwarding-id",
            b"x-accelerate",
            b"port",
            b"x-query",
            b"x-internal",
            b"script",
            b"impersonated",
        ),
        *(b"iv", b"small", b"smart-home", b"x-originator", b"x-user", b"x-email", b"samling", b"x-appengine"),
        *(b"proxies", b"x-client-version", b"x-client-id", b"x-real", b"x-tlsa", b"hosts", b"schema"),
        *(
            b"accept-encoding",
            b"range",
            b"x-amz-date",
            b"x-amzn-trace-id",
            b"x-goog-api-key",
            b"grpc-timeout",
        ),
    ],
)
def test_what_applications_send_passes(name: bytes) -> None:
    assert group_of(name) is None
    assert may_forward(name, rules())


def test_a_name_is_in_one_group_and_spelled_as_it_is_looked_for() -> None:
    names = [name for group in GROUPS for name in group.names]
    assert len(names) == len(set(names))
    for name in names:
        assert spelled_alike(name) == name
        assert not [g for g in GROUPS if (name + b"-").startswith(g.prefixes)], (
            f"{name!r} is covered by a prefix"
        )
    for group in GROUPS:
        for prefix in group.prefixes:
            assert group_of(prefix.rstrip(b"-")) is group


def test_long_names_are_judged_alike_and_not_remembered() -> None:
    long = b"x-ssl-client-" + b"a" * LONGEST_REMEMBERED_NAME_BYTES
    group = group_of(long)
    assert group is not None
    assert group is group_of(b"x-ssl-client-a")


# --- the document ----------------------------------------------------------------------------


def as_sent(name: bytes) -> str:
    return "-".join(part.capitalize() for part in name.decode().split("-"))


def field_list() -> str:
    """Return the table as Markdown."""
    lines = []
    for group in GROUPS:
        names = [*sorted(map(as_sent, group.names)), *(f"{as_sent(prefix)}*" for prefix in group.prefixes)]
        lines.append(
            f"- **{group.what}**, kept {group.kept}: " + ", ".join(f"`{name}`" for name in names) + "."
        )
    return "\n".join(lines)


def test_the_document_lists_the_table() -> None:
    listed = DOCUMENT.read_text("utf-8").partition(START)[2].partition(END)[0].strip()
    assert listed == field_list(), "run `python tests/http1/test_dropped_fields.py` to renew docs/security.md"


def test_the_anchor_that_the_reference_names_is_there() -> None:
    headings = re.findall(r"^#+ (.*)$", DOCUMENT.read_text("utf-8"), re.MULTILINE)
    assert "fields-that-callers-are-not-believed" in [each.lower().replace(" ", "-") for each in headings]


if __name__ == "__main__":
    before, _, rest = DOCUMENT.read_text("utf-8").partition(START)
    DOCUMENT.write_text(f"{before}{START}\n\n{field_list()}\n\n{END}{rest.partition(END)[2]}", "utf-8")
