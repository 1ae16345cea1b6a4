import { constants } from 'node:os';

/** errno values by name, from the running system. */
export const ERRNO = constants.errno;

// Linux's asm-generic values, which x86-64, arm64, riscv64, s390x, ppc64 and loongarch64 share.
// https://github.com/torvalds/linux/blob/master/include/uapi/asm-generic/socket.h and the headers beside it
export const AF_UNIX = 1;
export const AF_INET = 2;
export const AF_INET6 = 10;
export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
export const SOCK_NONBLOCK = 0o4000;
export const SOCK_CLOEXEC = 0o2000000;
export const SOL_SOCKET = 1;
export const SO_REUSEADDR = 2;
export const SO_MARK = 36;
export const SO_TYPE = 3;
/** Whether it listens. */
export const SO_ACCEPTCONN = 30;
export const SOL_IP = 0;
export const IP_TRANSPARENT = 19;
export const IPPROTO_TCP = 6;
export const IPPROTO_IPV6 = 41;
export const IPV6_V6ONLY = 26;
export const IPV6_TRANSPARENT = 75;
/** Seconds for which a connection is not handed over while it sends nothing. */
export const TCP_DEFER_ACCEPT = 9;
/** Length of the queue of connections accepted before their handshake; 0 for none. */
export const TCP_FASTOPEN = 23;
/** Keeps the headers of the SYN with the connection it opens. */
export const TCP_SAVE_SYN = 27;
/** Gives those headers, once; nothing for a connection accepted from a SYN cookie. */
export const TCP_SAVED_SYN = 28;
export const TCP_INFO = 11;
export const MSG_PEEK = 0x02;
export const MSG_DONTWAIT = 0x40;
/** On TCP, discards the bytes without copying them. */
export const MSG_TRUNC = 0x20;
/** A peer that is gone is an errno then, and no SIGPIPE. */
export const MSG_NOSIGNAL = 0x4000;
export const SHUT_WR = 1;
export const F_SETFD = 2;
export const F_GETFL = 3;
export const F_SETFL = 4;
export const FD_CLOEXEC = 1;
export const O_NONBLOCK = SOCK_NONBLOCK;
export const EPOLLIN = 1;
export const EPOLLOUT = 4;
/** The peer has ended its side. */
export const EPOLLRDHUP = 0x2000;
export const EPOLL_CTL_ADD = 1;
export const EPOLL_CTL_DEL = 2;
export const EPOLL_CTL_MOD = 3;
export const EPOLL_CLOEXEC = SOCK_CLOEXEC;
