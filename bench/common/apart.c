#include "common/apart.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LIMIT_S = 120 };

int must(const char *what, int result) {
    if (result >= 0)
        return result;
    fprintf(stderr, "%s: %s\n", what, strerror(-result));
    _exit(EXIT_FAILURE);
}

int must_call(const char *what, int result) {
    return must(what, result < 0 ? -errno : result);
}

void *apart_shared(size_t size) {
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    must_call("mmap", memory == MAP_FAILED ? -1 : 0);
    return memory;
}

static double *noted; /* this run's, shared with whoever forked it */

void apart_note(unsigned number, double figure) {
    noted[number] = figure;
}

void apart_run(double (*run)(const void *arg), const void *arg, double figures[APART_FIGURES]) {
    const size_t size = APART_FIGURES * sizeof *noted;
    int status = 0;
    noted = apart_shared(size);
    for (unsigned i = 0; i < APART_FIGURES; i++)
        noted[i] = NAN;
    fflush(stdout);
    pid_t child = must_call("fork", fork());
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        alarm(LIMIT_S); /* SIGALRM's default action ends what hangs */
        noted[0] = run(arg);
        _exit(EXIT_SUCCESS);
    }
    must_call("waitpid", waitpid(child, &status, 0));
    memcpy(figures, noted, size);
    munmap(noted, size);
    if (status != 0)
        figures[0] = -1;
    if (WIFSIGNALED(status))
        fprintf(stderr, "a run was ended by signal %d\n", WTERMSIG(status));
}
