"""List what RFC 6749 (the OAuth 2.0 framework) demands of us."""

from dataclasses import replace

from tests.conformance.rows import BASIC, NO_STORE, SECRETS, TOKEN, Row, as_client, is_of, parts, wrong

ODD = "odd client:%+/"
POST_SECRET = TOKEN.without("Authorization").having(client_id="caller", client_secret=SECRETS["caller"])

ROWS = [
    Row(
        "RFC 6749 2.3.1",
        "id and secret are form-encoded in Basic",
        as_client(TOKEN.without("scope"), ODD, encoded=False),
        401,
        "invalid_client",
        {"WWW-Authenticate": BASIC},
        twin=as_client(TOKEN.without("scope"), ODD),
    ),
    Row("RFC 6749 2.3.1", "Basic is supported for clients with a secret", TOKEN, 200, look=is_of("caller")),
    Row("RFC 6749 2.3.1", "client_secret_post is supported", POST_SECRET, 200, look=is_of("caller")),
    Row(
        "RFC 6749 2.3.1",
        "credentials are never taken from the URI",
        TOKEN.without("Authorization").to("/oauth2/token?client_id=caller&client_secret=caller-secret"),
        400,
        "invalid_request",
        twin=POST_SECRET,
    ),
    Row(
        "RFC 6749 2.3",
        "two ways of authentication in one request are refused",
        TOKEN.having(client_id="caller", client_secret=SECRETS["caller"]),
        400,
        "invalid_request",
        twin=TOKEN.having(client_id="caller"),
    ),
    Row(
        "RFC 6749 2.3",
        "two Authorization fields are two ways, too",
        TOKEN.sending(TOKEN.fields[0]),
        400,
        "invalid_request",
        twin=TOKEN,
    ),
    *(
        Row(
            "RFC 6749 2.3.1",
            f"what does not spell id and secret is refused: {value}",
            TOKEN.without("Authorization").sending(("Authorization", value)),
            401,
            "invalid_client",
            {"WWW-Authenticate": BASIC},
            twin=TOKEN,
        )
        for value in ("Basic", "Basic ####", "Basic Y2FsbGVy", "Basic JTg=", "Basic /////w==", "Bearer abc")
    ),
    Row(
        "RFC 6749 B",
        "a form is UTF-8",
        replace(TOKEN, form=None, body="grant_type=client_credentials&scope=l%E4nder").sending(
            ("Content-Type", "application/x-www-form-urlencoded")
        ),
        400,
        "invalid_request",
        twin=TOKEN,
    ),
    Row(
        "RFC 6749 3.2",
        "only POST",
        TOKEN.to("/oauth2/token", "GET"),
        405,
        "invalid_request",
        {"Allow": "POST"},
        twin=TOKEN,
    ),
    Row(
        "RFC 6749 3.2",
        "an empty parameter counts as not sent",
        TOKEN.having(scope="", audience=""),
        200,
        look=lambda a: "scope" not in a.json and parts(a)[1]["aud"] == "country-service",
    ),
    Row(
        "RFC 6749 3.2",
        "an empty required parameter is missing",
        TOKEN.having(grant_type=""),
        400,
        "invalid_request",
        twin=TOKEN,
    ),
    Row(
        "RFC 6749 3.2",
        "unknown parameters are ignored",
        TOKEN.having(colour="blue"),
        200,
        look=lambda a: a.json["scope"] == "country.read" and "colour" not in {*a.json, *parts(a)[1]},
    ),
    Row(
        "RFC 6749 3.2",
        "a repeated parameter is refused",
        TOKEN.twice("scope", "country.read"),
        400,
        "invalid_request",
        twin=TOKEN,
    ),
    Row(
        "RFC 6749 3.2",
        "a repeated parameter is refused, even an unknown one",
        TOKEN.twice("colour", "blue").twice("colour", "blue"),
        400,
        "invalid_request",
        twin=TOKEN.twice("colour", "blue"),
    ),
    Row(
        "RFC 6749 4.4.2",
        "parameters are a form",
        replace(TOKEN, form=None, body='{"grant_type":"client_credentials"}').sending(
            ("Content-Type", "application/json")
        ),
        415,
        "invalid_request",
        twin=TOKEN,
    ),
    *(
        Row(
            "RFC 6749 3.3",
            f"scope names are case-sensitive, of their set, single-spaced: {scope!r}",
            TOKEN.having(scope=scope),
            400,
            "invalid_scope",
            twin=TOKEN.having(scope="country.read country.write"),
        )
        for scope in (
            *("COUNTRY.READ", "country.read  country.write", " country.read", "country.read "),
            *("country.read\tcountry.write", 'country."read"', "country\\read", "ländern"),
        )
    ),
    Row(
        "RFC 6749 3.3",
        "an asked scope is granted whole or refused",
        TOKEN.having(scope="country.read orders.read"),
        400,
        "invalid_scope",
        twin=TOKEN,
    ),
    Row(
        "RFC 6749 3.3",
        "no scope asked: the default, and the reply says so",
        as_client(TOKEN.without("scope"), "other"),
        200,
        look=lambda answer: answer.json["scope"] == "country.write",
    ),
    Row(
        "RFC 6749 3.3",
        "no scope asked and no default: none",
        TOKEN.without("scope"),
        200,
        look=lambda answer: "scope" not in answer.json and "scope" not in parts(answer)[1],
    ),
    Row(
        "RFC 6749 4.4",
        "client_credentials only for an authenticated client",
        TOKEN.without("Authorization").having(client_id="caller"),
        401,
        "invalid_client",
        twin=POST_SECRET,
    ),
    Row(
        "RFC 6749 4.4.3",
        "there is no refresh token",
        TOKEN,
        200,
        look=lambda answer: set(answer.json) == {"access_token", "token_type", "expires_in", "scope"},
    ),
    Row(
        "RFC 6749 5.1",
        "a reply is JSON that nobody stores, with token_type and expires_in",
        TOKEN,
        200,
        fields=NO_STORE,
        look=lambda answer: (answer.json["token_type"], answer.json["expires_in"]) == ("Bearer", 3600),
    ),
    Row(
        "RFC 6749 5.2",
        "a wrong secret is 401 with the challenge of the scheme",
        wrong(TOKEN),
        401,
        "invalid_client",
        {**NO_STORE, "WWW-Authenticate": BASIC},
        twin=TOKEN,
    ),
    Row(
        "RFC 6749 5.2",
        "an unknown client is the same",
        as_client(TOKEN, "nobody", secret="x"),
        401,
        "invalid_client",
        {**NO_STORE, "WWW-Authenticate": BASIC},
        twin=TOKEN,
    ),
    Row(
        "RFC 6749 5.2",
        "a wrong secret in the form is invalid_client",
        POST_SECRET.having(client_secret="wrong"),
        401,
        "invalid_client",
        NO_STORE,
        twin=POST_SECRET,
    ),
    Row(
        "RFC 6749 5.2",
        "a missing parameter is invalid_request",
        TOKEN.without("grant_type"),
        400,
        "invalid_request",
        NO_STORE,
        twin=TOKEN,
    ),
    *(
        Row(
            "RFC 6749 5.2",
            f"a grant that is not offered is unsupported_grant_type: {grant}",
            TOKEN.having(grant_type=grant),
            400,
            "unsupported_grant_type",
            NO_STORE,
            twin=TOKEN,
        )
        for grant in ("authorization_code", "password", "refresh_token", "implicit", "CLIENT_CREDENTIALS")
    ),
    Row(
        "RFC 6749 5.2",
        "a grant that this client may not use is unauthorized_client",
        as_client(TOKEN, "limited"),
        400,
        "unauthorized_client",
        NO_STORE,
        twin=TOKEN,
    ),
]
