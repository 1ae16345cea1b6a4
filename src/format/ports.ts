/** Ports as ranges, ascending: `22,80-90`. */
export function formatPorts(ports: Iterable<number>): string {
  const ranges: [number, number][] = [];
  for (const port of [...ports].sort((a, b) => a - b)) {
    const last = ranges.at(-1);
    if (last !== undefined && port <= last[1] + 1) last[1] = port;
    else ranges.push([port, port]);
  }
  return formatRanges(ranges.map(([first, last]) => ({ first, last })));
}

/** Ranges as they are: `22,80-90`. */
export function formatRanges(ranges: readonly { readonly first: number; readonly last: number }[]): string {
  return ranges.map(({ first, last }) => (first === last ? `${first}` : `${first}-${last}`)).join(',');
}
