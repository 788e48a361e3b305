/* System calls on paths: what a unix socket in the file system needs. */
#include "base/os.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_RESULT(call) ((call) < 0 ? -errno : 0)

int os_directory_lock(const char *path) {
    char directory[PATH_MAX];
    OS_SEAM(OS_PATH);
    const char *slash = strrchr(path, '/');
    size_t length = slash ? (size_t)(slash - path) + 1 : 0;
    if (length + 2 > sizeof directory)
        return -ENAMETOOLONG;
    memcpy(directory, path, length);
    memcpy(directory + length, ".", 2);
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int r;
    do {
        r = flock(fd, LOCK_EX);
    } while (r < 0 && errno == EINTR);
    if (r == 0)
        return fd;
    r = -errno;
    close(fd);
    return r;
}

int os_path_identify(const char *path, struct path_identity *ret_identity) {
    struct stat status;
    OS_SEAM(OS_PATH);
    if (lstat(path, &status) < 0)
        return -errno;
    *ret_identity = (struct path_identity){
        .device = status.st_dev, .inode = status.st_ino, .is_socket = S_ISSOCK(status.st_mode)};
    return 0;
}

int os_unlink(const char *path) {
    OS_SEAM(OS_PATH);
    return PATH_RESULT(unlink(path));
}

int os_chmod(const char *path, mode_t mode) {
    OS_SEAM(OS_PATH);
    return PATH_RESULT(chmod(path, mode));
}

int os_fchmod(int fd, mode_t mode) {
    OS_SEAM(OS_PATH);
    return PATH_RESULT(fchmod(fd, mode));
}
