/* The plain runner: every test in a forked child, one after the other or some at a time.
 *
 *   unit-plain [--list] [--no-fork] [--jobs=N] [suite/name ...]     a filter may end in '*'
 *
 * Exit status 0 when all passed and at least one ran. */
#include "failure.h"
#include "wtest.h"

#include <signal.h>
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
    failure_say(file, line, format, arguments);
    va_end(arguments);
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

static int passed, failed, skipped;

static void tell(const struct wtest_case *test, int status) {
    passed += status == 0;
    skipped += status == EXIT_SKIPPED;
    failed += status != 0 && status != EXIT_SKIPPED;
    printf("%s %s/%s\n",
           status == 0              ? "ok  "
           : status == EXIT_SKIPPED ? "skip"
                                    : "FAIL",
           test->suite, test->name);
    fflush(stdout);
}

enum { JOBS_MAX = 64 };

static struct {
    pid_t pid;
    const struct wtest_case *test;
} running[JOBS_MAX];
static int running_count;

static void begin_in_child(const struct wtest_case *test) {
    fflush(stdout);
    fflush(stderr);
    pid_t pid = fork();
    if (pid == 0) {
        alarm(WTEST_TIMEOUT_S * wtest_slowdown());
        test->fn();
        exit(0); /* not _exit: the leak checker runs here */
    }
    if (pid < 0) {
        tell(test, EXIT_FAILED);
        return;
    }
    running[running_count].pid = pid;
    running[running_count++].test = test;
}

static void await_one(void) {
    int status = 0, i = 0;
    pid_t pid = wait(&status);
    while (i < running_count && running[i].pid != pid)
        i++;
    if (i == running_count)
        return;
    if (!WIFEXITED(status))
        printf("  ended by %s\n",
               WTERMSIG(status) == SIGALRM ? "timeout" : strsignal(WTERMSIG(status)));
    tell(running[i].test, WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILED);
    running[i] = running[--running_count];
}

static void list_all(void) {
    for (struct wtest_case *t = cases; t; t = t->next)
        printf("%s/%s\n", t->suite, t->name);
}

static void run_all(int jobs, int filter_count, char **filters) {
    for (struct wtest_case *t = cases; t; t = t->next) {
        if (!is_chosen(t, filter_count, filters))
            continue;
        if (jobs == 0) {
            t->fn();
            tell(t, 0);
            continue;
        }
        begin_in_child(t);
        if (running_count == jobs)
            await_one();
    }
    while (running_count > 0)
        await_one();
}

int main(int argc, char **argv) {
    int first = 1, jobs = 1;
    for (; first < argc && strncmp(argv[first], "--", 2) == 0; first++) {
        if (strcmp(argv[first], "--list") == 0) {
            list_all();
            return 0;
        }
        if (strcmp(argv[first], "--no-fork") == 0)
            jobs = 0;
        if (strncmp(argv[first], "--jobs=", 7) == 0)
            jobs = atoi(argv[first] + 7);
    }
    run_all(jobs < JOBS_MAX ? jobs : JOBS_MAX, argc - first, argv + first);
    printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped);
    return failed != 0 || passed == 0;
}
