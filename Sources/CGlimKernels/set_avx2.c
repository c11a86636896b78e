// The kernels for AVX2 with FMA.
#if defined(__x86_64__)
#include <immintrin.h>
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,bmi,bmi2"))), apply_to = function)
#define GLIM_AVX2 1
#define GLIM_SET_NAME "avx2"
#define GLIM_SET_TABLE glim_kernels_avx2
#include "set.inc.h"
#pragma clang attribute pop
#endif
