// A kernel table as somebody with a chip of their own begins it: three kernels, the rest are Glim's. It is plain C, so
// it runs everywhere; what matters here is how each sum is made, for that decides the bits.
//
// From the root of the repository:
//
//   clang -O3 -march=native -shared -fPIC -ISources/CGlimKernels/include Examples/kernels/sample.c -o sample.so
//   .build/release/glim kernels --library sample.so
//   GLIM_KERNELS=sample.so .build/release/glim generate --model MODEL --prompt "…"
#include <string.h>

#include "glim_kernels.h"

// Multiply-adds are fused where they are written, and nowhere else.
#pragma STDC FP_CONTRACT OFF

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/// One chain per output: within a block of 256 k from zero in ascending order, every step fused; blocks added in order.
/// Columns are independent, so that they may go to as many lanes as there are.
static void matmul_f32(float *c, int64_t ldc, int64_t c_panel, const float *a, int64_t lda, const float *b, int64_t ldb,
                       int64_t b_panel, int64_t m, int64_t n, int64_t k, int32_t flags) {
    const int64_t row_step = flags & GLIM_A_TRANSPOSED ? 1 : lda, k_step = flags & GLIM_A_TRANSPOSED ? lda : 1;
    for (int64_t j = 0; j < n; j += GLIM_PANEL) {
        const int64_t columns = least(n - j, GLIM_PANEL);
        const float *panel = b + j / GLIM_PANEL * b_panel;
        for (int64_t i = 0; i < m; i++) {
            float *out = c + j / GLIM_PANEL * c_panel + i * ldc;
            float sum[GLIM_PANEL] = {0};
            if (flags & GLIM_ACCUMULATE) memcpy(sum, out, (size_t)columns * sizeof *sum);
            for (int64_t first = 0; first < k; first += GLIM_K_BLOCK) {
                float block[GLIM_PANEL] = {0};
                for (int64_t kk = first; kk < least(first + GLIM_K_BLOCK, k); kk++) {
                    const float x = a[i * row_step + kk * k_step];
                    for (int64_t l = 0; l < columns; l++)
                        block[l] = __builtin_fmaf(x, panel[kk * ldb + l], block[l]);
                }
                // The first block is the sum, not added to zero: that would make a +0 of a -0.
                const int begins = first == 0 && !(flags & GLIM_ACCUMULATE);
                for (int64_t l = 0; l < columns; l++) sum[l] = begins ? block[l] : sum[l] + block[l];
            }
            memcpy(out, sum, (size_t)columns * sizeof *sum);
        }
    }
}

/// Element i goes to lane i mod 16; then lane l takes lane l + 8, + 4, + 2, + 1. Behind the end there are zeros, which
/// are multiplied and added like everything else.
static float dot(const float *a, const float *b, int64_t count) {
    float lanes[16] = {0};
    for (int64_t i = 0; i < count; i += 16)
        for (int64_t l = 0; l < 16; l++)
            lanes[l] = __builtin_fmaf(i + l < count ? a[i + l] : 0, i + l < count ? b[i + l] : 0, lanes[l]);
    for (int half = 8; half; half /= 2)
        for (int l = 0; l < half; l++) lanes[l] = lanes[l] + lanes[l + half];
    return lanes[0];
}

/// To nearest, ties to even. Integer arithmetic would carry a NaN over into infinity: it stays one, made quiet.
static void store_bf16(uint16_t *out, const float *x, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        const int is_nan = (bits & 0x7FFFFFFF) > 0x7F800000;
        out[i] = (uint16_t)((is_nan ? bits | 0x400000 : bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
    }
}

static const glim_kernels table = {
    .name = "sample",
    .matmul_f32 = matmul_f32,
    .store_bf16 = store_bf16,
    .dot = dot,
};

const glim_kernel_library *glim_kernels_library(void) {
    static const glim_kernel_library library = {
        .version = GLIM_KERNELS_VERSION, .table_size = sizeof(glim_kernels), .partial = 1, .table = &table};
    return &library;
}
