"""Name the fields that callers cannot be believed, and say from whom they are kept.

The one table of it: what is forwarded (`gateway.http1.forwarding`), what `keep_headers`
may name (`gateway.settings.texts`) and the list in docs/security.md come from here. A
service behind a gateway believes such fields because another hop wrote them once: a load
balancer that ended TLS, a proxy that logged a user in. From anybody else they are lies.

A name stands for every spelling of it: what CGI-like servers (WSGI, PHP, Rack) cannot
tell apart is one name here (`spelled_alike`). The table can only hold names that are
known; `drop_headers` of an upstream adds its own.

Sources: RFC 9440 (Client-Cert), RFC 7239 (Forwarded), RFC 3875 4.1.18 (HTTP_* variables),
and the manuals of the products that introduced the others.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

LONGEST_REMEMBERED_NAME_BYTES = 64
REMEMBERED_NAMES = 1024


class Kept(StrEnum):
    """From whom a field of a group reaches the upstream."""

    NEVER = "from nobody"
    TRUSTED_OR_NAMED = "from `trusted_proxies`, and from anybody when `keep_headers` names it"
    TRUSTED_AND_NAMED = "from `trusted_proxies` when `keep_headers` names it"
    NAMED = "from anybody when `keep_headers` names it"


@dataclass(frozen=True, slots=True)
class FieldGroup:
    """Fields of which the same is believed."""

    what: str
    """What such a field says, for people."""
    kept: Kept
    names: frozenset[bytes]
    """As `spelled_alike` spells them."""
    prefixes: tuple[bytes, ...] = ()
    """Beginnings; of one that ends in `-` the name without it belongs to the group as well."""
    in_trailers: bool = True
    """Whether it may pass from a trailer section where it may pass from a head."""


def _names(text: str) -> frozenset[bytes]:
    return frozenset(text.encode("ascii").split())


GROUPS = (
    FieldGroup(
        "identity that this gateway vouches for", Kept.NEVER, frozenset(), (b"x-auth-", b"x-sidegate-")
    ),
    FieldGroup(
        "the way to here",
        Kept.TRUSTED_OR_NAMED,
        _names("forwarded"),
        (b"x-forwarded",),
        in_trailers=False,
    ),
    FieldGroup(
        "a caller's address",
        Kept.TRUSTED_OR_NAMED,
        _names(
            "ali-cdn-real-ip cdn-real-ip cf-connecting-ip cf-connecting-ipv6 cf-pseudo-ipv4 client-addr "
            "client-ip clientip cloudfront-viewer-address do-connecting-ip fastly-client-ip fly-client-ip "
            "forwarded-for forwarded-for-ip http-client-ip incap-client-ip proxy-client-ip real-ip "
            "remote-ip true-client-ip wl-proxy-client-ip x-appengine-user-ip x-arr-clientip "
            "x-azure-clientip x-azure-socketip x-cdn-src-ip x-client-addr x-client-address x-client-ip "
            "x-clientip x-cluster-client-ip x-coming-from x-custom-ip-authorization "
            "x-envoy-external-address x-envoy-internal x-forward x-forward-for x-http-client-ip "
            "x-nf-client-connection-ip x-original-client-ip x-original-forwarded-for x-original-ip "
            "x-original-remote-addr x-originating-ip x-peer-ip x-proxyuser-ip x-real-client-ip x-real-ip "
            "x-real-port x-remote-addr x-remote-ip x-remote-port x-source-ip x-true-client-ip x-trusted-ip "
            "x-true-ip x-user-ip x-vercel-forwarded-for x-vercel-proxied-for z-forwarded-for"
        ),
        (b"http-forwarded", b"http-x-forwarded", b"x-http-forwarded", b"x-http-x-forwarded"),
        in_trailers=False,
    ),
    FieldGroup(
        "TLS and client certificates",
        Kept.TRUSTED_AND_NAMED,
        _names(
            "client-certificate client-verified client-verify cloudfront-viewer-tls x-arr-clientcert "
            "x-arr-ssl x-clientcert x-client-certificate x-client-dn x-client-s-dn x-client-i-dn "
            "x-client-subject-dn x-client-issuer-dn x-client-verified x-client-verify "
            "x-envoy-peer-certificate x-spiffe-id x-verified-client x-verify-client x-wl-client-cert xfcc"
        ),
        (
            b"cf-client-cert-",
            b"client-cert-",
            b"ssl-",
            b"tls-",
            b"wl-proxy-client-cert-",
            b"x-amzn-mtls-",
            b"x-amzn-tls-",
            b"x-client-cert-",
            b"x-client-ssl-",
            b"x-client-tls-",
            b"x-haproxy-ssl-",
            b"x-mtls-",
            b"x-nginx-ssl-",
            b"x-nginx-tls-",
            b"x-ssl-",
            b"x-tls-",
        ),
        in_trailers=False,
    ),
    FieldGroup(
        "the scheme",
        Kept.TRUSTED_AND_NAMED,
        _names(
            "cf-visitor cloudfront-forwarded-proto fastly-ssl front-end-https front-end-proto https scheme "
            "url-scheme wl-proxy-ssl x-appengine-https x-client-proto x-client-scheme x-http-scheme x-https "
            "x-original-proto x-original-scheme x-proto x-real-proto x-real-scheme x-request-scheme "
            "x-scheme x-url-scheme"
        ),
        (b"fly-forwarded-",),
        in_trailers=False,
    ),
    FieldGroup(
        "the host and its port",
        Kept.TRUSTED_AND_NAMED,
        _names(
            "disguised-host http-host host-override original-host original-port remote-port server-name "
            "server-port x-client-port x-host x-host-override x-http-host x-http-host-override x-http-port "
            "x-ms-original-host x-original-host x-original-port x-original-server x-port x-real-host "
            "x-request-host x-request-port x-requested-host x-server-name x-server-port"
        ),
        in_trailers=False,
    ),
    FieldGroup(
        "who the user is",
        Kept.TRUSTED_AND_NAMED,
        _names(
            "auth-type auth-user ct-remote-user iv-creds iv-groups iv-user iv-user-l sm-authdirname "
            "sm-serversessionid sm-universalid sm-user sm-userdn logon-user proxy-user remote-addr "
            "remote-email remote-groups remote-host remote-ident remote-name remote-roles remote-user "
            "remote-userid unauthenticated-user x-anonymous-consumer x-appengine-cron "
            "x-appengine-inbound-appid x-appengine-queuename x-appengine-taskname x-apigateway-api-userinfo "
            "x-credential-identifier x-credential-username x-endpoint-api-userinfo x-goog-iap-jwt-assertion "
            "x-jwt-assertion x-jwt-payload x-logged-in-user x-proxy-user x-remote-email x-remote-groups "
            "x-remote-name x-sso-user x-trusted-user x-user-dn x-userinfo"
        ),
        (
            b"cf-access-",
            b"impersonate-",
            b"mellon-",
            b"oam-",
            b"oidc-",
            b"osso-",
            b"saml-",
            b"shib-",
            b"tailscale-user-",
            b"x-amzn-oidc-",
            b"x-authenticated-",
            b"x-authentik-",
            b"x-consumer-",
            b"x-goog-authenticated-user-",
            b"x-iisnode-",
            b"x-impersonate-",
            b"x-ms-client-principal-",
            b"x-ms-token-",
            b"x-pomerium-",
            b"x-remote-extra-",
            b"x-remote-group-",
            b"x-remote-user-",
            b"x-saml-",
            b"x-vouch-",
            b"x-webauth-",
        ),
        in_trailers=False,
    ),
    FieldGroup(
        "another method, host or path than was judged",
        Kept.NAMED,
        _names(
            "http-method-override method-override original-request-uri original-uri original-url path-info "
            "path-translated request-method request-target request-uri script-name x-http-method "
            "x-http-method-override x-http-path x-http-path-override x-method x-method-override x-orig-path "
            "x-orig-uri x-orig-url x-origin-url x-original-method x-original-path x-original-query "
            "x-original-request-uri x-original-uri x-original-url x-override-path x-override-url "
            "x-path-info x-path-override x-proxy-url x-replaced-path x-request-method x-request-path "
            "x-request-uri x-request-target x-request-url x-rewrite-path x-rewrite-uri x-rewrite-url "
            "x-rewritten-url x-script-name x-url-override x-waws-unencoded-url"
        ),
        (b"x-accel-", b"x-envoy-original-", b"x-sendfile-"),
    ),
    FieldGroup("a proxy to use (the CGI variable HTTP_PROXY)", Kept.NAMED, _names("proxy")),
)
"""In the order in which a name is looked for."""

_UNDERSCORE = FieldGroup("a name with `_`, which servers read as `-`", Kept.NAMED, frozenset())
_SEPARATORS = re.compile(rb"[^a-z0-9]+")
_GROUP_OF_NAME = {name: group for group in reversed(GROUPS) for name in group.names}
_PREFIXES = tuple(prefix for group in GROUPS for prefix in group.prefixes)


def spelled_alike(name: bytes) -> bytes:
    """Return `name` in lower case with each run of other characters as one `-`, none at the ends.

    CGI-like servers map `-` and `_`, and some every other character, to the same thing; what
    would collide there must be judged as one name here.
    """
    return _SEPARATORS.sub(b"-", name.lower()).strip(b"-")


def group_of(lower_name: bytes) -> FieldGroup | None:
    """Return the group of a field name, or None when anybody may send the field.

    Remembered for a bounded number of short names: a pure function that every field asks.
    """
    if len(lower_name) <= LONGEST_REMEMBERED_NAME_BYTES:
        return _remembered_group(lower_name)
    return _find_group(lower_name)


def _find_group(lower_name: bytes) -> FieldGroup | None:
    alike = spelled_alike(lower_name)
    group = _GROUP_OF_NAME.get(alike)
    if group is None and (alike + b"-").startswith(_PREFIXES):
        group = next(each for each in GROUPS if (alike + b"-").startswith(each.prefixes))
    if group is None and b"_" in lower_name:
        return _UNDERSCORE
    return group


_remembered_group = lru_cache(maxsize=REMEMBERED_NAMES)(_find_group)


def is_kept(lower_name: bytes, group: FieldGroup, *, is_named: bool, is_trusted: bool) -> bool:
    """Return whether a field of `group` passes.

    Args:
        lower_name: Its name in lower case.
        group: From `group_of`.
        is_named: `keep_headers` has this very spelling.
        is_trusted: The peer is one of `trusted_proxies`.
    """
    match group.kept:
        case Kept.NEVER:
            return False
        case Kept.NAMED:
            return is_named
        case Kept.TRUSTED_AND_NAMED:
            return is_named and is_trusted
        case Kept.TRUSTED_OR_NAMED:
            # Only the true spelling is a forwarding field; any other is a lie whoever sent it.
            return is_named or (is_trusted and lower_name == spelled_alike(lower_name))
