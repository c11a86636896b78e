// Choosing: experts for a token, positions for a query.

// ---- Routing

/// Experts that one call can route between.
#define ROUTE_EXPERTS 4096

/// Puts -infinity in every group but the `kept` ones whose two largest choices have the largest sums.
static void route_groups(float *choice, int64_t experts, int64_t groups, int64_t kept) {
    const int64_t size = experts / groups;
    float scores[ROUTE_EXPERTS];
    for (int64_t g = 0; g < groups; g++) {
        float first = -INFINITY, second = -INFINITY;
        for (int64_t e = g * size; e < (g + 1) * size; e++) {
            const float c = choice[e];
            second = c > first ? first : c > second ? c : second;
            first = c > first ? c : first;
        }
        scores[g] = size == 1 ? first : first + second;
    }
    for (int64_t g = 0; g < groups; g++) {
        int64_t better = 0;
        for (int64_t h = 0; h < groups; h++) better += scores[h] > scores[g] || (scores[h] == scores[g] && h < g);
        for (int64_t e = g * size; better >= kept && e < (g + 1) * size; e++) choice[e] = -INFINITY;
    }
}

static void route(int32_t *ids, float *weights, float *probabilities, const float *logits, const float *bias,
                  int64_t rows, int64_t experts, int64_t chosen, int64_t groups, int64_t groups_kept, float scale,
                  int32_t normalise) {
    float choice[ROUTE_EXPERTS];
    for (int64_t r = 0; r < rows; r++) {
        const float *z = logits + r * experts;
        float *p = probabilities + r * experts, *weight = weights + r * chosen;
        int32_t *id = ids + r * chosen;
        FOR_16(experts, {
            const v16 probability = v_sigmoid(v_load_n(z + i, n));
            v_store_n(p + i, probability, n);
            // the larger of it and -infinity: NaN is never chosen before a number
            v_store_n(choice + i, v_max(v_add(probability, v_load_n(bias + i, n)), v_set1(-INFINITY)), n);
        });
        if (groups > 1) route_groups(choice, experts, groups, groups_kept);

        // The best so far, best first; a later expert passes only those that it truly exceeds.
        int64_t count = 0;
        for (int64_t e = 0; e < experts; e++) {
            if (count == chosen && !(choice[e] > choice[id[chosen - 1]])) continue;
            int64_t at = count < chosen ? count++ : chosen - 1;
            for (; at > 0 && choice[e] > choice[id[at - 1]]; at--) id[at] = id[at - 1];
            id[at] = (int32_t)e;
        }
        for (int64_t i = 1; i < chosen; i++) {
            const int32_t e = id[i];
            int64_t at = i;
            for (; at > 0 && id[at - 1] > e; at--) id[at] = id[at - 1];
            id[at] = e;
        }

        float sum = 0;
        for (int64_t i = 0; i < chosen; i++) sum += p[id[i]];
        for (int64_t i = 0; i < chosen; i++)
            weight[i] = normalise ? p[id[i]] / (sum + 1e-20f) * scale : p[id[i]] * scale;
    }
}

static void route_backward(float *dlogits, const float *dweights, const float *dprobabilities,
                           const float *probabilities, const int32_t *ids, int64_t rows, int64_t experts,
                           int64_t chosen, float scale, int32_t normalise) {
    for (int64_t r = 0; r < rows; r++) {
        const float *p = probabilities + r * experts, *dw = dweights + r * chosen;
        const int32_t *id = ids + r * chosen;
        float *dz = dlogits + r * experts;
        if (dprobabilities)
            memmove(dz, dprobabilities + r * experts, (size_t)experts * sizeof(float));
        else
            memset(dz, 0, (size_t)experts * sizeof(float));

        // w = scale · p / S, S = Σ p: dp = scale / S · (dw - Σ dw·p / S)
        float factor = scale, mean = 0;
        if (normalise) {
            float sum = 0, products = 0;
            for (int64_t i = 0; i < chosen; i++) {
                sum += p[id[i]];
                products += dw[i] * p[id[i]];
            }
            factor = scale / (sum + 1e-20f);
            mean = products / (sum + 1e-20f);
        }
        for (int64_t i = 0; i < chosen; i++) dz[id[i]] += factor * (dw[i] - mean);
        FOR_16(experts, {
            const v16 a = v_load_n(p + i, n);
            v_store_n(dz + i, v_mul(v_load_n(dz + i, n), v_mul(a, v_sub(v_set1(1.0f), a))), n);
        });
    }
}

// ---- The largest scores
//
// Floats in order are integers in order, so the k-th largest is found by bisection on integers: how many scores reach
// the middle? A sample says where to look first, and once few candidates are left they are copied out. Neither
// changes the answer.

/// Candidates that are copied out.
#define SELECT_CANDIDATES 4096
#define SELECT_SAMPLE 1024

/// The keys of -infinity and of one past +infinity, which is a NaN: nothing reaches it.
#define SELECT_LOWEST ((int32_t)0x807FFFFF)
#define SELECT_BEYOND ((int32_t)0x7F800001)

/// The float with this place in the order of all floats (-0 just below +0).
INLINE float select_value(int32_t key) {
    const int32_t bits = key < 0 ? key ^ 0x7FFFFFFF : key;
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

/// Which of sixteen scores reach t, one bit each.
INLINE uint32_t select_mask(const float *x, float t) {
#if defined(GLIM_AVX512)
    return _mm512_cmp_ps_mask(_mm512_loadu_ps(x), _mm512_set1_ps(t), _CMP_GE_OQ);
#elif defined(GLIM_AVX2)
    const __m256 low = _mm256_cmp_ps(_mm256_loadu_ps(x), _mm256_set1_ps(t), _CMP_GE_OQ);
    const __m256 high = _mm256_cmp_ps(_mm256_loadu_ps(x + 8), _mm256_set1_ps(t), _CMP_GE_OQ);
    return (uint32_t)_mm256_movemask_ps(low) | (uint32_t)_mm256_movemask_ps(high) << 8;
#else
    uint32_t mask = 0;
    for (int i = 0; i < 16; i++) mask |= (uint32_t)(x[i] >= t) << i;
    return mask;
#endif
}

/// How many scores reach t.
static int64_t select_count(const float *x, int64_t n, float t) {
    int64_t count = 0, i = 0;
#if defined(GLIM_AVX512)
    for (; i + 64 <= n; i += 64) {
        const uint64_t low = select_mask(x + i, t) | select_mask(x + i + 16, t) << 16;
        const uint64_t high = select_mask(x + i + 32, t) | select_mask(x + i + 48, t) << 16;
        count += __builtin_popcountll(low | high << 32);
    }
#endif
    while (i < n) {  // 32-bit counters, in pieces that cannot overflow
        const int64_t end = n - i < 1 << 30 ? n : i + (1 << 30);
        int32_t here = 0;
        for (; i < end; i++) here += x[i] >= t;
        count += here;
    }
    return count;
}

/// Keys low < high with at least k scores that reach low (exactly so many), and fewer than k that reach high.
typedef struct {
    int32_t low, high;
    int64_t reach_low, reach_high;
} select_bracket;

/// Narrows the bracket by one key strictly inside of it.
INLINE void select_try(select_bracket *b, const float *x, int64_t n, int64_t k, int32_t key) {
    const int64_t reach = select_count(x, n, select_value(key));
    if (reach >= k) {
        b->low = key;
        b->reach_low = reach;
    } else {
        b->high = key;
        b->reach_high = reach;
    }
}

/// Bisects until the bracket says which scores are the k largest, or holds no more than `enough` scores.
static void select_narrow(select_bracket *b, const float *x, int64_t n, int64_t k, int64_t enough) {
    while (b->reach_low != k && (int64_t)b->high - b->low > 1 && b->reach_low - b->reach_high > enough)
        select_try(b, x, n, k, (int32_t)(((int64_t)b->low + b->high) >> 1));
}

/// Tries the two keys between which a sample expects the k-th largest.
static void select_guess(select_bracket *b, const float *x, int64_t n, int64_t k) {
    float sample[SELECT_SAMPLE];
    for (int64_t i = 0; i < SELECT_SAMPLE; i++) sample[i] = x[i * n / SELECT_SAMPLE];
    const double rank = (double)k / (double)n * SELECT_SAMPLE, margin = 3 * sqrt(rank) + 2;
    const int64_t ranks[2] = {(int64_t)(rank + margin), (int64_t)(rank - margin)};
    const int64_t numbers = select_count(sample, SELECT_SAMPLE, -INFINITY);
    for (int i = 0; i < 2; i++) {
        if (ranks[i] < 1 || ranks[i] > numbers) continue;
        select_bracket s = {SELECT_LOWEST, SELECT_BEYOND, numbers, 0};
        select_narrow(&s, sample, SELECT_SAMPLE, ranks[i], 0);
        // Where the sample cannot tell two ranks apart, many scores are equal: does the next key end them?
        const int32_t key = s.low > b->low ? s.low : b->low + 1;
        if (key < b->high) select_try(b, x, n, k, key);
    }
}

/// Copies the scores that reach low but not high: at most SELECT_CANDIDATES, into room for 16 more.
static int64_t select_copy(float *out, const float *x, int64_t n, float low, float high) {
    int64_t count = 0, i = 0;
#if defined(GLIM_AVX512)
    for (; i + 16 <= n; i += 16) {
        const __m512 a = _mm512_loadu_ps(x + i);
        const __mmask16 in = _mm512_cmp_ps_mask(a, _mm512_set1_ps(low), _CMP_GE_OQ) &
                             _mm512_cmp_ps_mask(a, _mm512_set1_ps(high), _CMP_NGE_UQ);
        _mm512_storeu_ps(out + count, _mm512_maskz_compress_ps(in, a));
        count += __builtin_popcount(in);
    }
#else
    for (; i + 16 <= n; i += 16)
        for (uint32_t in = select_mask(x + i, low); in; in &= in - 1) {
            const float a = x[i + __builtin_ctz(in)];
            out[count] = a;
            count += !(a >= high);
        }
#endif
    for (; i < n; i++) {
        out[count] = x[i];
        count += (x[i] >= low) & !(x[i] >= high);
    }
    return count;
}

/// Writes the positions of the scores above t, and of the first `ties` that equal it, until there are k.
static void select_write(int32_t *out, int64_t k, const float *x, int64_t n, float t, int64_t ties) {
    int64_t count = 0, i = 0;
#if defined(GLIM_AVX512)
    const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    for (; i + 16 <= n; i += 16) {
        const __m512 a = _mm512_loadu_ps(x + i);
        uint32_t in = _mm512_cmp_ps_mask(a, _mm512_set1_ps(t), _CMP_GE_OQ);
        if (in == 0) continue;
        const uint32_t equal = _mm512_cmp_ps_mask(a, _mm512_set1_ps(t), _CMP_EQ_OQ);
        if (equal) {
            const int64_t found = __builtin_popcount(equal);
            if (found > ties) in = (in & ~equal) | _pdep_u32((1u << ties) - 1, equal);
            ties -= found < ties ? found : ties;
        }
        const int64_t found = __builtin_popcount(in);
        const __m512i at = _mm512_add_epi32(lanes, _mm512_set1_epi32((int32_t)i));
        _mm512_mask_storeu_epi32(out + count, v_mask(found), _mm512_maskz_compress_epi32((__mmask16)in, at));
        count += found;
    }
#else
    for (; i + 16 <= n; i += 16)
        for (uint32_t in = select_mask(x + i, t); in; in &= in - 1) {
            const int64_t at = i + __builtin_ctz(in);
            if (x[at] == t && ties-- <= 0) continue;
            out[count++] = (int32_t)at;
        }
#endif
    for (; i < n && count < k; i++) {
        const int equal = (x[i] == t) & (ties > 0);
        out[count] = (int32_t)i;
        count += (x[i] > t) | equal;
        ties -= equal;
    }
}

static int64_t top_k(int32_t *out, const float *scores, int64_t count, int64_t k) {
    if (k >= count) {
        for (int64_t i = 0; i < count; i++) out[i] = (int32_t)i;
        return count;
    }
    if (k <= 0) return 0;
    const int64_t numbers = select_count(scores, count, -INFINITY);
    if (numbers < k) {  // all numbers, and the first of the rest
        int64_t written = 0, others = k - numbers;
        for (int64_t i = 0; written < k; i++) {
            const int other = scores[i] != scores[i];
            out[written] = (int32_t)i;
            written += !other | (others > 0);
            others -= other & (others > 0);
        }
        return k;
    }
    select_bracket b = {SELECT_LOWEST, SELECT_BEYOND, numbers, 0};
    if (count > SELECT_CANDIDATES) select_guess(&b, scores, count, k);
    select_narrow(&b, scores, count, k, SELECT_CANDIDATES);
    if (b.reach_low != k && b.high - (int64_t)b.low > 1) {
        float candidates[SELECT_CANDIDATES + 16];
        const int64_t above = b.reach_high;
        const int64_t found =
            select_copy(candidates, scores, count, select_value(b.low), select_value(b.high));
        b.reach_low -= above;
        b.reach_high = 0;
        select_narrow(&b, candidates, found, k - above, 0);
        b.reach_low += above;
        b.reach_high += above;
    }
    // Where exactly k reach low, none is left out; else all inside the bracket equal low.
    select_write(out, k, scores, count, select_value(b.low), b.reach_low == k ? k : k - b.reach_high);
    return k;
}

#define SELECT_ENTRIES                  \
    .route = route,                     \
    .route_backward = route_backward,   \
    .top_k = top_k,
