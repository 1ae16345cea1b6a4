import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import type { TlsOptions } from 'node:tls';

/** An item of an IP list; whatever else a client sends stays with it. */
export interface DoubleItem {
  ip: string;
  comment?: string | null;
}

export interface DoubleList {
  id: number;
  name: string;
  description: string;
  items: DoubleItem[];
}

/** An item of the v1 blacklist. */
export interface BlacklistItem {
  readonly comment: string | undefined;
  /** Seconds; undefined: for ever. */
  readonly ttl: number | undefined;
}

/** What befalls a call. */
export interface Fault {
  /** The call is carried out before the fault. */
  readonly applied?: boolean;
  /** Before anything else. */
  readonly delayMs?: number;
  /** Somebody else does something between the call's coming and its being carried out. */
  readonly meanwhile?: () => void;
  /** An answer in the place of the right one; without it, and without `reset`, the right one. */
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** The connection is reset in the place of an answer. */
  readonly reset?: boolean;
}

export interface RecordedCall {
  /** As in `PUT /v2/IpList/1`. */
  readonly name: string;
  readonly body: string;
  readonly headers: IncomingMessage['headers'];
  readonly at: number;
}

/**
 * A double of the account's API, as https://docs.cgn.portal.checkpoint.com/reference has the v2 one, and as the old
 * script calls the v1 one; what is documented nowhere it does not do.
 */
export interface Dome9Double {
  readonly url: string;
  readonly key: { readonly id: string; readonly secret: string };
  /** The account's lists, in the order in which they were made. */
  readonly lists: DoubleList[];
  /** The v1 blacklist by address. */
  readonly blacklist: Map<string, BlacklistItem>;
  readonly calls: RecordedCall[];
  /** The faults of the next calls in turn; undefined for one that goes well. */
  readonly faults: (Fault | undefined)[];
  /** A fault of each call that none of `faults` is for. */
  always: Fault | undefined;
  /** Stops listening and resets what is connected; `start` begins again on the same port. */
  stop(): Promise<void>;
  start(): Promise<void>;
  /** The items of a list by its name. */
  items(name: string): DoubleItem[];
}

export interface Dome9DoubleOptions {
  readonly tls?: TlsOptions;
  readonly key?: Dome9Double['key'];
}

const KEY = { id: '6f1c0d9e-4b53-4f0e-9a57-0c2a6f6f8f10', secret: 'correct-horse+battery/staple==' };
const MOST_BODY_BYTES = 64 << 20;

export async function startDome9(options: Dome9DoubleOptions = {}): Promise<Dome9Double> {
  const key = options.key ?? KEY;
  const lists: DoubleList[] = [];
  const blacklist = new Map<string, BlacklistItem>();
  const calls: RecordedCall[] = [];
  const faults: (Fault | undefined)[] = [];
  const sockets = new Set<Socket>();
  let always: Fault | undefined;
  let nextId = 1;
  let port = 0;
  const server = options.tls === undefined ? createServer(answer) : createTlsServer(options.tls, answer);
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket)).on('error', () => {});
  });
  server.on('tlsClientError', () => {});
  const start = async () => {
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
    port = (server.address() as AddressInfo).port;
  };
  await start();
  return {
    url: `${options.tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`,
    key,
    lists,
    blacklist,
    calls,
    faults,
    get always() {
      return always;
    },
    set always(fault) {
      always = fault;
    },
    start,
    async stop() {
      if (!server.listening) return;
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
    items: (name) => lists.find((list) => list.name === name)?.items ?? [],
  };

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await readBody(request);
    const name = `${request.method} ${request.url}`;
    calls.push({ name, body, headers: request.headers, at: Date.now() });
    const fault = faults.length > 0 ? faults.shift() : always;
    if (fault?.delayMs !== undefined) await delay(fault.delayMs);
    fault?.meanwhile?.();
    const isReplaced = fault?.status !== undefined || fault?.reset === true;
    const right = !isReplaced || fault?.applied ? carryOut(request, body) : undefined;
    if (fault?.reset) {
      request.socket.destroy();
      return;
    }
    const { status, json, text } = isReplaced
      ? { status: fault!.status!, json: undefined, text: fault!.body }
      : { text: undefined, ...right! };
    response.writeHead(status, { 'content-type': 'application/json', ...fault?.headers });
    response.end(json === undefined ? (text ?? '') : JSON.stringify(json));
  }

  function carryOut(request: IncomingMessage, body: string): Answer {
    const authorized = request.headers.authorization === basic(key);
    const [, version, rest] = /^\/(v1|v2)(\/.*)$/.exec(request.url!) ?? [];
    if (version === 'v1') return authorized ? carryOutV1(request.method!, rest!, body) : { status: 403 };
    if (!authorized) return { status: 401 };
    const id = /^\/IpList(?:\/([^/]+))?$/.exec(rest ?? '')?.[1];
    return version === 'v2' && rest!.startsWith('/IpList') ? carryOutV2(request, id, body) : { status: 404 };
  }

  function carryOutV2(request: IncomingMessage, id: string | undefined, body: string): Answer {
    const list = lists.find((candidate) => String(candidate.id) === id);
    const sent = body === '' ? {} : readJson(body);
    if (sent === undefined) return { status: 400, json: { message: 'not JSON' } };
    if (body !== '' && !/^application\/json\b/.test(request.headers['content-type'] ?? ''))
      return { status: 415 };
    switch (`${request.method} ${id === undefined ? 'all' : 'one'}`) {
      case 'GET all':
        return { status: 200, json: lists };
      case 'POST all':
        return create(sent);
      case 'GET one':
        return list === undefined ? { status: 404 } : { status: 200, json: list };
      case 'PUT one':
        return list === undefined ? { status: 404 } : replace(list, sent);
      case 'DELETE one':
        if (list === undefined) return { status: 404 };
        lists.splice(lists.indexOf(list), 1);
        return { status: 204 };
      default:
        return { status: 405 };
    }
  }

  function create(sent: Sent): Answer {
    const { name, description, items = [] } = sent;
    const isName = typeof name === 'string' && /^(?=.*[a-zA-Z])[a-zA-Z0-9/\-_:]{1,50}$/.test(name);
    const problem = isName ? contentProblem(sent) : 'name';
    if (problem !== undefined) return { status: 400, json: { message: `invalid ${problem}` } };
    const list = {
      id: nextId++,
      name: name as string,
      description: String(description ?? ''),
      items: items as DoubleItem[],
    };
    lists.push(list);
    return { status: 200, json: list };
  }

  function replace(list: DoubleList, sent: Sent): Answer {
    const problem = 'name' in sent ? 'name' : contentProblem(sent);
    if (problem !== undefined) return { status: 400, json: { message: `invalid ${problem}` } };
    list.description = String(sent.description ?? '');
    list.items = (sent.items ?? []) as DoubleItem[];
    return { status: 204 };
  }

  function carryOutV1(method: string, path: string, body: string): Answer {
    if (method === 'POST' && path === '/blacklist/Items/') {
      const form = new URLSearchParams(body);
      const [ip, comment, ttl] = ['IP', 'Comment', 'TTL'].map((name) => form.get(name) ?? undefined);
      if (ip === undefined || !IP.test(ip)) return { status: 400, json: { message: 'invalid IP' } };
      blacklist.set(ip, { comment, ttl: ttl === undefined ? undefined : Number(ttl) });
      return { status: 200, json: 'Blacklist updated' };
    }
    const ip = /^\/blacklist\/items\/(.+)$/.exec(path)?.[1];
    if (method === 'DELETE' && ip !== undefined)
      return { status: blacklist.delete(decodeURIComponent(ip)) ? 200 : 404 };
    return { status: 404 };
  }
}

interface Answer {
  readonly status: number;
  readonly json?: unknown;
}

interface Sent {
  readonly name?: unknown;
  readonly description?: unknown;
  readonly items?: unknown;
}

const IP = /^[0-9A-Fa-f.:]+(?:\/\d{1,3})?$/;
const LONGEST_TEXT = 500;

function contentProblem({ description, items = [] }: Sent): string | undefined {
  if (description !== undefined && !isText(description)) return 'description';
  if (!Array.isArray(items)) return 'items';
  const bad = items.find(
    ({ ip, comment }) => !IP.test(String(ip)) || !(comment === null || isText(comment ?? '')),
  );
  return bad === undefined ? undefined : `item ${JSON.stringify(bad).slice(0, 100)}`;
}

function isText(value: unknown): boolean {
  return typeof value === 'string' && value.length <= LONGEST_TEXT;
}

function readJson(text: string): Sent | undefined {
  try {
    return JSON.parse(text) as Sent;
  } catch {
    return undefined;
  }
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request) {
    size += (chunk as Buffer).length;
    if (size > MOST_BODY_BYTES) throw new Error('Expected a smaller body');
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks).toString();
}

function basic({ id, secret }: Dome9Double['key']): string {
  return `Basic ${Buffer.from(`${id}:${secret}`).toString('base64')}`;
}
