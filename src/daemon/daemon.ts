import { release } from 'node:os';
import { getSystemErrorName } from 'node:util';
import { createAcceptor } from '../capture/acceptor.ts';
import { createListeners, ListenErrors } from '../capture/listeners.ts';
import { markCapability } from '../capture/socket-mark.ts';
import type { Configuration } from '../configuration/configuration.ts';
import { portCount } from '../configuration/decoy-ports.ts';
import { UserError } from '../errors.ts';
import { SCHEMA_VERSION, type Unrecorded } from '../event.ts';
import { endConnection } from '../native/end-connection.ts';
import { loadLoginSessions, type Native } from '../native/native.ts';
import { createRecorder } from '../sinks/recorder.ts';
import type { Sink } from '../sinks/sink.ts';
import { reportUserError, type Voice } from '../voice.ts';
import { becomeUser, userWarning } from './become-user.ts';
import { endpointsOf } from './endpoints.ts';
import { keepKnownSources } from './known-sources.ts';
import { listenProblem } from './listen-problem.ts';
import { openConversations } from './open-conversations.ts';
import { changeSinks, type OpenedSinks, openSinks, type StandardOutput } from './open-sinks.ts';
import { openSocketPool } from './open-socket-pool.ts';
import { createReception } from './reception.ts';
import { createThrottling } from './throttling.ts';
import { createUnusedPorts } from './unused-ports.ts';

export interface DaemonOptions {
  /** Reads the configuration, at the start and at each reload. May throw UserError. */
  readonly load: () => Configuration;
  readonly version: string;
  readonly voice: Voice;
  readonly native: Native;
  /** Descriptors of sockets that systemd has opened. */
  readonly socketFds: readonly number[];
  readonly stdout: StandardOutput;
}

/** The running listener. */
export interface Daemon {
  /** The configuration in force. */
  readonly configuration: Configuration;
  /** What it listens on, in a line. */
  readonly summary: string;
  /** Applies a good configuration; reports a bad one and runs on with the old one. @returns whether it is applied */
  reload(): boolean;
  /** Logs what is queued, then ends. @returns the exit code: 1 when lines were lost */
  stop(signal: string): Promise<0 | 1>;
}

/** A lack of descriptors comes and goes with each connection, and is said once in a while. */
const TROUBLE_PAUSE_MS = 60_000;

/**
 * Starts to listen and to log.
 * @throws UserError when the configuration is wrong, the log cannot be written, or a port cannot be listened on
 */
export function startDaemon({ load, version, voice, native, socketFds, stdout }: DaemonOptions): Daemon {
  let configuration = load();
  let stopping = false;
  const startedAsRoot = process.geteuid?.() === 0;
  becomeUser({ configuration, native, voice });
  let sinks = open(configuration);
  /** Sinks of former configurations that still try to write what they took. */
  let leaving: Promise<unknown> = Promise.resolve();
  const recorder = createRecorder(sinks);
  let saidOfMarks = '';
  let troubleSaidAt = Number.NEGATIVE_INFINITY;
  const acceptor = createAcceptor({ native, onConnections: (batch) => reception.receive(batch), onTrouble });
  const listeners = createListeners(native, acceptor, openSocketPool(native, socketFds, voice));
  const unusedPorts = createUnusedPorts({ native, voice, onRetry: () => listen(configuration) });
  const sources = keepKnownSources(configuration, voice, loadLoginSessions());
  const throttling = createThrottling(configuration.limits, recordAll);
  const opened = openConversations({
    configuration,
    native,
    recorder,
    voice,
    onHeader: (connection, header) => reception.takeHeader(connection, header),
  });
  const reception = createReception({
    recorder,
    knowledge: sources.knowledge,
    throttling,
    ...opened,
    end: (fd) => endConnection(native, fd),
  });
  reception.use(configuration);
  listenOrRelease();
  recordNow({ kind: 'start', time: Date.now(), version, schema: SCHEMA_VERSION, ...counts(configuration) });

  return {
    get configuration() {
      return configuration;
    },
    get summary() {
      return summary(configuration);
    },
    reload,
    stop,
  };

  function onTrouble(errno: number): void {
    const now = performance.now();
    if (now - troubleSaidAt < TROUBLE_PAUSE_MS) return;
    troubleSaidAt = now;
    voice.warning(`connections wait in the kernel's queue: accept failed with ${getSystemErrorName(-errno)}`);
  }

  function open(wanted: Configuration, before?: OpenedSinks): OpenedSinks {
    return openSinks({
      open: before,
      configuration: wanted,
      version,
      socketOptions: native,
      voice,
      stdout,
      onRecovery: () => recorder.flush(),
      onLogClosed: (lines) => {
        if (lines === 0) return;
        recorder.lose(lines);
        voice.error(`${lines} lines are lost: the log ${wanted.log.file.path} could not be written`);
        if (!stopping) recorder.flush();
      },
      onReceiverLost: (receiver, count) => {
        // the log ends with its stop line
        if (!stopping) recordNow({ kind: 'suppressed', time: Date.now(), count, reason: 'queue', receiver });
      },
    });
  }

  function listen(wanted: Configuration): void {
    try {
      unusedPorts.listen(endpointsOf(wanted), listeners.replace);
    } catch (error) {
      throw error instanceof ListenErrors ? listenProblem(error.errors, socketFds.length > 0) : error;
    }
    const { lacksMark, keepsMark } = listeners;
    const problem = `${lacksMark} ${keepsMark}`;
    if (problem !== saidOfMarks && lacksMark) tellMissingMark(voice);
    if (problem !== saidOfMarks && keepsMark) tellKeptMark(voice);
    saidOfMarks = problem;
  }

  /** At the start there is nothing to fall back on, and nothing may keep the process alive. */
  function listenOrRelease(): void {
    try {
      listen(configuration);
    } catch (error) {
      unusedPorts.close();
      acceptor.close();
      sources.close();
      void opened.close();
      void closeSinks([sinks.file, ...sinks.others]);
      throw error;
    }
  }

  function reload(): boolean {
    if (stopping) return false;
    try {
      apply(load());
      voice.say(`reloaded: ${summary(configuration)}`);
      recordReload('applied');
      return true;
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      reportUserError(voice, error);
      voice.warning('the new configuration is not applied: the old one runs on');
      recordReload('refused');
      return false;
    }
  }

  /** All or nothing: what can fail comes first, the sinks before the listeners that need them. */
  function apply(wanted: Configuration): void {
    const before = sinks;
    const next = open(wanted, before);
    try {
      listen(wanted);
    } catch (error) {
      void closeSinks(without(next, before));
      throw error;
    }
    const warning = startedAsRoot ? userWarning(configuration, wanted) : undefined;
    if (warning !== undefined) voice.warning(warning);
    configuration = wanted;
    sources.use(wanted);
    sinks = next;
    changeSinks(sinks, wanted, version);
    recorder.use(sinks);
    throttling.use(wanted.limits);
    opened.use(wanted);
    reception.use(wanted);
    leaving = Promise.all([leaving, closeSinks(without(before, next))]);
  }

  function recordReload(result: 'applied' | 'refused'): void {
    recordNow({ kind: 'reload', time: Date.now(), result, ...counts(configuration) });
  }

  function recordNow(event: Unrecorded): void {
    recordAll([event]);
  }

  function recordAll(events: readonly Unrecorded[]): void {
    for (const event of events) recorder.record(event);
    recorder.flush();
  }

  async function stop(signal: string): Promise<0 | 1> {
    stopping = true;
    unusedPorts.close();
    acceptor.close();
    listeners.unmarkInherited();
    await opened.close();
    sources.close();
    throttling.close();
    recordNow({ kind: 'stop', time: Date.now(), signal });
    const untold = recorder.lost;
    await Promise.all([leaving, closeSinks([sinks.file, ...sinks.others])]);
    if (untold > 0) voice.error(`${untold} lines are lost: there was no room for them`);
    return recorder.lost > 0 ? 1 : 0;
  }
}

async function closeSinks(sinks: readonly Sink[]): Promise<void> {
  await Promise.all(sinks.map((sink) => sink.close()));
}

/** The sinks that are in one configuration only. */
function without({ file, others }: OpenedSinks, kept: OpenedSinks): Sink[] {
  return [file, ...others].filter((sink) => sink !== kept.file && !kept.others.includes(sink));
}

function tellMissingMark(voice: Voice): void {
  const capability = markCapability();
  voice.warning(
    `the decoys' sockets bear no mark, so the kernel cannot quarantine who knocks until the ban: ${capability} is missing`,
  );
  voice.hint(
    capability === 'CAP_NET_RAW'
      ? 'give the service AmbientCapabilities=CAP_NET_RAW and CapabilityBoundingSet=CAP_NET_RAW, or write mark: off'
      : `write mark: off: this is Linux ${release()}, and before 5.17 a mark needs a right to change the whole network`,
  );
}

function tellKeptMark(voice: Voice): void {
  voice.warning(
    `sockets from systemd bear a mark of an earlier time, by which the kernel may quarantine who knocks: ${markCapability()} is missing to take it away`,
  );
  voice.hint('systemctl restart honeyport.socket');
}

function counts(configuration: Configuration): { decoys: number; ports: number } {
  return { decoys: configuration.decoys.length, ports: portCount(configuration) };
}

function summary(configuration: Configuration): string {
  const { decoys, ports } = counts(configuration);
  const allowed = configuration.allow.length;
  return [
    `${decoys} ${decoys === 1 ? 'decoy' : 'decoys'}`,
    `${ports} ${ports === 1 ? 'port' : 'ports'}`,
    ...(allowed === 0 ? [] : [`${allowed} allow ${allowed === 1 ? 'entry' : 'entries'}`]),
  ].join(', ');
}
