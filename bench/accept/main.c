/* How connections get to workers: a shared listening fd, SO_REUSEPORT, one acceptor; weft.
 *
 * weft-accept [ROUNDS]   64 long-lived connections, a stuck worker, and churn; 2 and 4 workers */
#include "accept/accept.h"
#include "common/apart.h"
#include "common/cli.h"
#include "common/rounds.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct server servers[] = {
    {"weft", serve_weft, SHARED, true},
    {"shared fd", serve_epoll, SHARED, false},
    {"shared fd, hand-over", serve_epoll, SHARED, true},
    {"SO_REUSEPORT", serve_epoll, REUSEPORT, false},
    {"SO_REUSEPORT, hand-over", serve_epoll, REUSEPORT, true},
    {"acceptor, in turn", serve_epoll, ACCEPTOR, false},
    {"acceptor, to emptiest", serve_epoll, ACCEPTOR, true},
};

enum { SERVERS = sizeof servers / sizeof servers[0] };

struct table {
    const char *title, *columns[FIGURES];
    client *client;
    unsigned rounds;
    bool has_ratios; /* weft / other within a round, rather than the largest figure */
};

static double figures[SERVERS][FIGURES][ROUNDS_MAX];

static struct target server_begin(const struct server *s, unsigned workers) {
    struct target t = {.workers = workers, .board = apart_shared(sizeof *t.board)};
    t.pid = must_call("fork", fork());
    if (t.pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        s->serve(s, workers, t.board);
        _exit(EXIT_SUCCESS);
    }
    while (atomic_load(&t.board->port) == 0) {
        must("the server has ended", waitpid(t.pid, NULL, WNOHANG) == 0 ? 0 : -ECHILD);
        usleep(200);
    }
    return t;
}

static void server_end(const struct target *t) {
    kill(t->pid, SIGTERM);
    must_call("waitpid", waitpid(t->pid, NULL, 0));
}

static void run_once(const struct table *table, unsigned who, unsigned workers, unsigned round) {
    double result[FIGURES] = {0};
    struct target t = server_begin(&servers[who], workers);
    table->client(&t, result);
    server_end(&t);
    if (table->client == client_churn)
        result[2] = 100.0 * (double)atomic_load(&t.board->handed) / result[2];
    munmap(t.board, sizeof *t.board);
    for (unsigned i = 0; i < FIGURES; i++)
        figures[who][i][round] = result[i];
}

static void print_server(const struct table *table, unsigned who) {
    printf("  %-24s", servers[who].name);
    for (unsigned i = 0; i < FIGURES && table->columns[i]; i++) {
        double ratios[ROUNDS_MAX], most = 0;
        for (unsigned round = 0; round < table->rounds; round++) {
            double figure = figures[who][i][round];
            most = figure > most ? figure : most;
            ratios[round] = figures[0][i][round] / figure;
        }
        bench_print_quartiles(" %8.1f [%.1f .. %.1f]", figures[who][i], table->rounds);
        if (!table->has_ratios)
            printf(" max %-7.1f", most);
        else if (i < 2)
            bench_print_quartiles(" %.2f [%.2f .. %.2f]", ratios, table->rounds);
    }
    putchar('\n');
}

static void print_table(const struct table *table, unsigned workers) {
    for (unsigned round = 0; round < table->rounds; round++)
        for (unsigned i = 0; i < SERVERS; i++)
            run_once(table, (i + round) % SERVERS, workers, round);
    printf("%s, %u workers, %u rounds: median [quartiles]%s\n  %-24s", table->title, workers,
           table->rounds, table->has_ratios ? " weft / other within a round" : ", largest", "");
    for (unsigned i = 0; i < FIGURES && table->columns[i]; i++)
        printf(" | %s", table->columns[i]);
    putchar('\n');
    for (unsigned who = 0; who < SERVERS; who++)
        print_server(table, who);
    fflush(stdout);
}

int main(int argc, char **argv) {
    static const struct table tables[] = {
        {"64 connections at once",
         {"most - fewest", "largest share, %"},
         client_at_once,
         51,
         false},
        {"64 one by one", {"most - fewest", "largest share, %"}, client_one_by_one, 51, false},
        {"40 connections while a worker is stuck for 200 ms",
         {"hostages", "waited over 10 ms", "longest wait, ms"},
         client_stuck,
         15,
         false},
        {"accept, echo, close",
         {"connections/s", "server's CPU each, us", "handed over, %"},
         client_churn,
         41,
         true},
    };
    uint64_t rounds = 0;
    if (argc > 2 || (argc == 2 && cli_number(argv[1], 1, ROUNDS_MAX, &rounds) < 0)) {
        fprintf(stderr, "usage: weft-accept [ROUNDS]\n");
        return EXIT_FAILURE;
    }
    for (unsigned i = 0; i < sizeof tables / sizeof tables[0]; i++)
        for (unsigned workers = 2; workers <= 4; workers += 2) {
            struct table table = tables[i];
            if (rounds > 0)
                table.rounds = (unsigned)rounds;
            print_table(&table, workers);
        }
    return EXIT_SUCCESS;
}
