// Serve node oidc-provider with one client: client_credentials, ES256 JWT access tokens, state in memory.
//
// Arguments: PORT SECRET. Everything that is not needed for this grant is off; the adapter is the
// provider's own, in memory, with its default bound on entries.

import { generateKeyPairSync } from "node:crypto";
import { Provider } from "oidc-provider";

const [port, secret] = process.argv.slice(2);
const AUDIENCE = "https://country.example";
const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
const key = { ...privateKey.export({ format: "jwk" }), alg: "ES256", use: "sig", kid: "one" };

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [
    {
      client_id: "caller",
      client_secret: secret,
      grant_types: ["client_credentials"],
      redirect_uris: [],
      response_types: [],
      token_endpoint_auth_method: "client_secret_basic",
      id_token_signed_response_alg: "ES256",
    },
  ],
  clientAuthMethods: ["client_secret_basic"],
  jwks: { keys: [key] },
  scopes: ["country.read"],
  ttl: { ClientCredentials: 3600 },
  enabledJWA: { idTokenSigningAlgValues: ["ES256"] },
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => AUDIENCE,
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({
        scope: "country.read",
        audience: AUDIENCE,
        accessTokenTTL: 3600,
        accessTokenFormat: "jwt",
        jwt: { sign: { alg: "ES256" } },
      }),
    },
  },
});
provider.listen(Number(port), "127.0.0.1");
