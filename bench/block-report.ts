import { type BlockResult, MANNERS, type Manner, PEERS_PER_MANNER, type Peer, type Side } from './block.ts';
import { table } from './report.ts';

interface Aim {
  readonly text: string;
  readonly isMet: (value: number, side: Side) => boolean;
}

interface Row {
  readonly label: string;
  readonly value: (side: Side) => number;
  readonly format: (value: number, side: Side) => string;
  /** For the side with the quarantine. */
  readonly aim?: Aim;
}

/** The shipped bantime is a day; some of it has gone by when the sets are read. */
const LONG_BAN_SECONDS = 23 * 3600;

const LABELS: Readonly<Record<Manner, string>> = {
  fin: 'FIN',
  rst: 'RST',
  data: 'data',
  hold: 'nothing sent',
};

const UNDER_A_MILLISECOND: Aim = { text: '< 1', isMet: (value) => value < 1 };
const NONE: Aim = { text: '0', isMet: (value) => value === 0 };

/** What must be so on both sides, or the other figures are no times of blocks. */
const CONDITIONS: readonly (Row & { readonly aim: Aim })[] = [
  {
    label: 'datagrams that passed after a dropped one',
    value: ({ peers }) => sum(peers, ({ arrived, firstDropped }) => arrived - firstDropped),
    format: String,
    aim: NONE,
  },
  {
    label: "bystanders' datagrams dropped",
    value: (side) => sum(of('bystander', side), ({ sent, arrived }) => sent - arrived),
    format: (value, side) => `${value} of ${sum(of('bystander', side), ({ sent }) => sent)}`,
    aim: NONE,
  },
  {
    label: 'banned for a day in the end',
    value: (side) => count(knockers(side), ({ source }) => side.bans.get(source)! > LONG_BAN_SECONDS),
    format: (value, side) => `${value} of ${knockers(side).length}`,
    aim: all(knockers),
  },
];

const ROWS: readonly Row[] = [...MANNERS.flatMap(rowsOf), ...CONDITIONS];

/** Who sends nothing on the decoy has no aim: the block waits for his packet. */
function rowsOf(manner: Manner): Row[] {
  const whom = (side: Side) => of(manner, side);
  const hasAim = manner !== 'hold';
  return [
    {
      label: `handshake to block, ${LABELS[manner]}, p50 (ms)`,
      value: (side) => percentile(whom(side), 0.5),
      format: milliseconds,
      ...(hasAim ? { aim: UNDER_A_MILLISECOND } : {}),
    },
    {
      label: `handshake to block, ${LABELS[manner]}, p99 (ms)`,
      value: (side) => percentile(whom(side), 0.99),
      format: milliseconds,
    },
    {
      label: `very next packet dropped, ${LABELS[manner]}`,
      value: (side) => count(whom(side), ({ firstDropped }) => firstDropped === 0),
      format: (value, side) => `${value} of ${whom(side).length}`,
      ...(hasAim ? { aim: all(whom) } : {}),
    },
  ];
}

/** Whether a block is one for good, nobody else is blocked, and a ban follows, on both sides. */
export function isSound({ quarantine, without }: BlockResult): boolean {
  const sides = [quarantine, without];
  return CONDITIONS.every(({ value, aim }) => sides.every((side) => aim.isMet(value(side), side)));
}

/** The result for people. */
export function formatBlock(result: BlockResult): string {
  const { quarantine, without } = result;
  const lines = ROWS.map((row) => {
    const values = [quarantine, without].map((side) => row.format(row.value(side), side));
    return [row.label, ...values, row.aim?.text ?? '-', verdict(row, result)];
  });
  const title = `${PEERS_PER_MANNER} peers of each kind`;
  return table([[title, 'quarantine', 'quarantine=0', 'aim', ''], ...lines]);
}

function verdict(row: Row, { quarantine, without }: BlockResult): string {
  const { aim, value } = row;
  if (aim === undefined) return '';
  const sides = CONDITIONS.some((condition) => condition === row) ? [quarantine, without] : [quarantine];
  return sides.every((side) => aim.isMet(value(side), side)) ? 'met' : 'missed';
}

function milliseconds(value: number): string {
  if (value === Number.POSITIVE_INFINITY) return 'not blocked';
  return value.toFixed(value < 10 ? 3 : 0);
}

function all(whom: (side: Side) => readonly Peer[]): Aim {
  return { text: 'all', isMet: (value, side) => value === whom(side).length };
}

function of(manner: Peer['manner'], { peers }: Side): Peer[] {
  return peers.filter((peer) => peer.manner === manner);
}

function knockers({ peers }: Side): Peer[] {
  return peers.filter(({ manner }) => manner !== 'bystander');
}

function count(peers: readonly Peer[], isCounted: (peer: Peer) => boolean): number {
  return peers.filter(isCounted).length;
}

function sum(peers: readonly Peer[], value: (peer: Peer) => number): number {
  return peers.reduce((total, peer) => total + value(peer), 0);
}

/** The least value that is not below the given share of all. */
function percentile(peers: readonly Peer[], share: number): number {
  const sorted = peers.map(({ blockedAfterMs }) => blockedAfterMs).sort((one, other) => one - other);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)]!;
}
