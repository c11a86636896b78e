// Layouts of weights: packing into panels and back, turning, rounding, and single rows of them.

/// Square blocks of this side keep whole cache lines in use while layouts change.
#define SIDE 16

static void pack_f32(float *out, const float *x, int64_t ld, int64_t n, int64_t k) {
    for (int64_t j0 = 0; j0 < n; j0 += GLIM_PANEL, out += GLIM_PANEL * k) {
        const int64_t columns = least(n - j0, GLIM_PANEL);
        if (columns < GLIM_PANEL) memset(out, 0, (size_t)(GLIM_PANEL * k) * sizeof(float));
        for (int64_t k0 = 0; k0 < k; k0 += SIDE) {
            const int64_t steps = least(k - k0, SIDE);
            for (int64_t j = 0; j < columns; j++)
                for (int64_t kk = k0; kk < k0 + steps; kk++) out[kk * GLIM_PANEL + j] = x[(j0 + j) * ld + kk];
        }
    }
}

static void unpack_f32(float *out, int64_t ld, const float *packed, int64_t n, int64_t k) {
    for (int64_t j0 = 0; j0 < n; j0 += GLIM_PANEL, packed += GLIM_PANEL * k) {
        const int64_t columns = least(n - j0, GLIM_PANEL);
        for (int64_t k0 = 0; k0 < k; k0 += SIDE) {
            const int64_t steps = least(k - k0, SIDE);
            for (int64_t j = 0; j < columns; j++)
                for (int64_t kk = k0; kk < k0 + steps; kk++) out[(j0 + j) * ld + kk] = packed[kk * GLIM_PANEL + j];
        }
    }
}

static void transpose_panels_f32(float *out, const float *packed, int64_t n, int64_t k, int64_t first, int64_t last) {
    for (int64_t k0 = first * GLIM_PANEL; k0 < least(k, last * GLIM_PANEL); k0 += GLIM_PANEL, out += GLIM_PANEL * n) {
        const int64_t steps = least(k - k0, GLIM_PANEL);
        for (int64_t j0 = 0; j0 < n; j0 += GLIM_PANEL) {
            const float *from = packed + j0 * k + k0 * GLIM_PANEL;
            float *to = out + j0 * GLIM_PANEL;
            const int64_t columns = least(n - j0, GLIM_PANEL);
            for (int64_t j = 0; j < columns; j++) {
                for (int64_t kk = 0; kk < steps; kk++) to[j * GLIM_PANEL + kk] = from[kk * GLIM_PANEL + j];
                for (int64_t kk = steps; kk < GLIM_PANEL; kk++) to[j * GLIM_PANEL + kk] = 0;
            }
        }
    }
}

static void pack_bf16(uint16_t *out, const float *x, int64_t ld, int64_t n, int64_t k) {
    const int64_t pairs = (k + 1) / 2;
    for (int64_t j0 = 0; j0 < n; j0 += GLIM_PANEL, out += 2 * GLIM_PANEL * pairs) {
        const int64_t columns = least(n - j0, GLIM_PANEL);
        if (columns < GLIM_PANEL) memset(out, 0, (size_t)(2 * GLIM_PANEL * pairs) * sizeof(uint16_t));
        for (int64_t p0 = 0; p0 < pairs; p0 += SIDE / 2) {
            const int64_t last = least(pairs, p0 + SIDE / 2);
            for (int64_t j = 0; j < columns; j++) {
                const float *row = x + (j0 + j) * ld;
                for (int64_t p = p0; p < last; p++) {
                    out[p * 2 * GLIM_PANEL + 2 * j] = 2 * p + 1 < k ? bf16_from(row[2 * p + 1]) : 0;
                    out[p * 2 * GLIM_PANEL + 2 * j + 1] = bf16_from(row[2 * p]);
                }
            }
        }
    }
}

static void unpack_bf16(float *out, int64_t ld, const uint16_t *packed, int64_t n, int64_t k) {
    for (int64_t j0 = 0; j0 < n; j0 += GLIM_PANEL, packed += 2 * GLIM_PANEL * ((k + 1) / 2)) {
        const int64_t columns = least(n - j0, GLIM_PANEL);
        for (int64_t k0 = 0; k0 < k; k0 += SIDE) {
            const int64_t last = least(k, k0 + SIDE);
            for (int64_t j = 0; j < columns; j++)
                for (int64_t kk = k0; kk < last; kk++)
                    out[(j0 + j) * ld + kk] = bf16_widened(packed[kk / 2 * 2 * GLIM_PANEL + 2 * j + 1 - kk % 2]);
        }
    }
}

/// Panels [k][32] of one matrix after another: k may be odd, so each panel for itself.
static void round_panels(uint16_t *out, const float *packed, int64_t panels, int64_t k) {
    for (; panels > 0; panels--, packed += GLIM_PANEL * k, out += 2 * GLIM_PANEL * ((k + 1) / 2)) {
        for (int64_t kk = 0; kk < k; kk += 2) {
            const float *even = packed + kk * GLIM_PANEL;
            for (int64_t j = 0; j < GLIM_PANEL; j += 16) {
                const v16 odd = kk + 1 < k ? v_load(even + GLIM_PANEL + j) : v_zero();
                const v16 pairs = v_pairs(v_load(even + j), odd);
                memcpy(out + kk * GLIM_PANEL + 2 * j, &pairs, sizeof pairs);
            }
        }
    }
}

static void gather_rows_f32(float *out, int64_t ldo, const float *packed, const int32_t *rows, int64_t count,
                            int64_t k) {
    for (int64_t i = 0; i < count; i++) {
        const float *from = packed + rows[i] / GLIM_PANEL * GLIM_PANEL * k + rows[i] % GLIM_PANEL;
        for (int64_t kk = 0; kk < k; kk++) out[i * ldo + kk] = from[kk * GLIM_PANEL];
    }
}

static void gather_rows_bf16(float *out, int64_t ldo, const uint16_t *packed, const int32_t *rows, int64_t count,
                             int64_t k) {
    for (int64_t i = 0; i < count; i++) {
        const uint16_t *from =
            packed + rows[i] / GLIM_PANEL * (2 * GLIM_PANEL * ((k + 1) / 2)) + rows[i] % GLIM_PANEL * 2;
        for (int64_t kk = 0; kk < k; kk++)
            out[i * ldo + kk] = bf16_widened(from[kk / 2 * 2 * GLIM_PANEL + 1 - kk % 2]);
    }
}

static void scatter_rows_f32(float *packed, const float *x, int64_t ldx, const int32_t *rows, int64_t count, int64_t k,
                             int64_t first, int64_t last) {
    for (int64_t i = 0; i < count; i++) {
        float *to = packed + rows[i] / GLIM_PANEL * GLIM_PANEL * k + rows[i] % GLIM_PANEL;
        for (int64_t kk = first; kk < last; kk++) to[kk * GLIM_PANEL] += x[i * ldx + kk];
    }
}

#define PANELS_ENTRIES                                                                                     \
    .pack_f32 = pack_f32, .unpack_f32 = unpack_f32, .transpose_panels_f32 = transpose_panels_f32,          \
    .pack_bf16 = pack_bf16, .unpack_bf16 = unpack_bf16, .round_panels = round_panels,                      \
    .gather_rows_f32 = gather_rows_f32, .gather_rows_bf16 = gather_rows_bf16, .scatter_rows_f32 = scatter_rows_f32,
