import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';
import { explain, type SchemaError } from './explain.ts';
import type { Fault } from './problem.ts';
import { CONFIGURATION_SCHEMA } from './schema.ts';
import type { RootSchema, SchemaNode } from './schema-nodes.ts';

/** Everything in which a parsed file differs from its schema, and each use of what is not available yet. */
export function schemaFaults(value: unknown, schema: RootSchema = CONFIGURATION_SCHEMA): Fault[] {
  const validate = compiled.get(schema) ?? compile(schema);
  compiled.set(schema, validate);
  if (validate(value)) return [];
  return explain((validate.errors ?? []) as unknown as SchemaError[], value);
}

/** Made at the first use and kept: compiling takes longer than everything else in reading a file. */
const compiled = new Map<RootSchema, ValidateFunction>();

function compile(schema: RootSchema): ValidateFunction {
  // The schema is our own and tested against the draft; checking it here as well would double the time that this takes.
  const ajv = new Ajv2020({
    allErrors: true,
    verbose: true,
    strict: true,
    meta: false,
    validateSchema: false,
  });
  ajv.addKeyword({ keyword: 'expected', schemaType: 'string' });
  ajv.addKeyword({ keyword: 'notAvailableYet', schemaType: 'boolean', validate: isAvailable });
  return ajv.compile(schema);
}

function isAvailable(_notAvailableYet: SchemaNode['notAvailableYet'], value: unknown): boolean {
  return value === 'off';
}
