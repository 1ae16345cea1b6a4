import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdir, rename, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/**
 * Compiles one C file into `directory`, unless a program that is newer than its source is there already.
 * Several processes may do this at once: the program appears under its name when it is complete.
 * Rejects with the installing command where gcc is missing, and with gcc's words where the source does not compile.
 */
export async function compileC(source: string, directory: string): Promise<string> {
  const program = join(directory, basename(source, '.c'));
  if (await isNewer(program, source)) return program;
  await mkdir(directory, { recursive: true });
  const unfinished = `${program}.${randomUUID()}`;
  await gcc(['-O2', '-std=gnu17', '-Wall', '-Wextra', '-o', unfinished, source]);
  await rename(unfinished, program);
  return program;
}

async function isNewer(program: string, source: string): Promise<boolean> {
  const built = await stat(program).catch(() => undefined);
  return built !== undefined && built.mtimeMs > (await stat(source)).mtimeMs;
}

async function gcc(args: readonly string[]): Promise<void> {
  try {
    await run('gcc', args);
  } catch (error) {
    const { code, stderr } = error as { code?: unknown; stderr?: string };
    if (code === 'ENOENT') throw new Error('gcc is not installed: apt-get install gcc libc6-dev');
    if (stderr?.includes('No such file or directory')) {
      throw new Error(`gcc finds no header files: apt-get install libc6-dev linux-libc-dev\n${stderr}`);
    }
    throw new Error(`gcc failed: ${stderr ?? String(error)}`);
  }
}
