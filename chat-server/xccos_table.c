/* SPDX-License-Identifier: Apache-2.0 */
/* XCCOS's names, for reading and writing alike: of commands, of results, of rooms. */
#include "chat-server/xccos_table.h"

#include "chat-server/xccos_names.h"

#include <string.h>

const struct xccos_names xccos_table[XCCOS_COMMANDS] = {
    [XCCOS_UNKNOWN] = {"", ""},
    [XCCOS_REQURI] = {"cmd:requri", "rpl:requri"},
    [XCCOS_GETSERVERINFO] = {"cmd:getserverinfo", "rpl:getserverinfo"},
    [XCCOS_GETASSOCIATIONS] = {"cmd:getassociations", "rpl:getassociations"},
    [XCCOS_CHANSRCH] = {"cmd:chansrch", "rpl:chansrch"},
    [XCCOS_JOIN] = {"cmd:join", "rpl:join"},
    [XCCOS_BJOIN] = {"cmd:bjoin", "rpl:bjoin"},
    [XCCOS_PART] = {"cmd:part", "rpl:part"},
    [XCCOS_BCCONTEXT] = {"cmd:bccontext", "rpl:bccontext"},
    [XCCOS_GETINV] = {"cmd:getinv", "rpl:getinv"},
    [XCCOS_GRPCHAT] = {"grpchat", "rpl:grpchat"},
};

static const struct {
    int code;
    const char *text;
} codes[] = {
    {XCCOS_OK, "SUCCESS_OK"},
    {XCCOS_INVALID, "INVALID_ARGUMENT"},
    {XCCOS_FORBIDDEN, "ERROR_PERMISSION"},
    {XCCOS_NO_NODE, "NO_SUCH_NODE"},
    {XCCOS_NOT_SUPPORTED, "MSG_NOT_SUPPORTED"},
    {XCCOS_NOT_JOINED, "USER_NOT_JOINED"},
    {XCCOS_LIMIT, "LIMIT_EXCEEDED"},
    {XCCOS_FAULT, "SERVER_ERROR"},
    {XCCOS_UNAVAILABLE, "DATABASE_CONNECTION"},
};

const char *xccos_code_text(int code)
{
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (codes[i].code == code)
            return codes[i].text;

    return "SERVER_ERROR";
}

bool xccos_split_room(struct slice uri, struct slice *domain, struct slice *id)
{
    const size_t scheme = sizeof XN_ROOM_SCHEME - 1;

    if (uri.n <= scheme || !slice_eq_nocase((struct slice){uri.p, scheme}, SLICE(XN_ROOM_SCHEME)))
        return false;
    struct slice rest = {uri.p + scheme, uri.n - scheme};
    struct slice host = slice_cut(&rest, '/');
    if (host.n == 0 || rest.n == 0 || memchr(rest.p, '/', rest.n))
        return false;
    *domain = host;
    *id = rest;

    return true;
}
