#include "micro/shim.h"

#include <algorithm>
#include <benchmark/benchmark.h>
#include <cstring>
#include <string>
#include <vector>

struct bench_state {
    benchmark::State &state;
};

extern "C" {

bool bench_keep_running(bench_state *s, int64_t n) {
    return s->state.KeepRunningBatch(n);
}

int64_t bench_argument(const bench_state *s) {
    return s->state.range(0);
}

int bench_thread(const bench_state *s) {
    return s->state.thread_index();
}

int bench_threads(const bench_state *s) {
    return s->state.threads();
}

void bench_pause(bench_state *s) {
    s->state.PauseTiming();
}

void bench_resume(bench_state *s) {
    s->state.ResumeTiming();
}

void bench_took(bench_state *s, double seconds) {
    s->state.SetIterationTime(seconds);
}

void bench_counter(bench_state *s, const char *name, double value) {
    s->state.counters[name] = value;
}

void bench_rate(bench_state *s, const char *name, double value) {
    s->state.counters[name] = benchmark::Counter(value, benchmark::Counter::kIsRate);
}

void bench_give_up(bench_state *s, const char *reason) {
    s->state.SkipWithError(reason);
}

void bench_register(const char *name, void (*fn)(bench_state *), const bench_options *options) {
    auto *b = benchmark::RegisterBenchmark(name, [fn](benchmark::State &state) {
        bench_state s{state};
        fn(&s);
    });
    b->Arg(options->argument);
    if (options->threads > 1)
        b->Threads(options->threads);
    if (options->manual_time)
        b->UseManualTime();
    else
        b->UseRealTime();
    if (options->iterations > 0)
        b->Iterations(options->iterations);
}

} // extern "C"

/* Medians of many short repetitions, the benchmarks' order shuffled, so that a slow minute of the
 * machine does not fall upon one of them alone. Given flags come later and win. */
int main(int argc, char **argv) {
    int status = bench_main(argc, argv);
    if (status >= 0)
        return status;
    std::vector<std::string> words{argv[0], "--benchmark_enable_random_interleaving=true",
                                   "--benchmark_repetitions=9", "--benchmark_min_time=0.05",
                                   "--benchmark_report_aggregates_only=true"};
    words.insert(words.end(), argv + 1, argv + argc);
    std::vector<char *> pointers;
    for (auto &word : words)
        pointers.push_back(word.data());
    int count = static_cast<int>(pointers.size());
    benchmark::Initialize(&count, pointers.data());
    if (benchmark::ReportUnrecognizedArguments(count, pointers.data()))
        return 1;
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    return 0;
}
