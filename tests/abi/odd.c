/* SPDX-License-Identifier: Apache-2.0 */
/* Modules that are not as the host needs them, and one that is merely old. */
#define _GNU_SOURCE /* dladdr */

#include <holdfast/mgc_adapter.h>

#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static int32_t on_open(const struct mgc_host *host, const struct mgc_value *values, void **instance,
                       struct mgc_error *e)
{
    static int one;
    (void)host;
    (void)values;
    (void)e;
    *instance = &one;
    return MGC_OK;
}

static int32_t on_deliver(void *instance, const struct mgc_batch *batch, struct mgc_error *e)
{
    (void)instance;
    (void)batch;
    (void)e;
    return MGC_RETRY;
}

static void on_close(void *instance)
{
    (void)instance;
}

#ifdef ODD_DIES
/* Each file beside the module, MODULE.1 to MODULE.9, costs one process its life. */
static void die_once(void)
{
    Dl_info here;
    char marker[4096];
    for (int i = 1; i < 10 && dladdr(__func__, &here); i++) {
        (void)snprintf(marker, sizeof marker, "%s.%d", here.dli_fname, i);
        if (unlink(marker) == 0)
            (void)raise(SIGKILL);
    }
}
#endif

#ifdef ODD_NO_ENTRY
MGC_EXPORT int not_an_adapter(void);
int not_an_adapter(void)
{
    (void)on_open;
    (void)on_deliver;
    (void)on_close;
    return 0;
}
#else
MGC_EXPORT const struct mgc_adapter *mgc_adapter_v0(uint32_t host_major)
{
    static struct mgc_adapter a = {
        .size = sizeof a,
        .abi_major = MGC_ABI_MAJOR,
        .abi_minor = MGC_ABI_MINOR,
        .readback = MGC_READBACK_NONE,
        .name = "odd",
        .version = "1",
        .summary = "odd",
        .open = on_open,
        .deliver = on_deliver,
        .close = on_close,
    };
    (void)host_major;
#if defined(ODD_DECLINES)
    return NULL;
#elif defined(ODD_MAJOR)
    a.abi_major = 7;
#elif defined(ODD_SHORT)
    a.size = offsetof(struct mgc_adapter, deliver);
#elif defined(ODD_BARE)
    a.deliver = NULL;
#elif defined(ODD_UNREAD)
    a.readback = MGC_READBACK_FULL;
#elif defined(ODD_READBACK)
    a.readback = 9;
#elif defined(ODD_TYPE)
    static const struct mgc_option options[] = {{.name = "one", .type = 99}, {0}};
    a.options = options;
#elif defined(ODD_OPTIONS)
    static struct mgc_option options[100];
    for (int i = 0; i < 99; i++)
        options[i] = (struct mgc_option){.name = "many", .type = MGC_OPTION_TEXT};
    a.options = options;
#elif defined(ODD_OLDER)
    a.size = offsetof(struct mgc_adapter, find);
    a.find = (int32_t(*)(void *, const struct mgc_batch *, struct mgc_error *))1;
#elif defined(ODD_DIES)
    die_once();
#elif defined(ODD_STUCK)
    for (;;)
        (void)pause();
#endif
    return &a;
}
#endif
