import { spawn } from 'node:child_process';
import { chmodSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { temporaryDirectory } from './directory.ts';
import { requireProgram } from './programs.ts';
import { waitFor } from './wait.ts';

/** systemd's end of sd_notify(3): a datagram socket that everybody may write to. */
export interface NotifySocket {
  readonly path: string;
  /** What came, in its order, but for signs of life. */
  states(): string[];
  /** How many signs of life came. */
  signs(): number;
  waitForState(wanted: RegExp): Promise<void>;
}

const PROGRAM = `
import json, os, socket, sys
listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
listening.bind(sys.argv[1] + '.new')
os.chmod(sys.argv[1] + '.new', 0o777)
os.rename(sys.argv[1] + '.new', sys.argv[1])
while True:
    print(json.dumps(listening.recv(65536).decode()), flush=True)
`;

export async function startNotifySocket(context: TestContext): Promise<NotifySocket> {
  const directory = temporaryDirectory(context);
  chmodSync(directory, 0o755);
  const path = join(directory, 'notify');
  const receiver = spawn(requireProgram('python3'), ['-c', PROGRAM, path], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  context.after(() => receiver.kill());
  let output = '';
  receiver.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
  await waitFor(() => existsSync(path), { deadlineMs: 10_000, what: path });
  const messages = () =>
    output
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as string);
  const states = () => messages().filter((message) => message !== 'WATCHDOG=1');
  return {
    path,
    states,
    signs: () => messages().filter((message) => message === 'WATCHDOG=1').length,
    async waitForState(wanted) {
      await waitFor(() => states().some((state) => wanted.test(state)), {
        deadlineMs: 15_000,
        what: () => `${wanted} in ${JSON.stringify(states())}`,
      });
    },
  };
}
