/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When the store takes in nothing more but what ends things: posts, joins, history and other
 * products' records are refused when too many records wait for the queue, or when the disk of the
 * data folder is nearly full. What is left then is for leaves, sign-outs, the ends of sessions and
 * control totals.
 */
#ifndef CHAT_STORE_LIMIT_H
#define CHAT_STORE_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

struct store_limit {
    int64_t records; /* that may wait */
    int64_t reserve; /* bytes of the disk that stay free; 0: no rule */
    const char *folder;
};

/* Bytes; -1: can't be told, which refuses nothing. */
int64_t limit_disk_free(const struct store_limit *l);
bool limit_of_records(const struct store_limit *l, int64_t waiting);
/* Embedded: how many of the rows first..last, those stored since the start, have not been read;
 * read_to: the lowest that never was. 0: none is. What is read again was read. */
int64_t limit_waiting(int64_t first, int64_t last, int64_t read_to);
bool limit_of_disk(const struct store_limit *l, int64_t disk_free);

#endif
