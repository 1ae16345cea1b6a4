import type { Command } from 'commander';
import { describeAllowance } from '../allowance/describe-allowance.ts';
import { reportUserError } from '../voice.ts';
import { readAddress } from './address-argument.ts';
import {
  CONFIGURATION_OPTION,
  CONFIGURATION_OPTION_HELP,
  configurationSource,
} from './configuration-option.ts';
import type { CommandContext } from './context.ts';

export function addWhyCommand(program: Command, { voice, print }: CommandContext): void {
  program
    .command('why')
    .description(
      'Tell everything about one address: its lines, its bans, and what lifts them. Changes nothing.',
    )
    .argument('<address>', 'an IPv4 or IPv6 address')
    .option(CONFIGURATION_OPTION, CONFIGURATION_OPTION_HELP)
    .addHelpText('after', EXIT_CODES_HELP)
    .action(async (text: string, { config }: { config?: string }) => {
      const address = readAddress(text);
      const configuration = configurationSource(config).load();
      // loaded when it is asked for: execa would take 15 MiB of the running listener
      const { explainAddress } = await import('../why/explain-address.ts');
      const onTrouble = voice.warning;
      const explanation = await explainAddress({
        configuration,
        address,
        describeAllowance: linesOf,
        onTrouble,
      });

      async function linesOf(): Promise<readonly string[]> {
        const question = { configuration, address: address.text, port: undefined, onTrouble };
        return (await describeAllowance(question)).lines;
      }
      print(explanation.text);
      for (const problem of explanation.problems) reportUserError(voice, problem);
      if (explanation.problems.length > 0) process.exitCode = 1;
    });
}

const EXIT_CODES_HELP = `
Exit codes: 0 all is known, 1 fail2ban could not be asked, 2 usage or configuration error.`;
