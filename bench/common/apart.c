#include "common/apart.h"

#include <errno.h>
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

double apart_run(double (*run)(const void *arg), const void *arg) {
    double *figure = apart_shared(sizeof *figure), result = -1;
    int status = 0;
    fflush(stdout);
    pid_t child = must_call("fork", fork());
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        alarm(LIMIT_S); /* SIGALRM's default action ends what hangs */
        *figure = run(arg);
        _exit(EXIT_SUCCESS);
    }
    must_call("waitpid", waitpid(child, &status, 0));
    if (status == 0)
        result = *figure;
    else if (WIFSIGNALED(status))
        fprintf(stderr, "a run was ended by signal %d\n", WTERMSIG(status));
    munmap(figure, sizeof *figure);
    return result;
}
