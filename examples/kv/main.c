/* kv: a key-value server that speaks RESP, the protocol of Redis, sharded over the workers.
 *
 *   kv [-w workers] [address]     default one worker per CPU, 127.0.0.1:7379; port 0 picks one
 *
 * GET, SET, DEL, INCR, EXPIRE, MGET and a good many more, pipelined or not; redis-cli and
 * redis-benchmark drive it. SIGINT and SIGTERM stop it, once it has answered what it was asked.
 *
 *   main.c         options, start and stop
 *   connection.c   a client: parses its requests, sends them where they belong
 *   resp.c         the parser             reply.c, value.c   what is answered
 *   command.c      the table of commands; command_key.c, command_server.c: what they do
 *   shard.c        what one worker owns: a store of keys (store.c), and their timers
 *   batch.c        requests on their way to another worker and back
 *   answers.c      what a client is owed, in the order in which it asked
 *
 * Sharding. Each key belongs to one worker, chosen by its hash (hash.c), and is touched by that
 * worker's thread alone: nowhere is there a lock. A connection lives on any worker. What it asks
 * about that one's own keys is answered on the spot; the rest is posted: all that one callback
 * finds for one other worker is one message there and one back, however many requests were
 * pipelined. So with one worker nothing is ever posted.
 *
 * Order. A client gets its replies in the order of its requests, as those that are found early wait
 * for those before them. What it asks about one key is carried out in that order as well, and so is
 * all that goes to one worker; requests about keys of different workers, pipelined, are carried out
 * side by side. Commands with several keys (MGET, MSET, DEL, EXISTS), FLUSHALL and DBSIZE are
 * carried out in parts, one per key or worker, and are not atomic as a whole.
 *
 * Limits. A client that does not read its replies is not read either; nor is one with more than
 * 1024 requests, or a megabyte, under way to other workers. What a request may consist of is in
 * resp.h. Where memory is lacking the answer is an error, "-OOM"; where it is lacking even for
 * answers, the connection is reset. There is no password and nothing is saved: it is an example. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <weft.h>

#include "connection.h"
#include "shard.h"

static int serve(struct server *server, unsigned workers, const char *address) {
    const weft_runtime_options options = {.workers = workers};
    weft_listener *listener = NULL;
    int r = weft_runtime_create(&options, &server->runtime);
    if (r == 0)
        r = weft_runtime_stop_on(server->runtime, SIGINT);
    if (r == 0)
        r = weft_runtime_stop_on(server->runtime, SIGTERM);
    if (r == 0)
        r = server_create_shards(server);
    if (r == 0)
        r = weft_listen(server->runtime, address, &connection_protocol, NULL, &listener);
    if (r == 0) {
        printf("listening on %s with %u workers\n", weft_listener_address(listener), server->count);
        fflush(stdout);
        r = weft_runtime_run(server->runtime);
    }
    weft_runtime_destroy(server->runtime);
    server_destroy_shards(server);
    return r;
}

static int usage(void) {
    fprintf(stderr, "usage: kv [-w workers] [address]\n");
    return 1;
}

int main(int argc, char **argv) {
    static struct server server;
    unsigned long workers = 0;
    for (int option; (option = getopt(argc, argv, "w:")) != -1;) {
        char *end = NULL;
        if (option != 'w')
            return 1;
        workers = strtoul(optarg, &end, 10);
        if (*optarg < '0' || *optarg > '9' || *end || workers > 1024)
            return usage();
    }
    if (argc - optind > 1)
        return usage();
    int r = serve(&server, (unsigned)workers, optind < argc ? argv[optind] : "127.0.0.1:7379");
    if (r < 0)
        fprintf(stderr, "kv: %s\n", weft_strerror(r));
    return r < 0;
}
