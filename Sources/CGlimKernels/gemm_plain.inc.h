// The products in plain C: the reference that every other table equals to the bit.

static void matmul_f32(float *c, int64_t ldc, int64_t c_panel, const float *a, int64_t lda, const float *b, int64_t ldb,
                       int64_t b_panel, int64_t m, int64_t n, int64_t k, int32_t flags) {
    const int64_t row_step = flags & GLIM_A_TRANSPOSED ? 1 : lda, k_step = flags & GLIM_A_TRANSPOSED ? lda : 1;
    for (int64_t j = 0; j < n; j += 16) {
        const float *bj = b + j / GLIM_PANEL * b_panel + j % GLIM_PANEL;
        float *cj = c + j / GLIM_PANEL * c_panel + j % GLIM_PANEL;
        for (int64_t i = 0; i < m; i++) {
            v16 sum = flags & GLIM_ACCUMULATE ? v_load_n(cj + i * ldc, n - j) : v_zero();
            for (int64_t first = 0; first < k; first += GLIM_K_BLOCK) {
                const int64_t last = least(first + GLIM_K_BLOCK, k);
                v16 block = v_zero();
                for (int64_t kk = first; kk < last; kk++)
                    block = v_fma(v_set1(a[i * row_step + kk * k_step]), v_load_n(bj + kk * ldb, n - j), block);
                sum = first == 0 && !(flags & GLIM_ACCUMULATE) ? block : v_add(sum, block);
            }
            v_store_n(cj + i * ldc, sum, n - j);
        }
    }
}

/// Column j of element k in panels of bf16 pairs.
INLINE const uint16_t *pair_element(const uint16_t *b, int64_t b_panel, int64_t j, int64_t k) {
    return b + j / GLIM_PANEL * b_panel + k / 2 * (2 * GLIM_PANEL) + j % GLIM_PANEL * 2 + (k % 2 ? 0 : 1);
}

static void matmul_f32_bf16(float *c, int64_t ldc, int64_t c_panel, const float *a, int64_t lda, const uint16_t *b,
                            int64_t b_panel, int64_t m, int64_t n, int64_t k, int32_t flags) {
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++) {
            float *out = c + i * ldc + j / GLIM_PANEL * c_panel + j % GLIM_PANEL;
            float sum = flags & GLIM_ACCUMULATE ? *out : 0;
            for (int64_t first = 0; first < k; first += GLIM_K_BLOCK) {
                float block = 0;
                for (int64_t kk = first; kk < least(first + GLIM_K_BLOCK, k); kk++)
                    block = f_fma(a[i * lda + kk], bf16_widened(*pair_element(b, b_panel, j, kk)), block);
                sum = first == 0 && !(flags & GLIM_ACCUMULATE) ? block : sum + block;
            }
            *out = sum;
        }
    }
}

static void matmul_bf16(float *c, int64_t ldc, int64_t c_panel, const float *a, int64_t lda, const uint16_t *b,
                        int64_t b_panel, int64_t m, int64_t n, int64_t k, int32_t flags) {
    for (int64_t j = 0; j < n; j += 16) {
        const int64_t lanes = least(n - j, 16);
        for (int64_t i = 0; i < m; i++) {
            float *out = c + i * ldc + j / GLIM_PANEL * c_panel + j % GLIM_PANEL;
            v16 sum = flags & GLIM_ACCUMULATE ? v_load_n(out, lanes) : v_zero();
            for (int64_t first = 0; first < k; first += GLIM_K_BLOCK) {
                v16 block = v_zero();
                for (int64_t kk = first; kk < least(first + GLIM_K_BLOCK, k); kk += 2) {
                    v16 pairs = v_zero();
                    float pair;
                    memcpy(&pairs, pair_element(b, b_panel, j, kk) - 1, (size_t)lanes * 4);
                    round_row(&pair, a + i * lda + kk, least(k - kk, 2));
                    block = dot_pair(block, v_set1(pair), pairs);
                }
                sum = first == 0 && !(flags & GLIM_ACCUMULATE) ? block : v_add(sum, block);
            }
            v_store_n(out, sum, lanes);
        }
    }
}

static void matmul_bf16_rows(float *c, int64_t ldc, int64_t c_panel, const float *a, int64_t lda, const float *b,
                             int64_t ldb, int64_t b_panel, int64_t m, int64_t n, int64_t k, int32_t flags) {
    for (int64_t j = 0; j < n; j += 16) {
        const float *bj = b + j / GLIM_PANEL * b_panel + j % GLIM_PANEL;
        for (int64_t i = 0; i < m; i++) {
            float *out = c + i * ldc + j / GLIM_PANEL * c_panel + j % GLIM_PANEL;
            v16 sum = flags & GLIM_ACCUMULATE ? v_load_n(out, n - j) : v_zero();
            for (int64_t first = 0; first < k; first += GLIM_K_BLOCK) {
                v16 block = v_zero();
                for (int64_t kk = first; kk < least(first + GLIM_K_BLOCK, k); kk += 2) {
                    const int more = kk + 1 < k;
                    const float row[2] = {a[kk * lda + i], more ? a[(kk + 1) * lda + i] : 0};
                    float pair;
                    round_row(&pair, row, 2);
                    block = dot_pair(block, v_set1(pair),
                                     v_pairs(v_load_n(bj + kk * ldb, n - j),
                                             more ? v_load_n(bj + (kk + 1) * ldb, n - j) : v_zero()));
                }
                sum = first == 0 && !(flags & GLIM_ACCUMULATE) ? block : v_add(sum, block);
            }
            v_store_n(out, sum, n - j);
        }
    }
}
