/* SPDX-License-Identifier: Apache-2.0 */
/* The one configuration file: its sections, and what the program makes of them. */
#ifndef SETTINGS_H
#define SETTINGS_H

#include "base/conf.h"
#include "base/kafka.h"
#include "chat-server/store/limit.h"

extern const struct conf_section settings_sections[];

enum { SETTINGS_PATH = 4096 };

struct settings {
    struct conf *conf;
    bool services;               /* else embedded */
    char data[SETTINGS_PATH];    /* the data folder, absolute */
    char control[SETTINGS_PATH]; /* control socket of `up` */
    char store_url[SETTINGS_PATH];
    char staging_url[SETTINGS_PATH];
    char modules[SETTINGS_PATH]; /* folder of mgc_*.so */
    char scratch[SETTINGS_PATH];
    char delivered[SETTINGS_PATH]; /* folder: how far the archiver has come */
    struct kafka_target kafka;     /* services; texts belong to conf */
    char host[64];                 /* chat server's address */
    uint16_t port;
    char server[96]; /* "host:port" */
    const char *domain, *pool;
    int64_t writers, batch_records, batch_bytes, backlog_ms;
    struct store_limit limit; /* when chat is refused */
    int64_t queue_wait_ms;
};

/* config NULL: DATA/holdfast.conf when it is there, else defaults. data NULL: [holdfast] data, else
 * $HOLDFAST_DATA, else $XDG_STATE_HOME/holdfast, else ~/.local/state/holdfast. */
int settings_load(struct settings **out, const char *config, const char *data, struct err *e);
void settings_free(struct settings *s);

static inline void own_settings(struct settings **s)
{
    settings_free(*s);
}

#endif
