// Row kernels: norms, rotation, activations, softmax over the vocabulary, the optimizer. Routing and selection are in
// select.inc.h.
//
// A sum over a row goes to 64 lanes (four vectors, element i to lane i mod 64), combined as one fixed tree.

/// Runs the body for i = 0, 16, … with n lanes: sixteen, but for the last time round.
#define FOR_16(count, ...)                           \
    do {                                             \
        int64_t i = 0;                               \
        for (; i + 16 <= (count); i += 16) {         \
            enum { n = 16 };                         \
            __VA_ARGS__                              \
        }                                            \
        if (i < (count)) {                           \
            const int64_t n = (count) - i;           \
            __VA_ARGS__                              \
        }                                            \
    } while (0)

/// Folds a row into four vectors that begin as `first`: the body replaces s, given i and n as in FOR_16 (n may be 0).
#define FOLD_64(sums, first, count, ...)                                               \
    v16 sums[4] = {first, first, first, first};                                        \
    do {                                                                               \
        int64_t start = 0;                                                             \
        for (; start + 64 <= (count); start += 64) {                                   \
            _Pragma("clang loop unroll(full)") for (int u = 0; u < 4; u++) {           \
                enum { n = 16 };                                                       \
                const int64_t i = start + 16 * u;                                      \
                v16 s = sums[u];                                                       \
                __VA_ARGS__                                                            \
                sums[u] = s;                                                           \
            }                                                                          \
        }                                                                              \
        if (start == (count)) break;                                                   \
        _Pragma("clang loop unroll(full)") for (int u = 0; u < 4; u++) {               \
            const int64_t i = start + 16 * u;                                          \
            const int64_t n = (count) <= i ? 0 : (count) - i < 16 ? (count) - i : 16;  \
            v16 s = sums[u];                                                           \
            __VA_ARGS__                                                                \
            sums[u] = s;                                                               \
        }                                                                              \
    } while (0)

INLINE float row_sum(const v16 s[4]) { return v_sum(v_add(v_add(s[0], s[1]), v_add(s[2], s[3]))); }
INLINE float row_largest(const v16 s[4]) { return v_largest(v_max(v_max(s[0], s[1]), v_max(s[2], s[3]))); }

/// e^x, the bits of a lane of v_exp.
INLINE float row_exp(float x) {
    float lanes[16];
    v_store(lanes, v_exp(v_set1(x)));
    return lanes[0];
}

/// ln x of a positive normal number, of plain double operations: libm's answer depends on the machine.
INLINE double row_log(float x) {
    int32_t bits;
    memcpy(&bits, &x, 4);
    const int32_t exponent = (bits - 0x3F3504F3) >> 23;  // leaves a mantissa in sqrt(1/2) ..< sqrt(2)
    bits -= (int32_t)((uint32_t)exponent << 23);
    float mantissa;
    memcpy(&mantissa, &bits, 4);
    const double s = ((double)mantissa - 1) / ((double)mantissa + 1), z = s * s;  // ln m = 2 artanh s, |s| < 0.172
    double p = 1.0 / 15;
    p = p * z + 1.0 / 13;
    p = p * z + 1.0 / 11;
    p = p * z + 1.0 / 9;
    p = p * z + 1.0 / 7;
    p = p * z + 1.0 / 5;
    p = p * z + 1.0 / 3;
    p = p * z + 1.0;
    return exponent * 0.693147180559945309 + 2 * s * p;
}

// ---- Norms

static void rms_norm(float *out, int64_t ldo, float *inv, const float *x, int64_t ldx, const float *weight,
                     int64_t rows, int64_t width, float eps) {
    for (int64_t r = 0; r < rows; r++, x += ldx, out += ldo) {
        FOLD_64(squares, v_zero(), width, const v16 a = v_load_n(x + i, n); s = v_fma(a, a, s););
        const float scale = 1.0f / sqrtf(row_sum(squares) / (float)width + eps);
        if (inv) inv[r] = scale;
        const v16 by = v_set1(scale);
        FOR_16(width, v_store_n(out + i, v_mul(v_mul(v_load_n(x + i, n), by), v_load_n(weight + i, n)), n););
    }
}

static void rms_norm_backward(float *dx, int64_t lddx, float *dweight, const float *dy, int64_t lddy, const float *x,
                              int64_t ldx, const float *weight, const float *inv, int64_t rows, int64_t width,
                              int32_t flags) {
    for (int64_t r = 0; r < rows; r++, x += ldx, dy += lddy, dx += lddx) {
        FOLD_64(products, v_zero(), width,
                s = v_fma(v_mul(v_load_n(dy + i, n), v_load_n(weight + i, n)), v_load_n(x + i, n), s););
        // dx = inv · (dy·w - x̂ · mean(dy·w·x̂)), x̂ = x · inv
        const v16 mean = v_set1(row_sum(products) * inv[r] / (float)width), by = v_set1(inv[r]);
        FOR_16(width, {
            const v16 d = v_load_n(dy + i, n), xhat = v_mul(v_load_n(x + i, n), by);
            v16 g = v_mul(v_fnma(xhat, mean, v_mul(d, v_load_n(weight + i, n))), by);
            if (flags & GLIM_ACCUMULATE) g = v_add(v_load_n(dx + i, n), g);
            v_store_n(dweight + i, v_fma(d, xhat, v_load_n(dweight + i, n)), n);
            v_store_n(dx + i, g, n);
        });
    }
}

static void layer_norm(float *out, int64_t ldo, float *stats, const float *x, int64_t ldx, const float *weight,
                       const float *bias, int64_t rows, int64_t width, float eps) {
    for (int64_t r = 0; r < rows; r++, x += ldx, out += ldo) {
        FOLD_64(values, v_zero(), width, s = v_add(s, v_load_n(x + i, n)););
        const float mean = row_sum(values) / (float)width;
        const v16 center = v_set1(mean);
        FOLD_64(squares, v_zero(), width, {
            const v16 d = v_first_n(n, v_sub(v_load_n(x + i, n), center), v_zero());
            s = v_fma(d, d, s);
        });
        const float scale = 1.0f / sqrtf(row_sum(squares) / (float)width + eps);
        if (stats) {
            stats[2 * r] = mean;
            stats[2 * r + 1] = scale;
        }
        const v16 by = v_set1(scale);
        FOR_16(width, {
            const v16 xhat = v_mul(v_sub(v_load_n(x + i, n), center), by);
            v_store_n(out + i, v_fma(xhat, v_load_n(weight + i, n), v_load_n(bias + i, n)), n);
        });
    }
}

static void layer_norm_backward(float *dx, int64_t lddx, float *dweight, float *dbias, const float *dy, int64_t lddy,
                                const float *x, int64_t ldx, const float *weight, const float *stats, int64_t rows,
                                int64_t width, int32_t flags) {
    for (int64_t r = 0; r < rows; r++, x += ldx, dy += lddy, dx += lddx) {
        const v16 center = v_set1(stats[2 * r]), by = v_set1(stats[2 * r + 1]);
        FOLD_64(values, v_zero(), width, s = v_fma(v_load_n(dy + i, n), v_load_n(weight + i, n), s););
        FOLD_64(products, v_zero(), width, {  // behind the end dy is zero, so what x̂ is there does not matter
            const v16 xhat = v_mul(v_sub(v_load_n(x + i, n), center), by);
            s = v_fma(v_mul(v_load_n(dy + i, n), v_load_n(weight + i, n)), xhat, s);
        });
        // dx = inv · (dy·w - mean(dy·w) - x̂ · mean(dy·w·x̂)), x̂ = (x - mean) · inv
        const v16 mean = v_set1(row_sum(values) / (float)width), slope = v_set1(row_sum(products) / (float)width);
        FOR_16(width, {
            const v16 d = v_load_n(dy + i, n), xhat = v_mul(v_sub(v_load_n(x + i, n), center), by);
            v16 g = v_mul(v_fnma(xhat, slope, v_sub(v_mul(d, v_load_n(weight + i, n)), mean)), by);
            if (flags & GLIM_ACCUMULATE) g = v_add(v_load_n(dx + i, n), g);
            v_store_n(dweight + i, v_fma(d, xhat, v_load_n(dweight + i, n)), n);
            v_store_n(dbias + i, v_add(v_load_n(dbias + i, n), d), n);
            v_store_n(dx + i, g, n);
        });
    }
}

// ---- Rotation: (a, b) becomes (a·c - b·s, b·c + a·s), the product with s rounded first.

static void rope(float *x, int64_t ldx, int64_t head_stride, int64_t heads, int64_t rows, const int32_t *positions,
                 const float *cosine, const float *sine, int64_t dims, int32_t half_split, int32_t inverse) {
    static const float signs[17] = {-1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1};
    const int64_t half = dims / 2;
    const float plus = inverse ? -1.0f : 1.0f;
    for (int64_t r = 0; r < rows; r++, x += ldx) {
        const float *c = cosine + positions[r] * half, *s = sine + positions[r] * half;
        for (int64_t h = 0; h < heads; h++) {
            float *p = x + h * head_stride;
            if (half_split) {
                FOR_16(half, {
                    const v16 a = v_load_n(p + i, n), b = v_load_n(p + half + i, n);
                    const v16 cos = v_load_n(c + i, n), sin = v_mul(v_load_n(s + i, n), v_set1(plus));
                    v_store_n(p + i, v_fma(a, cos, v_mul(b, v_mul(sin, v_set1(-1.0f)))), n);
                    v_store_n(p + half + i, v_fma(b, cos, v_mul(a, sin)), n);
                });
                continue;
            }
            int64_t i = 0;
            for (; i + 16 <= dims; i += 16) {
                const v16 a = v_load(p + i), sin = v_mul(v_load_twice(s + i / 2), v_load(signs + (inverse != 0)));
                v_store(p + i, v_fma(a, v_load_twice(c + i / 2), v_mul(v_swap_pairs(a), sin)));
            }
            for (; i < dims; i += 2) {
                const float a = p[i], b = p[i + 1], cos = c[i / 2], sin = s[i / 2] * plus;
                p[i] = f_fma(a, cos, b * -sin);
                p[i + 1] = f_fma(b, cos, a * sin);
            }
        }
    }
}

// ---- Element by element

static void swiglu(float *out, const float *gate, const float *up, int64_t count) {
    FOR_16(count, {
        const v16 g = v_load_n(gate + i, n);
        v_store_n(out + i, v_mul(v_mul(g, v_sigmoid(g)), v_load_n(up + i, n)), n);
    });
}

static void swiglu_backward(float *dgate, float *dup, const float *dout, const float *gate, const float *up,
                            int64_t count) {
    const v16 one = v_set1(1.0f);
    FOR_16(count, {
        const v16 g = v_load_n(gate + i, n), u = v_load_n(up + i, n), d = v_load_n(dout + i, n);
        const v16 sigmoid = v_sigmoid(g);
        const v16 slope = v_mul(sigmoid, v_fma(g, v_sub(one, sigmoid), one));
        v_store_n(dup + i, v_mul(d, v_mul(g, sigmoid)), n);
        v_store_n(dgate + i, v_mul(v_mul(d, u), slope), n);
    });
}

static void add(float *out, const float *a, const float *b, int64_t count) {
    FOR_16(count, v_store_n(out + i, v_add(v_load_n(a + i, n), v_load_n(b + i, n)), n););
}

static void multiply(float *out, const float *a, const float *b, int64_t count) {
    FOR_16(count, v_store_n(out + i, v_mul(v_load_n(a + i, n), v_load_n(b + i, n)), n););
}

static void scale(float *out, const float *a, float by, int64_t count) {
    FOR_16(count, v_store_n(out + i, v_mul(v_load_n(a + i, n), v_set1(by)), n););
}

static void add_scaled(float *y, const float *x, float by, int64_t count) {
    FOR_16(count, v_store_n(y + i, v_fma(v_set1(by), v_load_n(x + i, n), v_load_n(y + i, n)), n););
}

static float dot(const float *a, const float *b, int64_t count) {
    v16 s = v_zero();
    FOR_16(count, s = v_fma(v_load_n(a + i, n), v_load_n(b + i, n), s););
    return v_sum(s);
}

static double sum_squares(const float *x, int64_t count) {
    typedef float f8 __attribute__((vector_size(32)));
    typedef double d8 __attribute__((vector_size(64)));
    d8 sums[4] = {0};  // element i to lane i mod 32; a product of two widened floats is exact
    for (int64_t i = 0; i < count; i += 32) {
        float last[32] = {0};
        const float *from = x + i;
        if (count - i < 32) from = memcpy(last, from, (size_t)(count - i) * sizeof(float));
        for (int u = 0; u < 4; u++) {
            f8 a;
            memcpy(&a, from + 8 * u, sizeof a);
            const d8 wide = __builtin_convertvector(a, d8);
            sums[u] += wide * wide;
        }
    }
    const d8 s = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

static void sigmoid(float *out, const float *x, int64_t count) {
    FOR_16(count, v_store_n(out + i, v_sigmoid(v_load_n(x + i, n)), n););
}

static void adamw(float *w, float *m, float *v, const float *g, int64_t count, float lr, float beta1, float beta2,
                  float epsilon, float decay, float correction1, float correction2, float gradient_scale) {
    const v16 rest1 = v_set1(1.0f - beta1), rest2 = v_set1(1.0f - beta2);
    const v16 inverse1 = v_set1(1.0f / correction1), inverse2 = v_set1(1.0f / correction2);
    FOR_16(count, {
        const v16 gradient = v_mul(v_load_n(g + i, n), v_set1(gradient_scale));
        const v16 first = v_fma(v_set1(beta1), v_load_n(m + i, n), v_mul(rest1, gradient));
        const v16 second = v_fma(v_set1(beta2), v_load_n(v + i, n), v_mul(v_mul(rest2, gradient), gradient));
        const v16 root = v_add(v_sqrt(v_mul(second, inverse2)), v_set1(epsilon));
        const v16 old = v_load_n(w + i, n);
        const v16 step = v_fma(v_set1(decay), old, v_div(v_mul(first, inverse1), root));
        v_store_n(m + i, first, n);
        v_store_n(v + i, second, n);
        v_store_n(w + i, v_fnma(v_set1(lr), step, old), n);
    });
}

// ---- Softmax and the loss

/// The largest of a row; NaN is passed over, and nothing at all gives -infinity.
INLINE float row_maximum(const float *x, int64_t count) {
    const v16 least = v_set1(-INFINITY);
    FOLD_64(largest, least, count, s = v_max(v_first_n(n, v_load_n(x + i, n), least), s););
    return row_largest(largest);
}

/// A row of only -infinity becomes zeros.
static void softmax(float *out, int64_t ldo, const float *x, int64_t ldx, int64_t rows, int64_t width) {
    for (int64_t r = 0; r < rows; r++, x += ldx, out += ldo) {
        const float largest = row_maximum(x, width);
        const v16 shift = v_set1(largest == -INFINITY ? 0.0f : largest);
        FOLD_64(exponentials, v_zero(), width, {
            const v16 e = v_first_n(n, v_exp(v_sub(v_load_n(x + i, n), shift)), v_zero());
            v_store_n(out + i, e, n);
            s = v_add(s, e);
        });
        const float sum = row_sum(exponentials);
        const v16 by = v_set1(sum > 0 ? 1.0f / sum : 0.0f);
        FOR_16(width, v_store_n(out + i, v_mul(v_load_n(out + i, n), by), n););
    }
}

static void log_sum_exp(float *out, const float *logits, int64_t ld, int64_t rows, int64_t vocabulary) {
    for (int64_t r = 0; r < rows; r++, logits += ld) {
        float largest = -INFINITY, sum = 0;
        for (int64_t first = 0; first < vocabulary; first += GLIM_VOCABULARY_BLOCK) {
            const float *x = logits + first;
            const int64_t left = vocabulary - first;
            const int64_t width = left < GLIM_VOCABULARY_BLOCK ? left : GLIM_VOCABULARY_BLOCK;
            const float peak = row_maximum(x, width);
            if (peak == -INFINITY) continue;
            const v16 shift = v_set1(peak);
            FOLD_64(exponentials, v_zero(), width,
                    s = v_add(s, v_first_n(n, v_exp(v_sub(v_load_n(x + i, n), shift)), v_zero())););
            const float block = row_sum(exponentials);
            if (peak > largest) {
                sum = f_fma(sum, row_exp(largest - peak), block);
                largest = peak;
            } else {
                sum = f_fma(block, row_exp(peak - largest), sum);
            }
        }
        out[r] = sum > 0 ? (float)((double)largest + row_log(sum)) : -INFINITY;
    }
}

static void cross_entropy_backward(float *logits, int64_t ld, const float *log_sum_exp, const int32_t *targets,
                                   float scale, int64_t rows, int64_t vocabulary) {
    const v16 by = v_set1(scale);
    for (int64_t r = 0; r < rows; r++, logits += ld) {
        if (targets[r] < 0) {
            memset(logits, 0, (size_t)vocabulary * sizeof(float));
            continue;
        }
        const v16 shift = v_set1(log_sum_exp[r]);
        const float of_target = row_exp(logits[targets[r]] - log_sum_exp[r]);
        FOR_16(vocabulary, v_store_n(logits + i, v_mul(v_exp(v_sub(v_load_n(logits + i, n), shift)), by), n););
        logits[targets[r]] = (of_target - 1.0f) * scale;
    }
}

static void round_to_bf16(float *x, int64_t count) {
    for (int64_t i = 0; i < count; i++) x[i] = bf16_widened(bf16_from(x[i]));
}

static void store_bf16(uint16_t *out, const float *x, int64_t count) {
    for (int64_t i = 0; i < count; i++) out[i] = bf16_from(x[i]);
}

#define ROWS_ENTRIES                                    \
    .round_to_bf16 = round_to_bf16,                     \
    .store_bf16 = store_bf16,                           \
    .rms_norm = rms_norm,                               \
    .rms_norm_backward = rms_norm_backward,             \
    .layer_norm = layer_norm,                           \
    .layer_norm_backward = layer_norm_backward,         \
    .rope = rope,                                       \
    .swiglu = swiglu,                                   \
    .swiglu_backward = swiglu_backward,                 \
    .add = add,                                         \
    .multiply = multiply,                               \
    .scale = scale,                                     \
    .add_scaled = add_scaled,                           \
    .dot = dot,                                         \
    .sum_squares = sum_squares,                         \
    .sigmoid = sigmoid,                                 \
    .softmax = softmax,                                 \
    .log_sum_exp = log_sum_exp,                         \
    .cross_entropy_backward = cross_entropy_backward,   \
    .adamw = adamw,
