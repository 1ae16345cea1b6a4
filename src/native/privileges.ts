/** The calls that privileges of the calling thread are read and changed with: prctl(2), capget(2), capset(2). */
export interface PrivilegeCalls {
  prctl(option: number, second: number, third: number, fourth: number, fifth: number): number;
  capget(header: Uint32Array, data: Uint32Array): number;
  capset(header: Uint32Array, data: Uint32Array): number;
}

// https://github.com/torvalds/linux/blob/master/include/uapi/linux/prctl.h and capability.h
const PR_SET_KEEPCAPS = 8;
const PR_CAPBSET_DROP = 24;
const PR_SET_NO_NEW_PRIVS = 38;
const PR_CAP_AMBIENT = 47;
const PR_CAP_AMBIENT_CLEAR_ALL = 4;
/** Of the kernel's 64-bit form of capget(2), whose struct has effective, permitted and inheritable twice. */
const CAPABILITY_VERSION_3 = 0x2008_0522;
const CAPABILITY_WORDS = 6;
const EFFECTIVE_WORD = 0;
const PERMITTED_WORD = 1;
const INHERITABLE_WORDS = [2, 5];
const MOST_CAPABILITIES = 64;
/** CAP_NET_BIND_SERVICE is number 10, for ports; CAP_NET_RAW number 13, for marks and transparent sockets. */
const NET_BIND_SERVICE = 1 << 10;
const NET_RAW = 1 << 13;

/** Leaves nothing that a program could inherit or gain; what this thread has itself stays. */
export function keepNothingForPrograms(calls: PrivilegeCalls): void {
  calls.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  changeCapabilities(calls, (capabilities) => {
    for (const word of INHERITABLE_WORDS) capabilities[word] = 0;
  });
  // takes CAP_SETPCAP; who has not got that gives nothing through this set either, being no root
  for (let capability = 0; capability < MOST_CAPABILITIES; capability++) {
    calls.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
  }
}

/**
 * Runs `change`, by which this process ceases to be root, so that of root's capabilities this thread keeps what
 * listeners need, as far as it had it: CAP_NET_BIND_SERVICE and, for marks and transparent sockets, CAP_NET_RAW. Programs that
 * are started afterwards gain none, by set-user-ID neither.
 * @throws Error when it is left with more
 */
export function keepForListeners(
  calls: PrivilegeCalls,
  { raw }: { readonly raw: boolean },
  change: () => void,
): void {
  const wanted = raw ? NET_BIND_SERVICE | NET_RAW : NET_BIND_SERVICE;
  keepNothingForPrograms(calls);
  calls.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0);
  change();
  calls.prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0);
  const isDone = changeCapabilities(calls, (capabilities) => {
    const kept = capabilities[PERMITTED_WORD]! & wanted;
    capabilities.fill(0);
    capabilities[EFFECTIVE_WORD] = kept;
    capabilities[PERMITTED_WORD] = kept;
  });
  if (!isDone || calls.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) !== 0)
    throw new Error('the privileges of root cannot be given up');
}

/** Whether it is done. */
function changeCapabilities(calls: PrivilegeCalls, change: (capabilities: Uint32Array) => void): boolean {
  const header = Uint32Array.of(CAPABILITY_VERSION_3, 0);
  const capabilities = new Uint32Array(CAPABILITY_WORDS);
  if (calls.capget(header, capabilities) !== 0) return false;
  change(capabilities);
  return calls.capset(header, capabilities) === 0;
}
