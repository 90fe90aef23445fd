/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a configuration file: loaded, or one clear error of class config. */
#include "tests/fuzz/fuzz.h"

#include "base/conf.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const struct conf_option options[] = {
    {.name = "text", .type = CONF_TEXT, .fallback = "x"},
    {.name = "path", .type = CONF_PATH, .fallback = "data"},
    {.name = "flag", .type = CONF_BOOL, .fallback = "no"},
    {.name = "wait", .type = CONF_DURATION, .fallback = "15m", .min = 1000, .max = 86400000},
    {.name = "size", .type = CONF_SIZE, .fallback = "4MiB", .min = 1024},
    {.name = "count", .type = CONF_INT, .fallback = "10", .max = 100},
    {.name = "mode", .type = CONF_CHOICE, .fallback = "safe", .choices = "fast|safe"},
    {0},
};
static const struct conf_section sections[] = {
    {.name = "main", .options = options},
    {.name = "adapter *"},
    {0},
};

static void resolve(void *arg, struct slice name)
{
    struct conf *c = arg;
    char section[100];
    struct conf_value values[sizeof options / sizeof *options];
    struct err e = {0};
    (void)snprintf(section, sizeof section, "adapter %.*s", SLICE_ARG(name));
    int rc = conf_resolve(c, section, options, values, NULL, NULL, &e);
    FUZZ_CHECK(rc == 0 || (rc == ERR_CONFIG && e.text[0]));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    static int fd = -1;
    static char path[64];
    if (fd < 0) {
        fd = memfd_create("conf", MFD_CLOEXEC);
        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    FUZZ_CHECK(fd >= 0 && ftruncate(fd, 0) == 0 && pwrite(fd, bytes, n, 0) == (ssize_t)n);
    struct conf *c = NULL;
    struct err e = {0};
    int rc = conf_load(&c, path, sections, &e);
    FUZZ_CHECK(rc == 0 || (rc == ERR_CONFIG && !c && strncmp(e.text, path, strlen(path)) == 0));
    if (rc)
        return 0;
    int64_t wait = conf_int(c, "main", "wait");
    FUZZ_CHECK(wait >= 1000 && wait <= 86400000);
    FUZZ_CHECK(conf_path(c, "main", "path").p[0] == '/');
    conf_each_named(c, "adapter", resolve, c);
    conf_free(c);
    return 0;
}
