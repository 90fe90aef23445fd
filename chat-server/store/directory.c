/* SPDX-License-Identifier: Apache-2.0 */
/* Rooms and users as rows. What people choose is checked here, before it becomes a name on the wire
 * or in an archive. */
#include "chat-server/store/directory.h"

#include "base/clock.h"
#include "base/own.h"

#include <string.h>

enum { NAME_CHARACTERS = 256, DOMAIN_BYTES = 180, MEMBERS_BYTES = 64 * 1024 };

static int check_text(const char *what, struct slice s, size_t min, struct err *e)
{
    size_t characters = 0;
    if (!utf8_valid(s))
        return err_set(e, ERR_REJECTED, "%s is not UTF-8", what);
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c < 0x20 || c == 0x7f)
            return err_set(e, ERR_REJECTED, "%s holds a control character", what);
        characters += (c & 0xc0) != 0x80;
    }
    if (characters < min)
        return err_set(e, ERR_REJECTED, "%s is empty", what);
    if (characters > NAME_CHARACTERS)
        return err_set(e, ERR_REJECTED, "%s has %zu characters, more than %d", what, characters,
                       NAME_CHARACTERS);
    return 0;
}

static bool domain_valid(struct slice s)
{
    if (s.n == 0 || s.n > DOMAIN_BYTES || s.p[0] == '.' || s.p[0] == '-')
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.'))
            return false;
    }
    return true;
}

/* sip:name@domain in lower case, without parameters. */
static int check_user_uri(struct slice uri, struct err *e)
{
    if (!slice_starts(uri, "sip:") || uri.n > RECORD_MAX_PARTICIPANT)
        return err_set(e, ERR_REJECTED, "a user is sip:name@domain");
    struct slice rest = {uri.p + 4, uri.n - 4};
    struct slice name = slice_cut(&rest, '@');
    if (name.n == 0 || !domain_valid(rest))
        return err_set(e, ERR_REJECTED, "a user is sip:name@domain, in lower case");
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || strchr("-_.+~!*'()&=$", c)) ||
            c == '\0')
            return err_set(e, ERR_REJECTED,
                           "a user's name is of lower-case letters, digits and"
                           " -_.+~!*'()&=$");
    }
    return 0;
}

static int check_members(struct slice members, struct err *e)
{
    if (members.n > MEMBERS_BYTES)
        return err_set(e, ERR_REJECTED, "members have %zu bytes, more than %d", members.n,
                       MEMBERS_BYTES);
    struct slice rest = members;
    while (rest.n > 0) {
        struct slice uri = slice_cut(&rest, ' ');
        int rc = uri.n ? check_user_uri(uri, e) : 0;
        if (rc < 0)
            return err_wrap(e, "member");
    }
    return 0;
}

int directory_add_room(struct store *s, struct slice domain, struct slice name,
                       struct slice description, struct slice members, bool by_queue,
                       char uri_out[256], struct err *e)
{
    static const char add[] = "INSERT INTO room (uri, name, description, members, created_us,"
                              " by_queue) VALUES ($1, $2, $3, $4, $5, $6)";
    char id[37];
    char uri[256];

    if (!domain_valid(domain))
        return err_set(e, ERR_REJECTED, "domain is not a lower-case host name");
    int rc = check_text("room name", name, 1, e);
    if (rc == 0)
        rc = check_text("room description", description, 0, e);
    if (rc == 0)
        rc = check_members(members, e);
    if (rc < 0)
        return rc;
    int64_t now = clock_wall_us();
    uuid_v7(now, id);
    (void)snprintf(uri, sizeof uri, "ma-chan://%.*s/%s", SLICE_ARG(domain), id);
    rc = db_run(store_db(s), add,
                DB_ARGS(DB_T(slice_of(uri)), DB_T(name), DB_T(description), DB_T(members),
                        DB_I(now), DB_I(by_queue ? 1 : 0)),
                NULL, e);
    if (rc == ERR_CONFLICT)
        return err_set(e, rc, "a room named \"%.*s\" exists", SLICE_ARG(name));
    if (rc == 0)
        memcpy(uri_out, uri, sizeof uri);
    return rc;
}

int directory_add_user(struct store *s, struct slice uri, struct slice name, struct err *e)
{
    int rc = check_user_uri(uri, e);
    if (rc == 0)
        rc = check_text("display name", name, 1, e);
    if (rc < 0)
        return rc;
    rc = db_run(store_db(s), "INSERT INTO chat_user (uri, name, created_us) VALUES ($1, $2, $3)",
                DB_ARGS(DB_T(uri), DB_T(name), DB_I(clock_wall_us())), NULL, e);
    if (rc == ERR_CONFLICT)
        return err_set(e, rc, "user %.*s exists", SLICE_ARG(uri));
    return rc;
}

static int visit_rooms(struct store *s, const char *sql, const struct db_value *args, size_t n,
                       directory_room_fn *visit, void *arg, size_t *found, struct err *e)
{
    OWN(own_db_rows) struct db_rows *rows = NULL;
    int rc = db_query(store_db(s), sql, args, n, &rows, e);
    while (rc == 0) {
        rc = db_rows_next(rows, e);
        if (rc <= 0)
            return rc;
        struct directory_room room = {
            .uri = db_rows_slice(rows, 0),
            .name = db_rows_slice(rows, 1),
            .description = db_rows_slice(rows, 2),
            .members = db_rows_slice(rows, 3),
            .created_us = db_rows_int(rows, 4),
            .by_queue = db_rows_int(rows, 5) != 0,
        };
        (*found)++;
        rc = visit(arg, &room, e);
    }
    return rc;
}

static int visit_users(struct store *s, const char *sql, const struct db_value *args, size_t n,
                       directory_user_fn *visit, void *arg, size_t *found, struct err *e)
{
    OWN(own_db_rows) struct db_rows *rows = NULL;
    int rc = db_query(store_db(s), sql, args, n, &rows, e);
    while (rc == 0) {
        rc = db_rows_next(rows, e);
        if (rc <= 0)
            return rc;
        struct directory_user user = {
            .uri = db_rows_slice(rows, 0),
            .name = db_rows_slice(rows, 1),
            .created_us = db_rows_int(rows, 2),
        };
        (*found)++;
        rc = visit(arg, &user, e);
    }
    return rc;
}

#define ROOM_COLUMNS "SELECT uri, name, description, members, created_us, by_queue FROM room"

static int found_one(int rc, size_t found, const char *what, struct slice key, struct err *e)
{
    if (rc == 0 && found == 0)
        return err_set(e, ERR_NOT_FOUND, "no %s %.*s", what, SLICE_ARG(key));
    return rc;
}

int directory_find_room(struct store *s, struct slice uri, directory_room_fn *visit, void *arg,
                        struct err *e)
{
    size_t found = 0;
    int rc =
        visit_rooms(s, ROOM_COLUMNS " WHERE uri = $1", DB_ARGS(DB_T(uri)), visit, arg, &found, e);
    return found_one(rc, found, "room", uri, e);
}

int directory_find_room_named(struct store *s, struct slice name, directory_room_fn *visit,
                              void *arg, struct err *e)
{
    size_t found = 0;
    int rc =
        visit_rooms(s, ROOM_COLUMNS " WHERE name = $1", DB_ARGS(DB_T(name)), visit, arg, &found, e);
    return found_one(rc, found, "room named", name, e);
}

int directory_find_user(struct store *s, struct slice uri, directory_user_fn *visit, void *arg,
                        struct err *e)
{
    size_t found = 0;
    int rc = visit_users(s, "SELECT uri, name, created_us FROM chat_user WHERE uri = $1",
                         DB_ARGS(DB_T(uri)), visit, arg, &found, e);
    return found_one(rc, found, "user", uri, e);
}

int directory_rooms(struct store *s, directory_room_fn *visit, void *arg, struct err *e)
{
    size_t found = 0;
    return visit_rooms(s, ROOM_COLUMNS " ORDER BY name", DB_NO_ARGS, visit, arg, &found, e);
}

int directory_users(struct store *s, directory_user_fn *visit, void *arg, struct err *e)
{
    size_t found = 0;
    return visit_users(s, "SELECT uri, name, created_us FROM chat_user ORDER BY uri", DB_NO_ARGS,
                       visit, arg, &found, e);
}
