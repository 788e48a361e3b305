#include "load/process_cpu.h"

#include "common/cli.h"

#include <errno.h>

int process_cpu_open(pid_t pid, process_cpu *ret_cpu) {
    process_cpu cpu;
    uint64_t ns;
    if (clock_getcpuclockid(pid, &cpu.clock) != 0 || process_cpu_read_ns(&cpu, &ns) < 0)
        return -ESRCH;
    *ret_cpu = cpu;
    return 0;
}

int process_cpu_read_ns(const process_cpu *cpu, uint64_t *ret_ns) {
    struct timespec used;
    if (clock_gettime(cpu->clock, &used) < 0)
        return -errno;
    *ret_ns = (uint64_t)used.tv_sec * CLI_NS_PER_SEC + (uint64_t)used.tv_nsec;
    return 0;
}
