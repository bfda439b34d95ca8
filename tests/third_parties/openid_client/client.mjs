// Discover the issuer, get a token with private_key_jwt, introspect it, revoke it, introspect it again.
// Arguments: issuer URL, discovery algorithm (oidc or oauth2), client id, file with the private JWK.

import { readFileSync } from "node:fs";
import * as client from "openid-client";

const [issuer, algorithm, clientId, keyFile] = process.argv.slice(2);
const { kid, ...jwk } = JSON.parse(readFileSync(keyFile, "utf-8"));
const key = await crypto.subtle.importKey("jwk", jwk, { name: "ECDSA", namedCurve: "P-256" }, false, ["sign"]);

const configuration = await client.discovery(
  new URL(issuer),
  clientId,
  undefined,
  client.PrivateKeyJwt({ key, kid }),
  { algorithm, execute: [client.allowInsecureRequests] }, // http, on loopback
);
const token = await client.clientCredentialsGrant(configuration, {
  audience: "country-service",
  scope: "country.read",
});
const before = await client.tokenIntrospection(configuration, token.access_token);
await client.tokenRevocation(configuration, token.access_token);
const after = await client.tokenIntrospection(configuration, token.access_token);
console.log(JSON.stringify({ token, before, after }));
