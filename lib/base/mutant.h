/* Seeded bugs. A build with -DWEFT_MUTANTS holds them all; the environment variable WEFT_MUTANT
 * names the one that is alive. `./run mutants` shows for each that a test fails on it
 * (tests/mutants.txt). Other builds hold none. */
#ifndef WEFT_LIB_BASE_MUTANT_H
#define WEFT_LIB_BASE_MUTANT_H

#include <stdbool.h>

#ifdef WEFT_MUTANTS
bool mutant_is_alive(const char *id);
#define MUTANT(id) mutant_is_alive(id)
#else
#define MUTANT(id) false
#endif

#endif
