/* The commands that touch no key: what clients ask before they come to the point. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "commands.h"

static void bulk_text(struct reply *reply, const char *text) {
    reply_bulk(reply, (struct slice){(const uint8_t *)text, strlen(text)});
}

void run_ping(struct shard *shard, const struct request *request, struct reply *reply) {
    (void)shard;
    if (request->count > 2)
        reply_error(reply, "ERR wrong number of arguments for 'ping' command");
    else if (request->count == 2)
        reply_bulk(reply, request_argument(request, 1));
    else
        REPLY_LITERAL(reply, "+PONG\r\n");
}

void run_echo(struct shard *shard, const struct request *request, struct reply *reply) {
    (void)shard;
    reply_bulk(reply, request_argument(request, 1));
}

void run_ok(struct shard *shard, const struct request *request, struct reply *reply) {
    (void)shard;
    (void)request;
    REPLY_LITERAL(reply, "+OK\r\n");
}

/* The header of an array whose elements, one for each argument, come as replies of their own. */
void run_array_of_rest(struct shard *shard, const struct request *request, struct reply *reply) {
    (void)shard;
    reply_array(reply, request->count - 1);
}

void run_select(struct shard *shard, const struct request *request, struct reply *reply) {
    (void)shard;
    if (is_word(request_argument(request, 1), "0"))
        REPLY_LITERAL(reply, "+OK\r\n");
    else
        reply_error(reply, "ERR DB index is out of range");
}

/* redis-benchmark asks for these two, and redis-cli for all. */
static const struct { const char *name, *value; } SETTINGS[] = {{"save", ""}, {"appendonly", "no"}};

enum { SETTINGS_COUNT = sizeof SETTINGS / sizeof SETTINGS[0] };

/* CONFIG GET name, or * for all of them. */
static void config_get(struct slice name, struct reply *reply) {
    bool is_all = is_word(name, "*");
    size_t count = 0;
    for (size_t i = 0; i < SETTINGS_COUNT; i++)
        count += is_all || is_word(name, SETTINGS[i].name);
    reply_array(reply, 2 * count);
    for (size_t i = 0; i < SETTINGS_COUNT; i++)
        if (is_all || is_word(name, SETTINGS[i].name)) {
            bulk_text(reply, SETTINGS[i].name);
            bulk_text(reply, SETTINGS[i].value);
        }
}

void run_config(struct shard *shard, const struct request *request, struct reply *reply) {
    (void)shard;
    if (request->count == 3 && is_word(request_argument(request, 1), "GET"))
        config_get(request_argument(request, 2), reply);
    else
        reply_error(reply, "ERR only CONFIG GET name is supported");
}

/* COMMAND DOCS and the like: redis-cli does without. */
void run_command(struct shard *shard, const struct request *request, struct reply *reply) {
    (void)shard;
    (void)request;
    reply_array(reply, 0);
}

/* RESP2 is all we speak: a map is an array of names and values. */
void run_hello(struct shard *shard, const struct request *request, struct reply *reply) {
    (void)shard;
    if (request->count > 1 && !is_word(request_argument(request, 1), "2")) {
        reply_error(reply, "NOPROTO unsupported protocol version");
        return;
    }
    if (request->count > 2) {
        reply_error(reply, "ERR syntax error in HELLO");
        return;
    }
    reply_array(reply, 10);
    bulk_text(reply, "server");
    bulk_text(reply, "weft-kv");
    bulk_text(reply, "version");
    bulk_text(reply, weft_version());
    bulk_text(reply, "proto");
    reply_integer(reply, 2);
    bulk_text(reply, "mode");
    bulk_text(reply, "standalone");
    bulk_text(reply, "role");
    bulk_text(reply, "master");
}

/* CLIENT SETNAME and SETINFO: client libraries introduce themselves. */
void run_client(struct shard *shard, const struct request *request, struct reply *reply) {
    struct slice what = request_argument(request, 1);
    if (is_word(what, "SETNAME") || is_word(what, "SETINFO"))
        run_ok(shard, request, reply);
    else
        reply_error(reply, "ERR unknown subcommand of CLIENT");
}

/* What the workers have counted, which any thread may read. */
void run_info(struct shard *shard, const struct request *request, struct reply *reply) {
    char text[512];
    weft_stats sum = {.iterations = 0};
    (void)request;
    for (unsigned i = 0; i < shard->server->count; i++) {
        weft_stats stats;
        if (weft_worker_stats(shard->server->shards[i].worker, &stats, sizeof stats) < 0)
            continue;
        sum.streams_open += stats.streams_open;
        sum.streams_accepted += stats.streams_accepted;
        sum.bytes_held += stats.bytes_held;
        sum.iterations += stats.iterations;
        sum.waits += stats.waits;
        sum.tasks += stats.tasks;
        sum.wakeups_sent += stats.wakeups_sent;
    }
    int length =
        snprintf(text, sizeof text,
                 "# Server\r\nserver_name:weft-kv\r\nweft_version:%s\r\nworkers:%u\r\n\r\n"
                 "# Clients\r\nconnected_clients:%" PRIu64 "\r\n\r\n"
                 "# Stats\r\ntotal_connections_received:%" PRIu64 "\r\nbytes_held:%" PRIu64 "\r\n"
                 "iterations:%" PRIu64 "\r\nwaits:%" PRIu64 "\r\ntasks:%" PRIu64 "\r\n"
                 "wakeups_sent:%" PRIu64 "\r\n",
                 weft_version(), shard->server->count, sum.streams_open, sum.streams_accepted,
                 sum.bytes_held, sum.iterations, sum.waits, sum.tasks, sum.wakeups_sent);
    if (length > 0 && (size_t)length < sizeof text)
        bulk_text(reply, text);
    else
        reply_error(reply, "ERR no information");
}
