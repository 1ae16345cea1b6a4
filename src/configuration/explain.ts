import { expectedGot, type Fault, type Path } from './problem.ts';
import type { SchemaNode } from './schema-nodes.ts';
import { suggestKey } from './suggest.ts';

/** What ajv, with `verbose`, says of one keyword that a value breaks. */
export interface SchemaError {
  readonly keyword: string;
  /** JSON Pointer of the value. */
  readonly instancePath: string;
  /** Where in the schema the keyword stands; the schema has no $ref, so an outer one's path begins an inner one's. */
  readonly schemaPath: string;
  readonly params: Readonly<Record<string, unknown>>;
  readonly parentSchema: SchemaNode;
  readonly data: unknown;
}

/** An error, and for a union what its branches say. */
interface Finding {
  readonly error: SchemaError;
  readonly branches: readonly (readonly Finding[])[];
}

/** Keywords that say a value is of another kind than the schema is about, rather than a bad one of that kind. */
const KIND_KEYWORDS = new Set(['type', 'const', 'enum']);

/**
 * Faults from the errors of one validation of `root`, in the words of the schema's `expected`. Of a union it is the branch
 * that comes nearest to the value that speaks, and where none is of the value's kind the union as a whole.
 */
export function explain(errors: readonly SchemaError[], root: unknown): Fault[] {
  return findingsOf(errors)
    .flatMap(nearest)
    .map((error) => faultOf(error, root));
}

/** ajv lists what a union's branches say right before what the union says; this restores the tree. */
function findingsOf(errors: readonly SchemaError[]): Finding[] {
  const findings: Finding[] = [];
  for (const error of errors) {
    const inner: Finding[] = [];
    while (error.keyword === 'anyOf' && isWithin(findings.at(-1)?.error, error)) inner.push(findings.pop()!);
    findings.push({ error, branches: branchesOf(inner.reverse(), error) });
  }
  return findings;
}

function isWithin(error: SchemaError | undefined, union: SchemaError): boolean {
  if (!error?.schemaPath.startsWith(`${union.schemaPath}/`)) return false;
  return error.instancePath === union.instancePath || error.instancePath.startsWith(`${union.instancePath}/`);
}

function branchesOf(findings: readonly Finding[], union: SchemaError): Finding[][] {
  const branches = new Map<string, Finding[]>();
  for (const finding of findings) {
    const branch = finding.error.schemaPath.slice(union.schemaPath.length + 1).split('/', 1)[0]!;
    const others = branches.get(branch);
    if (others === undefined) branches.set(branch, [finding]);
    else others.push(finding);
  }
  return [...branches.values()];
}

/** The errors to report of a finding: its own, or for a union those of the branch with the fewest at its own level. */
function nearest(finding: Finding): SchemaError[] {
  const [best] = finding.branches
    .filter((branch) => !branch.some((inner) => isOfAnotherKind(inner, finding.error.instancePath)))
    .sort((one, other) => errorsAtLevel(one, finding) - errorsAtLevel(other, finding));
  return best === undefined ? [finding.error] : best.flatMap(nearest);
}

function isOfAnotherKind(finding: Finding, instancePath: string): boolean {
  if (finding.error.instancePath !== instancePath) return false;
  if (finding.error.keyword !== 'anyOf') return KIND_KEYWORDS.has(finding.error.keyword);
  return finding.branches.every((branch) => branch.some((inner) => isOfAnotherKind(inner, instancePath)));
}

function errorsAtLevel(branch: readonly Finding[], union: Finding): number {
  return branch.filter((inner) => inner.error.instancePath === union.error.instancePath).length;
}

function faultOf({ keyword, instancePath, params, parentSchema, data }: SchemaError, root: unknown): Fault {
  const path = pathOf(instancePath, root);
  switch (keyword) {
    case 'additionalProperties':
      return unknownKey(path, String(params.additionalProperty), parentSchema);
    case 'required':
      return { path, at: 'value', message: `expected a key ${params.missingProperty}` };
    case 'notAvailableYet':
      return { path, at: 'value', message: 'not available yet' };
    // the first of too many items look as good as any
    case 'maxItems':
      return { path, at: 'value', message: expectedGot(parentSchema.expected, (data as unknown[]).length) };
    default:
      return { path, at: 'value', message: expectedGot(parentSchema.expected, data) };
  }
}

function unknownKey(path: Path, key: string, { properties = {} }: SchemaNode): Fault {
  return {
    path: [...path, key],
    at: 'key',
    message: `unknown key, ${suggestKey(key, Object.keys(properties))}`,
  };
}

/** RFC 6901; only the value tells an index from a key that is a number. */
function pathOf(pointer: string, root: unknown): Path {
  const path: (string | number)[] = [];
  let value = root;
  for (const token of pointer.split('/').slice(1)) {
    const key = token.replaceAll('~1', '/').replaceAll('~0', '~');
    const segment = Array.isArray(value) ? Number(key) : key;
    path.push(segment);
    value = (value as Record<string | number, unknown>)[segment];
  }
  return path;
}
