// A library with one mistake, chosen when it is compiled: -DUNFUSED and so on.
#include <stdlib.h>
#include <unistd.h>

#include "glim_kernels.h"

#pragma STDC FP_CONTRACT OFF

#if defined(WRONG_PRODUCT) || defined(KEEPS)
static void matmul_f32(float *c, int64_t ldc, int64_t c_panel, const float *a, int64_t lda, const float *b, int64_t ldb,
                       int64_t b_panel, int64_t m, int64_t n, int64_t k, int32_t flags) {
#if defined(KEEPS)
    static volatile float sum, block;
    const int64_t row_step = flags & GLIM_A_TRANSPOSED ? 1 : lda, k_step = flags & GLIM_A_TRANSPOSED ? lda : 1;
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            float *out = c + j / GLIM_PANEL * c_panel + i * ldc + j % GLIM_PANEL;
            sum = flags & GLIM_ACCUMULATE ? *out : 0;
            for (int64_t first = 0; first < k; first += GLIM_K_BLOCK) {
                block = 0;
                for (int64_t kk = first; kk < k && kk < first + GLIM_K_BLOCK; kk++)
                    block = __builtin_fmaf(a[i * row_step + kk * k_step],
                                           b[j / GLIM_PANEL * b_panel + kk * ldb + j % GLIM_PANEL], block);
                sum = first == 0 && !(flags & GLIM_ACCUMULATE) ? block : sum + block;
            }
            *out = sum;
        }
#else
    (void)a, (void)lda, (void)b, (void)ldb, (void)b_panel, (void)k, (void)flags;
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) c[j / GLIM_PANEL * c_panel + i * ldc + j % GLIM_PANEL] = 1;
#endif
}
#endif

static void add_scaled(float *y, const float *x, float by, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
#if defined(UNFUSED)
        volatile float product = by * x[i];
        y[i] += product;
#else
        y[i] = __builtin_fmaf(by, x[i], y[i]);
#endif
    }
#if defined(OUTSIDE)
    ((volatile float *)y)[count] = 0;
#elif defined(ILLEGAL)
    __builtin_trap();
#elif defined(ACCESS)
    *(volatile float *)16 = 0;
#elif defined(ENDS)
    exit(0);
#elif defined(HANGS)
    for (;;) pause();
#endif
}

#if defined(IN_CONSTRUCTOR)
__attribute__((constructor)) static void at_start(void) { __builtin_trap(); }
#endif

static const glim_kernels table = {
#if defined(LINE_BREAK)
    .name = "two\nlines",
#elif defined(TAKEN)
    .name = "portable",
#elif !defined(UNNAMED)
    .name = "mistaken",
#endif
#if !defined(EMPTY)
    .add_scaled = add_scaled,
#endif
#if defined(WRONG_PRODUCT) || defined(KEEPS)
    .matmul_f32 = matmul_f32,
#endif
};

#if defined(WITHOUT_ENTRY)
const glim_kernels *keep(void);
const glim_kernels *keep(void) { return &table; }
#else
const glim_kernel_library *glim_kernels_library(void) {
    static const glim_kernel_library library = {
#if defined(OTHER_VERSION)
        .version = GLIM_KERNELS_VERSION + 1,
#else
        .version = GLIM_KERNELS_VERSION,
#endif
#if defined(OTHER_SIZE)
        .table_size = sizeof(glim_kernels) - 16,
#else
        .table_size = sizeof(glim_kernels),
#endif
#if !defined(HOLES)
        .partial = 1,
#endif
        .table = &table};
#if defined(DECLINES)
    return 0;
#endif
    return &library;
}
#endif
