import { arch } from 'node:os';

// struct epoll_event is packed on x86-64 alone
export const EPOLL_EVENT_BYTES = arch() === 'x64' ? 12 : 16;
const DATA_OFFSET = EPOLL_EVENT_BYTES - 8;

/** A struct epoll_event whose data is the descriptor. */
export function encodeEpollEvent(fd: number, events: number): Buffer {
  const event = Buffer.alloc(EPOLL_EVENT_BYTES);
  new Uint32Array(event.buffer, event.byteOffset, 1)[0] = events;
  event.writeInt32LE(fd, DATA_OFFSET);
  return event;
}

/** The descriptor of one of the events that epoll_wait filled in. */
export function epollEventFd(events: Buffer, index: number): number {
  return events.readInt32LE(index * EPOLL_EVENT_BYTES + DATA_OFFSET);
}
