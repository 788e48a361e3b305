#include "load/report.h"

#include <errno.h>
#include <stdlib.h>

enum { EXIT_USAGE = 2 };

int main(int argc, char **argv) {
    load_options options;
    int r = options_parse(argc, argv, &options);
    if (r != 0)
        return r > 0 ? EXIT_SUCCESS : EXIT_USAGE;

    cli_raise_fd_limit();
    static load_result result; /* its histogram is 30 KiB */
    r = generator_run(&options, &result);
    if (r < 0)
        return r == -ESRCH ? EXIT_USAGE : EXIT_FAILURE;
    report_print(&options, &result);
    return report_is_clean(&options, &result) ? EXIT_SUCCESS : EXIT_FAILURE;
}
