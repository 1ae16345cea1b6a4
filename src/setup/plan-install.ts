import { join } from 'node:path';
import type { Configuration } from '../configuration/configuration.ts';
import { DEFAULT_CONFIGURATION_FILE, loadConfiguration, parseConfiguration } from '../configuration/load.ts';
import { UserError } from '../errors.ts';
import { compareFile, compareFiles, presentParts } from '../installation/compare-installed.ts';
import { MANIFEST_FILE, type Manifest, manifestText, readManifest } from '../installation/manifest.ts';
import { listPackageFiles, type PackageFile, type Part } from '../installation/package-files.ts';
import { readInstalled } from '../installation/read-installed.ts';
import {
  SOCKET_DROP_IN_FILE,
  SOCKET_UNIT_FILE,
  socketDropInText,
  socketUnitText,
} from '../installation/socket-unit.ts';
import { findPortOwner } from '../system/port-owner.ts';
import {
  DEFAULT_LOG,
  type GeneratedFile,
  JAIL_FILE,
  jailSettings,
  type Sender,
  sampleConfiguration,
  senderFile,
} from './generated-files.ts';
import { accountPieces, logPieces, socketPieces } from './host-pieces.ts';
import { baselineChecks, hostEffects } from './install-effects.ts';
import { hostNotes, partNotes, rootNotes } from './install-notes.ts';
import {
  directoryChanges,
  generatedPiece,
  isThere,
  keptPiece,
  ownPiece,
  type Piece,
  removalPiece,
  shippedPiece,
} from './piece.ts';
import { type Change, line, NO_LEFTOVERS, type Plan } from './plan.ts';
import { serviceProgramProblems } from './service-programs.ts';
import { changeStep, effectStep } from './step.ts';
import { requireTrustedPath } from './trusted-path.ts';

export interface InstallOptions {
  /** `/`, or the directory that stands for it: files only, then. */
  readonly root: string;
  readonly version: string;
  /** Whether a new jail only counts and logs. */
  readonly observe: boolean;
  /** Whether systemd opens the ports. Once it does, it goes on so. */
  readonly sockets: boolean;
  /** Receivers that rsyslog is to send to. */
  readonly senders: readonly Sender[];
}

/**
 * What an installation, or an upgrade, would do. Changes nothing.
 * @throws UserError when the manifest or a directory is not to be trusted
 */
export async function planInstall(options: InstallOptions): Promise<Plan> {
  const { root } = options;
  const isHost = root === '/';
  const parts = presentParts(root);
  const manifest = readManifest(root);
  const files = wantedFiles(root, parts, options.senders);
  for (const path of [MANIFEST_FILE, DEFAULT_CONFIGURATION_FILE, ...files.map(({ target }) => target)])
    requireTrustedPath(root, path);

  const { configuration, problems } = configurationOf(root);
  const log = root === '/' ? configuration.log.file.path : DEFAULT_LOG;
  const accounts = isHost && parts.includes('systemd') ? await accountPieces(files) : [];
  const made = socketTexts(options, parts, configuration);
  for (const [path] of made) requireTrustedPath(root, path);
  const shipped = [
    ...compareFiles(root, files, manifest),
    ...made.map(([path, text]) => compareFile(root, path, Buffer.from(text), manifest)),
  ].map((one) => shippedPiece(root, one));
  const wanted = [...files, ...listPackageFiles()].map(({ target }) => target);
  const obsolete = obsoletePieces(root, manifest, [...wanted, ...made.map(([path]) => path)]);
  const generated = generatedFiles(options, parts, log).map((file) =>
    generatedPiece(
      root,
      file,
      manifest?.files.find(({ path }) => path === file.path),
    ),
  );
  const logs = isHost ? [...logPieces(root, log), ...socketPieces(options.senders)] : [];
  const pieces = [...accounts, ...logs, ...shipped, ...obsolete, ...generated];
  const directories = directoryChanges(
    root,
    pieces.flatMap((piece) => piece.changes),
  );
  const all = [...pieces, recordPiece(options, pieces, directories, manifest)];
  const changes = all.flatMap((piece) => piece.changes);
  const refusals = [
    ...all.flatMap((piece) => piece.refusals ?? []),
    ...problems,
    ...(made.length > 0 ? socketRefusals(configuration) : []),
    ...senderRefusals(parts, options.senders),
    ...(isHost && parts.includes('systemd') ? serviceProgramProblems() : []),
  ];
  const { senders, version } = options;
  const needsRules = configuration.decoys.some(({ unused }) => unused !== undefined);
  const context = { parts, manifest, changes, log, senders, version, needsRules };
  const effects = isHost ? await hostEffects(context) : [];
  return {
    verb: 'install',
    root,
    lines: [...directories.flatMap(directoryLines), ...all.flatMap((piece) => piece.lines)],
    refusals,
    notes: [...partNotes(parts), ...(isHost ? await hostNotes(context) : rootNotes(context, root))],
    checks: isHost ? baselineChecks(parts, changes) : [],
    steps: [...inOrder(directories, changes).map(changeStep), ...effects.map(effectStep)],
    leftovers: NO_LEFTOVERS,
  };
}

/** Whether fail2ban is there and no file says whether the jail is on. */
export function isFirstJail(root: string): boolean {
  return presentParts(root).includes('fail2ban') && !isThere(root, JAIL_FILE);
}

/** rsyslog's file is on request, and stays where it is once it was asked for. */
function wantedFiles(root: string, parts: readonly Part[], senders: readonly Sender[]): PackageFile[] {
  const readsFiles = senders.some(({ kind }) => kind !== 'socket');
  return listPackageFiles().filter(({ part, target }) => {
    if (!parts.includes(part)) return false;
    return part !== 'rsyslog' || readsFiles || isThere(root, target);
  });
}

/** The configuration that is there, or the one that is written; one that is wrong is a reason to do nothing. */
function configurationOf(root: string): { configuration: Configuration; problems: string[] } {
  const sample = () => parseConfiguration(Buffer.from(sampleOf(root)), DEFAULT_CONFIGURATION_FILE);
  const file = join(root, DEFAULT_CONFIGURATION_FILE);
  if (!isThere(root, DEFAULT_CONFIGURATION_FILE)) return { configuration: sample(), problems: [] };
  try {
    return { configuration: { ...loadConfiguration(file), file: DEFAULT_CONFIGURATION_FILE }, problems: [] };
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    // below another root, what it names may be of no use here, and is not needed
    return { configuration: sample(), problems: root === '/' ? error.message.split('\n') : [] };
  }
}

function sampleOf(root: string): string {
  return sampleConfiguration((port) => (root === '/' ? findPortOwner(port)?.name : undefined));
}

/** The ports as systemd opens them, in step with the configuration. */
function socketTexts(
  { root, sockets }: InstallOptions,
  parts: readonly Part[],
  configuration: Configuration,
): [string, string][] {
  if (!parts.includes('systemd') || !(sockets || isThere(root, SOCKET_UNIT_FILE))) return [];
  return [
    [SOCKET_UNIT_FILE, socketUnitText(configuration)],
    [SOCKET_DROP_IN_FILE, socketDropInText(configuration)],
  ];
}

/** systemd takes no socket unit without a port, and the service would not start without it. */
function socketRefusals({ decoys }: Configuration): string[] {
  if (decoys.some(({ ports }) => ports.length > 0)) return [];
  return [
    `${SOCKET_UNIT_FILE}: expected a decoy with ports that systemd can open, got \`ports: unused\` alone`,
  ];
}

/** Files of an older version that this one has not any more. */
function obsoletePieces(root: string, manifest: Manifest | undefined, wanted: readonly string[]): Piece[] {
  const shipped = new Set(wanted);
  const old = manifest?.files.filter(({ path, kind }) => kind === 'shipped' && !shipped.has(path)) ?? [];
  return old.flatMap(({ path, sha256 }) => {
    const installed = readInstalled(join(root, path));
    if (installed.kind === 'missing') return [];
    if (installed.kind === 'file' && installed.sha256 === sha256) return [removalPiece(path, sha256)];
    return [keptPiece(path, 'kept: it is of an older version, and was edited')];
  });
}

function generatedFiles(
  { root, observe, senders }: InstallOptions,
  parts: readonly Part[],
  log: string,
): GeneratedFile[] {
  const jail = { path: JAIL_FILE, text: jailSettings(log, observe) };
  return [
    { path: DEFAULT_CONFIGURATION_FILE, text: sampleOf(root) },
    ...senders.map(senderFile),
    // last of all, since it has fail2ban read the log
    ...(parts.includes('fail2ban') ? [jail] : []),
  ];
}

/** The manifest; what earlier installations made, and is there still, stays in it. */
function recordPiece(
  { root, version }: InstallOptions,
  pieces: readonly Piece[],
  made: readonly Change[],
  before: Manifest | undefined,
): Piece {
  const records = pieces.flatMap((piece) => piece.records ?? []);
  const known = new Set(records.map(({ path }) => path));
  const earlier = before?.files.filter(
    ({ path, kind }) => !known.has(path) && kind === 'generated' && isThere(root, path),
  );
  const changes = [...made, ...pieces.flatMap((piece) => piece.changes)];
  const directories = changes.flatMap((change) => (change.kind === 'directory' ? [change.path] : []));
  const users = changes.flatMap((change) => (change.kind === 'user' ? [change.name] : []));
  const manifest = {
    version,
    files: [...records, ...(earlier ?? [])].sort((a, b) => (a.path < b.path ? -1 : 1)),
    directories: union(before?.directories, directories),
    users: union(before?.users, users),
  };
  return ownPiece(root, MANIFEST_FILE, manifestText(manifest));
}

function union(before: readonly string[] = [], now: readonly string[]): string[] {
  return [...new Set([...before, ...now])].sort();
}

function senderRefusals(parts: readonly Part[], senders: readonly Sender[]): string[] {
  const kinds = senders.map(({ kind }) => kind);
  const twice = kinds.find((kind, index) => kinds.indexOf(kind) < index);
  if (twice !== undefined) return [`--rsyslog: expected each kind once, got ${twice} twice`];
  if (senders.length === 0 || parts.includes('rsyslog')) return [];
  return ['--rsyslog: rsyslog is not installed: apt-get install rsyslog'];
}

/** Users and logs first, then files, those of a kind together; each directory before what is in it. */
function inOrder(made: readonly Change[], changes: readonly Change[]): Change[] {
  return [
    ...changes.filter(({ kind }) => kind === 'user'),
    ...made,
    ...changes.filter(({ kind }) => kind !== 'user'),
  ];
}

function directoryLines(change: Change): string[] {
  return change.kind === 'directory' ? [line('+', `${change.path}/`)] : [];
}
