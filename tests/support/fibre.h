/* Threads that take turns without the kernel: a fibre has a thread's stack and thread pointer, and
 * so its thread-local variables, errno and pthread_self(), but runs on the kernel's thread of
 * whoever switches to it. What belongs to the kernel's thread (its id, its signal mask, what it
 * waits for) is shared by all fibres that run on it.
 *
 * A switch costs some nanoseconds, a hand-over by futex some microseconds. It needs x86-64 with the
 * instruction that sets the thread pointer (FSGSBASE, Linux 5.9); the sanitizers and valgrind
 * cannot follow it, and have threads instead. */
#ifndef WEFT_TESTS_FIBRE_H
#define WEFT_TESTS_FIBRE_H

#include <stdbool.h>

struct fibre {
    void *stack_pointer; /* while it does not run; the assembler knows these two */
    void *thread_pointer;
    void (*fn)(void *arg);
    void *arg;
    void *stack;
};

bool fibre_is_possible(void);

/* The calling thread becomes one, to be switched away from and back to. */
void fibre_adopt(struct fibre *f);

/* One that calls fn(arg) when it is first switched to; fn must not return. Its thread pointer is
 * that of a thread made for it, which waits for ever. */
void fibre_create(struct fibre *f, void (*fn)(void *arg), void *arg);

/* Goes on with `to`, and returns when somebody switches to `from`. */
void fibre_switch(struct fibre *from, struct fibre *to);

#endif
