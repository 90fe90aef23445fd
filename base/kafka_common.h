/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private to base/kafka_*.c (and their test): settings, classes of error codes, owned handles.
 */
#ifndef BASE_KAFKA_COMMON_H
#define BASE_KAFKA_COMMON_H

#include "base/kafka.h"

#include <librdkafka/rdkafka.h>

enum {
    /* The topic's limit is on the batch: three good records in one batch over it all fail. */
    KAFKA_BATCH_BYTES = 1000000,
    KAFKA_BATCH_SLACK = 1024,
    KAFKA_GROUP_MS = 3000, /* from one look at a group to the next */
};

struct kafka_setting {
    const char *name;
    const char *value;
};

/* The one mapping of librdkafka's and the broker's codes to classes; 0 for no error. */
int kafka_class_of(rd_kafka_resp_err_t code);

/* A configuration with what every client of ours has, then these. Nothing goes to stderr. */
int kafka_conf_new(const struct kafka_target *t, const struct kafka_setting *settings, size_t n,
                   rd_kafka_conf_t **out, struct err *e);
/* Takes conf, success or failure. */
int kafka_client_new(rd_kafka_type_t type, rd_kafka_conf_t *conf, rd_kafka_t **out, struct err *e);

/* base/kafka_group.c. Asks what the group's members have; the answer comes to the queue, and is
 * UNKNOWN when there is none yet, or the group is about to share out anew. */
enum kafka_group { KAFKA_GROUP_UNKNOWN, KAFKA_GROUP_READS, KAFKA_GROUP_IDLE };
void kafka_group_ask(rd_kafka_t *rk, const char *group, rd_kafka_queue_t *answers);
enum kafka_group kafka_group_heard(rd_kafka_queue_t *answers);

/* The client inside, for tests that make it fail. */
rd_kafka_t *kafka_producer_client(struct kafka_producer *p);

static inline void own_rd_kafka(rd_kafka_t **rk)
{
    /* Without leaving a group in good manners: none of the clients owned this way is in one. */
    if (*rk)
        rd_kafka_destroy_flags(*rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
}
static inline void own_rd_list(rd_kafka_topic_partition_list_t **l)
{
    if (*l)
        rd_kafka_topic_partition_list_destroy(*l);
}

#endif
