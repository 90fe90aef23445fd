/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/contract/checked.h"

#include "mgccomp/check.h"
#include "retention/sweep.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int checked_set_up(void **state)
{
    struct stage *f = *state;
    (void)stage_set_up(state);
    f->room.subject = "room:one";
    f->other.subject = "room:two";
    f->instance = added(f, "tar", true, 2);
    return 0;
}

int cut_own(struct stage *f)
{
    return cut(f, &f->instance, &everything);
}

int64_t swept(struct stage *f)
{
    int64_t rows = 0;
    ok(sweep_once(f->st, &rows, &f->e), &f->e);
    return rows;
}

int check(struct stage *f, bool json, const char **text)
{
    static char *out;
    size_t n = 0;
    free(out);
    out = NULL;
    FILE *file = open_memstream(&out, &n);
    struct app_io io = {.out = file, .err = stderr, .json = json};
    int code = staging_check_command(&io, f->st, 0, NULL);
    (void)fclose(file);
    *text = out;
    return code;
}

void whole(struct stage *f)
{
    const char *text;
    if (check(f, false, &text) != APP_OK)
        fail_msg("not whole: %s", text);
    assert_non_null(strstr(text, "consistent"));
}

void damaged(struct stage *f, const char *place, const char *says)
{
    const char *text;
    assert_int_equal(check(f, false, &text), APP_FAILED);
    if (!strstr(text, place) || !strstr(text, says) || !strstr(text, "Type"))
        fail_msg("looked for '%s' and '%s': %s", place, says, text);
}
