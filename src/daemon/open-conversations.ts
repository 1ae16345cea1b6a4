import type { Connection } from '../capture/connection.ts';
import type { Configuration } from '../configuration/configuration.ts';
import {
  type ConversationLimits,
  type Conversations,
  createConversations,
} from '../conversation/conversations.ts';
import { createProxiedConnections, type ProxiedConnections } from '../conversation/proxied-connections.ts';
import type { ProxyHeader } from '../conversation/proxy-header.ts';
import { createReadiness } from '../conversation/readiness.ts';
import type { Native } from '../native/native.ts';
import type { Recorder } from '../sinks/recorder.ts';
import { mostOpenFiles } from '../system/open-files.ts';
import type { Voice } from '../voice.ts';
import { createProgramStarter } from './program-starter.ts';
import { keepsOpen } from './reception.ts';
import { createResponseFailures } from './response-failures.ts';
import { responseWarnings } from './response-warnings.ts';

export interface OpenConversationsOptions {
  readonly configuration: Configuration;
  readonly native: Native;
  readonly recorder: Recorder;
  readonly voice: Voice;
  readonly onHeader: (connection: Connection, header: ProxyHeader | undefined) => void;
}

/** What connections that stay open need. */
export interface OpenedConversations {
  readonly conversations: Conversations;
  readonly proxied: ProxiedConnections<Connection>;
  use(configuration: Configuration): void;
  /** Ends all of them, within a bounded time; their last events are recorded when it is done. */
  close(): Promise<void>;
}

/** Descriptors for log, receivers, configuration and Node itself. */
const OTHER_FILES = 64;
/** Of a program that runs: the pipe of its standard error, and another one while it starts. */
const FILES_OF_PROGRAM = 3;

export function openConversations(options: OpenConversationsOptions): OpenedConversations {
  const { configuration, native, recorder, voice, onHeader } = options;
  const readiness = createReadiness(native);
  const failures = createResponseFailures(voice.warning);
  const programs = createProgramStarter({
    onPrepare() {
      native.keepPrivilegesFromPrograms();
      if (process.geteuid?.() === 0) voice.warning(ROOT_WARNING);
    },
    onTrouble: voice.warning,
  });
  const limits = limitsOf(configuration, voice);
  const conversations = createConversations({
    native,
    readiness,
    limits,
    record: (event) => void recorder.record(event),
    flush: recorder.flush,
    startProgram: programs.start,
    onFailure: failures.report,
  });
  const proxied = createProxiedConnections<Connection>({
    native,
    readiness,
    most: limits.conversations,
    onHeader,
  });
  prepare(configuration);

  return { conversations, proxied, use, close };

  function use(wanted: Configuration): void {
    const changed = limitsOf(wanted, voice);
    conversations.changeLimits(changed);
    proxied.changeMost(changed.conversations);
    prepare(wanted);
  }

  /** So that the first peer does not wait for what is loaded. */
  function prepare({ decoys }: Configuration): void {
    if (!decoys.some(({ behaviour }) => behaviour?.kind === 'response')) return;
    programs.prepare();
    for (const warning of responseWarnings(decoys)) voice.warning(warning);
  }

  async function close(): Promise<void> {
    proxied.close();
    await conversations.close();
    failures.close();
    readiness.close();
  }
}

const ROOT_WARNING =
  'honeyport runs as root, and so do the programs of its responses, without any capability: run it as another user';

/** The configured limits, or what there are descriptors for: a log that cannot be opened again is worse than silence. */
function limitsOf({ decoys, limits }: Configuration, voice: Voice): ConversationLimits {
  const { conversations, responses } = limits;
  const most = mostOpenFiles();
  if (most === undefined || !decoys.some(keepsOpen)) return { conversations, responses };
  // the listener of `ports: unused` is one
  const listeners = decoys.reduce((sum, { ports }) => sum + Math.max(1, ports.length), 0);
  const hasPrograms = decoys.some(({ behaviour }) => behaviour?.kind === 'response');
  const others = listeners + OTHER_FILES + (hasPrograms ? responses * FILES_OF_PROGRAM : 0);
  // a proxy's connection waits for its header beside the conversations
  const each = decoys.some(({ proxies }) => proxies.length > 0) ? 2 : 1;
  const possible = Math.max(0, Math.floor((most - others) / each));
  if (possible >= conversations) return { conversations, responses };
  voice.warning(
    `at most ${possible} conversations at a time instead of ${conversations}: there may be ${most} open files`,
  );
  voice.hint('raise the limit (ulimit -n, or LimitNOFILE= of the service), or lower limits.conversations');
  return { conversations: possible, responses };
}
