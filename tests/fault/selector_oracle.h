/* What the kernel and the table of a selector say of each other, and how its calls answer. */
#ifndef WEFT_TESTS_FAULT_SELECTOR_ORACLE_H
#define WEFT_TESTS_FAULT_SELECTOR_ORACLE_H

#include "sweep.h"

#include "weft/selector.h"

/* Each entry, as the table and as the kernel has it: they agree, or the test fails. Orphans of the
 * kernel's are left out: they may go when they like. */
size_t selector_snapshot(weft_selector *s, void *buffer, size_t size);

/* The error; but an add that meets EEXIST takes what is there for an orphan, and is told that it is
 * not there. */
bool is_answer_of_add(const struct sweep_fault *fault, int r);

/* -ENOENT would be about the table; about the kernel's set it means that fd was closed. */
bool is_answer_of_update(const struct sweep_fault *fault, int r);

#endif
