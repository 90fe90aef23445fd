/* SPDX-License-Identifier: Apache-2.0 */
/* A small pool of reading handles, so that look-ups need not open the store each time. */
#include "chat-server/reader.h"

#include <pthread.h>
#include <stdlib.h>

enum { READER_KEPT = 4 };

struct reader {
    char *url;
    pthread_mutex_t lock;
    struct store *kept[READER_KEPT];
    size_t count;
};

struct reader *reader_new(const char *store_url)
{
    struct reader *r = calloc(1, sizeof *r);

    if (!r)
        return NULL;
    r->url = slice_dup(slice_of(store_url));
    if (!r->url) {
        free(r);
        return NULL;
    }
    (void)pthread_mutex_init(&r->lock, NULL);

    return r;
}

void reader_free(struct reader *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < r->count; i++)
        store_close(r->kept[i]);
    (void)pthread_mutex_destroy(&r->lock);
    free(r->url);
    free(r);
}

int reader_take(struct reader *r, struct store **out, struct err *e)
{
    struct store *s = NULL;

    (void)pthread_mutex_lock(&r->lock);
    if (r->count > 0)
        s = r->kept[--r->count];
    (void)pthread_mutex_unlock(&r->lock);
    if (!s)
        return store_open_reader(out, r->url, e);
    *out = s;

    return 0;
}

void reader_give(struct reader *r, struct store *s)
{
    bool keep = false;

    if (!store_broken(s)) {
        (void)pthread_mutex_lock(&r->lock);
        keep = r->count < READER_KEPT;
        if (keep)
            r->kept[r->count++] = s;
        (void)pthread_mutex_unlock(&r->lock);
    }
    if (!keep)
        store_close(s);
}
