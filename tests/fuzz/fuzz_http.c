/* examples/http, over a socket: however the requests are cut, the answers are the same. An input
 * is where to cut, then the bytes. */
#define main http_main
#include "../../examples/http.c"
#undef main

#include "talk.h"
#include "wtest.h"

enum { ANSWER_MAX = 1 << 20 };

/* No time limits: they are another matter. */
static const weft_protocol protocol = {
    .state_size = sizeof(struct connection),
    .on_open = opened,
    .on_data = received,
    .on_close = closed,
};

static void mask_dates(uint8_t *answer, size_t length) {
    static const char date_header[] = "\r\nDate: ";
    const size_t header = strlen(date_header),
                 date_length = strlen("Thu, 01 Jan 1970 00:00:00 GMT");
    uint8_t *end = answer + length;
    for (uint8_t *at = answer; (at = memmem(at, (size_t)(end - at), date_header, header));) {
        at += header;
        memset(at, '-', (size_t)(end - at) < date_length ? (size_t)(end - at) : date_length);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static uint8_t whole[ANSWER_MAX], pieces[ANSWER_MAX];
    struct input in = {data, data + size};
    struct cuts cuts = cuts_of(&in, size);
    size_t length = input_left(&in);
    for (unsigned i = 0; i < cuts.count; i++)
        cuts.at[i] = cuts.at[i] < length ? cuts.at[i] : length;
    http_parser_set_max_header_size(HEADERS_MOST);

    size_t at_once = talk(&protocol, in.at, length, &(struct cuts){.count = 0}, whole, ANSWER_MAX);
    size_t in_pieces = talk(&protocol, in.at, length, &cuts, pieces, ANSWER_MAX);
    mask_dates(whole, at_once);
    mask_dates(pieces, in_pieces);
    CHECK_EQ(in_pieces, at_once);
    CHECK(memcmp(whole, pieces, at_once) == 0);
    CHECK(at_once == 0 || (at_once > 16 && memcmp(whole, "HTTP/1.1 ", 9) == 0));
    return 0;
}
