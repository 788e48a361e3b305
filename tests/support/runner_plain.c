/* The plain runner: every test in a forked child, one after the other.
 *
 *   unit-plain [--list] [--no-fork] [suite/name ...]     a filter may end in '*'
 *
 * Exit status 0 when all passed and at least one ran. */
#include "wtest.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { EXIT_SKIPPED = 77, EXIT_FAILED = 1 };

static struct wtest_case *cases, **last_case = &cases;

void wtest_register(struct wtest_case *test) {
    *last_case = test;
    last_case = &test->next;
}

_Noreturn void wtest_fail(const char *file, int line, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%s:%d: ", file, line);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    fflush(stderr);
    _exit(EXIT_FAILED); /* other threads may still run: no destructors under them */
}

_Noreturn void wtest_skip(const char *reason) {
    fprintf(stderr, "skipped: %s\n", reason);
    fflush(stderr);
    _exit(EXIT_SKIPPED);
}

static bool matches(const struct wtest_case *test, const char *filter) {
    char name[256];
    snprintf(name, sizeof name, "%s/%s", test->suite, test->name);
    size_t n = strlen(filter);
    if (n > 0 && filter[n - 1] == '*')
        return strncmp(name, filter, n - 1) == 0;
    return strcmp(name, filter) == 0;
}

static bool is_chosen(const struct wtest_case *test, int count, char **filters) {
    for (int i = 0; i < count; i++)
        if (matches(test, filters[i]))
            return true;
    return count == 0;
}

static int run_in_child(const struct wtest_case *test) {
    fflush(stdout);
    fflush(stderr);
    pid_t pid = fork();
    if (pid < 0)
        return EXIT_FAILED;
    if (pid == 0) {
        alarm(WTEST_TIMEOUT_S * wtest_slowdown());
        test->fn();
        exit(0); /* not _exit: the leak checker runs here */
    }
    int status = 0;
    while (waitpid(pid, &status, 0) < 0)
        ;
    if (WIFEXITED(status))
        return WEXITSTATUS(status);
    printf("  ended by %s\n",
           WTERMSIG(status) == SIGALRM ? "timeout" : strsignal(WTERMSIG(status)));
    return EXIT_FAILED;
}

int main(int argc, char **argv) {
    int first = 1, passed = 0, failed = 0, skipped = 0;
    bool in_child = true;
    for (; first < argc && strncmp(argv[first], "--", 2) == 0; first++) {
        if (strcmp(argv[first], "--list") == 0) {
            for (struct wtest_case *t = cases; t; t = t->next)
                printf("%s/%s\n", t->suite, t->name);
            return 0;
        }
        in_child = strcmp(argv[first], "--no-fork") != 0;
    }
    for (struct wtest_case *t = cases; t; t = t->next) {
        if (!is_chosen(t, argc - first, argv + first))
            continue;
        int status = 0;
        if (in_child)
            status = run_in_child(t);
        else
            t->fn();
        passed += status == 0;
        skipped += status == EXIT_SKIPPED;
        failed += status != 0 && status != EXIT_SKIPPED;
        printf("%s %s/%s\n",
               status == 0              ? "ok  "
               : status == EXIT_SKIPPED ? "skip"
                                        : "FAIL",
               t->suite, t->name);
        fflush(stdout);
    }
    printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped);
    return failed != 0 || passed == 0;
}
