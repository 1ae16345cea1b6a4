import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { debian13Argv } from '../support/debian13.ts';
import { temporaryDirectory } from '../support/directory.ts';
import { startHoneyport } from '../support/listener.ts';
import { compareLogWithManifest, runLoad } from '../support/load.ts';
import { NODE_VERSIONS, nodeBinary } from '../support/node-versions.ts';
import { waitFor } from '../support/wait.ts';

const PORT = 24_200;
const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

/** Where Debian 13's Node, in a root of its own, sees this package. */
const ROOT_IN_DEBIAN13 = '/tmp/honeyport-package';

interface Version {
  readonly name: string;
  readonly node: (dir: string) => readonly string[];
  readonly root?: string;
}

const VERSIONS: readonly Version[] = [
  {
    name: `Node ${NODE_VERSIONS.oldest}, the oldest supported`,
    node: () => [nodeBinary(NODE_VERSIONS.oldest)],
  },
  { name: 'Node 24', node: () => [nodeBinary(NODE_VERSIONS.newer)] },
  // its libuv is a shared library, not a part of node
  {
    name: "Debian 13's Node",
    node: (dir) => debian13Argv(['node'], { binds: [`${ROOT}:${ROOT_IN_DEBIAN13}`, dir] }),
    root: ROOT_IN_DEBIAN13,
  },
];

for (const { name, node, root = ROOT } of VERSIONS) {
  test(`${name} listens, logs every reset connection once, reloads and stops`, async (context) => {
    const dir = temporaryDirectory(context);
    const command = node(dir);
    const version = execFileSync(command[0]!, [...command.slice(1), '--version'], { encoding: 'utf8' });
    context.diagnostic(version.trim());
    const config = (decoy: string) =>
      `decoys: [{ name: ${decoy}, ports: ${PORT} }]\nguard: off\nlog: { file: { path: LOG }, console: off }\n`;
    const honeyport = await startHoneyport({
      dir,
      node: command,
      cli: join(root, 'dist/cli.js'),
      config: config('before'),
    });
    context.after(() => honeyport.stop('SIGKILL'));
    const load = { address: '127.0.0.1', ports: PORT, count: 2000, concurrency: 128, mode: 'rst' } as const;
    const { established } = await runLoad({ ...load, firstSource: '127.21.0.1' });
    const connects = () => honeyport.lines().filter((line) => line.includes(': connect '));
    await waitFor(() => connects().length >= 2000, { deadlineMs: 15_000, what: '2,000 lines' });
    assert.deepEqual(compareLogWithManifest(connects(), established), {
      missing: [],
      duplicated: [],
      invented: [],
    });
    writeFileSync(honeyport.configFile, config('after').replace('LOG', join(dir, 'honeyport.log')));
    await honeyport.waitForLine(/: reload result=applied /);
    await runLoad({ ...load, count: 1 });
    await honeyport.waitForLine(/ decoy=after /);
    assert.deepEqual(await honeyport.stop(), { code: 0, signal: null });
    assert.match(honeyport.lines().at(-1)!, /: stop signal=SIGTERM /);
    assert.doesNotMatch(honeyport.stderr(), /Warning|at .*\.js:/);
  });
}
