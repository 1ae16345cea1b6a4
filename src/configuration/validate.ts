import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';
import { explain, type SchemaError } from './explain.ts';
import type { Fault } from './problem.ts';
import { CONFIGURATION_SCHEMA } from './schema.ts';
import type { SchemaNode } from './schema-nodes.ts';

/** Everything in which a parsed file differs from the schema, and each use of what is not available yet. */
export function schemaFaults(value: unknown): Fault[] {
  compiled ??= compile();
  if (compiled(value)) return [];
  return explain((compiled.errors ?? []) as unknown as SchemaError[], value);
}

/** Made at the first use and kept: compiling takes longer than everything else in reading a file. */
let compiled: ValidateFunction | undefined;

function compile(): ValidateFunction {
  // The schema is our own and tested against the draft; checking it here as well would double the time that this takes.
  const ajv = new Ajv2020({
    allErrors: true,
    verbose: true,
    strict: true,
    meta: false,
    validateSchema: false,
  });
  ajv.addKeyword({ keyword: 'expected', schemaType: 'string' });
  ajv.addKeyword({ keyword: 'notAvailableYet', schemaType: ['boolean', 'array'], validate: isAvailable });
  return ajv.compile(CONFIGURATION_SCHEMA);
}

function isAvailable(notAvailableYet: SchemaNode['notAvailableYet'], value: unknown): boolean {
  if (notAvailableYet === true) return value === 'off';
  return !(notAvailableYet as readonly unknown[]).includes(value);
}
