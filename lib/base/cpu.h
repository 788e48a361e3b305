/* How many CPUs this process may use at once. */
#ifndef WEFT_LIB_BASE_CPU_H
#define WEFT_LIB_BASE_CPU_H

#include <stddef.h>

/* The limit that control groups set to the CPU time of this process, in whole CPUs; UINT_MAX where
 * there is none, 0 where it is less than one, or cannot be learned. */
unsigned cpu_quota(void);

/* What a file of a control group says: cpu.max (version 2), "max 100000" or "150000 100000". */
unsigned cpu_quota_of(const char *text);

#endif
