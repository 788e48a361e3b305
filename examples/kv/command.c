#include "command.h"

#include <string.h>

#include "commands.h"

#define ANY(text, arguments, fn)                                                                   \
    { .name = text, .count = arguments, .run = fn, .place = ON_ANY }
#define KEY(text, arguments, fn)                                                                   \
    { .name = text, .count = arguments, .run = fn, .place = ON_KEY }
#define ALL(text, arguments, fn, how)                                                              \
    { .name = text, .count = arguments, .run = fn, .place = ON_ALL, .merge = how }
#define EACH(text, arguments, fn, how, from_key_to_key)                                            \
    {                                                                                              \
        .name = text, .count = arguments, .run = fn, .place = ON_EACH_KEY, .merge = how,           \
        .run_first = run_array_of_rest, .step = from_key_to_key                                    \
    }

/* In the order of their use; a handful of comparisons of a word each finds any. */
static const struct command COMMANDS[] = {
    KEY("GET", 2, run_get),
    KEY("SET", -3, run_set),
    KEY("INCR", 2, run_incr),
    EACH("DEL", -2, run_delete, SUMMED, 1),
    EACH("MGET", -2, run_get, IN_A_ROW, 1),
    EACH("MSET", -3, run_set, ALL_OK, 2),
    KEY("EXPIRE", 3, run_expire),
    KEY("PEXPIRE", 3, run_pexpire),
    KEY("TTL", 2, run_ttl),
    KEY("PTTL", 2, run_pttl),
    KEY("PERSIST", 2, run_persist),
    EACH("EXISTS", -2, run_exists, SUMMED, 1),
    EACH("UNLINK", -2, run_delete, SUMMED, 1),
    KEY("DECR", 2, run_decr),
    KEY("INCRBY", 3, run_incrby),
    KEY("DECRBY", 3, run_decrby),
    KEY("STRLEN", 2, run_strlen),
    ANY("PING", -1, run_ping),
    ANY("ECHO", 2, run_echo),
    ALL("DBSIZE", 1, run_dbsize, SUMMED),
    ALL("FLUSHALL", -1, run_flush, ALL_OK),
    ALL("FLUSHDB", -1, run_flush, ALL_OK),
    ANY("SELECT", 2, run_select),
    ANY("CONFIG", -2, run_config),
    ANY("COMMAND", -1, run_command),
    ANY("CLIENT", -2, run_client),
    ANY("HELLO", -1, run_hello),
    ANY("INFO", -1, run_info),
    {.name = "QUIT", .count = -1, .run = run_ok, .place = ON_ANY, .is_last = true},
};

const struct command *command_find(struct slice name) {
    char wanted[sizeof COMMANDS[0].name] = {0};
    if (name.length > sizeof wanted)
        return NULL;
    for (size_t i = 0; i < name.length; i++) {
        uint8_t c = name.bytes[i];
        if (c == '\0')
            return NULL;
        wanted[i] = (char)(c >= 'a' && c <= 'z' ? c - ('a' - 'A') : c);
    }
    for (size_t i = 0; i < sizeof COMMANDS / sizeof COMMANDS[0]; i++)
        if (memcmp(COMMANDS[i].name, wanted, sizeof wanted) == 0)
            return &COMMANDS[i];
    return NULL;
}

bool command_takes(const struct command *command, uint32_t count) {
    if (command->count > 0)
        return count == (uint32_t)command->count;
    return count >= (uint32_t)-command->count &&
           (command->step < 2 || (count - 1) % command->step == 0);
}
