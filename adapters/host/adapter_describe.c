/* SPDX-License-Identifier: Apache-2.0 */
/* `holdfast adapter describe`: what a module can be told, as a section to fill in. */
#include "adapters/host/archiver.h"
#include "adapters/host/options.h"
#include "base/own.h"

#include <string.h>

enum { OUT_MAX = 1 << 20 };

/* `module` first, then what is the module's own, then what every adapter has. */
static struct conf_option *section_options(const struct adapter_options *o)
{
    const struct conf_option *common = archiver_common_options;
    size_t n = 0;
    while (common[n].name)
        n++;
    struct conf_option *all = calloc(n + o->module.option_count + 1, sizeof *all);
    if (!all)
        return NULL;
    all[0] = common[0];
    all[0].fallback = o->module.name.p;
    memcpy(all + 1, o->module.options, o->module.option_count * sizeof *all);
    memcpy(all + 1 + o->module.option_count, common + 1, (n - 1) * sizeof *all);
    return all;
}

static const char *readback_says(int32_t readback)
{
    return readback == MGC_READBACK_FULL      ? "full"
           : readback == MGC_READBACK_RECEIPT ? "receipt"
                                              : "none";
}

static int describe(const struct adapter_options *o, struct buf *out, struct err *e)
{
    char summary[400];
    OWN(own_mem) struct conf_option *all = section_options(o);
    if (!all)
        return err_memory(e, "a description");
    (void)snprintf(summary, sizeof summary, "%.*s %.*s: %.*s. Read-back: %s.",
                   SLICE_ARG(o->module.name), SLICE_ARG(o->module.version),
                   SLICE_ARG(o->module.summary), readback_says(o->module.readback));
    const struct conf_section sections[] = {{"adapter *", summary, all}, {0}};
    conf_describe(sections, out);
    return buf_ok(out, "a description", e);
}

int adapter_describe_command(struct app_io *io, const char *modules_dir, int argc, char **argv)
{
    static const struct app_option none[] = {{0}};
    OWN(own_adapter_options) struct adapter_options *o = NULL;
    OWN(own_buf) struct buf out;
    struct err e = {0};
    int operands = 0;
    buf_init(&out, OUT_MAX);
    int rc = app_options(none, argc, argv, &operands, &e);
    if (rc == 0 && operands != 1) {
        (void)fprintf(io->err, "holdfast: usage: holdfast adapter describe MODULE\n");
        return APP_USAGE;
    }
    if (rc == 0)
        rc = adapter_options_describe(&o, argv[0], modules_dir, "/proc/self/exe", &e);
    if (rc == 0)
        rc = describe(o, &out, &e);
    if (rc < 0)
        return app_fail(io, &e);
    (void)fwrite(out.p, 1, out.n, io->out);
    return APP_OK;
}
