// Products of int8 activations and int8 or int4 weights. One definition for all: C[i, j] is the chain, over groups of k
// in ascending order, of fma(float(dot), weight scale · row scale, sum), where dot is the exact sum of the group.
//
// Packed weights are unsigned, as the instructions of x86 want them. What that adds, the offset times the sum of the
// row's group, is known before: the sum of a group begins at minus that. Integers are exact in every order, so a tile
// may divide a group among several sums.

/// How weights lie: bytes, or halves of bytes.
enum { INT8, INT4 };

/// Element k of column j of a panel, signed.
INLINE int32_t packed_weight(const int kind, const uint8_t *panel, int64_t j, int64_t k) {
    if (kind == INT8) return panel[(k / 4 * GLIM_PANEL + j) * 4 + k % 4] - 128;
    return (panel[(k / 8 * GLIM_PANEL + j) * 4 + k % 4] >> (k % 8 / 4 * 4) & 15) - 8;
}

#if defined(GLIM_PORTABLE)

// MARK: - The products in plain C

INLINE void integer_product(const int kind, float *c, int64_t ldc, int64_t c_panel, const int8_t *a, int64_t lda,
                            const glim_row_group *row_groups, const uint8_t *b, const float *scales, int64_t m,
                            int64_t n, int64_t k, int64_t group, int32_t flags) {
    const int64_t groups = (k + group - 1) / group, bytes = glim_integer_k(k) / (kind == INT8 ? 1 : 2);
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++) {
            const int64_t panel = j / GLIM_PANEL, column = j % GLIM_PANEL;
            float *out = c + i * ldc + panel * c_panel + column;
            float sum = flags & GLIM_ACCUMULATE ? *out : 0;
            for (int64_t g = 0; g < groups; g++) {
                int32_t dot = 0;
                for (int64_t kk = g * group; kk < least((g + 1) * group, k); kk++)
                    dot += a[i * lda + kk] * packed_weight(kind, b + panel * GLIM_PANEL * bytes, column, kk);
                const float scale = scales[(panel * groups + g) * GLIM_PANEL + column];
                sum = f_fma((float)dot, scale * row_groups[i * groups + g].scale, sum);
            }
            *out = sum;
        }
    }
}

#else

// MARK: - Sixteen lanes, each an int32 or four bytes

#if defined(GLIM_AVX512)
typedef __m512i q16;
INLINE q16 q_zero(void) { return _mm512_setzero_si512(); }
INLINE q16 q_set1(int32_t x) { return _mm512_set1_epi32(x); }
INLINE q16 q_load(const void *p) { return _mm512_loadu_si512(p); }
INLINE void q_store(void *p, q16 x) { _mm512_storeu_si512(p, x); }
INLINE q16 q_add(q16 a, q16 b) { return _mm512_add_epi32(a, b); }
INLINE q16 q_shift_left(q16 a, int by) { return _mm512_slli_epi32(a, (unsigned)by); }
INLINE v16 q_float(q16 a) { return _mm512_cvtepi32_ps(a); }
/// The lower and the higher halves of bytes.
INLINE q16 q_low(q16 x) { return _mm512_and_si512(x, _mm512_set1_epi8(15)); }
INLINE q16 q_high(q16 x) { return _mm512_and_si512(_mm512_srli_epi16(x, 4), _mm512_set1_epi8(15)); }
#if defined(GLIM_VNNI)
/// What products of int8 have too much: this times the sum of A.
#define INT8_OFFSET 128
INLINE q16 q_dot_int8(q16 sum, q16 weights, q16 a) { return _mm512_dpbusd_epi32(sum, weights, a); }
INLINE q16 q_dot_int4(q16 sum, q16 weights, q16 a) { return _mm512_dpbusd_epi32(sum, weights, a); }
#else
// The older instruction saturates pairs at 32,767: |weight| up to 128 times 127 twice stays below, so signs go to A.
INLINE q16 q_dot_pairs(q16 sum, q16 weights, q16 a) {
    return _mm512_add_epi32(sum, _mm512_madd_epi16(_mm512_maddubs_epi16(weights, a), _mm512_set1_epi16(1)));
}
INLINE q16 q_dot_int8(q16 sum, q16 weights, q16 a) {
    const q16 w = _mm512_xor_si512(weights, _mm512_set1_epi8(-128));
    return q_dot_pairs(sum, _mm512_abs_epi8(w),
                       _mm512_mask_sub_epi8(a, _mm512_movepi8_mask(w), _mm512_setzero_si512(), a));
}
INLINE q16 q_dot_int4(q16 sum, q16 weights, q16 a) { return q_dot_pairs(sum, weights, a); }
#endif

#elif defined(GLIM_AVX2)
typedef struct { __m256i v[2]; } q16;
#define Q2(expr) ({ q16 _r; for (int _i = 0; _i < 2; _i++) _r.v[_i] = (expr); _r; })
INLINE q16 q_zero(void) { return Q2(_mm256_setzero_si256()); }
INLINE q16 q_set1(int32_t x) { return Q2(_mm256_set1_epi32(x)); }
INLINE q16 q_load(const void *p) { return Q2(_mm256_loadu_si256((const __m256i *)p + _i)); }
INLINE void q_store(void *p, q16 x) {
    _mm256_storeu_si256((__m256i *)p, x.v[0]);
    _mm256_storeu_si256((__m256i *)p + 1, x.v[1]);
}
INLINE q16 q_add(q16 a, q16 b) { return Q2(_mm256_add_epi32(a.v[_i], b.v[_i])); }
INLINE q16 q_shift_left(q16 a, int by) { return Q2(_mm256_slli_epi32(a.v[_i], by)); }
INLINE v16 q_float(q16 a) { return V2(_mm256_cvtepi32_ps(a.v[_i])); }
INLINE q16 q_low(q16 x) { return Q2(_mm256_and_si256(x.v[_i], _mm256_set1_epi8(15))); }
INLINE q16 q_high(q16 x) {
    return Q2(_mm256_and_si256(_mm256_srli_epi16(x.v[_i], 4), _mm256_set1_epi8(15)));
}
INLINE __m256i q_dot_pairs(__m256i sum, __m256i weights, __m256i a) {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(weights, a), _mm256_set1_epi16(1)));
}
// The instruction saturates pairs at 32,767: |weight| up to 128 times 127 twice stays below, so signs go to A.
INLINE q16 q_dot_int8(q16 sum, q16 weights, q16 a) {
    const q16 w = Q2(_mm256_xor_si256(weights.v[_i], _mm256_set1_epi8(-128)));
    return Q2(q_dot_pairs(sum.v[_i], _mm256_abs_epi8(w.v[_i]), _mm256_sign_epi8(a.v[_i], w.v[_i])));
}
INLINE q16 q_dot_int4(q16 sum, q16 weights, q16 a) { return Q2(q_dot_pairs(sum.v[_i], weights.v[_i], a.v[_i])); }

#elif defined(GLIM_NEON)
typedef struct { int32x4_t v[4]; } q16;
#define Q4(expr) ({ q16 _r; for (int _i = 0; _i < 4; _i++) _r.v[_i] = (expr); _r; })
INLINE q16 q_zero(void) { return Q4(vdupq_n_s32(0)); }
INLINE q16 q_set1(int32_t x) { return Q4(vdupq_n_s32(x)); }
INLINE q16 q_load(const void *p) { return Q4(vreinterpretq_s32_u8(vld1q_u8((const uint8_t *)p + 16 * _i))); }
INLINE void q_store(void *p, q16 x) {
    for (int i = 0; i < 4; i++) vst1q_u8((uint8_t *)p + 16 * i, vreinterpretq_u8_s32(x.v[i]));
}
INLINE q16 q_add(q16 a, q16 b) { return Q4(vaddq_s32(a.v[_i], b.v[_i])); }
INLINE q16 q_shift_left(q16 a, int by) { return Q4(vshlq_s32(a.v[_i], vdupq_n_s32(by))); }
INLINE v16 q_float(q16 a) { return V4(vcvtq_f32_s32(a.v[_i])); }
INLINE q16 q_low(q16 x) {
    return Q4(vreinterpretq_s32_u8(vandq_u8(vreinterpretq_u8_s32(x.v[_i]), vdupq_n_u8(15))));
}
INLINE q16 q_high(q16 x) { return Q4(vreinterpretq_s32_u8(vshrq_n_u8(vreinterpretq_u8_s32(x.v[_i]), 4))); }
INLINE int32x4_t q_dot_signed(int32x4_t sum, int8x16_t w, int8x16_t a) {
#if defined(__ARM_FEATURE_DOTPROD) || defined(GLIM_NEON_DOT)
    return vdotq_s32(sum, w, a);
#else
    const int32x4_t low = vpaddlq_s16(vmull_s8(vget_low_s8(w), vget_low_s8(a)));
    const int32x4_t high = vpaddlq_s16(vmull_s8(vget_high_s8(w), vget_high_s8(a)));
    return vaddq_s32(sum, vpaddq_s32(low, high));
#endif
}
INLINE q16 q_dot_int8(q16 sum, q16 weights, q16 a) {
    const q16 w = Q4(veorq_s32(weights.v[_i], vreinterpretq_s32_u8(vdupq_n_u8(128))));
    return Q4(q_dot_signed(sum.v[_i], vreinterpretq_s8_s32(w.v[_i]), vreinterpretq_s8_s32(a.v[_i])));
}
INLINE q16 q_dot_int4(q16 sum, q16 weights, q16 a) {
    return Q4(q_dot_signed(sum.v[_i], vreinterpretq_s8_s32(weights.v[_i]), vreinterpretq_s8_s32(a.v[_i])));
}
#endif

#ifndef INT8_OFFSET
#define INT8_OFFSET 0  // the dot makes weights signed again
#endif

/// Makes the compiler load through p and q only once x is known: it would load all it can before, and spill.
INLINE void q_before(const int8_t **p, const uint8_t **q, q16 *x) {
#if defined(GLIM_AVX512)
    __asm__("" : "+r"(*p), "+r"(*q), "+v"(*x));
#else
    (void)p, (void)q, (void)x;
#endif
}

/// Four bytes in all lanes.
INLINE q16 q_set1_from(const void *p) {
    int32_t x;
    memcpy(&x, p, sizeof x);
    return q_set1(x);
}

// MARK: - Tiles

#if defined(GLIM_AVX512)
#define INTEGER_ROWS 7       // 7 rows by 2 vectors: 14 sums of a group, 14 of C, 2 of B and one of A are in registers
#define INTEGER_ROWS_MOST 8  // of a tile; more than INTEGER_ROWS only where that saves reading B twice
#define INTEGER_ROWS_KEPT 7  // tiles of more leave the sums of C in memory
#define INTEGER_VECTORS 2
#elif defined(GLIM_AVX2)
#define INTEGER_ROWS 4
#define INTEGER_ROWS_MOST 4
#define INTEGER_ROWS_KEPT 0
#define INTEGER_VECTORS 1
#else
#define INTEGER_ROWS 6
#define INTEGER_ROWS_MOST 6
#define INTEGER_ROWS_KEPT 0
#define INTEGER_VECTORS 1
#endif
#define INTEGER_CHUNK 96       // rows whose A stays in the second cache …
#define INTEGER_K_SPAN 4096    // … for this many k
#define INTEGER_K_BLOCK 512    // k of a panel that stay in the first cache while strips of rows meet them
#define INTEGER_AHEAD 8192     // bytes by which a panel that streams is brought nearer before its turn, …
#define INTEGER_ALONE(kind) ((kind) == INT8 ? 5 : 2)  // … for more rows than these: few wait less without
#define INTEGER_STRIPS ((INTEGER_CHUNK + INTEGER_ROWS - 1) / INTEGER_ROWS)
#define INTEGER_STRIP_GROUPS (INTEGER_STRIPS * (INTEGER_K_SPAN / 32))

/// One group of the rows of a strip.
typedef struct {
    int32_t begin[INTEGER_ROWS_MOST];  ///< what sums begin at
    float scale[INTEGER_ROWS_MOST];
} strip_group;

/// One tile's work: whole groups of 32 columns (or as many as a tile has) of C += A · B.
typedef struct {
    float *c;
    const int8_t *a;
    const strip_group *groups;
    const uint8_t *b;
    const float *scales;
    const uint8_t *ahead;  ///< what more rows than INTEGER_ALONE bring nearer, ahead_step bytes for each line of B
    int64_t ldc, lda, k, group, ahead_step;
    int32_t add;  ///< 0: C is set
} integer_job;
typedef void integer_tile_function(const integer_job *);

/// The inner loop. All but the first argument are constants. `chains` sums share a group where rows are few.
INLINE void integer_tile(const integer_job *job, const int kind, const int rows, const int vectors, const int chains) {
    const integer_job t = *job;
    const int count = rows * vectors, kept = rows <= INTEGER_ROWS_KEPT;
    const int quads = chains > 2 ? chains : kind == INT4 || chains == 2 ? 2 : 1;
    const int8_t *a = t.a;
    const uint8_t *b = t.b, *ahead = t.ahead;
    const float *scales = t.scales;
    const strip_group *group = t.groups;
    v16 total[16];
    UNROLL for (int i = 0; i < count; i++) {
        float *c = t.c + i / vectors * t.ldc + i % vectors * 16;
        if (kept) total[i] = t.add ? v_load(c) : v_zero();
        else if (!t.add) v_store(c, v_zero());
    }
    for (int64_t left = t.k; left > 0; left -= t.group, group++, scales += GLIM_PANEL) {
        q16 sum[16], w[2];
        UNROLL for (int i = 0; i < count; i++) {
            sum[i] = q_set1(group->begin[i / vectors]);
            UNROLL for (int chain = 1; chain < chains; chain++) sum[chain * count + i] = q_zero();
        }
        for (int64_t k = least(left, t.group); k > 0; k -= 4 * quads) {
            UNROLL for (int quad = 0; quad < quads; quad++) {
                if (rows > INTEGER_ALONE(kind) && (kind == INT8 || quad % 2 == 0)) {
                    __builtin_prefetch(ahead, 0, 2);
                    __builtin_prefetch(ahead + 64, 0, 2);
                    ahead += t.ahead_step;
                }
                UNROLL for (int j = 0; j < vectors; j++) {
                    const q16 x = q_load(b + 64 * j + (kind == INT8 ? quad : quad / 2) * 4 * GLIM_PANEL);
                    w[j] = kind == INT8 ? x : quad % 2 == 0 ? q_low(x) : q_high(x);
                }
                UNROLL for (int i = 0; i < rows; i++) {
                    const q16 y = q_set1_from(a + i * t.lda + 4 * quad);
                    UNROLL for (int j = 0; j < vectors; j++) {
                        q16 *s = &sum[quad % chains * count + i * vectors + j];
                        *s = kind == INT8 ? q_dot_int8(*s, w[j], y) : q_dot_int4(*s, w[j], y);
                    }
                }
                if (rows > 3 && quad + 1 < quads) q_before(&a, &b, &sum[count - 1]);
            }
            a += 4 * quads;
            b += 4 * quads * GLIM_PANEL / (kind == INT4 ? 2 : 1);
        }
        UNROLL for (int half = chains / 2; half > 0; half /= 2) {
            UNROLL for (int i = 0; i < half * count; i++) sum[i] = q_add(sum[i], sum[i + half * count]);
        }
        v16 weight_scale[2];
        UNROLL for (int j = 0; j < vectors; j++) weight_scale[j] = v_load(scales + 16 * j);
        UNROLL for (int i = 0; i < rows; i++) {
            const v16 row_scale = v_set1(group->scale[i]);
            UNROLL for (int j = 0; j < vectors; j++) {
                float *c = t.c + i * t.ldc + 16 * j;
                const v16 dot = q_float(sum[i * vectors + j]), scale = v_mul(weight_scale[j], row_scale);
                if (kept) total[i * vectors + j] = v_fma(dot, scale, total[i * vectors + j]);
                else v_store(c, v_fma(dot, scale, v_load(c)));
            }
        }
    }
    UNROLL for (int i = 0; kept && i < count; i++) v_store(t.c + i / vectors * t.ldc + i % vectors * 16, total[i]);
}

// Each tile is a function of its own: many live vectors in one function make the compiler spill.
#define INTEGER_TILE(kind, rows, chains) \
    static void tile_##kind##_##rows(const integer_job *t) { integer_tile(t, kind, rows, INTEGER_VECTORS, chains); }
#if defined(GLIM_AVX512)
#define INTEGER_TILES(kind) \
    INTEGER_TILE(kind, 1, 8) INTEGER_TILE(kind, 2, 4) INTEGER_TILE(kind, 3, 2) INTEGER_TILE(kind, 4, 2) \
    INTEGER_TILE(kind, 5, 1) INTEGER_TILE(kind, 6, 1) INTEGER_TILE(kind, 7, 1) INTEGER_TILE(kind, 8, 1) \
    static integer_tile_function *const tiles_##kind[] = { \
        0, tile_##kind##_1, tile_##kind##_2, tile_##kind##_3, tile_##kind##_4, tile_##kind##_5, tile_##kind##_6, \
        tile_##kind##_7, tile_##kind##_8};
#elif defined(GLIM_AVX2)
#define INTEGER_TILES(kind) \
    INTEGER_TILE(kind, 1, 4) INTEGER_TILE(kind, 2, 2) INTEGER_TILE(kind, 3, 1) INTEGER_TILE(kind, 4, 1) \
    static integer_tile_function *const tiles_##kind[] = { \
        0, tile_##kind##_1, tile_##kind##_2, tile_##kind##_3, tile_##kind##_4};
#else
#define INTEGER_TILES(kind) \
    INTEGER_TILE(kind, 1, 4) INTEGER_TILE(kind, 2, 2) INTEGER_TILE(kind, 3, 2) INTEGER_TILE(kind, 4, 1) \
    INTEGER_TILE(kind, 5, 1) INTEGER_TILE(kind, 6, 1) \
    static integer_tile_function *const tiles_##kind[] = { \
        0, tile_##kind##_1, tile_##kind##_2, tile_##kind##_3, tile_##kind##_4, tile_##kind##_5, tile_##kind##_6};
#endif
INTEGER_TILES(INT8)
INTEGER_TILES(INT4)

// MARK: - Driver

/// Groups of rows as tiles want them: strip by strip, `count` groups each, from group `first` of `groups` on.
static void strip_groups(strip_group *out, const glim_row_group *from, int64_t groups, int64_t first, int64_t count,
                         int64_t rows, int64_t strips, int32_t offset) {
    for (int64_t s = 0; s < strips; s++, out += count) {
        const int64_t height = rows / strips + (s < rows % strips);
        for (int64_t i = 0; i < height; i++, from += groups) {
            for (int64_t g = 0; g < count; g++) {
                out[g].begin[i] = -from[first + g].sum * offset;
                out[g].scale[i] = from[first + g].scale;
            }
        }
    }
}

/// Both products. `kind` is a constant.
INLINE void integer_product(const int kind, float *c, int64_t ldc, int64_t c_panel, const int8_t *a, int64_t lda,
                            const glim_row_group *row_groups, const uint8_t *b, const float *scales, int64_t m,
                            int64_t n, int64_t k, int64_t group, int32_t flags) {
    strip_group strip[INTEGER_STRIP_GROUPS];
    float edge[INTEGER_ROWS_MOST * GLIM_PANEL];
    const int64_t padded = glim_integer_k(k), groups = (k + group - 1) / group;
    const int64_t step = kind == INT8 ? GLIM_PANEL : GLIM_PANEL / 2;  // bytes of a panel for each k
    integer_tile_function *const *const tiles = kind == INT8 ? tiles_INT8 : tiles_INT4;
    if (k <= 0) {
        for (int64_t i = 0; i < m && !(flags & GLIM_ACCUMULATE); i++)
            for (int64_t j = 0; j < n; j++) c[i * ldc + j / GLIM_PANEL * c_panel + j % GLIM_PANEL] = 0;
        return;
    }
    group = least(group, padded);
    integer_job t = {.lda = lda, .group = group};
    for (int64_t row = 0, rows; row < m; row += rows) {
        rows = least(m - row, INTEGER_CHUNK);
        const int64_t strips = rows <= INTEGER_ROWS_MOST ? 1 : (rows + INTEGER_ROWS - 1) / INTEGER_ROWS;
        // Spans and blocks are whole groups. One strip takes a panel as it lies.
        const int streams = strips == 1 && INTEGER_VECTORS > 1;
        const int64_t room = INTEGER_STRIP_GROUPS / strips * group, most = streams ? room : least(room, INTEGER_K_SPAN);
        const int64_t span = most > group ? most / group * group : group;
        const int64_t block = streams ? span : group < INTEGER_K_BLOCK ? INTEGER_K_BLOCK / group * group : group;
        for (int64_t span_first = 0; span_first < padded; span_first += span) {
            const int64_t span_end = least(span_first + span, padded);
            const int64_t span_groups = (span_end - span_first + group - 1) / group;
            strip_groups(strip, row_groups + row * groups, groups, span_first / group, span_groups, rows, strips,
                         kind == INT8 ? INT8_OFFSET : 8);
            for (int64_t j = 0; j < n; j += 16 * INTEGER_VECTORS) {
                const int64_t columns = least(n - j, 16 * INTEGER_VECTORS), in_panel = j % GLIM_PANEL;
                const int whole = columns == 16 * INTEGER_VECTORS;
                for (int64_t first = span_first; first < span_end; first += block) {
                    t.k = least(block, span_end - first);
                    t.add = flags & GLIM_ACCUMULATE || first > 0;
                    t.b = b + ((j - in_panel) * padded / GLIM_PANEL + first) * step + 4 * in_panel;
                    t.scales = scales + (j - in_panel) * groups + first / group * GLIM_PANEL + in_panel;
                    for (int64_t s = 0, i = row, height; s < strips; s++, i += height) {
                        height = rows / strips + (s < rows % strips);
                        float *const out = c + i * ldc + j / GLIM_PANEL * c_panel + in_panel;
                        t.c = whole ? out : edge;
                        t.ldc = whole ? ldc : GLIM_PANEL;
                        t.a = a + i * lda + first;
                        t.groups = strip + s * span_groups + (first - span_first) / group;
                        // The next block comes nearer during the first two strips.
                        t.ahead = t.b + (streams ? INTEGER_AHEAD : t.k * step + (s == 1 ? t.k * step / 2 : 0));
                        t.ahead_step = streams ? 4 * GLIM_PANEL : s < 2 ? 2 * GLIM_PANEL : 0;
                        for (int64_t r = 0; !whole && t.add && r < height; r++)
                            memcpy(edge + r * GLIM_PANEL, out + r * ldc, (size_t)columns * sizeof(float));
                        tiles[height](&t);
                        for (int64_t r = 0; !whole && r < height; r++)
                            memcpy(out + r * ldc, edge + r * GLIM_PANEL, (size_t)columns * sizeof(float));
                    }
                }
            }
        }
    }
}
#endif

static void matmul_int8(float *c, int64_t ldc, int64_t c_panel, const int8_t *a, int64_t lda,
                        const glim_row_group *a_groups, const uint8_t *b, const float *b_scales, int64_t m, int64_t n,
                        int64_t k, int64_t group, int32_t flags) {
    integer_product(INT8, c, ldc, c_panel, a, lda, a_groups, b, b_scales, m, n, k, group, flags);
}

static void matmul_int4(float *c, int64_t ldc, int64_t c_panel, const int8_t *a, int64_t lda,
                        const glim_row_group *a_groups, const uint8_t *b, const float *b_scales, int64_t m, int64_t n,
                        int64_t k, int64_t group, int32_t flags) {
    integer_product(INT4, c, ldc, c_panel, a, lda, a_groups, b, b_scales, m, n, k, group, flags);
}

// MARK: - Layouts

INLINE void pack_integers(const int kind, uint8_t *out, const int8_t *x, int64_t ld, int64_t n, int64_t k) {
    const int64_t bytes = glim_integer_k(k) * GLIM_PANEL / (kind == INT8 ? 1 : 2);
    for (int64_t j0 = 0; j0 < n; j0 += GLIM_PANEL, out += bytes) {
        memset(out, kind == INT8 ? 0x80 : 0x88, (size_t)bytes);
        for (int64_t j = 0; j < least(n - j0, GLIM_PANEL); j++) {
            const int8_t *row = x + (j0 + j) * ld;
            for (int64_t kk = 0; kk < k; kk++) {
                if (kind == INT8) out[(kk / 4 * GLIM_PANEL + j) * 4 + kk % 4] = (uint8_t)(row[kk] + 128);
                else out[(kk / 8 * GLIM_PANEL + j) * 4 + kk % 4] ^= (uint8_t)((row[kk] & 15) << kk % 8 / 4 * 4);
            }
        }
    }
}

static void pack_int8(uint8_t *out, const int8_t *x, int64_t ld, int64_t n, int64_t k) {
    pack_integers(INT8, out, x, ld, n, k);
}

static void pack_int4(uint8_t *out, const int8_t *x, int64_t ld, int64_t n, int64_t k) {
    pack_integers(INT4, out, x, ld, n, k);
}

INLINE void unpack_integers(const int kind, float *out, int64_t ld, const uint8_t *packed, const float *scales,
                            int64_t n, int64_t k, int64_t group) {
    const int64_t bytes = glim_integer_k(k) * GLIM_PANEL / (kind == INT8 ? 1 : 2), groups = (k + group - 1) / group;
    for (int64_t j = 0; j < n; j++) {
        const uint8_t *panel = packed + j / GLIM_PANEL * bytes;
        const float *scale = scales + j / GLIM_PANEL * GLIM_PANEL * groups + j % GLIM_PANEL;
        for (int64_t kk = 0; kk < k; kk++)
            out[j * ld + kk] = (float)packed_weight(kind, panel, j % GLIM_PANEL, kk) * scale[kk / group * GLIM_PANEL];
    }
}

static void unpack_int8(float *out, int64_t ld, const uint8_t *packed, const float *scales, int64_t n, int64_t k,
                        int64_t group) {
    unpack_integers(INT8, out, ld, packed, scales, n, k, group);
}

static void unpack_int4(float *out, int64_t ld, const uint8_t *packed, const float *scales, int64_t n, int64_t k,
                        int64_t group) {
    unpack_integers(INT4, out, ld, packed, scales, n, k, group);
}

/// max|x|, or NaN where one of them is not finite.
INLINE float largest_magnitude(const float *x, int64_t count) {
    v16 largest = v_zero(), bad = v_zero();
    for (int64_t i = 0; i < count; i += 16) {
        const v16 y = v_load_n(x + i, least(count - i, 16));
        largest = v_max(v_max(y, v_sub(v_zero(), y)), largest);
        bad = v_fma(y, v_zero(), bad);  // zero, or NaN where y is not finite
    }
    return v_largest(largest) + v_sum(bad);
}

/// The low bits of x + 1.5 · 2^23 are x rounded to nearest even (see v_exp).
INLINE void store_integers(int8_t *out, v16 x_and_magic, int64_t count) {
    float rounded[16];
    int32_t integers[16];
    v_store(rounded, x_and_magic);
    memcpy(integers, rounded, sizeof rounded);
    for (int64_t j = 0; j < count; j++) out[j] = (int8_t)integers[j];
}

/// One group: scale and sum; `padded` integers.
static glim_row_group quantize_group(int8_t *out, const float *x, int64_t count, int64_t padded) {
    const float scale = largest_magnitude(x, count) / 127;
    if (!(scale >= 0x1p-126f)) {
        memset(out, 0, (size_t)padded);
        return (glim_row_group){scale == scale ? 0 : scale, 0};
    }
    const v16 inverse = v_set1(1 / scale), magic = v_set1(12582912.0f);
    int32_t sum = 0;
    for (int64_t i = 0; i < padded; i += 16) {
        store_integers(
            out + i, v_fma(i < count ? v_load_n(x + i, least(count - i, 16)) : v_zero(), inverse, magic), 16);
        for (int j = 0; j < 16; j++) sum += out[i + j];
    }
    return (glim_row_group){scale, sum};
}

static void quantize_rows(int8_t *out, int64_t ldo, glim_row_group *groups, const float *x, int64_t ldx, int64_t rows,
                          int64_t k, int64_t group) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t first = 0; first < k; first += group)
            *groups++ = quantize_group(out + r * ldo + first, x + r * ldx + first, least(k - first, group),
                                       glim_integer_k(least(k - first, group)));
}

static void restore_rows(float *out, int64_t ldo, const int8_t *x, int64_t ldx, const glim_row_group *groups,
                         int64_t rows, int64_t k, int64_t group) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t first = 0; first < k; first += group) {
            const float scale = (groups++)->scale;
            for (int64_t i = first; i < least(first + group, k); i++) out[r * ldo + i] = (float)x[r * ldx + i] * scale;
        }
}

static void weight_scales(float *scales, const float *x, int64_t ldx, int64_t n, int64_t k, int64_t group,
                          int32_t bits) {
    for (int64_t r = 0; r < n; r++)
        for (int64_t first = 0; first < k; first += group) {
            const float scale = largest_magnitude(x + r * ldx + first, least(k - first, group))
                                / (bits == 8 ? 127.5f : 7.5f);
            *scales++ = scale == 0 ? 0x1p-23f : scale;
        }
}

static void quantize_weights(int8_t *out, int64_t ldo, const float *scales, const float *x, int64_t ldx, int64_t n,
                             int64_t k, int64_t group, int32_t bits) {
    const v16 lowest = v_set1(bits == 8 ? -128 : -8), highest = v_set1(bits == 8 ? 127 : 7);
    for (int64_t r = 0; r < n; r++)
        for (int64_t first = 0; first < k; first += group) {
            const v16 scale = v_set1(*scales++);
            for (int64_t i = first, last = least(first + group, k); i < last; i += 16) {
                const v16 x_scaled = v_div(v_load_n(x + r * ldx + i, least(last - i, 16)), scale);
                const v16 y = v_min(v_max(x_scaled, lowest), highest);
                store_integers(out + r * ldo + i, v_add(y, v_set1(12582912.0f)), least(last - i, 16));
            }
        }
}

#define INTEGER_ENTRIES \
    .matmul_int8 = matmul_int8, .matmul_int4 = matmul_int4, .quantize_rows = quantize_rows, \
    .restore_rows = restore_rows, .weight_scales = weight_scales, .quantize_weights = quantize_weights, \
    .pack_int8 = pack_int8, .pack_int4 = pack_int4, .unpack_int8 = unpack_int8, .unpack_int4 = unpack_int4,
