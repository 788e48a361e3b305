/* The name of a function of the program, for messages. */
#ifndef WEFT_LIB_BASE_SYMBOL_H
#define WEFT_LIB_BASE_SYMBOL_H

#include <stddef.h>
#include <stdint.h>

/* "name (MODULE+0xOFFSET; addr2line -Cfpe MODULE 0xOFFSET)" of the function at `address`: without
 * the name where the dynamic symbols have none, as for a static function; the command finds it
 * where the module has debug information or symbols. Takes the lock of the dynamic linker. */
void symbol_describe(uintptr_t address, char *buffer, size_t size);

#endif
