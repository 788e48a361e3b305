/* chat: talk by name, across workers, and from a thread that weft knows nothing of.
 *
 *   chat [-w workers] [address]      default: one worker per CPU, :7000
 *
 *   NAME alice       takes a name: up to 24 of A-Z a-z 0-9 _ -
 *   TO bob text      to bob alone
 *   ALL text         to everybody
 *   WHO              who is here
 *   QUIT             leaves, as the end of input does
 *
 * Lines that begin with "* " are the server's. The operator types on standard input: "bob text" for
 * bob, "* text" for everybody; where that ends, the server goes on. SIGINT and SIGTERM stop it.
 *
 * Names. The directory says which stream has a name: TO looks it up, on whatever thread, and sends
 * by the id. Without a lock, since nobody minds an answer that is a moment old: ids are never
 * reused, so the worst is a user who has just left, -ENOENT. Taking a name is different: of two who
 * want it at once, one must be refused. So worker 0 alone puts and removes names, one after the
 * other. A name that was granted is given back exactly once: by on_close or, where the stream went
 * before it heard, by the answer, which comes even then.
 *
 * Everybody. What is said to all, and who comes and goes, makes a tour: one task, posted from
 * worker to worker from worker 0 on, and written on each to the users there. Posts from one thread
 * to one worker stay in order, so all users see all of it in the same order. (By weft_broadcast()
 * it would be there sooner, and two could disagree about who spoke first.) Between TO and ALL is no
 * order.
 *
 * Limits. NAME, ALL and WHO pause their sender until they are answered, so nobody can pile up
 * tasks. Who sends a line of more than 1 KiB is told, and closed. Who does not read his replies is
 * not read (HIGH_WATER). Who does not read what others say is closed when he is MAX_PENDING behind,
 * rather than left with a conversation that has holes; a TO that would bring him there is refused,
 * and its sender told. Who neither says nor hears anything for ten minutes is closed. At most
 * MAX_USERS are connected. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <weft.h>

enum {
    NAME = 24,
    LINE = 1024,
    TEXT = LINE + 2 * NAME, /* a line, and who says it to whom */
    HIGH_WATER = 64 << 10,
    MAX_PENDING = 1 << 20,
    MAX_USERS = 10000,
};

/* Made before there are other threads, and used by all of them. */
static weft_runtime *runtime;
static weft_directory *users; /* by name */

/* Goes to worker 0, perhaps to the others, and then home. */
struct errand {
    weft_task task;
    weft_stream_id home; /* who waits for it; zero: nobody */
    void (*visit)(weft_stream *s, void *errand);
    void (*done)(weft_stream *s, void *errand); /* at home; with NULL where that is gone */
    bool is_granted;
    unsigned count;
    char name[NAME + 1];
    char text[TEXT];
};

/* The state of a stream. */
struct user {
    struct errand *name; /* the errand that got it, and will give it back */
    bool is_deaf;        /* looks at no further line: waits for an errand, or closes */
};

static struct user *user_of(weft_stream *s) {
    return weft_stream_state(s);
}

__attribute__((format(printf, 2, 3))) static void say(weft_stream *s, const char *format, ...) {
    char line[TEXT];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    weft_stream_write(s, line, strlen(line));
}

/* Errands. */

/* For s, which waits until resume(), or for nobody: then s is NULL, and the thread any. NULL where
 * there is no memory. */
static struct errand *errand_create(weft_stream *s, void (*done)(weft_stream *s, void *errand)) {
    const weft_stream_id home = weft_stream_id_of(s);
    struct errand *e = !s || home.value[1] != 0 ? calloc(1, sizeof *e) : NULL;
    if (e) {
        e->home = home;
        e->done = done;
    }
    if (s && !e)
        say(s, "* out of memory\n");
    if (s && e) {
        user_of(s)->is_deaf = true;
        weft_stream_pause(s);
    }
    return e;
}

/* What it has sent ahead is shown again. */
static void resume(weft_stream *s) {
    user_of(s)->is_deaf = false;
    weft_stream_resume(s);
}

static void go_to(struct errand *e, weft_worker *w, void (*run)(weft_task *task)) {
    e->task.run = run;
    if (weft_post(w, &e->task) < 0) /* the end: nobody is connected any more */
        e->done(NULL, e);
}

/* To the stream's worker. What has no home, or none any more, ends here. */
static void go_home(weft_task *task) {
    struct errand *e = WEFT_CONTAINER_OF(task, struct errand, task);
    int r = weft_stream_post(runtime, e->home, e->done, e);
    if (r == -ENOMEM) /* somebody waits: try again in the next iteration */
        go_to(e, weft_worker_current(), go_home);
    else if (r < 0)
        e->done(NULL, e);
}

static void tour(weft_task *task) {
    struct errand *e = WEFT_CONTAINER_OF(task, struct errand, task);
    weft_worker *w = weft_worker_current();
    weft_worker_each_stream(w, e->visit, e);
    weft_worker *next = weft_runtime_worker(runtime, weft_worker_index(w) + 1);
    if (next)
        go_to(e, next, tour);
    else
        go_home(task);
}

static void start(struct errand *e, void (*run)(weft_task *task)) {
    go_to(e, weft_runtime_worker(runtime, 0), run);
}

/* To everybody. */

static void hear(weft_stream *s, void *errand) {
    const struct errand *e = errand;
    if (user_of(s)->name)
        weft_stream_write(s, e->text, strlen(e->text));
}

static void heard(weft_stream *s, void *errand) {
    free(errand);
    if (s)
        resume(s);
}

__attribute__((format(printf, 2, 3))) static void tell_all(weft_stream *s, const char *format,
                                                           ...) {
    struct errand *e = errand_create(s, heard);
    va_list arguments;
    if (!e)
        return;
    va_start(arguments, format);
    vsnprintf(e->text, sizeof e->text, format, arguments);
    va_end(arguments);
    e->visit = hear;
    start(e, tour);
}

/* To one. Any thread. Returns NULL, or why not. */
static const char *tell(const char *name, const char *from, const char *text) {
    char line[TEXT];
    weft_stream_id id;
    snprintf(line, sizeof line, "%s to you: %s\n", from, text);
    int r = weft_directory_get(users, name, strlen(name), &id);
    if (r == 0)
        r = weft_send(runtime, id, line, strlen(line));
    if (r == -ENOENT) /* never here, or gone since */
        return "no such user";
    return r == -ENOBUFS ? "does not keep up" : r < 0 ? weft_strerror(r) : NULL;
}

/* Who is here: each worker adds its own, as far as a line has room. */

static void count(weft_stream *s, void *errand) {
    struct errand *e = errand;
    size_t length = strlen(e->text);
    if (!user_of(s)->name)
        return;
    e->count++;
    if (length + NAME < LINE)
        snprintf(e->text + length, NAME + 2, " %s", user_of(s)->name->name);
}

static void counted(weft_stream *s, void *errand) {
    struct errand *e = errand;
    if (s) {
        say(s, "* %u here:%s\n", e->count, e->text);
        resume(s);
    }
    free(e);
}

static void who(weft_stream *s) {
    struct errand *e = errand_create(s, counted);
    if (!e)
        return;
    e->visit = count;
    start(e, tour);
}

/* Names. On worker 0: */

static void claim(weft_task *task) {
    struct errand *e = WEFT_CONTAINER_OF(task, struct errand, task);
    weft_stream_id holder;
    e->is_granted = weft_directory_get(users, e->name, strlen(e->name), &holder) == -ENOENT &&
                    weft_directory_put(users, e->name, strlen(e->name), e->home) == 0;
    go_home(task);
}

static void release(weft_task *task) {
    struct errand *e = WEFT_CONTAINER_OF(task, struct errand, task);
    weft_directory_remove(users, e->name, strlen(e->name));
    free(e);
}

/* And elsewhere: */

/* Needs no memory, so no name stays behind. */
static void give_back(struct errand *e) {
    e->is_granted = false;
    start(e, release);
}

static void claimed(weft_stream *s, void *errand) {
    struct errand *e = errand;
    if (s)
        resume(s);
    if (s && e->is_granted) {
        user_of(s)->name = e;
        say(s, "* welcome, %s\n", e->name);
        tell_all(NULL, "* %s is here\n", e->name);
        return;
    }
    if (s)
        say(s, "* %s is taken\n", e->name);
    if (e->is_granted)
        give_back(e);
    else
        free(e);
}

static void take_name(weft_stream *s, const char *name) {
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
    size_t length = strlen(name);
    if (length == 0 || length > NAME || strspn(name, allowed) < length) {
        say(s, "* that is no name\n");
        return;
    }
    struct errand *e = errand_create(s, claimed);
    if (!e)
        return;
    memcpy(e->name, name, length);
    start(e, claim);
}

static void closed(weft_stream *s, int error) {
    struct errand *e = user_of(s)->name;
    (void)error;
    if (!e)
        return;
    tell_all(NULL, "* %s has left\n", e->name);
    give_back(e);
}

/* Lines. */

static void quit(weft_stream *s) {
    user_of(s)->is_deaf = true;
    weft_stream_close(s);
}

/* Cuts the first word off: returns the rest. */
static char *split(char *text) {
    char *space = strchr(text, ' ');
    if (!space)
        return text + strlen(text);
    *space = '\0';
    return space + 1;
}

static void obey(weft_stream *s, char *line) {
    const char *word = line, *name = user_of(s)->name ? user_of(s)->name->name : NULL;
    char *text = split(line);
    if (strcmp(word, "QUIT") == 0) {
        quit(s);
    } else if (strcmp(word, "WHO") == 0) {
        who(s);
    } else if (strcmp(word, "NAME") == 0 && !name) {
        take_name(s, text);
    } else if (strcmp(word, "ALL") == 0 && name) {
        tell_all(s, "%s: %s\n", name, text);
    } else if (strcmp(word, "TO") == 0 && name) {
        const char *to = text, *problem = tell(to, name, split(text));
        if (problem)
            say(s, "* %s: %s\n", to, problem);
    } else {
        say(s, "* %s, WHO or QUIT\n", name ? "TO, ALL" : "NAME");
    }
}

/* Copies the first line, without its end: the bytes consumed; 0: there is none yet. */
static size_t next_line(const char *data, size_t len, char *ret_line) {
    const char *end = memchr(data, '\n', len <= LINE ? len : LINE + 1);
    if (!end)
        return 0;
    size_t length = (size_t)(end - data);
    memcpy(ret_line, data, length);
    ret_line[length > 0 && end[-1] == '\r' ? length - 1 : length] = '\0';
    return length + 1;
}

static size_t received(weft_stream *s, const uint8_t *data, size_t len) {
    char line[LINE + 1];
    size_t used = 0, n = 1;
    while (!user_of(s)->is_deaf && n > 0) {
        n = next_line((const char *)data + used, len - used, line);
        used += n;
        if (n > 0) {
            obey(s, line);
        } else if (len - used > LINE) {
            say(s, "* a line has at most %d bytes\n", LINE);
            quit(s);
        }
    }
    return used;
}

/* Everybody leaves: nobody needs to be told who. */
static void stopped(weft_stream *s) {
    if (user_of(s)->name)
        give_back(user_of(s)->name);
    user_of(s)->name = NULL;
    say(s, "* the server stops\n");
    quit(s);
}

static const weft_protocol protocol = {
    .state_size = sizeof(struct user),
    .on_data = received,
    .on_stop = stopped,
    .on_close = closed,
    .high_water = HIGH_WATER,
    .max_pending = MAX_PENDING,
    .idle_timeout_ns = WEFT_SEC(600),
};

/* The operator: on a thread of our own. */

static void operator_says(char *line) {
    const char *text = split(line), *problem = NULL;
    if (strcmp(line, "*") == 0)
        tell_all(NULL, "[operator]: %s\n", text);
    else
        problem = tell(line, "[operator]", text);
    if (problem) {
        printf("%s: %s\n", line, problem);
        fflush(stdout);
    }
}

/* Until standard input ends, or main() closes its end of the pipe. */
static void *operator_main(void *pipe_end) {
    struct pollfd fds[] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = *(int *)pipe_end}};
    char buffer[LINE + 1], line[LINE + 1];
    size_t length = 0;
    while (!fds[1].revents) {
        if (poll(fds, 2, -1) < 0 || !fds[0].revents)
            continue;
        ssize_t n = read(STDIN_FILENO, buffer + length, sizeof buffer - length);
        if (n <= 0)
            break;
        length += (size_t)n;
        for (size_t used; (used = next_line(buffer, length, line)) > 0; length -= used) {
            operator_says(line);
            memmove(buffer, buffer + used, length - used);
        }
        if (length == sizeof buffer)
            length = 0; /* too long for a line: dropped */
    }
    return NULL;
}

static int serve(const char *address) {
    const weft_listen_options limits = {.max_streams = MAX_USERS};
    weft_listener *listener = NULL;
    pthread_t operator_thread;
    int ends[2];
    int r = weft_listen_with(runtime, address, &limits, &protocol, NULL, &listener);
    if (r == 0)
        r = weft_runtime_stop_on(runtime, SIGINT);
    if (r == 0)
        r = weft_runtime_stop_on(runtime, SIGTERM);
    if (r == 0)
        r = pipe2(ends, O_CLOEXEC) < 0 ? -errno : 0;
    if (r == 0) /* only now, so that it blocks the two signals, too */
        r = -pthread_create(&operator_thread, NULL, operator_main, &ends[0]);
    if (r < 0)
        return r;
    printf("listening on %s with %u workers\n", weft_listener_address(listener),
           weft_runtime_worker_count(runtime));
    fflush(stdout);
    r = weft_runtime_run(runtime);
    close(ends[1]);
    pthread_join(operator_thread, NULL);
    return r;
}

int main(int argc, char **argv) {
    weft_runtime_options options = {0};
    int option;
    while ((option = getopt(argc, argv, "w:")) == 'w')
        options.workers = (unsigned)strtoul(optarg, NULL, 10);
    if (option != -1 || argc - optind > 1) {
        fprintf(stderr, "usage: chat [-w workers] [address]\n");
        return 1;
    }
    int r = weft_runtime_create(&options, &runtime);
    if (r == 0)
        r = weft_directory_create(&users);
    if (r == 0)
        r = serve(argv[optind] ? argv[optind] : ":7000");
    weft_runtime_destroy(runtime);
    weft_directory_destroy(users);
    if (r < 0)
        fprintf(stderr, "chat: %s\n", weft_strerror(r));
    return r < 0;
}
