import { createSocketPool, type SocketPool } from '../capture/socket-pool.ts';
import { formatPorts } from '../format/ports.ts';
import type { Native } from '../native/native.ts';
import type { Voice } from '../voice.ts';

/** Where the ports of honeyport.socket and those of the configuration are not the same. */
export const SOCKET_HINT =
  'write honeyport.socket anew: honeyport install --sockets, then systemctl restart honeyport.socket';

/** The sockets that systemd has opened, and what the user reads of those that are not used. */
export function openSocketPool(native: Native, fds: readonly number[], voice: Voice): SocketPool {
  return createSocketPool({
    native,
    fds,
    onUnusable: (unusable) => voice.warning(`inherited descriptors ${formatPorts(unusable)}: ${UNUSABLE}`),
    onIdle(ports) {
      voice.warning(`port ${formatPorts(ports)} is opened by systemd and is no decoy: nobody answers there`);
      voice.hint(SOCKET_HINT);
    },
    onDiscarded(port, connections) {
      const ended = connections === 1 ? 'a connection that waited' : `${connections} connections that waited`;
      voice.say(`port ${port} is a decoy again; ${ended} there meanwhile ended without a line`);
    },
  });
}

const UNUSABLE = 'expected listening TCP sockets, as with Accept=no and ListenStream=PORT; they are not used';
