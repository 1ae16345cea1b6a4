import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { Dome9Configuration } from '../../src/configuration/dome9.ts';
import { type Dome9Service, startDome9Service } from '../../src/dome9/service.ts';
import type { Voice } from '../../src/voice.ts';
import { temporaryDirectory } from './directory.ts';
import { type Dome9Double, type Dome9DoubleOptions, startDome9 } from './dome9-api.ts';
import { waitFor } from './wait.ts';

/** A ban as the action records it; what is left out is a permanent one of just now. */
export interface RecordedBan {
  readonly ip: string;
  readonly since?: number;
  readonly until?: number | null;
  readonly dpt?: number;
  readonly decoy?: string;
  readonly id?: string;
}

/** Records bans of a jail as fail2ban's action does. */
export function recordBans(state: string, bans: readonly RecordedBan[], jail = 'honeyport'): void {
  const directory = join(state, 'wanted');
  mkdirSync(directory, { recursive: true });
  const now = Math.floor(Date.now() / 1000);
  const lines = bans.map((ban) => JSON.stringify({ since: now, until: null, ...ban }));
  const head = `{"version":1,"jail":${JSON.stringify(jail)},"leftOut":0,"bans":[`;
  const temporary = join(directory, `.${jail}.tmp`);
  writeFileSync(
    temporary,
    [head, lines.join(',\n'), ']}', ''].filter((line, at) => line !== '' || at === 3).join('\n'),
  );
  renameSync(temporary, join(directory, `${jail}.json`));
}

/** `count` addresses, each another one. */
export function manyAddresses(count: number, from = 0): string[] {
  return Array.from({ length: count }, (_, index) => {
    const at = from + index;
    return `198.18.${(at >> 8) & 255}.${at & 255}`;
  });
}

/** A service in this process, with the double of its account. */
export interface Dome9Stage {
  readonly api: Dome9Double;
  readonly state: string;
  readonly configuration: Dome9Configuration;
  /** What was said, each as `error: text`. */
  readonly said: string[];
  readonly service: Dome9Service;
  /** What the next reload loads. */
  use(changes: Partial<Dome9Configuration>): void;
  /** Ends the service and starts another one, as after a crash. */
  restart(): Promise<void>;
  /** Waits until the list has exactly these addresses, in any order. */
  waitForItems(addresses: readonly string[]): Promise<void>;
  waitForSaid(wanted: RegExp): Promise<void>;
}

export interface Dome9StageOptions {
  readonly api?: Dome9Double;
  readonly apiOptions?: Dome9DoubleOptions;
  readonly configuration?: Partial<Dome9Configuration>;
  /** Recorded before the service starts. */
  readonly bans?: readonly RecordedBan[];
  readonly timing?: Parameters<typeof startDome9Service>[0]['timing'];
}

const DEADLINE_MS = 10_000;
/** The proportions of the real ones; a test of its own looks at the calls that these allow. */
const TIMING = { settleMs: 20, pauseMs: 100, lookMs: 200, firstRetryMs: 40, longestRetryMs: 200 };

export async function setDome9Stage(
  context: TestContext,
  options: Dome9StageOptions = {},
): Promise<Dome9Stage> {
  // first of all at the end: the service would make its directory anew
  let stop = async () => {};
  context.after(() => stop());
  const api = options.api ?? (await startDome9(options.apiOptions));
  const state = temporaryDirectory(context);
  let configuration: Dome9Configuration = {
    file: undefined,
    api: 'v2',
    url: api.url,
    key: api.key,
    ca: undefined,
    sensor: 'web-1',
    list: 'honeyport-web-1',
    state,
    maxItems: 500,
    ...options.configuration,
  };
  const said: string[] = [];
  const speak = (word: string) => (message: string) => void said.push(`${word}: ${message}`);
  const voice: Voice = {
    say: speak('say'),
    warning: speak('warning'),
    error: speak('error'),
    hint: speak('hint'),
  };
  const start = () =>
    startDome9Service({
      load: () => configuration,
      voice,
      version: '0.0.0',
      timing: { ...TIMING, ...options.timing },
    });
  if (options.bans !== undefined) recordBans(state, options.bans);
  let service = await start();
  stop = async () => {
    await service.stop();
    await api.stop();
  };
  const addresses = () => api.items(configuration.list).map(({ ip }) => ip);
  return {
    api,
    state,
    said,
    get configuration() {
      return configuration;
    },
    get service() {
      return service;
    },
    use(changes) {
      configuration = { ...configuration, ...changes };
    },
    async restart() {
      await service.stop();
      service = await start();
    },
    async waitForItems(wanted) {
      const sorted = JSON.stringify([...wanted].sort());
      await waitFor(() => JSON.stringify(addresses().sort()) === sorted, {
        deadlineMs: DEADLINE_MS,
        what: () =>
          `${sorted.slice(0, 300)} in the list, which has ${addresses().slice(0, 20)}; ${said.join('\n')}`,
      });
    },
    async waitForSaid(wanted) {
      await waitFor(() => said.some((text) => wanted.test(text)), {
        deadlineMs: DEADLINE_MS,
        what: () => `${wanted} in:\n${said.join('\n')}`,
      });
    },
  };
}
