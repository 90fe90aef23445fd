/* SPDX-License-Identifier: Apache-2.0 */
/*
 * In the build for tests/coverage only: what a process reached is written before it ends without
 * its exit handlers: before _exit, before it becomes another program, before it kills itself, and
 * before a worker says its result, since the archiver kills it then.
 */
#define _GNU_SOURCE /* kill */

#include <signal.h>
#include <stdint.h>
#include <unistd.h>

struct buf;
void __gcov_dump(void);
void __gcov_reset(void);
void __real__exit(int status) __attribute__((noreturn));
void __wrap__exit(int status) __attribute__((noreturn));
int __real_execve(const char *path, char *const argv[], char *const envp[]);
int __wrap_execve(const char *path, char *const argv[], char *const envp[]);
int __real_kill(pid_t pid, int number);
int __wrap_kill(pid_t pid, int number);
void __real_wire_end_write(struct buf *out, int32_t rc, const char *text);
void __wrap_wire_end_write(struct buf *out, int32_t rc, const char *text);

/* Counts are added to the file, so that they must begin again at nothing. */
static void save(void)
{
    __gcov_dump();
    __gcov_reset();
}

void __wrap__exit(int status)
{
    save();
    __real__exit(status);
}

int __wrap_execve(const char *path, char *const argv[], char *const envp[])
{
    save();
    return __real_execve(path, argv, envp);
}

int __wrap_kill(pid_t pid, int number)
{
    if (number == SIGKILL && (pid == getpid() || pid == -getpid()))
        save();
    return __real_kill(pid, number);
}

/* A program that has no workers has no such function either. */
#pragma weak __real_wire_end_write
void __wrap_wire_end_write(struct buf *out, int32_t rc, const char *text)
{
    __real_wire_end_write(out, rc, text);
    save();
}
