/* load: opens a bounded number of TCP connections and writes down which of them were established.
 *
 *   load -t ADDRESS -p PORT[-PORT] -n COUNT [-c CONCURRENCY] [-r RATE] [-m fin|rst|data|hold]
 *        [-b FIRST_SOURCE] [-o MANIFEST] [-d TEXT] [-H HOLD_MS] [-T CONNECT_MS] [-w WALL_S]
 *
 * Connection i goes to port first + i % ports. -c COUNT is a burst: every connect() before the first answer is looked at.
 * fin closes at once, rst resets at once, data sends TEXT and closes, hold waits for the peer's close, HOLD_MS at most.
 * -b gives connection i the source address FIRST_SOURCE + i; addresses that are not this host's need a local route to come back.
 *
 * Manifest, one line per established connection: "src sport dst dport start_ns established_ns" (CLOCK_MONOTONIC).
 * A summary in JSON goes to stdout. Destinations that could be somebody else's are refused.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
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

enum { MAX_COUNT = 5000000, MAX_ERRNO = 256, STARTS_PER_TURN = 64, EVENTS_PER_TURN = 512 };
enum mode { FIN, RST, DATA, HOLD };
enum state { NOT_STARTED, CONNECTING, HELD, DONE };

struct connection {
  int fd;
  uint8_t state;
  struct in6_addr source; /* the first four bytes are the address in IPv4 */
  uint16_t source_port;
  uint64_t started_ns, established_ns; /* established_ns is 0 unless the handshake completed */
};

static struct {
  int family;
  struct in6_addr destination, first_source;
  bool has_source;
  uint32_t first_port, last_port, count, concurrency;
  double rate;
  enum mode mode;
  const char *manifest, *text;
  uint64_t hold_ns, connect_ns, wall_ns;
} options = {.concurrency = 64, .text = "GET / HTTP/1.0\r\n\r\n", .hold_ns = 10000000000, .connect_ns = 10000000000, .wall_ns = 60000000000};

static struct connection *connections;
static uint32_t next, oldest, open_now, established_count, reset_count, errors[MAX_ERRNO];
static uint64_t begin_ns, end_ns;
static int poller;

static uint64_t clock_ns(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t now_ns(void) { return clock_ns(CLOCK_MONOTONIC); }

static void usage(const char *problem) {
  fprintf(stderr, "load: error: %s\nusage: load -t ADDRESS -p PORT[-PORT] -n COUNT [-c CONCURRENCY] [-r RATE] [-m fin|rst|data|hold] "
                  "[-b FIRST_SOURCE] [-o MANIFEST] [-d TEXT] [-H HOLD_MS] [-T CONNECT_MS] [-w WALL_S]\n", problem);
  exit(2);
}

/* ---- addresses ---- */

static socklen_t endpoint(struct sockaddr_storage *to, const struct in6_addr *address, uint32_t port) {
  memset(to, 0, sizeof *to);
  if (options.family == AF_INET6) {
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)to;
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons((uint16_t)port);
    v6->sin6_addr = *address;
    return sizeof *v6;
  }
  struct sockaddr_in *v4 = (struct sockaddr_in *)to;
  v4->sin_family = AF_INET;
  v4->sin_port = htons((uint16_t)port);
  memcpy(&v4->sin_addr, address, 4);
  return sizeof *v4;
}

/* The first source plus i, counted in the last 32 bits. */
static struct in6_addr source_of(uint32_t i) {
  struct in6_addr address = options.first_source;
  uint8_t *low = &address.s6_addr[options.family == AF_INET6 ? 12 : 0];
  uint32_t word;
  memcpy(&word, low, 4);
  word = htonl(ntohl(word) + i);
  memcpy(low, &word, 4);
  return address;
}

static uint32_t port_of(uint32_t i) { return options.first_port + i % (options.last_port - options.first_port + 1); }

static bool begins(const uint8_t *address, const uint8_t *prefix, int bits) {
  int bytes = bits / 8, rest = bits % 8;
  if (memcmp(address, prefix, (size_t)bytes) != 0) return false;
  return rest == 0 || (address[bytes] >> (8 - rest)) == (prefix[bytes] >> (8 - rest));
}

/* Loopback, the tests' own networks, and the networks that RFC 5737, 3849 and 2544 keep for examples and benchmarks. */
static bool is_harmless(int family, const struct in6_addr *address) {
  static const struct { uint8_t prefix[4]; int bits; } v4[] = {
      {{127}, 8}, {{10, 99}, 16}, {{192, 0, 2}, 24}, {{198, 51, 100}, 24}, {{203, 0, 113}, 24}, {{198, 18}, 15}};
  static const struct { uint8_t prefix[16]; int bits; } v6[] = {
      {{[15] = 1}, 128}, {{0xfd, 0, 0, 0x99}, 32}, {{0x20, 0x01, 0x0d, 0xb8}, 32}};
  const uint8_t *bytes = address->s6_addr;
  if (family == AF_INET) {
    for (size_t i = 0; i < sizeof v4 / sizeof *v4; i++) if (begins(bytes, v4[i].prefix, v4[i].bits)) return true;
    return false;
  }
  for (size_t i = 0; i < sizeof v6 / sizeof *v6; i++) if (begins(bytes, v6[i].prefix, v6[i].bits)) return true;
  return false;
}

/* ---- one connection ---- */

static void finish(struct connection *c) {
  if (c->fd >= 0) {
    close(c->fd);
    open_now--;
  }
  c->fd = -1;
  c->state = DONE;
}

static void fail(struct connection *c, int error) {
  errors[error < MAX_ERRNO ? error : 0]++;
  finish(c);
}

static bool bind_source(const struct connection *c, uint32_t i) {
  struct sockaddr_storage from;
  struct in6_addr address = source_of(i);
  int on = 1;
  setsockopt(c->fd, IPPROTO_IP, IP_FREEBIND, &on, sizeof on);
  setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on); /* the port is chosen by connect() */
  if (options.family == AF_INET6) setsockopt(c->fd, IPPROTO_IPV6, IPV6_FREEBIND, &on, sizeof on);
  socklen_t length = endpoint(&from, &address, 0);
  return bind(c->fd, (struct sockaddr *)&from, length) == 0;
}

/* connect() has chosen address and port, so they are known before anything can end the connection. */
static void remember_source(struct connection *c) {
  struct sockaddr_storage from;
  socklen_t length = sizeof from;
  if (getsockname(c->fd, (struct sockaddr *)&from, &length) < 0) return;
  if (from.ss_family == AF_INET6) {
    c->source = ((struct sockaddr_in6 *)&from)->sin6_addr;
    c->source_port = ntohs(((struct sockaddr_in6 *)&from)->sin6_port);
  } else {
    memcpy(&c->source, &((struct sockaddr_in *)&from)->sin_addr, 4);
    c->source_port = ntohs(((struct sockaddr_in *)&from)->sin_port);
  }
}

static void start(uint32_t i) {
  struct connection *c = &connections[i];
  struct sockaddr_storage to;
  c->started_ns = now_ns();
  c->fd = socket(options.family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (c->fd < 0) return fail(c, errno);
  open_now++;
  if (options.has_source && !bind_source(c, i)) return fail(c, errno);
  socklen_t length = endpoint(&to, &options.destination, port_of(i));
  if (connect(c->fd, (struct sockaddr *)&to, length) < 0 && errno != EINPROGRESS) return fail(c, errno);
  remember_source(c);
  c->state = CONNECTING;
  struct epoll_event event = {.events = EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.u32 = i};
  if (epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event) < 0) fail(c, errno);
}

static void reset_on_close(const struct connection *c) {
  struct linger now = {.l_onoff = 1, .l_linger = 0};
  setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

static void on_established(struct connection *c) {
  c->established_ns = now_ns();
  established_count++;
  c->state = HELD;
  if (options.mode == HOLD) return;
  if (options.mode == RST) reset_on_close(c);
  if (options.mode == DATA) (void)!send(c->fd, options.text, strlen(options.text), MSG_NOSIGNAL);
  finish(c);
}

/* In SYN-SENT a reset is ECONNREFUSED; ECONNRESET and EPIPE mean that the handshake came first. */
static void on_connected(struct connection *c) {
  int error = 0;
  socklen_t length = sizeof error;
  getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &length);
  if (error == 0) return on_established(c);
  if (error != ECONNRESET && error != EPIPE) return fail(c, error);
  reset_count++;
  on_established(c);
  if (c->state != DONE) finish(c);
}

static void on_event(const struct epoll_event *event) {
  struct connection *c = &connections[event->data.u32];
  if (c->state == CONNECTING) on_connected(c);
  if (c->state == HELD && event->events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) finish(c);
}

/* ---- all of them ---- */

/* When the next connection is to start; 0 for at once. */
static uint64_t due_ns(void) { return options.rate > 0 ? begin_ns + (uint64_t)(next / options.rate * 1e9) : 0; }

static bool may_start(void) { return next < options.count && open_now < options.concurrency; }

static void start_due(void) {
  uint32_t budget = options.concurrency == options.count ? options.count : STARTS_PER_TURN;
  while (budget-- > 0 && may_start() && due_ns() <= now_ns()) start(next++);
}

/* Ends what has waited too long, in the order of starting. */
static void expire(uint64_t now) {
  for (; oldest < next; oldest++) {
    struct connection *c = &connections[oldest];
    if (c->state == CONNECTING && now - c->started_ns > options.connect_ns) fail(c, ETIMEDOUT);
    if (c->state == HELD && now - c->established_ns > options.hold_ns) finish(c);
    if (c->state != DONE) return;
  }
}

/* How long the loop may sleep: until the next start, and never so long that time limits are missed. */
static struct timespec patience(void) {
  const uint64_t longest = 5000000;
  uint64_t wait = longest;
  if (may_start()) {
    uint64_t due = due_ns(), now = now_ns();
    wait = due <= now ? 0 : due - now;
  }
  return (struct timespec){.tv_nsec = (long)(wait < longest ? wait : longest)};
}

static void turn(void) {
  static struct epoll_event events[EVENTS_PER_TURN];
  start_due();
  expire(now_ns());
  struct timespec wait = patience();
  int ready = epoll_pwait2(poller, events, EVENTS_PER_TURN, &wait, NULL);
  for (int i = 0; i < ready; i++) on_event(&events[i]);
}

static void run(void) {
  begin_ns = now_ns();
  while ((next < options.count || open_now > 0) && now_ns() - begin_ns < options.wall_ns) turn();
  end_ns = now_ns();
  for (; oldest < next; oldest++) {
    struct connection *c = &connections[oldest];
    if (c->state == CONNECTING) fail(c, ETIMEDOUT);
    else if (c->state == HELD) finish(c);
  }
}

/* ---- results ---- */

static bool write_manifest(void) {
  FILE *file = fopen(options.manifest, "w");
  if (!file) return false;
  char source[INET6_ADDRSTRLEN], destination[INET6_ADDRSTRLEN];
  inet_ntop(options.family, &options.destination, destination, sizeof destination);
  for (uint32_t i = 0; i < next; i++) {
    const struct connection *c = &connections[i];
    if (c->established_ns == 0) continue;
    inet_ntop(options.family, &c->source, source, sizeof source);
    fprintf(file, "%s %u %s %u %llu %llu\n", source, c->source_port, destination, port_of(i),
            (unsigned long long)c->started_ns, (unsigned long long)c->established_ns);
  }
  return fclose(file) == 0;
}

static int by_size(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* Microseconds from connect() to the completed handshake, of every established connection, sorted. */
static double *latencies_us(void) {
  double *all = calloc(established_count + 1u, sizeof *all);
  uint32_t n = 0;
  for (uint32_t i = 0; all && i < next; i++) {
    const struct connection *c = &connections[i];
    if (c->established_ns) all[n++] = (double)(c->established_ns - c->started_ns) / 1e3;
  }
  if (all) qsort(all, n, sizeof *all, by_size);
  return all;
}

static double percentile(const double *sorted, double share) {
  return established_count ? sorted[(uint32_t)(share * (established_count - 1))] : 0;
}

static void print_errors(void) {
  const char *separator = "";
  for (int i = 0; i < MAX_ERRNO; i++) {
    if (errors[i] == 0) continue;
    const char *name = strerrorname_np(i);
    printf("%s\"%s\":%u", separator, name ? name : "unknown", errors[i]);
    separator = ",";
  }
}

static void print_summary(uint64_t began_realtime_ns) {
  double wall_s = (double)(end_ns - begin_ns) / 1e9, *sorted = latencies_us();
  if (!sorted) return;
  printf("{\"attempted\":%u,\"established\":%u,\"reset_by_peer\":%u,\"errors\":{", next, established_count, reset_count);
  print_errors();
  printf("},\"wall_s\":%.6f,\"rate\":%.1f,\"began_ns\":%llu,\"began_realtime_us\":%llu,", wall_s, established_count / wall_s,
         (unsigned long long)begin_ns, (unsigned long long)(began_realtime_ns / 1000));
  printf("\"connect_us\":{\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"max\":%.1f}}\n", percentile(sorted, 0.5), percentile(sorted, 0.9),
         percentile(sorted, 0.99), percentile(sorted, 1));
  free(sorted);
}

/* ---- options ---- */

static void read_address(const char *text, struct in6_addr *address) {
  int family = strchr(text, ':') ? AF_INET6 : AF_INET;
  if (options.family && options.family != family) usage("expected -t and -b of one family");
  if (inet_pton(family, text, address) != 1) usage("expected an IPv4 or IPv6 address");
  options.family = family;
}

static uint32_t read_number(const char *text, uint32_t highest) {
  char *end;
  unsigned long value = strtoul(text, &end, 10);
  if (end == text || *end || *text == '-' || value > highest) usage("expected a number within its limits");
  return (uint32_t)value;
}

static void read_ports(char *text) {
  char *dash = strchr(text, '-');
  if (dash) *dash = 0;
  options.first_port = read_number(text, 65535);
  options.last_port = dash ? read_number(dash + 1, 65535) : options.first_port;
  if (options.first_port < 1 || options.last_port < options.first_port) usage("expected a port or a range of ports");
}

static enum mode read_mode(const char *text) {
  static const char *const names[] = {"fin", "rst", "data", "hold"};
  for (int i = 0; i < 4; i++) if (strcmp(text, names[i]) == 0) return (enum mode)i;
  usage("expected -m fin, rst, data or hold");
  return FIN;
}

static uint64_t milliseconds(const char *text) { return (uint64_t)read_number(text, 600000) * 1000000u; }

static void read_option(int option) {
  switch (option) {
    case 't': read_address(optarg, &options.destination); break;
    case 'b': read_address(optarg, &options.first_source); options.has_source = true; break;
    case 'p': read_ports(optarg); break;
    case 'n': options.count = read_number(optarg, MAX_COUNT); break;
    case 'c': options.concurrency = read_number(optarg, MAX_COUNT); break;
    case 'r': options.rate = read_number(optarg, 1000000); break;
    case 'm': options.mode = read_mode(optarg); break;
    case 'o': options.manifest = optarg; break;
    case 'd': options.text = optarg; break;
    case 'H': options.hold_ns = milliseconds(optarg); break;
    case 'T': options.connect_ns = milliseconds(optarg); break;
    case 'w': options.wall_ns = (uint64_t)read_number(optarg, 600) * 1000000000u; break;
    default: usage("unknown option");
  }
}

static void read_options(int argc, char **argv) {
  int option;
  while ((option = getopt(argc, argv, "t:b:p:n:c:r:m:o:d:H:T:w:")) != -1) read_option(option);
  if (!options.family || !options.first_port || !options.count || !options.concurrency) usage("expected -t, -p and -n");
  if (!is_harmless(options.family, &options.destination)) usage("expected a destination on loopback or in a test network");
  if (options.concurrency > options.count) options.concurrency = options.count;
}

static void prepare(void) {
  struct rlimit files;
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  prctl(PR_SET_PDEATHSIG, SIGKILL);  /* whoever started the load is gone: so is the load */
  prctl(PR_SET_TIMERSLACK, 1000ul); /* even pacing; the default slack is 50 us */
  poller = epoll_create1(EPOLL_CLOEXEC);
  connections = calloc(options.count, sizeof *connections);
}

int main(int argc, char **argv) {
  read_options(argc, argv);
  prepare();
  if (poller < 0 || !connections) {
    perror("load: error");
    return 1;
  }
  uint64_t began_realtime_ns = clock_ns(CLOCK_REALTIME);
  run();
  if (options.manifest && !write_manifest()) {
    perror(options.manifest);
    return 1;
  }
  print_summary(began_realtime_ns);
  return 0;
}
