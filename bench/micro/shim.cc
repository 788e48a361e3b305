#include "micro/shim.h"

#include <benchmark/benchmark.h>
#include <memory>
#include <string>
#include <vector>

struct bench_state {
    benchmark::State &state;
};

extern "C" {

void bench_took(bench_state *s, double seconds) {
    s->state.SetIterationTime(seconds);
}

void bench_counter(bench_state *s, const char *name, double value) {
    s->state.counters[name] = value;
}

void bench_label(bench_state *s, const char *text) {
    s->state.SetLabel(text);
}

void bench_give_up(bench_state *s, const char *reason) {
    s->state.SkipWithError(reason);
}

void bench_register(const char *name, void (*fn)(bench_state *, void *), void *arg) {
    benchmark::RegisterBenchmark(name,
                                 [fn, arg](benchmark::State &state) {
                                     bench_state s{state};
                                     while (state.KeepRunning())
                                         fn(&s, arg);
                                 })
        ->Iterations(1)
        ->UseManualTime();
}

} // extern "C"

/* The reporter that the flags ask for, which is shown the names as they were registered: Google
 * Benchmark appends "/iterations:1/manual_time" to each. (A filter still sees that.) */
class plain_names : public benchmark::BenchmarkReporter {
    std::unique_ptr<BenchmarkReporter> inner{benchmark::CreateDefaultDisplayReporter()};

  public:
    bool ReportContext(const Context &context) override {
        return inner->ReportContext(context);
    }

    void ReportRuns(const std::vector<Run> &report) override {
        std::vector<Run> runs{report};
        for (auto &run : runs) {
            run.run_name.iterations.clear();
            run.run_name.time_type.clear();
        }
        inner->ReportRuns(runs);
    }

    void Finalize() override {
        inner->Finalize();
    }
};

/* For a person: medians of nine repetitions, the benchmarks' order shuffled, so that a slow minute
 * of the machine does not fall upon one of them alone. Given flags come later and win. */
int main(int argc, char **argv) {
    std::vector<std::string> words{argv[0], "--benchmark_enable_random_interleaving=true",
                                   "--benchmark_repetitions=9",
                                   "--benchmark_report_aggregates_only=true"};
    words.insert(words.end(), argv + 1, argv + argc);
    std::vector<char *> pointers;
    for (auto &word : words)
        pointers.push_back(word.data());
    int count = static_cast<int>(pointers.size());
    bench_prepare();
    benchmark::Initialize(&count, pointers.data());
    if (benchmark::ReportUnrecognizedArguments(count, pointers.data()))
        return 1;
    plain_names reporter;
    benchmark::RunSpecifiedBenchmarks(&reporter);
    benchmark::Shutdown();
    return 0;
}
