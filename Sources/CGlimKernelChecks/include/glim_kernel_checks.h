// Holds a kernel table against the reference, to the bit, over some hundred thousand calls of all shapes: what
// `make kernels` and `glim kernels` run.
#pragma once
#include "glim_kernels.h"
#pragma clang assume_nonnull begin

/// What is being called. In memory that outlives the process it tells what a table died of.
typedef struct {
    char kernel[40];  ///< such as "rope"
    char shape[216];  ///< such as "rows 3 heads 2 dims 64 stride 66 ldx 133 half 0 inverse 1"
} glim_check_progress;

/// One way in which a table is wrong.
typedef struct {
    const char *what;  ///< such as "dq of attention_backward"
    const char *how;   ///< such as "differs"
    char shape[216];   ///< where it was found first
    int64_t at;        ///< the element, or byte, there
    int64_t times;     ///< how often it was found
} glim_check_failure;

/// Returns how many ways were found, at most `room` of them: failures is set to these. The table must be whole.
/// Shapes and values are drawn by the seed. A call that takes longer than some seconds ends the process with SIGALRM;
/// 0 lets it take what it takes.
int64_t glim_check_kernels(const glim_kernels *table, const glim_kernels *reference, uint64_t seed, int32_t seconds,
                           glim_check_progress *progress, glim_check_failure *failures, int64_t room);

#pragma clang assume_nonnull end
