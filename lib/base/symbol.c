#include "base/symbol.h"

#include "base/mutant.h"

#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <unistd.h>

/* The file of a module; the program itself has no name in the list of modules (dlopen(3)). */
static const char *module_path(const struct link_map *module, char *buffer, size_t size) {
    if (module->l_name && module->l_name[0])
        return module->l_name;
    ssize_t n = readlink("/proc/self/exe", buffer, size - 1);
    if (n <= 0)
        return "?";
    buffer[n] = 0;
    return buffer;
}

void symbol_describe(uintptr_t address, char *buffer, size_t size) {
    Dl_info info;
    struct link_map *module = NULL;
    void *function = (void *)address; // NOLINT(performance-no-int-to-ptr)
    if (!dladdr1(function, &info, (void **)&module, RTLD_DL_LINKMAP) || !module) {
        snprintf(buffer, size, "0x%jx (in no module)", (uintmax_t)address);
        return;
    }
    char exe[256];
    const char *path = module_path(module, exe, sizeof exe);
    /* From the load address, 0 for a program that is not position independent: what addr2line
     * counts from in either case. */
    uintmax_t offset = address - (MUTANT("symbol-absolute") ? 0 : (uintptr_t)module->l_addr);
    snprintf(buffer, size, "%s%s%s+0x%jx; addr2line -Cfpe %s 0x%jx%s",
             info.dli_sname ? info.dli_sname : "", info.dli_sname ? " (" : "", path, offset, path,
             offset, info.dli_sname ? ")" : "");
}
