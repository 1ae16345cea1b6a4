import type { Decoy } from '../configuration/configuration.ts';
import { programProblem } from '../system/program-problem.ts';

/** Programs of responses that cannot be started. */
export function responseWarnings(decoys: readonly Decoy[]): string[] {
  return decoys.flatMap(({ name, behaviour }) => {
    if (behaviour?.kind !== 'response') return [];
    const [program] = behaviour.command;
    const problem = programProblem(program);
    return problem === undefined ? [] : [`decoy ${name} cannot answer with ${program}: ${problem}`];
  });
}
