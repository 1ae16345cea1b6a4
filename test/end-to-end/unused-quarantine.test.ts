import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CLI } from '../support/listener.ts';
import { requireProgram } from '../support/programs.ts';
import { setQuarantineStage } from '../support/quarantine-stage.ts';

test('who knocks on an unused port is blocked from the next packet on, but for decoys, unused ports among them', async (context) => {
  const stage = await setQuarantineStage(context, { decoys: ['{ ports: unused, except: [] }'] });
  const { network, honeyport } = stage;
  const inSensor = (argv: readonly [string, ...string[]], input = '') => {
    const { code, stdout, stderr } = network.run(network.sensor, argv, { input });
    assert.equal(code, 0, stderr);
    return stdout;
  };
  const script = inSensor([process.execPath, CLI, 'rules', '-c', honeyport.configFile]);
  inSensor([requireProgram('nft'), '-f', '-'], script);
  let port = 7000;
  for (const net of ['198.18.7.', '2001:db8:5::7']) {
    for (const [number, manner] of (['fin', 'rst', 'data'] as const).entries()) {
      const source = `${net}${number + 1}`;
      port += 1;
      assert.equal(await stage.reach(source), 'open', `the service, before ${source} knocks`);
      assert.equal(
        stage.knockAndTry(source, { manner, decoy: port }),
        'timeout open',
        `${source}, ${manner}`,
      );
      assert.equal(await stage.reach(source, port + 1000), 'open', `another unused port for ${source}`);
      assert.equal(await stage.reach(source), 'timeout', `the service, after ${source} knocked`);
      const line = await honeyport.waitForLine(
        (text) => text.includes(` src=${source} `) && text.includes(` dpt=${port + 1000} `),
      );
      assert.match(line, /: connect .* decoy=unused /);
    }
  }
  assert.equal(stage.quarantined().length, 6);
});
