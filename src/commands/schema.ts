import type { Command } from 'commander';
import { briefText } from '../configuration/printable.ts';
import { CONFIGURATION_SCHEMA } from '../configuration/schema.ts';
import { DOME9_SCHEMA } from '../configuration/schema-dome9.ts';
import { UserError } from '../errors.ts';
import type { CommandContext } from './context.ts';

/** By the name of the file, without its ending. */
const SCHEMAS = new Map([
  ['honeyport', CONFIGURATION_SCHEMA],
  ['dome9', DOME9_SCHEMA],
]);

export function addSchemaCommand(program: Command, { print }: CommandContext): void {
  program
    .command('schema')
    .description('Print the JSON Schema of a configuration file, for editors and tools.')
    .argument('[file]', 'honeyport, for honeyport.yaml, or dome9, for dome9.yaml', 'honeyport')
    .action((file: string) => {
      const schema = SCHEMAS.get(file);
      if (schema === undefined)
        throw new UserError(`expected ${[...SCHEMAS.keys()].join(' or ')}, got "${briefText(file)}"`);
      print(`${JSON.stringify(schema, null, 2)}\n`);
    });
}
