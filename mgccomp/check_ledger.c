/* SPDX-License-Identifier: Apache-2.0 */
/* Positions, the ledger, presence and the durable counts: what must hold between their rows. Each
 * statement is a snapshot of its own, so it compares only what one transaction changes together. */
#include "base/own.h"
#include "mgccomp/check_inside.h"

#include <inttypes.h>
#include <string.h>

/* A statement whose rows are findings: where, as text, and up to two numbers for the text. */
struct rule {
    const char *sql, *format;
};

static const struct rule rules[] = {
    {"SELECT 'partition ' || CAST(m.part AS TEXT), m.pos, COALESCE(p.pos, 0) FROM"
     " (SELECT part, max(pos) AS pos FROM record GROUP BY part) m"
     " LEFT JOIN position p ON p.part = m.part WHERE m.pos >= COALESCE(p.pos, 0)",
     "a record lies at position %" PRId64 ", and capture stands at %" PRId64},
    {"SELECT 'partition ' || CAST(p.part AS TEXT), r.pos, p.pos FROM position p JOIN queue q"
     " ON q.id = 1 JOIN record r ON r.generation = q.generation AND r.part = p.part"
     " AND r.pos = p.pos - 1 WHERE p.hash IS NOT NULL AND p.hash <> r.hash",
     "the record at position %" PRId64 " is not the one captured before %" PRId64},
    {"SELECT i.name || ', partition ' || CAST(c.part AS TEXT), c.pos, COALESCE(p.pos, 0)"
     " FROM cursor c JOIN instance i ON i.id = c.instance LEFT JOIN position p ON p.part = c.part"
     " WHERE c.pos > COALESCE(p.pos, 0)",
     "the ledger is at position %" PRId64 ", capture at %" PRId64},
    {"SELECT 'batch ' || b.id || ', partition ' || CAST(r.part AS TEXT), r.to_pos,"
     " COALESCE(c.pos, 0) FROM batch_range r JOIN batch b ON b.id = r.batch"
     " JOIN instance i ON i.id = b.instance AND i.state <> 'retired'"
     " LEFT JOIN cursor c ON c.instance = b.instance AND c.generation = r.generation"
     " AND c.part = r.part WHERE r.to_pos > COALESCE(c.pos, 0) OR r.from_pos >= r.to_pos",
     "it ends at position %" PRId64 ", the ledger is at %" PRId64},
    {"SELECT 'batch ' || b.id, b.records, CAST(COALESCE((SELECT sum(s.last - s.first + 1)"
     " FROM settlement s WHERE s.batch = b.id AND s.verdict = 'done'), 0) AS bigint)"
     " FROM batch b JOIN instance i ON i.id = b.instance WHERE b.state IN ('settled', 'verified')"
     " AND b.purpose = 'archive' AND i.state <> 'retired' AND b.records <>"
     " COALESCE((SELECT sum(s.last - s.first + 1) FROM settlement s WHERE s.batch = b.id"
     " AND s.verdict = 'done'), 0)",
     "it holds %" PRId64 " records, and %" PRId64 " are settled"},
    {"SELECT 'adapter ' || i.name, m.number, i.batches FROM instance i JOIN"
     " (SELECT instance, max(number) AS number FROM batch GROUP BY instance) m"
     " ON m.instance = i.id WHERE m.number > i.batches",
     "batch %" PRId64 " is there, its newest is said to be %" PRId64},
    {"SELECT 'adapter ' || i.name, i.archived, CAST(COALESCE((SELECT sum(a.records)"
     " FROM archived a WHERE a.instance = i.id), 0) AS bigint) FROM instance i WHERE i.archived <>"
     " COALESCE((SELECT sum(a.records) FROM archived a WHERE a.instance = i.id), 0)",
     "%" PRId64 " records count as archived, those of its rooms are %" PRId64},
    {"SELECT COALESCE(s.subject, 'stream ' || CAST(p.stream AS TEXT)), p.joined,"
     " COALESCE(p.left_at, 0) FROM presence p LEFT JOIN stream s ON s.id = p.stream"
     " WHERE s.id IS NULL OR p.left_at <= p.joined OR p.joined > s.sequence"
     " OR p.left_at > s.sequence",
     "somebody is said to be there from #%" PRId64 " to #%" PRId64},
    {"SELECT 'all partitions', t.here, t.due FROM (SELECT (SELECT count(*) FROM record)"
     " + (SELECT count(*) FROM kept) AS here, (SELECT value FROM tally WHERE name = 'captured')"
     " - (SELECT value FROM tally WHERE name = 'deleted') AS due) t WHERE t.here <> t.due",
     "%" PRId64 " records are here, captured less deleted are %" PRId64},
};

static int apply_rule(struct check *c, const struct rule *rule, struct err *e)
{
    OWN(own_db_rows) struct db_rows *r = NULL;
    char where[1200];
    int rc = db_first(c->db, rule->sql, DB_NO_ARGS, &r, e);
    for (; rc == 1; rc = db_rows_next(r, e)) {
        (void)snprintf(where, sizeof where, "%.*s", SLICE_ARG(db_rows_slice(r, 0)));
        check_found(c, where, rule->format, db_rows_int(r, 1), db_rows_int(r, 2));
    }
    return rc;
}

/* A position is in one batch of an instance at most. */
static int check_ranges(struct check *c, struct err *e)
{
    OWN(own_db_rows) struct db_rows *r = NULL;
    int64_t before[3] = {0};
    int64_t end = 0;
    char where[80];
    int rc = db_first(c->db,
                      "SELECT b.instance, r.generation, r.part, r.from_pos, r.to_pos, b.id"
                      " FROM batch_range r JOIN batch b ON b.id = r.batch"
                      " ORDER BY b.instance, r.generation, r.part, r.from_pos",
                      DB_NO_ARGS, &r, e);
    for (; rc == 1; rc = db_rows_next(r, e)) {
        const int64_t key[3] = {db_rows_int(r, 0), db_rows_int(r, 1), db_rows_int(r, 2)};
        (void)snprintf(where, sizeof where, "batch %.*s", SLICE_ARG(db_rows_slice(r, 5)));
        if (memcmp(key, before, sizeof key) == 0 && db_rows_int(r, 3) < end)
            check_found(c, where,
                        "partition %" PRId64 ": it begins at position %" PRId64
                        ", another batch of the adapter ends at %" PRId64,
                        key[2], db_rows_int(r, 3), end);
        memcpy(before, key, sizeof key);
        end = db_rows_int(r, 4);
    }
    return rc;
}

struct open_batches {
    struct ledger_batch all[LEDGER_MAX_INSTANCES];
    size_t n;
};

static int read_open(struct check *c, const char *after, struct open_batches *o, struct err *e)
{
    OWN(own_db_rows) struct db_rows *r = NULL;
    int rc = db_first(c->db,
                      "SELECT b.id, b.records, b.digest FROM batch b JOIN instance i"
                      " ON i.id = b.instance WHERE b.state <> 'verified' AND i.state <> 'retired'"
                      " AND b.id > $1 ORDER BY b.id LIMIT $2",
                      DB_ARGS(DB_T(slice_of(after)), DB_I(LEDGER_MAX_INSTANCES)), &r, e);
    o->n = 0;
    for (; rc == 1; rc = db_rows_next(r, e)) {
        struct ledger_batch *b = &o->all[o->n++];
        *b = (struct ledger_batch){.records = db_rows_int(r, 1)};
        (void)slice_copy(db_rows_slice(r, 0), b->id, sizeof b->id);
        if (db_rows_slice(r, 2).n == SHA256_SIZE)
            memcpy(b->digest, db_rows_slice(r, 2).p, SHA256_SIZE);
    }
    return rc;
}

struct digesting {
    struct sha256 *sum;
    int64_t records;
};

static int digest_record(void *arg, const struct ledger_record *r, struct err *e)
{
    struct digesting *d = arg;
    (void)e;
    sha256_add_part(d->sum, r->raw.p, r->raw.n);
    d->records++;
    return 0;
}

static void own_sha256(struct sha256 **s)
{
    sha256_free(*s);
}

static int check_batch(struct check *c, const struct ledger_batch *b, struct sha256 *sum,
                       struct err *e)
{
    struct digesting d = {.sum = sum};
    uint8_t digest[SHA256_SIZE];
    char where[80];
    int rc = ledger_batch_records(c->db, b, digest_record, &d, e);
    sha256_end(sum, digest);
    (void)snprintf(where, sizeof where, "batch %s", b->id);
    if (rc == 0 && (d.records != b->records || memcmp(digest, b->digest, sizeof digest) != 0))
        check_found(c, where,
                    "%" PRId64 " records are here, and not the %" PRId64 " that were frozen",
                    d.records, b->records);
    return rc;
}

/* What was frozen is still what is here. */
static int check_open(struct check *c, struct err *e)
{
    OWN(own_sha256) struct sha256 *sum = sha256_new();
    OWN(own_mem) struct open_batches *o = calloc(1, sizeof *o);
    OWN(own_db_rollback) struct db *txn = c->db;
    char after[sizeof o->all[0].id] = "";
    if (!sum || !o)
        return err_memory(e, "the check of open batches");
    int rc = db_begin_read(txn, e);
    if (rc < 0)
        return rc;
    do {
        rc = read_open(c, after, o, e);
        for (size_t i = 0; rc == 0 && i < o->n; i++)
            rc = check_batch(c, &o->all[i], sum, e);
        if (o->n)
            memcpy(after, o->all[o->n - 1].id, sizeof after);
    } while (rc == 0 && o->n == LEDGER_MAX_INSTANCES);
    return rc;
}

int check_ledger(struct check *c, struct err *e)
{
    int rc = check_ranges(c, e);
    if (rc == 0)
        rc = check_open(c, e);
    for (size_t i = 0; rc == 0 && i < sizeof rules / sizeof rules[0]; i++)
        rc = apply_rule(c, &rules[i], e);
    return rc;
}
