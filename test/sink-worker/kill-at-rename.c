/*
 * Loaded into a ClickHouse by LD_PRELOAD: ends the process with SIGKILL where a new part is about to
 * be renamed into place, while the file named by KILL_AT_RENAME exists. Its token is in the
 * deduplication log by then: this is the crash window.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int rename(const char *from, const char *to) {
  static int (*real)(const char *, const char *);
  const char *armed = getenv("KILL_AT_RENAME");
  if (real == NULL) real = (int (*)(const char *, const char *))dlsym(RTLD_NEXT, "rename");
  if (armed != NULL && strstr(from, "tmp_insert_") != NULL && access(armed, F_OK) == 0) {
    kill(getpid(), SIGKILL);
    pause();
  }
  return real(from, to);
}
