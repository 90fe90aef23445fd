/* SPDX-License-Identifier: Apache-2.0 */
#include "chat-server/store/limit.h"

#include <sys/statvfs.h>

int64_t limit_disk_free(const struct store_limit *l)
{
    struct statvfs fs;
    if (statvfs(l->folder, &fs) < 0)
        return -1;
    return (int64_t)fs.f_bavail * (int64_t)fs.f_frsize;
}

bool limit_of_records(const struct store_limit *l, int64_t waiting)
{
    return waiting >= l->records;
}

int64_t limit_waiting(int64_t first, int64_t last, int64_t read_to)
{
    int64_t from = read_to > first ? read_to : first;
    return first > 0 && last >= from ? last - from + 1 : 0;
}

bool limit_of_disk(const struct store_limit *l, int64_t disk_free)
{
    return disk_free >= 0 && disk_free < l->reserve;
}
