#include "servers/post.h"

#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TASKS 1000000000u
#define GIVE_UP_SECONDS 60

typedef struct poster {
    pthread_t id;
    pthread_barrier_t *together;
    const post_options *options;
    post_all *post;
    void *target;
    unsigned index;
    size_t count;
    size_t accepted;
    uint64_t start_ns, end_ns;
} poster;

void post_parse(int argc, char **argv, bool has_via, post_options *ret_options) {
    static const struct option long_options[] = {
        {"posters", required_argument, NULL, 'p'}, {"tasks", required_argument, NULL, 'n'},
        {"pin", no_argument, NULL, 'c'},           {"via", required_argument, NULL, 'v'},
        {"help", no_argument, NULL, 'h'},          {0},
    };
    post_options o = {.posters = 4, .tasks = 1000000};
    int option;
    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        uint64_t number = 0;
        int r = 0;
        if (option == 'h') {
            printf("usage: %s [--posters N] [--tasks N] [--pin]%s\n", argv[0],
                   has_via ? " [--via task|fn]" : "");
            exit(EXIT_SUCCESS);
        }
        if (option == 'p') {
            r = cli_number(optarg, 1, POST_MAX_POSTERS, &number);
            o.posters = (unsigned)number;
        } else if (option == 'n') {
            r = cli_number(optarg, 1, MAX_TASKS, &number);
            o.tasks = (size_t)number;
        } else if (option == 'c') {
            o.pin = true;
        } else if (option == 'v' && has_via) {
            o.via_fn = strcmp(optarg, "fn") == 0;
            r = o.via_fn || strcmp(optarg, "task") == 0 ? 0 : -EINVAL;
        } else {
            r = -EINVAL;
        }
        if (r < 0) {
            fprintf(stderr, "%s: not a valid command line (see --help)\n", argv[0]);
            exit(2);
        }
    }
    *ret_options = o;
}

void post_pin(const post_options *options, bool is_loop) {
    cpu_set_t allowed, chosen;
    if (!options->pin || sched_getaffinity(0, sizeof allowed, &allowed) < 0 ||
        CPU_COUNT(&allowed) < 2)
        return;
    size_t first = 0;
    while (!CPU_ISSET(first, &allowed))
        first++;
    CPU_ZERO(&chosen);
    CPU_SET(first, &chosen);
    if (!is_loop)
        CPU_XOR(&chosen, &allowed, &chosen);
    sched_setaffinity(0, sizeof chosen, &chosen); /* 0: the calling thread */
}

size_t post_share(const post_options *options, unsigned index) {
    return options->tasks / options->posters + (index < options->tasks % options->posters);
}

void post_account_init(post_account *account, const post_options *options) {
    memset(account, 0, sizeof *account);
    account->expected = options->tasks;
    sem_init(&account->done, 0, 0);
}

static void *run_poster(void *arg) {
    poster *p = arg;
    post_pin(p->options, false);
    pthread_barrier_wait(p->together);
    p->start_ns = cli_now_ns();
    p->accepted = p->post(p->target, p->index, p->count);
    p->end_ns = cli_now_ns();
    return NULL;
}

static bool wait_for_last(post_account *account) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += GIVE_UP_SECONDS;
    int r;
    do {
        r = sem_clockwait(&account->done, CLOCK_MONOTONIC, &until);
    } while (r < 0 && errno == EINTR);
    return r == 0;
}

static uint64_t cpu_now_ns(void) {
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * CLI_NS_PER_SEC + (uint64_t)used.tv_nsec;
}

static void print_result(const char *name, const post_options *options, size_t posted,
                         const post_account *account, uint64_t ns, uint64_t posting_ns,
                         uint64_t cpu_ns) {
    double seconds = (double)ns / (double)CLI_NS_PER_SEC;
    printf("{\"name\": \"%s\", \"posters\": %u, \"posted\": %zu, \"ran\": %zu, "
           "\"out_of_order\": %zu, \"seconds\": %.6f, \"posting_seconds\": %.6f, "
           "\"posts_per_s\": %.0f, \"cpu_ns_per_post\": %.1f}\n",
           name, options->posters, posted, account->ran, account->out_of_order, seconds,
           (double)posting_ns / (double)CLI_NS_PER_SEC,
           ns > 0 ? (double)account->ran / seconds : 0.0, (double)cpu_ns / (double)options->tasks);
    fflush(stdout);
}

int post_measure(const char *name, const post_options *options, post_all *post, void *target,
                 post_account *account) {
    poster posters[POST_MAX_POSTERS];
    pthread_barrier_t together;
    pthread_barrier_init(&together, NULL, options->posters);
    uint64_t cpu_ns = cpu_now_ns();
    for (unsigned i = 0; i < options->posters; i++) {
        posters[i] = (poster){.together = &together,
                              .options = options,
                              .post = post,
                              .target = target,
                              .index = i,
                              .count = post_share(options, i)};
        int r = pthread_create(&posters[i].id, NULL, run_poster, &posters[i]);
        if (r != 0) {
            fprintf(stderr, "%s: poster %u: %s\n", name, i, strerror(r));
            exit(EXIT_FAILURE);
        }
    }
    size_t posted = 0;
    uint64_t start_ns = UINT64_MAX, end_ns = 0;
    for (unsigned i = 0; i < options->posters; i++) {
        pthread_join(posters[i].id, NULL);
        posted += posters[i].accepted;
        if (posters[i].start_ns < start_ns)
            start_ns = posters[i].start_ns;
        if (posters[i].end_ns > end_ns)
            end_ns = posters[i].end_ns;
    }
    pthread_barrier_destroy(&together);
    if (posted != options->tasks || !wait_for_last(account)) {
        /* The loop may still count: what is read here is for the message only. */
        fprintf(stderr, "%s: %zu of %zu tasks posted, about %zu ran\n", name, posted,
                options->tasks, account->ran);
        return EXIT_FAILURE;
    }
    print_result(name, options, posted, account, account->end_ns - start_ns, end_ns - start_ns,
                 cpu_now_ns() - cpu_ns);
    return account->out_of_order == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
