/* Which sanitizer watches this build: gcc says it with a macro, clang with __has_feature(). */
#ifndef WEFT_LIB_BASE_SANITIZER_H
#define WEFT_LIB_BASE_SANITIZER_H

#ifdef __has_feature
#define SANITIZER_FEATURE(name) __has_feature(name)
#else
#define SANITIZER_FEATURE(name) 0
#endif

#if defined(__SANITIZE_THREAD__) || SANITIZER_FEATURE(thread_sanitizer)
#define THREAD_SANITIZER 1
#endif

#if defined(__SANITIZE_ADDRESS__) || SANITIZER_FEATURE(address_sanitizer)
#define ADDRESS_SANITIZER 1
#endif

#if SANITIZER_FEATURE(memory_sanitizer)
#define MEMORY_SANITIZER 1
#endif

/* An order between threads that ThreadSanitizer does not see, because liburcu, which is not
 * instrumented, makes it: what precedes a release of an address is seen after an acquire of it. */
#ifdef THREAD_SANITIZER
void __tsan_acquire(void *address);
void __tsan_release(void *address);
#define ORDER_ACQUIRE(address) __tsan_acquire(address)
#define ORDER_RELEASE(address) __tsan_release(address)
#else
#define ORDER_ACQUIRE(address) ((void)(address))
#define ORDER_RELEASE(address) ((void)(address))
#endif

/* A function that a child runs in its parent's memory: what a sanitizer notes there about a thread
 * would be noted about the parent's, and stay when the child execs. */
#if defined(__clang__)
#define NO_SANITIZER __attribute__((disable_sanitizer_instrumentation, no_sanitize("undefined")))
#else
#define NO_SANITIZER __attribute__((no_sanitize("address", "thread", "undefined")))
#endif

#endif
