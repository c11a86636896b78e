// Products of integers, and what makes their operands: integer.inc.h. The reference here is not the portable table but
// sums in int64 and the chain that glim_kernels.h promises.
#include <math.h>

#include "check.h"

/// Ordinary integers, or only the outermost ones: the sums of these are the largest.
static int8_t *integers(check *c, int64_t count, int low, int high, int extreme) {
    int8_t *x = room(c, count, 1);
    for (int64_t i = 0; i < count; i++) {
        x[i] = (int8_t)random_in(low, high);
        if (extreme) x[i] = (int8_t)(extreme == 1 ? (random_bits() % 2 ? low : high) : extreme == 2 ? low : high);
    }
    return x;
}

/// Scales of all magnitudes: zeros and denormals among them.
static float *scales_of(check *c, int64_t count) {
    float *x = values(c, count, WIDE);
    for (int64_t i = 0; i < count; i++) x[i] *= random_bits() % 32 == 0 ? 0x1p-100f : 0x1p-4f;
    return x;
}

static void check_matmul(check *c, int bits, int64_t m, int64_t n, int64_t k, int64_t group, int32_t flags,
                         int packed_c) {
    const int64_t panels = (n + 31) / 32, padded = glim_integer_k(k), groups = (k + group - 1) / group;
    const int64_t lda = random_in(0, 1) ? glim_integer_stride(k) : padded + random_in(0, 3), ldw = k + random_in(0, 3);
    const int64_t ldc = packed_c ? 32 : n + random_in(0, 2), c_panel = packed_c ? 32 * m : 32;
    const int64_t a_count = m ? (m - 1) * lda + padded : 0, w_count = n && k ? (n - 1) * ldw + k : 0;
    const int64_t b_count = panels * 32 * padded * bits / 8;
    const int64_t c_count = m && n ? (panels - 1) * c_panel + (m - 1) * ldc + n - 32 * (panels - 1) : 0;
    const int kind = (int)random_in(0, 5), low = bits == 8 ? -128 : -8, high = bits == 8 ? 127 : 7;
    int8_t *a = integers(c, a_count, -127, 127, kind % 4), *w = integers(c, w_count, low, high, kind % 3);
    for (int64_t i = 0; i < m; i++) memset(a + i * lda + k, 0, (size_t)(padded - k));
    float *w_scales = scales_of(c, n * groups), *b_scales = room(c, panels * 32 * groups, 4);
    float *row_scales = filled(c, m * groups);
    glim_row_group *row_groups = room(c, m * groups, sizeof(glim_row_group));
    for (int64_t i = 0; i < m * groups; i++) {
        row_groups[i] = (glim_row_group){row_scales[i], 0};
        for (int64_t kk = i % groups * group; kk < k && kk < (i % groups + 1) * group; kk++)
            row_groups[i].sum += a[i / groups * lda + kk];
    }
    describe(c, "int%d m %lld n %lld k %lld group %lld flags %d packed %d", bits, (long long)m, (long long)n,
             (long long)k, (long long)group, flags, packed_c);

    const char *const product = bits == 8 ? "matmul_int8" : "matmul_int4";
    const char *const unpack = bits == 8 ? "unpack_int8" : "unpack_int4";
    uint8_t *b[2];
    float *unpacked[2];
    for (int t = 0; t < 2; t++) {
        b[t] = zeroed(c, b_count, 1);
        unpacked[t] = zeroed(c, w_count, 4);
        CALL(t, pack_f32)(b_scales, w_scales, groups, n, groups);
        if (bits == 8) {
            CALL(t, pack_int8)(b[t], w, ldw, n, k);
            CALL(t, unpack_int8)(unpacked[t], ldw, b[t], b_scales, n, k, group);
        } else {
            CALL(t, pack_int4)(b[t], w, ldw, n, k);
            CALL(t, unpack_int4)(unpacked[t], ldw, b[t], b_scales, n, k, group);
        }
        for (int64_t i = 0; i < w_count; i++) {
            if (i % ldw >= k) continue;
            const float expected = (float)w[i] * w_scales[i / ldw * groups + i % ldw / group];
            same(c, unpack, unpacked[t] + i, &expected, 4);
        }
    }
    same(c, bits == 8 ? "pack_int8" : "pack_int4", b[0], b[1], b_count);
    same(c, unpack, unpacked[0], unpacked[1], 4 * w_count);

    float *before = filled(c, c_count), *expected = copied(c, before, c_count, 4), *row = copied(c, before, c_count, 4);
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++) {
            float *out = expected + i * ldc + j / 32 * c_panel + j % 32;
            float sum = flags & GLIM_ACCUMULATE ? *out : 0;
            for (int64_t g = 0; g < groups; g++) {
                int64_t dot = 0;
                for (int64_t kk = g * group; kk < k && kk < (g + 1) * group; kk++)
                    dot += a[i * lda + kk] * w[j * ldw + kk];
                volatile float scale = w_scales[j * groups + g] * row_groups[i * groups + g].scale;
                sum = fmaf((float)dot, scale, sum);
            }
            *out = sum;
        }
    }
    for (int t = 0; t < 2; t++) {
        float *x = copied(c, before, c_count, 4);
        void (*matmul)(float *, int64_t, int64_t, const int8_t *, int64_t, const glim_row_group *, const uint8_t *,
                       const float *, int64_t, int64_t, int64_t, int64_t, int32_t) =
            bits == 8 ? CALL(t, matmul_int8) : CALL(t, matmul_int4);
        matmul(x, ldc, c_panel, a, lda, row_groups, b[0], b_scales, m, n, k, group, flags);
        same_floats(c, t ? "matmul_int8 or matmul_int4 of the reference" : product, x, expected, c_count);
        // A few rows and a panel alone give what they gave among others.
        if (t || !m || !n) continue;
        const int64_t i = random_in(0, m - 1), rows = random_in(1, m - i < 9 ? m - i : 9), p = random_in(0, panels - 1);
        const int64_t at = i * ldc + p * c_panel, columns = n - 32 * p < 32 ? n - 32 * p : 32;
        matmul(row + at, ldc, c_panel, a + i * lda, lda, row_groups + i * groups, b[0] + p * padded * 32 * bits / 8,
               b_scales + p * 32 * groups, rows, columns, k, group, flags);
        for (int64_t r = 0; r < rows; r++)
            same_floats(c, bits == 8 ? "matmul_int8 of a part" : "matmul_int4 of a part", row + at + r * ldc,
                        expected + at + r * ldc, columns);
    }
    release(c);
}

static void check_quantize(check *c, int64_t rows, int64_t k, int64_t group, int kind) {
    const int64_t padded = glim_integer_k(k), groups = (k + group - 1) / group;
    const int64_t ldx = k + random_in(0, 3), ldo = padded + random_in(0, 3);
    const int64_t count = (rows - 1) * ldo + padded;
    float *x = values(c, (rows - 1) * ldx + k, kind), tiny = random_bits() % 4 == 0 ? 0x1p-70f : 1;
    for (int64_t i = 0; i < (rows - 1) * ldx + k; i++) x[i] *= tiny;
    int8_t *before = integers(c, count, -128, 127, 0), *out[2];
    glim_row_group *row_groups[2];
    describe(c, "rows %lld k %lld group %lld kind %d", (long long)rows, (long long)k, (long long)group, kind);
    for (int t = 0; t < 2; t++) {
        out[t] = copied(c, before, count, 1);
        row_groups[t] = room(c, rows * groups, sizeof(glim_row_group));
        CALL(t, quantize_rows)(out[t], ldo, row_groups[t], x, ldx, rows, k, group);
        for (int64_t i = 0; i < rows * groups; i++) {
            const int64_t first = i % groups * group, last = first + group < k ? first + group : k;
            float largest = 0, bad = 0;
            for (int64_t kk = first; kk < last; kk++) {
                const float y = x[i / groups * ldx + kk];
                largest = fmaxf(largest, fabsf(y));
                if (!isfinite(y)) bad = NAN;
            }
            float scale = bad != bad ? bad : largest / 127 < 0x1p-126f ? 0 : largest / 127;
            same_floats(c, "scale of quantize_rows", &row_groups[t][i].scale, &scale, 1);
            int32_t sum = 0;
            for (int64_t kk = first; kk < (last == k ? padded : last); kk++) {
                // The product of two floats is exact in double.
                const int usable = scale > 0 && kk < k;
                const double y = usable ? (double)x[i / groups * ldx + kk] * (double)(1 / scale) : 0;
                const int8_t q = out[t][i / groups * ldo + kk], expected = (int8_t)nearbyint(y);
                if (q != expected || q == -128) fail(c, "quantize_rows", "differs", kk);
                sum += q;
            }
            if (row_groups[t][i].sum != sum) fail(c, "sum of quantize_rows", "differs", i);
        }
        for (int64_t r = 0; r + 1 < rows; r++)
            same(c, "between quantize_rows", out[t] + r * ldo + padded, before + r * ldo + padded, ldo - padded);
    }
    same(c, "quantize_rows", out[0], out[1], count);
    outputs restored = outputs_of(c, rows, ldx, k, NULL);
    for (int t = 0; t < 2; t++)
        CALL(t, restore_rows)(restored.at[t], ldx, out[0], ldo, row_groups[0], rows, k, group);
    same_outputs(c, "restore_rows", &restored);
    for (int64_t i = 0; i < rows * k; i++) {
        const float expected = (float)out[0][i / k * ldo + i % k] * row_groups[0][i / k * groups + i % k / group].scale;
        same_floats(c, "restore_rows", restored.at[0] + i / k * ldx + i % k, &expected, 1);
    }
    release(c);
}

static void check_weights(check *c, int32_t bits, int64_t n, int64_t k, int64_t group, int kind) {
    const int64_t groups = (k + group - 1) / group, ldx = k + random_in(0, 3), ldo = k + random_in(0, 3);
    const int64_t count = (n - 1) * ldo + k, low = bits == 8 ? -128 : -8, high = bits == 8 ? 127 : 7;
    float *x = values(c, (n - 1) * ldx + k, kind), tiny = random_bits() % 4 == 0 ? 0x1p-130f : 1;
    for (int64_t i = 0; i < (n - 1) * ldx + k; i++) x[i] *= tiny;
    int8_t *before = integers(c, count, -128, 127, 0), *out[2];
    float *scales[2], *others = scales_of(c, n * groups);
    describe(c, "int%d n %lld k %lld group %lld kind %d", bits, (long long)n, (long long)k, (long long)group, kind);
    for (int t = 0; t < 2; t++) {
        scales[t] = room(c, n * groups, 4);
        CALL(t, weight_scales)(scales[t], x, ldx, n, k, group, bits);
        for (int64_t i = 0; i < n * groups; i++) {
            float largest = 0, bad = 0;
            for (int64_t kk = i % groups * group; kk < k && kk < (i % groups + 1) * group; kk++) {
                const float y = x[i / groups * ldx + kk];
                largest = fmaxf(largest, fabsf(y));
                if (!isfinite(y)) bad = NAN;
            }
            float scale = largest / (bits == 8 ? 127.5f : 7.5f);
            if (scale == 0) scale = 0x1p-23f;
            if (bad != bad) scale = bad;
            same_floats(c, "weight_scales", scales[t] + i, &scale, 1);
        }
    }
    // Their own scales, then any.
    for (int own = 1; own >= 0; own--) {
        const float *used = own ? scales[0] : others;
        for (int t = 0; t < 2; t++) {
            out[t] = copied(c, before, count, 1);
            CALL(t, quantize_weights)(out[t], ldo, used, x, ldx, n, k, group, bits);
            for (int64_t i = 0; i < n * k; i++) {
                volatile float y = x[i / k * ldx + i % k] / used[i / k * groups + i % k / group];
                const float bounded = !(y > (float)low) ? (float)low : y > (float)high ? (float)high : y;
                if (out[t][i / k * ldo + i % k] != (int8_t)nearbyintf(bounded))
                    fail(c, "quantize_weights", "differs", i);
            }
            for (int64_t r = 0; r + 1 < n; r++)
                same(c, "between quantize_weights", out[t] + r * ldo + k, before + r * ldo + k, ldo - k);
        }
        same(c, "quantize_weights", out[0], out[1], count);
    }
    release(c);
}

void check_integers(check *c) {
    static const int64_t ns[] = {1, 15, 16, 17, 31, 32, 33, 48, 64, 80, 100, 128};
    static const int64_t ks[] = {0, 1, 4, 31, 32, 33, 64, 100, 128, 250, 256, 257, 520};
    static const int64_t few[] = {32, 64, 96, 128, 160, 256};
    for (int bits = 8; bits >= 4; bits -= 4) {
        for (int64_t m = 0; m < 30; m++)
            for (int64_t i = 0; i < COUNT_OF(ks); i++)
                check_matmul(c, bits, m, ANY_OF(ns), ks[i], random_in(0, 4) ? ANY_OF(few) : ks[i] / 32 * 32 + 32,
                             (int32_t)random_in(0, 1), (int)random_in(0, 1));
        static const int64_t ms[] = {1, 2, 3, 4, 8, 95, 96, 97, 130, 501, 512};
        for (int64_t i = 0; i < COUNT_OF(ms); i++)
            check_matmul(c, bits, ms[i], 40, 128 + random_in(0, 64), ANY_OF(few), 0, 0);
        // More k, and more groups, than one pass takes.
        for (int64_t m = 1; m < 20; m += 6) {
            check_matmul(c, bits, m, 33, 9000, 32, 0, 0);
            check_matmul(c, bits, m, 33, 9000, 9024, GLIM_ACCUMULATE, 0);
            check_matmul(c, bits, m, 33, 6000, 1024, 0, 1);
        }
        check_matmul(c, bits, 100, 33, 4500, 64, 0, 0);
        check_matmul(c, bits, 1, 8, 50000, 32, 0, 0);
        check_matmul(c, bits, 1, 2, 131072, 131072, 0, 0);
    }
    for (int kind = 0; kind < KINDS; kind++)
        for (int64_t k = 1; k < 700; k += k < 70 ? 1 : 37)
            check_quantize(c, random_in(1, 4), k, random_in(0, 4) ? ANY_OF(few) : k / 32 * 32 + 32, kind);
    for (int kind = 0; kind < KINDS; kind++)
        for (int64_t k = 1; k < 700; k += k < 70 ? 1 : 37)
            for (int32_t bits = 8; bits >= 4; bits -= 4)
                check_weights(c, bits, random_in(1, 4), k, random_in(0, 4) ? ANY_OF(few) : k / 32 * 32 + 32, kind);

    static const int64_t rounds[] = {0, 1, 5, 1000};
    for (int64_t i = 0; i < COUNT_OF(rounds); i++) {
        int32_t one = (int32_t)random_bits();
        describe(c, "rounds %lld", (long long)rounds[i]);
        if (CALL(0, probe_int8)(&one, rounds[i]) < (double)(2 * rounds[i]))
            fail(c, "probe_int8", "counts wrongly", i);
    }
}
