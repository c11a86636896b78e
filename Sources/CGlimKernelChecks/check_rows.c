// Rows, routing, selection: rows.inc.h, select.inc.h, probe.inc.h.
#include "check.h"

/// Around the vectors, and around the 64 lanes of a sum.
static const int64_t widths[] = {1, 2, 15, 16, 17, 31, 32, 33, 48, 63, 64, 65, 80, 127, 128, 130, 257};

static outputs vector_of(check *c, int64_t count, const float *from) { return outputs_of(c, 1, count, count, from); }

static void check_norms(check *c, int64_t rows, int64_t width, int kind) {
    const int64_t ldx = width + random_in(0, 3), ldo = width + random_in(0, 3), lddy = width + random_in(0, 3);
    const int64_t count = rows ? (rows - 1) * ldx + width : 0;
    const int32_t flags = (int32_t)random_in(0, 1) * GLIM_ACCUMULATE;
    const float *x = values(c, count, kind), *dy = matrix(c, rows, lddy, width);
    const float *weight = filled(c, width), *bias = filled(c, width), eps = 1e-5f;
    describe(c, "rows %lld width %lld strides %lld %lld %lld flags %d kind %d", (long long)rows, (long long)width,
             (long long)ldx, (long long)ldo, (long long)lddy, flags, kind);

    outputs out = outputs_of(c, rows, ldo, width, NULL), place = outputs_of(c, rows, ldx, width, x);
    outputs inv = vector_of(c, rows, NULL), dx = outputs_of(c, rows, ldo, width, NULL), dw = vector_of(c, width, NULL);
    BOTH(rms_norm)(out.at[t], ldo, inv.at[t], x, ldx, weight, rows, width, eps);
    BOTH(rms_norm)(place.at[t], ldx, NULL, place.at[t], ldx, weight, rows, width, eps);
    BOTH(rms_norm_backward)(dx.at[t], ldo, dw.at[t], dy, lddy, x, ldx, weight, inv.at[1], rows, width, flags);
    same_outputs(c, "rms_norm", &out);
    same_outputs(c, "rms_norm in place", &place);
    same_outputs(c, "inv of rms_norm", &inv);
    same_outputs(c, "dx of rms_norm_backward", &dx);
    same_outputs(c, "dweight of rms_norm_backward", &dw);
    for (int64_t r = 0; r < rows; r++)
        same_floats(c, "rms_norm in place or not", place.at[0] + r * ldx, out.at[0] + r * ldo, width);

    outputs out2 = outputs_of(c, rows, ldo, width, NULL), place2 = outputs_of(c, rows, ldx, width, x);
    outputs stats = vector_of(c, 2 * rows, NULL), dx2 = outputs_of(c, rows, ldo, width, NULL);
    outputs dw2 = vector_of(c, width, NULL), db = vector_of(c, width, NULL);
    BOTH(layer_norm)(out2.at[t], ldo, stats.at[t], x, ldx, weight, bias, rows, width, eps);
    BOTH(layer_norm)(place2.at[t], ldx, NULL, place2.at[t], ldx, weight, bias, rows, width, eps);
    BOTH(layer_norm_backward)(dx2.at[t], ldo, dw2.at[t], db.at[t], dy, lddy, x, ldx, weight, stats.at[1], rows, width,
                              flags);
    same_outputs(c, "layer_norm", &out2);
    same_outputs(c, "layer_norm in place", &place2);
    same_outputs(c, "stats of layer_norm", &stats);
    same_outputs(c, "dx of layer_norm_backward", &dx2);
    same_outputs(c, "dweight of layer_norm_backward", &dw2);
    same_outputs(c, "dbias of layer_norm_backward", &db);
    for (int64_t r = 0; r < rows; r++)
        same_floats(c, "layer_norm in place or not", place2.at[0] + r * ldx, out2.at[0] + r * ldo, width);
    release(c);
}

static void check_rope(check *c, int64_t rows, int64_t heads, int64_t dims, int32_t half_split, int32_t inverse) {
    const int64_t stride = dims + random_in(0, 5), ldx = heads * stride + random_in(0, 3), places = 7;
    const int64_t count = rows && heads ? (rows - 1) * ldx + (heads - 1) * stride + dims : 0;
    const float *cosine = filled(c, places * dims / 2), *sine = filled(c, places * dims / 2);
    int32_t *positions = room(c, rows, 4);
    for (int64_t r = 0; r < rows; r++) positions[r] = (int32_t)random_in(0, places - 1);
    describe(c, "rows %lld heads %lld dims %lld stride %lld ldx %lld half %d inverse %d", (long long)rows,
             (long long)heads, (long long)dims, (long long)stride, (long long)ldx, half_split, inverse);
    outputs x = vector_of(c, count, NULL);
    BOTH(rope)(x.at[t], ldx, stride, heads, rows, positions, cosine, sine, dims, half_split, inverse);
    same_outputs(c, "rope", &x);
    for (int64_t i = 0; i < count; i++)
        if (i % ldx >= heads * stride || i % ldx % stride >= dims)
            same(c, "rope between heads", x.at[0] + i, x.before + i, 4);
    release(c);
}

static void check_elements(check *c, int64_t count, int kind) {
    const float *a = values(c, count, kind), *b = values(c, count, kind), *d = filled(c, count), by = *filled(c, 1);
    describe(c, "count %lld kind %d", (long long)count, kind);
    outputs sum = vector_of(c, count, NULL), product = vector_of(c, count, NULL), scaled = vector_of(c, count, NULL);
    outputs added = vector_of(c, count, NULL), sigmoid = vector_of(c, count, NULL);
    BOTH(add)(sum.at[t], a, b, count);
    BOTH(multiply)(product.at[t], a, b, count);
    BOTH(scale)(scaled.at[t], a, by, count);
    BOTH(add_scaled)(added.at[t], a, by, count);
    BOTH(sigmoid)(sigmoid.at[t], a, count);
    same_outputs(c, "add", &sum);
    same_outputs(c, "multiply", &product);
    same_outputs(c, "scale", &scaled);
    same_outputs(c, "add_scaled", &added);
    same_outputs(c, "sigmoid", &sigmoid);

    float dots[2];
    double squares[2];
    for (int t = 0; t < 2; t++) {
        dots[t] = CALL(t, dot)(a, b, count);
        squares[t] = CALL(t, sum_squares)(a, count);
    }
    same_floats(c, "dot", &dots[0], &dots[1], 1);
    if (squares[0] == squares[0] || squares[1] == squares[1]) same(c, "sum_squares", &squares[0], &squares[1], 8);
    release(c);

    a = values(c, count, kind), b = values(c, count, kind), d = filled(c, count);
    outputs out = vector_of(c, count, NULL), over_gate = vector_of(c, count, a), over_up = vector_of(c, count, b);
    BOTH(swiglu)(out.at[t], a, b, count);
    BOTH(swiglu)(over_gate.at[t], over_gate.at[t], b, count);
    BOTH(swiglu)(over_up.at[t], a, over_up.at[t], count);
    same_outputs(c, "swiglu", &out);
    same_outputs(c, "swiglu over gate", &over_gate);
    same_outputs(c, "swiglu over up", &over_up);
    same_floats(c, "swiglu in place or not", over_gate.at[0], out.at[0], count);
    same_floats(c, "swiglu in place or not", over_up.at[0], out.at[0], count);

    outputs dgate = vector_of(c, count, NULL), dup = vector_of(c, count, NULL);
    outputs gate = vector_of(c, count, a), up = vector_of(c, count, b);
    BOTH(swiglu_backward)(dgate.at[t], dup.at[t], d, a, b, count);
    BOTH(swiglu_backward)(gate.at[t], up.at[t], d, gate.at[t], up.at[t], count);
    same_outputs(c, "dgate of swiglu_backward", &dgate);
    same_outputs(c, "dup of swiglu_backward", &dup);
    same_floats(c, "dgate of swiglu_backward in place or not", gate.at[0], dgate.at[0], count);
    same_floats(c, "dup of swiglu_backward in place or not", up.at[0], dup.at[0], count);

    float *second = values(c, count, kind);
    for (int64_t i = 0; i < count; i++) second[i] = second[i] < 0 ? -second[i] : second[i];
    outputs w = vector_of(c, count, NULL), m = vector_of(c, count, a), v = vector_of(c, count, second);
    BOTH(adamw)(w.at[t], m.at[t], v.at[t], b, count, 1e-3f, 0.9f, 0.95f, 1e-8f, 0.1f, 0.271f, 0.142625f, 0.37f);
    same_outputs(c, "w of adamw", &w);
    same_outputs(c, "m of adamw", &m);
    same_outputs(c, "v of adamw", &v);
    release(c);
}

static void check_vocabulary(check *c, int64_t rows, int64_t width, int kind) {
    const int64_t ld = width + random_in(0, 3), ldo = width + random_in(0, 3);
    const int64_t count = rows ? (rows - 1) * ld + width : 0;
    float *x = values(c, count, kind), scale = *filled(c, 1);
    for (int64_t i = 0; rows && random_in(0, 3) == 0 && i < width; i++) x[i] = -__builtin_inff();
    int32_t *targets = room(c, rows, 4);
    for (int64_t r = 0; r < rows; r++) targets[r] = (int32_t)random_in(-1, width - 1);
    describe(c, "rows %lld width %lld ld %lld %lld kind %d", (long long)rows, (long long)width, (long long)ld,
             (long long)ldo, kind);
    outputs out = outputs_of(c, rows, ldo, width, NULL), lse = vector_of(c, rows, NULL);
    outputs logits = outputs_of(c, rows, ld, width, x);
    BOTH(softmax)(out.at[t], ldo, x, ld, rows, width);
    BOTH(log_sum_exp)(lse.at[t], x, ld, rows, width);
    BOTH(cross_entropy_backward)(logits.at[t], ld, lse.at[1], targets, scale, rows, width);
    same_outputs(c, "softmax", &out);
    same_outputs(c, "log_sum_exp", &lse);
    same_outputs(c, "cross_entropy_backward", &logits);
    release(c);
}

/// Few different logits where `coarse`, so that there are ties.
static void check_route(check *c, int64_t rows, int64_t experts, int64_t groups, int kind, int coarse) {
    const int64_t kept = random_in(1, groups), most = experts / groups * kept;
    const int64_t chosen = random_in(1, most < 12 ? most : 12);
    const int32_t normalise = (int32_t)random_in(0, 1), with_more = (int32_t)random_in(0, 1);
    float *logits = values(c, rows * experts, kind), *bias = filled(c, experts), scale = 2.5f;
    for (int64_t i = 0; coarse && i < rows * experts; i++) logits[i] = (float)random_in(-2, 2);
    for (int64_t i = 0; coarse && i < experts; i++) bias[i] = (float)random_in(0, 1);
    describe(c, "rows %lld experts %lld chosen %lld groups %lld of %lld kind %d normalise %d", (long long)rows,
             (long long)experts, (long long)chosen, (long long)kept, (long long)groups, kind, normalise);
    outputs weights = vector_of(c, rows * chosen, NULL), p = vector_of(c, rows * experts, NULL);
    outputs dlogits = vector_of(c, rows * experts, NULL);
    int32_t *ids[2] = {room(c, rows * chosen, 4), room(c, rows * chosen, 4)};
    const float *dweights = filled(c, rows * chosen), *more = with_more ? filled(c, rows * experts) : NULL;
    BOTH(route)(ids[t], weights.at[t], p.at[t], logits, bias, rows, experts, chosen, groups, kept, scale, normalise);
    same(c, "ids of route", ids[0], ids[1], 4 * rows * chosen);
    same_outputs(c, "weights of route", &weights);
    same_outputs(c, "probabilities of route", &p);
    BOTH(route_backward)(dlogits.at[t], dweights, more, p.at[1], ids[1], rows, experts, chosen, scale, normalise);
    same_outputs(c, "route_backward", &dlogits);
    release(c);
}

/// `levels` different scores, or any where that is zero.
static void check_top_k(check *c, int64_t count, int64_t k, int kind, int64_t levels) {
    float *scores = values(c, count, kind);
    for (int64_t i = 0; levels && i < count; i++) scores[i] = (float)random_in(0, levels - 1) - 1;
    const int64_t most = k < count ? k : count;
    int32_t *out[2] = {room(c, most, 4), room(c, most, 4)};
    describe(c, "count %lld k %lld kind %d levels %lld", (long long)count, (long long)k, kind, (long long)levels);
    for (int t = 0; t < 2; t++)
        if (CALL(t, top_k)(out[t], scores, count, k) != most) fail(c, "top_k", "returns not", most);
    same(c, "top_k", out[0], out[1], 4 * most);
    for (int64_t i = 1; i < most; i++)
        if (out[0][i - 1] >= out[0][i]) fail(c, "top_k", "does not ascend", i);
    release(c);
}

static void check_probes(check *c, int64_t count) {
    float *x = filled(c, count), *one = filled(c, 1);
    describe(c, "count %lld", (long long)count);
    const float sum = CALL(0, probe_read)(x, count);
    if (!(sum >= -(float)count && sum <= (float)count)) fail(c, "probe_read", "is not a sum", 0);
    if (CALL(0, probe_fma)(one, count) < (double)(2 * count)) fail(c, "probe_fma", "counts wrongly", 0);
    if (CALL(0, probe_bf16)(one, count) < (double)(4 * count)) fail(c, "probe_bf16", "counts wrongly", 0);
    release(c);
}

void check_rows(check *c) {
    for (int kind = 0; kind < KINDS; kind++) {
        for (int64_t i = 0; i < COUNT_OF(widths); i++) {
            check_norms(c, random_in(1, 5), widths[i], kind);
            check_elements(c, widths[i], kind);
            check_vocabulary(c, random_in(1, 5), widths[i], kind);
            check_probes(c, widths[i]);
        }
        check_norms(c, 0, 20, kind);
        check_norms(c, 3, 1500, kind);
        check_elements(c, 0, kind);
        check_elements(c, 3000, kind);
        check_vocabulary(c, 0, 20, kind);
        static const int64_t vocabularies[] = {1023, 1024, 1025, 2048, 2100, 4097};
        for (int64_t i = 0; i < COUNT_OF(vocabularies); i++) check_vocabulary(c, 2, vocabularies[i], kind);

        static const int64_t routes[][2] = {{1, 1}, {7, 1}, {16, 4}, {17, 17}, {32, 8}, {64, 1}, {66, 3}, {256, 8}};
        for (int64_t i = 0; i < COUNT_OF(routes); i++)
            for (int coarse = 0; coarse < 2; coarse++)
                check_route(c, random_in(0, 6), routes[i][0], routes[i][1], kind, coarse);

        static const int64_t counts[] = {0, 1, 15, 16, 17, 63, 64, 65, 100, 300, 1000, 4096, 4097, 5000, 9000};
        static const int64_t levels[] = {0, 0, 1, 3, 50};
        for (int64_t i = 0; i < COUNT_OF(counts); i++) {
            const int64_t n = counts[i], ks[] = {0, 1, 2, n / 3, n - 1, n, n + 1, random_in(0, n)};
            for (int64_t j = 0; j < COUNT_OF(ks); j++)
                if (ks[j] >= 0) check_top_k(c, n, ks[j], kind, ANY_OF(levels));
        }
    }
    for (int64_t dims = 2; dims <= 100; dims += dims < 36 ? 2 : 14)
        for (int32_t v = 0; v < 4; v++) check_rope(c, random_in(0, 4), random_in(1, 3), dims, v & 1, v >> 1);
}
