/* SPDX-License-Identifier: Apache-2.0 */
/* Texts and messages made safe to look at. */
#include "chat-server/client_view.h"

#include <time.h>

/* Code point of a well-formed sequence of n bytes. */
static uint32_t code_point(const char *p, size_t n)
{
    static const unsigned char first[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    uint32_t c = (unsigned char)p[0] & first[n];

    for (size_t i = 1; i < n; i++)
        c = c << 6 | ((unsigned char)p[i] & 0x3f);

    return c;
}

static bool deceives(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x061c || (c >= 0x200b && c <= 0x200f) ||
           (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c == 0xfeff;
}

void view_text(FILE *out, struct slice text, bool lines)
{
    for (size_t i = 0; i < text.n;) {
        size_t n = utf8_sequence((struct slice){text.p + i, text.n - i});

        if (n == 0) {
            (void)fprintf(out, "\\x%02x", (unsigned char)text.p[i]);
            i++;
            continue;
        }
        uint32_t c = code_point(text.p + i, n);
        if (c == '\n' && lines)
            (void)fputs("\n    | ", out);
        else if (c == '\r' && lines && i + 1 < text.n && text.p[i + 1] == '\n')
            n = 1; /* the line feed after it shows */
        else if (deceives(c))
            (void)fprintf(out, c < 0x100 ? "\\x%02x" : "\\u%04x", (unsigned)c);
        else
            (void)fwrite(text.p + i, 1, n, out);
        i += n;
    }
}

void view_message(FILE *out, const struct xccos_message *m)
{
    time_t seconds = (time_t)(m->time_us / 1000000);
    struct tm t;
    char clock[16] = "--:--";

    if (localtime_r(&seconds, &t))
        (void)strftime(clock, sizeof clock, "%H:%M", &t);
    (void)fprintf(out, "#%lld %s ", (long long)(m->sequence ? m->sequence : m->chat_id), clock);
    view_text(out, m->author_name.n > 0 ? m->author_name : m->author, false);
    (void)fputs(": ", out);
    view_text(out, m->text, true);
    (void)fputc('\n', out);
}
