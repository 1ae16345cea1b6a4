/* reference: the least a program can do for the same job, and so the yardstick of the bench.
 *
 *   reference -p PORT[-PORT] -l FILE
 *
 * Listens on every port for both families, takes the peer from accept4(), appends one line with time, address and ports per
 * connection, one write() per batch, and closes after the write: what the peer sees ended is in the file. Nothing else: no
 * destination address, no saved SYN, no limits, no shutdown().
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 256, LINE = 128 };

static char text[BATCH * LINE];
static size_t text_length;
static int accepted[BATCH], accepted_count;
static int log_file, poller;

static void die(const char *what) {
  perror(what);
  exit(1);
}

static void put_text(const char *s) {
  size_t length = strlen(s);
  memcpy(text + text_length, s, length);
  text_length += length;
}

/* At least `width` digits, with leading zeros. */
static void put_number(unsigned long value, int width) {
  char digits[20];
  int n = 0;
  do digits[n++] = (char)('0' + value % 10); while ((value /= 10) > 0 || n < width);
  while (n > 0) text[text_length++] = digits[--n];
}

static void put_time(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  put_number((unsigned long)now.tv_sec, 1);
  put_text(".");
  put_number((unsigned long)now.tv_nsec / 1000000, 3);
}

static void put_address(const struct in6_addr *address) {
  if (!IN6_IS_ADDR_V4MAPPED(address)) {
    inet_ntop(AF_INET6, address, text + text_length, INET6_ADDRSTRLEN);
    text_length += strlen(text + text_length);
    return;
  }
  for (int i = 12; i < 16; i++) {
    put_number(address->s6_addr[i], 1);
    if (i < 15) put_text(".");
  }
}

static void put_connection(const struct sockaddr_in6 *peer, unsigned port) {
  put_time();
  put_text(" connect src=");
  put_address(&peer->sin6_addr);
  put_text(" spt=");
  put_number(ntohs(peer->sin6_port), 1);
  put_text(" dpt=");
  put_number(port, 1);
  put_text("\n");
}

static void flush(void) {
  for (size_t done = 0; done < text_length;) {
    ssize_t n = write(log_file, text + done, text_length - done);
    if (n < 0) die("write");
    done += (size_t)n;
  }
  for (int i = 0; i < accepted_count; i++) close(accepted[i]);
  text_length = 0;
  accepted_count = 0;
}

static void accept_all(int listener, unsigned port) {
  for (;;) {
    struct sockaddr_in6 peer;
    socklen_t length = sizeof peer;
    int fd = accept4(listener, (struct sockaddr *)&peer, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return; /* none left; any other error is seen again, or not, at the next turn */
    accepted[accepted_count++] = fd;
    put_connection(&peer, port);
    if (accepted_count == BATCH) flush();
  }
}

static void listen_on(unsigned port) {
  int on = 1, off = 0, fd = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
  if (fd < 0) die("socket");
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  if (bind(fd, (struct sockaddr *)&any, sizeof any) < 0) die("bind");
  if (listen(fd, 65535) < 0) die("listen"); /* the kernel cuts it to net.core.somaxconn */
  struct epoll_event event = {.events = EPOLLIN, .data.u64 = (uint64_t)port << 32 | (uint32_t)fd};
  if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) < 0) die("epoll_ctl");
}

static void serve(void) {
  struct epoll_event events[BATCH];
  for (;;) {
    int ready = epoll_wait(poller, events, BATCH, -1);
    for (int i = 0; i < ready; i++) accept_all((int)(uint32_t)events[i].data.u64, (unsigned)(events[i].data.u64 >> 32));
    flush();
  }
}

static void raise_file_limit(void) {
  struct rlimit files;
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
}

int main(int argc, char **argv) {
  const char *path = NULL, *ports = NULL, *dash;
  for (int option; (option = getopt(argc, argv, "p:l:")) != -1;) {
    if (option == 'p') ports = optarg;
    if (option == 'l') path = optarg;
  }
  if (!ports || !path) {
    fputs("usage: reference -p PORT[-PORT] -l FILE\n", stderr);
    return 2;
  }
  unsigned first = (unsigned)atoi(ports), last = (dash = strchr(ports, '-')) ? (unsigned)atoi(dash + 1) : first;
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  raise_file_limit();
  log_file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
  if (log_file < 0) die(path);
  poller = epoll_create1(EPOLL_CLOEXEC);
  for (unsigned port = first; port <= last; port++) listen_on(port);
  put_time();
  put_text(" start\n");
  flush();
  serve();
}
