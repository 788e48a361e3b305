/* commands.h: what each command does, for the table in command.c. */
#ifndef KV_COMMANDS_H
#define KV_COMMANDS_H

#include "command.h"

bool is_word(struct slice bytes, const char *word);

/* command_key.c */
command_run run_get, run_set, run_delete, run_exists, run_strlen, run_incr, run_decr, run_incrby,
    run_decrby, run_expire, run_pexpire, run_ttl, run_pttl, run_persist, run_dbsize, run_flush;

/* command_server.c */
command_run run_ping, run_echo, run_select, run_config, run_command, run_hello, run_client,
    run_info, run_ok, run_array_of_rest;

#endif
