// Which tables this machine can run, best first. Compiled without special flags, so that it cannot itself crash.
#include "glim_kernels.h"

extern const glim_kernels glim_kernels_portable;
#if defined(__x86_64__)
extern const glim_kernels glim_kernels_avx512bf16, glim_kernels_avx512, glim_kernels_avx2;
#elif defined(__aarch64__)
extern const glim_kernels glim_kernels_neon;
#if !defined(__ARM_FEATURE_DOTPROD) && defined(__linux__)
#include <sys/auxv.h>
#define NEON_DOT (getauxval(AT_HWCAP) >> 20 & 1)  // HWCAP_ASIMDDP
extern const glim_kernels glim_kernels_neondot;
#endif
#endif

/// The i-th table that runs here, or null past the last.
static const glim_kernels *nth(int32_t i) {
#if defined(__x86_64__)
    int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    int avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                 __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    int bf16 = avx512 && __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni");
    if (bf16 && i-- == 0) return &glim_kernels_avx512bf16;
    if (avx512 && i-- == 0) return &glim_kernels_avx512;
    if (avx2 && i-- == 0) return &glim_kernels_avx2;
#elif defined(__aarch64__)
#if defined(NEON_DOT)
    if (NEON_DOT && i-- == 0) return &glim_kernels_neondot;
#endif
    if (i-- == 0) return &glim_kernels_neon;
#endif
    return i == 0 ? &glim_kernels_portable : 0;
}

int32_t glim_kernels_count(void) {
    int32_t count = 0;
    while (nth(count)) count++;
    return count;
}

const glim_kernels *glim_kernels_at(int32_t i) { return nth(i); }
