/* block: for how long somebody who fell into a decoy still reaches another port.
 *
 *   block -t ADDRESS -d DECOY_PORT -s SERVICE_PORT -N SENSOR_NAMESPACE -b FIRST_SOURCE -n COUNT
 *
 * Runs on the attacker's side of a test network. Peer i comes from FIRST_SOURCE + i, 100 of them a second, and is in turn one
 * that closes (fin), resets (rst) or sends a byte (data) as soon as its handshake with the decoy is complete, one that sends
 * nothing (hold), and a bystander, who never knocks; COUNT of each. Then, at once, it sends numbered datagrams to the service
 * for five seconds: every 50 us at first, later every fiftieth of the time gone by, and at least every 10 ms. A socket in the
 * sensor's namespace (`ip netns`) is the service and notes which arrive.
 *
 * One line per peer on stdout: "manner source sent arrived first_dropped us". first_dropped counts from 0, and is `sent` when
 * all arrived; us is when that one was sent, in microseconds after the handshake (CLOCK_MONOTONIC), or -1.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum manner { FIN, RST, DATA, HOLD, BYSTANDER, MANNERS };
enum { MAX_COUNT = 1000, MAX_PROBES = 1024, RECEIVE_BYTES = 64 << 20, CONNECT_S = 5 };

static const char *const manner_names[MANNERS] = {"fin", "rst", "data", "hold", "bystander"};
static const uint64_t MS = 1000000;
static const uint64_t START_EVERY_NS = 10 * MS, WATCH_NS = 5000 * MS, SHORTEST_STEP_NS = 50000, LONGEST_STEP_NS = 10 * MS;
static const uint64_t DRAIN_EVERY_NS = 5 * MS, LATE_NS = 30000 * MS;

struct peer {
  int knock, probes;
  uint32_t sent;
  uint64_t established_ns, due_ns, sent_ns[MAX_PROBES];
  bool arrived[MAX_PROBES];
};

struct probe {
  uint32_t peer, number;
};

static struct {
  struct in_addr destination, first_source;
  uint16_t decoy, service;
  uint32_t count;
  const char *sensor;
} options;

static struct peer *peers;
static uint32_t total, next, oldest;
static uint64_t begin_ns, drained_ns;
static int receiver;

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void die(const char *what) {
  fprintf(stderr, "block: error: %s: %s\n", what, strerror(errno));
  exit(1);
}

static void usage(const char *problem) {
  fprintf(stderr, "block: error: %s\nusage: block -t ADDRESS -d DECOY_PORT -s SERVICE_PORT -N SENSOR_NAMESPACE -b FIRST_SOURCE -n COUNT\n",
          problem);
  exit(2);
}

static enum manner manner_of(uint32_t i) { return (enum manner)(i % MANNERS); }

static struct in_addr source_of(uint32_t i) { return (struct in_addr){htonl(ntohl(options.first_source.s_addr) + i)}; }

/* ---- the service ---- */

static void enter(int namespace) {
  if (namespace < 0 || setns(namespace, CLONE_NEWNET) < 0) die("network namespace");
  close(namespace);
}

/* A socket stays where it was made. */
static void open_receiver(void) {
  char path[256];
  snprintf(path, sizeof path, "/run/netns/%s", options.sensor);
  int here = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), bytes = RECEIVE_BYTES;
  enter(open(path, O_RDONLY | O_CLOEXEC));
  receiver = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(options.service)};
  if (setsockopt(receiver, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) < 0) die("receive buffer");
  if (bind(receiver, (struct sockaddr *)&at, sizeof at) < 0) die("service");
  enter(here);
}

/* When they arrived is of no interest: the time of a datagram is when it was sent. */
static void drain(void) {
  struct probe probe;
  for (ssize_t size; (size = recv(receiver, &probe, sizeof probe, 0)) >= 0;) {
    if (size == sizeof probe && probe.peer < next && probe.number < peers[probe.peer].sent)
      peers[probe.peer].arrived[probe.number] = true;
  }
  drained_ns = now_ns();
}

/* What a full receive buffer lost would pass for blocked. */
static void expect_nothing_lost(void) {
  uint32_t memory[SK_MEMINFO_VARS] = {0};
  socklen_t length = sizeof memory;
  if (getsockopt(receiver, SOL_SOCKET, SO_MEMINFO, memory, &length) < 0) die("receive buffer");
  errno = ENOBUFS;
  if (memory[SK_MEMINFO_DROPS] > 0) die("datagrams were lost at the service");
}

/* ---- one peer ---- */

static int socket_of(uint32_t i, int type) {
  struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr = source_of(i)};
  int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0), on = 1;
  if (fd < 0) die("socket");
  setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &on, sizeof on);
  if (bind(fd, (struct sockaddr *)&from, sizeof from) < 0) die("bind");
  return fd;
}

static void connect_to(int fd, uint16_t port) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr = options.destination, .sin_port = htons(port)};
  if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0) die("connect");
}

static void knock(struct peer *p, uint32_t i) {
  struct linger now = {.l_onoff = 1, .l_linger = 0};
  struct timeval longest = {.tv_sec = CONNECT_S};
  p->knock = socket_of(i, SOCK_STREAM);
  setsockopt(p->knock, SOL_SOCKET, SO_SNDTIMEO, &longest, sizeof longest);
  if (manner_of(i) == RST) setsockopt(p->knock, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  connect_to(p->knock, options.decoy);
  p->established_ns = now_ns();
  if (manner_of(i) == DATA && send(p->knock, "x", 1, MSG_NOSIGNAL) < 0) die("send");
  if (manner_of(i) == FIN || manner_of(i) == RST) {
    close(p->knock);
    p->knock = -1;
  }
}

static void send_probe(struct peer *p) {
  struct probe probe = {.peer = (uint32_t)(p - peers), .number = p->sent};
  uint64_t now = now_ns(), step = (now - p->established_ns) / 50;
  if (step < SHORTEST_STEP_NS) step = SHORTEST_STEP_NS;
  if (step > LONGEST_STEP_NS) step = LONGEST_STEP_NS;
  p->sent_ns[p->sent++] = now;
  p->due_ns = now + step;
  if (send(p->probes, &probe, sizeof probe, 0) != sizeof probe) die("send");
}

static void start(uint32_t i) {
  struct peer *p = &peers[i];
  p->knock = -1;
  p->probes = socket_of(i, SOCK_DGRAM);
  connect_to(p->probes, options.service);
  if (manner_of(i) == BYSTANDER) p->established_ns = now_ns();
  else knock(p, i);
  send_probe(p);
}

static bool is_over(const struct peer *p, uint64_t now) {
  return now - p->established_ns >= WATCH_NS || p->sent == MAX_PROBES;
}

static void finish(struct peer *p) {
  if (p->knock >= 0) close(p->knock);
  close(p->probes);
}

/* ---- all of them ---- */

static uint64_t earlier(uint64_t one, uint64_t other) { return one < other ? one : other; }

/* Sends what is due; when there is something to do again. */
static uint64_t turn(void) {
  if (next < total && begin_ns + next * START_EVERY_NS <= now_ns()) {
    next++;
    start(next - 1);
  }
  uint64_t now = now_ns(), wake_ns = drained_ns + DRAIN_EVERY_NS;
  while (oldest < next && is_over(&peers[oldest], now)) finish(&peers[oldest++]);
  for (uint32_t i = oldest; i < next; i++) {
    struct peer *p = &peers[i];
    if (is_over(p, now)) continue;
    if (p->due_ns <= now) send_probe(p);
    wake_ns = earlier(wake_ns, p->due_ns);
  }
  if (now >= drained_ns + DRAIN_EVERY_NS) drain();
  return next < total ? earlier(wake_ns, begin_ns + next * START_EVERY_NS) : wake_ns;
}

static void run(void) {
  begin_ns = drained_ns = now_ns();
  uint64_t end_ns = begin_ns + total * START_EVERY_NS + WATCH_NS + LATE_NS;
  while (oldest < total) {
    uint64_t wake_ns = turn();
    errno = ETIMEDOUT;
    if (wake_ns > end_ns) die("peers");
    struct timespec until = {.tv_sec = (time_t)(wake_ns / 1000000000u), .tv_nsec = (long)(wake_ns % 1000000000u)};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
  }
  usleep(100000); /* for the last ones to arrive */
  drain();
  expect_nothing_lost();
}

static void print_peer(uint32_t i) {
  const struct peer *p = &peers[i];
  uint32_t arrived = 0, dropped = 0;
  char source[INET_ADDRSTRLEN];
  struct in_addr address = source_of(i);
  inet_ntop(AF_INET, &address, source, sizeof source);
  for (uint32_t n = 0; n < p->sent; n++) arrived += p->arrived[n];
  while (dropped < p->sent && p->arrived[dropped]) dropped++;
  double us = dropped < p->sent ? (double)(p->sent_ns[dropped] - p->established_ns) / 1e3 : -1;
  printf("%s %s %u %u %u %.1f\n", manner_names[manner_of(i)], source, p->sent, arrived, dropped, us);
}

/* ---- options ---- */

static struct in_addr read_address(const char *text) {
  struct in_addr address;
  if (inet_pton(AF_INET, text, &address) != 1) usage("expected an IPv4 address");
  return address;
}

static uint32_t read_number(const char *text, uint32_t highest) {
  char *end;
  unsigned long value = strtoul(text, &end, 10);
  if (end == text || *end || *text == '-' || value < 1 || value > highest) usage("expected a number within its limits");
  return (uint32_t)value;
}

static void read_option(int option) {
  switch (option) {
    case 't': options.destination = read_address(optarg); break;
    case 'b': options.first_source = read_address(optarg); break;
    case 'd': options.decoy = (uint16_t)read_number(optarg, 65535); break;
    case 's': options.service = (uint16_t)read_number(optarg, 65535); break;
    case 'n': options.count = read_number(optarg, MAX_COUNT); break;
    case 'N': options.sensor = optarg; break;
    default: usage("unknown option");
  }
}

static void read_options(int argc, char **argv) {
  int option;
  while ((option = getopt(argc, argv, "t:d:s:N:b:n:")) != -1) read_option(option);
  if (!options.decoy || !options.service || !options.sensor || !options.first_source.s_addr || !options.count)
    usage("expected all options");
  if (ntohl(options.destination.s_addr) >> 16 != (10 << 8 | 99)) usage("expected a destination in a test network, 10.99.0.0/16");
}

static void prepare(void) {
  struct rlimit files;
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  prctl(PR_SET_PDEATHSIG, SIGKILL);  /* whoever started it is gone: so is the load */
  prctl(PR_SET_TIMERSLACK, 1000ul); /* the default slack is as long as the shortest step */
  total = options.count * MANNERS;
  peers = calloc(total, sizeof *peers);
  if (!peers) die("peers");
  open_receiver();
}

int main(int argc, char **argv) {
  read_options(argc, argv);
  prepare();
  run();
  for (uint32_t i = 0; i < total; i++) print_peer(i);
  return 0;
}
