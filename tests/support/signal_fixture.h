/* What the tests of signals share: a runtime that watches, senders, and what the watches saw. */
#ifndef WEFT_TESTS_SIGNAL_FIXTURE_H
#define WEFT_TESTS_SIGNAL_FIXTURE_H

#include "rt.h"

#include <signal.h>
#include <unistd.h>

enum { SEEN_MAX = 20000 };

/* One watch and what it saw; `data` is the payload of sigqueue(3). */
struct sight {
    weft_signal *handle;
    weft_worker *worker;
    _Atomic unsigned count;
    int signo[SEEN_MAX], data[SEEN_MAX];
    _Atomic unsigned elsewhere; /* calls on another thread than the worker's */
};

/* For zero-terminated numbers; started. */
weft_runtime *signals_start(unsigned workers, const int *numbers);

/* weft_signal_watch() on w, and its result. */
int sight_try(struct sight *s, weft_worker *w, int signo);
void sight_begin(struct sight *s, weft_worker *w, int signo);
void sight_end(struct sight *s); /* weft_signal_stop() on its worker */

void send_signal(int signo);            /* to the process */
void send_payload(int signo, int data); /* sigqueue(3); waits where the queue is full */
bool is_pending(int signo);
void await_not_pending(int signo);

#endif
