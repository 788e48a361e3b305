#include "weft/error.h"

#include <string.h>

/* The C library's words in lower case, as the middle of a sentence wants them ("echo: connection
 * refused"). Made before main(), so that the strings live for ever and a signal handler may ask. */
enum { ERROR_COUNT = 134, ERROR_TEXT_SIZE = 64 };
static char texts[ERROR_COUNT][ERROR_TEXT_SIZE];

__attribute__((constructor)) static void texts_make(void) {
    for (int e = 1; e < ERROR_COUNT; e++) {
        const char *description = strerrordesc_np(e);
        if (!description)
            continue;
        char *text = texts[e];
        strncpy(text, description, ERROR_TEXT_SIZE - 1);
        /* "Connection refused", but not "RFS specific error". */
        if (text[0] >= 'A' && text[0] <= 'Z' && text[1] >= 'a' && text[1] <= 'z')
            text[0] = (char)(text[0] - 'A' + 'a');
    }
}

const char *weft_strerror(int error) {
    if (error == 0)
        return "success";
    if (error > 0 || error <= -ERROR_COUNT || !texts[-error][0])
        return "unknown error";
    return texts[-error];
}

const char *weft_err_name(int error) {
    const char *name = error < 0 && error > -ERROR_COUNT ? strerrorname_np(-error) : NULL;
    return name ? name : error == 0 ? "OK" : "UNKNOWN";
}

const char *weft_version(void) {
    return WEFT_VERSION_STRING;
}
