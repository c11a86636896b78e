// Sixteen virtual lanes of f32: the vocabulary in which every kernel is written once.
//
// Each operation is defined lane by lane, and horizontal sums are one fixed tree, so that all instruction sets give
// the same bits. Multiply-add is always the fused one, and never formed behind our back.
// The including file defines exactly one of GLIM_AVX512, GLIM_AVX2, GLIM_NEON, GLIM_PORTABLE.
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#pragma STDC FP_CONTRACT OFF

#define INLINE static inline __attribute__((always_inline))

#if defined(GLIM_AVX512)
#include <immintrin.h>
typedef __m512 v16;
INLINE v16 v_zero(void) { return _mm512_setzero_ps(); }
INLINE v16 v_set1(float x) { return _mm512_set1_ps(x); }
INLINE v16 v_load(const float *p) { return _mm512_loadu_ps(p); }
INLINE void v_store(float *p, v16 a) { _mm512_storeu_ps(p, a); }
INLINE __mmask16 v_mask(int64_t n) { return n >= 16 ? 0xFFFF : (__mmask16)((1u << n) - 1); }
/// The first n values, zeros behind. n in 0 … 16.
INLINE v16 v_load_n(const float *p, int64_t n) { return _mm512_maskz_loadu_ps(v_mask(n), p); }
INLINE void v_store_n(float *p, v16 a, int64_t n) { _mm512_mask_storeu_ps(p, v_mask(n), a); }
INLINE v16 v_add(v16 a, v16 b) { return _mm512_add_ps(a, b); }
INLINE v16 v_sub(v16 a, v16 b) { return _mm512_sub_ps(a, b); }
INLINE v16 v_mul(v16 a, v16 b) { return _mm512_mul_ps(a, b); }
INLINE v16 v_div(v16 a, v16 b) { return _mm512_div_ps(a, b); }
INLINE v16 v_sqrt(v16 a) { return _mm512_sqrt_ps(a); }
/// a · b + c, rounded once.
INLINE v16 v_fma(v16 a, v16 b, v16 c) { return _mm512_fmadd_ps(a, b, c); }
/// c - a · b, rounded once.
INLINE v16 v_fnma(v16 a, v16 b, v16 c) { return _mm512_fnmadd_ps(a, b, c); }
/// a > b ? a : b (so b where either is NaN).
INLINE v16 v_max(v16 a, v16 b) { return _mm512_max_ps(a, b); }
/// a < b ? a : b
INLINE v16 v_min(v16 a, v16 b) { return _mm512_min_ps(a, b); }
/// a > b ? x : y
INLINE v16 v_select_gt(v16 a, v16 b, v16 x, v16 y) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_GT_OQ), y, x);
}
/// Lanes below n from x, the others from y.
INLINE v16 v_first_n(int64_t n, v16 x, v16 y) { return _mm512_mask_blend_ps(n <= 0 ? 0 : v_mask(n), y, x); }
/// p · 2^(low bits of t), for t = n + 12582912 (see v_exp).
INLINE v16 v_scale2(v16 p, v16 t) {
    return _mm512_castsi512_ps(
        _mm512_add_epi32(_mm512_castps_si512(p), _mm512_slli_epi32(_mm512_castps_si512(t), 23)));
}
/// Lanes 2i and 2i+1 exchanged.
INLINE v16 v_swap_pairs(v16 a) { return _mm512_permute_ps(a, 0xB1); }
/// Eight values, each in lanes 2i and 2i+1.
INLINE v16 v_load_twice(const float *p) {
    const __m512i lanes = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    return _mm512_permutexvar_ps(lanes, _mm512_castps256_ps512(_mm256_loadu_ps(p)));
}

#elif defined(GLIM_AVX2)
#include <immintrin.h>
typedef struct { __m256 v[2]; } v16;
#define V2(expr) ({ v16 _r; for (int _i = 0; _i < 2; _i++) _r.v[_i] = (expr); _r; })
INLINE v16 v_zero(void) { return V2(_mm256_setzero_ps()); }
INLINE v16 v_set1(float x) { return V2(_mm256_set1_ps(x)); }
INLINE v16 v_load(const float *p) { return V2(_mm256_loadu_ps(p + 8 * _i)); }
INLINE void v_store(float *p, v16 a) {
    _mm256_storeu_ps(p, a.v[0]);
    _mm256_storeu_ps(p + 8, a.v[1]);
}
INLINE __m256i v_mask(int64_t n, int half) {
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)(n - 8 * half)), lanes);
}
INLINE v16 v_load_n(const float *p, int64_t n) { return V2(_mm256_maskload_ps(p + 8 * _i, v_mask(n, _i))); }
INLINE void v_store_n(float *p, v16 a, int64_t n) {
    _mm256_maskstore_ps(p, v_mask(n, 0), a.v[0]);
    _mm256_maskstore_ps(p + 8, v_mask(n, 1), a.v[1]);
}
INLINE v16 v_add(v16 a, v16 b) { return V2(_mm256_add_ps(a.v[_i], b.v[_i])); }
INLINE v16 v_sub(v16 a, v16 b) { return V2(_mm256_sub_ps(a.v[_i], b.v[_i])); }
INLINE v16 v_mul(v16 a, v16 b) { return V2(_mm256_mul_ps(a.v[_i], b.v[_i])); }
INLINE v16 v_div(v16 a, v16 b) { return V2(_mm256_div_ps(a.v[_i], b.v[_i])); }
INLINE v16 v_sqrt(v16 a) { return V2(_mm256_sqrt_ps(a.v[_i])); }
INLINE v16 v_fma(v16 a, v16 b, v16 c) { return V2(_mm256_fmadd_ps(a.v[_i], b.v[_i], c.v[_i])); }
INLINE v16 v_fnma(v16 a, v16 b, v16 c) { return V2(_mm256_fnmadd_ps(a.v[_i], b.v[_i], c.v[_i])); }
INLINE v16 v_max(v16 a, v16 b) { return V2(_mm256_max_ps(a.v[_i], b.v[_i])); }
INLINE v16 v_min(v16 a, v16 b) { return V2(_mm256_min_ps(a.v[_i], b.v[_i])); }
INLINE v16 v_select_gt(v16 a, v16 b, v16 x, v16 y) {
    return V2(_mm256_blendv_ps(y.v[_i], x.v[_i], _mm256_cmp_ps(a.v[_i], b.v[_i], _CMP_GT_OQ)));
}
INLINE v16 v_first_n(int64_t n, v16 x, v16 y) {
    return V2(_mm256_blendv_ps(y.v[_i], x.v[_i], _mm256_castsi256_ps(v_mask(n, _i))));
}
INLINE v16 v_scale2(v16 p, v16 t) {
    return V2(_mm256_castsi256_ps(_mm256_add_epi32(
        _mm256_castps_si256(p.v[_i]), _mm256_slli_epi32(_mm256_castps_si256(t.v[_i]), 23))));
}
INLINE v16 v_swap_pairs(v16 a) { return V2(_mm256_permute_ps(a.v[_i], 0xB1)); }
INLINE v16 v_load_twice(const float *p) {
    const __m256i lanes = _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3);
    return V2(_mm256_permutevar8x32_ps(_mm256_castps128_ps256(_mm_loadu_ps(p + 4 * _i)), lanes));
}

#elif defined(GLIM_NEON)
#include <arm_neon.h>
typedef struct { float32x4_t v[4]; } v16;
#define V4(expr) ({ v16 _r; for (int _i = 0; _i < 4; _i++) _r.v[_i] = (expr); _r; })
INLINE v16 v_zero(void) { return V4(vdupq_n_f32(0)); }
INLINE v16 v_set1(float x) { return V4(vdupq_n_f32(x)); }
INLINE v16 v_load(const float *p) { return V4(vld1q_f32(p + 4 * _i)); }
INLINE void v_store(float *p, v16 a) {
    for (int i = 0; i < 4; i++) vst1q_f32(p + 4 * i, a.v[i]);
}
INLINE v16 v_load_n(const float *p, int64_t n) {
    if (n >= 16) return v_load(p);
    float whole[16] = {0};
    for (int64_t i = 0; i < n; i++) whole[i] = p[i];
    return v_load(whole);
}
INLINE void v_store_n(float *p, v16 a, int64_t n) {
    float whole[16];
    v_store(whole, a);
    for (int64_t i = 0; i < n && i < 16; i++) p[i] = whole[i];
}
INLINE v16 v_add(v16 a, v16 b) { return V4(vaddq_f32(a.v[_i], b.v[_i])); }
INLINE v16 v_sub(v16 a, v16 b) { return V4(vsubq_f32(a.v[_i], b.v[_i])); }
INLINE v16 v_mul(v16 a, v16 b) { return V4(vmulq_f32(a.v[_i], b.v[_i])); }
INLINE v16 v_div(v16 a, v16 b) { return V4(vdivq_f32(a.v[_i], b.v[_i])); }
INLINE v16 v_sqrt(v16 a) { return V4(vsqrtq_f32(a.v[_i])); }
INLINE v16 v_fma(v16 a, v16 b, v16 c) { return V4(vfmaq_f32(c.v[_i], a.v[_i], b.v[_i])); }
INLINE v16 v_fnma(v16 a, v16 b, v16 c) { return V4(vfmsq_f32(c.v[_i], a.v[_i], b.v[_i])); }
// Selected by comparison, not vmaxq: that one returns NaN where either is NaN.
INLINE v16 v_max(v16 a, v16 b) { return V4(vbslq_f32(vcgtq_f32(a.v[_i], b.v[_i]), a.v[_i], b.v[_i])); }
INLINE v16 v_min(v16 a, v16 b) { return V4(vbslq_f32(vcltq_f32(a.v[_i], b.v[_i]), a.v[_i], b.v[_i])); }
INLINE v16 v_select_gt(v16 a, v16 b, v16 x, v16 y) {
    return V4(vbslq_f32(vcgtq_f32(a.v[_i], b.v[_i]), x.v[_i], y.v[_i]));
}
INLINE v16 v_first_n(int64_t n, v16 x, v16 y) {
    const int32x4_t lanes = {0, 1, 2, 3};
    return V4(vbslq_f32(vcgtq_s32(vdupq_n_s32((int)(n - 4 * _i)), lanes), x.v[_i], y.v[_i]));
}
INLINE v16 v_scale2(v16 p, v16 t) {
    return V4(vreinterpretq_f32_s32(
        vaddq_s32(vreinterpretq_s32_f32(p.v[_i]), vshlq_n_s32(vreinterpretq_s32_f32(t.v[_i]), 23))));
}
INLINE v16 v_swap_pairs(v16 a) { return V4(vrev64q_f32(a.v[_i])); }
INLINE v16 v_load_twice(const float *p) {
    return V4(vcombine_f32(vdup_n_f32(p[2 * _i]), vdup_n_f32(p[2 * _i + 1])));
}

#elif defined(GLIM_PORTABLE)
typedef struct { float v[16]; } v16;
#define V16(expr) ({ v16 _r; for (int _i = 0; _i < 16; _i++) _r.v[_i] = (expr); _r; })
INLINE v16 v_zero(void) { return V16(0); }
INLINE v16 v_set1(float x) { return V16(x); }
INLINE v16 v_load(const float *p) { return V16(p[_i]); }
INLINE void v_store(float *p, v16 a) {
    for (int i = 0; i < 16; i++) p[i] = a.v[i];
}
INLINE v16 v_load_n(const float *p, int64_t n) { return V16(_i < n ? p[_i] : 0); }
INLINE void v_store_n(float *p, v16 a, int64_t n) {
    for (int64_t i = 0; i < n && i < 16; i++) p[i] = a.v[i];
}
INLINE v16 v_add(v16 a, v16 b) { return V16(a.v[_i] + b.v[_i]); }
INLINE v16 v_sub(v16 a, v16 b) { return V16(a.v[_i] - b.v[_i]); }
INLINE v16 v_mul(v16 a, v16 b) { return V16(a.v[_i] * b.v[_i]); }
INLINE v16 v_div(v16 a, v16 b) { return V16(a.v[_i] / b.v[_i]); }
INLINE v16 v_sqrt(v16 a) { return V16(sqrtf(a.v[_i])); }
INLINE v16 v_fma(v16 a, v16 b, v16 c) { return V16(fmaf(a.v[_i], b.v[_i], c.v[_i])); }
INLINE v16 v_fnma(v16 a, v16 b, v16 c) { return V16(fmaf(-a.v[_i], b.v[_i], c.v[_i])); }
INLINE v16 v_max(v16 a, v16 b) { return V16(a.v[_i] > b.v[_i] ? a.v[_i] : b.v[_i]); }
INLINE v16 v_min(v16 a, v16 b) { return V16(a.v[_i] < b.v[_i] ? a.v[_i] : b.v[_i]); }
INLINE v16 v_select_gt(v16 a, v16 b, v16 x, v16 y) { return V16(a.v[_i] > b.v[_i] ? x.v[_i] : y.v[_i]); }
INLINE v16 v_first_n(int64_t n, v16 x, v16 y) { return V16(_i < n ? x.v[_i] : y.v[_i]); }
INLINE v16 v_scale2(v16 p, v16 t) {
    v16 r;
    for (int i = 0; i < 16; i++) {
        uint32_t a, b;
        memcpy(&a, &p.v[i], 4);
        memcpy(&b, &t.v[i], 4);
        a += b << 23;
        memcpy(&r.v[i], &a, 4);
    }
    return r;
}
INLINE v16 v_swap_pairs(v16 a) { return V16(a.v[_i ^ 1]); }
INLINE v16 v_load_twice(const float *p) { return V16(p[_i / 2]); }
#else
#error "define one of GLIM_AVX512, GLIM_AVX2, GLIM_NEON, GLIM_PORTABLE"
#endif

/// One multiply-add of scalars, rounded once.
INLINE float f_fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }

/// out = a[0] b[0] a[1] b[1] …
INLINE void v_zip(v16 out[2], v16 a, v16 b) {
#if defined(GLIM_AVX512)
    const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    out[0] = _mm512_permutex2var_ps(a, low, b);
    out[1] = _mm512_permutex2var_ps(a, _mm512_add_epi32(low, _mm512_set1_epi32(8)), b);
#else
    float x[16], y[16], z[32];
    v_store(x, a);
    v_store(y, b);
    for (int i = 0; i < 16; i++) {
        z[2 * i] = x[i];
        z[2 * i + 1] = y[i];
    }
    out[0] = v_load(z);
    out[1] = v_load(z + 16);
#endif
}

/// The sum of 16 lanes as one fixed tree: lane i + lane i+8, then +4, +2, +1.
INLINE float v_sum(v16 a) {
#if defined(GLIM_AVX512) || defined(GLIM_AVX2)
#if defined(GLIM_AVX512)
    __m256 e = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
#else
    __m256 e = _mm256_add_ps(a.v[0], a.v[1]);
#endif
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(e), _mm256_extractf128_ps(e, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_shuffle_ps(q, q, 1)));
#else
    float x[16];
    v_store(x, a);
    for (int half = 8; half; half /= 2)
        for (int i = 0; i < half; i++) x[i] = x[i] + x[i + half];
    return x[0];
#endif
}

/// The largest lane (no lane NaN).
INLINE float v_largest(v16 a) {
#if defined(GLIM_AVX512)
    return _mm512_reduce_max_ps(a);
#else
    float x[16];
    v_store(x, a);
    float best = x[0];
    for (int i = 1; i < 16; i++) best = x[i] > best ? x[i] : best;
    return best;
#endif
}

/// e^x: relative error below 2 ulp on [-87, 88], exactly 0 below -87 (also for -infinity), saturating above 88, NaN for NaN.
INLINE v16 v_exp(v16 x) {
    const v16 magic = v_set1(12582912.0f);  // 1.5 · 2^23: adding it rounds to an integer
    v16 y = v_min(v_set1(88.0f), v_max(v_set1(-87.0f), x));  // in this order NaN comes through
    v16 t = v_fma(y, v_set1(1.44269504088896341f), magic);
    v16 n = v_sub(t, magic);
    v16 r = v_fnma(n, v_set1(0.693359375f), y);
    r = v_fnma(n, v_set1(-2.12194440e-4f), r);
    v16 p = v_set1(1.9875691500e-4f);
    p = v_fma(p, r, v_set1(1.3981999507e-3f));
    p = v_fma(p, r, v_set1(8.3334519073e-3f));
    p = v_fma(p, r, v_set1(4.1665795894e-2f));
    p = v_fma(p, r, v_set1(1.6666665459e-1f));
    p = v_fma(p, r, v_set1(5.0000001201e-1f));
    p = v_fma(p, v_mul(r, r), v_add(r, v_set1(1.0f)));
    return v_select_gt(v_set1(-87.0f), x, v_zero(), v_scale2(p, t));
}

/// 1 / (1 + e^-x)
INLINE v16 v_sigmoid(v16 x) { return v_div(v_set1(1.0f), v_add(v_set1(1.0f), v_exp(v_sub(v_zero(), x)))); }
