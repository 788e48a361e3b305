/* http: a small HTTP/1.1 server.
 *
 *   http [-w workers] [-t seconds] [address]     default: one worker per CPU, 30 s, :8080
 *
 *   GET or HEAD /    a line of text
 *   POST /echo       the body comes back
 *
 * What HTTP looks like is http-parser's business: it takes the bytes as they come, and what it
 * knows of an unfinished request lies in the stream's state. Requests may be pipelined: all the
 * answers of one on_data leave in one system call, and a client that does not read them stops being
 * read (high_water). A request for a page allocates nothing.
 *
 * Whoever is silent for so many seconds, or takes longer for one request, is timed out. An upgrade
 * is not taken up: such a request is answered like any other (RFC 9110, 7.8). */
#include <http_parser.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <weft.h>

enum { URL = 256, WORD = 24, HEADERS_MOST = 16 << 10, BODY_MOST = 1 << 20 };

static const char text_plain[] = "text/plain; charset=utf-8";

/* What came of a string, in pieces. The length counts what did not fit, too. */
struct word {
    size_t length;
    char bytes[WORD];
};

/* Zero between two requests. */
struct request {
    bool has_begun;
    bool is_head;
    bool is_in_value;    /* of a header, rather than in its name */
    unsigned host_count; /* headers of that name */
    struct word name;    /* of the header that is read */
    struct word *value;  /* where its value belongs; NULL: nobody asks */
    struct word expect;  /* the values of Expect, */
    struct word coding;  /* and of Transfer-Encoding */
    size_t url_length;
    size_t body_length, body_size;
    char *body;
    char url[URL];
};

/* The state of a stream. */
struct connection {
    http_parser parser; /* its data is the stream */
    weft_timer overdue; /* runs while a request is unfinished */
    struct request request;
    bool is_over; /* the answer that closes it has been given */
};

static uint64_t patience_ns = WEFT_SEC(30); /* immutable once the server runs */

/* Answers. */

/* The value of Date, formatted once a second on each worker, and only if somebody asks. */
static const char *date(weft_worker *w) {
    static _Thread_local char text[sizeof "Thu, 01 Jan 1970 00:00:00 GMT"];
    static _Thread_local uint64_t good_until_ns;
    uint64_t now_ns = weft_worker_now_ns(w);
    if (now_ns >= good_until_ns) {
        struct timespec now;
        struct tm utc;
        clock_gettime(CLOCK_REALTIME, &now);
        strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now.tv_sec, &utc));
        good_until_ns = now_ns + WEFT_SEC(1) - (uint64_t)now.tv_nsec;
    }
    return text;
}

/* headers: further ones, each with its CRLF. If a write fails the stream closes by itself. */
static void answer(weft_stream *s, enum http_status status, const char *headers, const char *type,
                   const char *body, size_t length) {
    struct connection *c = weft_stream_state(s);
    const char *persistence = "";
    char head[512];
    if (c->is_over)
        persistence = "Connection: close\r\n";
    else if (c->parser.http_minor == 0)
        persistence = "Connection: keep-alive\r\n";
    int n = snprintf(head, sizeof head,
                     "HTTP/1.1 %d %s\r\n"
                     "Date: %s\r\n"
                     "Content-Type: %s\r\n"
                     "Content-Length: %zu\r\n"
                     "%s%s\r\n",
                     status, http_status_str(status), date(weft_stream_worker(s)), type, length,
                     persistence, headers);
    weft_stream_write(s, head, (size_t)n);
    if (!c->request.is_head)
        weft_stream_write(s, body, length);
}

/* An answer that says no more than its status. */
static void answer_status(weft_stream *s, enum http_status status, const char *headers) {
    char text[64];
    int n = snprintf(text, sizeof text, "%s\n", http_status_str(status));
    answer(s, status, headers, text_plain, text, (size_t)n);
}

/* The last answer: what follows such a request cannot be understood, or is not worth reading. weft
 * sees to it that it arrives, although the client may be sending yet. -1 is for http-parser. */
static int refuse(weft_stream *s, enum http_status status) {
    struct connection *c = weft_stream_state(s);
    c->is_over = true;
    weft_timer_stop(&c->overdue);
    answer_status(s, status, "");
    weft_stream_close(s);
    return -1;
}

/* The path of a request's target, "/" where it has none; NULL: the target is no URL. */
static const char *path_of(const struct request *r, size_t *ret_length) {
    struct http_parser_url url;
    http_parser_url_init(&url);
    if (http_parser_parse_url(r->url, r->url_length, 0, &url) != 0)
        return NULL;
    if (!(url.field_set & 1u << UF_PATH)) {
        *ret_length = 1;
        return "/";
    }
    *ret_length = url.field_data[UF_PATH].len;
    return r->url + url.field_data[UF_PATH].off;
}

static bool is(const char *bytes, size_t length, const char *text) {
    return length == strlen(text) && memcmp(bytes, text, length) == 0;
}

static void answer_request(weft_stream *s, const struct request *r, enum http_method method) {
    static const char page[] = "hello from weft\n";
    size_t length = 0;
    const char *path = path_of(r, &length);
    if (is(path, length, "/")) {
        if (method == HTTP_GET || method == HTTP_HEAD)
            answer(s, HTTP_STATUS_OK, "", text_plain, page, strlen(page));
        else
            answer_status(s, HTTP_STATUS_METHOD_NOT_ALLOWED, "Allow: GET, HEAD\r\n");
    } else if (is(path, length, "/echo")) {
        if (method == HTTP_POST)
            answer(s, HTTP_STATUS_OK, "", "application/octet-stream", r->body, r->body_length);
        else
            answer_status(s, HTTP_STATUS_METHOD_NOT_ALLOWED, "Allow: POST\r\n");
    } else {
        answer_status(s, HTTP_STATUS_NOT_FOUND, "");
    }
}

/* Requests, as http-parser tells of them. A callback that returns non-zero stops it, which those do
 * that have given the last answer. */

static struct request *request_of(http_parser *parser) {
    struct connection *c = weft_stream_state(parser->data);
    return &c->request;
}

static void append(char *text, size_t size, size_t *length, const char *at, size_t count) {
    if (*length < size)
        memcpy(text + *length, at, count < size - *length ? count : size - *length);
    *length += count;
}

static void append_word(struct word *word, const char *at, size_t count) {
    append(word->bytes, sizeof word->bytes, &word->length, at, count);
}

static bool is_word(const struct word *word, const char *text) {
    return word->length == strlen(text) && strncasecmp(word->bytes, text, word->length) == 0;
}

static int message_begin(http_parser *parser) {
    request_of(parser)->has_begun = true;
    return 0;
}

static int url_piece(http_parser *parser, const char *at, size_t count) {
    struct request *r = request_of(parser);
    append(r->url, sizeof r->url, &r->url_length, at, count);
    return 0;
}

static int name_piece(http_parser *parser, const char *at, size_t count) {
    struct request *r = request_of(parser);
    if (r->is_in_value)
        r->name.length = 0;
    r->is_in_value = false;
    if (memchr(at, ' ', count)) /* Debian's http-parser lets it pass; RFC 9112, 5.1 does not */
        return refuse(parser->data, HTTP_STATUS_BAD_REQUEST);
    append_word(&r->name, at, count);
    return 0;
}

static int value_piece(http_parser *parser, const char *at, size_t count) {
    struct request *r = request_of(parser);
    if (!r->is_in_value) {
        r->is_in_value = true;
        r->host_count += is_word(&r->name, "host");
        r->value = is_word(&r->name, "expect")              ? &r->expect
                   : is_word(&r->name, "transfer-encoding") ? &r->coding
                                                            : NULL;
    }
    if (r->value)
        append_word(r->value, at, count);
    return 0;
}

/* What is wrong with a request whose headers are complete; 0: nothing. */
static enum http_status objection(const http_parser *parser, const struct request *r) {
    bool has_coding = r->coding.length > 0;
    if (parser->http_major != 1)
        return HTTP_STATUS_HTTP_VERSION_NOT_SUPPORTED;
    if (r->host_count != 1 && (parser->http_minor > 0 || r->host_count > 1))
        return HTTP_STATUS_BAD_REQUEST; /* RFC 9112, 3.2 */
    if (has_coding && parser->http_minor == 0)
        return HTTP_STATUS_BAD_REQUEST; /* 6.1 */
    if (has_coding && !is_word(&r->coding, "chunked"))
        return HTTP_STATUS_NOT_IMPLEMENTED;
    if (parser->method == HTTP_CONNECT)
        return HTTP_STATUS_NOT_IMPLEMENTED;
    if (r->url_length > sizeof r->url)
        return HTTP_STATUS_URI_TOO_LONG;
    if (parser->content_length != UINT64_MAX && parser->content_length > BODY_MOST)
        return HTTP_STATUS_PAYLOAD_TOO_LARGE;
    if (r->expect.length > 0 && !is_word(&r->expect, "100-continue"))
        return HTTP_STATUS_EXPECTATION_FAILED;
    return 0;
}

static int headers_complete(http_parser *parser) {
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    struct request *r = request_of(parser);
    r->is_head = parser->method == HTTP_HEAD;
    enum http_status status = objection(parser, r);
    if (status != 0)
        return refuse(parser->data, status);
    if (r->expect.length > 0 && parser->http_minor > 0)
        weft_stream_write(parser->data, go_on, strlen(go_on));
    return 0;
}

static int body_piece(http_parser *parser, const char *at, size_t count) {
    struct request *r = request_of(parser);
    size_t length = r->body_length + count;
    if (length > BODY_MOST)
        return refuse(parser->data, HTTP_STATUS_PAYLOAD_TOO_LARGE);
    if (length > r->body_size) {
        size_t size = length > 2 * r->body_size ? length : 2 * r->body_size;
        char *body = realloc(r->body, size);
        if (!body)
            return refuse(parser->data, HTTP_STATUS_SERVICE_UNAVAILABLE);
        r->body = body;
        r->body_size = size;
    }
    memcpy(r->body + r->body_length, at, count);
    r->body_length = length;
    return 0;
}

static void request_end(struct connection *c) {
    weft_timer_stop(&c->overdue);
    free(c->request.body);
    c->request = (struct request){0};
}

static int message_complete(http_parser *parser) {
    weft_stream *s = parser->data;
    struct connection *c = weft_stream_state(s);
    c->is_over = !http_should_keep_alive(parser);
    answer_request(s, &c->request, parser->method);
    request_end(c);
    if (c->is_over)
        weft_stream_close(s);
    return c->is_over;
}

/* Connections. */

/* A client that is busy reading earlier answers may be slow with its next request: while it is,
 * bytes leave, and when they do not, silent() comes. */
static void overdue(weft_timer *timer) {
    struct connection *c = WEFT_CONTAINER_OF(timer, struct connection, overdue);
    weft_stream *s = c->parser.data;
    if (weft_stream_pending(s) > 0)
        weft_timer_start(weft_stream_worker(s), timer, patience_ns, 0);
    else
        refuse(s, HTTP_STATUS_REQUEST_TIMEOUT);
}

static void silent(weft_stream *s) {
    struct connection *c = weft_stream_state(s);
    if (weft_stream_pending(s) > 0)
        weft_stream_abort(s);
    else if (c->request.has_begun)
        refuse(s, HTTP_STATUS_REQUEST_TIMEOUT);
    else
        weft_stream_close(s);
}

static void opened(weft_stream *s) {
    struct connection *c = weft_stream_state(s);
    http_parser_init(&c->parser, HTTP_REQUEST);
    c->parser.data = s;
    c->overdue.fn = overdue;
}

static size_t received(weft_stream *s, const uint8_t *data, size_t len) {
    static const http_parser_settings settings = {
        .on_message_begin = message_begin,
        .on_url = url_piece,
        .on_header_field = name_piece,
        .on_header_value = value_piece,
        .on_headers_complete = headers_complete,
        .on_body = body_piece,
        .on_message_complete = message_complete,
    };
    struct connection *c = weft_stream_state(s);
    size_t used = 0;
    /* It returns early behind a request that asks for an upgrade; we go on in HTTP/1.1. */
    while (used < len && HTTP_PARSER_ERRNO(&c->parser) == HPE_OK)
        used += http_parser_execute(&c->parser, &settings, (const char *)data + used, len - used);
    enum http_errno error = HTTP_PARSER_ERRNO(&c->parser);
    if (error != HPE_OK && !c->is_over)
        refuse(s, error == HPE_HEADER_OVERFLOW ? HTTP_STATUS_REQUEST_HEADER_FIELDS_TOO_LARGE
                                               : HTTP_STATUS_BAD_REQUEST);
    if (c->request.has_begun && !c->is_over && !weft_timer_is_pending(&c->overdue))
        weft_timer_start(weft_stream_worker(s), &c->overdue, patience_ns, 0);
    return len;
}

static void closed(weft_stream *s, int error) {
    (void)error;
    request_end(weft_stream_state(s));
}

/* The program. */

static int serve(unsigned workers, const char *address) {
    static weft_protocol protocol = {
        .state_size = sizeof(struct connection),
        .on_open = opened,
        .on_data = received,
        .on_timeout = silent,
        .on_close = closed,
    };
    weft_runtime *rt = NULL;
    weft_listener *listener = NULL;
    protocol.idle_timeout_ns = patience_ns;
    http_parser_set_max_header_size(HEADERS_MOST);
    int r = weft_runtime_create(&(weft_runtime_options){.workers = workers}, &rt);
    if (r == 0)
        r = weft_listen(rt, address, &protocol, NULL, &listener);
    if (r == 0)
        r = weft_runtime_stop_on(rt, SIGINT);
    if (r == 0)
        r = weft_runtime_stop_on(rt, SIGTERM);
    if (r == 0) {
        printf("listening on %s with %u workers\n", weft_listener_address(listener),
               weft_runtime_worker_count(rt));
        fflush(stdout);
        r = weft_runtime_run(rt);
    }
    weft_runtime_destroy(rt);
    return r;
}

/* A number from 1 to most, or 0. */
static unsigned number(const char *text, unsigned most) {
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    return *text < '0' || *text > '9' || *end || value > most ? 0 : (unsigned)value;
}

int main(int argc, char **argv) {
    unsigned workers = 0, seconds = 30;
    bool is_usage = false;
    for (int option; !is_usage && (option = getopt(argc, argv, "w:t:")) != -1;) {
        unsigned value = option == '?' ? 0 : number(optarg, option == 'w' ? 1024 : 86400);
        if (option == 'w')
            workers = value;
        else
            seconds = value;
        is_usage = value == 0;
    }
    if (is_usage || argc - optind > 1) {
        fprintf(stderr, "usage: http [-w workers] [-t seconds] [address]\n");
        return 1;
    }
    patience_ns = WEFT_SEC(seconds);
    int r = serve(workers, optind < argc ? argv[optind] : ":8080");
    if (r < 0)
        fprintf(stderr, "http: %s\n", weft_strerror(r));
    return r < 0;
}
