// Attention and the indexer: online softmax over blocks of 64 keys, for blocks of query rows.
//
// A block of query rows is transposed once and stays in cache; the keys, as they lie in their pages, are the left
// operand. Scores come out as a tile [keys, rows]: lanes are rows, so the softmax needs no horizontal sum, and what
// may not see a key is a prefix of the lanes. A handful of rows goes another way: attention_few.inc.h.
//
// Why no row sees its neighbours: a lane is one row. Keys hidden from it (they must be finite) have p = +0, and a
// chain of multiply-adds that stops early equals one that goes on with zeros, but for the sign of a zero, which the
// last step settles by adding +0. So a block of which a row sees nothing changes no bit of it.

INLINE int64_t at_most(int64_t x, int64_t limit) { return x < limit ? x : limit; }
INLINE int64_t clamp(int64_t x, int64_t lowest, int64_t highest) {
    return x < lowest ? lowest : x > highest ? highest : x;
}
/// Rows, filled up to whole vectors.
INLINE int64_t whole_lanes(int64_t rows) { return (rows + 15) / 16 * 16; }
/// Rows that scratch has room for: those of a block, filled up to whole panels. Rows are (token, head), the heads of a
/// token together, and a block need not hold whole tokens.
INLINE int64_t room_for(int64_t rows) { return at_most((rows + 31) / 32 * 32, GLIM_ATTENTION_ROWS); }

// ---- Turning

/// Lane r of out[d] = x[r][first + d] for 16 rows and 16 columns, of which `rows` and `columns` exist; rows that do not
/// are zeros.
INLINE void turn_16(v16 *out, const float *const *x, int64_t first, int64_t rows, int64_t columns) {
#if defined(GLIM_AVX512)
    __m512 a[16];
#pragma unroll
    for (int i = 0; i < 16; i++) a[i] = i < rows ? v_load_n(x[i] + first, columns) : v_zero();
#pragma unroll
    for (int i = 0; i < 16; i += 4) {  // a[i + j] becomes columns j, j + 4, j + 8, j + 12 of rows i … i + 3
        const __m512d low0 = _mm512_castps_pd(_mm512_unpacklo_ps(a[i], a[i + 1]));
        const __m512d low2 = _mm512_castps_pd(_mm512_unpacklo_ps(a[i + 2], a[i + 3]));
        const __m512d high0 = _mm512_castps_pd(_mm512_unpackhi_ps(a[i], a[i + 1]));
        const __m512d high2 = _mm512_castps_pd(_mm512_unpackhi_ps(a[i + 2], a[i + 3]));
        a[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(low0, low2));
        a[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low0, low2));
        a[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(high0, high2));
        a[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(high0, high2));
    }
#pragma unroll
    for (int j = 0; j < 4; j++) {
        const __m512 even = _mm512_shuffle_f32x4(a[j], a[j + 4], 0x88);
        const __m512 even8 = _mm512_shuffle_f32x4(a[j + 8], a[j + 12], 0x88);
        const __m512 odd = _mm512_shuffle_f32x4(a[j], a[j + 4], 0xDD);
        const __m512 odd8 = _mm512_shuffle_f32x4(a[j + 8], a[j + 12], 0xDD);
        out[j] = _mm512_shuffle_f32x4(even, even8, 0x88);
        out[j + 4] = _mm512_shuffle_f32x4(odd, odd8, 0x88);
        out[j + 8] = _mm512_shuffle_f32x4(even, even8, 0xDD);
        out[j + 12] = _mm512_shuffle_f32x4(odd, odd8, 0xDD);
    }
#else
    float *const to = (float *)(void *)out;
    if (rows < 16 || columns < 16) {
        for (int64_t d = 0; d < columns; d++)
            for (int64_t r = 0; r < 16; r++) to[d * 16 + r] = r < rows ? x[r][first + d] : 0;
        return;
    }
    typedef float v4 __attribute__((vector_size(16)));
    for (int64_t r = 0; r < 16; r += 4)
        for (int64_t d = 0; d < 16; d += 4) {  // four by four: columns 0 and 1, then 2 and 3, of rows 0, 1 and 2, 3
            v4 a[4], b[4];
            for (int i = 0; i < 4; i++) memcpy(&a[i], x[r + i] + first + d, sizeof a[i]);
            b[0] = __builtin_shufflevector(a[0], a[1], 0, 4, 1, 5);
            b[1] = __builtin_shufflevector(a[2], a[3], 0, 4, 1, 5);
            b[2] = __builtin_shufflevector(a[0], a[1], 2, 6, 3, 7);
            b[3] = __builtin_shufflevector(a[2], a[3], 2, 6, 3, 7);
            a[0] = __builtin_shufflevector(b[0], b[1], 0, 1, 4, 5);
            a[1] = __builtin_shufflevector(b[0], b[1], 2, 3, 6, 7);
            a[2] = __builtin_shufflevector(b[2], b[3], 0, 1, 4, 5);
            a[3] = __builtin_shufflevector(b[2], b[3], 2, 3, 6, 7);
            for (int i = 0; i < 4; i++) memcpy(to + (d + i) * 16 + r, &a[i], sizeof a[i]);
        }
#endif
}

/// The same to memory: element (d, r) at out[d * ldo + r].
INLINE void transpose_16(float *out, int64_t ldo, const float *const *x, int64_t first, int64_t rows, int64_t columns) {
    v16 turned[16];
    turn_16(turned, x, first, rows, columns);
    UNROLL for (int d = 0; d < 16; d++)
        if (d < columns) v_store(out + d * ldo, turned[d]);
}

/// Rows x[r] of `width` to panels of their transpose: element (d, r) at out[(r / 32) * width * 32 + d * 32 + r % 32],
/// r filled up with zeros to a multiple of 16. Rows `ahead`, as many, are called nearer.
static void transpose_rows(float *out, const float *const *x, int64_t rows, int64_t width, const float *const *ahead) {
    for (int64_t r = 0; r < rows; r += 16) {
        const int64_t height = at_most(rows - r, 16);
        float *panel = out + r / GLIM_PANEL * width * GLIM_PANEL + r % GLIM_PANEL;
        for (int64_t d = 0; d < width; d += 16) {
            float *o = panel + d * GLIM_PANEL;
            for (int64_t i = 0; ahead && i < height; i++) __builtin_prefetch(ahead[r + i] + d, 0, 2);
            if (height == 16 && d + 16 <= width)
                transpose_16(o, GLIM_PANEL, x + r, d, 16, 16);
            else
                transpose_16(o, GLIM_PANEL, x + r, d, height, at_most(width - d, 16));
        }
    }
}

/// The same for rows of a matrix, at most a block of them.
static void transpose_queries(float *out, const float *x, int64_t rows, int64_t width) {
    const float *at[GLIM_ATTENTION_ROWS];
    for (int64_t r = 0; r < rows; r++) at[r] = x + r * width;
    transpose_rows(out, at, rows, width, NULL);
}

// ---- Keys

/// Where the keys of a call come from, and which of them a row sees: the first `first` + r / heads + 1.
typedef struct {
    const float *const *pages;  ///< of bf16 where `bf16`
    int64_t ldk;
    int32_t bf16;
    const int32_t *selected;  ///< null: all positions. Else entry e of the selection counts as position e.
    int64_t first, heads, width;
    float *gathered;  ///< room for a block of keys that are selected or in bf16
} key_source;

/// Keys that the last of `rows` rows sees.
INLINE int64_t visible_keys(const key_source *k, int64_t rows) { return k->first + (rows - 1) / k->heads + 1; }

/// Row `i` of a page, whatever it holds.
INLINE const float *key_row(const key_source *k, const float *page, int64_t i) {
    return (const float *)(const void *)((const char *)page + i * k->ldk * (k->bf16 ? 2 : 4));
}

/// Rows of bf16 to rows of `width` numbers in f32. Rows `ahead`, as many, if
/// any, are called nearer.
static void widen_rows(float *out, const float *const *at, const float *const *ahead, int64_t count, int64_t width) {
    for (int64_t i = 0; i < count; i++, out += width) {
        const uint16_t *const x = (const void *)at[i];
        for (int64_t d = 0; ahead && d < width; d += 32) __builtin_prefetch((const char *)ahead[i] + 2 * d, 0, 2);
        for (int64_t d = 0; d < width; d++) out[d] = bf16_widened(x[d]);
    }
}

/// Where the keys from `base` on are; past the last visible one, that one again.
static void locate_keys(const float **at, const key_source *k, int64_t base, int64_t visible) {
    const int64_t count = clamp(visible - base, 1, GLIM_PAGE);
    base = at_most(base, visible - 1);
    if (k->selected) {
        for (int64_t i = 0; i < count; i++) {
            const uint64_t s = (uint64_t)k->selected[base + i];
            at[i] = key_row(k, k->pages[s / GLIM_PAGE], (int64_t)(s % GLIM_PAGE));
        }
    } else {
        for (int64_t i = 0; i < count; i++)
            at[i] = key_row(k, k->pages[base / GLIM_PAGE], base % GLIM_PAGE + i);
    }
    for (int64_t i = count; i < GLIM_PAGE; i++) at[i] = at[count - 1];
}

/// The block of keys from `base` on as rows `*ld` apart: as they lie, or where selected, copied. With `turned`, where
/// they are not selected, also their transpose. The next block, which may lie anywhere, is called nearer where this one
/// is walked through.
static const float *key_block(const key_source *k, int64_t base, int64_t visible, float *turned, int64_t *ld) {
    const int64_t count = at_most(visible - base, GLIM_PAGE);
    float *copy = k->selected || k->bf16 ? k->gathered : NULL;
    *ld = copy ? k->width : k->ldk;
    if (copy || turned) {
        const float *at[GLIM_PAGE], *ahead[GLIM_PAGE];
        locate_keys(at, k, base, visible);
        locate_keys(ahead, k, base + GLIM_PAGE, visible);
        if (k->bf16) {
            widen_rows(copy, at, ahead, count, k->width);
            for (int64_t i = 0; turned && i < count; i++) at[i] = copy + i * k->width;
        }
        if (turned) transpose_rows(turned, at, count, k->width, k->bf16 ? NULL : ahead);
        for (int64_t i = 0; !turned && !k->bf16 && i < count; i++) {
            memcpy(copy + i * k->width, at[i], (size_t)k->width * sizeof(float));
            for (int64_t d = 0; d < k->width; d += 16) __builtin_prefetch(ahead[i] + d, 0, 2);
        }
    }
    return copy ? copy : k->pages[base / GLIM_PAGE];
}

/// For 16 lanes from row r on, and keys from `base` on: keys below `whole` are seen by all lanes, keys from `some` on
/// by none; between them, key s is hidden from the lanes below `hidden + heads · s`.
typedef struct {
    int64_t whole, some, hidden, heads;
} lane_view;

INLINE lane_view view_of(const key_source *k, int64_t r, int64_t base, int64_t count) {
    const int64_t before = k->first - base;
    return (lane_view){.whole = clamp(before + r / k->heads + 1, 0, count),
                       .some = clamp(before + (r + 15) / k->heads + 1, 0, count),
                       .hidden = -before * k->heads - r,
                       .heads = k->heads};
}

/// x in the lanes that see key s, `otherwise` in the others.
INLINE v16 where_seen(lane_view view, int64_t s, v16 x, v16 otherwise) {
    return v_first_n(clamp(view.hidden + view.heads * s, 0, 16), otherwise, x);
}

// ---- Rows

/// x = x · by[r] + 0 for each row; a factor of one changes nothing and is skipped unless `always`.
static void scale_rows(float *x, const float *by, int64_t rows, int64_t width, int always) {
    for (int64_t r = 0; r < rows; r++) {
        if (by[r] == 1 && !always) continue;
        const v16 factor = v_set1(by[r]);
        float *row = x + r * width;
        int64_t i = 0;
        for (; i + 16 <= width; i += 16) v_store(row + i, v_fma(v_load(row + i), factor, v_zero()));
        if (i < width) v_store_n(row + i, v_fma(v_load_n(row + i, width - i), factor, v_zero()), width - i);
    }
}

/// sums[r] = Σ a[r]·b[r]
static void dot_rows(float *sums, const float *a, const float *b, int64_t rows, int64_t width) {
    for (int64_t r = 0; r < rows; r++, a += width, b += width) {
        v16 sum = v_zero();
        int64_t i = 0;
        for (; i + 16 <= width; i += 16) sum = v_fma(v_load(a + i), v_load(b + i), sum);
        if (i < width) sum = v_fma(v_load_n(a + i, width - i), v_load_n(b + i, width - i), sum);
        sums[r] = v_sum(sum);
    }
}

/// The largest of what it was and of `rows` numbers; NaN is passed over.
static void raise_largest(float *largest, const float *x, int64_t rows) {
    for (int64_t r = 0; r < rows; r++)
        if (x[r] > *largest) *largest = x[r];
}

#include "attention_few.inc.h"

// ---- Forward

/// Scores [count, lanes] become p = e^(score · scale - top); top, sum and alpha (what the past shrinks by) move on.
static void softmax_block(float *tile, int64_t lanes, float *top, float *sum, float *alpha, const key_source *k,
                          int64_t r, int64_t base, int64_t count, float scale) {
    const v16 by = v_set1(scale), lowest = v_set1(-INFINITY);
    for (int64_t lane = 0; lane < lanes; lane += 16) {
        const lane_view view = view_of(k, r + lane, base, count);
        float *x = tile + lane;
        v16 best[4] = {lowest, lowest, lowest, lowest}, total[4] = {v_zero(), v_zero(), v_zero(), v_zero()};
        int64_t s = 0;
        for (; s + 4 <= view.whole; s += 4)
            for (int i = 0; i < 4; i++) best[i] = v_max(v_load(x + (s + i) * lanes), best[i]);
        for (; s < view.some; s++) best[0] = v_max(where_seen(view, s, v_load(x + s * lanes), lowest), best[0]);
        best[0] = v_max(v_max(best[0], best[1]), v_max(best[2], best[3]));

        const v16 old = v_load(top + lane), now = v_max(v_mul(best[0], by), old), shift = v_sub(v_zero(), now);
        for (s = 0; s + 4 <= view.whole; s += 4)
            for (int i = 0; i < 4; i++) {
                v16 p = v_exp(v_fma(v_load(x + (s + i) * lanes), by, shift));
                v_store(x + (s + i) * lanes, p);
                total[i] = v_add(total[i], p);
            }
        for (; s < view.some; s += 4)  // key s always goes to sum s % 4, so that an absent key is a +0
            for (int i = 0; i < 4; i++) {
                if (s + i >= view.some) continue;
                v16 p = v_exp(v_fma(v_load(x + (s + i) * lanes), by, shift));
                p = where_seen(view, s + i, p, v_zero());
                v_store(x + (s + i) * lanes, p);
                total[i] = v_add(total[i], p);
            }
        for (s = view.some; s < count; s++) v_store(x + s * lanes, v_zero());

        const v16 shrink = v_exp(v_sub(old, now));
        v_store(top + lane, now);
        v_store(alpha + lane, shrink);
        v_store(sum + lane, v_fma(v_load(sum + lane), shrink,
                                  v_add(v_add(total[0], total[1]), v_add(total[2], total[3]))));
    }
}

static void attend(float *out, float *lse, float *largest, const float *q, int64_t rows, key_source k,
                   int64_t value_width, float scale, float *scratch) {
    const int64_t room = room_for(rows);
    float *turned = scratch, *tile = turned + room * k.width, *top = tile + room * GLIM_PAGE;
    float *sum = top + room, *alpha = sum + room;
    k.gathered = alpha + room;
    for (int64_t r = 0; r < rows; r += GLIM_ATTENTION_ROWS) {
        const int64_t m = at_most(rows - r, GLIM_ATTENTION_ROWS), lanes = whole_lanes(m);
        const int64_t visible = visible_keys(&k, r + m);
        float *o = out + r * value_width;
        const float *q_rows = q + r * k.width;
        if (m <= FEW_ROWS) {
            attend_few(o, lse ? lse + r : NULL, largest, q_rows, r, m, &k, value_width, scale, scratch);
            continue;
        }
        transpose_queries(turned, q_rows, m, k.width);
        for (int64_t i = 0; i < lanes; i++) {
            top[i] = -INFINITY;
            sum[i] = 0;
        }
        for (int64_t base = 0; base < visible; base += GLIM_PAGE) {
            const int64_t count = at_most(visible - base, GLIM_PAGE);
            int64_t ld;
            const float *keys = key_block(&k, base, visible, NULL, &ld);
            matmul_f32(tile, lanes, GLIM_PANEL, keys, ld, turned, GLIM_PANEL, GLIM_PANEL * k.width, count, lanes,
                       k.width, 0);
            softmax_block(tile, lanes, top, sum, alpha, &k, r, base, count, scale);
            if (base) scale_rows(o, alpha, m, value_width, 0);
            matmul_f32(o, value_width, GLIM_PANEL, tile, lanes, keys, ld, GLIM_PANEL, m, value_width, count,
                       GLIM_A_TRANSPOSED | (base ? GLIM_ACCUMULATE : 0));
        }
        for (int64_t i = 0; i < m; i++) {
            alpha[i] = 1 / sum[i];
            if (lse) lse[r + i] = top[i] + logf(sum[i]);
        }
        if (largest) raise_largest(largest, top, m);
        scale_rows(o, alpha, m, value_width, 1);
    }
}

static void attention(float *out, float *lse, float *largest, const float *q, int64_t tokens, int64_t heads,
                      const float *const *pages, int64_t ldk, int32_t bf16, int64_t first, int64_t width, int64_t value_width,
                      float scale, float *scratch) {
    const key_source k = {
        .pages = pages, .ldk = ldk, .bf16 = bf16, .first = first, .heads = heads, .width = width};
    attend(out, lse, largest, q, tokens * heads, k, value_width, scale, scratch);
}

static void attention_selected(float *out, float *lse, float *largest, const float *q, int64_t heads,
                               const float *const *pages, int64_t ldk, int32_t bf16, const int32_t *selected,
                               int64_t count, int64_t width, int64_t value_width, float scale, float *scratch) {
    const key_source k = {.pages = pages, .ldk = ldk, .bf16 = bf16, .selected = selected, .first = count - 1,
                          .heads = heads, .width = width};
    attend(out, lse, largest, q, heads, k, value_width, scale, scratch);
}

// ---- Backward

/// Scores become p = e^(score · scale - lse), and dp becomes p · (dp - delta) · scale; both +0 where hidden.
static void softmax_block_backward(float *tile, float *dtile, int64_t lanes, const float *lse, const float *delta,
                                   const key_source *k, int64_t r, int64_t base, int64_t count, float scale) {
    const v16 by = v_set1(scale);
    for (int64_t lane = 0; lane < lanes; lane += 16) {
        const lane_view view = view_of(k, r + lane, base, count);
        const v16 shift = v_sub(v_zero(), v_load(lse + lane)), mean = v_load(delta + lane);
        float *x = tile + lane, *dx = dtile + lane;
        for (int64_t s = 0; s < view.some; s++) {
            v16 p = v_exp(v_fma(v_load(x + s * lanes), by, shift));
            v16 dp = v_mul(v_mul(p, v_sub(v_load(dx + s * lanes), mean)), by);
            if (s >= view.whole) {
                p = where_seen(view, s, p, v_zero());
                dp = where_seen(view, s, dp, v_zero());
            }
            v_store(x + s * lanes, p);
            v_store(dx + s * lanes, dp);
        }
        for (int64_t s = view.some; s < count; s++) {
            v_store(x + s * lanes, v_zero());
            v_store(dx + s * lanes, v_zero());
        }
    }
}

/// Each dkeys row gets, for each block of rows in ascending order, first its part as a key and then as a value.
static void attend_backward(float *dq, float *dkeys, int64_t lddk, const float *dout, const float *q,
                            const float *out, const float *lse, int64_t rows, key_source k, int64_t value_width,
                            float scale, float *scratch) {
    const int64_t room = room_for(rows);
    float *turned = scratch, *dturned = turned + room * k.width;
    float *tile = dturned + room * k.width, *dtile = tile + room * GLIM_PAGE;
    float *shift = dtile + room * GLIM_PAGE, *delta = shift + room;
    float *dgathered = delta + room;
    k.gathered = dgathered + GLIM_PAGE * k.width;
    for (int64_t r = 0; r < rows; r += GLIM_ATTENTION_ROWS) {
        const int64_t m = at_most(rows - r, GLIM_ATTENTION_ROWS), lanes = whole_lanes(m);
        const int64_t visible = visible_keys(&k, r + m);
        const float *q_rows = q + r * k.width, *dout_rows = dout + r * value_width;
        float *dq_rows = dq + r * k.width;
        if (m <= FEW_ROWS) {
            attend_few_backward(dq_rows, dkeys, lddk, dout_rows, q_rows, out + r * value_width, lse + r, r, m, &k,
                                value_width, scale, scratch);
            continue;
        }
        transpose_queries(turned, q_rows, m, k.width);
        transpose_queries(dturned, dout_rows, m, value_width);
        for (int64_t i = 0; i < lanes; i++) {
            shift[i] = i < m ? lse[r + i] : 0;
            delta[i] = 0;
        }
        dot_rows(delta, dout_rows, out + r * value_width, m, value_width);
        for (int64_t base = 0; base < visible; base += GLIM_PAGE) {
            const int64_t count = at_most(visible - base, GLIM_PAGE);
            int64_t ld;
            const float *keys = key_block(&k, base, visible, NULL, &ld);
            matmul_f32(tile, lanes, GLIM_PANEL, keys, ld, turned, GLIM_PANEL, GLIM_PANEL * k.width, count, lanes,
                       k.width, 0);
            matmul_f32(dtile, lanes, GLIM_PANEL, keys, ld, dturned, GLIM_PANEL, GLIM_PANEL * value_width, count, lanes,
                       value_width, 0);
            softmax_block_backward(tile, dtile, lanes, shift, delta, &k, r, base, count, scale);
            matmul_f32(dq_rows, k.width, GLIM_PANEL, dtile, lanes, keys, ld, GLIM_PANEL, m, k.width, count,
                       GLIM_A_TRANSPOSED | (base ? GLIM_ACCUMULATE : 0));

            float *dk = dkeys + base * lddk;
            int64_t lddb = lddk;
            if (k.selected) {
                for (int64_t i = 0; i < count; i++)
                    memcpy(dgathered + i * k.width, dkeys + k.selected[base + i] * lddk,
                           (size_t)k.width * sizeof(float));
                dk = dgathered;
                lddb = k.width;
            }
            matmul_f32(dk, lddb, GLIM_PANEL, dtile, lanes, q_rows, k.width, GLIM_PANEL, count, k.width, m,
                       GLIM_ACCUMULATE);
            matmul_f32(dk, lddb, GLIM_PANEL, tile, lanes, dout_rows, value_width, GLIM_PANEL, count, value_width, m,
                       GLIM_ACCUMULATE);
            for (int64_t i = 0; k.selected && i < count; i++)
                memcpy(dkeys + k.selected[base + i] * lddk, dgathered + i * k.width, (size_t)k.width * sizeof(float));
        }
        for (int64_t i = 0; i < m; i++) delta[i] = 1;
        scale_rows(dq_rows, delta, m, k.width, 1);
    }
}

static void attention_backward(float *dq, float *dkeys, int64_t lddk, const float *dout, const float *q,
                               const float *out, const float *lse, int64_t tokens, int64_t heads,
                               const float *const *pages, int64_t ldk, int64_t first, int64_t width,
                               int64_t value_width, float scale, float *scratch) {
    const key_source k = {.pages = pages, .ldk = ldk, .first = first, .heads = heads, .width = width};
    attend_backward(dq, dkeys, lddk, dout, q, out, lse, tokens * heads, k, value_width, scale, scratch);
}

static void attention_selected_backward(float *dq, float *dkeys, int64_t lddk, const float *dout, const float *q,
                                        const float *out, const float *lse, int64_t heads, const float *const *pages,
                                        int64_t ldk, const int32_t *selected, int64_t count, int64_t width,
                                        int64_t value_width, float scale, float *scratch) {
    const key_source k = {
        .pages = pages, .ldk = ldk, .selected = selected, .first = count - 1, .heads = heads, .width = width};
    attend_backward(dq, dkeys, lddk, dout, q, out, lse, heads, k, value_width, scale, scratch);
}

#include "indexer.inc.h"

#define ATTENTION_ENTRIES                                       \
    .attention = attention,                                     \
    .attention_selected = attention_selected,                   \
    .attention_backward = attention_backward,                   \
    .attention_selected_backward = attention_selected_backward, \
    .index_scores = index_scores,                               \
    .index_scores_backward = index_scores_backward,
