/* command.h: the commands, and which workers each concerns. */
#ifndef KV_COMMAND_H
#define KV_COMMAND_H

#include "resp.h"
#include "shard.h"

/* Carries a request out on the shard of its key, and says one reply. */
typedef void command_run(struct shard *shard, const struct request *request, struct reply *reply);

/* Where a command is carried out. */
enum command_place {
    ON_ANY,      /* it touches no key: where its connection is */
    ON_KEY,      /* on the worker of its first argument */
    ON_EACH_KEY, /* in parts, with a key each */
    ON_ALL,      /* in parts, one on each worker */
};

/* What becomes of the replies of the parts. */
enum command_merge {
    IN_A_ROW, /* they are the elements of an array */
    SUMMED,   /* numbers */
    ALL_OK,   /* or the first error */
};

struct command {
    char name[8]; /* in capitals, filled up with zeros */
    int count;    /* of arguments, with the name; negative: at least so many */
    command_run *run;
    enum command_place place;
    enum command_merge merge;
    command_run *run_first; /* here, of one that is merged in a row: the header of the array */
    uint32_t step;          /* from key to key */
    bool is_last;           /* the connection ends */
};

/* NULL: there is none of this name. */
const struct command *command_find(struct slice name);

/* Whether the command may have so many arguments. */
bool command_takes(const struct command *command, uint32_t count);

#endif
