import type { Endpoints, Event } from '../event.ts';
import { asciiJson } from './ascii-json.ts';
import { fieldsWithout, sequenceOf } from './fields.ts';
import type { Origin } from './line.ts';
import { MEANINGS, sentenceOf } from './meaning.ts';

/** Open Cybersecurity Schema Framework 1.3 as one JSON object. Keys that it has no name for are under `unmapped`. */
export function createOcsfFormatter({
  sensor,
  pid,
  version,
}: Origin & { version: string }): (event: Event) => string {
  const product = { name: 'honeyport', vendor_name: 'Honeyport', version };
  return (event) => {
    const { level } = MEANINGS[event.kind];
    return asciiJson({
      ...activityOf(event.kind),
      severity_id: level,
      severity: SEVERITIES[level],
      ...statusOf(event),
      time: event.time,
      message: sentenceOf(event),
      metadata: {
        version: '1.3.0',
        product,
        uid: event.id,
        sequence: sequenceOf(event),
        event_code: event.kind,
        log_name: 'honeyport',
      },
      device: { hostname: sensor, type_id: 0, type: 'Unknown' },
      ...('spt' in event ? connectionOf(event) : othersOf(event, product, sensor)),
      unmapped: { ...fieldsWithout(event, ELSEWHERE), pid },
    });
  };
}

const ELSEWHERE = new Set(['src', 'spt', 'dst', 'id', 'rx', 'tx', 'duration_ms', 'count', 'version']);

const SEVERITIES = { 1: 'Informational', 2: 'Low', 3: 'Medium' } as const;

const NETWORK = {
  category_uid: 4,
  category_name: 'Network Activity',
  class_uid: 4001,
  class_name: 'Network Activity',
};
const LIFECYCLE = {
  category_uid: 6,
  category_name: 'Application Activity',
  class_uid: 6002,
  class_name: 'Application Lifecycle',
};

const ACTIVITIES: { readonly [K in Event['kind']]: readonly [id: number, name: string] } = {
  connect: [1, 'Open'],
  allowed: [1, 'Open'],
  withheld: [1, 'Open'],
  data: [6, 'Traffic'],
  close: [2, 'Close'],
  suppressed: [99, 'Suppressed'],
  start: [3, 'Start'],
  stop: [4, 'Stop'],
  reload: [99, 'Reload'],
};

function activityOf(kind: Event['kind']): object {
  const [id, name] = ACTIVITIES[kind];
  const ofClass = kind === 'start' || kind === 'stop' || kind === 'reload' ? LIFECYCLE : NETWORK;
  return { ...ofClass, activity_id: id, activity_name: name, type_uid: ofClass.class_uid * 100 + id };
}

function statusOf(event: Event): object {
  const failed = event.kind === 'reload' && event.result === 'refused';
  return failed ? { status_id: 2, status: 'Failure' } : { status_id: 1, status: 'Success' };
}

function connectionOf(event: Endpoints & Event): object {
  const { src, spt, dst, dpt } = event;
  return {
    src_endpoint: { ip: src, port: spt },
    dst_endpoint: { ip: dst, port: dpt },
    connection_info: {
      direction_id: 1,
      direction: 'Inbound',
      protocol_num: 6,
      protocol_name: 'tcp',
      protocol_ver_id: src.includes(':') ? 6 : 4,
    },
    ...(event.kind === 'close'
      ? { duration: event.duration_ms, traffic: { bytes_in: event.rx, bytes_out: event.tx } }
      : {}),
  };
}

/** `dst_endpoint` is required of the network class, also where there are many; `app` of the lifecycle class. */
function othersOf(event: Event, product: object, sensor: string): object {
  if (event.kind !== 'suppressed') return { app: product };
  return {
    ...(event.src === undefined ? {} : { src_endpoint: { ip: event.src } }),
    dst_endpoint: { hostname: sensor },
    count: event.count,
  };
}
