#include "log_keeper.h"

#include <weft.h>

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

enum { LINES = 256, LENGTH = 512 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char lines[LINES][LENGTH];
static unsigned count;

static void keep(int level, const char *message, void *arg) {
    (void)level;
    (void)arg;
    pthread_mutex_lock(&lock);
    snprintf(lines[count++ % LINES], LENGTH, "%s", message);
    pthread_mutex_unlock(&lock);
}

void log_keep(void) {
    pthread_mutex_lock(&lock);
    count = 0;
    pthread_mutex_unlock(&lock);
    weft_set_log(keep, NULL);
}

unsigned log_count(const char *part) {
    unsigned found = 0;
    pthread_mutex_lock(&lock);
    for (unsigned i = 0; i < count && i < LINES; i++)
        found += strstr(lines[i], part) != NULL;
    pthread_mutex_unlock(&lock);
    return found;
}

void log_await(const char *part, unsigned wanted) {
    while (log_count(part) < wanted)
        sched_yield();
}

void log_last(char *buffer, unsigned size) {
    pthread_mutex_lock(&lock);
    snprintf(buffer, size, "%s", count > 0 ? lines[(count - 1) % LINES] : "");
    pthread_mutex_unlock(&lock);
}
