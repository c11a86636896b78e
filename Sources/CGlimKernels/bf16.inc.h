// bf16 in lanes: rounding, pairs of neighbouring k, and the dot of a pair as the processor's instruction has it.

/// Round to nearest even; a NaN stays one.
INLINE uint16_t bf16_from(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    if ((u & 0x7FFFFFFF) > 0x7F800000) return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7FFF + (u >> 16 & 1)) >> 16);
}

/// The same for a dot, as the processor's instruction rounds: a denormal number is a zero of its sign, also the largest
/// ones, which would be rounded up to a normal number.
INLINE uint16_t bf16_for_dot(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return (u & 0x7FFFFFFF) < 0x00800000 ? (uint16_t)(u >> 16 & 0x8000) : bf16_from(x);
}

INLINE float bf16_widened(uint16_t x) {
    const uint32_t u = (uint32_t)x << 16;
    float y;
    memcpy(&y, &u, sizeof y);
    return y;
}

/// Sixteen pairs, odd k in the low halves: their values of even k, widened.
INLINE v16 pair_even(v16 x) {
#if defined(GLIM_AVX512)
    return _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32((int)0xFFFF0000)));
#elif defined(GLIM_AVX2)
    return V2(_mm256_castsi256_ps(
        _mm256_and_si256(_mm256_castps_si256(x.v[_i]), _mm256_set1_epi32((int)0xFFFF0000))));
#elif defined(GLIM_NEON)
    return V4(vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(x.v[_i]), vdupq_n_u32(0xFFFF0000))));
#else
    uint32_t u[16];
    memcpy(u, &x, sizeof u);
    for (int i = 0; i < 16; i++) u[i] &= 0xFFFF0000;
    memcpy(&x, u, sizeof u);
    return x;
#endif
}

/// The values of odd k.
INLINE v16 pair_odd(v16 x) {
#if defined(GLIM_AVX512)
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(x), 16));
#elif defined(GLIM_AVX2)
    return V2(_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(x.v[_i]), 16)));
#elif defined(GLIM_NEON)
    return V4(vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_f32(x.v[_i]), 16)));
#else
    uint32_t u[16];
    memcpy(u, &x, sizeof u);
    for (int i = 0; i < 16; i++) u[i] <<= 16;
    memcpy(&x, u, sizeof u);
    return x;
#endif
}

#if !defined(GLIM_AVX512BF16)
/// x, or a zero of its sign where |tested| < limit.
INLINE v16 flushed(v16 x, v16 tested, float limit) {
    const v16 size = v_max(tested, v_sub(v_zero(), tested));
    return v_select_gt(v_set1(limit), size, v_mul(x, v_zero()), x);
}

/// a · b + sum as the bf16 dot instruction has it: no denormals in or out. It judges what is denormal after rounding
/// as if exponents had no end, hence the same sum once more, 2^32 larger.
INLINE v16 fma_flushed(v16 a, v16 b, v16 sum) {
    a = flushed(a, a, 0x1p-126f);
    b = flushed(b, b, 0x1p-126f);
    const v16 larger = v_set1(0x1p32f);
    return flushed(v_fma(a, b, sum), v_fma(v_mul(a, larger), b, v_mul(sum, larger)), 0x1p-94f);
}
#endif

/// The chain over one pair of k: even k, then odd k.
INLINE v16 dot_pair(v16 sum, v16 a, v16 b) {
#if defined(GLIM_AVX512BF16)
    return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
#else
    return fma_flushed(pair_odd(a), pair_odd(b), fma_flushed(pair_even(a), pair_even(b), sum));
#endif
}

/// bf16_for_dot of sixteen numbers, in the upper halves.
INLINE v16 v_rounded(v16 x) {
#if defined(GLIM_AVX512BF16)
    const __m512i u = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(x));
    return _mm512_castsi512_ps(_mm512_slli_epi32(u, 16));
#else
    uint32_t u[16];
    memcpy(u, &x, sizeof u);
    for (int i = 0; i < 16; i++) {
        const uint32_t nearest = (u[i] + 0x7FFF + (u[i] >> 16 & 1)) & 0xFFFF0000;
        const uint32_t size = u[i] & 0x7FFFFFFF, sign = u[i] & 0x80000000;
        u[i] = size > 0x7F800000 ? (u[i] | 0x400000) & 0xFFFF0000 : size < 0x00800000 ? sign : nearest;
    }
    memcpy(&x, u, sizeof u);
    return x;
#endif
}

/// Sixteen pairs of rounded numbers: `odd` in the low halves, as in memory.
INLINE v16 v_pairs(v16 even, v16 odd) {
#if defined(GLIM_AVX512BF16)
    const __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(odd));
    const __m512i high = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(even));
    return _mm512_castsi512_ps(_mm512_or_si512(_mm512_slli_epi32(high, 16), low));
#else
    uint32_t low[16], high[16];
    even = v_rounded(even), odd = v_rounded(odd);
    memcpy(low, &odd, sizeof low);
    memcpy(high, &even, sizeof high);
    for (int i = 0; i < 16; i++) high[i] |= low[i] >> 16;
    memcpy(&even, high, sizeof high);
    return even;
#endif
}

/// k numbers of a row as pairs, the last one filled up with a zero.
INLINE void round_row(float *out, const float *x, int64_t k) {
    int64_t i = 0;
#if defined(GLIM_AVX512BF16)
    for (; i < k; i += 32) {
        const v16 low = v_load_n(x + i, k - i), high = k - i > 16 ? v_load_n(x + i + 16, k - i - 16) : v_zero();
        const __m512i pairs = (__m512i)_mm512_cvtne2ps_pbh(high, low);
        v_store_n(out + i / 2, _mm512_castsi512_ps(_mm512_rol_epi32(pairs, 16)), (k - i + 1) / 2);
    }
#else
    for (; i < k; i += 2) {
        const uint32_t pair = (uint32_t)bf16_for_dot(x[i]) << 16 | (i + 1 < k ? bf16_for_dot(x[i + 1]) : 0);
        memcpy(out + i / 2, &pair, sizeof pair);
    }
#endif
}

/// One number, or one pair as it lies in memory, in all lanes.
INLINE v16 v_set1_from(const void *p) {
    float x;
    memcpy(&x, p, sizeof x);
    return v_set1(x);
}
