#include "fibre.h"

#include "base/sanitizer.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__x86_64__) && !defined(THREAD_SANITIZER) && !defined(ADDRESS_SANITIZER)

#include <asm/hwcap2.h>

enum { STACK_SIZE = 512 << 10, GUARD_SIZE = 4096, SAVED_REGISTERS = 6 };

/* Valgrind says that there are no such extensions. */
bool fibre_is_possible(void) {
    return getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE;
}

static inline void *thread_pointer(void) {
    void *value;
    __asm__("mov %%fs:0, %0" : "=r"(value)); /* it points to itself */
    return value;
}

/* What a function must preserve (System V ABI for AMD64, 3.2.1), but for the floating-point modes,
 * which nobody changes. */
void fibre_switch(struct fibre *from, struct fibre *to);
__asm__(".text\n"
        ".globl fibre_switch\n"
        ".type fibre_switch, @function\n"
        "fibre_switch:\n"
        "    push %rbp\n"
        "    push %rbx\n"
        "    push %r12\n"
        "    push %r13\n"
        "    push %r14\n"
        "    push %r15\n"
        "    mov %rsp, 0(%rdi)\n"
        "    mov 8(%rsi), %rax\n"
        "    wrfsbase %rax\n"
        "    mov 0(%rsi), %rsp\n"
        "    pop %r15\n"
        "    pop %r14\n"
        "    pop %r13\n"
        "    pop %r12\n"
        "    pop %rbx\n"
        "    pop %rbp\n"
        "    ret\n"
        ".size fibre_switch, .-fibre_switch\n");

static __thread struct fibre *mine;

static void begin(void) {
    mine->fn(mine->arg);
    abort();
}

static void *lend(void *arg) {
    struct fibre *f = arg;
    mine = f;
    __atomic_store_n(&f->thread_pointer, thread_pointer(), __ATOMIC_RELEASE);
    for (;;)
        pause(); /* on its own stack, not the fibre's */
    return NULL;
}

void fibre_adopt(struct fibre *f) {
    f->thread_pointer = thread_pointer();
}

void fibre_create(struct fibre *f, void (*fn)(void *arg), void *arg) {
    pthread_t thread;
    char *stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (stack == MAP_FAILED || mprotect(stack, GUARD_SIZE, PROT_NONE) < 0)
        abort();
    f->fn = fn;
    f->arg = arg;
    f->stack = stack;
    /* As if begin() had been called and had called fibre_switch(). */
    void **top = (void **)(stack + STACK_SIZE) - 2;
    *top = (void *)(uintptr_t)begin;
    f->stack_pointer = top - SAVED_REGISTERS;
    if (pthread_create(&thread, NULL, lend, f) != 0)
        abort();
    pthread_detach(thread);
    while (!__atomic_load_n(&f->thread_pointer, __ATOMIC_ACQUIRE))
        sched_yield();
}

#else

bool fibre_is_possible(void) {
    return false;
}

void fibre_adopt(struct fibre *f) {
    (void)f;
}

void fibre_create(struct fibre *f, void (*fn)(void *arg), void *arg) {
    (void)f, (void)fn, (void)arg;
    abort();
}

void fibre_switch(struct fibre *from, struct fibre *to) {
    (void)from, (void)to;
    abort();
}

#endif
