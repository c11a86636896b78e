// Holds every kernel table that runs here against the portable one, bit for bit: `make kernels`, and Tools/neon.sh under an
// emulator.
#include <stdio.h>

#include "glim_kernel_checks.h"

/// With any argument the portable table also meets itself, which shows whether it stays within its buffers.
int main(int count, char **arguments) {
    (void)arguments;
    const int32_t tables = glim_kernels_count();
    int failed = 0;
    for (int32_t i = 0; i < (count > 1 ? tables : tables - 1); i++) {
        const glim_kernels *table = glim_kernels_at(i);
        glim_check_progress progress;
        static glim_check_failure failures[100];
        const int64_t found = glim_check_kernels(table, glim_kernels_at(tables - 1), 0, 0, &progress, failures, 100);
        for (int64_t j = 0; j < found; j++)
            printf("%s: %s %s at %lld, %s (%lld times)\n", table->name, failures[j].what, failures[j].how,
                   (long long)failures[j].at, failures[j].shape, (long long)failures[j].times);
        printf("%s: %s\n", table->name, found ? "FAILED" : "equal to the reference");
        failed |= found > 0;
    }
    return failed;
}
