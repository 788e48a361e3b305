/* Unix sockets that have a path: binding, the stale path that a server left which did not close,
 * and removing our own.
 *
 * A path is stale when nobody listens on it any more. Between the bind and the listen of a server
 * that is just starting it looks the same, and between looking and removing it another one may have
 * taken it over; so all of it happens under a lock on the directory (flock(2)), which two weft
 * programs that start at once take one after the other. */
#include "net/inner.h"

/* The path is a socket's, and a connection to it is refused. */
static bool is_stale(const struct address *a) {
    struct path_identity identity;
    if (os_path_identify(address_path(a), &identity) < 0 || !identity.is_socket)
        return false;
    int fd = os_socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0)
        return false;
    int r = os_connect(fd, (const struct sockaddr *)&a->storage, a->size);
    os_close(fd);
    return r == -ECONNREFUSED;
}

static int bind_path(int fd, const struct address *a) {
    int r = os_bind(fd, (const struct sockaddr *)&a->storage, a->size);
    if (r != -EADDRINUSE || MUTANT("unix-stale-kept"))
        return r;
    if (!is_stale(a) && !MUTANT("unix-taken-over"))
        return r;
    (void)os_unlink(address_path(a));
    return os_bind(fd, (const struct sockaddr *)&a->storage, a->size);
}

/* The mode twice: before the bind it keeps out for that moment whoever is to be kept out, since
 * what the umask leaves of it is what the path gets; after it nothing is missing. */
static int listen_at_path(int fd, const struct address *a, mode_t mode, int backlog,
                          struct unix_path *ret_path) {
    const char *path = address_path(a);
    struct unix_path bound = {.name = ""};
    int r = mode ? os_fchmod(fd, mode) : 0;
    if (r == 0)
        r = bind_path(fd, a);
    if (r < 0)
        return r;
    if (mode && !MUTANT("unix-umask-stays"))
        r = os_chmod(path, mode);
    if (r == 0)
        r = os_listen(fd, backlog);
    if (r == 0)
        r = os_path_identify(path, &bound.identity);
    if (r < 0) {
        if (!MUTANT("unix-path-left"))
            (void)os_unlink(path);
        return r;
    }
    memcpy(bound.name, path, strlen(path) + 1); /* it fitted into an address */
    *ret_path = bound;
    return 0;
}

int unix_listen(int fd, const struct address *a, mode_t mode, int backlog,
                struct unix_path *ret_path) {
    if (!address_path(a)) { /* an abstract name goes with its socket */
        int r = os_bind(fd, (const struct sockaddr *)&a->storage, a->size);
        return r < 0 ? r : os_listen(fd, backlog);
    }
    /* A directory that we may write to, but not read, has no lock. */
    int lock = MUTANT("unix-unlocked") ? -1 : os_directory_lock(address_path(a));
    int r = listen_at_path(fd, a, mode, backlog, ret_path);
    if (lock >= 0)
        os_close(lock);
    return r;
}

void unix_remove(const struct unix_path *path) {
    struct path_identity now;
    if (!path->name[0] || os_path_identify(path->name, &now) < 0)
        return;
    bool is_ours = now.device == path->identity.device && now.inode == path->identity.inode;
    if (is_ours || MUTANT("unix-removes-anothers"))
        (void)os_unlink(path->name);
}
