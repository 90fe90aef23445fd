/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands: a table of named functions over three streams, help made from the table, and the
 * argument parser they share. The same function runs in the caller's process or behind the control
 * socket.
 */
#ifndef BASE_APP_H
#define BASE_APP_H

#include "base/err.h"
#include "base/text.h"

#include <stdio.h>
#include <sys/types.h>

/* Exit codes every command keeps to, besides its own documented ones. */
enum { APP_OK = 0, APP_FAILED = 1, APP_USAGE = 2, APP_UNKNOWN = 3 };

struct app_io {
    FILE *in, *out, *err;
    bool tty;   /* err is a terminal: progress bars are welcome */
    bool json;  /* --json was given */
    uid_t uid;  /* of the person who gave the command: never what they say, what the system says */
    void *open; /* the program's handles; commands.c knows the type */
};

enum app_flag {
    APP_REMOTE = 1, /* under `up` it runs in the service, over the control socket */
    APP_FILES = 2,  /* its operands are files: the client opens each and passes it as `in` */
    APP_LOCAL = 4,  /* never remote */
    APP_HIDDEN = 8,
    APP_VERDICT = 16, /* its codes are verdicts: one that could not be run exits with APP_UNKNOWN */
};

struct app_command {
    const char *name;  /* one word, or two ("room add"); NULL ends the table */
    const char *group; /* help heading: "look", "feed", "chat", "run", "set up", ... */
    const char *usage; /* "--source NAME FILE...|-" */
    const char *summary;
    int flags;
    int (*run)(struct app_io *io, int argc, char **argv); /* argv[0] = first word after the name */
    const char *help;                                     /* more paragraphs, or NULL */
};

/* What a failure to run it exits with: code, or APP_UNKNOWN. */
int app_failure(const struct app_command *c, int code);

/* Finds the command by one or two leading words; NULL when there is none. *used = words it took. */
const struct app_command *app_find(const struct app_command *table, int argc, char **argv,
                                   int *used);
void app_help(const struct app_command *table, const char *program, FILE *out);
/* The commands as a manual page's entries (roff): group by group. */
void app_manual(const struct app_command *table, FILE *out);
void app_help_command(const struct app_command *c, const char *program, FILE *out);
/* "no command 'stauts'. Did you mean 'status'?" */
void app_unknown(const struct app_command *table, const char *word, FILE *err);

/* Options of one command: --name VALUE, --name=VALUE, or --name (flag). Operands are moved to the
 * front of argv, their count is written to *operands. Unknown option: ERR_CONFIG with the nearest
 * name. */
struct app_option {
    const char *name;   /* without the dashes; NULL ends */
    const char **value; /* gets the value; NULL for a flag */
    bool *flag;
};
int app_options(const struct app_option *options, int argc, char **argv, int *operands,
                struct err *e);

/* Removes every `flag` ("--json") before a "--" from argv; true when there was one. */
bool app_take_flag(const char *flag, int *argc, char **argv);

/* Prints "holdfast: TEXT" and returns the exit code that belongs to the class (ERR_CONFIG: 2, else
 * 1). */
int app_fail(struct app_io *io, const struct err *e);

/* A progress line on io->err, at most ten a second, only when it is a terminal; total 0 = unknown.
 */
struct app_progress {
    struct app_io *io;
    const char *what;
    int64_t started_ms, last_ms;
};
void app_progress_start(struct app_progress *p, struct app_io *io, const char *what);
void app_progress_step(struct app_progress *p, int64_t done, int64_t total);
void app_progress_end(struct app_progress *p, int64_t done);

#endif
