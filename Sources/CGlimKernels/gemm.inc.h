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

#include "bf16.inc.h"

#if defined(GLIM_PORTABLE)

#include "gemm_plain.inc.h"

#else

// MARK: - Tiles

#if defined(GLIM_AVX512)
#define TILE_ROWS 12  // 12 rows by 2 vectors: 24 sums, 2 of B and one of A are in registers
#define TILE_VECTORS 2
#else
#define TILE_ROWS 6  // 6 rows by 1 vector: 12 of 16 registers (AVX2), 24 of 32 (NEON)
#define TILE_VECTORS 1
#endif
#define TILE_COLUMNS (16 * TILE_VECTORS)
#define GROUP_STRIPS (192 / TILE_ROWS)  // strips of rows that share a copy of A, which stays in the second cache
#define COPY_STEP (GLIM_K_BLOCK + 16)   // rows a power of two apart would share cache sets, so copies are not
#define PAIR_STEP (GLIM_K_BLOCK / 2 + 16)
#define PACE 4                          // steps of k from one prefetch of a tile to its next
#define STREAMED (1 << 21)              // bytes of B from which on it hardly waits in a cache, but streams …
#define STREAM_AHEAD 8192               // … prefetched by so many …
#define STREAM_ALONE(kind) ((kind) == F32_BF16 ? 2 : 4)  // … for more rows than these: few wait less without

/// What is multiplied: f32; f32 by pairs of bf16; f32 rounded to pairs on the way, by pairs; both f32, both rounded on
/// the way (A transposed). In a tile, pairs lie and move as one f32 would.
enum { F32, F32_BF16, BF16, BF16_ROWS };

/// One tile's work: `columns` of C (+)= A·B over one block of k.
typedef struct {
    float *c;
    const char *a;      ///< rows a_step bytes apart, or steps of k where transposed
    const float *b;     ///< steps of k (or of pairs) ldb apart
    const char *ahead;  ///< rows of B that are read later, brought nearer: ahead_rows of them every PACE steps of k
    int64_t ldc, c_panel, a_step, ldb, b_panel, ahead_step, ahead_rows, k, columns;
    int32_t add;      ///< 0: C is set
    int32_t streams;  ///< B itself is brought nearer, STREAM_AHEAD before its turn
} tile_job;
typedef void tile_function(const tile_job *);

/// A vector of B: only AVX-512 reads a part of one at full speed, the others are given whole ones.
INLINE v16 tile_load(const float *p, int64_t columns) {
#if defined(GLIM_AVX512)
    return v_load_n(p, columns);
#else
    (void)columns;
    return v_load(p);
#endif
}

/// The inner loop of all products. All but the first argument are constants. Beyond TILE_VECTORS a tile is wide: it
/// spans whole panels.
INLINE void tile(const tile_job *job, const int kind, const int rows, const int vectors, const int transposed) {
    const tile_job t = *job;
    const int wide = vectors > TILE_VECTORS;
    const int streams = TILE_COLUMNS == GLIM_PANEL && !transposed && t.streams;
    int64_t columns[TILE_VECTORS];
    UNROLL for (int j = 0; j < TILE_VECTORS; j++) columns[j] = least(t.columns > 16 * j ? t.columns - 16 * j : 0, 16);
    v16 sum[TILE_ROWS * TILE_VECTORS], x[8];
    UNROLL for (int i = 0; i < rows * vectors; i++) sum[i] = v_zero();
    const char *a = t.a, *ahead = t.ahead;
    const float *b = t.b, *c_ahead = t.c, *const c_end = t.c + rows * t.ldc;
    const int per = kind == F32_BF16 ? 2 : 1;  // steps of k in one of the loop
    int64_t k = t.k;
    while (k >= per) {
        const int64_t steps = wide ? k / per * per : least(k, PACE) / per * per;
        if (!wide) {
            if (c_ahead < c_end) {
                UNROLL for (int j = 0; j < vectors; j++) __builtin_prefetch(c_ahead + 16 * j, 1);
                c_ahead += t.ldc;
            }
            for (int64_t i = 0; i < t.ahead_rows; i++, ahead += t.ahead_step) {
                __builtin_prefetch(ahead, 0, 2);
                if (TILE_VECTORS > 1) __builtin_prefetch(ahead + 64, 0, 2);
            }
        }
        for (int64_t step = 0; step < steps; step += per) {
            if (streams) {
                UNROLL for (int j = 0; j < vectors; j++)
                    __builtin_prefetch((const char *)(b + j / 2 * t.b_panel + j % 2 * 16) + STREAM_AHEAD * 2 / vectors,
                                       0, 2);
            }
            UNROLL for (int j = 0; j < vectors; j++)
                x[j] = wide ? v_load(b + j / 2 * t.b_panel + j % 2 * 16) : tile_load(b + 16 * j, columns[j]);
            UNROLL for (int i = 0; i < rows; i++) {
                const v16 y = v_set1_from(a + (transposed ? 4 * i : i * t.a_step));
                UNROLL for (int j = 0; j < vectors; j++) {
                    v16 *s = &sum[i * vectors + j];
                    *s = kind >= BF16 ? dot_pair(*s, y, x[j])
                                      : v_fma(y, kind == F32_BF16 ? pair_even(x[j]) : x[j], *s);
                }
            }
            if (kind == F32_BF16) {
                UNROLL for (int i = 0; i < rows; i++) {
                    const v16 y = v_set1_from(a + i * t.a_step + 4);
                    UNROLL for (int j = 0; j < vectors; j++)
                        sum[i * vectors + j] = v_fma(y, pair_odd(x[j]), sum[i * vectors + j]);
                }
            }
            a += transposed ? t.a_step : kind == F32_BF16 ? 8 : 4;
            b += t.ldb;
        }
        k -= steps;
    }
    if (kind == F32_BF16 && k > 0) {
        UNROLL for (int i = 0; i < rows; i++) {
            const v16 y = v_set1_from(a + i * t.a_step);
            UNROLL for (int j = 0; j < vectors; j++) {
                v16 *s = &sum[i * vectors + j];
                *s = v_fma(y, pair_even(v_load(b + j / 2 * t.b_panel + j % 2 * 16)), *s);
            }
        }
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
#define TILE(kind, rows, vectors) \
    static void tile_##kind##_##rows##x##vectors(const tile_job *t) { tile(t, kind, rows, vectors, 0); }
#define TILE_TRANSPOSED(rows) \
    static void tile_transposed_##rows(const tile_job *t) { tile(t, F32, rows, TILE_VECTORS, 1); } \
    static void tile_transposed_bf16_##rows(const tile_job *t) { tile(t, BF16_ROWS, rows, TILE_VECTORS, 1); }
TILE_TRANSPOSED(1) TILE_TRANSPOSED(2) TILE_TRANSPOSED(3) TILE_TRANSPOSED(4) TILE_TRANSPOSED(5) TILE_TRANSPOSED(6)
#if defined(GLIM_AVX512)
TILE_TRANSPOSED(7) TILE_TRANSPOSED(8) TILE_TRANSPOSED(9) TILE_TRANSPOSED(10) TILE_TRANSPOSED(11) TILE_TRANSPOSED(12)
static tile_function *const tiles_transposed[] = {
    0, tile_transposed_1, tile_transposed_2, tile_transposed_3, tile_transposed_4, tile_transposed_5,
    tile_transposed_6, tile_transposed_7, tile_transposed_8, tile_transposed_9, tile_transposed_10,
    tile_transposed_11, tile_transposed_12};
static tile_function *const tiles_transposed_bf16[] = {
    0, tile_transposed_bf16_1, tile_transposed_bf16_2, tile_transposed_bf16_3, tile_transposed_bf16_4,
    tile_transposed_bf16_5, tile_transposed_bf16_6, tile_transposed_bf16_7, tile_transposed_bf16_8,
    tile_transposed_bf16_9, tile_transposed_bf16_10, tile_transposed_bf16_11, tile_transposed_bf16_12};
#define TILES(kind) \
    TILE(kind, 1, 2) TILE(kind, 2, 2) TILE(kind, 3, 2) TILE(kind, 4, 2) TILE(kind, 5, 2) TILE(kind, 6, 2) \
    TILE(kind, 7, 2) TILE(kind, 8, 2) TILE(kind, 9, 2) TILE(kind, 10, 2) TILE(kind, 11, 2) TILE(kind, 12, 2) \
    static tile_function *const tiles_##kind[] = { \
        0, tile_##kind##_1x2, tile_##kind##_2x2, tile_##kind##_3x2, tile_##kind##_4x2, tile_##kind##_5x2, \
        tile_##kind##_6x2, tile_##kind##_7x2, tile_##kind##_8x2, tile_##kind##_9x2, tile_##kind##_10x2, \
        tile_##kind##_11x2, tile_##kind##_12x2};
// Few rows have not enough sums in flight within one panel, so they take more panels at once.
#define WIDE_ROWS 6
static const int64_t wide_columns[] = {0, 128, 128, 64, 64, 64, 64};
#define WIDE_TILES(kind) \
    TILE(kind, 1, 8) TILE(kind, 2, 8) TILE(kind, 3, 4) TILE(kind, 4, 4) TILE(kind, 5, 4) TILE(kind, 6, 4) \
    static tile_function *const wide_tiles_##kind[] = { \
        0, tile_##kind##_1x8, tile_##kind##_2x8, tile_##kind##_3x4, tile_##kind##_4x4, tile_##kind##_5x4, \
        tile_##kind##_6x4};
#else
static tile_function *const tiles_transposed[] = {0, tile_transposed_1, tile_transposed_2, tile_transposed_3,
                                                  tile_transposed_4, tile_transposed_5, tile_transposed_6};
static tile_function *const tiles_transposed_bf16[] = {
    0, tile_transposed_bf16_1, tile_transposed_bf16_2, tile_transposed_bf16_3, tile_transposed_bf16_4,
    tile_transposed_bf16_5, tile_transposed_bf16_6};
#define TILES(kind) \
    TILE(kind, 1, 1) TILE(kind, 2, 1) TILE(kind, 3, 1) TILE(kind, 4, 1) TILE(kind, 5, 1) TILE(kind, 6, 1) \
    static tile_function *const tiles_##kind[] = {0, tile_##kind##_1x1, tile_##kind##_2x1, tile_##kind##_3x1, \
                                                  tile_##kind##_4x1, tile_##kind##_5x1, tile_##kind##_6x1};
#define WIDE_ROWS 2
static const int64_t wide_columns[] = {0, 64, 32};
#define WIDE_TILES(kind) \
    TILE(kind, 1, 4) TILE(kind, 2, 2) \
    static tile_function *const wide_tiles_##kind[] = {0, tile_##kind##_1x4, tile_##kind##_2x2};
#endif
TILES(F32)
TILES(BF16)
#if defined(GLIM_AVX512)
// At most half a panel, as at the end of 80 columns: half the work.
TILE(F32, 1, 1) TILE(F32, 2, 1) TILE(F32, 3, 1) TILE(F32, 4, 1) TILE(F32, 5, 1) TILE(F32, 6, 1)
TILE(F32, 7, 1) TILE(F32, 8, 1) TILE(F32, 9, 1) TILE(F32, 10, 1) TILE(F32, 11, 1) TILE(F32, 12, 1)
static tile_function *const narrow_tiles[] = {
    0, tile_F32_1x1, tile_F32_2x1, tile_F32_3x1, tile_F32_4x1, tile_F32_5x1, tile_F32_6x1,
    tile_F32_7x1, tile_F32_8x1, tile_F32_9x1, tile_F32_10x1, tile_F32_11x1, tile_F32_12x1};
TILES(F32_BF16)
#else
#define narrow_tiles tiles_F32
#define tiles_F32_BF16 tiles_F32  // not used: only whole panels are multiplied without widening a copy
#endif
WIDE_TILES(F32)
WIDE_TILES(F32_BF16)
WIDE_TILES(BF16)

#include "gemm_copies.inc.h"

// MARK: - Drivers

/// Values of k in one step of a tile.
#define STEP_OF(kind) ((kind) >= BF16 ? 2 : 1)
/// Values of k in one row of B.
#define B_STEP_OF(kind) ((kind) == BF16 || (kind) == F32_BF16 ? 2 : 1)

/// Few rows: from column j on `width` columns at a time, all of k for them (or a span of it) before the next. Returns
/// where they end.
INLINE int64_t product_few(const int kind, tile_job t, tile_function *run, const char *a, const float *b, float *c,
                           int64_t width, int64_t j, int64_t m, int64_t n, int64_t k, int32_t add) {
    enum { BLOCKS = 16 };
    float pairs[BLOCKS * TILE_ROWS * PAIR_STEP];  // rows once rounded meet all columns
    const int64_t a_step = t.a_step, span = kind == BF16 ? BLOCKS * TILE_ROWS / m * GLIM_K_BLOCK : k, begin = j;
    if (kind == BF16) t.a_step = PAIR_STEP * sizeof(float);
    t.columns = width;
    t.streams = m > STREAM_ALONE(kind) && (width == GLIM_PANEL || n * k / B_STEP_OF(kind) * 4 >= STREAMED);
    for (int64_t start = 0; start < k; start += span) {
        const int64_t end = least(k, start + span);
        for (int64_t first = start; kind == BF16 && first < end; first += GLIM_K_BLOCK)
            round_rows(pairs + (first - start) / GLIM_K_BLOCK * m * PAIR_STEP, a + first * 4, a_step, m,
                       least(end - first, GLIM_K_BLOCK));
        for (j = begin; j + width <= n; j += width) {
            const int64_t panel = j / GLIM_PANEL;
            t.c = c + panel * t.c_panel;
            for (int64_t first = start; first < end; first += GLIM_K_BLOCK) {
                const int64_t count = least(end - first, GLIM_K_BLOCK);
                t.a = a + first * 4;
                if (kind == BF16) t.a = (const char *)(pairs + (first - start) / GLIM_K_BLOCK * m * PAIR_STEP);
                t.b = b + panel * t.b_panel + first / B_STEP_OF(kind) * t.ldb;
                t.k = (count + STEP_OF(kind) - 1) / STEP_OF(kind);
                t.add = add || first > 0;
                run(&t);
            }
        }
    }
    return j;
}

/// One group of rows over one block of k and all columns of B: A copied, then panel by panel, strip by strip. `after`
/// is where B is read after this block, and `a_next` the same rows of A then, if any.
INLINE void group(const int kind, tile_job t, const char *a, const float *b, float *c, const int64_t *start,
                  int64_t strips, int64_t rows, int64_t n, const int copy_a, const int transposed,
                  const float *after, const char *a_next) {
    float a_copy[GROUP_STRIPS * TILE_ROWS * (kind >= BF16 ? PAIR_STEP : COPY_STEP)];
    float b_copy[GLIM_K_BLOCK * GLIM_PANEL];
    const int64_t a_step = t.a_step, row_step = transposed ? 4 : a_step, ldb = t.ldb, k = t.k;
    const int64_t copy_step = kind >= BF16 ? PAIR_STEP : COPY_STEP;
    // Of the next block of A: rows as they lie in memory, and pairs of cache lines in one. A tile brings nearer one
    // pair of each of 64 rows.
    const int64_t a_rows = !copy_a || !a_next ? 0 : transposed ? k : start[strips];
    const int64_t a_pairs = ((transposed ? start[strips] : k) + 31) / 32 + !k;
    if (kind == BF16_ROWS) {
        round_transposed(a_copy, (const float *)(const void *)a, a_step / 4, start, strips, rows, k);
        t.a_step = TILE_ROWS * sizeof(float);
    } else if (copy_a && transposed) {
        copy_transposed(a_copy, (const float *)(const void *)a, a_step / 4, start, strips, rows, k);
        t.a_step = TILE_ROWS * sizeof(float);
    } else if (copy_a) {
        for (int64_t s = 0; s < strips; s++) {
            float *const out = a_copy + s * TILE_ROWS * copy_step;
            const char *const from = a + start[s] * a_step;
            const int64_t count = start[s + 1] - start[s];
            if (kind == BF16) round_rows(out, from, a_step, count, k);
            else copy_rows(out, from, a_step, count, k);
        }
        t.a_step = copy_step * (int64_t)sizeof(float);
    }
    t.k = (k + STEP_OF(kind) - 1) / STEP_OF(kind);
    int64_t idle = 0;  // strips so far that had nothing of B to bring nearer
    for (int64_t j = 0; j < n; j += GLIM_PANEL) {
        const int64_t columns = least(n - j, GLIM_PANEL);
        const float *const bj = b + j / GLIM_PANEL * t.b_panel;
        const char *const ahead = (const char *)(j + GLIM_PANEL < n ? bj + t.b_panel : after);
        // Rows of a matrix lie a power of two apart more often than not: a copy does not share cache sets.
        const int scattered = kind == F32 && ldb != GLIM_PANEL && strips > 2;
        const int direct = kind == F32_BF16 && strips == 1 && TILE_COLUMNS == GLIM_PANEL && columns == GLIM_PANEL;
        const int copied = (kind == F32_BF16 && !direct) || kind == BF16_ROWS || scattered ||
                           (TILE_COLUMNS < GLIM_PANEL && columns < GLIM_PANEL);
        if (kind == F32_BF16 && !direct) widen_panel(b_copy, bj, columns, k);
        else if (kind == BF16_ROWS) round_panel(b_copy, bj, ldb, columns, k);
        else if (copied) copy_panel(b_copy, bj, ldb, columns, t.k);
        t.ldb = copied ? GLIM_PANEL : ldb;
        tile_function *const *const tiles = kind == BF16        ? tiles_BF16
                                            : kind == BF16_ROWS ? tiles_transposed_bf16
                                            : transposed        ? tiles_transposed
                                            : columns <= 16     ? narrow_tiles
                                            : direct            ? tiles_F32_BF16
                                                                : tiles_F32;
        // What comes next is brought nearer by the first strips, no faster than PACE.
        const int64_t b_rows = (k + B_STEP_OF(kind) - 1) / B_STEP_OF(kind), paces = (t.k + PACE - 1) / PACE;
        const int64_t each = k > 0 ? (b_rows + paces * strips - 1) / (paces * strips) : 0;
        for (int64_t s = 0; s < strips; s++) {
            t.a = copy_a ? (const char *)(a_copy + s * TILE_ROWS * copy_step) : a + start[s] * row_step;
            const int64_t from = s * each * paces;
            const char *near = ahead + from * ldb * 4;
            t.ahead_step = ldb * 4;
            t.ahead_rows = each;
            if (from >= b_rows) {
                const int more = idle < (a_rows + 63) / 64 * a_pairs;
                if (more) near = a_next + idle % a_pairs * 128 + idle / a_pairs * 64 * a_step;
                t.ahead_step = a_step;
                t.ahead_rows = more ? STEP_OF(kind) : 0;
                idle++;
            }
            for (int64_t jj = 0; jj < columns; jj += TILE_COLUMNS) {
                t.b = (copied ? b_copy : bj) + jj;
                t.c = c + start[s] * t.ldc + j / GLIM_PANEL * t.c_panel + jj;
                t.columns = columns - jj;
                t.ahead = near + jj * 4;
                tiles[start[s + 1] - start[s]](&t);
            }
        }
    }
}

/// Every product. `kind` is a constant.
INLINE void product(const int kind, float *c, int64_t ldc, int64_t c_panel, const char *a, int64_t a_step,
                    const float *b, int64_t ldb, int64_t b_panel, int64_t m, int64_t n, int64_t k, int32_t flags) {
    const int transposed = kind == BF16_ROWS || (kind == F32 && flags & GLIM_A_TRANSPOSED);
    const int32_t add = flags & GLIM_ACCUMULATE;
    tile_job t = {.ldc = ldc, .c_panel = c_panel, .a_step = a_step, .ldb = ldb, .b_panel = b_panel};
    if (m <= 0) return;

    int64_t done = 0;
    if (!transposed && k > 0 && m <= TILE_ROWS) {
        // A stream wants one panel after the other; what caches hold wants many sums at once, and so do some rows of f32
        // by bf16, which have more to do in a step than to wait for.
        const int streams = TILE_COLUMNS == GLIM_PANEL && ldb == GLIM_PANEL && n * k / B_STEP_OF(kind) * 4 >= STREAMED;
        if (m <= WIDE_ROWS && (!streams || (kind == F32_BF16 && m > 3))) {
            tile_function *const *const tiles = kind == BF16  ? wide_tiles_BF16
                                                : kind == F32 ? wide_tiles_F32
                                                              : wide_tiles_F32_BF16;
            done = product_few(kind, t, tiles[m], a, b, c, wide_columns[m], 0, m, n, k, add);
        }
        if (TILE_COLUMNS == GLIM_PANEL) {
            tile_function *const *const tiles = kind == BF16  ? tiles_BF16
                                                : kind == F32 ? tiles_F32
                                                              : tiles_F32_BF16;
            done = product_few(kind, t, tiles[m], a, b, c, GLIM_PANEL, done, m, n, k, add);
        }
    }
    const int64_t strips = (m + TILE_ROWS - 1) / TILE_ROWS;
    const int64_t rows = m / strips, longer = m % strips;  // the first `longer` strips have a row more
    const int64_t row_step = transposed ? 4 : a_step, k_step = transposed ? a_step : 4;
    // Two or three panels do not repay a copy of A, unless its rows share cache sets; nor do short rows, one after the
    // other.
    const int repays = a_step > 5 * GLIM_K_BLOCK && (n > 3 * GLIM_PANEL || a_step % 1024 == 0);
    const int copy_a = kind >= BF16 || (m > TILE_ROWS / 2 && (transposed || repays));
    if (done >= n) return;
    const int64_t panel = done / GLIM_PANEL;
    for (int64_t s0 = 0; s0 < strips; s0 += GROUP_STRIPS) {
        const int64_t count = least(GROUP_STRIPS, strips - s0), row = s0 * rows + least(s0, longer);
        int64_t start[GROUP_STRIPS + 1];  // where each strip begins, from `row` on
        for (int64_t s = 0; s <= count; s++) start[s] = (s0 + s) * rows + least(s0 + s, longer) - row;
        // At least once, to set C where k is 0.
        for (int64_t first = 0; first == 0 || first < k; first += GLIM_K_BLOCK) {
            t.k = least(k - first, GLIM_K_BLOCK);
            t.add = add || first > 0;
            const float *const bk = b + panel * b_panel + first / B_STEP_OF(kind) * ldb;
            const float *const after =
                first + GLIM_K_BLOCK < k ? bk + GLIM_K_BLOCK / B_STEP_OF(kind) * ldb : b + panel * b_panel;
            group(kind, t, a + row * row_step + first * k_step, bk, c + row * ldc + panel * c_panel, start, count,
                  m - row, n - done, copy_a, transposed, after,
                  first + GLIM_K_BLOCK < k ? a + row * row_step + (first + GLIM_K_BLOCK) * k_step : NULL);
        }
    }
}

static void matmul_f32(float *c, int64_t ldc, int64_t c_panel, const float *a, int64_t lda, const float *b, int64_t ldb,
                       int64_t b_panel, int64_t m, int64_t n, int64_t k, int32_t flags) {
    product(F32, c, ldc, c_panel, (const char *)a, lda * 4, b, ldb, b_panel, m, n, k, flags);
}

static void matmul_f32_bf16(float *c, int64_t ldc, int64_t c_panel, const float *a, int64_t lda, const uint16_t *b,
                            int64_t b_panel, int64_t m, int64_t n, int64_t k, int32_t flags) {
    product(F32_BF16, c, ldc, c_panel, (const char *)a, lda * 4, (const float *)(const void *)b, GLIM_PANEL,
            b_panel / 2, m, n, k, flags);
}

static void matmul_bf16(float *c, int64_t ldc, int64_t c_panel, const float *a, int64_t lda, const uint16_t *b,
                        int64_t b_panel, int64_t m, int64_t n, int64_t k, int32_t flags) {
    product(BF16, c, ldc, c_panel, (const char *)a, lda * 4, (const float *)(const void *)b, GLIM_PANEL, b_panel / 2, m,
            n, k, flags);
}

static void matmul_bf16_rows(float *c, int64_t ldc, int64_t c_panel, const float *a, int64_t lda, const float *b,
                             int64_t ldb, int64_t b_panel, int64_t m, int64_t n, int64_t k, int32_t flags) {
    product(BF16_ROWS, c, ldc, c_panel, (const char *)a, lda * 4, b, ldb, b_panel, m, n, k, flags);
}

#endif

#define GEMM_ENTRIES                                                                           \
    .matmul_f32 = matmul_f32, .matmul_f32_bf16 = matmul_f32_bf16, .matmul_bf16 = matmul_bf16,  \
    .matmul_bf16_rows = matmul_bf16_rows,
