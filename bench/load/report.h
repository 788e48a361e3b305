#ifndef WEFT_BENCH_REPORT_H
#define WEFT_BENCH_REPORT_H

#include "load/generator.h"

/* Every byte sent came back, once, and equal. */
bool report_is_clean(const load_options *options, const load_result *result);

void report_print(const load_options *options, const load_result *result);

#endif
