/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One line of key=value pairs on standard error. Programs and their loops log; library code returns
 * errors. Message texts and secrets never go in. Thread-safe.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/err.h"
#include "base/text.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

void log_init(const char *program, enum log_level lowest);
/* log_event(LOG_INFO, "capture.batch", "partition=%d records=%zu", p, n)
 * The pairs are formatted by the caller; use log_text for values that may hold blanks. */
void log_event(enum log_level level, const char *event, const char *pairs, ...)
    __attribute__((format(printf, 3, 4)));
enum { LOG_TEXT_SIZE = 256 };
/* The value in quotes, escaped, cut to fit; returns out. */
const char *log_text(char out[LOG_TEXT_SIZE], struct slice value);
/* As log_event with class= and error="..." of e at the end. */
void log_error(const char *event, const struct err *e, const char *pairs, ...)
    __attribute__((format(printf, 3, 4)));

#endif
