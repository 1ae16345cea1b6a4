import type { Command } from 'commander';
import { CONFIGURATION_SCHEMA } from '../configuration/schema.ts';
import type { CommandContext } from './context.ts';

export function addSchemaCommand(program: Command, { print }: CommandContext): void {
  program
    .command('schema')
    .description('Print the JSON Schema of the configuration, for editors and tools.')
    .action(() => print(`${JSON.stringify(CONFIGURATION_SCHEMA, null, 2)}\n`));
}
