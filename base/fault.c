/* SPDX-License-Identifier: Apache-2.0 */
/* Points at which tests end, freeze or fail the process; built with HOLDFAST_FAULTS only. */
#include "base/fault.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static char point[80], action[8], mark[500];
static char entry[2][600];
static _Atomic long left;

static void copy_entry(char *out, size_t size, const char *name, const char *value)
{
    if (value && snprintf(out, size, "%s=%s", name, value) >= (int)size)
        out[0] = '\0';
}

static void read_environment(void)
{
    const char *what = getenv("HOLDFAST_FAULT");
    const char *path = getenv("HOLDFAST_FAULT_MARK");
    long times = 1;
    if (!what || sscanf(what, "%79[^:]:%7[a-z]:%ld", point, action, &times) < 2)
        return;
    if (path && snprintf(mark, sizeof mark, "%s", path) >= (int)sizeof mark)
        abort();
    copy_entry(entry[0], sizeof entry[0], "HOLDFAST_FAULT", what);
    copy_entry(entry[1], sizeof entry[1], "HOLDFAST_FAULT_MARK", path);
    atomic_store(&left, times);
}

static bool due(const char *name, bool failing)
{
    (void)pthread_once(&once, read_environment);
    if (strcmp(name, point) != 0 || (strcmp(action, "fail") == 0) != failing)
        return false;
    if (atomic_fetch_sub(&left, 1) != 1)
        return false;
    if (!mark[0])
        return true;
    int fd = open(mark, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0)
        (void)close(fd);
    return fd >= 0;
}

void fault_pass(const char *name)
{
    if (due(name, false))
        (void)kill(getpid(), strcmp(action, "stop") == 0 ? SIGSTOP : SIGKILL);
}

bool fault_fails(const char *name)
{
    return due(name, true);
}

/* Read each time: a test sets the clock while we run. */
int64_t fault_clock_us(void)
{
    const char *path = getenv("HOLDFAST_FAULT_CLOCK");
    char text[32] = "";
    if (!path)
        return 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t n = read(fd, text, sizeof text - 1);
    (void)close(fd);
    return n > 0 ? strtoll(text, NULL, 10) * 1000000 : 0;
}

void fault_environment(char *env[3])
{
    (void)pthread_once(&once, read_environment);
    int n = 0;
    for (int i = 0; i < 2; i++) {
        if (entry[i][0])
            env[n++] = entry[i];
    }
    env[n] = NULL;
}
