"""Show every check across settings, each beside a configuration that passes it."""
# ruff: noqa: E501 (a row of a table is one line or two, however long its message)

from collections.abc import Callable

import pytest

Problems = Callable[..., list[str]]

SOUND = """\
upstreams:
  up: {targets: [http://a]}
clients:
  service:
    scopes: {read: Read, write: Write}
  other:
    scopes: {other.read: Read}
  caller:
    secrets: [sha256:00112233445566778899aabbccddeeff:{digest}]
    default_audience: service
authorizations:
  - client: caller
    audience: service
    scopes: [read]
    default_scopes: [read]
    until: 2027-06-30
routes:
  - name: one
    path: /one/{{x}}
    upstream: up
    require:
      audience: service
      scopes: [read]
      any_scopes: [write]
      clients: [caller]
    rewrite: {{strip_prefix: /one}}
  - path: /two
    access: public
    upstream: up
tests:
  - request: GET /one/1
    client: caller
    audience: service
    scopes: [read]
    expect: allow
""".replace("{targets: [http://a]}", "{{targets: [http://a]}}")
SOUND = SOUND.replace("{read: Read, write: Write}", "{{read: Read, write: Write}}")
SOUND = SOUND.replace("{other.read: Read}", "{{other.read: Read}}").format(digest="ab" * 32)


def test_a_sound_policy_has_no_problem(problems_of: Problems) -> None:
    assert problems_of(SOUND) == []


SPOILED = [
    ("upstream: up\n    require", "upstream: upp\n    require", "E 20:15: routes[0].upstream: \"upp\" is not an upstream"),
    ("audience: service\n      scopes", "audience: servce\n      scopes",
     'E 22:17: routes[0].require.audience: "servce" is not a client (hint: did you mean service?)'),
    ("audience: service\n      scopes", "any_audience: [service, x]\n      scopes",
     'E 22:31: routes[0].require.any_audience[1]: "x" is not a client'),
    ("audience: service\n      scopes", "audience: service\n      any_audience: [other]\n      scopes",
     "E 23:7: routes[0].require.any_audience: audience is given too (hint: write one of audience and any_audience)"),
    ("scopes: [read]\n      any", "scopes: [read, other.read]\n      any",
     'E 23:22: routes[0].require.scopes[1]: "other.read" is not a scope that the audience offers'),
    ("any_scopes: [write]", "any_scopes: [wrte]",
     'E 24:20: routes[0].require.any_scopes[0]: "wrte" is not a scope that the audience offers (hint: did you mean write?)'),
    ("clients: [caller]", "clients: [nobody]", 'E 25:17: routes[0].require.clients[0]: "nobody" is not a client'),
    ("    require:\n      audience: service\n      scopes: [read]\n      any_scopes: [write]\n      clients: [caller]\n", "",
     "E 18:5: routes[0]: the route names no audience, so a token for any service would do"),
    ("      audience: service\n      scopes: [read]\n", "      scopes: [read]\n",
     "E 21:5: routes[0].require: the route names no audience, so a token for any service would do"),
    ("access: public", "access: optional", "E 27:5: routes[1]: the route names no audience"),
    ("access: public", "access: public\n    require: {audience: service}",
     "E 29:5: routes[1].require: a public route requires nothing"),
    ("  - path: /two", "  - name: one\n    path: /two",
     "E 27:11: routes[1].name: a route of this name is defined already at gateway.yaml:18:5"),
    ("strip_prefix: /one}", "strip_prefix: /on}",
     'E 26:29: routes[0].rewrite.strip_prefix: "/on" is not how the path of this route begins'),
    ("access: public", "access: public\n    mode: shadow", "W 29:11: routes[1].mode: \"shadow\" is recorded only"),
    ("  - client: caller", "  - client: nobody", 'E 12:13: authorizations[0].client: "nobody" is not a client'),
    ("audience: service\n    scopes: [read]\n    default", "audience: serve\n    scopes: [read]\n    default",
     'E 13:15: authorizations[0].audience: "serve" is not a client (hint: did you mean service?)'),
    ("scopes: [read]\n    default", "scopes: [read, raed]\n    default",
     'E 14:20: authorizations[0].scopes[1]: "raed" is not a scope that the audience offers (hint: did you mean read?)'),
    ("default_scopes: [read]", "default_scopes: [write]",
     'E 15:22: authorizations[0].default_scopes[0]: "write" is not among the scopes of this authorization'),
    ("routes:", "  - {client: caller, audience: service}\nroutes:",
     "E 17:5: authorizations[1]: this client and audience are authorized already at gateway.yaml:12:5"),
    ("2027-06-30", "2027-01-14", 'W 16:12: authorizations[0].until: "2027-01-14" is over'),
    ("2027-06-30", "2027-01-15", 'W 16:12: authorizations[0].until: "2027-01-15" is less than 14 days away'),
    ("2027-06-30", "2027-01-28",
     ('W 16:12: authorizations[0].until: "2027-01-28" is less than 14 days away: the authorization ends with that day '
     '(hint: set a later day if it is still needed)')),
    ("2027-06-30", "2027-02-30", 'E 16:12: authorizations[0].until: "2027-02-30" is not a day'),
    ("default_audience: service", "default_audience: serice",
     'E 10:23: clients.caller.default_audience: "serice" is not a client (hint: did you mean service?)'),
    ("default_audience: service", "default_audience: other",
     'W 10:23: clients.caller.default_audience: "other" is an audience that this client has no authorization for'),
    ("default_audience: service", "legacy_audience: true",
     "W 10:22: clients.caller.legacy_audience: assertions for the token endpoint's address are accepted"),
    ("default_audience: service", "disabled: true", "W 10:15: clients.caller.disabled: the client is disabled"),
    ("    secrets: [sha256:00112233445566778899aabbccddeeff:" + "ab" * 32 + "]\n", "",
     "W 8:3: clients.caller: the client has an authorization but no credentials"),
    ("client: caller\n    audience: service\n    scopes: [read]\n    expect",
     "client: calle\n    audience: service\n    scopes: [read]\n    expect",
     'E 32:13: tests[0].client: "calle" is not a client (hint: did you mean caller?)'),
    ("scopes: [read]\n    expect", "scopes: [nothing]\n    expect",
     'E 34:14: tests[0].scopes[0]: "nothing" is not a scope that the audience offers (hint: offered: read, write)'),
    ("    client: caller\n    audience: service\n    scopes: [read]\n    expect", "    audience: service\n    expect",
     "E 32:15: tests[0].audience: there is no client whose token this would be"),
    ("    scopes: [read]\n    expect", "    claims: {a: 1}\n    expect",
     "E 34:5: tests[0].claims: a test has a client or claims, not both"),
]  # fmt: skip


def test_an_authorization_that_ends_in_fourteen_days_is_not_near(problems_of: Problems) -> None:
    assert problems_of(SOUND.replace("2027-06-30", "2027-01-29")) == []


@pytest.mark.parametrize(("old", "new", "problem"), SPOILED, ids=[problem for _, _, problem in SPOILED])
def test_a_spoiled_policy(old: str, new: str, problem: str, problems_of: Problems) -> None:
    assert SOUND.count(old) == 1
    found = problems_of(SOUND.replace(old, new))
    severity, _, rest = problem.partition(" ")
    assert any(line.startswith(f"{severity} gateway.yaml:{rest}") for line in found), found


PROCESS = [
    ("admin: {address: '0.0.0.0:9090'}", "admin: {address: '127.0.0.2:9090'}",
     'E 1:18: admin.address: "0.0.0.0:9090" reaches beyond this machine and no admin.token_file is set'),
    ("issuer: {url: 'http://auth.example.com'}", "issuer: {url: 'https://auth.example.com'}",
     'W 1:15: issuer.url: "http://auth.example.com" is http:// and not on loopback'),
    ("listeners: [{address: '[::1]:1'}, {address: '[::1]:1'}]", "listeners: [{address: '[::1]:0'}, {address: '[::1]:0'}]",
     'E 1:45: listeners[1].address: "[::1]:1" is the address of another listener'),
    ("listeners: [{address: '127.0.0.1:1'}, {address: '0.0.0.0:1'}]",
     "listeners: [{address: '127.0.0.1:1'}, {address: '127.0.0.2:1'}]",
     'E 1:49: listeners[1].address: "0.0.0.0:1" is the address of another listener'),
    ("listeners: [{address: '127.0.0.1:1'}, {address: '0.0.0.0:1'}]", "listeners: [{address: '[::]:1'}, {address: '0.0.0.0:1'}]",
     'E 1:49: listeners[1].address: "0.0.0.0:1" is the address of another listener'),
    ("listeners: [{address: '[::1]:1'}, {address: '[::]:1'}]", "listeners: [{address: '127.0.0.1:1'}, {address: '[::]:1'}]",
     'E 1:45: listeners[1].address: "[::]:1" is the address of another listener'),
    ("listeners: [{address: '[::]:1'}, {address: '[::]:1'}]", "listeners: [{address: '0.0.0.0:1'}, {address: '[::]:1'}]",
     'E 1:44: listeners[1].address: "[::]:1" is the address of another listener'),
    ("listeners: [{address: '[::1]:1'}, {address: '[0:0::1]:1'}]", "listeners: [{address: '[::1]:1'}, {address: '[0:0::2]:1'}]",
     'E 1:45: listeners[1].address: "[0:0::1]:1" is the address of another listener'),
    ("listeners: [{address: 'a:1'}, {address: '[::]:1'}]", "listeners: [{address: 'a:1'}, {address: '[::]:2'}]",
     'E 1:41: listeners[1].address: "[::]:1" is the address of another listener'),
    ("listeners: [{address: '127.0.0.1:9090'}]", "listeners: [{address: '127.0.0.1:9091'}]",
     "E 1:1: the admin listener has the address of another listener"),
    ("listeners: [{address: 'unix:/a'}, {address: 'unix:/a'}]", "listeners: [{address: 'unix:/a'}, {address: 'unix:/b'}]",
     'E 1:45: listeners[1].address: "unix:/a" is the address of another listener'),
    (f"listeners: [{{address: 'unix:/{107 * 'a'}'}}]", f"listeners: [{{address: 'unix:/{106 * 'a'}'}}]",
     "E 1:23: listeners[0].address: the path of the socket is too long (hint: at most 107 bytes)"),
    ("listeners: [{address: 'a:1', proxy_protocol: true}]", "listeners: [{address: 'unix:/a', proxy_protocol: true}]",
     "E 1:46: listeners[0].proxy_protocol: no peer may send PROXY headers"),
    ("listeners: [{address: 'a:1', proxy_protocol: true}]",
     "{listeners: [{address: 'a:1', proxy_protocol: true}], trusted_proxies: [127.0.0.1/32]}",
     "E 1:46: listeners[0].proxy_protocol: no peer may send PROXY headers"),
    ("listeners: [{address: 'a:1', tls: {certificate_file: a, key_file: b, client_certificate: required}}]",
     "listeners: [{address: 'a:1', tls: {certificate_file: a, key_file: b, client_certificate: 'off'}}]",
     "E 1:90: listeners[0].tls.client_certificate: client certificates are asked for and client_ca_file does not say"),
    ("listeners: [{address: 'a:1', tls: {certificate_file: a, key_file: b, client_ca_file: c}}]",
     "listeners: [{address: 'a:1', tls: {certificate_file: a, key_file: b, client_certificate: optional, client_ca_file: c}}]",
     "E 1:86: listeners[0].tls.client_ca_file: client certificates are not asked for"),
    ("listeners: [{address: 'a:1', tls: {certificate_file: a}}]",
     "listeners: [{address: 'a:1', tls: {certificate_file: a, key_file: b}}]",
     "E 1:35: listeners[0].tls.key_file: the key is required"),
    ("listeners: []", "listeners: [{address: '127.0.0.1:1'}]", "E 1:12: listeners: the list is empty"),
    ("listeners: [{serves: [gate]}]", "listeners: [{address: 'a:1', serves: [gate]}]",
     "E 1:13: listeners[0].address: the key is required"),
    ("listeners: [{address: 'a:1', serves: [gate, gate]}]", "listeners: [{address: 'a:1', serves: [gate]}]",
     'E 1:45: listeners[0].serves[1]: "gate" is in the list twice'),
    ("upstreams: {u: {targets: []}}", "upstreams: {u: {targets: ['http://a']}}",
     "E 1:26: upstreams.u.targets: the list is empty"),
    ("upstreams: {u: }", "upstreams: {}", "E 1:16: upstreams.u: expected an upstream as a mapping, found nothing"),
    ("upstreams: {u: {targets: ['http://a', 'http://a/']}}", "upstreams: {u: {targets: ['http://a', 'http://a:81']}}",
     'E 1:39: upstreams.u.targets[1]: "http://a/" is in the list twice'),
    ("upstreams: {u: {targets: ['unix:" + "a" * 108 + "']}}", "upstreams: {u: {targets: ['unix:/run/a']}}",
     "E 1:26: upstreams.u.targets: the path of the socket is too long (hint: at most 107 bytes)"),
    ("upstreams: {u: {targets: ['https://a'], tls: {key_file: k}}}",
     "upstreams: {u: {targets: ['https://a'], tls: {server_name: b}}}",
     "E 1:46: upstreams.u.tls.certificate_file: the key is required (hint: key_file has no use without it)"),
    ("upstreams: {u: {targets: ['http://a'], tls: {server_name: b}}}",
     "upstreams: {u: {targets: ['http://a', 'https://a'], tls: {server_name: b}}}",
     "W 1:13: upstreams.u: tls has no effect: no target is https://"),
    ("upstreams: {u: {targets: ['http://a'], keep_headers: [Accept]}}",
     "upstreams: {u: {targets: ['http://a'], keep_headers: [X_Accept]}}",
     "W 1:13: upstreams.u: keep_headers: accept is forwarded anyway (hint: leave it out)"),
    ("upstreams: {u: {targets: ['http://a'], keep_headers: [X-SSL-Client-Verify]}}",
     "trusted_proxies: [10.0.0.0/8]\nupstreams: {u: {targets: ['http://a'], keep_headers: [X-SSL-Client-Verify]}}",
     ("W 1:54: upstreams.u.keep_headers: x-ssl-client-verify is kept from trusted_proxies only, and there are none "
      "(hint: name the proxy that writes it in trusted_proxies, or leave the field out)")),
    ("upstreams: {u: {targets: ['http://a'], keep_headers: [x_tenant], drop_headers: [X-Tenant]}}",
     "upstreams: {u: {targets: ['http://a'], drop_headers: [X-Tenant]}}",
     "E 1:13: upstreams.u: keep_headers: x_tenant is in drop_headers, too (hint: leave it out of one of them)"),
    ("upstreams: {u: {targets: ['http://a'], drop_headers: [Host]}}",
     "upstreams: {u: {targets: ['http://a'], drop_headers: [Cookie]}}",
     ('E 1:55: upstreams.u.drop_headers[0]: "Host" has a rule of its own '
      "(hint: it is always sent; the upstream's `host` replaces it)")),
    ("upstreams: {u: {targets: ['http://a'], keep_headers: [Authorization]}}",
     "upstreams: {u: {targets: ['https://a'], forward_token: true}}",
     'E 1:55: upstreams.u.keep_headers[0]: "Authorization" can never be kept (hint: use forward_token)'),
    ("upstreams: {u: {targets: ['http://a'], health_check: {interval: 1s}}}",
     "upstreams: {u: {targets: ['http://a'], health_check: null}}",
     "E 1:54: upstreams.u.health_check.path: the key is required"),
    ("upstreams: {u: {targets: ['http://a'], health_check: {path: /, interval: 100ms}}}",
     "upstreams: {u: {targets: ['http://a'], health_check: {path: /, interval: 250ms}}}",
     'E 1:74: upstreams.u.health_check.interval: "100ms" is out of bounds'),
    ("upstreams: {u: {targets: ['http://a'], circuit_breaker: {failure_ratio: 0}}}",
     "upstreams: {u: {targets: ['http://a'], circuit_breaker: {failure_ratio: 1}}}",
     "E 1:73: upstreams.u.circuit_breaker.failure_ratio: expected a ratio, found a number"),
    ("upstreams: {u: {targets: ['http://a'], circuit_breaker: {failure_ratio: 1.5}}}",
     "upstreams: {u: {targets: ['http://a'], circuit_breaker: {failure_ratio: 0.01}}}",
     "E 1:73: upstreams.u.circuit_breaker.failure_ratio: expected a ratio, found a number"),
    ("limits: {header_timeout: 0}", "limits: {body_idle_timeout: 0}", 'E 1:26: limits.header_timeout: "0" is out of bounds'),
    ("limits: {header_bytes: 0}", "limits: {body_bytes: 0}", 'E 1:24: limits.header_bytes: "0" is out of bounds'),
    ("limits: {connections: 1e3}", "limits: {connections: 010}",
     "E 1:23: limits.connections: expected a whole number, found a number"),
    ("limits: {connections: true}", "limits: {connections: 1}", "E 1:23: limits.connections: expected a whole number"),
    ("issuer: {token_lifetime: 1500ms}", "issuer: {token_lifetime: 1s}",
     'E 1:26: issuer.token_lifetime: "1500ms" is out of bounds'),
    ("metrics: {buckets: [1, 1]}", "metrics: {buckets: [1, 2]}", "E 1:20: metrics.buckets: the bounds are not"),
    ("metrics: {buckets: [.inf]}", "metrics: {buckets: [1e3]}", "E 1:21: metrics.buckets[0]: expected seconds above 0"),
    ("logs: {access: 1}", "logs: {access: off}", "E 1:16: logs.access: expected stdout | stderr | off | path, found a number"),
    ("logs: {query: yes}", "logs: {query: true}", "E 1:15: logs.query: expected true or false, found text"),
    ("logs: {query: 'true'}", "logs: {query: false}", "E 1:15: logs.query: expected true or false, found text"),
    ("trusted_proxies: [10.0.0.1/8]", "trusted_proxies: [10.0.0.0/8]",
     'E 1:19: trusted_proxies[0]: "10.0.0.1/8" has bits set behind its prefix (hint: the network is 10.0.0.0/8)'),
    ("clients: {a: {claims: {sub: x}}}", "clients: {a: {claims: {tenant: x}}}",
     'E 1:24: clients.a.claims.sub: "sub" is set by the issuer and cannot be given here'),
    ("clients: {a: {claims: {x: .nan}}}", "clients: {a: {claims: {x: [{y: 1.5}]}}}",
     "E 1:27: clients.a.claims.x: the number is not finite"),
    ("clients: {a: {claims: {x: " + "y" * 5000 + "}}}", "clients: {a: {claims: {x: y}}}",
     "E 1:23: clients.a.claims: the claims are too long for a token"),
    ("clients: {a: {description: 1}}", "clients: {a: {description: off}}",
     "E 1:28: clients.a.description: expected text, found a number (hint: put it in quotes to make it text)"),
    ('clients: {a: {description: "x\\ny"}}', "clients: {a: {description: 1:30}}",
     'E 1:28: clients.a.description: "x\\ny" holds a control character'),
    ("clients: {a: {scopes: [read]}}", "clients: {a: {scopes: {read: ''}}}",
     "E 1:23: clients.a.scopes: expected a mapping from scope names to descriptions, found a list"),
    ("clients: {a: {grants: []}}", "clients: {a: {auth_methods: []}}", "E 1:23: clients.a.grants: the list is empty"),
    ("clients: {ä: {}}", "clients: {NO: {}}", 'E 1:11: clients.ä: "ä" is not a client id'),
    ("routes: {}", "routes: null", "E 1:9: routes: expected a list of routes, found a mapping"),
    ("routes: [{path: /a, access: public, upstream: u, methods: []}]", "routes: []",
     "E 1:59: routes[0].methods: the list is empty"),
    ("tests: [{request: GET a, expect: deny}]", "tests: [{request: GET /a, expect: deny}]",
     'E 1:19: tests[0].request: "GET a" is not a request'),
    ("tests: [{request: GET /a, expect: {deny: ok}}]", "tests: [{request: GET /a, expect: {deny: expired}}]",
     'E 1:42: tests[0].expect.deny: "ok" is not a reason for a refusal'),
    ("tests: [{request: GET /a, expect: 99}]", "tests: [{request: GET /a, expect: 404}]",
     "E 1:35: tests[0].expect: expected an expectation, found a number"),
    ("verion: 1", "version: 1", "E 1:1: verion: the key is unknown (hint: did you mean version?)"),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "right", "problem"), PROCESS, ids=[problem for _, _, problem in PROCESS])
def test_a_value_and_its_twin(wrong: str, right: str, problem: str, problems_of: Problems) -> None:
    severity, _, rest = problem.partition(" ")
    found = problems_of(wrong)
    assert any(line.startswith(f"{severity} gateway.yaml:{rest}") for line in found), found
    assert problems_of(right) == []


def test_what_stands_below_a_wrong_name_is_read_all_the_same(problems_of: Problems) -> None:
    found = problems_of("clients:\n  ä: {nonsense: 1, secrets: [1]}\n  a: {scopes: {'a b': x}}\n")
    assert [line.split(": ")[1] for line in found] == [
        "clients.ä",
        "clients.ä.nonsense",
        "clients.ä.secrets[0]",
        'clients.a.scopes["a b"]',
    ]
