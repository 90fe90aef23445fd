/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The adapter contract, version 0.9: what a module that delivers archived chat must provide, and
 * what it gets. This header needs nothing but the C standard library.
 *
 * A module is a shared object named mgc_<name>.so with one exported function, mgc_adapter_v0. The
 * host loads it in a process of its own, opens one instance and gives it batches, one at a time,
 * from one thread. A batch comes again with the same id, the same records in the same order and a
 * higher attempt number until everything in it is settled: derive every name that you publish from
 * batch->stem or batch->id, accept what is already there when it is the same, and never rewrite it.
 *
 * There is no "drop": nothing that a module returns can make a record disappear.
 *
 * Forbidden in a module: signal handlers, exit, abort on input, chdir, umask, setlocale, writing to
 * standard output, threads that outlive a call. The host sets LC_CTYPE to C.UTF-8 before loading.
 *
 * Structs that begin with `size` carry their size as their author compiled it, and only ever grow
 * at their end: test `size` before using a member later than version 0.9's. Those without (texts,
 * options, values, participants, facts) stand in arrays and never change.
 */
#ifndef MGC_ADAPTER_H
#define MGC_ADAPTER_H

#include <stddef.h>
#include <stdint.h>

#define MGC_ABI_MAJOR 0
#define MGC_ABI_MINOR 9
#define MGC_EXPORT    __attribute__((visibility("default")))

/* Results of every function that can fail. */
enum {
    MGC_OK = 0,
    MGC_RETRY = -1,    /* the world outside: network, quota, disk full, memory; try again later */
    MGC_REJECTED = -2, /* these records can never be delivered as they are */
    MGC_CONFIG = -3,   /* the instance is set up wrongly: stop it and tell a person */
    MGC_FAULT = -4,    /* the instance's state can't be relied on: open it afresh */
    MGC_NOT_FOUND = -5,
    MGC_END = -6,      /* next: no more records */
    MGC_CANCELLED = -7 /* the host wants the call to return: nothing more is to be settled */
};

/* Caller-allocated: reporting needs no memory. One line, no secrets, no message texts. */
struct mgc_error {
    uint32_t size;
    char text[508];
};

/* A text of n bytes, followed by a NUL that is not counted. Valid UTF-8 unless a member says bytes.
 */
struct mgc_text {
    const char *p;
    uint64_t n;
};

/* ---- options ---- */
enum {
    MGC_OPTION_TEXT = 1,
    MGC_OPTION_SECRET = 2, /* arrives resolved; never log it */
    MGC_OPTION_PATH = 3,   /* arrives absolute */
    MGC_OPTION_BOOL = 4,
    MGC_OPTION_INT = 5,
    MGC_OPTION_SIZE = 6,     /* bytes */
    MGC_OPTION_DURATION = 7, /* milliseconds */
    MGC_OPTION_CHOICE = 8
};
struct mgc_option {
    const char *name;     /* NULL ends the table */
    const char *fallback; /* default as text, or NULL */
    const char *choices;  /* "a|b|c" */
    const char *help;     /* one sentence */
    int64_t min, max;     /* INT, SIZE, DURATION; max 0 = no limit */
    uint32_t type;
    uint32_t required;
};
/* One for each option of the module's table, in its order. */
struct mgc_value {
    struct mgc_text text;
    int64_t number; /* INT, SIZE, DURATION; BOOL 0 or 1; CHOICE: index */
    uint32_t set;   /* 0: neither written nor default */
    uint32_t reserved;
};

/* ---- what a batch holds ---- */
struct mgc_participant {
    struct mgc_text uri, name;
    int64_t since_us; /* joined at, microseconds since 1970 UTC */
};

/* A room (or another stream: a server session has no room). Records come stream by stream. */
struct mgc_room {
    uint32_t size;
    uint32_t roster_count;
    struct mgc_text source, uri, name; /* name: empty when not known */
    int64_t epoch;
    const struct mgc_participant *roster; /* present before the first record of this batch */
    uint64_t index;                       /* 0, 1, 2, ... in this batch */
    uint64_t records;                     /* of this room in this batch */
};

enum {
    MGC_RECORD_LATE = 1,       /* fills a gap that earlier batches showed */
    MGC_RECORD_UNPROVABLE = 2, /* came without sequence and hash: completeness can't be shown */
    MGC_RECORD_UNREADABLE =
        4,                 /* an exception: only raw, queue position and `note` are meaningful */
    MGC_RECORD_FORK = 8,   /* another record with the same number exists */
    MGC_RECORD_REPEAT = 16 /* delivered once before, long ago */
};
enum {
    MGC_KIND_OTHER = 0,
    MGC_KIND_JOIN = 1,
    MGC_KIND_LEAVE = 2,
    MGC_KIND_POST = 3,
    MGC_KIND_READ = 4,
    MGC_KIND_SIGN_IN = 5,
    MGC_KIND_SIGN_OUT = 6,
    MGC_KIND_SESSION_START = 7,
    MGC_KIND_SESSION_STOP = 8
};
struct mgc_record {
    uint32_t size;
    uint32_t flags; /* MGC_RECORD_* */
    uint64_t index; /* in the batch, from 0: what settle names */
    const struct mgc_room *room;
    uint32_t kind;    /* MGC_KIND_*; deliver unknown ones generically by type and raw */
    uint32_t settled; /* 1: settled in an earlier attempt */
    struct mgc_text type, id;
    int64_t sequence; /* 0: none */
    int64_t time_us;  /* at the source */
    int64_t captured_us;
    struct mgc_text participant, name, endpoint;
    struct mgc_text text;       /* post */
    struct mgc_text text_bytes; /* post: base64 of the exact bytes, empty when text is exact */
    struct mgc_text reason;
    int64_t chat_id;               /* 0: none */
    int64_t read_first, read_last; /* read: the chat ids shown, inclusive; 0: none */
    struct mgc_text raw;           /* bytes: the record as first written */
    uint8_t sha256[32];            /* of raw */
    int64_t partition, position;   /* where the queue held it */
    struct mgc_text note;          /* why it is an exception, else empty */
};

struct mgc_batch {
    uint32_t size;
    uint32_t attempt;   /* from 1 */
    struct mgc_text id; /* UUID, the same at every attempt */
    struct mgc_text
        stem; /* ASCII letters, digits, '-': a file name's start, unique, sorts by time */
    struct mgc_text instance;
    uint64_t number; /* of this instance's batches, from 1 */
    uint64_t records, rooms;
    uint64_t bytes;            /* of all raw records */
    int64_t cut_us;            /* when the batch was frozen */
    int64_t first_us, last_us; /* least and greatest record time */
    int64_t deadline_ms;       /* from the call on; the host kills the process some time after */
    uint8_t sha256[32];  /* over all raw records in order, each preceded by its length, 8 bytes
                            big-endian */
    const char *scratch; /* a private folder, emptied between attempts */
    int32_t cancel_fd;   /* readable: return MGC_CANCELLED soon */
    int32_t reserved;
};

/* A named fact of a receipt: path, sha256, bytes, smtp reply, ... Kept for auditors, given to
 * verify. */
struct mgc_fact {
    struct mgc_text name, value;
};

/* ---- what the host offers; valid until close returns ---- */
struct mgc_host {
    uint32_t size;
    uint32_t abi_minor;
    void *context;
    void (*log)(void *context, uint32_t level, const char *text); /* 0 debug .. 3 error */
    /* The next record, or MGC_END. It and its texts are valid until the next call of next or
     * rewind; its room until the room's last record was passed. */
    int32_t (*next)(void *context, const struct mgc_record **out, struct mgc_error *e);
    int32_t (*rewind)(void *context, struct mgc_error *e);
    /* Says what became of records first..last (indexes, inclusive). verdict: MGC_OK = durable at
     * the destination; MGC_REJECTED = can never be delivered, text required; MGC_RETRY. Returns
     * MGC_OK only once the host has the verdict on disk. A receipt's facts are kept with the range.
     */
    int32_t (*settle)(void *context, uint64_t first, uint64_t last, int32_t verdict,
                      const struct mgc_fact *facts, uint32_t fact_count, const char *text,
                      struct mgc_error *e);
    /* Opens attachment n, from 0, of the record that next gave last: *fd reads its bytes, can't be
     * written, and is the module's to close. MGC_NOT_FOUND: the record has no such attachment, or
     * its bytes are not kept; this version keeps none. */
    int32_t (*open_attachment)(void *context, const struct mgc_record *record, uint32_t n,
                               int32_t *fd, struct mgc_error *e);
};

enum {
    MGC_READBACK_NONE = 0,    /* what was delivered can't be looked at again */
    MGC_READBACK_RECEIPT = 1, /* the target confirms that it has it */
    MGC_READBACK_FULL = 2     /* verify reads every delivered byte back and compares */
};

/* ---- what the module provides ---- */
struct mgc_adapter {
    uint32_t size;
    uint32_t abi_major; /* MGC_ABI_MAJOR */
    uint32_t abi_minor;
    uint32_t readback; /* MGC_READBACK_* */
    const char *name, *version, *summary;
    const struct mgc_option *options; /* table ended by a NULL name; may be NULL */

    /* Checks resolved options without side effects. May be NULL. */
    int32_t (*check)(const struct mgc_value *values, struct mgc_error *e);
    /* Acquires what lasts. *instance is untouched on failure. */
    int32_t (*open)(const struct mgc_host *host, const struct mgc_value *values, void **instance,
                    struct mgc_error *e);
    /* Delivers a batch: iterates with host->next, settles every record. MGC_OK with anything
     * unsettled is the module's fault and counts as MGC_RETRY; a failing return applies to all that
     * is unsettled. */
    int32_t (*deliver)(void *instance, const struct mgc_batch *batch, struct mgc_error *e);
    void (*close)(void *instance); /* never fails */

    /* May be NULL: */
    /* Is this batch (id and content) already at the target? MGC_OK: yes, and everything was settled
     * by this call; MGC_NOT_FOUND: no. Asked before deliver when attempt > 1. */
    int32_t (*find)(void *instance, const struct mgc_batch *batch, struct mgc_error *e);
    /* Reads back what a receipt names and compares it with the batch's records (host->next).
     * MGC_OK: every byte is there as delivered; MGC_FAULT: it is not, and text says what. */
    int32_t (*verify)(void *instance, const struct mgc_batch *batch, const struct mgc_fact *facts,
                      uint32_t fact_count, struct mgc_error *e);

    /* 1: the module wants the bytes alone. Its records come without what only their JSON says,
     * which saves parsing it: kind is MGC_KIND_OTHER; type, id, participant to reason are empty;
     * chat_id, read_first, read_last are 0. */
    uint32_t raw_only;
    uint32_t unused; /* 0 */
};

/* The one exported symbol. host_major: the host's; return NULL to decline. */
const struct mgc_adapter *mgc_adapter_v0(uint32_t host_major);
typedef const struct mgc_adapter *mgc_adapter_entry(uint32_t host_major);
#define MGC_ENTRY "mgc_adapter_v0"

#endif
