/* SPDX-License-Identifier: Apache-2.0 */
/* Reading handles of the store for work done beside the loop: a few are kept open and lent out. */
#ifndef CHAT_READER_H
#define CHAT_READER_H

#include "chat-server/store/store.h"

struct reader;

struct reader *reader_new(const char *store_url); /* opens nothing yet; NULL when out of memory */
void reader_free(struct reader *r);               /* when every handle was given back */
/* Any thread. A handle for the caller alone until reader_give, which keeps or closes it. */
int reader_take(struct reader *r, struct store **out, struct err *e);
void reader_give(struct reader *r, struct store *s);

#endif
