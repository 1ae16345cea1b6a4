import type { Command } from 'commander';
import { describeAllowance } from '../allowance/describe-allowance.ts';
import { isDecoyPort } from '../configuration/decoy-ports.ts';
import { parsePortArguments } from '../configuration/load.ts';
import { briefText } from '../configuration/printable.ts';
import { UserError } from '../errors.ts';
import { readAddress } from './address-argument.ts';
import {
  CONFIGURATION_OPTION,
  CONFIGURATION_OPTION_HELP,
  configurationSource,
} from './configuration-option.ts';
import type { CommandContext } from './context.ts';

export function addAllowCommand(program: Command, { voice, print }: CommandContext): void {
  program
    .command('allow')
    .description('Ask who is on the allow list.')
    .command('check')
    .description(
      'Tell which entry or guard covers an address, or that a knock would be bannable. Changes nothing.',
    )
    .argument('<address>', 'an IPv4 or IPv6 address')
    .argument('[port]', "a decoy's port; without it, any")
    .option(CONFIGURATION_OPTION, CONFIGURATION_OPTION_HELP)
    .addHelpText('after', EXIT_CODES_HELP)
    .action(async (addressText: string, portText: string | undefined, { config }: { config?: string }) => {
      const address = readAddress(addressText).text;
      const port = portText === undefined ? undefined : readPort(portText);
      const configuration = configurationSource(config).load();
      if (port !== undefined && !isDecoyPort(configuration, port)) {
        voice.warning(`no decoy has port ${port}`);
      }
      const question = { configuration, address, port, onTrouble: voice.warning };
      const { lines, isBannable } = await describeAllowance(question);
      for (const line of lines) print(`${address}: ${line}\n`);
      if (isBannable) process.exitCode = 1;
    });
}

const EXIT_CODES_HELP = `
Exit codes: 0 covered, 1 a knock would be bannable, 2 usage or configuration error.`;

function readPort(text: string): number {
  const [port, ...others] = /^[0-9]+$/.test(text) ? parsePortArguments([text]) : [];
  if (port === undefined || others.length > 0)
    throw new UserError(`expected one port, got "${briefText(text)}"`);
  return port;
}
