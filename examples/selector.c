/* selector: a loop of one's own, on the bare selector and without a runtime.
 *
 *   selector [port] [idle]        port on 127.0.0.1; default 7001, 0 picks one
 *                                 seconds of silence after which a client is closed, default 30
 *
 * An echo server of one thread, in which every kind of source but the process has its part: sockets
 * to accept on and to serve, a timer that looks for silent clients, SIGINT and SIGTERM as ordinary
 * events, and an event that another thread triggers: a line on standard input prints how things
 * are. (A thread, since standard input may be a file, which epoll does not watch.)
 *
 * With weft/stream.h the same server is examples/echo.c. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <weft.h>

enum { BATCH = 64, BUFFER = 16384 };

struct client {
    struct client *next, **link;
    int fd;
    unsigned silent;   /* ticks since the last byte */
    size_t start, end; /* what of the buffer is not echoed yet */
    char buffer[BUFFER];
};

struct server {
    weft_selector *selector;
    weft_event *asked; /* by the console thread */
    int listener, tick, sigint, sigterm;
    unsigned idle_limit;
    bool is_stopping;
    struct client *clients;
    unsigned long accepted, open, echoed;
};

/* Unregister, then close. Its events that this batch still holds fail weft_selector_is_live(), so
 * its memory can go at once. */
static void client_close(struct server *s, struct client *c) {
    weft_selector_unregister(s->selector, c->fd);
    close(c->fd);
    *c->link = c->next;
    if (c->next)
        c->next->link = c->link;
    free(c);
    s->open--;
}

static int client_open(struct server *s, int fd) {
    struct client *c = malloc(sizeof *c);
    if (!c)
        return -ENOMEM;
    int r = weft_selector_register(s->selector, fd, WEFT_READ, c);
    if (r < 0) {
        free(c);
        return r;
    }
    c->fd = fd;
    c->silent = 0;
    c->start = c->end = 0;
    c->next = s->clients;
    c->link = &s->clients;
    if (c->next)
        c->next->link = &c->next;
    s->clients = c;
    s->accepted++;
    s->open++;
    return 0;
}

/* One connection for each time the listener is reported: it is reported again while there are more.
 * Without a file descriptor left it would be reported for ever, so it pauses until the next tick.
 */
static void accept_one(struct server *s) {
    int fd = accept4(s->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0 && client_open(s, fd) < 0)
        close(fd);
    else if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM))
        weft_selector_update(s->selector, s->listener, 0);
}

/* Sends what is left; while the client does not take it, nothing more is read from it. */
static bool client_send(struct server *s, struct client *c) {
    ssize_t n = send(c->fd, c->buffer + c->start, c->end - c->start, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        return false;
    if (n > 0) {
        c->start += (size_t)n;
        s->echoed += (unsigned long)n;
    }
    /* Where nothing changes this is no system call. */
    return weft_selector_update(s->selector, c->fd, c->start < c->end ? WEFT_WRITE : WEFT_READ) ==
           0;
}

static bool client_receive(struct server *s, struct client *c) {
    ssize_t n = recv(c->fd, c->buffer, sizeof c->buffer, 0);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    if (n == 0)
        return false; /* the end, which comes after all bytes */
    c->start = 0;
    c->end = (size_t)n;
    return client_send(s, c);
}

static void client_ready(struct server *s, struct client *c, uint32_t events) {
    c->silent = 0;
    bool goes_on = c->start < c->end ? client_send(s, c) : client_receive(s, c);
    if ((events & WEFT_ERROR) || !goes_on)
        client_close(s, c);
}

static void tick(struct server *s) {
    for (struct client *c = s->clients, *next; c; c = next) {
        next = c->next;
        if (++c->silent > s->idle_limit)
            client_close(s, c);
    }
    weft_selector_update(s->selector, s->listener, WEFT_READ); /* had it paused? */
}

static void serve(struct server *s, const weft_ready *ready) {
    if (ready->events & WEFT_SIGNAL)
        s->is_stopping = true;
    else if (ready->events & WEFT_TIMER)
        tick(s);
    else if (ready->events & WEFT_USER)
        printf("%lu open, %lu accepted, %lu bytes echoed\n", s->open, s->accepted, s->echoed);
    else if (ready->fd == s->listener)
        accept_one(s);
    else
        client_ready(s, ready->data, ready->events);
}

static int loop(struct server *s) {
    weft_ready ready[BATCH];
    while (!s->is_stopping) {
        int n = weft_selector_select(s->selector, WEFT_FOREVER, ready, BATCH);
        if (n < 0)
            return n;
        for (int i = 0; i < n; i++)
            if (weft_selector_is_live(s->selector,
                                      &ready[i])) /* an earlier one may have closed it */
                serve(s, &ready[i]);
        fflush(stdout);
    }
    return 0;
}

/* The other thread. Ends with its input, or is cancelled in read(). */
static void *console(void *asked) {
    char line[256];
    while (read(STDIN_FILENO, line, sizeof line) > 0)
        weft_event_trigger(asked);
    return NULL;
}

/* Listens on 127.0.0.1, and says where. */
static int listen_on(struct server *s, uint16_t port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    socklen_t size = sizeof address;
    const int one = 1;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s->listener < 0)
        return -errno;
    if (setsockopt(s->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0 ||
        bind(s->listener, (struct sockaddr *)&address, size) < 0 ||
        listen(s->listener, SOMAXCONN) < 0 ||
        getsockname(s->listener, (struct sockaddr *)&address, &size) < 0)
        return -errno;
    printf("listening on 127.0.0.1:%u\n", ntohs(address.sin_port));
    fflush(stdout);
    return weft_selector_register(s->selector, s->listener, WEFT_READ, NULL);
}

static int open_sources(struct server *s) {
    int r = weft_selector_create(&s->selector);
    if (r == 0)
        r = weft_event_create(&s->asked);
    if (r == 0)
        r = weft_selector_register_event(s->selector, s->asked, NULL);
    if (r == 0)
        r = s->tick = weft_selector_register_timer(s->selector, WEFT_SEC(1), 0, NULL);
    /* These block the numbers in this thread; the console thread, made later, inherits that. */
    if (r >= 0)
        r = s->sigint = weft_selector_register_signal(s->selector, SIGINT, NULL);
    if (r >= 0)
        r = s->sigterm = weft_selector_register_signal(s->selector, SIGTERM, NULL);
    return r < 0 ? r : 0;
}

/* The selector closes what it made: the timer and the signals. The rest is ours. */
static void close_sources(struct server *s) {
    while (s->clients)
        client_close(s, s->clients);
    weft_selector_destroy(s->selector);
    weft_event_destroy(s->asked);
    if (s->listener >= 0)
        close(s->listener);
}

static int run(struct server *s, uint16_t port) {
    pthread_t thread;
    int r = open_sources(s);
    if (r == 0)
        r = listen_on(s, port);
    if (r == 0)
        r = -pthread_create(&thread, NULL, console, s->asked);
    if (r == 0) {
        r = loop(s);
        pthread_cancel(thread);
        pthread_join(thread, NULL); /* before the event goes that it triggers */
    }
    close_sources(s);
    return r;
}

/* A number up to most, or -1. */
static long number(const char *text, long most) {
    char *end;
    long value = strtol(text, &end, 10);
    return *text < '0' || *text > '9' || *end || value > most ? -1 : value;
}

int main(int argc, char **argv) {
    struct server server = {.listener = -1};
    long port = argc > 1 ? number(argv[1], UINT16_MAX) : 7001;
    long idle = argc > 2 ? number(argv[2], 86400) : 30;
    if (port < 0 || idle < 0 || argc > 3) {
        fprintf(stderr, "usage: selector [port] [idle seconds]\n");
        return 1;
    }
    server.idle_limit = (unsigned)idle;
    int r = run(&server, (uint16_t)port);
    if (r < 0)
        fprintf(stderr, "selector: %s\n", weft_strerror(r));
    return r < 0;
}
