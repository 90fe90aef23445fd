/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/host/delivered.h"

#include "base/file.h"
#include "base/own.h"

#include <inttypes.h>
#include <limits.h>
#include <unistd.h>

enum { FILE_MAX = 64 };

static int path_of(char out[PATH_MAX], const char *folder, const char *instance, struct err *e)
{
    int n = snprintf(out, PATH_MAX, "%s/%s.batch", folder, instance);
    return n > 0 && n < PATH_MAX ? 0 : err_set(e, ERR_CONFIG, "%s: too long a name", folder);
}

int delivered_read(const char *folder, const char *instance, int64_t *number, struct err *e)
{
    OWN(own_buf) struct buf text;
    char path[PATH_MAX];
    buf_init(&text, FILE_MAX);
    *number = 0;
    int rc = path_of(path, folder, instance, e);
    if (rc < 0 || access(path, F_OK) != 0)
        return rc;
    rc = file_read(path, FILE_MAX, &text, e);
    if (rc < 0)
        return rc;
    if (!text_i64(slice_trim(buf_view(&text)), number) || *number < 1)
        return err_set(e, ERR_CONFIG,
                       "%.250s holds no batch number: it was changed by hand. Remove it, unless"
                       " mgccomp was restored from a copy",
                       path);
    return 0;
}

int delivered_note(const char *folder, const char *instance, int64_t number, struct err *e)
{
    char path[PATH_MAX];
    char text[FILE_MAX];
    int64_t before = 0;
    int rc = delivered_read(folder, instance, &before, e);
    if (rc < 0 || before >= number)
        return rc;
    (void)snprintf(text, sizeof text, "%" PRId64 "\n", number);
    rc = path_of(path, folder, instance, e);
    return rc < 0 ? rc : file_replace(path, slice_of(text), 0600, e);
}
