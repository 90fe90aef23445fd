/* SPDX-License-Identifier: Apache-2.0 */
/* Where a SIP message ends in a stream of hostile bytes. */
#include "chat-server/sip.h"

#include <string.h>

bool sip_name_is(struct slice name, const char *full, const char *compact)
{
    struct slice n = slice_trim(name);

    return slice_eq_nocase(n, slice_of(full)) || slice_eq_nocase(n, slice_of(compact));
}

/* Two Content-Length headers that differ would let two readers see two messages. */
static int frame_length(struct slice head, size_t *body, struct err *e)
{
    bool have_length = false;
    bool have_type = false;
    size_t lines = 0;
    struct slice rest = head;

    *body = 0;
    while (rest.n > 0) {
        struct slice line = slice_cut(&rest, '\n');

        if (++lines > SIP_MAX_LINES)
            return err_set(e, ERR_REJECTED, "SIP message: over %d header lines", SIP_MAX_LINES);
        if (line.n > 0 && (line.p[0] == ' ' || line.p[0] == '\t'))
            continue;
        struct slice value = line;
        struct slice name = slice_cut(&value, ':');
        if (sip_name_is(name, "content-type", "c"))
            have_type = true;
        if (!sip_name_is(name, "content-length", "l"))
            continue;
        uint64_t n;
        if (have_length || !text_u64(slice_trim(value), &n) || n > INT32_MAX)
            return err_set(e, ERR_REJECTED, "SIP message: bad Content-Length");
        have_length = true;
        *body = (size_t)n;
    }
    if (have_type && !have_length)
        return err_set(e, ERR_REJECTED, "SIP message: Content-Type without Content-Length");

    return 0;
}

/* CR and LF only together, and no other control characters: what libosip2 takes for a line's end
 * must be what frame_length does, and what is echoed must not begin a line. */
static bool plain_head(struct slice head)
{
    for (size_t i = 0; i < head.n; i++) {
        unsigned char c = (unsigned char)head.p[i];

        if (c == '\r' && i + 1 < head.n && head.p[i + 1] == '\n')
            i++;
        else if ((c < ' ' && c != '\t') || c == 127)
            return false;
    }

    return true;
}

int sip_frame(struct slice in, size_t max, struct sip_frame *out, struct err *e)
{
    struct sip_frame f = {0};

    while (f.skip < in.n && (in.p[f.skip] == '\r' || in.p[f.skip] == '\n'))
        f.skip++;
    *out = f;
    struct slice rest = {in.p + f.skip, in.n - f.skip};
    if (rest.n == 0)
        return ERR_AGAIN;
    size_t look = rest.n < SIP_MAX_HEAD ? rest.n : SIP_MAX_HEAD;
    const char *end = memmem(rest.p, look, "\r\n\r\n", 4);
    if (!end && rest.n >= SIP_MAX_HEAD)
        return err_set(e, ERR_REJECTED, "SIP message: head over %d bytes", SIP_MAX_HEAD);
    if (memchr(rest.p, '\0', end ? (size_t)(end - rest.p) : look))
        return err_set(e, ERR_REJECTED, "SIP message: NUL in the head");
    if (!end)
        return ERR_AGAIN;
    if (!plain_head((struct slice){rest.p, (size_t)(end - rest.p) + 4}))
        return err_set(e, ERR_REJECTED, "SIP message: a control character in the head");

    f.head = (size_t)(end - rest.p) + 4;
    int r = frame_length((struct slice){rest.p, f.head}, &f.body, e);
    if (r < 0)
        return r;
    if (f.body > max - f.head)
        return err_set(e, ERR_REJECTED, "SIP message: over %zu bytes", max);
    *out = f;

    return rest.n < f.head + f.body ? ERR_AGAIN : 0;
}
