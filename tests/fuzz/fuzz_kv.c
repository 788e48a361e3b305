/* examples/kv with one worker, over a socket: however the requests are cut, the answers are the
 * same, but for those about time and statistics. An input is where to cut, then the bytes. */
#include "../../examples/kv/connection.h"
#include "../../examples/kv/shard.h"

#include "rt.h"
#include "talk.h"

#include <string.h>
#include <strings.h>

enum { ANSWER_MAX = 1 << 20, INPUT_MAX = 4096 };

static struct server server;

static void make_shards(void *arg) {
    (void)arg;
    if (server_create_shards(&server) < 0)
        abort();
}

/* Is it the same whenever it is asked? */
static bool is_timeless(const uint8_t *bytes, size_t length) {
    static const char *const others[] = {"ttl", "info", "expire", "ex\r", "ex ", "px"};
    for (size_t i = 0; i < array_length(others); i++)
        for (size_t at = 0; at + strlen(others[i]) <= length; at++)
            if (strncasecmp((const char *)bytes + at, others[i], strlen(others[i])) == 0)
                return false;
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char empty_it[] = "FLUSHALL\r\n";
    static uint8_t whole[ANSWER_MAX], pieces[ANSWER_MAX], text[INPUT_MAX];
    const size_t head = strlen(empty_it);
    struct input in = {data, data + size};
    struct cuts cuts = cuts_of(&in, size);
    size_t length = head + input_left(&in);
    if (length > INPUT_MAX)
        return 0;
    for (unsigned i = 0; i < cuts.count; i++)
        cuts.at[i] = cuts.at[i] < length ? cuts.at[i] : length;
    memcpy(text, empty_it, head);
    memcpy(text + head, in.at, length - head);
    if (!server.runtime) {
        server.runtime = weft_worker_runtime(talk_worker());
        rt_call(talk_worker(), make_shards, NULL);
    }

    const weft_protocol *p = &connection_protocol;
    size_t at_once = talk(p, text, length, &(struct cuts){.count = 0}, whole, ANSWER_MAX);
    size_t in_pieces = talk(p, text, length, &cuts, pieces, ANSWER_MAX);
    CHECK(at_once >= 5 && memcmp(whole, "+OK\r\n", 5) == 0);
    CHECK(at_once > 0 && whole[at_once - 1] == '\n');
    if (is_timeless(text, length)) {
        CHECK_EQ(in_pieces, at_once);
        CHECK(memcmp(whole, pieces, at_once) == 0);
    }
    return 0;
}
