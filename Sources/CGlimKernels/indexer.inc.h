// The indexer: how much each token wants each key, summed over heads.
//
// The sum runs over heads, which are rows, so here the keys are the lanes: a page is transposed, and a tile is
// [rows, 64 keys]. Blocks, rows and scratch are attention's.

static void index_scores(float *scores, int64_t lds, const float *q, const float *weights, int64_t tokens,
                         int64_t heads, const float *const *pages, int64_t ldk, int64_t first, int64_t width,
                         float scale, float *scratch) {
    const key_source k = {.pages = pages, .ldk = ldk, .first = first, .heads = heads, .width = width};
    const int64_t rows = tokens * heads;
    const v16 by = v_set1(scale);
    float *turned = scratch, *tile = turned + GLIM_PAGE * width;
    for (int64_t r = 0; r < rows; r += GLIM_ATTENTION_ROWS) {
        const int64_t m = at_most(rows - r, GLIM_ATTENTION_ROWS), visible = visible_keys(&k, r + m);
        for (int64_t base = 0; base < visible; base += GLIM_PAGE) {
            const int64_t count = at_most(visible - base, GLIM_PAGE);
            int64_t ld;
            key_block(&k, base, visible, turned, &ld);
            matmul_f32(tile, GLIM_PAGE, GLIM_PANEL, q + r * width, width, turned, GLIM_PANEL, GLIM_PANEL * width, m,
                       count, width, 0);
            for (int64_t i = 0, last; i < m; i = last) {  // the rows of one token; a block may begin within one
                const int64_t t = (r + i) / heads, seen = at_most(first + t + 1 - base, count);
                last = at_most((t + 1) * heads - r, m);
                float *into = scores + t * lds + base;
                for (int64_t s = 0; s < seen; s += 16) {
                    v16 sum = (r + i) % heads ? v_load_n(into + s, seen - s) : v_zero();
                    for (int64_t j = i; j < last; j++) {
                        v16 x = v_mul(v_load(tile + j * GLIM_PAGE + s), by);
                        sum = v_fma(v_set1(weights[r + j]), v_select_gt(x, v_zero(), x, v_zero()), sum);
                    }
                    v_store_n(into + s, sum, seen - s);
                }
            }
        }
    }
}

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
