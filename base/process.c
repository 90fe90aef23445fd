/* SPDX-License-Identifier: Apache-2.0 */
/* Processes named by what Linux says of them in /proc. */
#include "base/process.h"

#include "base/file.h"
#include "base/own.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The first line of a small file; false when there is none. */
static bool read_line(const char *path, char *out, size_t size)
{
    OWN(own_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, out, size - 1) : -1;
    if (n <= 0)
        return false;
    out[n] = '\0';
    out[strcspn(out, "\n")] = '\0';
    return true;
}

/* The boot and the pid namespace that this process is in. */
static bool read_place(char out[100])
{
    char boot[64];
    char space[32];
    ssize_t n = readlink("/proc/self/ns/pid", space, sizeof space - 1);
    if (n <= 0 || !read_line("/proc/sys/kernel/random/boot_id", boot, sizeof boot))
        return false;
    space[n] = '\0';
    int length = snprintf(out, 100, "%s %s", boot, space);
    return length > 0 && length < 100;
}

/* State letter and start time of a process: the 3rd and the 22nd word; the 2nd is its name in
 * brackets, which may hold anything. */
static bool read_stat(long pid, char *state, unsigned long long *start)
{
    char path[40];
    char line[1024];
    (void)snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    if (!read_line(path, line, sizeof line))
        return false;
    const char *rest = strrchr(line, ')');
    return rest && sscanf(rest + 1,
                          " %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s"
                          " %*s %llu",
                          state, start) == 2;
}

void process_name(char out[PROCESS_NAME_SIZE])
{
    char place[100];
    char state;
    unsigned long long start;
    out[0] = '\0';
    if (!read_place(place) || !read_stat((long)getpid(), &state, &start))
        return;
    int n = snprintf(out, PROCESS_NAME_SIZE, "%s %ld %llu", place, (long)getpid(), start);
    if (n < 0 || n >= PROCESS_NAME_SIZE)
        out[0] = '\0';
}

bool process_gone(const char *name)
{
    char place[100];
    char state = 'R';
    unsigned long long start;
    unsigned long long now;
    long pid;
    if (!read_place(place))
        return false;
    size_t n = strlen(place);
    if (strncmp(name, place, n) != 0 || sscanf(name + n, " %ld %llu", &pid, &start) != 2)
        return false;
    if (kill((pid_t)pid, 0) < 0 && errno == ESRCH)
        return true;
    /* A number may have been given out again; a zombie does nothing any more. */
    return read_stat(pid, &state, &now) && (now != start || state == 'Z' || state == 'X');
}
