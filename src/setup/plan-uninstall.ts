import { lstatSync, readdirSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { DEFAULT_CONFIGURATION_FILE, loadConfiguration } from '../configuration/load.ts';
import { type Comparison, compareFiles } from '../installation/compare-installed.ts';
import {
  MANIFEST_FILE,
  type Manifest,
  type ManifestFile,
  manifestText,
  readManifest,
  STATE_DIRECTORY,
} from '../installation/manifest.ts';
import { listPackageFiles } from '../installation/package-files.ts';
import { readInstalled } from '../installation/read-installed.ts';
import { DEFAULT_LOG, JAIL_FILE, SOCKET_DIRECTORY } from './generated-files.ts';
import {
  areRulesLoaded,
  isFail2banRunning,
  isSystemdRunning,
  RULES_SERVICE,
  unitState,
} from './host-programs.ts';
import { filesNamingUs } from './jail-references.ts';
import { isThere, keptPiece, ownPiece, type Piece, removalPiece } from './piece.ts';
import { type Change, type Effect, type Leftovers, line, NO_LEFTOVERS, type Plan, touches } from './plan.ts';
import { SERVICE_USER } from './service.ts';
import { changeStep, effectStep } from './step.ts';
import { FAIL2BAN_TRACES } from './traces.ts';
import { isTrustedPath, requireTrustedPath } from './trusted-path.ts';

export interface UninstallOptions {
  /** `/`, or the directory that stands for it: files only, then. */
  readonly root: string;
  /** Whether logs go, too, though something is in them. */
  readonly purge: boolean;
}

/**
 * What removing honeyport from a host would do. Changes nothing.
 * @throws UserError when the manifest or a directory is not to be trusted
 */
export async function planUninstall({ root, purge }: UninstallOptions): Promise<Plan> {
  const isHost = root === '/';
  const manifest = readManifest(root);
  const files = listPackageFiles();
  const known = manifest?.files ?? [];
  for (const path of [MANIFEST_FILE, ...files.map(({ target }) => target), ...known.map(({ path }) => path)])
    requireTrustedPath(root, path);

  const log = configuredLog(root);
  const logs = logPieces(root, log, purge);
  const owned = isHost ? (manifest?.users ?? []) : [];
  // a log that stays is of no use to a stranger who is given the number of its owner
  const staying: readonly string[] = logs.some(({ changes }) => changes.length === 0)
    ? owned.filter((name) => name === SERVICE_USER)
    : [];
  const users = owned.filter((name) => !staying.includes(name));
  const pieces = [
    ...compareFiles(root, files, manifest).map(comparedPiece),
    ...known
      .filter(isOnlyInManifest(files.map(({ target }) => target)))
      .map((file) => knownPiece(root, file)),
    ...localPieces(root, known),
    ...logs,
    ...manifestPieces(root, manifest, staying),
  ].filter((piece) => piece !== undefined);
  const changes = pieces.flatMap((piece) => piece.changes);
  const found = findLeftovers({ root, log, purge, users, made: manifest?.directories ?? [] });
  const isNothing = changes.length === 0 && found.files.length === 0 && users.length === 0;
  return {
    verb: 'uninstall',
    root,
    lines: [
      ...pieces.flatMap((piece) => piece.lines),
      ...found.files.flatMap((one) => leftoverLines(root, one)),
      ...users.map((name) => line('-', `user ${name}`)),
      ...staying.map((name) => line('!', `user ${name}`, 'kept: the logs are his')),
    ],
    refusals: [],
    notes: isNothing ? [] : [...userNotes(isHost, manifest), ...referenceNotes(root, changes)],
    checks: isHost && touches(changes, 'fail2ban') ? ['fail2ban'] : [],
    steps: isHost ? await hostSteps(changes) : changes.map(changeStep),
    leftovers: isNothing ? NO_LEFTOVERS : found,
  };
}

function configuredLog(root: string): string {
  if (root !== '/' || !isThere(root, DEFAULT_CONFIGURATION_FILE)) return DEFAULT_LOG;
  try {
    return loadConfiguration(DEFAULT_CONFIGURATION_FILE).log.file.path;
  } catch {
    // one that is wrong names no log, and is no reason to stay
    return DEFAULT_LOG;
  }
}

/** What is as it was installed goes; what was edited, or is somebody else's, stays. */
function comparedPiece({ path, state, installed }: Comparison): Piece | undefined {
  if (state === 'missing' || installed.kind === 'missing') return undefined;
  if (state === 'foreign' || installed.kind === 'other')
    return keptPiece(path, "kept: it is not honeyport's");
  if (state === 'edited') return keptPiece(path, 'kept: it was edited');
  return removalPiece(path, installed.sha256);
}

function isOnlyInManifest(targets: readonly string[]): (file: ManifestFile) => boolean {
  const packaged = new Set(targets);
  return ({ path }) => !packaged.has(path);
}

/** What install generated, or an older version installed. */
function knownPiece(root: string, { path, sha256 }: ManifestFile): Piece | undefined {
  const installed = readInstalled(join(root, path));
  if (installed.kind === 'missing') return undefined;
  if (installed.kind === 'file' && installed.sha256 === sha256) return removalPiece(path, sha256);
  return keptPiece(path, 'kept: it was edited');
}

/** What install did not write stays, and is named. */
function localPieces(root: string, known: readonly ManifestFile[]): Piece[] {
  const mine = new Set(known.map(({ path }) => path));
  return [DEFAULT_CONFIGURATION_FILE, JAIL_FILE]
    .filter((path) => !mine.has(path) && isThere(root, path))
    .map((path) => keptPiece(path, 'kept: it is yours'));
}

/** While a user stays, it stays known that he goes with the logs. */
function manifestPieces(root: string, manifest: Manifest | undefined, users: readonly string[]): Piece[] {
  if (manifest === undefined) return [];
  if (users.length === 0) return [removalPiece(MANIFEST_FILE, undefined)];
  return [ownPiece(root, MANIFEST_FILE, manifestText({ ...manifest, files: [], users }))];
}

/** Logs, with those that were rotated, in a directory that is not root's. */
function logNames(root: string, log: string): { directory: string; names: string[] } {
  const directory = dirname(log);
  if (!isTrustedPath(root, directory)) return { directory, names: [] };
  const patterns = [basename(log), 'bans.log'].map((name) => new RegExp(`^${escapeRegExp(name)}([.-].*)?$`));
  const names = listOrEmpty(join(root, directory)).filter((name) => patterns.some((one) => one.test(name)));
  return { directory, names: names.sort() };
}

function logPieces(root: string, log: string, purge: boolean): Piece[] {
  const { directory, names } = logNames(root, log);
  return names.flatMap((name) => {
    const path = join(directory, name);
    const stats = lstatSync(join(root, path), { throwIfNoEntry: false });
    if (stats === undefined) return [];
    if (stats.isFile() && stats.size === 0) return [removalPiece(path, undefined, true)];
    return purge ? [] : [keptPiece(path, 'kept: it is not empty; --purge removes it')];
  });
}

interface LeftoverQuestion {
  readonly root: string;
  readonly log: string;
  readonly purge: boolean;
  readonly users: readonly string[];
  /** Directories that install made. */
  readonly made: readonly string[];
}

function findLeftovers({ root, log, purge, users, made }: LeftoverQuestion): Leftovers {
  const directory = dirname(log);
  const stem = escapeRegExp(basename(log).replace(/\.log$/, ''));
  const logs = `(?:${escapeRegExp(basename(log))}|bans\\.log)(?:[.-].*)?`;
  const files = [
    { directory, names: purge ? `${stem}\\.allow\\.json.*|${logs}` : `${stem}\\.allow\\.json.*` },
    ...FAIL2BAN_TRACES.files,
    { directory: `${STATE_DIRECTORY}/dome9/wanted`, names: '.*' },
    { directory: `${STATE_DIRECTORY}/dome9`, names: '.*' },
    { directory: `${STATE_DIRECTORY}/rules`, names: '.*' },
  ].filter((one) => isTrustedPath(root, one.directory) && namesIn(root, one).length > 0);
  return {
    files,
    directories: [directory, ...DIRECTORIES, ...made.toSorted().reverse()].filter((path) =>
      isTrustedPath(root, path),
    ),
    users: users.map((name) => ({
      name,
      unlessThere: [name === SERVICE_USER ? directory : `${STATE_DIRECTORY}/dome9`],
    })),
  };
}

/** Directories that may be there after an installation by hand, too; they stay if anything is in them. */
const DIRECTORIES = [
  SOCKET_DIRECTORY,
  '/etc/honeyport',
  ...FAIL2BAN_TRACES.directories,
  `${STATE_DIRECTORY}/dome9/wanted`,
  `${STATE_DIRECTORY}/dome9`,
  `${STATE_DIRECTORY}/rules`,
];

function leftoverLines(root: string, one: Leftovers['files'][number]): string[] {
  return namesIn(root, one).map((name) => line('-', join(one.directory, name)));
}

function namesIn(root: string, { directory, names }: Leftovers['files'][number]): string[] {
  const pattern = new RegExp(`^(?:${names})$`);
  return listOrEmpty(join(root, directory), 'files').filter((name) => pattern.test(name));
}

function userNotes(isHost: boolean, manifest: Manifest | undefined): string[] {
  if (!isHost || manifest !== undefined) return [];
  return ['users stay: there is no record of who made them'];
}

/** Files of fail2ban's that stay, and name what goes. */
function referenceNotes(root: string, changes: readonly Change[]): string[] {
  if (!touches(changes, 'fail2ban')) return [];
  const gone = new Set(changes.flatMap((change) => (change.kind === 'remove' ? [change.path] : [])));
  const naming = filesNamingUs(root).filter((path) => !gone.has(path));
  return naming.map(
    (path) => `${path} stays and names honeyport: a jail that is on in it would need what is removed`,
  );
}

/** The service ends first, then the jails, so that what they still say is in the logs; then what they were made of goes. */
async function hostSteps(changes: readonly Change[]): Promise<Plan['steps']> {
  const jails = changes.filter((change) => touches([change], 'fail2ban'));
  const rest = changes.filter((change) => !jails.includes(change));
  const stops = isSystemdRunning() ? await stopEffects(changes) : [];
  const rules: Effect[] = (await areRulesLoaded()) ? [{ kind: 'remove rules' }] : [];
  return [
    ...[...stops, ...rules].map(effectStep),
    ...jails.map(changeStep),
    ...(await jailEffects(jails)).map(effectStep),
    ...rest.map(changeStep),
    ...programEffects(changes).map(effectStep),
  ];
}

/** Units that are removed and run, or would run at the next boot; those that start others first. */
async function stopEffects(changes: readonly Change[]): Promise<Effect[]> {
  const units = changes.flatMap((change) =>
    change.kind === 'remove' && /\/system\/[^/]+\.(service|socket|timer)$/.test(change.path)
      ? [basename(change.path)]
      : [],
  );
  const effects: Effect[] = [];
  // what a timer starts ends by itself
  const lasting = units.filter((unit) => unit !== RULES_SERVICE);
  for (const unit of lasting.sort((a, b) => Number(startsOthers(b)) - Number(startsOthers(a)))) {
    const { enabled, active } = await unitState(unit);
    if (enabled || active) effects.push({ kind: 'stop', unit });
  }
  return effects;
}

function startsOthers(unit: string): boolean {
  return /\.(socket|timer)$/.test(unit);
}

async function jailEffects(jails: readonly Change[]): Promise<Effect[]> {
  if (jails.length === 0) return [];
  const effects: Effect[] = [
    { kind: 'check', check: 'fail2ban' },
    { kind: 'check', check: 'no use of ours in fail2ban' },
  ];
  return (await isFail2banRunning()) ? [...effects, { kind: 'end jails' }] : effects;
}

function programEffects(changes: readonly Change[]): Effect[] {
  const effects: Effect[] = [];
  if (touches(changes, 'systemd') && isSystemdRunning()) effects.push({ kind: 'read units' });
  if (touches(changes, 'rsyslog')) effects.push({ kind: 'check', check: 'rsyslog' });
  if (touches(changes, 'rsyslog') && isSystemdRunning()) effects.push({ kind: 'restart rsyslog' });
  return effects;
}

function listOrEmpty(directory: string, only?: 'files'): string[] {
  if (!lstatSync(directory, { throwIfNoEntry: false })?.isDirectory()) return [];
  return readdirSync(directory, { withFileTypes: true })
    .filter((entry) => only === undefined || !entry.isDirectory())
    .map(({ name }) => name);
}

function escapeRegExp(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}
