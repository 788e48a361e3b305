/* What both consumers do: wake a selector through an event, in C and in C++. */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include <weft.h>

/* Names that the library uses inside: a program may have its own. */
int queue_push(int value);
int selector_wait(int value);
int os_read(int value);
int queue_push(int value) {
    return value + 1;
}
int selector_wait(int value) {
    return queue_push(value) + 1;
}
int os_read(int value) {
    return selector_wait(value) + 1;
}

static int consume(int argc, char **argv) {
    weft_selector *selector = NULL;
    weft_event *event = NULL;
    weft_ready ready[4];
    int token = os_read(0);
    int r = weft_selector_create(&selector);
    if (r == 0)
        r = weft_event_create(&event);
    if (r == 0)
        r = weft_selector_register_event(selector, event, &token);
    if (r == 0)
        r = weft_event_trigger(event);
    if (r == 0)
        r = weft_selector_select(selector, WEFT_SEC(10), ready, 4);
    if (r == 1)
        r = ready[0].data == &token && ready[0].events == WEFT_USER && token == 3 ? 0 : -1;
    if (event)
        weft_selector_unregister_event(selector, event);
    weft_event_destroy(event);
    weft_selector_destroy(selector);
    if (r != 0) {
        fprintf(stderr, "consumer: %s\n", weft_strerror(r));
        return 1;
    }
    /* With the argument "jemalloc", the allocator must be there although nothing here names it. */
    if (argc > 1 && strcmp(argv[1], "jemalloc") == 0 && !dlsym(RTLD_DEFAULT, "mallocx")) {
        fprintf(stderr, "consumer: jemalloc is not linked\n");
        return 1;
    }
    printf("weft %s\n", weft_version());
    return 0;
}
