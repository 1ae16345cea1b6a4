/* readable: writes down when the bytes of a growing file could be read by somebody else.
 *
 *   readable FILE
 *
 * Prints "ready" once it watches. When its stdin ends it prints one line "ns size" per growth that it saw: the file had `size`
 * bytes at `ns` (CLOCK_MONOTONIC). Nothing is parsed or written during the run, so that watching costs little.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MAX_GROWTHS = 1 << 21 };

struct growth {
  uint64_t ns;
  long long size;
};

static struct growth *growths;
static size_t count;

static void note(int file) {
  struct stat status;
  struct timespec now;
  if (fstat(file, &status) < 0) return;
  clock_gettime(CLOCK_MONOTONIC, &now);
  if (count == MAX_GROWTHS || (count > 0 && growths[count - 1].size == status.st_size)) return;
  growths[count++] = (struct growth){(uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec, status.st_size};
}

static void watch(int file, int changes) {
  static char events[1 << 16];
  struct pollfd waits[] = {{.fd = changes, .events = POLLIN}, {.fd = STDIN_FILENO, .events = POLLIN}};
  while (poll(waits, 2, -1) >= 0 && waits[1].revents == 0) {
    if (read(changes, events, sizeof events) < 0) return;
    note(file);
  }
}

int main(int argc, char **argv) {
  if (argc != 2) {
    fputs("usage: readable FILE\n", stderr);
    return 2;
  }
  int file = open(argv[1], O_RDONLY | O_CLOEXEC), changes = inotify_init1(IN_CLOEXEC);
  growths = calloc(MAX_GROWTHS, sizeof *growths);
  if (file < 0 || changes < 0 || !growths || inotify_add_watch(changes, argv[1], IN_MODIFY) < 0) {
    perror(argv[1]);
    return 1;
  }
  puts("ready");
  fflush(stdout);
  watch(file, changes);
  for (size_t i = 0; i < count; i++) printf("%llu %lld\n", (unsigned long long)growths[i].ns, growths[i].size);
  return 0;
}
