/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/kit/walk.h"

#include "base/buf.h"
#include "base/own.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { PART = 65536 };

/* The lines that a part completes; what is behind the last one stays in line. */
static int give(struct buf *line, struct slice part, kit_line_fn *visit, void *arg, struct err *e)
{
    int rc = 0;
    while (rc == 0 && part.n) {
        const char *end = memchr(part.p, '\n', part.n);
        size_t n = end ? (size_t)(end - part.p) : part.n;
        buf_add(line, part.p, n);
        rc = buf_ok(line, "a line", e);
        if (rc < 0 || !end)
            return rc == ERR_REJECTED ? err_set(e, ERR_FAULT, "a line is too long") : rc;
        rc = visit(arg, buf_view(line), e);
        buf_clear(line);
        part = (struct slice){part.p + n + 1, part.n - n - 1};
    }
    return rc;
}

int kit_lines(const char *path, size_t max, kit_line_fn *visit, void *arg, struct err *e)
{
    OWN(own_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
    OWN(own_buf) struct buf line;
    int rc = 0;
    buf_init(&line, max);
    if (fd < 0)
        return err_errno(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_RETRY, "open");
    while (rc == 0) {
        char part[PART];
        ssize_t n = read(fd, part, sizeof part);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(e, ERR_RETRY, "read");
        if (n == 0)
            return line.n ? err_set(e, ERR_FAULT, "it is cut short") : 0;
        rc = give(&line, (struct slice){part, (size_t)n}, visit, arg, e);
    }
    return rc;
}
