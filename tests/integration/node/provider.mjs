// The certified `oidc-provider`, configured for tests: short lives, one user, one client for each way to authenticate.
//
// Argument: a JSON object {port, issuer, ttl, rotate, clients: [...], user: {name, password}, tls, nonces}; port 0 takes a free
// one, an issuer of null is where it listens. `tls`, where given, names PEM files {key, cert, ca}: it then speaks https, and on
// a second port https that asks for a client certificate, which the metadata name as RFC 8705's alias. `nonces` has DPoP proofs
// need one. `workload` {issuer, jwks} is an issuer whose tokens are taken as assertions and subjects. Prints one line of JSON, {issuer, port}, once it listens. `GET /stats` tells what the
// token endpoint did, `GET /ttl/25` makes the access tokens to come live 25 seconds. What goes wrong before a provider, at its
// gateway, is scripted: `PUT /script` {endpoint, n, status, headers, body} answers in its place, {endpoint, n, changes, omit}
// changes what it answered; n of null stands until `DELETE /script`. `PUT /moved` {path} moves the token endpoint, null back.
// It ends when its standard input does, so it cannot outlive the test run.
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createSecureServer } from 'node:https';

// Two of oidc-provider's start-up remarks (in-memory storage, Node's release line) are about production.
console.info = console.warn = () => {};
const { default: Provider, errors } = await import('oidc-provider');
const { createLocalJWKSet, jwtVerify } = await import('jose'); // oidc-provider's own

const settings = JSON.parse(process.argv[2]);
const stats = { success: {}, error: {}, arrived: { token: 0, discovery: 0 } };
const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const DEVICE_CODE = 'urn:ietf:params:oauth:grant-type:device_code';
const GRANTS = [
  'client_credentials', 'password', 'refresh_token', 'authorization_code', JWT_BEARER, TOKEN_EXCHANGE, DEVICE_CODE,
];
const API_SCOPES = 'read write admin';
const CLIENT_SCOPES = 'openid offline_access read write'; // no admin, so that a scope can be refused

const configuration = {
  extraTokenClaims: (_ctx, token) => token.extra,
  clients: settings.clients.map(({ public: isPublic, ...client }) => ({
    redirect_uris: ['http://127.0.0.1/callback'],
    response_types: ['code'],
    scope: CLIENT_SCOPES,
    grant_types: isPublic ? GRANTS.filter((grant) => grant !== 'client_credentials') : GRANTS,
    ...client,
  })),
  scopes: ['openid', 'offline_access', ...API_SCOPES.split(' ')],
  clientAuthMethods: [
    'client_secret_basic', 'client_secret_post', 'client_secret_jwt', 'private_key_jwt', 'none',
    ...(settings.tls ? ['tls_client_auth', 'self_signed_tls_client_auth'] : []),
  ],
  ttl: {
    AccessToken: () => settings.ttl, ClientCredentials: () => settings.ttl, RefreshToken: 3600, Grant: 3600, IdToken: 3600,
    AuthorizationCode: 60, Interaction: 60, Session: 600,
  },
  cookies: { keys: ['integration tests only'] },
  pkce: { required: () => false },
  rotateRefreshToken: () => settings.rotate,
  findAccount: (_ctx, id) => (id === settings.user.name ? { accountId: id, claims: () => ({ sub: id }) } : undefined),
  features: {
    clientCredentials: { enabled: true },
    deviceFlow: { enabled: true },
    revocation: { enabled: true },
    dPoP: { enabled: true, nonceSecret: randomBytes(32), requireNonce: () => settings.nonces },
    // Its own: the comparison of certificates and the binding of tokens. Ours, because it leaves both to whoever ends TLS: where
    // the certificate is found, that Node has verified it against our authority, and how a subject is spelled.
    mTLS: {
      enabled: Boolean(settings.tls),
      certificateBoundAccessTokens: true,
      selfSignedTlsClientAuth: true,
      tlsClientAuth: true,
      getCertificate: (ctx) => ctx.socket.getPeerX509Certificate?.(),
      certificateAuthorized: (ctx) => ctx.socket.authorized,
      certificateSubjectMatches: (ctx, property, expected) => (
        property === 'tls_client_auth_subject_dn' && ctx.socket.getPeerX509Certificate().subject === expected
      ),
    },
    devInteractions: { enabled: true }, // its login and consent forms, which a test fills in
    resourceIndicators: { // with `resource=` a token is a signed JWT, without it an opaque one
      enabled: true,
      defaultResource: () => undefined,
      useGrantedResource: () => true,
      getResourceServerInfo: (_ctx, resource) => ({
        scope: API_SCOPES, audience: resource, accessTokenTTL: settings.ttl, accessTokenFormat: 'jwt',
      }),
    },
  },
};

// The one grant that OAuth 2.1 dropped and oidc-provider therefore has not. Only the login is ours: the refresh tokens
// that begin here are redeemed, rotated and revoked by oidc-provider's own code.
async function passwordGrant(provider, ctx) {
  const { username, password, scope } = ctx.oidc.params;
  if (username !== settings.user.name || password !== settings.user.password) {
    throw new errors.InvalidGrant('wrong username or password');
  }
  const { client } = ctx.oidc;
  const grant = new provider.Grant({ accountId: username, clientId: client.clientId });
  grant.addOIDCScope(scope ?? 'openid');
  const grantId = await grant.save();
  const entity = { accountId: username, client, grantId, gty: 'password', scope };
  const access = new provider.AccessToken(entity);
  const refresh = new provider.RefreshToken({ ...entity, rotations: 0, authTime: Math.floor(Date.now() / 1000) });
  ctx.body = {
    access_token: await access.save(),
    expires_in: access.expiration,
    refresh_token: await refresh.save(),
    scope,
    token_type: access.tokenType,
  };
}

// Two grants that oidc-provider has not at all. Client authentication, resources and tokens are its own code; ours is who is
// believed: the workload issuer of the settings, and for an exchange also oidc-provider's own live tokens.
async function foreignSubject(provider, text) {
  const { issuer, jwks } = settings.workload;
  const options = { issuer, audience: provider.issuer, requiredClaims: ['exp', 'sub'] };
  const { payload } = await jwtVerify(text, createLocalJWKSet(jwks), options).catch(({ message }) => {
    throw new errors.InvalidGrant(message);
  });
  return payload.sub;
}

async function issue(provider, ctx, extra) {
  const { client, params } = ctx.oidc;
  const token = new provider.ClientCredentials({ client, scope: params.scope, extra });
  if (params.resource) {
    const [audience] = [params.resource].flat();
    token.resourceServer = new provider.ResourceServer(audience, {
      scope: API_SCOPES, audience, accessTokenTTL: settings.ttl, accessTokenFormat: 'jwt',
    });
  }
  return { access_token: await token.save(), expires_in: token.expiration, token_type: token.tokenType };
}

async function jwtBearerGrant(provider, ctx) {
  ctx.body = await issue(provider, ctx, { acts_as: await foreignSubject(provider, ctx.oidc.params.assertion) });
}

async function tokenExchangeGrant(provider, ctx) {
  const { params } = ctx.oidc;
  const types = ['access_token', 'jwt'].map((name) => `urn:ietf:params:oauth:token-type:${name}`);
  if (!types.includes(params.subject_token_type)) throw new errors.InvalidRequest('unknown subject_token_type');
  const own = await provider.AccessToken.find(params.subject_token) ?? await provider.ClientCredentials.find(params.subject_token);
  const actsAs = own ? own.accountId ?? own.clientId : await foreignSubject(provider, params.subject_token);
  const actor = params.actor_token && await foreignSubject(provider, params.actor_token);
  ctx.body = { ...await issue(provider, ctx, { acts_as: actsAs, actor, asked: params.audience }), issued_token_type: types[0] };
}

function count(outcome, ctx) {
  const grant = ctx.oidc?.params?.grant_type ?? 'unknown';
  stats[outcome][grant] = (stats[outcome][grant] ?? 0) + 1;
}

const ENDPOINTS = { '/token': 'token', '/.well-known/openid-configuration': 'discovery' };
const script = { token: [], discovery: [] };
let standing = {};

async function control(request, response) {
  let text = '';
  for await (const chunk of request) text += chunk;
  const { endpoint, n, path, ...turn } = JSON.parse(text || '{}');
  if (request.url === '/moved') {
    settings.moved = path;
  } else if (request.method === 'DELETE') {
    script.token = [];
    script.discovery = [];
    standing = {};
  } else if (n === null) {
    standing[endpoint] = turn;
  } else {
    script[endpoint].push(...Array(n).fill(turn));
  }
  response.end();
}

function differ(response, { changes, omit }) {
  const end = response.end.bind(response);
  response.end = (body) => {
    const members = { ...JSON.parse(body), ...changes };
    for (const name of omit) delete members[name];
    const text = JSON.stringify(members);
    response.setHeader('Content-Length', Buffer.byteLength(text));
    return end(text);
  };
}

function pass(request, response) {
  if (settings.moved && request.url === '/token') return response.writeHead(404).end();
  if (settings.moved && request.url === settings.moved) request.url = '/token';
  const endpoint = ENDPOINTS[request.url];
  if (endpoint) stats.arrived[endpoint] += 1;
  const turn = script[endpoint]?.shift() ?? standing[endpoint];
  if (turn?.status) return request.resume().on('end', () => {
    response.writeHead(turn.status, turn.headers).end(Buffer.from(turn.body, 'base64'));
  });
  if (turn) differ(response, turn);
  return handle(request, response);
}

function answer(request, response) {
  if (request.url === '/stats') {
    response.setHeader('Content-Type', 'application/json');
    response.end(JSON.stringify(stats));
  } else if (request.url.startsWith('/ttl/')) {
    settings.ttl = Number(request.url.slice('/ttl/'.length));
    response.end();
  } else if (request.url === '/script' || request.url === '/moved') {
    control(request, response);
  } else {
    pass(request, response);
  }
}
let handle = (_request, response) => response.writeHead(503).end();

const listening = (server, port) => new Promise((resolve) => {
  server.listen(port, '127.0.0.1', () => resolve(server.address().port));
});
const files = Object.fromEntries(Object.entries(settings.tls ?? {}).map(([name, path]) => [name, readFileSync(path)]));

async function start() {
  const port = await listening(settings.tls ? createSecureServer(files, answer) : createServer(answer), settings.port);
  const issuer = settings.issuer ?? `${settings.tls ? 'https' : 'http'}://127.0.0.1:${port}`;
  if (settings.tls) {
    const asking = { ...files, requestCert: true, rejectUnauthorized: false }; // whom it lets in is oidc-provider's business
    const alias = await listening(createSecureServer(asking, answer), 0);
    configuration.discovery = { mtls_endpoint_aliases: { token_endpoint: `https://127.0.0.1:${alias}/token` } };
  }
  const provider = new Provider(issuer, configuration);
  provider.registerGrantType('password', (ctx) => passwordGrant(provider, ctx), ['username', 'password', 'scope']);
  provider.registerGrantType(JWT_BEARER, (ctx) => jwtBearerGrant(provider, ctx), ['assertion', 'scope', 'resource'], 'resource');
  provider.registerGrantType(TOKEN_EXCHANGE, (ctx) => tokenExchangeGrant(provider, ctx), [
    'subject_token', 'subject_token_type', 'actor_token', 'actor_token_type', 'scope', 'resource', 'audience',
  ], ['resource', 'audience']);
  provider.on('grant.success', (ctx) => count('success', ctx));
  provider.on('grant.error', (ctx) => count('error', ctx));
  provider.on('server_error', (_ctx, error) => console.error(error));
  handle = provider.callback();
  process.stdout.write(`${JSON.stringify({ issuer, port })}\n`);
}
await start();

process.stdin.on('end', () => process.exit(0)).resume();
