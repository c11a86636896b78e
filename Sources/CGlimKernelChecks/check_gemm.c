// Products and changes of layout: gemm.inc.h and panels.inc.h.
#include "check.h"

static void check_matmul_f32(check *c, int64_t m, int64_t n, int64_t k, int32_t flags, int packed_b, int packed_c) {
    const int64_t panels = (n + 31) / 32, extra = random_in(0, 2);
    const int transposed = flags & GLIM_A_TRANSPOSED;
    const int64_t lda = (transposed ? m : k) + extra, ldb = packed_b ? 32 : n + extra, ldc = packed_c ? 32 : n + extra;
    const int64_t b_panel = packed_b ? 32 * k : 32, c_panel = packed_c ? 32 * m : 32;
    // The last row ends with the last column that may be touched.
    const int64_t a_count = m && k ? (transposed ? (k - 1) * lda + m : (m - 1) * lda + k) : 0;
    const int64_t b_count = k && n ? (panels - 1) * b_panel + (k - 1) * ldb + n - 32 * (panels - 1) : 0;
    const int64_t c_count = m && n ? (panels - 1) * c_panel + (m - 1) * ldc + n - 32 * (panels - 1) : 0;
    float *a = filled(c, a_count), *b = filled(c, b_count), *x = filled(c, c_count);
    float *y = copied(c, x, c_count, 4);
    describe(c, "m %lld n %lld k %lld flags %d packed %d %d", (long long)m, (long long)n, (long long)k, flags,
             packed_b, packed_c);
    CALL(0, matmul_f32)(x, ldc, c_panel, a, lda, b, ldb, b_panel, m, n, k, flags);
    CALL(1, matmul_f32)(y, ldc, c_panel, a, lda, b, ldb, b_panel, m, n, k, flags);
    same(c, "matmul_f32", x, y, 4 * c_count);
    release(c);
}

/// Values for bf16: ordinary ones, zeros, and some so small that products underflow.
static uint16_t *filled_bf16(check *c, int64_t count) {
    uint16_t *x = room(c, count, 2);
    for (int64_t i = 0; i < count; i++) {
        const uint32_t u = random_bits();
        const uint32_t exponent = u % 16 == 0 ? 0 : u % 16 < 4 ? u >> 4 & 63 : 110 + (u >> 4 & 15);
        x[i] = (uint16_t)((u >> 16 & 0x807F) | exponent << 7);
    }
    return x;
}

/// Some so small that products underflow, and the largest denormal number, which a dot must not round up to a normal one.
static void make_small(float *a, int64_t count) {
    for (int64_t i = 0; i < count; i += 11) a[i] *= 0x1p-120f;
    for (int64_t i = 5; i < count; i += 17) a[i] = a[i] < 0 ? -0x1.fffffcp-127f : 0x1.fffffcp-127f;
}

/// Both products with bf16 weights. Where a k is missing its half of the pair is zero in B, as pack_bf16 leaves it.
static void check_matmul_bf16(check *c, int64_t m, int64_t n, int64_t k, int32_t flags, int packed_c) {
    const int64_t panels = (n + 31) / 32, pairs = (k + 1) / 2, extra = random_in(0, 2);
    const int64_t ldc = packed_c ? 32 : n + extra, c_panel = packed_c ? 32 * m : 32, b_panel = 64 * pairs;
    const int64_t lda = k + extra;
    const int64_t b_count = pairs ? (panels - 1) * b_panel + (pairs - 1) * 64 + 2 * (n - 32 * (panels - 1)) : 0;
    const int64_t c_count = (panels - 1) * c_panel + (m - 1) * ldc + n - 32 * (panels - 1);
    const int64_t a_count = k ? (m - 1) * lda + k : 0;
    uint16_t *b = filled_bf16(c, b_count);
    for (int64_t i = 0; k % 2 && i < b_count; i += 2)
        if (i % b_panel / 64 == pairs - 1) b[i] = 0;
    float *a = filled(c, a_count), *before = filled(c, c_count);
    make_small(a, a_count);
    float *x = copied(c, before, c_count, 4), *y = copied(c, before, c_count, 4);
    describe(c, "m %lld n %lld k %lld flags %d packed %d", (long long)m, (long long)n, (long long)k, flags,
             packed_c);

    CALL(0, matmul_f32_bf16)(x, ldc, c_panel, a, lda, b, b_panel, m, n, k, flags);
    CALL(1, matmul_f32_bf16)(y, ldc, c_panel, a, lda, b, b_panel, m, n, k, flags);
    same(c, "matmul_f32_bf16", x, y, 4 * c_count);

    memcpy(x, before, 4 * (size_t)c_count), memcpy(y, before, 4 * (size_t)c_count);
    CALL(0, matmul_bf16)(x, ldc, c_panel, a, lda, b, b_panel, m, n, k, flags);
    CALL(1, matmul_bf16)(y, ldc, c_panel, a, lda, b, b_panel, m, n, k, flags);
    same(c, "matmul_bf16", x, y, 4 * c_count);
    release(c);
}

/// The product with both operands rounded, against matmul_bf16 of the reference on what pack_bf16 makes of B: k runs
/// over rows.
static void check_matmul_bf16_rows(check *c, int64_t m, int64_t n, int64_t k, int32_t flags, int packed_b,
                                   int packed_c) {
    const int64_t panels = (n + 31) / 32, extra = random_in(0, 2), pairs = (k + 1) / 2;
    const int64_t lda = m + extra, ldb = packed_b ? 32 : n + extra, ldc = packed_c ? 32 : n + extra;
    const int64_t b_panel = packed_b ? 32 * k : 32, c_panel = packed_c ? 32 * m : 32;
    const int64_t a_count = k ? (k - 1) * lda + m : 0;
    const int64_t b_count = k ? (panels - 1) * b_panel + (k - 1) * ldb + n - 32 * (panels - 1) : 0;
    const int64_t c_count = (panels - 1) * c_panel + (m - 1) * ldc + n - 32 * (panels - 1);
    float *a = filled(c, a_count), *b = filled(c, b_count), *x = filled(c, c_count);
    make_small(a, a_count);
    float *y = copied(c, x, c_count, 4), *z = copied(c, x, c_count, 4);
    float *turned = zeroed(c, m * k, 4), *rows = zeroed(c, n * k, 4);
    uint16_t *packed = zeroed(c, 64 * panels * pairs, 2);
    for (int64_t kk = 0; kk < k; kk++) {
        for (int64_t i = 0; i < m; i++) turned[i * k + kk] = a[kk * lda + i];
        for (int64_t j = 0; j < n; j++) rows[j * k + kk] = b[j / 32 * b_panel + kk * ldb + j % 32];
    }
    describe(c, "m %lld n %lld k %lld flags %d packed %d %d", (long long)m, (long long)n, (long long)k, flags,
             packed_b, packed_c);
    CALL(0, matmul_bf16_rows)(x, ldc, c_panel, a, lda, b, ldb, b_panel, m, n, k, flags);
    CALL(1, matmul_bf16_rows)(y, ldc, c_panel, a, lda, b, ldb, b_panel, m, n, k, flags);
    same(c, "matmul_bf16_rows", x, y, 4 * c_count);
    CALL(1, pack_bf16)(packed, rows, k, n, k);
    CALL(1, matmul_bf16)(z, ldc, c_panel, turned, k, packed, 64 * pairs, m, n, k, flags);
    same(c, "matmul_bf16_rows as matmul_bf16", x, z, 4 * c_count);
    release(c);
}

/// Every change of layout, on the tested table and on the reference.
static void check_layouts(check *c, int64_t n, int64_t k) {
    const int64_t panels = (n + 31) / 32, pairs = (k + 1) / 2, ld = k + random_in(0, 2), count = 9;
    const int64_t x_count = (n - 1) * ld + k, packed_count = 32 * panels * k, turned_count = 32 * ((k + 31) / 32) * n;
    const int64_t first = random_in(0, k - 1), last = random_in(first, k);
    float *x = filled(c, x_count), *added = filled(c, (count - 1) * ld + k);
    for (int64_t i = 0; i < x_count; i += 7) x[i] *= 0x1p-130f;  // denormals must survive
    int32_t rows[9];
    for (int i = 0; i < count; i++) rows[i] = (int32_t)random_in(0, n - 1);
    describe(c, "n %lld k %lld", (long long)n, (long long)k);
    struct {
        float *packed, *unpacked, *turned, *gathered, *widened, *gathered_bf16;
        uint16_t *packed_bf16, *rounded;
    } r[2];
    for (int t = 0; t < 2; t++) {
        r[t].packed = zeroed(c, packed_count, 4);
        r[t].unpacked = zeroed(c, x_count, 4);
        r[t].turned = zeroed(c, turned_count, 4);
        r[t].gathered = zeroed(c, count * k, 4);
        r[t].widened = zeroed(c, x_count, 4);
        r[t].gathered_bf16 = zeroed(c, count * k, 4);
        r[t].packed_bf16 = zeroed(c, 64 * panels * pairs, 2);
        r[t].rounded = zeroed(c, 64 * panels * pairs, 2);
        CALL(t, pack_f32)(r[t].packed, x, ld, n, k);
        CALL(t, unpack_f32)(r[t].unpacked, ld, r[t].packed, n, k);
        const int64_t middle = random_in(0, (k + 31) / 32);
        CALL(t, transpose_panels_f32)(r[t].turned, r[t].packed, n, k, 0, middle);
        CALL(t, transpose_panels_f32)(r[t].turned + middle * 32 * n, r[t].packed, n, k, middle, (k + 31) / 32);
        CALL(t, gather_rows_f32)(r[t].gathered, k, r[t].packed, rows, count, k);
        CALL(t, pack_bf16)(r[t].packed_bf16, x, ld, n, k);
        CALL(t, unpack_bf16)(r[t].widened, ld, r[t].packed_bf16, n, k);
        CALL(t, gather_rows_bf16)(r[t].gathered_bf16, k, r[t].packed_bf16, rows, count, k);
        CALL(t, round_panels)(r[t].rounded, r[t].packed, panels, k);
        // Where rounding may flush, what is compared is what a dot makes of it.
        for (int64_t i = 0; i < 64 * panels * pairs; i++)
            if (!(r[t].rounded[i] & 0x7F80)) r[t].rounded[i] &= 0x8000;
    }
    for (int64_t i = 0; i < n; i++) {
        same(c, "unpack_f32 of pack_f32", r[0].unpacked + i * ld, x + i * ld, 4 * k);
        for (int64_t j = 0; j < k; j++)
            same(c, "transpose_panels_f32 of pack_f32", r[0].turned + j / 32 * 32 * n + i * 32 + j % 32,
                 x + i * ld + j, 4);
    }
    for (int64_t i = 0; i < count; i++)
        same(c, "gather_rows_f32 of pack_f32", r[0].gathered + i * k, x + rows[i] * ld, 4 * k);
    same(c, "pack_f32", r[0].packed, r[1].packed, 4 * packed_count);
    same(c, "unpack_f32", r[0].unpacked, r[1].unpacked, 4 * x_count);
    same(c, "transpose_panels_f32", r[0].turned, r[1].turned, 4 * turned_count);
    same(c, "gather_rows_f32", r[0].gathered, r[1].gathered, 4 * count * k);
    same(c, "pack_bf16", r[0].packed_bf16, r[1].packed_bf16, 2 * 64 * panels * pairs);
    same(c, "unpack_bf16", r[0].widened, r[1].widened, 4 * x_count);
    same(c, "gather_rows_bf16", r[0].gathered_bf16, r[1].gathered_bf16, 4 * count * k);
    same(c, "round_panels", r[0].rounded, r[1].rounded, 2 * 64 * panels * pairs);
    for (int64_t i = 0; i < 64 * panels * pairs; i++)
        if (!(r[0].packed_bf16[i] & 0x7F80)) r[0].packed_bf16[i] &= 0x8000;
    same(c, "round_panels as pack_bf16", r[0].rounded, r[0].packed_bf16, 2 * 64 * panels * pairs);
    for (int t = 0; t < 2; t++) CALL(t, scatter_rows_f32)(r[t].packed, added, ld, rows, count, k, first, last);
    same(c, "scatter_rows_f32", r[0].packed, r[1].packed, 4 * packed_count);
    release(c);
}

void check_products(check *c) {
    static const int64_t ns[] = {1, 15, 16, 17, 31, 32, 33, 64, 100, 128, 160};
    static const int64_t ks[] = {0, 1, 2, 63, 64, 255, 256, 257, 520};
    for (int64_t m = 0; m <= 28; m++)
        for (int64_t i = 0; i < COUNT_OF(ns); i++)
            for (int32_t v = 0; v < 2; v++) {
                check_matmul_f32(c, m, ns[i], ANY_OF(ks), (int32_t)random_in(0, 3), v, (int)random_in(0, 1));
                if (!m) continue;
                check_matmul_bf16(c, m, ns[i], ANY_OF(ks), (int32_t)random_in(0, 1), v);
                check_matmul_bf16_rows(c, m, ns[i], ANY_OF(ks), (int32_t)random_in(0, 1), v, (int)random_in(0, 1));
            }
    for (int i = 0; i < 100; i++) {
        check_matmul_f32(c, random_in(1, 120), random_in(1, 120), random_in(1, 600), (int32_t)random_in(0, 3),
                         (int)random_in(0, 1), (int)random_in(0, 1));
        check_layouts(c, random_in(1, 80), random_in(1, 80));
    }
    for (int i = 0; i < 20; i++)
        check_matmul_bf16(c, random_in(1, 100), random_in(1, 100), random_in(1, 600), (int32_t)random_in(0, 1), i % 2);
    // So much that few rows stream it.
    for (int64_t m = 1; m <= 12; m++) {
        check_matmul_f32(c, m, 1100, 300, (int32_t)m & 1, 1, 0);
        check_matmul_bf16(c, m, 1100, 515, (int32_t)m & 1, m % 2);
    }
    // Beyond one group of rows.
    check_matmul_f32(c, 50, 1030, 300, 2, 0, 1);
    check_matmul_f32(c, 400, 40, 300, 3, 1, 1);
    check_matmul_bf16(c, 250, 520, 300, 1, 1);
    check_matmul_bf16_rows(c, 400, 40, 301, 1, 0, 1);
}
