import type { Configuration, Decoy } from '../configuration/configuration.ts';

/** Where the texts of this file belong. */
export const SOCKET_UNIT_FILE = '/etc/systemd/system/honeyport.socket';
export const SOCKET_DROP_IN_FILE = '/etc/systemd/system/honeyport.service.d/honeyport-sockets.conf';

/**
 * The socket unit by which systemd opens the ports of a configuration, so that the listener needs no capability. It is
 * made from the configuration, so that ports are written once. A decoy with `ports: unused` has none that systemd could open.
 */
export function socketUnitText({ file, decoys }: Pick<Configuration, 'file' | 'decoys'>): string {
  // the unit has one setting for all of its sockets
  const isIpv6Only = decoys.some(({ address }) => address === '::');
  const streams = decoys.flatMap((decoy) => streamsOf(decoy, isIpv6Only));
  return [
    head(file ?? 'the built-in default'),
    ...streams.map((stream) => `ListenStream=${stream}`),
    `BindIPv6Only=${isIpv6Only ? 'ipv6-only' : 'both'}`,
    TAIL,
  ].join('\n');
}

function head(source: string): string {
  return `# honeyport: its decoy ports, opened by systemd
#
# Author:  the honeyport project
#
# Made of ${source} by \`honeyport install --sockets\`, which replaces it: ports are written there. After each
# change of them do so again, and then: systemctl daemon-reload; systemctl restart honeyport.socket
# Own settings go into a drop-in: systemctl edit honeyport.socket

[Unit]
Description=honeyport: its decoy ports
# Not before the network, as other sockets: an address that this host does not have yet cannot be listened on.
DefaultDependencies=no
Requires=sysinit.target
Wants=network-online.target
After=sysinit.target network-online.target
Conflicts=shutdown.target
Before=shutdown.target

[Socket]`;
}

/** Without an [Install] section: honeyport.service pulls it in. */
const TAIL = `# The kernel lowers it to net.core.somaxconn.
Backlog=65535
Accept=no
FileDescriptorName=honeyport
`;

function streamsOf({ ports, address }: Decoy, isIpv6Only: boolean): string[] {
  const addresses = address === undefined ? (isIpv6Only ? ['0.0.0.0', '::'] : [undefined]) : [address];
  return ports.flatMap((port) => addresses.map((each) => streamOf(port, each)));
}

function streamOf(port: number, address: string | undefined): string {
  if (address === undefined) return `${port}`;
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

/** The drop-in of honeyport.service that goes with the socket unit: only what no socket of systemd's can be used for takes a right. */
export function socketDropInText({ decoys }: Pick<Configuration, 'decoys'>): string {
  const capability = decoys.some(({ unused }) => unused !== undefined) ? 'CAP_NET_RAW' : '';
  return `# honeyport.service with the ports of honeyport.socket: ${capability === '' ? 'no capability at all' : 'CAP_NET_RAW for `ports: unused`'}
#
# Author:  the honeyport project
#
# Written by \`honeyport install --sockets\`, which replaces it. Own settings go into another drop-in: systemctl edit honeyport

[Unit]
# It is started at boot like any service, and not by the first who knocks.
Requires=honeyport.socket
After=honeyport.socket

[Service]
AmbientCapabilities=${capability}
CapabilityBoundingSet=${capability}
`;
}
