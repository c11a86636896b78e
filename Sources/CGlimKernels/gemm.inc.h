// Products. One definition for all: C[i, j] (+)= sum over blocks of 256 k of an ascending chain of multiply-adds.

static void matmul_f32(float *c, int64_t ldc, int64_t c_panel, const float *a, int64_t lda, const float *b, int64_t ldb,
                       int64_t b_panel, int64_t m, int64_t n, int64_t k, int32_t flags) {
    const int64_t row_step = flags & GLIM_A_TRANSPOSED ? 1 : lda, k_step = flags & GLIM_A_TRANSPOSED ? lda : 1;
    for (int64_t j = 0; j < n; j += 16) {
        const float *bj = b + j / GLIM_PANEL * b_panel + j % GLIM_PANEL;
        float *cj = c + j / GLIM_PANEL * c_panel + j % GLIM_PANEL;
        for (int64_t i = 0; i < m; i++) {
            v16 sum = flags & GLIM_ACCUMULATE ? v_load_n(cj + i * ldc, n - j) : v_zero();
            for (int64_t first = 0; first < k; first += GLIM_K_BLOCK) {
                const int64_t last = first + GLIM_K_BLOCK < k ? first + GLIM_K_BLOCK : k;
                v16 block = v_zero();
                for (int64_t kk = first; kk < last; kk++)
                    block = v_fma(v_set1(a[i * row_step + kk * k_step]), v_load_n(bj + kk * ldb, n - j), block);
                sum = first == 0 && !(flags & GLIM_ACCUMULATE) ? block : v_add(sum, block);
            }
            v_store_n(cj + i * ldc, sum, n - j);
        }
    }
}

#define GEMM_ENTRIES .matmul_f32 = matmul_f32,
