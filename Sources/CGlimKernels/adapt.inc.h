// What an indexer learns from: the attention that its layers pay to each key, and how far its own scores are from it.
//
// As in indexer.inc.h the keys are the lanes, for the sum runs over heads.

static void attention_shares(float *shares, int64_t lds, const float *q, const float *lse, int64_t tokens,
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
                float *into = shares + t * lds + base;
                for (int64_t s = 0; s < seen; s += 16) {
                    v16 sum = (r + i) % heads ? v_load_n(into + s, seen - s) : v_zero();
                    for (int64_t j = i; j < last; j++)
                        sum = v_add(sum, v_exp(v_fma(v_load(tile + j * GLIM_PAGE + s), by, v_set1(-lse[r + j]))));
                    v_store_n(into + s, sum, seen - s);
                }
            }
        }
    }
}

/// log x for positive x, within 2 ulp; below the smallest normal number that one's.
INLINE v16 v_log(v16 x) {
    const int32_t half_root = 0x3F3504F3;  // √½: the mantissa is brought into √½ … √2
    float lanes[16], exponents[16];
    v_store(lanes, v_max(x, v_set1(0x1p-126f)));
    for (int i = 0; i < 16; i++) {
        int32_t bits;
        memcpy(&bits, lanes + i, 4);
        bits -= half_root;
        exponents[i] = (float)(bits >> 23);
        bits = (bits & 0x7FFFFF) + half_root;
        memcpy(lanes + i, &bits, 4);
    }
    const v16 m = v_sub(v_load(lanes), v_set1(1)), e = v_load(exponents), square = v_mul(m, m);
    v16 p = v_set1(7.0376836292e-2f);
    p = v_fma(p, m, v_set1(-1.1514610310e-1f));
    p = v_fma(p, m, v_set1(1.1676998740e-1f));
    p = v_fma(p, m, v_set1(-1.2420140846e-1f));
    p = v_fma(p, m, v_set1(1.4249322787e-1f));
    p = v_fma(p, m, v_set1(-1.6668057665e-1f));
    p = v_fma(p, m, v_set1(2.0000714765e-1f));
    p = v_fma(p, m, v_set1(-2.4999993993e-1f));
    p = v_fma(p, m, v_set1(3.3333331174e-1f));
    p = v_mul(v_mul(p, m), square);
    p = v_fma(e, v_set1(-2.12194440e-4f), p);
    p = v_fnma(v_set1(0.5f), square, p);
    return v_fma(e, v_set1(0.693359375f), v_add(m, p));
}

static double index_divergence(float *scores, const float *shares, int64_t count) {
    if (count == 1) {
        scores[0] = 0;
        return 0;
    }
    // Sums of a block are f32, sums of blocks are double: rows may be hundreds of thousands long.
    v16 best = v_set1(-INFINITY);
    double total = 0, sum = 0, divergence = 0;
    for (int64_t base = 0; base < count; base += GLIM_PAGE) {
        v16 part = v_zero();
        for (int64_t s = base; s < at_most(count, base + GLIM_PAGE); s += 16) {
            part = v_add(part, v_load_n(shares + s, count - s));
            best = v_max(v_first_n(count - s, v_load_n(scores + s, count - s), best), best);
        }
        total += (double)v_sum(part);
    }
    const v16 top = v_set1(v_largest(best));
    for (int64_t base = 0; base < count; base += GLIM_PAGE) {
        v16 part = v_zero();
        for (int64_t s = base; s < at_most(count, base + GLIM_PAGE); s += 16) {
            const v16 e = v_exp(v_sub(v_load_n(scores + s, count - s), top));
            part = v_add(part, v_first_n(count - s, e, v_zero()));
        }
        sum += (double)v_sum(part);
    }
    const v16 all = v_set1((float)total), partition = v_set1((float)sum), logsum = v_set1(logf((float)sum));
    for (int64_t base = 0; base < count; base += GLIM_PAGE) {
        v16 part = v_zero();
        for (int64_t s = base; s < at_most(count, base + GLIM_PAGE); s += 16) {
            const v16 p = v_div(v_load_n(shares + s, count - s), all);
            const v16 x = v_sub(v_load_n(scores + s, count - s), top);
            part = v_fma(p, v_add(v_sub(v_log(p), x), logsum), part);
            v_store_n(scores + s, v_sub(v_div(v_exp(x), partition), p), count - s);
        }
        divergence += (double)v_sum(part);
    }
    return divergence;
}

#define ADAPT_ENTRIES                     \
    .attention_shares = attention_shares, \
    .index_divergence = index_divergence,
