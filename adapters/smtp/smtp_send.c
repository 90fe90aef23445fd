/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/smtp/smtp_send.h"

#include "base/clock.h"
#include "base/own.h"

#include <curl/curl.h>
#include <poll.h>
#include <string.h>

/* How long a cancelled call still waits for the answer to a mail that was sent to its end: leaving
 * at once would mean sending it again. */
enum { LAST_ANSWER_MS = 3000 };

struct smtp_link {
    CURL *curl;
    char url[300];
    /* of the exchange under way: */
    struct smtp_mail *mail;
    struct err *cause; /* why reading the mail failed, class 0 when it did not */
    int64_t cancelled_ms;
    uint64_t handed; /* bytes of the mail */
    bool whole;
    char reply[SMTP_REPLY_MAX];
};

OWN_DEFINE(curl_list, struct curl_slist, curl_slist_free_all)

static size_t on_want(char *out, size_t size, size_t count, void *arg)
{
    struct smtp_link *l = arg;
    size_t got;
    if (smtp_mail_read(l->mail, out, size * count, &got, l->cause))
        return CURL_READFUNC_ABORT;
    l->handed += got;
    l->whole = l->handed >= l->mail->bytes;
    return got;
}

/* libcurl begins again when a kept connection turns out to be dead before any answer. */
static int on_seek(void *arg, curl_off_t offset, int origin)
{
    struct smtp_link *l = arg;
    if (offset != 0 || origin != SEEK_SET || smtp_mail_rewind(l->mail, l->cause))
        return CURL_SEEKFUNC_FAIL;
    l->handed = 0;
    l->whole = false;
    return CURL_SEEKFUNC_OK;
}

static size_t on_reply(char *line, size_t size, size_t count, void *arg)
{
    struct smtp_link *l = arg;
    struct slice s = slice_trim((struct slice){line, size * count});
    /* libcurl says QUIT after a refusal; the refusal is what counts. */
    if (slice_starts(s, "221"))
        return size * count;
    size_t n = s.n < sizeof l->reply - 1 ? s.n : sizeof l->reply - 1;
    for (size_t i = 0; i < n; i++)
        l->reply[i] = s.p[i] >= ' ' && s.p[i] <= '~' ? s.p[i] : '?';
    l->reply[n] = '\0';
    return size * count;
}

static int on_progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    (void)a, (void)b, (void)c, (void)d;
    struct smtp_link *l = arg;
    struct pollfd cancel = {.fd = l->mail->batch->cancel_fd, .events = POLLIN};
    if (poll(&cancel, 1, 0) <= 0)
        return 0;
    int64_t now = clock_mono_ms();
    if (!l->cancelled_ms)
        l->cancelled_ms = now;
    return !l->whole || now - l->cancelled_ms > LAST_ANSWER_MS;
}

int smtp_link_check(const char *server, struct err *e)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "0123456789.-_:[]";
    size_t n = strlen(server);
    if (n == 0 || n >= 256 || strspn(server, allowed) != n)
        return err_set(e, ERR_CONFIG, "server: not HOST or HOST:PORT");
    return 0;
}

static int set_up(struct smtp_link *l, int64_t timeout_ms, struct err *e)
{
    CURL *c = l->curl;
    CURLcode rc = curl_easy_setopt(c, CURLOPT_URL, l->url);
    rc |= curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "smtp");
    rc |= curl_easy_setopt(c, CURLOPT_PROXY, ""); /* whatever the environment says */
    rc |= curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    rc |= curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)timeout_ms);
    rc |= curl_easy_setopt(c, CURLOPT_SERVER_RESPONSE_TIMEOUT, (long)((timeout_ms + 999) / 1000));
    rc |= curl_easy_setopt(c, CURLOPT_UPLOAD, 1L);
    rc |= curl_easy_setopt(c, CURLOPT_READFUNCTION, on_want);
    rc |= curl_easy_setopt(c, CURLOPT_READDATA, l);
    rc |= curl_easy_setopt(c, CURLOPT_SEEKFUNCTION, on_seek);
    rc |= curl_easy_setopt(c, CURLOPT_SEEKDATA, l);
    rc |= curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_reply);
    rc |= curl_easy_setopt(c, CURLOPT_HEADERDATA, l);
    rc |= curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
    rc |= curl_easy_setopt(c, CURLOPT_XFERINFODATA, l);
    rc |= curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
    return rc ? err_set(e, ERR_CONFIG, "libcurl refuses an option") : 0;
}

int smtp_link_open(struct smtp_link **out, const char *server, int64_t timeout_ms, struct err *e)
{
    if (smtp_link_check(server, e))
        return ERR_CONFIG;
    OWN(own_smtp_link) struct smtp_link *l = calloc(1, sizeof *l);
    if (!l)
        return err_memory(e, "smtp connection");
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0)
        return err_set(e, ERR_RETRY, "libcurl does not start");
    (void)snprintf(l->url, sizeof l->url, "smtp://%s", server);
    l->curl = curl_easy_init();
    if (!l->curl)
        return err_memory(e, "smtp connection");
    int rc = set_up(l, timeout_ms, e);
    if (rc)
        return rc;
    *out = l;
    l = NULL;
    return 0;
}

void smtp_link_close(struct smtp_link *l)
{
    if (!l)
        return;
    curl_easy_cleanup(l->curl);
    free(l);
}

int smtp_class_of(int result, long reply, bool whole)
{
    switch (result) {
    case CURLE_ABORTED_BY_CALLBACK:
        return ERR_STOPPED;
    case CURLE_LOGIN_DENIED:
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
        return ERR_CONFIG;
    default:
        break;
    }
    if (reply < 500 || reply > 599)
        return ERR_RETRY;
    /* 552 to MAIL FROM: over the size the server takes; 523 is the same in an older dress. */
    if (whole || reply == 552 || reply == 523)
        return ERR_REJECTED;
    return ERR_CONFIG;
}

static int list_recipients(const struct smtp_addresses *a, struct curl_slist **out, struct err *e)
{
    OWN(own_curl_list) struct curl_slist *list = NULL;
    for (size_t i = 0; a->to[i]; i++) {
        struct curl_slist *more = curl_slist_append(list, a->to[i]);
        if (!more)
            return err_memory(e, "recipients");
        list = more;
    }
    *out = list;
    list = NULL;
    return 0;
}

static int judge(struct smtp_link *l, CURLcode result, struct smtp_outcome *o, struct err *e)
{
    long reply = 0;
    (void)curl_easy_getinfo(l->curl, CURLINFO_RESPONSE_CODE, &reply);
    int class = smtp_class_of((int)result, reply, l->whole);
    (void)snprintf(o->reply, sizeof o->reply, "%s", l->reply);
    o->about_message = class == ERR_REJECTED || (l->whole && reply >= 400 && reply < 500);
    if (l->cause->class)
        return err_set(e, l->cause->class, "%s", l->cause->text);
    if (reply >= 400)
        return err_set(e, class, "%s: %s", l->url, l->reply);
    return err_set(e, class, "%s: %s", l->url, curl_easy_strerror(result));
}

int smtp_link_send(struct smtp_link *l, const struct smtp_addresses *a, struct smtp_mail *m,
                   int64_t deadline_ms, struct smtp_outcome *o, struct err *e)
{
    int64_t left = deadline_ms ? deadline_ms - clock_mono_ms() : 0;
    if (deadline_ms && left <= 0)
        return err_set(e, ERR_RETRY, "%s: no time left", l->url);
    OWN(own_curl_list) struct curl_slist *to = NULL;
    int rc = list_recipients(a, &to, e);
    if (!rc)
        rc = smtp_mail_rewind(m, e);
    if (rc)
        return rc;
    struct err cause = {0};
    l->mail = m;
    l->cause = &cause;
    l->cancelled_ms = 0;
    l->handed = 0;
    l->whole = false;
    l->reply[0] = '\0';
    CURLcode set = curl_easy_setopt(l->curl, CURLOPT_MAIL_FROM, a->from);
    set |= curl_easy_setopt(l->curl, CURLOPT_MAIL_RCPT, to);
    set |= curl_easy_setopt(l->curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)m->bytes);
    set |= curl_easy_setopt(l->curl, CURLOPT_TIMEOUT_MS, (long)left);
    if (set)
        return err_memory(e, "smtp addresses");
    CURLcode result = curl_easy_perform(l->curl);
    *o = (struct smtp_outcome){0};
    if (result != CURLE_OK)
        return judge(l, result, o, e);
    (void)snprintf(o->reply, sizeof o->reply, "%s", l->reply);
    return 0;
}
