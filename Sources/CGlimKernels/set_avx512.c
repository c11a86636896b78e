// The kernels for AVX-512 F, BW, DQ and VL.
#if defined(__x86_64__)
#include <immintrin.h>
#pragma clang attribute push( \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,bmi,bmi2"))), apply_to = function)
#define GLIM_AVX512 1
#define GLIM_SET_NAME "avx512"
#define GLIM_SET_TABLE glim_kernels_avx512
#include "set.inc.h"
#pragma clang attribute pop
#endif
