import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import { type Api, type ApiCall, openApi } from '../../src/dome9/api.ts';
import { ApiError, type ApiFailure, failureOf, retryAfterMs } from '../../src/dome9/api-error.ts';
import { UserError } from '../../src/errors.ts';
import { type Certificate, createAuthority } from '../support/certificates.ts';
import { type Dome9Double, type Dome9DoubleOptions, startDome9 } from '../support/dome9-api.ts';
import { waitFor } from '../support/wait.ts';

const DEADLINE_MS = 10_000;
const LISTS: ApiCall = { method: 'GET', path: '/v2/IpList' };

// the host's own proxies have no part in this
const PROXY_NAMES = ['HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY', 'ALL_PROXY'].flatMap((name) => [
  name,
  name.toLowerCase(),
]);
for (const name of PROXY_NAMES) delete process.env[name];

const directory = mkdtempSync(join(tmpdir(), 'honeyport-test-'));
after(() => rmSync(directory, { recursive: true, force: true }));
const authority = createAuthority(directory, 'ca');
const RIGHT = authority.issue('right', { names: ['IP:127.0.0.1', 'DNS:localhost'] });

function tlsOf({ certificate, key }: Certificate) {
  return { cert: readFileSync(certificate), key: readFileSync(key) };
}

async function start(context: TestContext, options: Dome9DoubleOptions = {}): Promise<Dome9Double> {
  const double = await startDome9(options);
  context.after(() => double.stop());
  return double;
}

function open(
  context: TestContext,
  { url, key }: Pick<Dome9Double, 'url' | 'key'>,
  more: { ca?: string; base?: string } = {},
): Api {
  const api = openApi({ url: url + (more.base ?? ''), key, ca: more.ca, version: '1.2.3' });
  context.after(() => api.close());
  return api;
}

/** What a call fails with. */
async function failureFrom(sending: Promise<unknown>): Promise<ApiError> {
  const error = await sending.then(
    () => new Error('Expected a failure'),
    (reason) => reason,
  );
  assert.ok(error instanceof ApiError, String(error));
  return error;
}

/** A server of whatever it likes to say; its connections end with the test. */
async function startRaw(context: TestContext, onConnection: (socket: Socket) => void) {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    onConnection(socket);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  context.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, sockets };
}

const KEY = { id: 'access-id', secret: 'correct-horse+battery/staple==' };

test('a call goes with the key, what it accepts, who sends it, and what is sent', async (context) => {
  const double = await start(context);
  const api = open(context, double);
  assert.equal(api.calls, 0);
  assert.equal(await api.send(LISTS), '[]');
  await api
    .send({ method: 'POST', path: '/v2/IpList', body: { json: { name: 'ä', items: [] } } })
    .catch(() => {});
  await api.send({
    method: 'POST',
    path: '/v1/blacklist/Items/',
    body: { form: { IP: '::1', Comment: 'a b&c=ä' } },
  });
  assert.equal(api.calls, 3);
  const [get, post, form] = double.calls;
  const { authorization, accept } = get!.headers;
  const expected = `Basic ${Buffer.from(`${double.key.id}:${double.key.secret}`).toString('base64')}`;
  assert.deepEqual([authorization, accept], [expected, 'application/json']);
  assert.equal(get!.headers['user-agent'], 'honeyport/1.2.3');
  assert.deepEqual([get!.headers['content-type'], get!.body], [undefined, '']);
  assert.deepEqual(
    [post!.headers['content-type'], post!.body],
    ['application/json', '{"name":"ä","items":[]}'],
  );
  assert.deepEqual(
    [form!.headers['content-type'], form!.body],
    ['application/x-www-form-urlencoded', 'IP=%3A%3A1&Comment=a+b%26c%3D%C3%A4'],
  );
});

test('a path in the URL comes before the one of the call', async (context) => {
  const double = await start(context);
  for (const base of ['/base', '/base/', '/a/b']) {
    await failureFrom(open(context, double, { base }).send(LISTS));
    assert.equal(double.calls.at(-1)!.name, `GET ${base.replace(/\/$/, '')}/v2/IpList`);
  }
});

test('calls go over one connection, one at a time', async (context) => {
  let under = 0;
  let most = 0;
  let connections = 0;
  const server = createHttpServer((request, response) => {
    most = Math.max(most, ++under);
    request.resume().on('end', () =>
      setImmediate(() => {
        under -= 1;
        response.end('{}');
      }),
    );
  }).on('connection', () => (connections += 1));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  context.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const api = open(context, { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, key: KEY });
  await Promise.all(Array.from({ length: 10 }, () => api.send(LISTS)));
  assert.deepEqual({ most, connections }, { most: 1, connections: 1 });
});

const FAILURES: readonly (readonly [status: number, failure: ApiFailure])[] = [
  [400, 'refused'],
  [401, 'credentials'],
  [402, 'refused'],
  [403, 'credentials'],
  [404, 'missing'],
  [405, 'refused'],
  [408, 'unavailable'],
  [409, 'refused'],
  [413, 'refused'],
  [415, 'refused'],
  [422, 'refused'],
  [429, 'limited'],
  [500, 'unavailable'],
  [501, 'unavailable'],
  [502, 'unavailable'],
  [503, 'unavailable'],
  [504, 'unavailable'],
  [599, 'unavailable'],
];

test('each status is the failure that it asks for, and is told with the call and what the API says', async (context) => {
  const double = await start(context);
  const api = open(context, double);
  for (const [status, failure] of FAILURES) {
    assert.equal(failureOf(status), failure, String(status));
    double.faults.push({ status, body: ' {"message":\n "why"} ' });
    const error = await failureFrom(api.send(LISTS));
    assert.equal(error.failure, failure, String(status));
    assert.match(
      error.message,
      new RegExp(`^GET /v2/IpList: ${status}(?: [A-Z][\\w' -]+)?: \\{"message": "why"\\}$`),
    );
    assert.equal(error.retryAfterMs, undefined);
  }
  double.faults.push({ status: 503 });
  assert.equal((await failureFrom(api.send(LISTS))).message, 'GET /v2/IpList: 503 Service Unavailable');
});

test('200 to 299 are answers', async (context) => {
  const double = await start(context);
  const api = open(context, double);
  for (const status of [200, 201, 202, 204, 299]) {
    double.faults.push({ status, body: status === 204 ? '' : 'x' });
    assert.equal(await api.send(LISTS), status === 204 ? '' : 'x');
  }
});

test('what the API says at length is cut', async (context) => {
  const double = await start(context);
  double.faults.push({ status: 400, body: 'x'.repeat(1 << 20) });
  const { message } = await failureFrom(open(context, double).send(LISTS));
  assert.ok(message.length < 300, `${message.length} characters`);
});

test('a key that is not the one of the account is refused as such', async (context) => {
  const double = await start(context);
  const error = await failureFrom(open(context, { url: double.url, key: KEY }).send(LISTS));
  assert.equal(error.failure, 'credentials');
  assert.equal(error.message, 'GET /v2/IpList: 401 Unauthorized');
});

const NOW = Date.parse('2026-11-24T15:00:00Z');

test('Retry-After is seconds or a date, of an hour at most, and nothing else', () => {
  for (const [header, expected] of [
    [undefined, undefined],
    ['0', 0],
    ['7', 7000],
    ['3600', 3_600_000],
    ['3601', 3_600_000],
    ['999999999', 3_600_000],
    ['Tue, 24 Nov 2026 15:00:30 GMT', 30_000],
    ['Tue, 24 Nov 2026 14:00:00 GMT', 0],
    ['Wed, 24 Nov 2027 15:00:00 GMT', 3_600_000],
    ['', undefined],
    ['soon', undefined],
    ['NaN', undefined],
    ['Infinity', undefined],
  ] as const)
    assert.equal(retryAfterMs(header, NOW), expected, header);
});

test('Retry-After of 429 and of 503 is told, as seconds and as a date', async (context) => {
  const double = await start(context);
  const api = open(context, double);
  for (const status of [429, 503]) {
    double.faults.push(
      { status, headers: { 'retry-after': '7' } },
      { status, headers: { 'retry-after': new Date(Date.now() + 1_800_000).toUTCString() } },
      { status, headers: { 'retry-after': 'soon' } },
    );
    assert.equal((await failureFrom(api.send(LISTS))).retryAfterMs, 7000);
    const ms = (await failureFrom(api.send(LISTS))).retryAfterMs!;
    assert.ok(ms > 1_700_000 && ms <= 1_800_000, `${ms} ms`);
    assert.equal((await failureFrom(api.send(LISTS))).retryAfterMs, undefined);
  }
});

for (const status of [301, 302, 303, 307, 308]) {
  test(`a redirect of ${status} is not followed: the other server sees no call`, async (context) => {
    const [double, other] = [await start(context), await start(context)];
    const api = open(context, double);
    double.always = { status, headers: { location: `${other.url}/v2/IpList` } };
    for (const method of ['GET', 'PUT'] as const) {
      const error = await failureFrom(api.send({ method, path: '/v2/IpList', body: { json: {} } }));
      assert.equal(error.failure, 'refused');
      assert.equal(
        error.message,
        `${method} /v2/IpList: ${status}, a redirect, which is not followed: is url right?`,
      );
    }
    assert.equal(double.calls.length, 2);
    assert.deepEqual(other.calls, []);
  });
}

test('no answer is one to try again for: refused, reset, cut, or not HTTP', async (context) => {
  const double = await start(context);
  const api = open(context, double);
  double.faults.push({ reset: true });
  assert.equal((await failureFrom(api.send(LISTS))).failure, 'unavailable');
  await double.stop();
  const refused = await failureFrom(api.send(LISTS));
  assert.equal(refused.failure, 'unavailable');
  assert.match(refused.message, /^GET \/v2\/IpList: connect ECONNREFUSED 127\.0\.0\.1:\d+$/);
  await double.start();
  assert.equal(await api.send(LISTS), '[]');

  for (const text of [
    'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[]',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n',
    'SSH-2.0-OpenSSH_9.6\r\n',
    '',
  ]) {
    const { url } = await startRaw(context, (socket) => socket.once('data', () => socket.end(text)));
    const error = await failureFrom(open(context, { url, key: KEY }).send(LISTS));
    assert.equal(error.failure, 'unavailable', text);
    assert.match(error.message, /^GET \/v2\/IpList: ./);
  }
});

test('an answer that comes in pieces is put together', async (context) => {
  const { url } = await startRaw(context, (socket) => {
    socket.once('data', async () => {
      for (const byte of Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"äb"')) {
        socket.write(Uint8Array.of(byte));
        await new Promise((resolve) => setImmediate(resolve));
      }
    });
  });
  assert.equal(await open(context, { url, key: KEY }).send(LISTS), '"äb"');
});

test('a large answer is taken, and one beyond all bounds is not', async (context) => {
  const double = await start(context);
  const api = open(context, double);
  double.faults.push({ status: 200, body: 'x'.repeat(17 << 20) });
  assert.equal((await api.send(LISTS)).length, 17 << 20);
  double.faults.push({ status: 200, body: 'x'.repeat((32 << 20) + 1) });
  const error = await failureFrom(api.send(LISTS));
  assert.match(error.message, /^GET \/v2\/IpList: ./);
  assert.ok(error.message.length < 300, 'the answer is in the message');
  assert.equal(await api.send(LISTS), '[]');
});

test('closing breaks off what is under way, and nothing is sent any more', async (context) => {
  const { url, sockets } = await startRaw(context, () => {});
  const api = open(context, { url, key: KEY });
  const sending = failureFrom(api.send(LISTS));
  await waitFor(() => sockets.size === 1, { deadlineMs: DEADLINE_MS, what: 'the call' });
  await api.close();
  assert.equal((await sending).failure, 'unavailable');
  assert.equal((await failureFrom(api.send(LISTS))).failure, 'unavailable');
  await api.close();
  assert.equal(sockets.size, 1);
});

/** Every form in which an answer may repeat the key, as the API could say it. */
const REPEATED: readonly (readonly [form: string, body: string])[] = [
  ['the secret', `invalid ${KEY.secret}.`],
  ['the id', `no user ${KEY.id}`],
  ['the header', `Authorization: Basic ${base64(`${KEY.id}:${KEY.secret}`)}`],
  ['the header without its kind', `{"auth":"${base64(`${KEY.id}:${KEY.secret}`)}"}`],
  ['all of it twice', `${KEY.id}:${KEY.secret} `.repeat(2)],
];

/** Forms that a program makes of a text. */
const ENCODED: readonly (readonly [form: string, body: string])[] = [
  ['the secret for a URL', `?key=${encodeURIComponent(KEY.secret)}`],
  ['the secret of a form', String(new URLSearchParams({ key: KEY.secret }))],
  ['the secret in base64', base64(KEY.secret)],
  ['the header for a URL', encodeURIComponent(base64(`${KEY.id}:${KEY.secret}`))],
  ['the secret in JSON with escaped slashes', JSON.stringify(KEY.secret).replaceAll('/', '\\/')],
  ['the secret in HTML', KEY.secret.replaceAll('+', '&#43;').replaceAll('=', '&#61;')],
];

function base64(text: string): string {
  return Buffer.from(text).toString('base64');
}

/** Fails where so much as six characters of the key, in one of its forms, are in the message. */
function assertNothingShown(message: string, key = KEY): void {
  const forms = [key.id, key.secret, base64(key.secret), base64(`${key.id}:${key.secret}`)];
  const pieces = forms.flatMap((form) =>
    Array.from({ length: Math.max(1, form.length - 5) }, (_, at) => form.slice(at, at + 6)),
  );
  const shown = pieces.filter((piece) => message.includes(piece));
  assert.ok(shown.length === 0, `${JSON.stringify(shown[0])} is in: ${message}`);
}

async function messageAfter(context: TestContext, body: string, key = KEY): Promise<string> {
  const double = await start(context);
  double.always = { status: 400, body };
  return (await failureFrom(open(context, { url: double.url, key }).send(LISTS))).message;
}

for (const [form, body] of REPEATED) {
  test(`an answer that repeats ${form} does not bring it into the message`, async (context) => {
    assertNothingShown(await messageAfter(context, body));
  });
}

for (const [form, body] of ENCODED) {
  test(`an answer that repeats ${form} does not bring a part of it into the message`, async (context) => {
    assertNothingShown(await messageAfter(context, body));
  });
}

test('an answer that repeats the key where the message is cut does not bring a part of it there', async (context) => {
  for (const text of [KEY.secret, KEY.id, base64(`${KEY.id}:${KEY.secret}`)])
    for (const before of [180, 190])
      assertNothingShown(await messageAfter(context, 'x'.repeat(before) + text));
});

test('a key with blanks is not shown, either', async (context) => {
  const key = { id: 'access-id', secret: 'correct  horse  battery' };
  const message = await messageAfter(context, `invalid ${key.secret}.`, key);
  assert.ok(!/correct|battery/.test(message), message);
});

test('what was sent is in no message', async (context) => {
  const double = await start(context);
  double.always = { status: 400 };
  const body = { json: { items: [{ ip: '192.0.2.1' }] } };
  const { message } = await failureFrom(
    open(context, double).send({ method: 'POST', path: '/v2/IpList', body }),
  );
  assert.equal(message, 'POST /v2/IpList: 400 Bad Request');
});

test('a certificate of the named authority for this host is taken', async (context) => {
  const double = await start(context, { tls: tlsOf(RIGHT) });
  const api = open(context, double, { ca: authority.certificate });
  assert.equal(await api.send(LISTS), '[]');
  const named = open(
    context,
    { ...double, url: double.url.replace('127.0.0.1', 'localhost') },
    { ca: authority.certificate },
  );
  assert.equal(await named.send(LISTS), '[]');
});

const WRONG: readonly (readonly [title: string, certificate: () => Certificate, why: RegExp])[] = [
  [
    'of a foreign authority',
    () => createAuthority(directory, 'foreign').issue('foreign', { names: ['IP:127.0.0.1'] }),
    /unable to (?:verify|get)|self.signed/i,
  ],
  ['that has ended', () => authority.issue('expired', { names: ['IP:127.0.0.1'], days: 0 }), /expired/],
  [
    'for another name',
    () => authority.issue('other', { names: ['DNS:api.example'] }),
    /does not match|not in the cert/,
  ],
  ['without a name', () => authority.issue('nameless'), /does not match|not in the cert/],
];

for (const [title, certificate, why] of WRONG) {
  test(`a certificate ${title} is refused, and the key is not sent`, async (context) => {
    const double = await start(context, { tls: tlsOf(certificate()) });
    const error = await failureFrom(open(context, double, { ca: authority.certificate }).send(LISTS));
    assert.equal(error.failure, 'unavailable');
    assert.match(error.message, why);
    assert.deepEqual(double.calls, []);
  });
}

test('without an authority of its own only those that the host trusts count', async (context) => {
  const double = await start(context, { tls: tlsOf(RIGHT) });
  const error = await failureFrom(open(context, double).send(LISTS));
  assert.match(error.message, /unable to (?:verify|get)|self.signed/i);
  assert.deepEqual(double.calls, []);
});

test('plain text in the place of TLS, and old TLS, are refused', async (context) => {
  const double = await start(context);
  const plain = open(
    context,
    { ...double, url: double.url.replace('http:', 'https:') },
    { ca: authority.certificate },
  );
  assert.equal((await failureFrom(plain.send(LISTS))).failure, 'unavailable');
  const old = await start(context, {
    tls: { ...tlsOf(RIGHT), maxVersion: 'TLSv1.1', minVersion: 'TLSv1', ciphers: 'DEFAULT@SECLEVEL=0' },
  });
  assert.equal(
    (await failureFrom(open(context, old, { ca: authority.certificate }).send(LISTS))).failure,
    'unavailable',
  );
  assert.deepEqual([...double.calls, ...old.calls], []);
});

test('authorities that are none are refused before anything is sent', () => {
  for (const ca of [join(directory, 'missing.pem'), authority.key, directory])
    assert.throws(
      () => openApi({ url: 'https://127.0.0.1:1', key: KEY, ca, version: '0' }),
      (error) => error instanceof UserError && error.message.includes(ca),
    );
});

test('NODE_TLS_REJECT_UNAUTHORIZED of the environment turns the check not off', async (context) => {
  const double = await start(context, { tls: tlsOf(RIGHT) });
  const proxy = await startProxy(context);
  const script = `
    const { register } = await import(process.env.TSX);
    register();
    const { openApi } = await import(process.env.MODULE);
    for (const proxy of [undefined, process.env.PROXY]) {
      if (proxy !== undefined) process.env.HTTPS_PROXY = proxy;
      const api = openApi({ url: process.env.URL_, key: { id: 'a', secret: 'b' }, ca: undefined, version: '0' });
      console.log(await api.send({ method: 'GET', path: '/v2/IpList' }).catch(({ name, message }) => name + ': ' + message));
      await api.close();
    }`;
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], {
    env: {
      PATH: process.env.PATH,
      NODE_TLS_REJECT_UNAUTHORIZED: '0',
      TSX: import.meta.resolve('tsx/esm/api'),
      MODULE: new URL('../../src/dome9/api.ts', import.meta.url).href,
      URL_: double.url,
      PROXY: proxy.url,
    },
    timeout: 30_000,
  });
  assert.match(stdout, /^(?:ApiError: GET \/v2\/IpList: [^\n]*(?:verify|self.signed|issuer)[^\n]*\n){2}$/i);
  assert.equal(proxy.connects.length, 1);
  assert.deepEqual(double.calls, []);
});

interface Proxy {
  readonly url: string;
  readonly connects: string[];
  /** All that passed it, in both directions, with the heads of the calls to itself. */
  seen(): string;
}

/** A proxy that takes CONNECT, and nothing else. */
async function startProxy(context: TestContext, tls?: Certificate, answer = '200 OK'): Promise<Proxy> {
  const connects: string[] = [];
  const chunks: Buffer[] = [];
  const sockets = new Set<Socket>();
  const server = tls === undefined ? createHttpServer() : createTlsServer(tlsOf(tls));
  server.on('request', (request, response) => {
    chunks.push(Buffer.from(`${request.method} ${request.url} ${JSON.stringify(request.headers)}`));
    response.writeHead(501).end();
  });
  server.on('tlsClientError', () => {});
  server.on('connect', (request, client: Socket) => {
    connects.push(request.url!);
    chunks.push(Buffer.from(JSON.stringify(request.headers)));
    client.on('error', () => {});
    if (answer !== '200 OK') {
      client.end(`HTTP/1.1 ${answer}\r\n\r\n`);
      return;
    }
    const upstream = connect(Number(request.url!.split(':')[1]), '127.0.0.1', () =>
      client.write('HTTP/1.1 200 OK\r\n\r\n'),
    );
    for (const socket of [client, upstream]) sockets.add(socket.on('error', () => {}));
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      from.on('data', (chunk: Buffer) => chunks.push(chunk)).pipe(to);
      from.on('close', () => to.destroy());
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  context.after(() => {
    for (const socket of sockets) socket.destroy();
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return {
    url: tls === undefined ? `http://127.0.0.1:${port}` : `https://localhost:${port}`,
    connects,
    seen: () => Buffer.concat(chunks).toString('latin1'),
  };
}

/** For this test alone. */
function setEnvironment(context: TestContext, values: Readonly<Record<string, string>>): void {
  Object.assign(process.env, values);
  context.after(() => {
    for (const name of Object.keys(values)) delete process.env[name];
  });
}

for (const name of ['HTTPS_PROXY', 'https_proxy']) {
  test(`with ${name} a call goes through the proxy, which does not see the key`, async (context) => {
    const double = await start(context, { tls: tlsOf(RIGHT) });
    const proxy = await startProxy(context);
    setEnvironment(context, { [name]: proxy.url });
    const api = open(context, double, { ca: authority.certificate });
    assert.equal(await api.send(LISTS), '[]');
    assert.equal(await api.send(LISTS), '[]');
    assert.deepEqual(proxy.connects, [double.url.replace('https://', '')]);
    assert.equal(double.calls.length, 2);
    const seen = proxy.seen();
    const secrets = [
      double.key.id,
      double.key.secret,
      base64(`${double.key.id}:${double.key.secret}`),
      'IpList',
    ];
    for (const secret of [...secrets, 'authorization'])
      assert.ok(!seen.toLowerCase().includes(secret.toLowerCase()), `the proxy has seen ${secret}`);
  });
}

test('the certificate is checked through a proxy, too', async (context) => {
  const double = await start(context, {
    tls: tlsOf(authority.issue('other', { names: ['DNS:api.example'] })),
  });
  const proxy = await startProxy(context);
  setEnvironment(context, { HTTPS_PROXY: proxy.url });
  const error = await failureFrom(open(context, double, { ca: authority.certificate }).send(LISTS));
  assert.match(error.message, /does not match|not in the cert/);
  assert.deepEqual(double.calls, []);
});

test('a proxy with TLS is used where its certificate is right', async (context) => {
  const double = await start(context, { tls: tlsOf(RIGHT) });
  const proxy = await startProxy(context, RIGHT);
  setEnvironment(context, { HTTPS_PROXY: proxy.url });
  assert.equal(await open(context, double, { ca: authority.certificate }).send(LISTS), '[]');
  assert.equal(proxy.connects.length, 1);
  await failureFrom(open(context, double).send(LISTS));
  assert.equal(proxy.connects.length, 1);
});

test('a proxy that refuses is no answer of the API', async (context) => {
  const double = await start(context, { tls: tlsOf(RIGHT) });
  for (const answer of ['407 Proxy Authentication Required', '403 Forbidden', '503 Service Unavailable']) {
    const proxy = await startProxy(context, undefined, answer);
    setEnvironment(context, { HTTPS_PROXY: proxy.url });
    const error = await failureFrom(open(context, double, { ca: authority.certificate }).send(LISTS));
    assert.equal(error.failure, 'unavailable', answer);
    assert.match(error.message, new RegExp(answer.slice(0, 3)));
  }
  assert.deepEqual(double.calls, []);
});

test('NO_PROXY counts', async (context) => {
  const double = await start(context, { tls: tlsOf(RIGHT) });
  const proxy = await startProxy(context);
  setEnvironment(context, { HTTPS_PROXY: proxy.url, NO_PROXY: 'api.example,127.0.0.1' });
  assert.equal(await open(context, double, { ca: authority.certificate }).send(LISTS), '[]');
  assert.deepEqual(proxy.connects, []);
});

test('http to this host itself never goes to a proxy, which would see the key', async (context) => {
  const double = await start(context);
  const proxy = await startProxy(context);
  setEnvironment(context, { HTTPS_PROXY: proxy.url, HTTP_PROXY: proxy.url, http_proxy: proxy.url });
  assert.equal(await open(context, double).send(LISTS), '[]');
  assert.deepEqual([proxy.connects, proxy.seen()], [[], '']);
});

test('an answer that never becomes whole ends with the limit of a call', async (context) => {
  const server = createHttpServer((_request, response) => {
    response.writeHead(200);
    const drip = setInterval(() => response.write('x'), 20);
    response.on('close', () => clearInterval(drip));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  context.after(() => server.close());
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const key = { id: 'a', secret: 'b' };
  const api = openApi({ url, key, ca: undefined, version: '1.2.3', callTimeoutMs: 200 });
  context.after(() => api.close());
  const error = await failureFrom(api.send(LISTS));
  assert.equal(error.failure, 'unavailable');
  assert.match(error.message, /no whole answer within 200 ms/);
});

test("a proxy in the environment that is none is the user's to mend, and its password is not shown", (context) => {
  context.after(() => delete process.env.HTTPS_PROXY);
  for (const proxy of ['http//user:PROXYPASS@px:1', 'user:PROXYPASS@px:99']) {
    process.env.HTTPS_PROXY = proxy;
    const key = { id: 'a', secret: 'b' };
    const opening = () => openApi({ url: 'https://api.example', key, ca: undefined, version: '1.2.3' });
    assert.throws(opening, (error) => {
      assert.ok(error instanceof UserError, `${proxy}: ${error}`);
      assert.doesNotMatch(`${error.message} ${error.hint} ${error.stack}`, /PROXYPASS/);
      return true;
    });
  }
});
