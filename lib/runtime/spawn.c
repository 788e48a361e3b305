/* Starting a program: from the options to a plan for the child (base/child.h), and its pipes. */
#include "runtime/processes.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STDIO = 3 };

/* What one weft_spawn() needs besides the handle. */
struct spawn {
    struct child_plan plan;
    char *argv[2];     /* where the program gave none */
    char **files;      /* the paths to try, in one allocation with their text */
    size_t files_size; /* bytes */
    size_t sources_size;
    int ends[STDIO]; /* the child's ends of pipes, -1: none */
};

static int options_check(const weft_spawn_options *o) {
    const uint32_t known = WEFT_SPAWN_UID | WEFT_SPAWN_GID | WEFT_SPAWN_SETSID | WEFT_SPAWN_PGROUP;
    if (!o || !o->file || (o->flags & ~known) || !is_all_zero(o->reserved))
        return -EINVAL;
    /* Forgetting the flag must not leave the child with its parent's privileges. */
    bool forgotten =
        (o->uid && !(o->flags & WEFT_SPAWN_UID)) || (o->gid && !(o->flags & WEFT_SPAWN_GID));
    if (forgotten && !MUTANT("spawn-user-forgotten"))
        return -EINVAL;
    for (int i = 0; i < STDIO; i++)
        if (o->stdio[i] < WEFT_STDIO_PIPE)
            return -EINVAL;
    if (o->fd_count > 0 && !o->fds)
        return -EINVAL;
    size_t most = os_fd_limit();
    if (o->fd_count > most || o->fd_count + STDIO > most)
        return -EMFILE;
    return o->file[0] ? 0 : -ENOENT;
}

/* --- where the program may lie ---------------------------------------------------------------- */

/* The paths of PATH, each with the file's name behind it; an empty one is the current directory. */
static void files_fill(char **files, char *text, const char *path, const char *file) {
    for (;;) {
        size_t length = strcspn(path, ":");
        *files++ = text;
        memcpy(text, path, length);
        text += length;
        if (length > 0)
            *text++ = '/';
        memcpy(text, file, strlen(file) + 1);
        text += strlen(file) + 1;
        if (path[length] == 0)
            break;
        path += length + 1;
    }
    *files = NULL;
}

static int files_find(struct spawn *s, const char *file) {
    const char *path = strchr(file, '/') ? "" : getenv("PATH");
    if (!path)
        path = "/bin:/usr/bin"; /* as execvp(3) does without one */
    size_t count = 1;
    for (const char *at = path; *at; at++)
        count += *at == ':';
    size_t pointers = (count + 1) * sizeof(char *);
    s->files_size = pointers + strlen(path) + count * (strlen(file) + 2);
    s->files = mem_alloc(s->files_size);
    if (!s->files)
        return -ENOMEM;
    files_fill(s->files, (char *)s->files + pointers, path, file);
    s->plan.files = s->files;
    return 0;
}

/* --- fds -------------------------------------------------------------------------------------- */

static int source_open(int fd, int *ret_source) {
    int r = MUTANT("spawn-fds-unseen") ? 0 : os_fd_check(fd);
    if (r == 0)
        *ret_source = fd;
    return r;
}

/* What the program names for i, /dev/null instead of a pipe, which is made later. */
static int source_named(const weft_spawn_options *o, size_t i, int *ret_source) {
    *ret_source = CHILD_FD_NULL;
    if (i >= STDIO)
        return source_open(o->fds[i - STDIO], ret_source);
    int r;
    switch (o->stdio[i]) {
    case WEFT_STDIO_NULL:
    case WEFT_STDIO_PIPE: return 0;
    case WEFT_STDIO_INHERIT: r = source_open((int)i, ret_source); return r == -EBADF ? 0 : r;
    default: return source_open(o->stdio[i] - WEFT_STDIO_FD(0), ret_source);
    }
}

static int pipe_open(struct spawn *s, weft_process *p, int i) {
    int ends[2];
    int r = os_pipe(ends);
    if (r < 0)
        return r;
    /* The child reads its 0 and writes its 1 and 2. */
    s->ends[i] = s->plan.sources[i] = ends[i == 0 ? 0 : 1];
    p->ends[i] = ends[i == 0 ? 1 : 0];
    r = os_set_nonblocking(p->ends[i]);
    return r < 0 ? r : 0;
}

/* First what the program names: its number, if it is not open, may be that of the next pipe. */
static int sources_fill(struct spawn *s, weft_process *p, const weft_spawn_options *o) {
    size_t count = STDIO + o->fd_count;
    s->sources_size = count * sizeof(int);
    s->plan.sources = mem_alloc(s->sources_size);
    if (!s->plan.sources)
        return -ENOMEM;
    s->plan.fd_count = (unsigned)count;
    int r = 0;
    for (size_t i = 0; i < count && r == 0; i++)
        r = source_named(o, i, &s->plan.sources[i]);
    for (int i = 0; i < STDIO && r == 0; i++)
        if (o->stdio[i] == WEFT_STDIO_PIPE)
            r = pipe_open(s, p, i);
    return r;
}

/* --- all of it -------------------------------------------------------------------------------- */

static uint32_t plan_flags(uint32_t flags) {
    uint32_t plan = 0;
    plan |= flags & WEFT_SPAWN_UID ? CHILD_UID : 0;
    plan |= flags & WEFT_SPAWN_GID ? CHILD_GID : 0;
    plan |= flags & WEFT_SPAWN_SETSID ? CHILD_SESSION : 0;
    plan |= flags & WEFT_SPAWN_PGROUP ? CHILD_GROUP : 0;
    return plan;
}

static int spawn_prepare(struct spawn *s, weft_process *p, const weft_spawn_options *o) {
    *s = (struct spawn){.ends = {-1, -1, -1}};
    s->argv[0] = (char *)(uintptr_t)o->file;
    s->plan.argv = o->argv ? o->argv : s->argv;
    s->plan.envp = o->envp ? o->envp : environ;
    s->plan.cwd = o->cwd;
    s->plan.uid = o->uid;
    s->plan.gid = o->gid;
    s->plan.flags = plan_flags(o->flags);
    int r = files_find(s, o->file);
    return r < 0 ? r : sources_fill(s, p, o);
}

static void spawn_clean(struct spawn *s) {
    for (int i = 0; i < STDIO; i++)
        if (s->ends[i] >= 0 && !MUTANT("spawn-ends-kept"))
            os_close(s->ends[i]);
    mem_free(s->files, s->files_size);
    mem_free(s->plan.sources, s->sources_size);
}

static int spawn(weft_process *p, const weft_spawn_options *o) {
    struct spawn s;
    int r = spawn_prepare(&s, p, o);
    if (r == 0)
        r = child_start(&s.plan, &p->pid, &p->pidfd);
    spawn_clean(&s);
    if (r < 0)
        return r;
    /* A kernel that gives no pidfd with the child may give one for it: it is ours, and unreaped. */
    if (p->pidfd < 0) {
        int pidfd = os_pidfd_open(p->pid);
        p->pidfd = pidfd < 0 ? -1 : pidfd;
    }
    return 0;
}

int weft_spawn(weft_worker *w, const weft_spawn_options *options,
               void (*fn)(weft_process *process, const siginfo_t *info, void *arg), void *arg,
               weft_process **ret_process) {
    int r = worker_owner_check(w, "weft_spawn");
    if (r == 0 && !fn)
        r = -EINVAL;
    if (r == 0)
        r = options_check(options);
    if (r == 0)
        r = process_may_watch(w);
    if (r < 0)
        return r;
    weft_process *p = process_create(w, fn, arg);
    if (!p)
        return -ENOMEM;
    r = spawn(p, options);
    if (r < 0) {
        process_free(p);
        return r;
    }
    process_begin(p);
    if (ret_process)
        *ret_process = p;
    return 0;
}
