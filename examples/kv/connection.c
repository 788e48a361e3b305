#include "connection.h"

#include "answers.h"

enum { OUT_MAX = 32 << 10, ARGUMENTS_KEEP_MAX = 256, NAME_SHOWN = 64 };

/* The state of a stream. */
struct connection {
    weft_stream *stream;
    struct shard *shard;
    struct answers *answers; /* NULL: everything was answered at once, so far */
    struct resp_parser parser;
    bool is_ending; /* nothing more is read; it closes when everything is answered */
    bool is_paused; /* too much is under way */
};

/* Of a connection for which something could not be done, so that it would get a reply less. */
static void give_up(struct connection *c) {
    c->is_ending = true;
    weft_stream_abort(c->stream);
}

static void progress(weft_stream *s);

static bool ensure_answers(struct connection *c) {
    if (!c->answers)
        c->answers = answers_create(c->stream, c->shard, progress);
    return c->answers != NULL;
}

/* Hands the stream what is found so far. What it does not take goes first in the queue, which is
 * empty as long as there is something in `out`. */
static bool flush(struct connection *c) {
    struct reply *out = &c->shard->out;
    bool all = reply_write(out, c->stream, out->length);
    bool ok = all || (ensure_answers(c) && answers_keep(c->answers, out));
    reply_clear(out);
    return ok;
}

/* What comes next will have to wait for another worker, and goes to the queue. What was found
 * before waits with it, so that all of it leaves in one system call. */
static bool queue_up(struct connection *c) {
    struct reply *out = &c->shard->out;
    if (!ensure_answers(c))
        return false;
    return out->length == 0 || answers_keep(c->answers, out);
}

/* Where the next reply goes, if it is found here; NULL: no memory. */
static struct reply *here(struct connection *c) {
    return answers_are_empty(c->answers) ? &c->shard->out : answers_here(c->answers);
}

static void here_done(struct connection *c, struct reply *reply, size_t start) {
    if (!reply_finish(reply, start))
        give_up(c);
    if (reply != &c->shard->out)
        answers_here_done(c->answers);
}

static void run_here(struct connection *c, command_run *run, const struct request *request) {
    struct reply *reply = here(c);
    if (!reply) {
        give_up(c);
        return;
    }
    size_t start = reply->length;
    run(c->shard, request, reply);
    here_done(c, reply, start);
}

static void refuse(struct connection *c, const char *format, int length, const char *text) {
    struct reply *reply = here(c);
    if (!reply) {
        give_up(c);
        return;
    }
    size_t start = reply->length;
    reply_error(reply, format, length, text);
    here_done(c, reply, start);
}

/* On the shard of the request's key. */
static void run_on_key(struct connection *c, command_run *run, struct request *request) {
    request->hash = hash_of(&c->shard->server->seed, request_argument(request, 1));
    struct shard *owner = server_shard_of(c->shard->server, request->hash);
    if (owner == c->shard)
        run_here(c, run, request);
    else if (!queue_up(c) || !answers_ask(c->answers, owner, run, request))
        give_up(c);
}

/* A part of a command on this shard. */
static void add_part(struct connection *c, command_run *run, const struct request *request,
                     struct merged *merged) {
    struct reply *reply = &c->shard->part;
    reply_clear(reply);
    run(c->shard, request, reply);
    if (reply_finish(reply, 0))
        merged_add(merged, reply->bytes);
    else
        give_up(c);
}

/* A part of a command on another one. The first makes a place for the whole in the queue. */
static void ask_part(struct connection *c, struct shard *owner, command_run *run,
                     const struct request *request, struct merged *merged, int64_t *place) {
    bool ok = *place >= 0 || (queue_up(c) && (*place = answers_merge(c->answers)) >= 0);
    if (ok && answers_ask(c->answers, owner, run, request))
        merged->parts++;
    else
        give_up(c);
}

static void end_parts(struct connection *c, const struct merged *merged, int64_t place) {
    if (place >= 0) {
        answers_merge_parts(c->answers, place, *merged);
        return;
    }
    struct reply *reply = here(c);
    if (!reply) {
        give_up(c);
        return;
    }
    size_t start = reply->length;
    merged_reply(merged, reply);
    here_done(c, reply, start);
}

/* The request with one of its keys alone, and what belongs to that. */
static struct request part_of(const struct request *request, uint32_t key, uint32_t step,
                              struct resp_argument room[3]) {
    room[0] = request->arguments[0];
    for (uint32_t i = 0; i < step; i++)
        room[1 + i] = request->arguments[key + i];
    return (struct request){.bytes = request->bytes, .arguments = room, .count = 1 + step};
}

static void run_on_each_key(struct connection *c, const struct command *command,
                            const struct request *request) {
    struct merged merged = {.how = command->merge};
    struct resp_argument room[3];
    int64_t place = -1;
    if (command->merge == IN_A_ROW)
        run_here(c, command->run_first, request);
    for (uint32_t i = 1; i < request->count && !c->is_ending; i += command->step) {
        struct request part = part_of(request, i, command->step, room);
        if (command->merge == IN_A_ROW) {
            run_on_key(c, command->run, &part);
            continue;
        }
        part.hash = hash_of(&c->shard->server->seed, request_argument(&part, 1));
        struct shard *owner = server_shard_of(c->shard->server, part.hash);
        if (owner == c->shard)
            add_part(c, command->run, &part, &merged);
        else
            ask_part(c, owner, command->run, &part, &merged, &place);
    }
    if (command->merge != IN_A_ROW && !c->is_ending)
        end_parts(c, &merged, place);
}

static void run_on_all(struct connection *c, const struct command *command,
                       const struct request *request) {
    struct merged merged = {.how = command->merge};
    struct server *server = c->shard->server;
    int64_t place = -1;
    for (unsigned i = 0; i < server->count && !c->is_ending; i++) {
        if (&server->shards[i] == c->shard)
            add_part(c, command->run, request, &merged);
        else
            ask_part(c, &server->shards[i], command->run, request, &merged, &place);
    }
    if (!c->is_ending)
        end_parts(c, &merged, place);
}

static int shown(struct slice name) {
    return name.length < NAME_SHOWN ? (int)name.length : NAME_SHOWN;
}

static void execute(struct connection *c, struct request *request) {
    struct slice name = request_argument(request, 0);
    const struct command *command = command_find(name);
    if (!command) {
        refuse(c, "ERR unknown command '%.*s'", shown(name), (const char *)name.bytes);
        return;
    }
    if (!command_takes(command, request->count)) {
        char lower[NAME_SHOWN];
        for (size_t i = 0; i < name.length; i++)
            lower[i] = (char)(name.bytes[i] | ('a' - 'A'));
        refuse(c, "ERR wrong number of arguments for '%.*s' command", shown(name), lower);
        return;
    }
    switch (command->place) {
    case ON_ANY: run_here(c, command->run, request); break;
    case ON_KEY: run_on_key(c, command->run, request); break;
    case ON_EACH_KEY: run_on_each_key(c, command, request); break;
    case ON_ALL: run_on_all(c, command, request); break;
    }
    c->is_ending = c->is_ending || command->is_last;
}

/* The next request that is complete: how many bytes it has; 0: there is none. */
static size_t next_request(struct connection *c, const uint8_t *bytes, size_t length) {
    const char *error = NULL;
    enum resp_result result = resp_parse(&c->parser, bytes, length, &error);
    if (result == RESP_ERROR) {
        refuse(c, "%.*s", 256, error);
        c->is_ending = true;
    }
    if (result != RESP_REQUEST)
        return 0;
    struct request request = resp_request(&c->parser, bytes);
    size_t used = c->parser.at;
    if (request.count > 0)
        execute(c, &request);
    if (c->parser.many && c->parser.capacity > ARGUMENTS_KEEP_MAX)
        resp_reset(&c->parser);
    else
        resp_next(&c->parser);
    return used;
}

/* Closes, or reads on, when it is time to. */
static void settle(struct connection *c) {
    bool is_empty = answers_are_empty(c->answers);
    if (c->is_ending && is_empty)
        weft_stream_close(c->stream);
    if (c->is_paused && answers_are_few(c->answers)) {
        c->is_paused = false;
        weft_stream_resume(c->stream);
    }
}

/* A stream that is full pauses by itself, once what came with this is answered; too much under way
 * pauses it here, and what is left of the input comes again when that is over. */
static size_t received(weft_stream *s, const uint8_t *data, size_t length) {
    struct connection *c = weft_stream_state(s);
    size_t used = 0, one = 1;
    while (one && !c->is_ending && !answers_are_many(c->answers)) {
        one = next_request(c, data + used, length - used);
        used += one;
        if ((c->shard->out.length >= OUT_MAX || c->shard->out.lent_count) && !flush(c))
            give_up(c);
    }
    if (!flush(c) || (c->answers && !answers_dispatch(c->answers)))
        give_up(c);
    if (answers_are_many(c->answers)) {
        c->is_paused = true;
        weft_stream_pause(s);
    }
    settle(c);
    return c->is_ending ? length : used;
}

static void opened(weft_stream *s) {
    struct connection *c = weft_stream_state(s);
    c->stream = s;
    c->shard = weft_worker_data(weft_stream_worker(s));
}

static void progress(weft_stream *s) {
    settle(weft_stream_state(s));
}

static void drained(weft_stream *s) {
    struct connection *c = weft_stream_state(s);
    if (c->answers)
        answers_drain(c->answers);
    settle(c);
}

/* Its end of input, or ours of everything: it still gets what it has asked for. */
static void ended(weft_stream *s) {
    struct connection *c = weft_stream_state(s);
    c->is_ending = true;
    settle(c);
}

static void closed(weft_stream *s, int error) {
    struct connection *c = weft_stream_state(s);
    (void)error;
    resp_reset(&c->parser);
    answers_close(c->answers);
    c->answers = NULL;
}

const weft_protocol connection_protocol = {
    .state_size = sizeof(struct connection),
    .on_open = opened,
    .on_data = received,
    .on_drain = drained,
    .on_eof = ended,
    .on_stop = ended,
    .on_close = closed,
    .high_water = REPLY_FULL,
    .max_pending = REPLY_FULL + RESP_BULK_MAX + REPLY_PIECE_MAX,
    .max_unconsumed = RESP_REQUEST_MAX + (1 << 20),
};
