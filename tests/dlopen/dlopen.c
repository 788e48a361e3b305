/* dlopen PATH: a program that knows nothing of weft opens the library at run time, as a plug-in or
 * a language binding does, and uses it. */
#include <dlfcn.h>
#include <stdio.h>

typedef struct weft_selector weft_selector;
typedef const char *version_fn(void);
typedef int create_fn(weft_selector **ret_selector);
typedef void destroy_fn(weft_selector *s);

/* Through a union, since C knows no cast from an object's pointer to a function's. */
#define RESOLVE(library, variable)                                                                 \
    do {                                                                                           \
        union {                                                                                    \
            void *symbol;                                                                          \
            __typeof__(variable) function;                                                         \
        } found_ = {.symbol = dlsym((library), #variable)};                                        \
        variable = found_.function;                                                                \
        if (!variable) {                                                                           \
            fprintf(stderr, "%s\n", dlerror());                                                    \
            return 1;                                                                              \
        }                                                                                          \
    } while (0)

int main(int argc, char **argv) {
    version_fn *weft_version;
    create_fn *weft_selector_create;
    destroy_fn *weft_selector_destroy;

    void *library = argc == 2 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
    if (!library) {
        fprintf(stderr, "%s\n", argc == 2 ? dlerror() : "usage: dlopen PATH");
        return 1;
    }
    RESOLVE(library, weft_version);
    RESOLVE(library, weft_selector_create);
    RESOLVE(library, weft_selector_destroy);

    weft_selector *selector = NULL;
    int r = weft_selector_create(&selector);
    if (r < 0) {
        fprintf(stderr, "weft_selector_create: %d\n", r);
        return 1;
    }
    weft_selector_destroy(selector);
    printf("weft %s\n", weft_version());
    return 0;
}
