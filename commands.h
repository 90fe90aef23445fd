/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What each command needs of this process, opened, and then the part that does it: a command is a
 * function over open handles in the folder of its part. main.c's table names them.
 */
#ifndef COMMANDS_H
#define COMMANDS_H

#include "base/app.h"

typedef int command_fn(struct app_io *io, int argc, char **argv);

/* look */
command_fn cmd_status, cmd_incident_list, cmd_incident_show, cmd_queue_heal, cmd_incident_retry,
    cmd_incident_accept;

/* feed */
command_fn cmd_ingest, cmd_source_list, cmd_queue_check, cmd_queue_hold, cmd_queue_resume,
    cmd_adapter_add, cmd_adapter_describe, cmd_adapter_list, cmd_adapter_pause, cmd_adapter_resume,
    cmd_adapter_retire;

/* chat */
command_fn cmd_room_add, cmd_room_list, cmd_user_add, cmd_user_list, cmd_chat, cmd_store_restored;

/* run */
command_fn cmd_drain, cmd_chat_server, cmd_capture, cmd_archiver;

/* set up */
command_fn cmd_config_describe, cmd_staging_check, cmd_staging_reconcile;

#endif
