#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { addAllowCommand } from './commands/allow.ts';
import { addCheckCommand } from './commands/check.ts';
import { addDemoCommand } from './commands/demo.ts';
import { addDoctorCommand } from './commands/doctor.ts';
import { addDome9Command } from './commands/dome9.ts';
import { addInstallCommand } from './commands/install.ts';
import { addRulesCommand } from './commands/rules.ts';
import { addRunCommand } from './commands/run.ts';
import { addSchemaCommand } from './commands/schema.ts';
import { addUninstallCommand } from './commands/uninstall.ts';
import { addWhyCommand } from './commands/why.ts';
import { UserError } from './errors.ts';
import { createErrorWriter } from './system/standard-error.ts';
import { createVoice, reportUserError } from './voice.ts';

// Node opens its debugger on SIGUSR1, for anybody on the host to use, unless the program listens to the signal
process.on('SIGUSR1', () => voice.warning('SIGUSR1 has no meaning here; SIGHUP reloads'));
// a reader that goes away, as `head` does, ends what is shown to it and nothing else
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
  version: string;
};
const voice = createVoice(createErrorWriter());

const program = new Command('honeyport')
  .description('Decoy TCP ports that log every completed connection with its true peer, for fail2ban to ban.')
  .version(version, '-V, --version')
  .exitOverride()
  .configureOutput({ outputError: (text) => voice.error(usageProblem(text)) })
  .showHelpAfterError('honeyport: hint: see honeyport --help');

const context = { version, voice, print: (text: string) => void process.stdout.write(text) };
addRunCommand(program, context);
addCheckCommand(program, context);
addSchemaCommand(program, context);
addRulesCommand(program, context);
addAllowCommand(program, context);
addWhyCommand(program, context);
addDome9Command(program, context);
addDemoCommand(program, context);
addInstallCommand(program, context);
addUninstallCommand(program, context);
addDoctorCommand(program, context);

try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = exitCodeOf(error);
}

/** commander's message in our voice: one line, no full stop. */
function usageProblem(text: string): string {
  return text
    .replace(/^error: /, '')
    .replace(/\n\(Did you mean (.*)\?\)\n$/, ', did you mean $1?')
    .replace(/\. Expected (\d+) arguments? but got (\d+)\.\n$/, ': expected $1, got $2')
    .replace(/\n$/, '');
}

function exitCodeOf(error: unknown): number {
  if (error instanceof UserError) {
    reportUserError(voice, error);
    return error.exitCode;
  }
  // commander has printed its message, or the help that was asked for
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  throw error;
}
