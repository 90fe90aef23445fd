/* SPDX-License-Identifier: Apache-2.0 */
/* "20261124T101500Z-<instance>-000000012-9f8e7d6c", and the same read back. */
#include "mgccomp/stem.h"

#include "base/clock.h"
#include "base/own.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

enum { TIME_LENGTH = 17, ID_DIGITS = 8, NUMBER_MAX = 18, INSTANCE_SIZE = 64 };

/* Names of instances with '.' and '_' are told apart by the ledger, not by their files. */
static void safe_name(char out[INSTANCE_SIZE], const char *instance)
{
    size_t n = strnlen(instance, INSTANCE_SIZE - 1);
    for (size_t i = 0; i < n; i++)
        out[i] = instance[i] == '.' || instance[i] == '_' ? '-' : instance[i];
    out[n] = '\0';
}

void stem_make(char out[STEM_SIZE], int64_t cut_us, const char *instance, int64_t number,
               const char *id)
{
    char time[CLOCK_TEXT_SIZE];
    char safe[INSTANCE_SIZE];
    clock_format(cut_us, time);
    safe_name(safe, instance);
    (void)snprintf(out, STEM_SIZE, "%.4s%.2s%.2sT%.2s%.2s%.2sZ-%s-%09" PRId64 "-%s", time, time + 5,
                   time + 8, time + 11, time + 14, time + 17, safe, number, id + 28);
}

static size_t span(const char *s, const char *of, size_t max)
{
    size_t n = strspn(s, of);
    return n < max ? n : max;
}

static bool is_time(const char *s)
{
    static const char digits[] = "0123456789";
    return span(s, digits, 8) == 8 && s[8] == 'T' && span(s + 9, digits, 6) == 6 && s[15] == 'Z' &&
           s[16] == '-';
}

bool stem_of(const char *file, const char *instance, int64_t *number, const char **rest)
{
    static const char digits[] = "0123456789";
    char safe[INSTANCE_SIZE];
    safe_name(safe, instance);
    size_t n = strlen(safe);
    if (!is_time(file) || strstr(file, ".tmp."))
        return false;
    const char *at = file + TIME_LENGTH;
    if (strncmp(at, safe, n) != 0 || at[n] != '-')
        return false;
    at += n + 1;
    size_t length = strspn(at, digits);
    if (length < 9 || length > NUMBER_MAX || at[length] != '-')
        return false;
    const char *end = at + length + 1;
    if (span(end, "0123456789abcdef", ID_DIGITS) != ID_DIGITS)
        return false;
    end += ID_DIGITS;
    if (rest)
        *rest = end;
    return (*end == '\0' || *end == '.' || *end == '-') &&
           text_i64((struct slice){at, length}, number);
}

static void own_dir(DIR **d)
{
    if (*d)
        (void)closedir(*d);
}

int stem_newest(const char *folder, const char *instance, int64_t *number, char file[STEM_FILE],
                struct err *e)
{
    OWN(own_dir) DIR *d = opendir(folder);
    *number = 0;
    file[0] = '\0';
    if (!d)
        return errno == ENOENT ? 0 : err_errno(e, ERR_RETRY, "open %s", folder);
    for (;;) {
        int64_t found = 0;
        errno = 0;
        const struct dirent *entry = readdir(d);
        if (!entry)
            return errno ? err_errno(e, ERR_RETRY, "read %s", folder) : 0;
        if (!stem_of(entry->d_name, instance, &found, NULL) || found <= *number)
            continue;
        *number = found;
        (void)snprintf(file, STEM_FILE, "%s", entry->d_name);
    }
}
