/* A model of the selector, for operations that somebody else chooses: at random, or a fuzzer.
 *
 * After each operation the kernel's own list of each set (/proc/self/fdinfo) equals what the model
 * says is registered; every select shows what poll(2) sees on the same fds; what it reported stays
 * live for exactly as long as the model says; and where a system call was made to fail, the result
 * is its error and nothing has changed. */
#ifndef WEFT_TESTS_SELECTOR_MODEL_H
#define WEFT_TESTS_SELECTOR_MODEL_H

enum { SELECTOR_MODEL_SETS = 2 };

/* One at a time in a process. `below` makes each choice, of 0 to limit - 1; `label` is in front of
 * what a failure says. */
void selector_model_open(unsigned (*below)(unsigned limit), const char *label);

/* One operation, and the look at everything. */
void selector_model_operate(void);

void selector_model_close(void);

#endif
