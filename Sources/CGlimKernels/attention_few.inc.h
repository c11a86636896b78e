// Attention of a handful of query rows: decoding, and every token that attends to selected keys.
//
// They would leave most lanes of a product idle, so here the keys are the lanes of scores: a tile is [rows, 64 keys].
// Only for scores are keys turned; the other products read them, and write their gradients, where they lie. Every
// number is the same sequence of operations as in attention.inc.h, whose results these are to the bit.

/// Query rows that this is for.
#define FEW_ROWS 16
#if defined(GLIM_AVX512)
#define FEW_VECTORS 5  // by 4 rows: 20 sums; 5 of B and one of A are in registers
#define FEW_TOGETHER 8  // rows whose scores are summed at once: so many chains keep both multipliers busy
#define FEW_GROUPS 2  // of 16 keys, for fewer rows
#define FEW_PAIR_ROWS 4  // by two pairs of vectors
#define FEW_PAIRS 2
#else
#define FEW_VECTORS 1
#define FEW_TOGETHER 4
#define FEW_GROUPS 1
#define FEW_PAIR_ROWS 2
#define FEW_PAIRS 1
#endif

// ---- Products

/// C (+)= A · B for a few rows and one block of k. Element (i, k) of A is a[i * a_row + k]; rows of B lie anywhere.
typedef struct {
    float *c;
    const float *a, *const *b;
    const float *by;  ///< not null: what C holds is first multiplied by by[i]
    int64_t ldc, a_row, k, first, columns;
    int add;  ///< 0: C is set
} few_job;

/// Columns from `first` on: whole vectors, or where `part`, the first `columns` of one.
INLINE void few_tile(const few_job *job, int64_t row, const int rows, const int vectors, const int part) {
    const few_job t = *job;
    const float *const a = t.a + row * t.a_row;
    v16 sum[4 * FEW_VECTORS], x[FEW_VECTORS];
    UNROLL for (int i = 0; i < rows * vectors; i++) sum[i] = v_zero();
    for (int64_t k = 0; k < t.k; k++) {
        const float *b = t.b[k] + t.first;
        UNROLL for (int j = 0; j < vectors; j++) x[j] = part ? v_load_n(b, t.columns) : v_load(b + 16 * j);
        UNROLL for (int i = 0; i < rows; i++) {
            const v16 y = v_set1(a[i * t.a_row + k]);
            UNROLL for (int j = 0; j < vectors; j++) sum[i * vectors + j] = v_fma(y, x[j], sum[i * vectors + j]);
        }
    }
    UNROLL for (int i = 0; i < rows; i++) {
        float *c = t.c + (row + i) * t.ldc + t.first;
        UNROLL for (int j = 0; j < vectors; j++) {
            v16 s = sum[i * vectors + j];
            if (t.add) {
                v16 old = part ? v_load_n(c, t.columns) : v_load(c + 16 * j);
                if (t.by) old = v_fma(old, v_set1(t.by[row + i]), v_zero());
                s = v_add(old, s);
            }
            if (part) v_store_n(c, s, t.columns);
            else v_store(c + 16 * j, s);
        }
    }
}

/// All rows, four at a time. A function for each width: many live vectors in one make the compiler spill.
#define FEW_COLUMNS(name, vectors, part) \
    static void name(const few_job *t, int64_t rows) { \
        int64_t i = 0; \
        for (; i + 4 <= rows; i += 4) few_tile(t, i, 4, vectors, part); \
        if (rows - i == 3) few_tile(t, i, 3, vectors, part); \
        if (rows - i == 2) few_tile(t, i, 2, vectors, part); \
        if (rows - i == 1) few_tile(t, i, 1, vectors, part); \
    }
FEW_COLUMNS(few_part, 1, 1)
FEW_COLUMNS(few_1, 1, 0)
#if FEW_VECTORS > 1
FEW_COLUMNS(few_2, 2, 0)
FEW_COLUMNS(few_3, 3, 0)
FEW_COLUMNS(few_4, 4, 0)
FEW_COLUMNS(few_5, 5, 0)
#endif

/// How many of `left` whole vectors to take at once, so that no lone one is left over.
INLINE int64_t few_vectors(int64_t left) {
    if (FEW_VECTORS == 1) return 1;
    return left % 4 == 1 && left > 4 ? 5 : at_most(left, 4);
}

static void few_product(few_job t, int64_t rows, int64_t n) {
    for (t.first = 0; t.first + 16 <= n;) {
        const int64_t vectors = few_vectors((n - t.first) / 16);
        switch (vectors) {
#if FEW_VECTORS > 1
            case 5: few_5(&t, rows); break;
            case 4: few_4(&t, rows); break;
            case 3: few_3(&t, rows); break;
            case 2: few_2(&t, rows); break;
#endif
            default: few_1(&t, rows);
        }
        t.first += 16 * vectors;
    }
    t.columns = n - t.first;
    if (t.columns > 0) few_part(&t, rows);
}

/// few_tile for rows of B in bf16: pairs of columns from `first` on, and the rows of A from `row` on.
INLINE void few_pair_tile(const few_job *job, int64_t row, const int rows, const int pairs) {
    const few_job t = *job;
    const float *const a = t.a + row * t.a_row;
    v16 sum[FEW_PAIR_ROWS * FEW_PAIRS][2];
    UNROLL for (int i = 0; i < rows * pairs; i++) sum[i][0] = sum[i][1] = v_zero();
    for (int64_t k = 0; k < t.k; k++) {
        const float *const b = t.b[k] + t.first / 2;
        v16 first[FEW_PAIRS], second[FEW_PAIRS];
        UNROLL for (int j = 0; j < pairs; j++) {
            const v16 x = v_load(b + 16 * j);
            first[j] = pair_odd(x);
            second[j] = pair_even(x);
        }
        UNROLL for (int i = 0; i < rows; i++) {
            const v16 y = v_set1(a[i * t.a_row + k]);
            UNROLL for (int j = 0; j < pairs; j++) {
                sum[i * pairs + j][0] = v_fma(y, first[j], sum[i * pairs + j][0]);
                sum[i * pairs + j][1] = v_fma(y, second[j], sum[i * pairs + j][1]);
            }
        }
    }
    UNROLL for (int i = 0; i < rows; i++)
        UNROLL for (int j = 0; j < pairs; j++) {
            float *const c = t.c + (row + i) * t.ldc + t.first + 32 * j;
            v16 zipped[2];
            v_zip(zipped, sum[i * pairs + j][0], sum[i * pairs + j][1]);
            UNROLL for (int h = 0; h < 2; h++) {
                if (t.add)
                    zipped[h] = v_add(v_fma(v_load(c + 16 * h), v_set1(t.by[row + i]), v_zero()), zipped[h]);
                v_store(c + 16 * h, zipped[h]);
            }
        }
}

#define FEW_PAIR_COLUMNS(name, pairs) \
    static void name(const few_job *t, int64_t rows) { \
        int64_t i = 0; \
        for (; i + FEW_PAIR_ROWS <= rows; i += FEW_PAIR_ROWS) few_pair_tile(t, i, FEW_PAIR_ROWS, pairs); \
        for (; i < rows; i++) few_pair_tile(t, i, 1, pairs); \
    }
FEW_PAIR_COLUMNS(few_pair_1, 1)
#if FEW_PAIRS > 1
FEW_PAIR_COLUMNS(few_pair_2, 2)
#endif

/// few_product for rows of B in bf16, n a multiple of 32, and a job that has `by`.
static void few_pair_product(few_job t, int64_t rows, int64_t n) {
    while (t.first < n) {
#if FEW_PAIRS > 1
        if (n - t.first >= 64) {
            few_pair_2(&t, rows);
            t.first += 64;
            continue;
        }
#endif
        few_pair_1(&t, rows);
        t.first += 32;
    }
}

// ---- Scores

/// tile[i, s] += x[i] · keys[s] for 16 keys, of which `columns` values are given, turned. With `fresh`, tile is set.
INLINE void few_scores_16(float *tile, const v16 *keys, const float *x, int64_t ldx, int64_t row, const int rows,
                          int64_t columns, int fresh) {
    v16 sum[FEW_TOGETHER];
    x += row * ldx;
    tile += row * GLIM_PAGE;
    UNROLL for (int i = 0; i < rows; i++) sum[i] = fresh ? v_zero() : v_load(tile + i * GLIM_PAGE);
    if (columns >= 16) {
        UNROLL for (int d = 0; d < 16; d++)
            UNROLL for (int i = 0; i < rows; i++) sum[i] = v_fma(v_set1(x[i * ldx + d]), keys[d], sum[i]);
    } else {
        UNROLL for (int d = 0; d < 15; d++)
            if (d < columns) {
                UNROLL for (int i = 0; i < rows; i++) sum[i] = v_fma(v_set1(x[i * ldx + d]), keys[d], sum[i]);
            }
    }
    UNROLL for (int i = 0; i < rows; i++) v_store(tile + i * GLIM_PAGE, sum[i]);
}

INLINE void few_scores_rows(float *tile, const v16 *keys, const float *x, int64_t ldx, int64_t rows, int64_t columns,
                            int fresh) {
    int64_t i = 0;
    for (; i + FEW_TOGETHER <= rows; i += FEW_TOGETHER)
        few_scores_16(tile, keys, x, ldx, i, FEW_TOGETHER, columns, fresh);
    if (rows - i >= 4) {
        few_scores_16(tile, keys, x, ldx, i, 4, columns, fresh);
        i += 4;
    }
    if (rows - i == 3) few_scores_16(tile, keys, x, ldx, i, 3, columns, fresh);
    if (rows - i == 2) few_scores_16(tile, keys, x, ldx, i, 2, columns, fresh);
    if (rows - i == 1) few_scores_16(tile, keys, x, ldx, i, 1, columns, fresh);
}

/// few_scores_16 for groups of 16 keys in bf16, of which 32 values are given as pairs, turned: the first of each in the
/// low halves.
INLINE void few_pair_scores_16(float *tile, const v16 (*pairs)[16], const float *x, int64_t ldx, int64_t row,
                               const int rows, const int groups, int fresh) {
    v16 sum[FEW_TOGETHER];
    x += row * ldx;
    tile += row * GLIM_PAGE;
    UNROLL for (int i = 0; i < rows; i++)
        UNROLL for (int g = 0; g < groups; g++)
            sum[i * groups + g] = fresh ? v_zero() : v_load(tile + i * GLIM_PAGE + 16 * g);
    for (int d = 0; d < 16; d++) {
        v16 first[FEW_GROUPS], second[FEW_GROUPS];
        UNROLL for (int g = 0; g < groups; g++) {
            first[g] = pair_odd(pairs[g][d]);
            second[g] = pair_even(pairs[g][d]);
        }
        UNROLL for (int i = 0; i < rows; i++)
            UNROLL for (int g = 0; g < groups; g++)
                sum[i * groups + g] = v_fma(v_set1(x[i * ldx + 2 * d]), first[g], sum[i * groups + g]);
        UNROLL for (int i = 0; i < rows; i++)
            UNROLL for (int g = 0; g < groups; g++)
                sum[i * groups + g] = v_fma(v_set1(x[i * ldx + 2 * d + 1]), second[g], sum[i * groups + g]);
    }
    UNROLL for (int i = 0; i < rows; i++)
        UNROLL for (int g = 0; g < groups; g++) v_store(tile + i * GLIM_PAGE + 16 * g, sum[i * groups + g]);
}

INLINE void few_pair_scores_rows(float *tile, const v16 (*pairs)[16], const float *x, int64_t ldx, int64_t rows,
                                 int fresh) {
    int64_t i = 0;
    for (; i + FEW_TOGETHER <= rows; i += FEW_TOGETHER)
        for (int g = 0; g < FEW_GROUPS; g++)
            few_pair_scores_16(tile + 16 * g, pairs + g, x, ldx, i, FEW_TOGETHER, 1, fresh);
    if (rows - i >= 4) {
        few_pair_scores_16(tile, pairs, x, ldx, i, 4, FEW_GROUPS, fresh);
        i += 4;
    }
    if (rows - i == 3) few_pair_scores_16(tile, pairs, x, ldx, i, 3, FEW_GROUPS, fresh);
    if (rows - i == 2) few_pair_scores_16(tile, pairs, x, ldx, i, 2, FEW_GROUPS, fresh);
    if (rows - i == 1) few_pair_scores_16(tile, pairs, x, ldx, i, 1, FEW_GROUPS, fresh);
}

/// tile += part, [rows, 64].
INLINE void add_tile(float *tile, const float *part, int64_t rows) {
    for (int64_t i = 0; i < rows * GLIM_PAGE; i += 16) v_store(tile + i, v_add(v_load(tile + i), v_load(part + i)));
}

/// tile[i, s] = x[i] · keys[s], and where dx is not null dtile[i, s] = dx[i] · value of keys[s]: sums in blocks as
/// those of a product. Keys `ahead` and gradients `to`, where not null, are called nearer.
static void few_scores(float *tile, float *dtile, const float *x, const float *dx, int64_t rows,
                       const float *const *at, const float *const *ahead, float *const *to, int64_t count,
                       int64_t width, int64_t value_width) {
    float part[FEW_ROWS * GLIM_PAGE], dpart[FEW_ROWS * GLIM_PAGE];
    for (int64_t first = 0; first < width; first += GLIM_K_BLOCK) {
        const int64_t last = at_most(first + GLIM_K_BLOCK, width);
        float *const sums = first ? part : tile, *const dsums = first ? dpart : dtile;
        for (int64_t d = first; d < last; d += 16)
            for (int64_t s = 0; s < count; s += 16) {
                for (int i = 0; ahead && i < 16; i++) __builtin_prefetch(ahead[s + i] + d, 0, 2);
                for (int i = 0; to && i < 16; i++) __builtin_prefetch(to[s + i] + d, 0, 2);
                v16 keys[16];
                const int64_t columns = at_most(last - d, 16), values = at_most(value_width - d, 16);
                if (s + 16 <= count && columns == 16) turn_16(keys, at + s, d, 16, 16);
                else turn_16(keys, at + s, d, at_most(count - s, 16), columns);
                few_scores_rows(sums + s, keys, x + d, width, rows, columns, d == first);
                if (dx && values > 0) few_scores_rows(dsums + s, keys, dx + d, value_width, rows, values, d == first);
            }
        if (first) add_tile(tile, part, rows);
        if (first && dx && first < value_width) add_tile(dtile, dpart, rows);
    }
}

/// few_scores' tile for keys in bf16, of a width that is a multiple of 32: pairs of values are turned together, which
/// halves the work. Keys past the last one are that one again. Of keys `ahead` each tile calls some nearer, whole.
static void few_pair_scores(float *tile, const float *x, int64_t rows, const float *const *at,
                            const float *const *ahead, int64_t count, int64_t width) {
    enum { together = 16 * FEW_GROUPS };
    const int64_t tiles = width / 32 * ((count + together - 1) / together);
    int64_t done = 0, called = ahead ? 0 : GLIM_PAGE;
    float part[FEW_ROWS * GLIM_PAGE];
    for (int64_t first = 0; first < width; first += GLIM_K_BLOCK) {
        const int64_t last = at_most(first + GLIM_K_BLOCK, width);
        float *const sums = first ? part : tile;
        for (int64_t d = first; d < last; d += 32)
            for (int64_t s = 0; s < count; s += together) {
                for (done++; called < GLIM_PAGE * done / tiles; called++)
                    for (int64_t i = 0; i < width / 2; i += 16) __builtin_prefetch(ahead[called] + i, 0, 2);
                v16 pairs[FEW_GROUPS][16];
                for (int g = 0; g < FEW_GROUPS; g++) turn_16(pairs[g], at + s + 16 * g, d / 2, 16, 16);
                few_pair_scores_rows(sums + s, (const v16(*)[16])pairs, x + d, width, rows, d == first);
            }
        if (first) add_tile(tile, part, rows);
    }
}

/// Where a call's blocks of keys are: this one's and the next one's.
typedef struct {
    const float *at[2][GLIM_PAGE];
    int64_t sees[FEW_ROWS];  ///< keys that each row sees
    int64_t visible;
} few_keys;

INLINE void few_keys_of(few_keys *f, const key_source *k, int64_t r, int64_t m) {
    for (int64_t i = 0; i < m; i++) f->sees[i] = k->first + (r + i) / k->heads + 1;
    f->visible = f->sees[m - 1];
    locate_keys(f->at[0], k, 0, f->visible);
}

// ---- Forward

/// softmax_block for a tile whose lanes are keys.
static void softmax_few(float *tile, float *top, float *sum, float *alpha, const int64_t *sees, int64_t rows,
                        int64_t base, int64_t count, float scale) {
    typedef float v4 __attribute__((vector_size(16)));
    const v16 by = v_set1(scale), lowest = v_set1(-INFINITY);
    float largest[FEW_ROWS], shift[FEW_ROWS], total[FEW_ROWS];
    v_store(largest, lowest);
    v_store(total, v_zero());
    for (int64_t i = 0; i < rows; i++) {
        const int64_t seen = clamp(sees[i] - base, 0, count);
        v16 best = lowest;
        for (int64_t s = 0; s < seen; s += 16)
            best = v_max(v_first_n(at_most(seen - s, 16), v_load(tile + i * GLIM_PAGE + s), lowest), best);
        largest[i] = v_largest(best);
    }
    const v16 old = v_load(top), now = v_max(v_mul(v_load(largest), by), old), shrink = v_exp(v_sub(old, now));
    v_store(top, now);
    v_store(shift, v_sub(v_zero(), now));
    v_store(alpha, shrink);
    for (int64_t i = 0; i < rows; i++) {
        const int64_t seen = clamp(sees[i] - base, 0, count);
        const v16 down = v_set1(shift[i]);
        float *x = tile + i * GLIM_PAGE;
        v4 sums = {0, 0, 0, 0};
        for (int64_t s = 0; s < count; s += 16) {
            const v16 p = v_exp(v_fma(v_load(x + s), by, down));
            v_store(x + s, v_first_n(at_most(seen - s, 16), p, v_zero()));
        }
        for (int64_t s = 0; s < seen; s += 4) {  // key s goes to sum s % 4
            v4 p;
            memcpy(&p, x + s, sizeof p);
            sums += p;
        }
        total[i] = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    }
    v_store(sum, v_fma(v_load(sum), shrink, v_load(total)));
}

/// A block's keys in f32, in place of those in bf16.
INLINE const float *const *widen_few(const float **copies, float *widened, const float *const *at,
                                     const float *const *ahead, int64_t count, int64_t width) {
    widen_rows(widened, at, ahead, count, width);
    for (int64_t i = 0; i < GLIM_PAGE; i++) copies[i] = widened + at_most(i, count - 1) * width;
    return copies;
}

/// Rows r to r + m of `attend`, no more than FEW_ROWS.
static void attend_few(float *out, float *lse, float *largest, const float *q, int64_t r, int64_t m,
                       const key_source *k, int64_t value_width, float scale, float *scratch) {
    few_keys keys;
    float top[FEW_ROWS], sum[FEW_ROWS], alpha[FEW_ROWS];
    float *const tile = scratch, *const widened = tile + FEW_ROWS * GLIM_PAGE;
    const float *copies[GLIM_PAGE];
    const int pairs = k->bf16 && k->width % 32 == 0 && value_width % 32 == 0;
    few_keys_of(&keys, k, r, m);
    v_store(top, v_set1(-INFINITY));
    v_store(sum, v_zero());
    for (int64_t base = 0; base < keys.visible; base += GLIM_PAGE) {
        const int64_t count = at_most(keys.visible - base, GLIM_PAGE), next = base + GLIM_PAGE;
        const float *const *at = keys.at[base / GLIM_PAGE % 2], **ahead = NULL;
        if (next < keys.visible) locate_keys(ahead = keys.at[next / GLIM_PAGE % 2], k, next, keys.visible);
        few_job product = {.c = out, .ldc = value_width, .a = tile, .a_row = GLIM_PAGE, .by = alpha, .k = count,
                           .add = base > 0};
        if (pairs) {
            few_pair_scores(tile, q, m, at, ahead, count, k->width);
        } else {
            if (k->bf16) at = widen_few(copies, widened, at, ahead, count, k->width);
            few_scores(tile, NULL, q, NULL, m, at, k->bf16 ? NULL : ahead, NULL, count, k->width, value_width);
        }
        softmax_few(tile, top, sum, alpha, keys.sees, m, base, count, scale);
        product.b = at;
        (pairs ? few_pair_product : few_product)(product, m, value_width);
    }
    for (int64_t i = 0; i < m; i++) {
        alpha[i] = 1 / sum[i];
        if (lse) lse[i] = top[i] + logf(sum[i]);
    }
    if (largest) raise_largest(largest, top, m);
    scale_rows(out, alpha, m, value_width, 1);
}

// ---- Backward

/// softmax_block_backward for tiles whose lanes are keys.
static void softmax_few_backward(float *tile, float *dtile, const float *lse, const float *delta, const int64_t *sees,
                                 int64_t rows, int64_t base, int64_t count, float scale) {
    const v16 by = v_set1(scale);
    for (int64_t i = 0; i < rows; i++) {
        const int64_t seen = clamp(sees[i] - base, 0, count);
        const v16 shift = v_sub(v_zero(), v_set1(lse[i])), mean = v_set1(delta[i]);
        float *x = tile + i * GLIM_PAGE, *dx = dtile + i * GLIM_PAGE;
        for (int64_t s = 0; s < count; s += 16) {
            const v16 p = v_exp(v_fma(v_load(x + s), by, shift));
            const v16 dp = v_mul(v_mul(p, v_sub(v_load(dx + s), mean)), by);
            v_store(x + s, v_first_n(at_most(seen - s, 16), p, v_zero()));
            v_store(dx + s, v_first_n(at_most(seen - s, 16), dp, v_zero()));
        }
    }
}

/// Rows of gradients of keys: += dtile · q and then, where columns are of the value too, += tile · dout.
typedef struct {
    float *const *to;
    const float *tile, *dtile, *q, *dout;
    int64_t width, value_width, rows, first, columns;
} few_gradient;

/// Columns from `first` on: whole vectors, or where `part`, the first `columns` of one. `values` vectors are of the value.
INLINE void few_gradient_tile(const few_gradient *job, int64_t s, const int keys, const int vectors, const int part,
                              const int values) {
    const few_gradient t = *job;
    v16 sum[2 * FEW_VECTORS], vsum[2 * FEW_VECTORS];
    UNROLL for (int i = 0; i < keys * vectors; i++) sum[i] = vsum[i] = v_zero();
    const float *q = t.q + t.first, *dout = t.dout + t.first, *p = t.tile + s, *dp = t.dtile + s;
    for (int64_t r = 0; r < t.rows; r++) {
        v16 x[FEW_VECTORS], dx[FEW_VECTORS];
        UNROLL for (int j = 0; j < vectors; j++) {
            x[j] = part ? v_load_n(q, t.columns) : v_load(q + 16 * j);
            if (j < values) dx[j] = part ? v_load_n(dout, t.columns) : v_load(dout + 16 * j);
        }
        UNROLL for (int i = 0; i < keys; i++) {
            const v16 y = v_set1(dp[i]), dy = v_set1(p[i]);
            UNROLL for (int j = 0; j < vectors; j++) {
                sum[i * vectors + j] = v_fma(y, x[j], sum[i * vectors + j]);
                if (j < values) vsum[i * vectors + j] = v_fma(dy, dx[j], vsum[i * vectors + j]);
            }
        }
        q += t.width;
        dout += t.value_width;
        p += GLIM_PAGE;
        dp += GLIM_PAGE;
    }
    UNROLL for (int i = 0; i < keys; i++) {
        float *to = t.to[s + i] + t.first;
        UNROLL for (int j = 0; j < vectors; j++) {
            v16 d = v_add(part ? v_load_n(to, t.columns) : v_load(to + 16 * j), sum[i * vectors + j]);
            if (j < values) d = v_add(d, vsum[i * vectors + j]);
            if (part) v_store_n(to, d, t.columns);
            else v_store(to + 16 * j, d);
        }
    }
}

#define FEW_GRADIENT(name, vectors, part, values) \
    static void name(const few_gradient *t, int64_t count) { \
        int64_t s = 0; \
        for (; s + 2 <= count; s += 2) few_gradient_tile(t, s, 2, vectors, part, values); \
        if (s < count) few_gradient_tile(t, s, 1, vectors, part, values); \
    }
FEW_GRADIENT(few_key_part, 1, 1, 0)
FEW_GRADIENT(few_value_part, 1, 1, 1)
FEW_GRADIENT(few_key_1, 1, 0, 0)
FEW_GRADIENT(few_value_1, 1, 0, 1)
#if FEW_VECTORS > 1
FEW_GRADIENT(few_key_4, 4, 0, 0)
FEW_GRADIENT(few_value_4, 4, 0, 4)
FEW_GRADIENT(few_last_values, 5, 0, 4)
#endif

/// The value's columns, then the others; together where the others are one vector, as in 64 + 16.
static void few_gradients(few_gradient t, int64_t count) {
    while (t.first < t.width) {
        const int values = t.first < t.value_width;
        t.columns = (values ? t.value_width : t.width) - t.first;
#if FEW_VECTORS > 1
        if (t.columns == 64 && values && t.first + 80 == t.width) {
            few_last_values(&t, count);
            return;
        }
        if (t.columns >= 64) {
            (values ? few_value_4 : few_key_4)(&t, count);
            t.first += 64;
            continue;
        }
#endif
        if (t.columns >= 16) (values ? few_value_1 : few_key_1)(&t, count);
        else (values ? few_value_part : few_key_part)(&t, count);
        t.first += at_most(t.columns, 16);
    }
}

/// Rows r to r + m of `attend_backward`, no more than FEW_ROWS.
static void attend_few_backward(float *dq, float *dkeys, int64_t lddk, const float *dout, const float *q,
                                const float *out, const float *lse, int64_t r, int64_t m, const key_source *k,
                                int64_t value_width, float scale, float *scratch) {
    few_keys keys;
    float delta[FEW_ROWS], *to[GLIM_PAGE];
    float *tile = scratch, *dtile = tile + FEW_ROWS * GLIM_PAGE;
    few_keys_of(&keys, k, r, m);
    dot_rows(delta, dout, out, m, value_width);
    for (int64_t base = 0; base < keys.visible; base += GLIM_PAGE) {
        const int64_t count = at_most(keys.visible - base, GLIM_PAGE), next = base + GLIM_PAGE;
        const float *const *at = keys.at[base / GLIM_PAGE % 2], **ahead = NULL;
        if (next < keys.visible) locate_keys(ahead = keys.at[next / GLIM_PAGE % 2], k, next, keys.visible);
        for (int64_t s = 0; s < GLIM_PAGE; s++) {
            const int64_t e = at_most(base + s, keys.visible - 1);
            to[s] = dkeys + (k->selected ? k->selected[e] : e) * lddk;
        }
        few_scores(tile, dtile, q, dout, m, at, ahead, to, count, k->width, value_width);
        softmax_few_backward(tile, dtile, lse, delta, keys.sees, m, base, count, scale);
        few_product((few_job){.c = dq, .ldc = k->width, .a = dtile, .a_row = GLIM_PAGE, .b = at, .k = count,
                              .add = base > 0},
                    m, k->width);
        few_gradient t = {.to = to, .tile = tile, .dtile = dtile, .q = q, .dout = dout, .width = k->width,
                          .value_width = value_width, .rows = m};
        few_gradients(t, count);
    }
    for (int64_t i = 0; i < m; i++) delta[i] = 1;
    scale_rows(dq, delta, m, k->width, 1);
}
