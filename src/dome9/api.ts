import { STATUS_CODES } from 'node:http';
import { Agent, type Dispatcher, EnvHttpProxyAgent } from 'undici';
import type { Dome9Key } from '../configuration/dome9.ts';
import { messageOf, UserError } from '../errors.ts';
import { openTlsContext } from '../sinks/tls-files.ts';
import { ApiError, failureOf, retryAfterMs } from './api-error.ts';

/** The account's API: one call at a time, over one connection. */
export interface Api {
  /**
   * Sends a call and waits for its answer.
   * @returns the text of an answer of 200 to 299
   * @throws ApiError for every other outcome
   */
  send(call: ApiCall): Promise<string>;
  /** Calls sent so far. */
  readonly calls: number;
  /** Breaks off what is under way. */
  close(): Promise<void>;
}

export interface ApiCall {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** With a slash at its beginning; below the URL of the configuration. */
  readonly path: string;
  /** What is sent; a list of fields as a form, anything else as JSON. */
  readonly body?: { readonly json: unknown } | { readonly form: Readonly<Record<string, string>> };
}

export interface ApiOptions {
  readonly url: string;
  readonly key: Dome9Key;
  /** PEM file of authorities; undefined: those that the host trusts. */
  readonly ca: string | undefined;
  readonly version: string;
  /** For a call in all. */
  readonly callTimeoutMs?: number;
}

const CONNECT_TIMEOUT_MS = 10_000;
/** For the head of an answer, and between two parts of it. */
const ANSWER_TIMEOUT_MS = 30_000;
const CALL_TIMEOUT_MS = 60_000;
/** All lists of an account at once: 100,000 items take about 15 MB. */
const MOST_ANSWER_BYTES = 32 << 20;
const MOST_QUOTED_CHARACTERS = 200;
const MOST_READ_CHARACTERS = 10_000;

/** @throws UserError when the file of authorities cannot be used */
export function openApi({ url, key, ca, version, callTimeoutMs = CALL_TIMEOUT_MS }: ApiOptions): Api {
  const authorization = `Basic ${Buffer.from(`${key.id}:${key.secret}`).toString('base64')}`;
  const repeatsKey = createKeyFinder(key);
  const base = new URL(url);
  const dispatcher = createDispatcher(base, ca);
  const underWay = new Set<AbortController>();
  let calls = 0;
  return {
    get calls() {
      return calls;
    },
    async send(call) {
      calls += 1;
      const { headers, body } = encode(call.body);
      const request: Dispatcher.RequestOptions = {
        origin: base.origin,
        path: `${base.pathname.replace(/\/$/, '')}${call.path}`,
        method: call.method,
        headers: {
          authorization,
          accept: 'application/json',
          'user-agent': `honeyport/${version}`,
          ...headers,
        },
        body,
      };
      const { status, text, retryAfter } = await answerTo(request, call);
      if (status >= 200 && status < 300) return text;
      throw new ApiError(failureOf(status), refusalOf(call, status, shown(text)), retryAfter);
    },
    async close() {
      for (const call of underWay) call.abort();
      await dispatcher.destroy();
    },
  };

  /** What of an answer may stand in a message. */
  function shown(text: string): string {
    const said = text
      .slice(0, MOST_READ_CHARACTERS)
      .replace(/\s+/g, ' ')
      .trim()
      .slice(0, MOST_QUOTED_CHARACTERS);
    return repeatsKey(said) ? 'the answer repeats the key and is not shown' : said;
  }

  async function answerTo(request: Dispatcher.RequestOptions, call: ApiCall) {
    // not AbortSignal.any or .timeout: Node 20 may collect them while somebody waits for them
    const breaking = new AbortController();
    underWay.add(breaking);
    const limit = setTimeout(
      () => breaking.abort(new Error(`no whole answer within ${callTimeoutMs} ms`)),
      callTimeoutMs,
    );
    try {
      // redirects are not followed: the key is for this place alone
      const answer = await dispatcher.request({ ...request, signal: breaking.signal });
      const text = await answer.body.text();
      const header = answer.headers['retry-after'];
      const retryAfter = retryAfterMs(typeof header === 'string' ? header : undefined, Date.now());
      return { status: answer.statusCode, text, retryAfter };
    } catch (error) {
      throw new ApiError('unavailable', `${nameOf(call)}: ${reasonOf(error)}`);
    } finally {
      clearTimeout(limit);
      underWay.delete(breaking);
    }
  }
}

/** https goes through the proxy of HTTPS_PROXY, or HTTP_PROXY, unless NO_PROXY has the host; plain http never does. */
function createDispatcher(base: URL, ca: string | undefined): Dispatcher {
  const options = {
    connections: 1,
    headersTimeout: ANSWER_TIMEOUT_MS,
    bodyTimeout: ANSWER_TIMEOUT_MS,
    maxResponseSize: MOST_ANSWER_BYTES,
  };
  if (base.protocol === 'http:') return new Agent({ ...options, connect: { timeout: CONNECT_TIMEOUT_MS } });
  // said here, because NODE_TLS_REJECT_UNAUTHORIZED of the environment would turn the check off
  const tls = {
    secureContext: openTlsContext(ca === undefined ? {} : { ca }).current(),
    rejectUnauthorized: true,
    timeout: CONNECT_TIMEOUT_MS,
  };
  try {
    return new EnvHttpProxyAgent({ ...options, connect: tls, requestTls: tls, proxyTls: tls });
  } catch {
    // a password may stand in it
    throw new UserError('HTTPS_PROXY or HTTP_PROXY in the environment is not the URL of a proxy', {
      hint: 'expected one such as http://proxy.example:3128',
    });
  }
}

function encode(body: ApiCall['body']): { headers: Record<string, string>; body: string | null } {
  if (body === undefined) return { headers: {}, body: null };
  if ('json' in body)
    return { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body.json) };
  const form = new URLSearchParams(body.form).toString();
  return { headers: { 'content-type': 'application/x-www-form-urlencoded' }, body: form };
}

function nameOf({ method, path }: ApiCall): string {
  return `${method} ${path}`;
}

function refusalOf(call: ApiCall, status: number, said: string): string {
  if (status >= 300 && status < 400)
    return `${nameOf(call)}: ${status}, a redirect, which is not followed: is url right?`;
  const status_ = `${status} ${STATUS_CODES[status] ?? ''}`.trim();
  return `${nameOf(call)}: ${status_}${said === '' ? '' : `: ${said}`}`;
}

/** undici wraps what the system says. */
function reasonOf(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  if (cause instanceof AggregateError && cause.errors.length > 0) return messageOf(cause.errors[0]);
  return messageOf(cause) || 'no answer';
}

/** Of a text that shares so many characters with the key, nobody can say that it does not repeat it. */
const SHARED_CHARACTERS = 5;

/** Whether an answer repeats some of the key, as it is or as it was sent; encoded for a URL or HTML some of it stays. */
function createKeyFinder({ id, secret }: Dome9Key): (text: string) => boolean {
  const shifted = ['', ' ', '  '].flatMap((before) =>
    [id, secret, `${id}:${secret}`].map((part) => Buffer.from(before + part).toString('base64')),
  );
  const parts = new Set([id, secret, ...shifted].map(bare).flatMap(runsOf));
  return (text) => runsOf(bare(text)).some((run) => parts.has(run));
}

function bare(text: string): string {
  return text.toLowerCase().replace(/\s+/g, '');
}

function runsOf(text: string): string[] {
  if (text.length <= SHARED_CHARACTERS) return [text];
  return Array.from({ length: text.length - SHARED_CHARACTERS + 1 }, (_, at) =>
    text.slice(at, at + SHARED_CHARACTERS),
  );
}
