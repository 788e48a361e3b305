/* The commands about keys, each carried out on the shard that owns its key. */
#include <string.h>
#include <strings.h>

#include "commands.h"
#include "number.h"

static const char NOT_A_NUMBER[] = "ERR value is not an integer or out of range";
static const char SYNTAX[] = "ERR syntax error";

static struct entry *find_key(struct shard *shard, const struct request *request) {
    return shard_find(shard, request_argument(request, 1), request->hash);
}

static bool set_key(struct shard *shard, struct entry **entry, const struct request *request,
                    struct slice bytes, struct reply *reply) {
    struct entry *set =
        shard_set(shard, *entry, request_argument(request, 1), request->hash, bytes);
    if (!set)
        reply_error(reply, "OOM out of memory");
    *entry = set;
    return set != NULL;
}

bool is_word(struct slice bytes, const char *word) {
    size_t length = strlen(word);
    return bytes.length == length && strncasecmp((const char *)bytes.bytes, word, length) == 0;
}

void run_get(struct shard *shard, const struct request *request, struct reply *reply) {
    struct entry *entry = find_key(shard, request);
    if (entry)
        reply_value(reply, entry->value);
    else
        reply_nil(reply);
}

struct set_options {
    bool if_absent, if_present, keeps_expiry, has_ttl, is_in_seconds;
    struct slice ttl;
    uint64_t ttl_ns;
};

/* SET key value [NX | XX] [EX seconds | PX milliseconds | KEEPTTL] */
static bool parse_set_options(const struct request *request, struct set_options *options) {
    for (uint32_t i = 3; i < request->count; i++) {
        struct slice word = request_argument(request, i);
        if (is_word(word, "NX")) {
            options->if_absent = true;
        } else if (is_word(word, "XX")) {
            options->if_present = true;
        } else if (is_word(word, "KEEPTTL")) {
            options->keeps_expiry = true;
        } else if (!options->has_ttl && i + 1 < request->count) {
            options->is_in_seconds = is_word(word, "EX");
            if (!options->is_in_seconds && !is_word(word, "PX"))
                return false;
            options->has_ttl = true;
            options->ttl = request_argument(request, ++i);
        } else {
            return false;
        }
    }
    return !(options->if_absent && options->if_present) &&
           !(options->keeps_expiry && options->has_ttl);
}

/* false after an error. */
static bool look_at_set_options(const struct request *request, struct set_options *options,
                                struct reply *reply) {
    int64_t ttl = 0;
    if (!parse_set_options(request, options))
        reply_error(reply, SYNTAX);
    else if (options->has_ttl && !number_parse(options->ttl, &ttl))
        reply_error(reply, NOT_A_NUMBER);
    else if (options->has_ttl &&
             (ttl <= 0 || !number_to_ns(ttl, options->is_in_seconds, &options->ttl_ns)))
        reply_error(reply, "ERR invalid expire time in 'set' command");
    else
        return true;
    return false;
}

void run_set(struct shard *shard, const struct request *request, struct reply *reply) {
    struct set_options options = {.ttl_ns = 0};
    if (request->count > 3 && !look_at_set_options(request, &options, reply))
        return;
    struct entry *entry = find_key(shard, request);
    if (entry ? options.if_absent : options.if_present) {
        reply_nil(reply);
        return;
    }
    if (!set_key(shard, &entry, request, request_argument(request, 2), reply))
        return;
    if (!options.keeps_expiry && !options.has_ttl && entry->expiry)
        shard_persist(entry);
    if (options.has_ttl && !shard_expire(shard, entry, options.ttl_ns)) {
        shard_remove(shard, entry); /* rather no key than one that stays */
        reply_error(reply, "OOM out of memory");
        return;
    }
    REPLY_LITERAL(reply, "+OK\r\n");
}

void run_delete(struct shard *shard, const struct request *request, struct reply *reply) {
    struct entry *entry = find_key(shard, request);
    if (entry)
        shard_remove(shard, entry);
    reply_integer(reply, entry != NULL);
}

void run_exists(struct shard *shard, const struct request *request, struct reply *reply) {
    reply_integer(reply, find_key(shard, request) != NULL);
}

void run_strlen(struct shard *shard, const struct request *request, struct reply *reply) {
    struct entry *entry = find_key(shard, request);
    reply_integer(reply, entry ? entry->value->length : 0);
}

/* The value grows by that; one that is not there is 0. Its expiry stays. */
static void add(struct shard *shard, const struct request *request, int64_t by,
                struct reply *reply) {
    struct entry *entry = find_key(shard, request);
    int64_t number = 0;
    char text[NUMBER_MAX];
    if (entry && !number_parse(value_bytes(entry->value), &number))
        reply_error(reply, NOT_A_NUMBER);
    else if (__builtin_add_overflow(number, by, &number))
        reply_error(reply, "ERR increment or decrement would overflow");
    else if (set_key(shard, &entry, request, number_format(text, number), reply))
        reply_integer(reply, number);
}

void run_incr(struct shard *shard, const struct request *request, struct reply *reply) {
    add(shard, request, 1, reply);
}

void run_decr(struct shard *shard, const struct request *request, struct reply *reply) {
    add(shard, request, -1, reply);
}

void run_incrby(struct shard *shard, const struct request *request, struct reply *reply) {
    int64_t by;
    if (number_parse(request_argument(request, 2), &by))
        add(shard, request, by, reply);
    else
        reply_error(reply, NOT_A_NUMBER);
}

void run_decrby(struct shard *shard, const struct request *request, struct reply *reply) {
    int64_t by;
    if (!number_parse(request_argument(request, 2), &by))
        reply_error(reply, NOT_A_NUMBER);
    else if (by == INT64_MIN)
        reply_error(reply, "ERR decrement would overflow");
    else
        add(shard, request, -by, reply);
}

/* A time that is over removes the key. */
static void expire(struct shard *shard, const struct request *request, bool is_seconds,
                   struct reply *reply) {
    int64_t ttl;
    uint64_t ttl_ns = 0;
    if (!number_parse(request_argument(request, 2), &ttl)) {
        reply_error(reply, NOT_A_NUMBER);
        return;
    }
    if (ttl > 0 && !number_to_ns(ttl, is_seconds, &ttl_ns)) {
        reply_error(reply, "ERR invalid expire time in '%s' command",
                    is_seconds ? "expire" : "pexpire");
        return;
    }
    struct entry *entry = find_key(shard, request);
    if (entry && ttl <= 0)
        shard_remove(shard, entry);
    if (entry && ttl > 0 && !shard_expire(shard, entry, ttl_ns))
        reply_error(reply, "OOM out of memory");
    else
        reply_integer(reply, entry != NULL);
}

void run_expire(struct shard *shard, const struct request *request, struct reply *reply) {
    expire(shard, request, true, reply);
}

void run_pexpire(struct shard *shard, const struct request *request, struct reply *reply) {
    expire(shard, request, false, reply);
}

/* In units of unit_ns, rounded; -1: it stays, -2: it is not there. */
static void time_left(struct shard *shard, const struct request *request, uint64_t unit_ns,
                      struct reply *reply) {
    struct entry *entry = find_key(shard, request);
    if (!entry || !entry->expiry)
        reply_integer(reply, entry ? -1 : -2);
    else
        reply_integer(reply, (int64_t)((shard_time_left(shard, entry) + unit_ns / 2) / unit_ns));
}

void run_ttl(struct shard *shard, const struct request *request, struct reply *reply) {
    time_left(shard, request, WEFT_SEC(1), reply);
}

void run_pttl(struct shard *shard, const struct request *request, struct reply *reply) {
    time_left(shard, request, WEFT_MSEC(1), reply);
}

void run_persist(struct shard *shard, const struct request *request, struct reply *reply) {
    struct entry *entry = find_key(shard, request);
    reply_integer(reply, entry && shard_persist(entry));
}

void run_dbsize(struct shard *shard, const struct request *request, struct reply *reply) {
    (void)request;
    reply_integer(reply, (int64_t)shard->store.count);
}

void run_flush(struct shard *shard, const struct request *request, struct reply *reply) {
    (void)request;
    shard_remove_all(shard);
    REPLY_LITERAL(reply, "+OK\r\n");
}
