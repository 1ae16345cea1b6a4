import type { Command } from 'commander';
import { UserError } from '../errors.ts';
import { UNUSED_TABLE_REMOVAL } from '../nftables/unused-table.ts';
import { makeRules } from '../rules/make-rules.ts';
import {
  CONFIGURATION_OPTION,
  CONFIGURATION_OPTION_HELP,
  configurationSource,
} from './configuration-option.ts';
import type { CommandContext } from './context.ts';

interface RulesOptions {
  readonly config?: string;
  readonly remember?: string;
  readonly remove?: true;
}

export function addRulesCommand(program: Command, { voice, print }: CommandContext): void {
  program
    .command('rules')
    .description('Print the script for nft that hands connections to unused ports over to the listener.')
    .option(CONFIGURATION_OPTION, CONFIGURATION_OPTION_HELP)
    .option('--remember <file>', 'keep in a file which ports were in use, over reboots, too')
    .option('--remove', 'print what takes the rules away')
    .addHelpText('after', HELP)
    .action(({ config, remember, remove }: RulesOptions) => {
      if (remember === '') throw new UserError('--remember: expected the name of a file, got ""');
      if (remove === true) return print(UNUSED_TABLE_REMOVAL);
      const configuration = configurationSource(config).load();
      const { script, warnings } = makeRules({ configuration, memory: remember });
      for (const warning of warnings) voice.warning(warning);
      print(script);
    });
}

const HELP = `
Nothing is loaded by it. As root:
  honeyport rules | nft -f -            loads the rules, or replaces older ones
  honeyport rules --remove | nft -f -   takes them away
Exit codes: 0 printed, 1 within a minute after boot, 2 usage or configuration error.`;
