/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where every member of the contract lies on a 64-bit machine. What fails here would misread a
 * module that was built before: members are appended, never moved, and this list grows with them.
 */
#include <holdfast/mgc_adapter.h>

#define AT(type, member, offset)                                                                   \
    _Static_assert(offsetof(struct type, member) == (offset), #type "." #member " has moved")
#define ENDS(type, bytes) _Static_assert(sizeof(struct type) == (bytes), #type " has another size")

AT(mgc_error, size, 0);
AT(mgc_error, text, 4);
ENDS(mgc_error, 512);

AT(mgc_text, p, 0);
AT(mgc_text, n, 8);
ENDS(mgc_text, 16);

AT(mgc_option, name, 0);
AT(mgc_option, fallback, 8);
AT(mgc_option, choices, 16);
AT(mgc_option, help, 24);
AT(mgc_option, min, 32);
AT(mgc_option, max, 40);
AT(mgc_option, type, 48);
AT(mgc_option, required, 52);
ENDS(mgc_option, 56);

AT(mgc_value, text, 0);
AT(mgc_value, number, 16);
AT(mgc_value, set, 24);
AT(mgc_value, reserved, 28);
ENDS(mgc_value, 32);

AT(mgc_participant, uri, 0);
AT(mgc_participant, name, 16);
AT(mgc_participant, since_us, 32);
ENDS(mgc_participant, 40);

AT(mgc_room, size, 0);
AT(mgc_room, roster_count, 4);
AT(mgc_room, source, 8);
AT(mgc_room, uri, 24);
AT(mgc_room, name, 40);
AT(mgc_room, epoch, 56);
AT(mgc_room, roster, 64);
AT(mgc_room, index, 72);
AT(mgc_room, records, 80);
ENDS(mgc_room, 88);

AT(mgc_record, size, 0);
AT(mgc_record, flags, 4);
AT(mgc_record, index, 8);
AT(mgc_record, room, 16);
AT(mgc_record, kind, 24);
AT(mgc_record, settled, 28);
AT(mgc_record, type, 32);
AT(mgc_record, id, 48);
AT(mgc_record, sequence, 64);
AT(mgc_record, time_us, 72);
AT(mgc_record, captured_us, 80);
AT(mgc_record, participant, 88);
AT(mgc_record, name, 104);
AT(mgc_record, endpoint, 120);
AT(mgc_record, text, 136);
AT(mgc_record, text_bytes, 152);
AT(mgc_record, reason, 168);
AT(mgc_record, chat_id, 184);
AT(mgc_record, read_first, 192);
AT(mgc_record, read_last, 200);
AT(mgc_record, raw, 208);
AT(mgc_record, sha256, 224);
AT(mgc_record, partition, 256);
AT(mgc_record, position, 264);
AT(mgc_record, note, 272);
ENDS(mgc_record, 288);

AT(mgc_batch, size, 0);
AT(mgc_batch, attempt, 4);
AT(mgc_batch, id, 8);
AT(mgc_batch, stem, 24);
AT(mgc_batch, instance, 40);
AT(mgc_batch, number, 56);
AT(mgc_batch, records, 64);
AT(mgc_batch, rooms, 72);
AT(mgc_batch, bytes, 80);
AT(mgc_batch, cut_us, 88);
AT(mgc_batch, first_us, 96);
AT(mgc_batch, last_us, 104);
AT(mgc_batch, deadline_ms, 112);
AT(mgc_batch, sha256, 120);
AT(mgc_batch, scratch, 152);
AT(mgc_batch, cancel_fd, 160);
AT(mgc_batch, reserved, 164);
ENDS(mgc_batch, 168);

AT(mgc_fact, name, 0);
AT(mgc_fact, value, 16);
ENDS(mgc_fact, 32);

AT(mgc_host, size, 0);
AT(mgc_host, abi_minor, 4);
AT(mgc_host, context, 8);
AT(mgc_host, log, 16);
AT(mgc_host, next, 24);
AT(mgc_host, rewind, 32);
AT(mgc_host, settle, 40);
AT(mgc_host, open_attachment, 48);
ENDS(mgc_host, 56);

AT(mgc_adapter, size, 0);
AT(mgc_adapter, abi_major, 4);
AT(mgc_adapter, abi_minor, 8);
AT(mgc_adapter, readback, 12);
AT(mgc_adapter, name, 16);
AT(mgc_adapter, version, 24);
AT(mgc_adapter, summary, 32);
AT(mgc_adapter, options, 40);
AT(mgc_adapter, check, 48);
AT(mgc_adapter, open, 56);
AT(mgc_adapter, deliver, 64);
AT(mgc_adapter, close, 72);
AT(mgc_adapter, find, 80);
AT(mgc_adapter, verify, 88);
AT(mgc_adapter, raw_only, 96);
AT(mgc_adapter, unused, 100);
ENDS(mgc_adapter, 104);

/* Numbers that travel. */
_Static_assert(MGC_OK == 0 && MGC_RETRY == -1 && MGC_REJECTED == -2 && MGC_CONFIG == -3 &&
                   MGC_FAULT == -4 && MGC_NOT_FOUND == -5 && MGC_END == -6 && MGC_CANCELLED == -7,
               "results");
_Static_assert(MGC_OPTION_TEXT == 1 && MGC_OPTION_SECRET == 2 && MGC_OPTION_PATH == 3 &&
                   MGC_OPTION_BOOL == 4 && MGC_OPTION_INT == 5 && MGC_OPTION_SIZE == 6 &&
                   MGC_OPTION_DURATION == 7 && MGC_OPTION_CHOICE == 8,
               "types of options");
_Static_assert(MGC_RECORD_LATE == 1 && MGC_RECORD_UNPROVABLE == 2 && MGC_RECORD_UNREADABLE == 4 &&
                   MGC_RECORD_FORK == 8 && MGC_RECORD_REPEAT == 16,
               "flags of records");
_Static_assert(MGC_READBACK_NONE == 0 && MGC_READBACK_RECEIPT == 1 && MGC_READBACK_FULL == 2,
               "read-back");
