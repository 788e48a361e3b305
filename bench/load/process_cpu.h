#ifndef WEFT_BENCH_PROCESS_CPU_H
#define WEFT_BENCH_PROCESS_CPU_H

#include <stdint.h>
#include <sys/types.h>
#include <time.h>

/* CPU time of all threads of another process, to the nanosecond where the scheduler accounts in
 * nanoseconds: clock_getcpuclockid(3). The times in /proc/PID/stat are samples of 10 ms. */
typedef struct process_cpu {
    clockid_t clock;
} process_cpu;

int process_cpu_open(pid_t pid, process_cpu *ret_cpu);             /* 0 or -ESRCH */
int process_cpu_read_ns(const process_cpu *cpu, uint64_t *ret_ns); /* 0 or -errno: it ended */

#endif
