// The indexer: how much each token wants each key, summed over heads.
//
// The sum runs over heads, which are rows, so here the keys are the lanes: a page is turned once for all tokens of a
// call, and the products of a few heads with it stay in registers until they are summed. Backward a page is a tile
// [rows, 64 keys]; its blocks, rows and scratch are attention's, and its products the same chains of multiply-adds.

// ---- Forward

#if defined(GLIM_AVX512)
#define INDEX_HEADS 6  // by 4 vectors of keys: 24 sums; 4 of keys and one of a query are in registers
#define INDEX_VECTORS 4
#else
#define INDEX_HEADS 4  // by 1 vector: 8 of 16 registers (AVX2), 16 of 32 (NEON)
#define INDEX_VECTORS 1
#endif
#define INDEX_KEYS (16 * INDEX_VECTORS)

/// Some heads of one token, and INDEX_KEYS keys of a turned page.
typedef struct {
    float *scores;
    const float *q, *weights, *keys;
    int64_t width;
    float scale;
    int add;  ///< 0: scores are set
} index_job;

/// sum = q · keys over one block of the width, from `first` on.
INLINE void index_chains(v16 *sum, const index_job *t, int64_t first, const int heads) {
    const int64_t end = at_most(first + GLIM_K_BLOCK, t->width);
    const float *keys = t->keys + first * GLIM_PANEL, *right = keys + t->width * GLIM_PANEL;
    UNROLL for (int i = 0; i < heads * INDEX_VECTORS; i++) sum[i] = v_zero();
    for (int64_t d = first; d < end; d++, keys += GLIM_PANEL, right += GLIM_PANEL) {
        v16 x[INDEX_VECTORS];
        UNROLL for (int j = 0; j < INDEX_VECTORS; j++) x[j] = v_load((j < 2 ? keys : right) + j % 2 * 16);
        UNROLL for (int h = 0; h < heads; h++) {
            const v16 y = v_set1(t->q[h * t->width + d]);
            UNROLL for (int j = 0; j < INDEX_VECTORS; j++)
                sum[h * INDEX_VECTORS + j] = v_fma(y, x[j], sum[h * INDEX_VECTORS + j]);
        }
    }
}

INLINE void index_tile(const index_job *job, const int heads) {
    const index_job t = *job;
    v16 sum[INDEX_HEADS * INDEX_VECTORS];
    index_chains(sum, &t, 0, heads);
    for (int64_t first = GLIM_K_BLOCK; first < t.width; first += GLIM_K_BLOCK) {
        v16 more[INDEX_HEADS * INDEX_VECTORS];
        index_chains(more, &t, first, heads);
        UNROLL for (int i = 0; i < heads * INDEX_VECTORS; i++) sum[i] = v_add(sum[i], more[i]);
    }
    const v16 by = v_set1(t.scale);
    UNROLL for (int j = 0; j < INDEX_VECTORS; j++) {
        v16 score = t.add ? v_load(t.scores + 16 * j) : v_zero();
        UNROLL for (int h = 0; h < heads; h++)
            score = v_fma(v_set1(t.weights[h]), v_max(v_mul(sum[h * INDEX_VECTORS + j], by), v_zero()), score);
        v_store(t.scores + 16 * j, score);
    }
}

/// A function for each number of heads: many live vectors in one make the compiler spill.
#define INDEX_TILE(heads) \
    static void index_tile_##heads(const index_job *job) { index_tile(job, heads); }
INDEX_TILE(1)
INDEX_TILE(2)
INDEX_TILE(3)
INDEX_TILE(4)
#if INDEX_HEADS > 4
INDEX_TILE(5)
INDEX_TILE(6)
#endif

/// All heads of one token, as evenly divided as they can be.
static void index_heads(index_job t, int64_t heads) {
    static void (*const tiles[])(const index_job *) = {
        index_tile_1, index_tile_2, index_tile_3, index_tile_4,
#if INDEX_HEADS > 4
        index_tile_5, index_tile_6,
#endif
    };
    for (int64_t left = heads, some; left > 0; left -= some) {
        const int64_t parts = (left + INDEX_HEADS - 1) / INDEX_HEADS;
        some = (left + parts - 1) / parts;
        tiles[some - 1](&t);
        t.q += some * t.width;
        t.weights += some;
        t.add = 1;
    }
}

static void index_scores(float *scores, int64_t lds, const float *q, const float *weights, int64_t tokens,
                         int64_t heads, const float *const *pages, int64_t ldk, int32_t bf16, int64_t first,
                         int64_t width, float scale, float *scratch) {
    const key_source k = {.pages = pages, .ldk = ldk, .bf16 = bf16, .first = first, .heads = heads, .width = width,
                          .gathered = scratch + GLIM_PAGE * width};
    const int64_t visible = first + tokens;
    float *turned = scratch;
    for (int64_t base = 0; base < visible; base += GLIM_PAGE) {
        int64_t ld;
        key_block(&k, base, visible, turned, &ld);
        for (int64_t t = base > first ? base - first : 0; t < tokens; t++) {
            const int64_t seen = at_most(first + t + 1 - base, GLIM_PAGE);
            for (int64_t s = 0; s < seen; s += INDEX_KEYS) {
                float part[INDEX_KEYS], *into = scores + t * lds + base + s;
                const int whole = s + INDEX_KEYS <= seen;
                index_heads((index_job){.scores = whole ? into : part,
                                        .q = q + t * heads * width,
                                        .weights = weights + t * heads,
                                        .keys = turned + s / GLIM_PANEL * width * GLIM_PANEL + s % GLIM_PANEL,
                                        .width = width,
                                        .scale = scale},
                            heads);
                if (!whole) memcpy(into, part, (size_t)(seen - s) * sizeof(float));
            }
        }
    }
}

// ---- Backward

/// Scores become dscore · weight · scale where the ReLU is open, else zero; dweight lanes move on.
static void index_block_backward(float *tile, float *sums, const float *dscores, int64_t lds, const float *weights,
                                 const key_source *k, int64_t r, int64_t m, int64_t base, int64_t count,
                                 float scale) {
    const v16 by = v_set1(scale);
    for (int64_t i = 0; i < m; i++) {
        const int64_t t = (r + i) / k->heads, seen = at_most(k->first + t + 1 - base, count);
        const v16 weight = v_set1(weights[r + i] * scale);
        v16 sum = v_load(sums + i * 16);
        for (int64_t s = 0; s < count; s += 16) {
            const v16 d = s < seen ? v_load_n(dscores + t * lds + base + s, seen - s) : v_zero();
            const v16 x = v_mul(v_first_n(seen - s, v_load(tile + i * GLIM_PAGE + s), v_zero()), by);
            sum = v_fma(d, v_select_gt(x, v_zero(), x, v_zero()), sum);
            v_store(tile + i * GLIM_PAGE + s, v_select_gt(x, v_zero(), v_mul(d, weight), v_zero()));
        }
        v_store(sums + i * 16, sum);
    }
}

static void index_scores_backward(float *dq, float *dweights, float *dkeys, int64_t lddk, const float *dscores,
                                  int64_t lds, const float *q, const float *weights, int64_t tokens, int64_t heads,
                                  const float *const *pages, int64_t ldk, int64_t first, int64_t width, float scale,
                                  float *scratch) {
    const key_source k = {.pages = pages, .ldk = ldk, .first = first, .heads = heads, .width = width};
    const int64_t rows = tokens * heads;
    const int64_t room = room_for(rows);
    float *turned = scratch, *tile = turned + GLIM_PAGE * width, *sums = tile + room * GLIM_PAGE;
    float *ones = sums + room * 16;
    for (int64_t i = 0; i < room; i++) ones[i] = 1;
    for (int64_t r = 0; r < rows; r += GLIM_ATTENTION_ROWS) {
        const int64_t m = at_most(rows - r, GLIM_ATTENTION_ROWS), visible = visible_keys(&k, r + m);
        memset(sums, 0, (size_t)m * 16 * sizeof(float));
        for (int64_t base = 0; base < visible; base += GLIM_PAGE) {
            const int64_t count = at_most(visible - base, GLIM_PAGE);
            int64_t ld;
            const float *keys = key_block(&k, base, visible, turned, &ld);
            matmul_f32(tile, GLIM_PAGE, GLIM_PANEL, q + r * width, width, turned, GLIM_PANEL, GLIM_PANEL * width, m,
                       count, width, 0);
            index_block_backward(tile, sums, dscores, lds, weights, &k, r, m, base, count, scale);
            matmul_f32(dq + r * width, width, GLIM_PANEL, tile, GLIM_PAGE, keys, ld, GLIM_PANEL, m, width, count,
                       base ? GLIM_ACCUMULATE : 0);
            matmul_f32(dkeys + base * lddk, lddk, GLIM_PANEL, tile, GLIM_PAGE, q + r * width, width, GLIM_PANEL,
                       count, width, m, GLIM_ACCUMULATE | GLIM_A_TRANSPOSED);
        }
        for (int64_t i = 0; i < m; i++) dweights[r + i] = v_sum(v_load(sums + i * 16));
        scale_rows(dq + r * width, ones, m, width, 1);
    }
}
