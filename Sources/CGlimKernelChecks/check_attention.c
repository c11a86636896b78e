// Attention and the indexer: attention.inc.h, indexer.inc.h, adapt.inc.h.
#include "check.h"

/// Pages of keys, each ending with its last key.
static const float **paged(check *c, int64_t positions, int64_t ldk, int64_t width) {
    const int64_t count = (positions + GLIM_PAGE - 1) / GLIM_PAGE;
    const float **pages = room(c, count, sizeof *pages);
    for (int64_t i = 0; i < count; i++) {
        const int64_t rest = positions - i * GLIM_PAGE;
        pages[i] = matrix(c, rest < GLIM_PAGE ? rest : GLIM_PAGE, ldk, width);
    }
    return pages;
}

/// As much as a call may use. What is in it must not matter: NaN for the tested table, small numbers for the other.
static void make_scratch(check *c, float *scratch[2], int64_t rows, int64_t width) {
    const int64_t count = glim_attention_scratch(rows, width);
    for (int t = 0; t < 2; t++) scratch[t] = filled(c, count);
    for (int64_t i = 0; i < count; i++) scratch[0][i] = __builtin_nanf("");
}

/// Scores as a trained model has them, or so far apart that most exponentials are zero.
static float any_scale(int64_t width) { return random_in(0, 3) ? 1.0f / (float)width : 40.0f; }

static void check_dense(check *c, int64_t tokens, int64_t heads, int64_t first, int64_t width, int64_t value_width) {
    const int64_t positions = first + tokens, rows = tokens * heads;
    const int64_t ldk = width + random_in(0, 3), lddk = width + random_in(0, 3);
    const float scale = any_scale(width), *q = filled(c, rows * width), *dout = filled(c, rows * value_width);
    const float **pages = paged(c, positions, ldk, width);
    float *scratch[2];
    make_scratch(c, scratch, rows, width);
    describe(c, "tokens %lld heads %lld first %lld width %lld values %lld ldk %lld lddk %lld scale %g",
             (long long)tokens, (long long)heads, (long long)first, (long long)width, (long long)value_width,
             (long long)ldk, (long long)lddk, (double)scale);
    outputs out = outputs_of(c, rows, value_width, value_width, NULL), lse = outputs_of(c, rows, 1, 1, NULL);
    float largest[2] = {-__builtin_inff(), -__builtin_inff()};
    BOTH(attention)(out.at[t], lse.at[t], largest + t, q, tokens, heads, pages, ldk, 0, first, width, value_width,
                    scale, scratch[t]);
    same_outputs(c, "attention", &out);
    same_outputs(c, "lse of attention", &lse);
    same_floats(c, "largest score of attention", largest, largest + 1, 1);

    outputs dq = outputs_of(c, rows, width, width, NULL), dkeys = outputs_of(c, positions, lddk, width, NULL);
    make_scratch(c, scratch, rows, width);
    BOTH(attention_backward)(dq.at[t], dkeys.at[t], lddk, dout, q, out.at[1], lse.at[1], tokens, heads, pages, ldk,
                             first, width, value_width, scale, scratch[t]);
    same_outputs(c, "dq of attention_backward", &dq);
    same_outputs(c, "dkeys of attention_backward", &dkeys);

    // The last token alone, without lse.
    outputs last = outputs_of(c, heads, value_width, value_width, NULL);
    make_scratch(c, scratch, heads, width);
    BOTH(attention)(last.at[t], NULL, NULL, q + (rows - heads) * width, 1, heads, pages, ldk, 0, positions - 1, width,
                    value_width, scale, scratch[t]);
    same_outputs(c, "attention of one token", &last);
    same(c, "attention of one token or many", last.at[0], out.at[0] + (rows - heads) * value_width,
         4 * heads * value_width);
    release(c);
}

/// One token; about one in `of` of the positions, or all where that is one.
static void check_selected(check *c, int64_t heads, int64_t positions, int64_t of, int64_t width, int64_t value_width) {
    const int64_t ldk = width + random_in(0, 3), lddk = width + random_in(0, 3);
    const float scale = any_scale(width), *q = filled(c, heads * width), *dout = filled(c, heads * value_width);
    const float **pages = paged(c, positions, ldk, width);
    char *chosen = zeroed(c, positions, 1);
    int64_t count = 0;
    for (int64_t s = 0; s < positions; s++) count += chosen[s] = random_in(1, of) == 1;
    const int64_t one = random_in(0, positions - 1);
    if (count == 0) count = chosen[one] = 1;
    int32_t *selected = room(c, count, 4);
    for (int64_t s = 0, i = 0; s < positions; s++) {
        if (chosen[s]) selected[i++] = (int32_t)s;
        float *key = (float *)pages[s / GLIM_PAGE] + s % GLIM_PAGE * ldk;
        for (int64_t d = 0; !chosen[s] && d < width; d++) key[d] = __builtin_nanf("");  // must not be looked at
    }
    float *scratch[2];
    make_scratch(c, scratch, heads, width);
    describe(c, "heads %lld positions %lld selected %lld width %lld values %lld ldk %lld lddk %lld scale %g",
             (long long)heads, (long long)positions, (long long)count, (long long)width, (long long)value_width,
             (long long)ldk, (long long)lddk, (double)scale);
    outputs out = outputs_of(c, heads, value_width, value_width, NULL), lse = outputs_of(c, heads, 1, 1, NULL);
    float largest[2] = {-__builtin_inff(), -__builtin_inff()};
    BOTH(attention_selected)(out.at[t], lse.at[t], largest + t, q, heads, pages, ldk, 0, selected, count, width,
                             value_width, scale, scratch[t]);
    same_outputs(c, "attention_selected", &out);
    same_outputs(c, "lse of attention_selected", &lse);
    same_floats(c, "largest score of attention_selected", largest, largest + 1, 1);
    if (count == positions) {
        outputs dense = outputs_of(c, heads, value_width, value_width, NULL);
        BOTH(attention)(dense.at[t], NULL, NULL, q, 1, heads, pages, ldk, 0, positions - 1, width, value_width, scale,
                        scratch[t]);
        same(c, "attention_selected of all", out.at[0], dense.at[0], 4 * heads * value_width);
    }

    outputs dq = outputs_of(c, heads, width, width, NULL), dkeys = outputs_of(c, positions, lddk, width, NULL);
    make_scratch(c, scratch, heads, width);
    BOTH(attention_selected_backward)(dq.at[t], dkeys.at[t], lddk, dout, q, out.at[1], lse.at[1], heads, pages, ldk,
                                      selected, count, width, value_width, scale, scratch[t]);
    same_outputs(c, "dq of attention_selected_backward", &dq);
    same_outputs(c, "dkeys of attention_selected_backward", &dkeys);
    for (int64_t s = 0; s < positions; s++)
        if (!chosen[s])
            same(c, "dkeys of attention_selected_backward that are not selected", dkeys.at[0] + s * lddk,
                 dkeys.before + s * lddk, 4 * width);
    release(c);
}

/// Few rows have kernels of their own: the same bits as among so many that they take the general way. The others are
/// zeros, which add nothing to what keys get.
static void check_few(check *c, int64_t heads, int64_t positions, int64_t of, int64_t width, int64_t value_width) {
    const int64_t most = heads + random_in(17, 40), ldk = width + random_in(0, 3), lddk = width + random_in(0, 3);
    const float scale = any_scale(width), **pages = paged(c, positions, ldk, width);
    float *q = filled(c, most * width), *dout = filled(c, most * value_width), *lse = filled(c, most);
    memset(q + heads * width, 0, (size_t)((most - heads) * width * 4));
    memset(dout + heads * value_width, 0, (size_t)((most - heads) * value_width * 4));
    int32_t *selected = room(c, positions, 4);
    int64_t count = 0;
    for (int64_t s = 0; s < positions; s++)
        if (random_in(1, of) == 1 || (s == positions - 1 && count == 0)) selected[count++] = (int32_t)s;
    describe(c, "heads %lld of %lld positions %lld selected %lld width %lld values %lld ldk %lld lddk %lld scale %g",
             (long long)heads, (long long)most, (long long)positions, (long long)count, (long long)width,
             (long long)value_width, (long long)ldk, (long long)lddk, (double)scale);
    outputs out = outputs_of(c, most, value_width, value_width, NULL), dq = outputs_of(c, most, width, width, NULL);
    outputs dkeys = outputs_of(c, positions, lddk, width, NULL);
    float *few_lse = copied(c, lse, heads, 4), *scratch[2];
    for (int t = 0; t < 2; t++) {
        const int64_t rows = t ? most : heads;
        make_scratch(c, scratch, rows, width);
        CALL(0, attention_selected)(out.at[t], t ? lse : few_lse, NULL, q, rows, pages, ldk, 0, selected, count, width,
                                    value_width, scale, scratch[0]);
        make_scratch(c, scratch, rows, width);
        CALL(0, attention_selected_backward)(dq.at[t], dkeys.at[t], lddk, dout, q, out.at[t], t ? lse : few_lse, rows,
                                             pages, ldk, selected, count, width, value_width, scale, scratch[0]);
    }
    same_floats(c, "attention_selected of few rows or many", out.at[0], out.at[1], heads * value_width);
    same_floats(c, "lse of attention_selected of few rows or many", few_lse, lse, heads);
    same_floats(c, "dq of attention_selected_backward of few rows or many", dq.at[0], dq.at[1], heads * width);
    same_outputs(c, "dkeys of attention_selected_backward of few rows or many", &dkeys);
    release(c);
}

static void check_indexer(check *c, int64_t tokens, int64_t heads, int64_t first, int64_t width) {
    const int64_t positions = first + tokens, rows = tokens * heads;
    const int64_t ldk = width + random_in(0, 3), lddk = width + random_in(0, 3), lds = positions + random_in(0, 3);
    const float scale = any_scale(width), *q = filled(c, rows * width), *weights = filled(c, rows);
    const float **pages = paged(c, positions, ldk, width);
    float *scratch[2];
    make_scratch(c, scratch, rows, width);
    describe(c, "tokens %lld heads %lld first %lld width %lld ldk %lld lddk %lld lds %lld", (long long)tokens,
             (long long)heads, (long long)first, (long long)width, (long long)ldk, (long long)lddk, (long long)lds);
    outputs scores = outputs_of(c, tokens, lds, positions, NULL);
    BOTH(index_scores)(scores.at[t], lds, q, weights, tokens, heads, pages, ldk, 0, first, width, scale, scratch[t]);
    same_outputs(c, "index_scores", &scores);

    // The last token alone.
    float *last = copied(c, scores.at[0] + (tokens - 1) * lds, positions, 4), *last_scratch[2];
    memset(last, 0, (size_t)positions * 4);
    make_scratch(c, last_scratch, heads, width);
    CALL(0, index_scores)(last, lds, q + (rows - heads) * width, weights + rows - heads, 1, heads, pages, ldk,
                               0, positions - 1, width, scale, last_scratch[0]);
    same_floats(c, "index_scores of one token or many", last, scores.at[0] + (tokens - 1) * lds, positions);

    float *dscores = matrix(c, tokens, lds, positions);
    for (int64_t t = 0; t < tokens; t++) {
        const int64_t seen = t * lds + first + t + 1, hidden = tokens - 1 - t;
        same(c, "index_scores past the last visible", scores.at[0] + seen, scores.before + seen, 4 * hidden);
        for (int64_t i = 0; i < hidden; i++) dscores[seen + i] = __builtin_nanf("");
    }
    outputs dq = outputs_of(c, rows, width, width, NULL), dweights = outputs_of(c, rows, 1, 1, NULL);
    outputs dkeys = outputs_of(c, positions, lddk, width, NULL);
    make_scratch(c, scratch, rows, width);
    BOTH(index_scores_backward)(dq.at[t], dweights.at[t], dkeys.at[t], lddk, dscores, lds, q, weights, tokens, heads,
                                pages, ldk, first, width, scale, scratch[t]);
    same_outputs(c, "dq of index_scores_backward", &dq);
    same_outputs(c, "dweights of index_scores_backward", &dweights);
    same_outputs(c, "dkeys of index_scores_backward", &dkeys);
    release(c);
}

/// Pages of numbers that are rounded to bf16, in f32 and in bf16.
static const float **halved(check *c, const float **pages, int64_t positions, int64_t ldk, int64_t ldh, int64_t width) {
    const int64_t count = (positions + GLIM_PAGE - 1) / GLIM_PAGE;
    const float **halves = room(c, count, sizeof *halves);
    for (int64_t i = 0; i < count; i++) {
        const int64_t rows = positions - i * GLIM_PAGE < GLIM_PAGE ? positions - i * GLIM_PAGE : GLIM_PAGE;
        uint16_t *page = room(c, rows * ldh, sizeof *page);
        float *whole = (float *)pages[i];
        for (int64_t r = 0; r < rows; r++) {
            CALL(0, round_to_bf16)(whole + r * ldk, width);
            CALL(1, store_bf16)(page + r * ldh, whole + r * ldk, width);
        }
        halves[i] = (const float *)(const void *)page;
    }
    return halves;
}

/// Keys in bf16 are the same keys.
static void check_short_keys(check *c, int64_t tokens, int64_t heads, int64_t first, int64_t width) {
    const int64_t positions = first + tokens, rows = tokens * heads, value_width = random_in(1, width);
    const int64_t ldk = width + random_in(0, 3), ldh = width + random_in(0, 3);
    const float scale = any_scale(width), *q = filled(c, rows * width), *weights = filled(c, rows);
    const float **pages = paged(c, positions, ldk, width);
    describe(c, "tokens %lld heads %lld first %lld width %lld values %lld ldk %lld ldh %lld", (long long)tokens,
             (long long)heads, (long long)first, (long long)width, (long long)value_width, (long long)ldk,
             (long long)ldh);
    const float **halves = halved(c, pages, positions, ldk, ldh, width);
    int32_t *selected = room(c, positions, 4);
    int64_t count = 0;
    for (int64_t s = 0; s < positions; s++)
        if (random_in(0, 1) || s == positions - 1) selected[count++] = (int32_t)s;
    float *scratch[2];
    outputs out = outputs_of(c, rows, value_width, value_width, NULL);
    outputs some = outputs_of(c, heads, value_width, value_width, NULL);
    outputs scores = outputs_of(c, tokens, positions, positions, NULL);
    for (int t = 0; t < 2; t++) {
        const float **keys = t ? pages : halves;
        const int64_t ld = t ? ldk : ldh;
        make_scratch(c, scratch, rows, width);
        CALL(0, attention)(out.at[t], NULL, NULL, q, tokens, heads, keys, ld, !t, first, width, value_width, scale,
                           scratch[0]);
        make_scratch(c, scratch, heads, width);
        CALL(0, attention_selected)(some.at[t], NULL, NULL, q, heads, keys, ld, !t, selected, count, width,
                                    value_width, scale, scratch[0]);
        make_scratch(c, scratch, rows, width);
        CALL(0, index_scores)(scores.at[t], positions, q, weights, tokens, heads, keys, ld, !t, first, width, scale,
                              scratch[0]);
    }
    same_outputs(c, "attention over bf16", &out);
    same_outputs(c, "attention_selected over bf16", &some);
    same_outputs(c, "index_scores over bf16", &scores);

    // Keys and queries in int8, a page written in two parts.
    const int64_t floats = glim_index_key_floats(width) * GLIM_PAGE, k = glim_integer_stride(width);
    const int64_t count8 = (positions + GLIM_PAGE - 1) / GLIM_PAGE;
    const float **keys[2];
    int8_t *integers[2];
    glim_row_group *groups[2];
    for (int t = 0; t < 2; t++) {
        keys[t] = room(c, count8, sizeof **keys);
        for (int64_t i = 0; i < count8; i++) {
            const int64_t here = positions - i * GLIM_PAGE < GLIM_PAGE ? positions - i * GLIM_PAGE : GLIM_PAGE;
            float *page = zeroed(c, floats, 4);
            const int64_t part = here / 3;
            CALL(t, pack_index_keys)(page, pages[i], ldk, 0, part, width);
            CALL(t, pack_index_keys)(page, pages[i] + part * ldk, ldk, part, here - part, width);
            keys[t][i] = page;
        }
        integers[t] = zeroed(c, rows * k, 1);
        groups[t] = room(c, rows, sizeof **groups);
        CALL(t, quantize_rows)(integers[t], k, groups[t], q, width, rows, width, width);
    }
    for (int64_t i = 0; i < count8; i++) same(c, "pack_index_keys", keys[0][i], keys[1][i], 4 * floats);
    outputs scores8 = outputs_of(c, tokens, positions, positions, NULL);
    BOTH(index_scores_int8)(scores8.at[t], positions, integers[t], k, groups[t], tokens, heads, keys[t], first, width);
    same_outputs(c, "index_scores_int8", &scores8);
    float *last = room(c, positions, 4);
    CALL(0, index_scores_int8)(last, 0, integers[0] + (rows - heads) * k, k, groups[0] + rows - heads, 1, heads,
                                    keys[0], positions - 1, width);
    same_floats(c, "index_scores_int8 of one token or many", last, scores8.at[0] + (tokens - 1) * positions, positions);
    release(c);
}

/// What an indexer learns from, and how far it is from it: rows of every length up to the last position.
static void check_index_loss(check *c, int64_t tokens, int64_t heads, int64_t first, int64_t width) {
    const int64_t positions = first + tokens, rows = tokens * heads;
    const int64_t ldk = width + random_in(0, 3), lds = positions + random_in(0, 3);
    const float scale = any_scale(width), *q = filled(c, rows * width), *lse = filled(c, rows);
    const float **pages = paged(c, positions, ldk, width);
    float *scratch[2];
    make_scratch(c, scratch, rows, width);
    describe(c, "tokens %lld heads %lld first %lld width %lld ldk %lld lds %lld", (long long)tokens, (long long)heads,
             (long long)first, (long long)width, (long long)ldk, (long long)lds);
    outputs shares = outputs_of(c, tokens, lds, positions, NULL);
    BOTH(attention_shares)(shares.at[t], lds, q, lse, tokens, heads, pages, ldk, first, width, scale, scratch[t]);
    same_outputs(c, "attention_shares", &shares);
    outputs scores = outputs_of(c, tokens, lds, positions, NULL);
    for (int64_t i = 0; i < tokens; i++) {
        const int64_t seen = first + i + 1;
        same(c, "attention_shares past the last visible", shares.at[0] + i * lds + seen, shares.before + i * lds + seen,
             4 * (tokens - 1 - i));
        double kl[2];
        for (int t = 0; t < 2; t++)
            kl[t] = CALL(t, index_divergence)(scores.at[t] + i * lds, shares.at[t] + i * lds, seen);
        same(c, "index_divergence", kl, kl + 1, sizeof *kl);
    }
    same_outputs(c, "gradient of index_divergence", &scores);
    release(c);
}

void check_attention(check *c) {
    // tokens, heads: few rows, whole and broken blocks, blocks that end within a token
    static const int64_t shapes[][2] = {{1, 1}, {1, 15}, {1, 16}, {4, 4},  {1, 17}, {17, 1},
                                        {11, 3}, {1, 31}, {33, 1}, {9, 7},  {95, 1}, {12, 8},
                                        {97, 1}, {7, 16}, {2, 52}, {1, 100}, {70, 2}, {2, 97}};
    static const int64_t firsts[] = {0, 1, 14, 47, 62, 63, 64, 100, 127, 150};
    static const int64_t widths[] = {1, 2, 7, 15, 16, 17, 31, 32, 33, 48, 65, 72, 288};
    for (int64_t i = 0; i < COUNT_OF(shapes); i++)
        for (int twice = 0; twice < 2; twice++) {
            const int64_t tokens = shapes[i][0], heads = shapes[i][1], width = ANY_OF(widths), first = ANY_OF(firsts);
            check_dense(c, tokens, heads, first, width, twice ? width : random_in(1, width));
            check_indexer(c, tokens, heads, ANY_OF(firsts), ANY_OF(widths));
            check_index_loss(c, tokens, heads, ANY_OF(firsts), ANY_OF(widths));
            check_short_keys(c, tokens, heads, ANY_OF(firsts), ANY_OF(widths));
            check_selected(c, heads, random_in(1, 300), random_in(1, 4), width, random_in(1, width));
        }
    // Whole vectors in all the ways that they are taken, parts of one, sums over more than one block of k.
    static const int64_t wide[] = {16, 32, 48, 64, 80, 96, 128, 144, 160, 240, 256, 272, 320, 520, 576};
    for (int64_t heads = 1; heads <= 16; heads++)
        for (int twice = 0; twice < 6; twice++) {
            const int64_t width = twice % 2 ? ANY_OF(wide) : ANY_OF(widths), positions = random_in(1, 330);
            const int64_t values = twice < 2 ? random_in(1, width) : width > 16 ? width - 16 : width;
            check_few(c, heads, positions, random_in(1, 4), width, values);
            if (twice % 3 == 0) check_selected(c, heads, positions, random_in(1, 3), width, values);
            if (twice % 3 == 1) check_dense(c, random_in(1, 4), heads, ANY_OF(firsts), width, values);
            if (twice % 3 == 2) check_indexer(c, random_in(1, 4), heads, ANY_OF(firsts), width);
        }
    for (int64_t i = 0; i < COUNT_OF(widths); i++) {
        const int64_t width = widths[i];
        check_dense(c, random_in(1, 6), random_in(1, 5), ANY_OF(firsts), width, random_in(1, width));
        check_indexer(c, random_in(1, 6), random_in(1, 5), ANY_OF(firsts), width);
        check_selected(c, random_in(1, 20), 1 + ANY_OF(firsts), 1, width, random_in(1, width));
    }
}
