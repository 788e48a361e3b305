#include "net/mailbox.h"

/* The table: a worker's mailboxes, in chunks of 64, 128, 256 ... that never move. */
enum { CHUNK_FIRST_LOG = 6 };

static unsigned chunk_of(uint32_t index, uint32_t *ret_offset) {
    uint32_t shifted = index + (UINT32_C(1) << CHUNK_FIRST_LOG);
    unsigned log = 31 - (unsigned)__builtin_clz(shifted);
    *ret_offset = shifted - (UINT32_C(1) << log);
    return log - CHUNK_FIRST_LOG;
}

static size_t chunk_length(unsigned chunk) {
    return (size_t)1 << (CHUNK_FIRST_LOG + chunk);
}

/* Any thread; NULL: no such place. */
static struct mailbox *find(weft_runtime *rt, weft_stream_id id) {
    uint64_t worker = id.value[0] >> 32;
    uint32_t index = (uint32_t)id.value[0], offset = 0;
    if (id.value[1] == 0 || worker >= rt->worker_count)
        return NULL;
    struct net_worker *net = net_of(rt->workers[worker]);
    /* Acquire: pairs with the release in mailbox_new(), which fills the chunk before. */
    if (index >= atom_load(&net->mailbox_count, acquire))
        return NULL;
    unsigned chunk = chunk_of(index, &offset);
    return &net->mailbox_chunks[chunk][offset];
}

/* The first word of its stream's id. Its chunk, and those before it, were there before the stream
 * could move. */
static uint64_t place_of(const weft_runtime *rt, const struct mailbox *m) {
    struct mailbox *const *chunks = net_of(rt->workers[m->home])->mailbox_chunks;
    uint64_t index = 0;
    for (unsigned chunk = 0;; index += chunk_length(chunk++)) {
        uintptr_t bytes = (uintptr_t)m - (uintptr_t)chunks[chunk];
        if (bytes < chunk_length(chunk) * sizeof *m)
            return (uint64_t)m->home << 32 | (index + bytes / sizeof *m);
    }
}

static struct mailbox *mailbox_new(struct net_worker *net) {
    uint32_t index = atom_load(&net->mailbox_count, relaxed), offset = 0;
    unsigned chunk = chunk_of(index, &offset);
    if (chunk == MAILBOX_CHUNKS)
        return NULL;
    if (!net->mailbox_chunks[chunk]) {
        void *memory = NULL; /* zero, and taking no memory before it is used */
        if (os_mmap_anonymous(chunk_length(chunk) * sizeof(struct mailbox), &memory) < 0)
            return NULL;
        net->mailbox_chunks[chunk] = memory;
    }
    struct mailbox *m = &net->mailbox_chunks[chunk][offset];
    m->home = net->worker->index & 0x3fff; /* all of it: WORKERS_MAX is less */
    atom_store(&net->mailbox_count, index + 1, release);
    return m;
}

static void put_back(struct net_worker *net, struct mailbox *m) {
    m->news.next = NULL;
    *net->mailboxes_tail = &m->news;
    net->mailboxes_tail = &m->news.next;
}

/* The one that was put back first, unless somebody with an old id is still looking at it. */
static struct mailbox *mailbox_again(struct net_worker *net) {
    if (!net->mailboxes)
        return NULL;
    struct mailbox *m = container_of(net->mailboxes, struct mailbox, news);
    /* A read-modify-write, to be in one order with the visitors': who comes later than this sees
     * what close stored before, a number that is not his. */
    if (atom_add(&m->visitors, 0, acq_rel) != 0 && !MUTANT("mailbox-used-too-early"))
        return NULL;
    net->mailboxes = m->news.next;
    if (!net->mailboxes)
        net->mailboxes_tail = &net->mailboxes;
    return m;
}

static void news_read(weft_task *task);

void mailboxes_init(struct net_worker *net) {
    net->mailboxes_tail = &net->mailboxes;
    net->news_task.run = news_read;
    queue_init(&net->news);
    (void)queue_arm(&net->news);
}

void mailboxes_release(struct net_worker *net) {
    for (unsigned chunk = 0; chunk < MAILBOX_CHUNKS && net->mailbox_chunks[chunk]; chunk++)
        os_munmap(net->mailbox_chunks[chunk], chunk_length(chunk) * sizeof(struct mailbox));
}

/* A stream's mailbox. */

static int mailbox_open(weft_stream *s) {
    static _Atomic uint64_t serials;
    struct mailbox *m = mailbox_again(s->net);
    if (!m)
        m = mailbox_new(s->net);
    if (!m)
        return -ENOMEM;
    m->stream = s;
    m->here = true;
    queue_init(&m->queue);
    m->armed = queue_arm(&m->queue);
    atom_store(&m->owner, (uint16_t)s->net->worker->index, relaxed);
    s->mailbox = m;
    mailbox_note_room(s);
    if (MUTANT("mailbox-number-again"))
        atom_store(&m->serial, 1, release);
    else
        atom_store(&m->serial, atom_add(&serials, 1, relaxed) + 1, release);
    return 0;
}

weft_stream_id weft_stream_id_of(const weft_stream *stream) {
    weft_stream *s = (weft_stream *)(uintptr_t)stream;
    const weft_stream_id none = {.value = {0, 0}};
    if (!s || !worker_owner_check_void(s->net->worker, "weft_stream_id_of"))
        return none;
    if (!s->mailbox && (s->flags & STREAM_ENDED || mailbox_open(s) < 0))
        return none;
    struct mailbox *m = s->mailbox;
    return (weft_stream_id){
        .value = {place_of(s->net->worker->runtime, m), atom_load(&m->serial, relaxed)}};
}

void mailbox_note_room(weft_stream *s) {
    if (!s->mailbox)
        return;
    size_t held = output_held(s), most = stream_max_pending(s);
    bool refuses = s->flags & STREAM_REFUSED && !MUTANT("mailbox-refusal-unseen");
    atom_store(&s->mailbox->room, refuses || held > most ? 0 : most - held, relaxed);
}

/* What is on its way elsewhere, or not open yet, or has ended, reads no more for now. */
static bool reads(const weft_stream *s) {
    return (s->flags & (STREAM_UNOPENED | STREAM_MOVING | STREAM_ENDED)) == 0;
}

/* Any thread: leaving a message. */

static void message_free(struct message *message) {
    mem_free(message, sizeof *message + message->piece.length);
}

static struct message *message_create(size_t length) {
    if (length > SIZE_MAX / 2) /* which max_pending may allow */
        return NULL;
    struct message *message = mem_alloc(sizeof *message + length);
    if (message)
        *message = (struct message){.piece = {.data = message->bytes, .length = length}};
    return message;
}

static void leave(struct mailbox *m, size_t length) {
    if (length)
        atom_sub(&m->under_way, length, relaxed);
    /* Release: pairs with mailbox_again(): we touch it no more. */
    atom_sub(&m->visitors, 1, release);
}

/* The mailbox that belongs to that id, with us as a visitor who leaves so many bytes; or -errno. */
static int enter(weft_runtime *rt, weft_stream_id id, size_t length, struct mailbox **ret_mailbox) {
    struct mailbox *m = find(rt, id);
    if (!m)
        return -ENOENT;
    atom_add(&m->visitors, 1, acq_rel);
    if (atom_load(&m->serial, acquire) != id.value[1]) {
        leave(m, 0);
        return -ENOENT;
    }
    if (length > atom_load(&m->room, relaxed)) {
        leave(m, 0);
        return -ENOBUFS;
    }
    size_t before = length ? atom_add(&m->under_way, length, relaxed) : 0;
    /* Once more: what arrived meanwhile takes its room before it is no longer under way. */
    size_t room = MUTANT("mailbox-unsent-unseen") ? SIZE_MAX : atom_load(&m->room, relaxed);
    if (length && (length > room || before > room - length)) {
        leave(m, length);
        return -ENOBUFS;
    }
    *ret_mailbox = m;
    return 0;
}

/* Where it cannot be told, all workers have ended, and its stream before them. */
static void tell(weft_runtime *rt, struct mailbox *m) {
    struct net_worker *owner = net_of(rt->workers[atom_load(&m->owner, acquire)]);
    if (queue_push(&owner->news, &m->news) > 0)
        (void)worker_post(owner->worker, &owner->news_task);
}

/* On success the message is the mailbox's, and so is our visit; else both end here. */
static int push(weft_runtime *rt, struct mailbox *m, struct message *message) {
    int r = queue_push(&m->queue, &message->node);
    if (r < 0) {
        leave(m, message->piece.length);
        message_free(message);
        return -ENOENT;
    }
    if (r > 0)
        tell(rt, m);
    return 0;
}

static int check(weft_runtime *rt, bool is_complete) {
    if (!rt || !is_complete)
        return -EINVAL;
    return process_is_forked() ? -EPERM : 0;
}

/* The mailbox's stream, if it is the caller's own and nothing waits that must come first. */
static weft_stream *at_hand(weft_runtime *rt, struct mailbox *m) {
    const weft_worker *w = worker_current;
    if (!w || w->runtime != rt || atom_load(&m->owner, acquire) != w->index)
        return NULL;
    bool first = m->armed && queue_is_armed(&m->queue);
    return m->here && (first || MUTANT("mailbox-overtaken")) && reads(m->stream) ? m->stream : NULL;
}

/* Without a message: the callback that runs writes to another stream of its worker, or its own. */
static int send_at_hand(weft_stream *s, const void *data, size_t len) {
    if (s->flags & (STREAM_CLOSING | STREAM_SHUT))
        return 0;
    if (s->flags & STREAM_REFUSED || !output_fits(s, len))
        return -ENOBUFS;
    /* That the stream ended in it is told by on_close, as for what is sent from elsewhere. */
    return weft_stream_write(s, data, len) == -ENOMEM ? -ENOMEM : 0;
}

int weft_send(weft_runtime *rt, weft_stream_id id, const void *data, size_t len) {
    struct mailbox *m = NULL;
    int r = check(rt, data || !len);
    if (r == 0)
        r = enter(rt, id, len, &m);
    if (r < 0)
        return r;
    weft_stream *s = len ? at_hand(rt, m) : NULL;
    if (s || !len) { /* nothing always fits, wherever it comes from */
        r = s ? send_at_hand(s, data, len) : 0;
        leave(m, len);
        return r;
    }
    struct message *message = message_create(len);
    if (!message) {
        leave(m, len);
        return -ENOMEM;
    }
    memcpy(message->bytes, data, len);
    return push(rt, m, message);
}

int weft_stream_post(weft_runtime *rt, weft_stream_id id, void (*fn)(weft_stream *s, void *arg),
                     void *arg) {
    struct mailbox *m = NULL;
    int r = check(rt, fn != NULL);
    if (r == 0)
        r = enter(rt, id, 0, &m);
    if (r < 0)
        return r;
    struct message *message = message_create(0);
    if (!message) {
        leave(m, 0);
        return -ENOMEM;
    }
    message->fn = fn;
    message->arg = arg;
    return push(rt, m, message);
}

/* The owner: reading them. */

static void message_end(struct net_worker *net, struct piece *piece) {
    (void)net;
    struct message *message = container_of(piece, struct message, piece);
    mem_free(message, sizeof *message + (size_t)(piece->data + piece->length - message->bytes));
}

static const struct piece_kind message_kind = {.end = message_end};

/* Few bytes are copied, so that many such messages are few pieces to send. True: it took the
 * message. */
static bool write_message(weft_stream *s, struct message *message) {
    enum { FEW = 1024 };
    struct piece *piece = &message->piece;
    const struct iovec bytes = {.iov_base = message->bytes, .iov_len = piece->length};
    if (piece->length <= FEW && chain_write(s, &bytes, 1, piece->length) == 0)
        return false;
    piece->kind = &message_kind;
    if (chain_append(s, piece) == 0)
        return true;
    stream_end(s, -ENOMEM);
    return false;
}

/* The sender was told that it fits, and must not be lied to: where it does not, the stream ends.
 * That a write of the stream's own was refused meanwhile is no reason. */
static void send_message(weft_stream *s, struct message *message) {
    if (s->flags & (STREAM_CLOSING | STREAM_ENDED | STREAM_SHUT)) {
        message_free(message);
        return;
    }
    if (!output_fits(s, message->piece.length)) {
        if (!MUTANT("mailbox-hole"))
            stream_end(s, -ENOBUFS);
        message_free(message);
        return;
    }
    if (!write_message(s, message))
        message_free(message);
    if ((s->flags & STREAM_ENDED) == 0)
        output_grown(s);
}

static void run_message(weft_stream *s, struct message *message) {
    void (*fn)(weft_stream *, void *) = message->fn;
    void *arg = message->arg;
    message_free(message);
    stream_enter(s, (uintptr_t)fn);
    fn(s, arg);
    stream_leave(s);
}

static struct message *next_message(struct mailbox *m) {
    struct message *message = container_of(m->taken, struct message, node);
    m->taken = m->taken->next;
    return message;
}

/* All that is there. What comes meanwhile waits for the next iteration, like posted tasks. */
static void read_all(weft_stream *s, struct mailbox *m) {
    bool disturbed = true;
    if (!m->taken)
        m->taken = queue_take(&m->queue, &disturbed);
    if (!disturbed && !MUTANT("mailbox-never-armed-again"))
        m->armed = false; /* it was ARMED until now, and is nobody's news */
    while (m->taken && reads(s)) {
        struct message *message = next_message(m);
        size_t length = message->piece.length;
        if (message->fn)
            run_message(s, message);
        else
            send_message(s, message);
        leave(m, length);
    }
}

void mailbox_read(weft_stream *s) {
    struct mailbox *m = s->mailbox;
    if (!m || !reads(s))
        return;
    read_all(s, m);
    if (m->armed || !reads(s))
        return;
    m->armed = true;
    if (!queue_arm(&m->queue) && !MUTANT("mailbox-armed-blind"))
        tell(s->net->worker->runtime, m); /* more has come */
}

static void told(struct net_worker *net, struct mailbox *m) {
    if (atom_load(&m->owner, acquire) != net->worker->index) {
        if (!MUTANT("mailbox-not-forwarded"))
            tell(net->worker->runtime, m);
        return;
    }
    m->armed = false;
    if (!m->stream)
        put_back(net, m);
    else if (m->here)
        mailbox_read(m->stream);
}

/* As many as tasks may run in one iteration; the rest waits for the next, as they would. */
static void news_read(weft_task *task) {
    struct net_worker *net = container_of(task, struct net_worker, news_task);
    uint64_t began = clock_cycles();
    if (!net->news_taken)
        net->news_taken = queue_take(&net->news, NULL);
    for (unsigned n = 0; n < WORKER_TASKS && net->news_taken; n++) {
        struct queue_node *node = net->news_taken;
        net->news_taken = node->next; /* the node is free to be pushed from here on */
        stat_add(&net->worker->stats.tasks, 1);
        told(net, container_of(node, struct mailbox, news));
        if (clock_cycles() - began > WORKER_TASK_CYCLES)
            break;
    }
    bool more = net->news_taken || !queue_arm(&net->news);
    if (more && !MUTANT("mailbox-news-armed-blind"))
        (void)worker_post(net->worker, &net->news_task);
}

/* A stream that moves. */

void mailbox_depart(weft_stream *s, struct net_worker *to) {
    struct mailbox *m = s->mailbox;
    if (!m)
        return;
    m->here = MUTANT("mailbox-read-on-the-way");
    /* Release: pairs with the acquire in told(), which then may find the stream not here yet. */
    atom_store(&m->owner, (uint16_t)to->worker->index, release);
}

void mailbox_arrive(weft_stream *s) {
    struct mailbox *m = s->mailbox;
    if (m)
        m->here = true;
}

/* What was taken is nobody's any more. */
static void tell_gone(struct mailbox *m, weft_worker *w) {
    while (m->taken) {
        struct message *message = next_message(m);
        void (*fn)(weft_stream *, void *) = message->fn;
        void *arg = message->arg;
        size_t length = message->piece.length;
        message_free(message);
        leave(m, length);
        if (fn && !MUTANT("mailbox-closed-silently")) {
            worker_enter(w, (uintptr_t)fn);
            fn(NULL, arg);
        }
    }
}

/* After on_close. */
void mailbox_close(weft_stream *s) {
    struct mailbox *m = s->mailbox;
    if (!m)
        return;
    bool disturbed = false;
    atom_store(&m->serial, 0, release);
    struct queue_node *rest = queue_close(&m->queue, &disturbed);
    s->mailbox = NULL;
    tell_gone(m, s->net->worker);
    m->taken = rest;
    tell_gone(m, s->net->worker);
    m->stream = NULL;
    if (m->armed && !disturbed)
        m->armed = false;
    if (!m->armed || MUTANT("mailbox-task-under-way"))
        put_back(s->net, m);
}
