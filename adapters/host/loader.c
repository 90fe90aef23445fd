/* SPDX-License-Identifier: Apache-2.0 */
/* dlopen, the entry symbol, and the checks of version and size before anything else is used. */
#include "adapters/host/loader.h"

#include "adapters/host/wire.h"

#include <dlfcn.h>
#include <string.h>

static int check_options(const char *path, const struct mgc_option *options, struct err *e)
{
    for (size_t i = 0; options && options[i].name; i++) {
        const struct mgc_option *o = &options[i];
        if (i == WIRE_MAX_OPTIONS)
            return err_set(e, ERR_CONFIG, "%s: over %d options", path, WIRE_MAX_OPTIONS);
        if (!o->name[0] || o->type < MGC_OPTION_TEXT || o->type > MGC_OPTION_CHOICE)
            return err_set(e, ERR_CONFIG, "%s: option %zu has no name or an unknown type", path,
                           i + 1);
    }
    return 0;
}

int loader_check(const char *path, const struct mgc_adapter *a, struct mgc_adapter *out,
                 struct err *e)
{
    struct mgc_adapter copy = {0};
    /* Version 0.9 ends behind close; find and verify may be absent. */
    if (a->size < offsetof(struct mgc_adapter, find))
        return err_set(e, ERR_CONFIG, "%s: its description has %u bytes, %zu are needed", path,
                       a->size, offsetof(struct mgc_adapter, find));
    if (a->abi_major != MGC_ABI_MAJOR)
        return err_set(e, ERR_CONFIG,
                       "%s: made for adapter contract %u, this program has %d. Rebuild the module",
                       path, a->abi_major, MGC_ABI_MAJOR);
    memcpy(&copy, a, a->size < sizeof copy ? a->size : sizeof copy);
    if (!copy.name || !copy.open || !copy.deliver || !copy.close)
        return err_set(e, ERR_CONFIG, "%s: lacks a name, open, deliver or close", path);
    if (copy.readback > MGC_READBACK_FULL)
        return err_set(e, ERR_CONFIG, "%s: declares an unknown read-back %u", path, copy.readback);
    if (copy.readback == MGC_READBACK_FULL && !copy.verify)
        return err_set(e, ERR_CONFIG, "%s: declares full read-back without a verify function",
                       path);
    int rc = check_options(path, copy.options, e);
    if (rc == 0)
        *out = copy;
    return rc;
}

int loader_open(const char *path, struct mgc_adapter *out, struct err *e)
{
    mgc_adapter_entry *entry = NULL;
    void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!module)
        return err_set(e, ERR_CONFIG, "load module: %s", dlerror());
    void *symbol = dlsym(module, MGC_ENTRY);
    if (!symbol)
        return err_set(e, ERR_CONFIG, "%s: not an adapter, it has no symbol %s", path, MGC_ENTRY);
    /* ISO C has no conversion from an object pointer to a function pointer; POSIX has. */
    memcpy(&entry, &symbol, sizeof entry);
    const struct mgc_adapter *a = entry(MGC_ABI_MAJOR);
    if (!a)
        return err_set(e, ERR_CONFIG,
                       "%s: declines adapter contract %d.%d. Rebuild the module, or update this"
                       " program",
                       path, MGC_ABI_MAJOR, MGC_ABI_MINOR);
    return loader_check(path, a, out, e);
}
