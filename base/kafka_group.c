/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looking at a consumer group from within. A member that was given no partition can't tell by
 * itself whether the others have them all, or the one who shared them out did so while the topic
 * was away: the library would leave the second for ever as it is.
 */
#include "base/kafka_common.h"

void kafka_group_ask(rd_kafka_t *rk, const char *group, rd_kafka_queue_t *answers)
{
    rd_kafka_DescribeConsumerGroups(rk, &group, 1, NULL, answers);
}

static bool has_partitions(const rd_kafka_MemberDescription_t *m)
{
    const rd_kafka_MemberAssignment_t *given = m ? rd_kafka_MemberDescription_assignment(m) : NULL;
    const rd_kafka_topic_partition_list_t *list =
        given ? rd_kafka_MemberAssignment_partitions(given) : NULL;
    return list && list->cnt > 0;
}

static enum kafka_group judge(const rd_kafka_ConsumerGroupDescription_t *g)
{
    if (rd_kafka_ConsumerGroupDescription_error(g) ||
        rd_kafka_ConsumerGroupDescription_state(g) != RD_KAFKA_CONSUMER_GROUP_STATE_STABLE)
        return KAFKA_GROUP_UNKNOWN;
    for (size_t i = 0; i < rd_kafka_ConsumerGroupDescription_member_count(g); i++) {
        if (has_partitions(rd_kafka_ConsumerGroupDescription_member(g, i)))
            return KAFKA_GROUP_READS;
    }
    return KAFKA_GROUP_IDLE;
}

enum kafka_group kafka_group_heard(rd_kafka_queue_t *answers)
{
    enum kafka_group heard = KAFKA_GROUP_UNKNOWN;
    rd_kafka_event_t *ev = rd_kafka_queue_poll(answers, 0);
    if (!ev)
        return heard;
    const rd_kafka_DescribeConsumerGroups_result_t *r =
        rd_kafka_event_error(ev) ? NULL : rd_kafka_event_DescribeConsumerGroups_result(ev);
    size_t n = 0;
    const rd_kafka_ConsumerGroupDescription_t **groups =
        r ? rd_kafka_DescribeConsumerGroups_result_groups(r, &n) : NULL;
    if (n == 1)
        heard = judge(groups[0]);
    rd_kafka_event_destroy(ev);
    return heard;
}
