/* spoof: sends a bounded number of single TCP segments from made-up sources. None of them completes a handshake.
 *
 *   spoof -t ADDRESS -p PORT[-PORT] -n COUNT [-f syn|synack|ack|psh|fin|rst|null|xmas] [-b FIRST_SOURCE] [-s SOURCES] [-r RATE]
 *
 * Segment i comes from FIRST_SOURCE + i % SOURCES, goes to port first + i % ports, and has a source port, sequence and
 * acknowledgement that follow from i, the same in every run. Needs CAP_NET_RAW. Destinations outside 10.99.0.0/16, 127.0.0.0/8
 * and fd00:99::/32 are refused; to loopback only from loopback, since the answer would leave by the default route.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_COUNT = 1000000, WINDOW = 64240 };

struct segment {
  struct tcphdr tcp;
  uint8_t mss[4];
} __attribute__((packed));

/* What the checksum covers besides segment and addresses, as IPv6 has it (RFC 8200, 8.1). IPv4's narrower fields add up to the same. */
struct pseudo_header {
  uint32_t length, protocol;
};

static struct {
  int family;
  struct in6_addr destination, first_source; /* the first four bytes are the address in IPv4 */
  uint32_t first_port, last_port, count, sources;
  double rate;
  uint8_t flags;
} options = {.sources = 256, .flags = TH_SYN};

static void usage(const char *problem) {
  fprintf(stderr, "spoof: error: %s\nusage: spoof -t ADDRESS -p PORT[-PORT] -n COUNT [-f syn|synack|ack|psh|fin|rst|null|xmas] "
                  "[-b FIRST_SOURCE] [-s SOURCES] [-r RATE]\n", problem);
  exit(2);
}

static size_t address_size(void) { return options.family == AF_INET6 ? 16 : 4; }

/* ---- one segment ---- */

/* Everything that is summed here has an even length. */
static uint32_t add_words(uint32_t sum, const void *from, size_t size) {
  const uint8_t *bytes = from;
  for (size_t i = 0; i + 1 < size; i += 2) {
    uint16_t word;
    memcpy(&word, bytes + i, 2);
    sum += word;
  }
  return sum;
}

static uint16_t fold(uint32_t sum) {
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return (uint16_t)~sum;
}

static uint16_t tcp_checksum(const struct segment *segment, const struct in6_addr *source) {
  struct pseudo_header pseudo = {htonl(sizeof *segment), htonl(IPPROTO_TCP)};
  uint32_t sum = add_words(0, source, address_size());
  sum = add_words(sum, &options.destination, address_size());
  sum = add_words(sum, &pseudo, sizeof pseudo);
  return fold(add_words(sum, segment, sizeof *segment));
}

static struct in6_addr source_of(uint32_t i) {
  struct in6_addr address = options.first_source;
  uint8_t *low = &address.s6_addr[address_size() - 4];
  uint32_t word;
  memcpy(&word, low, 4);
  word = htonl(ntohl(word) + i % options.sources);
  memcpy(low, &word, 4);
  return address;
}

/* A fixed scramble of i (the finisher of MurmurHash3), so that a failing run can be repeated. */
static uint32_t scramble(uint32_t i) {
  i = (i ^ (i >> 16)) * 0x85ebca6bu;
  i = (i ^ (i >> 13)) * 0xc2b2ae35u;
  return i ^ (i >> 16);
}

static struct segment segment_of(uint32_t i, const struct in6_addr *source) {
  struct segment segment = {.mss = {TCPOPT_MAXSEG, TCPOLEN_MAXSEG, 1460 >> 8, 1460 & 255}};
  uint32_t noise = scramble(i + 1);
  segment.tcp.th_sport = htons((uint16_t)(1024 + noise % 60000));
  segment.tcp.th_dport = htons((uint16_t)(options.first_port + i % (options.last_port - options.first_port + 1)));
  segment.tcp.th_seq = htonl(noise);
  segment.tcp.th_ack = options.flags & TH_ACK ? htonl(scramble(noise)) : 0;
  segment.tcp.th_off = sizeof segment / 4;
  segment.tcp.th_flags = options.flags;
  segment.tcp.th_win = htons(WINDOW);
  segment.tcp.th_sum = tcp_checksum(&segment, source);
  return segment;
}

static bool send_v4(int fd, const struct in6_addr *source, const struct segment *segment) {
  struct { struct iphdr ip; struct segment segment; } __attribute__((packed)) packet = {.segment = *segment};
  struct sockaddr_in to = {.sin_family = AF_INET};
  packet.ip.version = 4;
  packet.ip.ihl = 5;
  packet.ip.ttl = 64;
  packet.ip.protocol = IPPROTO_TCP;
  packet.ip.tot_len = htons(sizeof packet); /* the kernel fills in id and checksum: raw(7) */
  memcpy(&packet.ip.saddr, source, 4);
  memcpy(&packet.ip.daddr, &options.destination, 4);
  memcpy(&to.sin_addr, &options.destination, 4);
  return sendto(fd, &packet, sizeof packet, 0, (struct sockaddr *)&to, sizeof to) == (ssize_t)sizeof packet;
}

static bool send_v6(int fd, const struct in6_addr *source, const struct segment *segment) {
  struct { struct ip6_hdr ip; struct segment segment; } __attribute__((packed)) packet = {.segment = *segment};
  struct sockaddr_in6 to = {.sin6_family = AF_INET6, .sin6_addr = options.destination};
  packet.ip.ip6_vfc = 6 << 4;
  packet.ip.ip6_plen = htons(sizeof *segment);
  packet.ip.ip6_nxt = IPPROTO_TCP;
  packet.ip.ip6_hlim = 64;
  packet.ip.ip6_src = *source;
  packet.ip.ip6_dst = options.destination;
  return sendto(fd, &packet, sizeof packet, 0, (struct sockaddr *)&to, sizeof to) == (ssize_t)sizeof packet;
}

/* ---- all of them ---- */

static double now_s(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void wait_until(double due_s) {
  double ahead = due_s - now_s();
  if (ahead <= 0) return;
  struct timespec wait = {(time_t)ahead, (long)((ahead - (double)(time_t)ahead) * 1e9)};
  nanosleep(&wait, NULL);
}

static uint32_t send_all(int fd) {
  uint32_t sent = 0;
  double began_s = now_s();
  for (uint32_t i = 0; i < options.count; i++) {
    struct in6_addr source = source_of(i);
    struct segment segment = segment_of(i, &source);
    if (options.rate > 0) wait_until(began_s + i / options.rate);
    if (options.family == AF_INET6 ? send_v6(fd, &source, &segment) : send_v4(fd, &source, &segment)) sent++;
  }
  return sent;
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

static uint8_t read_flags(const char *text) {
  static const struct { const char *name; uint8_t flags; } kinds[] = {
      {"syn", TH_SYN}, {"synack", TH_SYN | TH_ACK}, {"ack", TH_ACK}, {"psh", TH_PUSH | TH_ACK}, {"fin", TH_FIN},
      {"rst", TH_RST}, {"null", 0}, {"xmas", TH_FIN | TH_PUSH | TH_URG}};
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) if (strcmp(text, kinds[i].name) == 0) return kinds[i].flags;
  usage("expected -f syn, synack, ack, psh, fin, rst, null or xmas");
  return 0;
}

static bool is_loopback(const struct in6_addr *address) { return options.family == AF_INET && address->s6_addr[0] == 127; }

static bool may_be_sent_to(const struct in6_addr *address) {
  static const uint8_t v4[] = {10, 99}, v6[] = {0xfd, 0, 0, 0x99};
  if (options.family == AF_INET6) return memcmp(address, v6, sizeof v6) == 0;
  return is_loopback(address) || memcmp(address, v4, sizeof v4) == 0;
}

static void choose_source(const char *text) {
  const char *v4 = is_loopback(&options.destination) ? "127.99.0.0" : "203.0.113.0";
  read_address(text ? text : options.family == AF_INET6 ? "2001:db8:99::" : v4, &options.first_source);
  if (is_loopback(&options.destination) && !is_loopback(&options.first_source)) usage("expected a source in 127.0.0.0/8");
}

static void read_options(int argc, char **argv) {
  const char *source = NULL;
  int option;
  while ((option = getopt(argc, argv, "t:p:n:f:b:s:r:")) != -1) switch (option) {
    case 't': read_address(optarg, &options.destination); break;
    case 'p': read_ports(optarg); break;
    case 'n': options.count = read_number(optarg, MAX_COUNT); break;
    case 'f': options.flags = read_flags(optarg); break;
    case 'b': source = optarg; break;
    case 's': options.sources = read_number(optarg, 1 << 24); break;
    case 'r': options.rate = read_number(optarg, 1000000); break;
    default: usage("unknown option");
  }
  if (!options.family || !options.first_port || !options.count || !options.sources) usage("expected -t, -p and -n");
  if (!may_be_sent_to(&options.destination)) usage("expected a destination in 10.99.0.0/16, 127.0.0.0/8 or fd00:99::/32");
  choose_source(source);
}

int main(int argc, char **argv) {
  read_options(argc, argv);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  int fd = socket(options.family, SOCK_RAW, IPPROTO_RAW); /* the headers are ours: raw(7), ipv6(7) */
  if (fd < 0) {
    perror("spoof: error: raw socket");
    return 1;
  }
  double began_s = now_s();
  uint32_t sent = send_all(fd);
  printf("{\"attempted\":%u,\"sent\":%u,\"wall_s\":%.6f}\n", options.count, sent, now_s() - began_s);
  return 0;
}
