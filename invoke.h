/* SPDX-License-Identifier: Apache-2.0 */
/* Where a command runs: in the service that has the data folder, or in this process. */
#ifndef INVOKE_H
#define INVOKE_H

#include "base/app.h"
#include "handles.h"

struct invocation {
    const struct app_command *command;
    struct handles *handles;
    bool json;
    int argc; /* words after the command's name */
    char **argv;
    char **words; /* the command's name and argv: what crosses the socket */
    int word_count;
};

/* Runs it once, or once for each file it names. Returns the exit code. */
int invoke(const struct invocation *i);

#endif
