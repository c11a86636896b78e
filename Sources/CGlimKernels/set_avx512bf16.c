// The AVX-512 kernels with the dot instructions of bf16 and int8, which matter to products of these alone.
#if defined(__x86_64__)
#include <immintrin.h>
#pragma clang attribute push( \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx512vnni,avx2,fma,f16c,bmi,bmi2"))), \
    apply_to = function)
#define GLIM_AVX512 1
#define GLIM_AVX512BF16 1
#define GLIM_VNNI 1
#define GLIM_SET_NAME "avx512bf16"
#define GLIM_SET_TABLE glim_kernels_avx512bf16
#include "set.inc.h"
#pragma clang attribute pop
#endif
