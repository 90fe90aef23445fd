/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A command that may run in the service is offered to it first. A command over files is run once
 * for each, with the file as its input, so that the service never opens a path of a caller.
 */
#include "invoke.h"

#include "base/clock.h"
#include "base/control.h"
#include "base/own.h"
#include "base/stop.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* A service that is just starting or stopping holds the data folder and does not answer yet or any
 * more. */
enum { REACH_MS = 15000, REACH_PAUSE_MS = 50, MAX_WORDS = 1024 };

/* 1: the service ran it, *code is its answer. 0: no service runs; the data folder's lock is ours.
 */
static int reach_service(const struct invocation *i, int in_fd, int *code, struct err *e)
{
    int64_t end = clock_mono_ms() + REACH_MS;

    for (;;) {
        int err = control_call(i->handles->settings->control, i->word_count, i->words, in_fd,
                               STDOUT_FILENO, STDERR_FILENO, code, e);
        if (err != ERR_NOT_FOUND)
            return err ? err : 1;
        err = handles_lock(i->handles, e);
        if (err != ERR_CONFLICT || clock_mono_ms() >= end || stop_wait(REACH_PAUSE_MS))
            return err;
    }
}

/* In the running service when there is one, else here. */
static int run_once(const struct invocation *i, int in_fd)
{
    struct err e = {0};
    int code;

    if ((i->command->flags & APP_REMOTE) && !i->handles->settings->services) {
        int reached = reach_service(i, in_fd, &code, &e);
        if (reached < 0)
            return fprintf(stderr, "holdfast: %s\n", e.text), app_failure(i->command, APP_FAILED);
        if (reached)
            return code;
    }
    OWN(own_file) FILE *in = fdopen(dup(in_fd), "r");
    if (!in)
        return perror("holdfast"), APP_FAILED;
    struct app_io io = {.in = in,
                        .out = stdout,
                        .err = stderr,
                        .tty = isatty(STDERR_FILENO),
                        .json = i->json,
                        .uid = getuid(),
                        .open = i->handles};
    code = i->command->run(&io, i->argc, i->argv);
    handles_done(i->handles);
    return fflush(stdout) == 0 ? code : APP_FAILED;
}

/* Options of commands over files that take the next word as their value. */
static bool takes_value(const char *word)
{
    return strcmp(word, "--source") == 0;
}

/* Marks the words behind the command that name files; returns how many. */
static int find_files(const struct invocation *i, bool is_file[MAX_WORDS])
{
    int files = 0;
    bool options = true;

    for (int k = 0; k < i->argc; k++) {
        bool option = options && strncmp(i->argv[k], "--", 2) == 0;
        is_file[k] = !option && !(k > 0 && options && takes_value(i->argv[k - 1]));
        files += is_file[k];
        if (strcmp(i->argv[k], "--") == 0)
            options = false;
    }
    return files;
}

/* The same words with all files but one left out; its name stays, for messages. */
static int run_file(const struct invocation *i, const bool is_file[MAX_WORDS], int file)
{
    char *words[MAX_WORDS];
    int name = i->word_count - i->argc;
    int n = name;
    const char *path = i->argv[file];
    OWN(own_fd)
    int fd = strcmp(path, "-") == 0 ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        fprintf(stderr, "holdfast: %s: %s\n", path, strerror(errno));
        return APP_FAILED;
    }
    memcpy(words, i->words, (size_t)name * sizeof *words);
    for (int k = 0; k < i->argc; k++)
        if (!is_file[k] || k == file)
            words[n++] = i->argv[k];
    struct invocation one = *i;
    one.words = words;
    one.word_count = n;
    one.argv = words + name;
    one.argc = n - name;
    return run_once(&one, fd);
}

static int run_files(const struct invocation *i)
{
    bool is_file[MAX_WORDS] = {false};
    int worst = APP_OK;

    if (i->word_count > MAX_WORDS)
        return fprintf(stderr, "holdfast: more than %d words\n", MAX_WORDS), APP_USAGE;
    if (find_files(i, is_file) == 0)
        return run_once(i, STDIN_FILENO); /* the command itself says what it misses */
    for (int k = 0; k < i->argc && !stop_requested(); k++) {
        int code = is_file[k] ? run_file(i, is_file, k) : APP_OK;
        worst = code > worst ? code : worst;
    }
    return worst;
}

int invoke(const struct invocation *i)
{
    return i->command->flags & APP_FILES ? run_files(i) : run_once(i, STDIN_FILENO);
}
