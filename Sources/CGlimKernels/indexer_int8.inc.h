// The indexer over keys in int8: what it scores by is then a quarter as large, and products are of integers.
//
// A page holds 64 keys turned, as two panels of weights do (panels.inc.h's pack_int8), and behind them a scale for each:
// the keys are the lanes, and a product of all heads with a page touches nothing but its bytes. A key's scale is
// positive, so it may stand outside of the ReLU: the sum over heads is multiplied by it once.

/// Bytes of a page before its scales.
INLINE int64_t index_page_bytes(int64_t width) { return glim_integer_k(width) * GLIM_PAGE; }

static void pack_index_keys(void *page, const float *x, int64_t ldx, int64_t first, int64_t rows, int64_t width) {
    const int64_t padded = glim_integer_k(width);
    uint8_t *const bytes = page;
    float *const scales = (float *)(void *)(bytes + index_page_bytes(width));
    for (int64_t r = 0; r < rows; r++) {
        const int64_t s = first + r;
        uint8_t *const column = bytes + (s / GLIM_PANEL * padded / 4 * GLIM_PANEL + s % GLIM_PANEL) * 4;
        const float *const row = x + r * ldx, largest = largest_magnitude(row, width), scale = largest / 127;
        scales[s] = scale >= 0x1p-126f ? scale : scale == scale ? 0 : scale;
        const v16 inverse = v_set1(scale >= 0x1p-126f ? 1 / scale : 0), magic = v_set1(12582912.0f);
        for (int64_t d = 0; d < padded; d += 16) {
            int8_t some[16] = {0};
            // An infinity or NaN leaves zeros behind, and its scale says so.
            if (d < width && scale >= 0x1p-126f)
                store_integers(some, v_fma(v_load_n(row + d, least(width - d, 16)), inverse, magic), 16);
            for (int i = 0; i < 16; i++) column[(d + i) / 4 * GLIM_PANEL * 4 + i % 4] = (uint8_t)(some[i] + 128);
        }
    }
}

/// Some heads of one token, and INDEX_KEYS keys of a page.
typedef struct {
    float *scores;
    const int8_t *q;
    const glim_row_group *heads;
    const uint8_t *keys, *ahead;  ///< the same bytes of the next page are called nearer, where not null
    int64_t ldq, quads, panel;    ///< bytes of a panel
    int add;                      ///< 0: scores are set
} index8_job;

#if defined(GLIM_PORTABLE)

static void index8_heads(const index8_job *job, int64_t heads) {
    const index8_job t = *job;
    for (int64_t s = 0; s < INDEX_KEYS; s++) {
        float score = 0;
        for (int64_t h = 0; h < heads; h++) {
            int32_t dot = 0;
            for (int64_t k = 0; k < 4 * t.quads; k++)
                dot += t.q[h * t.ldq + k] * (t.keys[(k / 4 * GLIM_PANEL + s) * 4 + k % 4] - 128);
            score = f_fma(t.heads[h].scale, dot > 0 ? (float)dot : 0, score);
        }
        t.scores[s] = score;
    }
}

#else

INLINE void index8_tile(const index8_job *job, const int heads) {
    const index8_job t = *job;
    q16 sum[INDEX_HEADS * INDEX_VECTORS];
    UNROLL for (int h = 0; h < heads; h++)
        UNROLL for (int j = 0; j < INDEX_VECTORS; j++)
            sum[h * INDEX_VECTORS + j] = q_set1(-INT8_OFFSET * t.heads[h].sum);
    const uint8_t *left = t.keys, *right = left + t.panel, *ahead = t.ahead;
    for (int64_t quad = 0; quad < t.quads; quad++, left += 4 * GLIM_PANEL, right += 4 * GLIM_PANEL) {
        q16 x[INDEX_VECTORS];
        UNROLL for (int j = 0; j < INDEX_VECTORS; j++) x[j] = q_load((j < 2 ? left : right) + j % 2 * 64);
        if (ahead) {
            UNROLL for (int j = 0; j < INDEX_VECTORS; j++)
                __builtin_prefetch(ahead + (j < 2 ? 0 : t.panel) + j % 2 * 64, 0, 2);
            ahead += 4 * GLIM_PANEL;
        }
        UNROLL for (int h = 0; h < heads; h++) {
            const q16 y = q_set1_from(t.q + h * t.ldq + 4 * quad);
            UNROLL for (int j = 0; j < INDEX_VECTORS; j++)
                sum[h * INDEX_VECTORS + j] = q_dot_int8(sum[h * INDEX_VECTORS + j], x[j], y);
        }
    }
    UNROLL for (int j = 0; j < INDEX_VECTORS; j++) {
        v16 score = t.add ? v_load(t.scores + 16 * j) : v_zero();
        UNROLL for (int h = 0; h < heads; h++)
            score = v_fma(v_set1(t.heads[h].scale), v_max(q_float(sum[h * INDEX_VECTORS + j]), v_zero()), score);
        v_store(t.scores + 16 * j, score);
    }
}

/// A function for each number of heads: many live vectors in one make the compiler spill.
#define INDEX8_TILE(heads) \
    static void index8_tile_##heads(const index8_job *job) { index8_tile(job, heads); }
INDEX8_TILE(1)
INDEX8_TILE(2)
INDEX8_TILE(3)
INDEX8_TILE(4)
#if INDEX_HEADS > 4
INDEX8_TILE(5)
INDEX8_TILE(6)
#endif

/// All heads of one token, as evenly divided as they can be.
static void index8_heads(const index8_job *job, int64_t heads) {
    static void (*const tiles[])(const index8_job *) = {
        index8_tile_1, index8_tile_2, index8_tile_3, index8_tile_4,
#if INDEX_HEADS > 4
        index8_tile_5, index8_tile_6,
#endif
    };
    index8_job t = *job;
    for (int64_t left = heads, some; left > 0; left -= some) {
        const int64_t parts = (left + INDEX_HEADS - 1) / INDEX_HEADS;
        some = (left + parts - 1) / parts;
        tiles[some - 1](&t);
        t.q += some * t.ldq;
        t.heads += some;
        t.ahead = 0;
        t.add = 1;
    }
}

#endif

static void index_scores_int8(float *scores, int64_t lds, const int8_t *q, int64_t ldq, const glim_row_group *q_heads,
                              int64_t tokens, int64_t heads, const float *const *pages, int64_t first, int64_t width) {
    const int64_t visible = first + tokens, panel = glim_integer_k(width) * GLIM_PANEL;
    for (int64_t base = 0; base < visible; base += GLIM_PAGE) {
        const uint8_t *const page = (const void *)pages[base / GLIM_PAGE];
        const uint8_t *next = base + GLIM_PAGE < visible ? (const void *)pages[base / GLIM_PAGE + 1] : 0;
        const float *const scales = (const float *)(const void *)(page + index_page_bytes(width));
        for (int64_t t = base > first ? base - first : 0; t < tokens; t++) {
            const int64_t seen = at_most(first + t + 1 - base, GLIM_PAGE);
            for (int64_t s = 0; s < seen; s += INDEX_KEYS) {
                float part[INDEX_KEYS], *into = scores + t * lds + base + s;
                const int whole = s + INDEX_KEYS <= seen;
                const int64_t place = s / GLIM_PANEL * panel + s % GLIM_PANEL * 4;
                index8_heads(&(index8_job){.scores = whole ? into : part,
                                           .q = q + t * heads * ldq,
                                           .heads = q_heads + t * heads,
                                           .keys = page + place,
                                           .ahead = next ? next + place : 0,
                                           .ldq = ldq,
                                           .quads = glim_integer_k(width) / 4,
                                           .panel = panel},
                             heads);
                FOR_16(at_most(seen - s, INDEX_KEYS), {
                    const v16 score = v_load_n((whole ? into : part) + i, n);
                    v_store_n(into + i, v_mul(score, v_load_n(scales + s + i, n)), n);
                });
            }
            next = 0;
        }
    }
}
#define INDEXER_INT8_ENTRIES \
    .pack_index_keys = pack_index_keys, .index_scores_int8 = index_scores_int8,
