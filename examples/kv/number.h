/* number.h: numbers as Redis writes them: decimal, no blank, no plus, no leading zero. */
#ifndef KV_NUMBER_H
#define KV_NUMBER_H

#include <stdbool.h>

#include "hash.h"

enum { NUMBER_MAX = 24 };

/* false: it is none, or none of 64 bits. */
bool number_parse(struct slice bytes, int64_t *ret_number);

/* Into NUMBER_MAX bytes of text. */
struct slice number_format(char *text, int64_t number);

/* A time, positive, in nanoseconds; false: it is longer than anybody waits (a hundred years). */
bool number_to_ns(int64_t time, bool is_seconds, uint64_t *ret_ns);

#endif
