// Compares every entry of every kernel table that runs here with the portable table, bit for bit.
//
// One function a group of kernels; each fills exactly sized buffers, so that AddressSanitizer sees any step outside.
// Run by Tools/neon.sh, natively and under an emulator.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "glim_kernels.h"

typedef struct {
    const glim_kernels *tested, *reference;
    int64_t failures;
} check;

static uint64_t state = 88172645463325252u;
static uint32_t random_bits(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 16);
}
static int64_t random_in(int64_t low, int64_t high) { return low + random_bits() % (uint64_t)(high - low + 1); }

static float *filled(int64_t count) {
    float *x = malloc((size_t)count * sizeof(float));
    for (int64_t i = 0; i < count; i++) x[i] = (float)(int32_t)random_bits() * 0x1p-31f;
    return x;
}
static void *copied(const void *x, int64_t bytes) { return memcpy(malloc((size_t)bytes), x, (size_t)bytes); }

static void same(check *c, const char *what, const void *tested, const void *reference, int64_t bytes, const char *shape) {
    if (memcmp(tested, reference, (size_t)bytes) == 0) return;
    int64_t i = 0;
    while (((const char *)tested)[i] == ((const char *)reference)[i]) i++;
    if (c->failures++ < 20)
        printf("%s: %s differs at byte %lld of %lld, %s\n", c->tested->name, what, (long long)i, (long long)bytes, shape);
}

// MARK: - Products

static void check_matmul_f32(check *c, int64_t m, int64_t n, int64_t k, int32_t flags, int packed_b, int packed_c) {
    const int64_t panels = (n + 31) / 32, extra = random_in(0, 2);
    const int transposed = flags & GLIM_A_TRANSPOSED;
    const int64_t lda = (transposed ? m : k) + extra, ldb = packed_b ? 32 : n + extra, ldc = packed_c ? 32 : n + extra;
    const int64_t b_panel = packed_b ? 32 * k : 32, c_panel = packed_c ? 32 * m : 32;
    // The last row ends with the last column that may be touched.
    const int64_t a_count = m && k ? (transposed ? (k - 1) * lda + m : (m - 1) * lda + k) : 0;
    const int64_t b_count = k && n ? (panels - 1) * b_panel + (k - 1) * ldb + n - 32 * (panels - 1) : 0;
    const int64_t c_count = m && n ? (panels - 1) * c_panel + (m - 1) * ldc + n - 32 * (panels - 1) : 0;
    float *a = filled(a_count), *b = filled(b_count), *x = filled(c_count);
    float *y = copied(x, 4 * c_count);
    c->tested->matmul_f32(x, ldc, c_panel, a, lda, b, ldb, b_panel, m, n, k, flags);
    c->reference->matmul_f32(y, ldc, c_panel, a, lda, b, ldb, b_panel, m, n, k, flags);
    char shape[120];
    snprintf(shape, sizeof shape, "m %lld n %lld k %lld flags %d packed %d %d", (long long)m, (long long)n, (long long)k,
             flags, packed_b, packed_c);
    same(c, "matmul_f32", x, y, 4 * c_count, shape);
    free(a), free(b), free(x), free(y);
}

static void check_products(check *c) {
    static const int64_t ns[] = {1, 15, 16, 17, 31, 32, 33, 64, 100, 128, 160}, ks[] = {0, 1, 2, 64, 255, 256, 257, 520};
    for (int64_t m = 0; m <= 28; m++)
        for (size_t i = 0; i < sizeof ns / sizeof *ns; i++)
            for (int32_t v = 0; v < 4; v++) {
                const int64_t k = ks[random_in(0, 7)];
                check_matmul_f32(c, m, ns[i], k, (int32_t)random_in(0, 3), v & 1, v >> 1);
            }
    for (int i = 0; i < 300; i++)
        check_matmul_f32(c, random_in(1, 200), random_in(1, 200), random_in(1, 600), (int32_t)random_in(0, 3),
                         (int)random_in(0, 1), (int)random_in(0, 1));
    check_matmul_f32(c, 7, 1100, 300, 1, 1, 0);
    check_matmul_f32(c, 50, 1030, 300, 2, 0, 1);
}

int main(void) {
    const int32_t tables = glim_kernels_count();
    int64_t failures = 0;
    for (int32_t i = 0; i < tables; i++) {
        check c = {glim_kernels_at(i), glim_kernels_at(tables - 1), 0};
        check_products(&c);
        printf("%s: %s\n", c.tested->name, c.failures ? "FAILED" : "equal to the reference");
        failures += c.failures;
    }
    return failures > 0;
}
