#ifndef WEFT_TESTS_SOAK_SIGNALS_H
#define WEFT_TESTS_SOAK_SIGNALS_H

#include <signal.h>

enum { SOAK_STOP_SIGNAL = SIGUSR2 };

/* The real-time signals that are sent and watched: 0 or 1. */
int soak_signal(unsigned index);

#endif
