/* A wall clock of their own for the processes that preload this; every other clock is the kernel's.

   SHIFTED_CLOCK names a file of eight bytes: how many nanoseconds to add, in the machine's order of
   bytes. It is mapped, so that a step reaches all processes at once and a reading opens no file.
   Not libfaketime 0.9.10, Debian's: where it leaves monotonic clocks alone (as leases need), every
   clock_nanosleep with an absolute monotonic deadline fails with EINVAL, which is Python's sleep. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { SECOND_NS = 1000000000 };

static const int64_t *shift_ns;

__attribute__((constructor)) static void map_shift(void) {
  const char *path = getenv("SHIFTED_CLOCK");
  int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (fd < 0) return;
  void *page = mmap(NULL, sizeof *shift_ns, PROT_READ, MAP_SHARED, fd, 0);
  close(fd);
  if (page != MAP_FAILED) shift_ns = page;
}

int clock_gettime(clockid_t clock, struct timespec *at) {
  int failed = (int)syscall(SYS_clock_gettime, clock, at);
  if (failed || !shift_ns || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE))
    return failed;
  int64_t ns = at->tv_sec * (int64_t)SECOND_NS + at->tv_nsec;
  ns += __atomic_load_n(shift_ns, __ATOMIC_RELAXED);
  at->tv_sec = ns / SECOND_NS;
  at->tv_nsec = ns % SECOND_NS;
  return 0;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
  struct timespec now;
  (void)zone;
  clock_gettime(CLOCK_REALTIME, &now);
  at->tv_sec = now.tv_sec;
  at->tv_usec = now.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *at) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (at) *at = now.tv_sec;
  return now.tv_sec;
}
