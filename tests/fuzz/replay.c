/* Where there is no libFuzzer: runs inputs that were kept.
 *
 *   fuzz-NAME file-or-directory ...
 *
 * Names each one before it runs, so that the last name is the culprit's. */
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned inputs;

static _Noreturn void give_up(const char *path) {
    perror(path);
    exit(2);
}

/* A copy of exactly its size: a sanitizer sees the first byte read behind it. */
static void replay_file(const char *path, size_t size) {
    uint8_t *data = malloc(size ? size : 1);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (!data || fd < 0 || read(fd, data, size) != (ssize_t)size)
        give_up(path);
    close(fd);
    puts(path);
    fflush(stdout);
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    inputs++;
}

static void replay(const char *path) {
    struct stat status;
    struct dirent **entries = NULL;
    if (stat(path, &status) < 0)
        give_up(path);
    if (!S_ISDIR(status.st_mode)) {
        replay_file(path, (size_t)status.st_size);
        return;
    }
    int count = scandir(path, &entries, NULL, alphasort);
    if (count < 0)
        give_up(path);
    for (int i = 0; i < count; i++) {
        char name[4096];
        snprintf(name, sizeof name, "%s/%s", path, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.')
            replay(name);
        free(entries[i]);
    }
    free(entries);
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++)
        replay(argv[i]);
    printf("%u inputs\n", inputs);
    return inputs == 0;
}
