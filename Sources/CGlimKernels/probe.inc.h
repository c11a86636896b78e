// What this machine can do at most: the roofs that measurements are held against.

// As many chains as hide the latency of a multiply-add, and no more than stay in registers.
#if defined(GLIM_AVX512)
#define PROBE_CHAINS 20
#elif defined(GLIM_AVX2)
#define PROBE_CHAINS 5
#elif defined(GLIM_NEON)
#define PROBE_CHAINS 6
#else
#define PROBE_CHAINS 1
#endif

static float probe_read(const float *x, int64_t count) {
    v16 sums[4] = {v_zero(), v_zero(), v_zero(), v_zero()};
    int64_t i = 0;
    for (; i + 64 <= count; i += 64) {
#pragma clang loop unroll(full)
        for (int j = 0; j < 4; j++) sums[j] = v_add(sums[j], v_load(x + i + 16 * j));
    }
    float sum = v_sum(v_add(v_add(sums[0], sums[1]), v_add(sums[2], sums[3])));
    for (; i < count; i++) sum += x[i];
    return sum;
}

static double probe_fma(float *out, int64_t rounds) {
    v16 chains[PROBE_CHAINS];
    // Different from each other, or the compiler would keep only one.
    for (int j = 0; j < PROBE_CHAINS; j++) chains[j] = v_set1(out[0] + (float)j);
    // Not constants, or the product would be made before; the chain is what is added to, as ARM's instruction wants.
    const v16 a = v_set1(out[0] * 0.75f), b = v_set1(out[0] * 0.5f);
    for (int64_t i = 0; i < rounds; i++) {
#pragma clang loop unroll(full)
        for (int j = 0; j < PROBE_CHAINS; j++) chains[j] = v_fma(a, b, chains[j]);
    }
    v16 sum = chains[0];
    for (int j = 1; j < PROBE_CHAINS; j++) sum = v_add(sum, chains[j]);
    out[0] = v_sum(sum);
    return 2.0 * 16 * PROBE_CHAINS * (double)rounds;
}

static double probe_bf16(float *out, int64_t rounds) {
    v16 chains[PROBE_CHAINS];
    for (int j = 0; j < PROBE_CHAINS; j++) chains[j] = v_set1(out[0] + (float)j);
    // Any bits are two numbers of bf16.
    const v16 a = v_set1(out[0] * 0.75f), b = v_set1(out[0] * 0.5f);
    for (int64_t i = 0; i < rounds; i++) {
#pragma clang loop unroll(full)
        for (int j = 0; j < PROBE_CHAINS; j++) chains[j] = dot_pair(chains[j], a, b);
    }
    v16 sum = chains[0];
    for (int j = 1; j < PROBE_CHAINS; j++) sum = v_add(sum, chains[j]);
    out[0] = v_sum(sum);
    return 4.0 * 16 * PROBE_CHAINS * (double)rounds;
}

#if defined(GLIM_PORTABLE)
static double probe_int8(int32_t *out, int64_t rounds) {
    uint32_t sum = (uint32_t)out[0];
    for (int64_t i = 0; i < rounds; i++) sum += (sum & 127) * 3;
    out[0] = (int32_t)sum;
    return 2.0 * (double)rounds;
}
#else
static double probe_int8(int32_t *out, int64_t rounds) {
    q16 chains[PROBE_CHAINS];
    for (int j = 0; j < PROBE_CHAINS; j++) chains[j] = q_set1(out[0] + j);
    q16 a = q_set1(out[0] & 0x3F3F3F3F);
    const q16 b = q_set1(out[0] & 0x1F1F1F1F);
    for (int64_t i = 0; i < rounds; i++) {
        // Where a dot is a sequence, its product would be made once, before, and only the sum measured.
        __asm__ volatile("" : "+m"(a));
#pragma clang loop unroll(full)
        for (int j = 0; j < PROBE_CHAINS; j++) chains[j] = q_dot_int8(chains[j], a, b);
    }
    q16 sum = chains[0];
    for (int j = 1; j < PROBE_CHAINS; j++) sum = q_add(sum, chains[j]);
    int32_t lanes[16];
    q_store(lanes, sum);
    out[0] = lanes[0];
    return 2.0 * 4 * 16 * PROBE_CHAINS * (double)rounds;
}
#endif

#undef PROBE_CHAINS

#define PROBE_ENTRIES \
    .probe_read = probe_read, .probe_fma = probe_fma, .probe_bf16 = probe_bf16, \
    .probe_int8 = probe_int8,
