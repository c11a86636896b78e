// Products. One definition for all: C[i, j] (+)= sum over blocks of 256 k of an ascending chain of multiply-adds.
//
// A tile keeps a few rows by a few vectors of columns in registers for one block of k. The drivers choose tiles and the
// order in which they are visited; neither can be seen in the result.

#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 32")
#endif

INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

#if defined(GLIM_PORTABLE)

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

#else

#if defined(GLIM_AVX512)
#define TILE_ROWS 12  // 12 rows by 2 vectors: 24 sums, 2 of B and one of A are in registers
#define TILE_VECTORS 2
#else
#define TILE_ROWS 6  // 6 rows by 1 vector: 12 of 16 registers (AVX2), 24 of 32 (NEON)
#define TILE_VECTORS 1
#endif
#define TILE_COLUMNS (16 * TILE_VECTORS)
#define CHUNK_STRIPS (48 / TILE_ROWS)      // strips of rows that share a copy of A and meet a panel of B in turn
#define CHUNK_COLUMNS 512                  // 256 rows of B this wide stay in the second cache
#define COPY_STEP (GLIM_K_BLOCK + 16)      // rows a power of two apart would share cache sets, so copies are not

/// One tile's work: `columns` of C (+)= A·B over one block of k.
typedef struct {
    float *c;
    const float *a, *b;
    const float *ahead;  ///< what B is read next, brought nearer a line per k
    int64_t ldc, c_panel, lda, ldb, b_panel, k, columns;
    int32_t add;  ///< 0: C is set
} tile_job;
typedef void tile_function(const tile_job *);

/// A vector of B: only AVX-512 reads a part of one at full speed, the others get whole ones (see panel_of).
INLINE v16 tile_load(const float *p, int64_t columns) {
#if defined(GLIM_AVX512)
    return v_load_n(p, columns);
#else
    (void)columns;
    return v_load(p);
#endif
}

/// The inner loop of all products. Constants: rows, vectors, whether A is transposed. Beyond TILE_VECTORS, a tile spans
/// whole panels.
INLINE void tile(const tile_job *job, const int rows, const int vectors, const int transposed) {
    const tile_job t = *job;
    const int wide = vectors > TILE_VECTORS;
    int64_t columns[TILE_VECTORS];
    UNROLL for (int j = 0; j < TILE_VECTORS; j++) columns[j] = least(t.columns > 16 * j ? t.columns - 16 * j : 0, 16);
    v16 sum[TILE_ROWS * TILE_VECTORS], x[8];
    UNROLL for (int i = 0; i < rows * vectors; i++) sum[i] = v_zero();
    const float *a = t.a, *b = t.b, *ahead = t.ahead;
    for (int64_t k = t.k; k > 0; k--) {
        if (wide) {
            UNROLL for (int j = 0; j < vectors; j++) __builtin_prefetch(b + j / 2 * t.b_panel + j % 2 * 16 + 32 * 32);
        } else {
            __builtin_prefetch(ahead);
            ahead += 16;
        }
        UNROLL for (int j = 0; j < vectors; j++)
            x[j] = wide ? v_load(b + j / 2 * t.b_panel + j % 2 * 16) : tile_load(b + 16 * j, columns[j]);
        UNROLL for (int i = 0; i < rows; i++) {
            const v16 y = v_set1(transposed ? a[i] : a[i * t.lda]);
            UNROLL for (int j = 0; j < vectors; j++) sum[i * vectors + j] = v_fma(y, x[j], sum[i * vectors + j]);
        }
        a += transposed ? t.lda : 1;
        b += t.ldb;
    }
    if (wide || t.columns >= TILE_COLUMNS) {
        UNROLL for (int i = 0; i < rows * vectors; i++) {
            float *c = t.c + i / vectors * t.ldc + i % vectors / 2 * t.c_panel + i % vectors % 2 * 16;
            v_store(c, t.add ? v_add(v_load(c), sum[i]) : sum[i]);
        }
    } else {
        UNROLL for (int i = 0; i < rows * vectors; i++) {
            float *c = t.c + i / vectors * t.ldc + i % vectors * 16;
            const int64_t n = columns[i % vectors];
            v_store_n(c, t.add ? v_add(v_load_n(c, n), sum[i]) : sum[i], n);
        }
    }
}

// Each tile is a function of its own: many live vectors in one function make the compiler spill.
#define TILE(rows, vectors) \
    static void tile_##rows##x##vectors(const tile_job *t) { tile(t, rows, vectors, 0); }
#define TILE_T(rows) \
    static void tile_t##rows(const tile_job *t) { tile(t, rows, TILE_VECTORS, 1); }
TILE_T(1) TILE_T(2) TILE_T(3) TILE_T(4) TILE_T(5) TILE_T(6)
#if defined(GLIM_AVX512)
TILE_T(7) TILE_T(8) TILE_T(9) TILE_T(10) TILE_T(11) TILE_T(12)
TILE(1, 2) TILE(2, 2) TILE(3, 2) TILE(4, 2) TILE(5, 2) TILE(6, 2)
TILE(7, 2) TILE(8, 2) TILE(9, 2) TILE(10, 2) TILE(11, 2) TILE(12, 2)
TILE(1, 8) TILE(2, 8) TILE(3, 4) TILE(4, 4) TILE(5, 4) TILE(6, 4)
static tile_function *const tiles[] = {0, tile_1x2, tile_2x2, tile_3x2, tile_4x2, tile_5x2, tile_6x2,
                                       tile_7x2, tile_8x2, tile_9x2, tile_10x2, tile_11x2, tile_12x2};
static tile_function *const tiles_transposed[] = {0, tile_t1, tile_t2, tile_t3, tile_t4, tile_t5, tile_t6,
                                                  tile_t7, tile_t8, tile_t9, tile_t10, tile_t11, tile_t12};
// Few rows do not have enough sums in flight within a panel, so they take more panels at once.
static tile_function *const wide_tiles[] = {0, tile_1x8, tile_2x8, tile_3x4, tile_4x4, tile_5x4, tile_6x4};
static const int64_t wide_columns[] = {0, 128, 128, 64, 64, 64, 64};
#define WIDE_ROWS 6
#else
TILE(1, 1) TILE(2, 1) TILE(3, 1) TILE(4, 1) TILE(5, 1) TILE(6, 1) TILE(1, 4) TILE(2, 2) TILE(3, 2)
static tile_function *const tiles[] = {0, tile_1x1, tile_2x1, tile_3x1, tile_4x1, tile_5x1, tile_6x1};
static tile_function *const tiles_transposed[] = {0, tile_t1, tile_t2, tile_t3, tile_t4, tile_t5, tile_t6};
static tile_function *const wide_tiles[] = {0, tile_1x4, tile_2x2, tile_3x2};
static const int64_t wide_columns[] = {0, 64, 32, 32};
#define WIDE_ROWS 3
#endif

/// Copies k values of `rows` rows of A: to rows COPY_STEP apart, or where transposed to k steps of TILE_ROWS.
static void copy_strip(float *out, const float *a, int64_t lda, int64_t rows, int64_t k, int transposed) {
    if (transposed) {
        if (rows == TILE_ROWS) {
            for (int64_t kk = 0; kk < k; kk++) {
                float row[TILE_ROWS];
                memcpy(row, a + kk * lda, sizeof row);
                memcpy(out + kk * TILE_ROWS, row, sizeof row);
            }
        } else {
            for (int64_t kk = 0; kk < k; kk++)
                for (int64_t i = 0; i < rows; i++) out[kk * TILE_ROWS + i] = a[kk * lda + i];
        }
    } else {
        for (int64_t i = 0; i < rows; i++) memcpy(out + i * COPY_STEP, a + i * lda, (size_t)k * sizeof(float));
    }
}

/// Copies a block of B, at most a panel wide, to steps of 32, zeros behind.
static void copy_panel(float *out, const float *b, int64_t ldb, int64_t columns, int64_t k) {
    if (columns >= GLIM_PANEL) {
        for (int64_t kk = 0; kk < k; kk++) {
            const v16 x = v_load(b + kk * ldb), y = v_load(b + kk * ldb + 16);
            v_store(out + kk * GLIM_PANEL, x);
            v_store(out + kk * GLIM_PANEL + 16, y);
        }
    } else {
        const int64_t first = least(columns, 16), second = columns - first;
        for (int64_t kk = 0; kk < k; kk++) {
            v_store(out + kk * GLIM_PANEL, v_load_n(b + kk * ldb, first));
            v_store(out + kk * GLIM_PANEL + 16, second ? v_load_n(b + kk * ldb + 16, second) : v_zero());
        }
    }
}

/// Few rows: as many panels at once as the tile for them takes. Returns the columns done.
static int64_t matmul_wide(tile_job t, const float *a, const float *b, float *c, int64_t m, int64_t n, int64_t k,
                           int32_t add) {
    const int64_t step = wide_columns[m];
    int64_t j = 0;
    for (; j + step <= n; j += step) {
        const int64_t panel = j / GLIM_PANEL;
        t.c = c + panel * t.c_panel;
        for (int64_t first = 0; first < k; first += GLIM_K_BLOCK) {
            t.a = a + first;
            t.b = b + panel * t.b_panel + first * t.ldb;
            t.k = least(k - first, GLIM_K_BLOCK);
            t.add = add || first > 0;
            wide_tiles[m](&t);
        }
    }
    return j;
}

static void matmul_f32(float *c, int64_t ldc, int64_t c_panel, const float *a, int64_t lda, const float *b, int64_t ldb,
                       int64_t b_panel, int64_t m, int64_t n, int64_t k, int32_t flags) {
    float a_copy[CHUNK_STRIPS * TILE_ROWS * COPY_STEP], b_copy[GLIM_K_BLOCK * GLIM_PANEL];
    const int transposed = flags & GLIM_A_TRANSPOSED ? 1 : 0, add = flags & GLIM_ACCUMULATE;
    tile_function *const *const choices = transposed ? tiles_transposed : tiles;
    tile_job t = {.ldc = ldc, .c_panel = c_panel, .lda = lda, .ldb = ldb, .b_panel = b_panel};
    if (m <= 0) return;

    int64_t done = 0;
    if (m <= WIDE_ROWS && !transposed && k > 0) done = matmul_wide(t, a, b, c, m, n, k, add);

    const int64_t strips = (m + TILE_ROWS - 1) / TILE_ROWS;
    const int64_t rows = m / strips, longer = m % strips;  // the first `longer` strips have a row more
    const int copy_a = m > TILE_ROWS / 2 && n > GLIM_PANEL, copy_b = ldb != GLIM_PANEL && m > 2 * TILE_ROWS;
    const int64_t row_step = transposed ? 1 : lda, k_step = transposed ? lda : 1;
    for (int64_t left = done; left < n; left += CHUNK_COLUMNS) {
        const int64_t right = least(left + CHUNK_COLUMNS, n);
        // At least once, to set C where k is 0.
        for (int64_t first = 0; first == 0 || first < k; first += GLIM_K_BLOCK) {
            t.k = least(k - first, GLIM_K_BLOCK);
            t.add = add || first > 0;
            int64_t row = 0;
            for (int64_t s0 = 0; s0 < strips; s0 += CHUNK_STRIPS) {
                const int64_t s1 = least(s0 + CHUNK_STRIPS, strips), row0 = row;
                if (copy_a) {
                    for (int64_t s = s0; s < s1; s++) {
                        const int64_t height = rows + (s < longer);
                        copy_strip(a_copy + (s - s0) * TILE_ROWS * COPY_STEP, a + row * row_step + first * k_step, lda,
                                   height, t.k, transposed);
                        row += height;
                    }
                    t.lda = transposed ? TILE_ROWS : COPY_STEP;
                }
                for (int64_t j = left; j < right; j += GLIM_PANEL) {
                    const int64_t panel = j / GLIM_PANEL, columns = least(n - j, GLIM_PANEL);
                    const float *bj = b + panel * b_panel + first * ldb;
                    t.ahead = j + GLIM_PANEL < right ? bj + b_panel : b + left / GLIM_PANEL * b_panel + first * ldb;
                    t.ldb = ldb;
                    if (copy_b || (TILE_VECTORS == 1 && columns < GLIM_PANEL)) {
                        copy_panel(b_copy, bj, ldb, columns, t.k);
                        bj = t.ahead = b_copy;
                        t.ldb = GLIM_PANEL;
                    }
                    row = row0;
                    for (int64_t s = s0; s < s1; s++) {
                        const int64_t height = rows + (s < longer);
                        t.a = copy_a ? a_copy + (s - s0) * TILE_ROWS * COPY_STEP : a + row * row_step + first * k_step;
                        for (int64_t jj = 0; jj < columns; jj += TILE_COLUMNS) {
                            t.b = bj + jj;
                            t.c = c + row * ldc + panel * c_panel + jj;
                            t.columns = columns - jj;
                            choices[height](&t);
                            t.ahead += t.k * 16;
                        }
                        row += height;
                    }
                }
            }
        }
    }
}

#endif

#define GEMM_ENTRIES .matmul_f32 = matmul_f32,
