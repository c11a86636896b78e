// Copies of A and B that tiles read instead of the originals: in the order of their use, rounded or widened on the way.

/// Copies k values of each of `rows` rows to rows COPY_STEP apart.
static void copy_rows(float *out, const char *a, int64_t a_step, int64_t rows, int64_t k) {
    for (int64_t i = 0; i < rows; i++) memcpy(out + i * COPY_STEP, a + i * a_step, (size_t)k * sizeof(float));
}

/// Copies strips of a transposed A, each to k steps of TILE_ROWS. Strip s begins at row start[s] of `rows`; where a
/// strip is shorter than TILE_ROWS, the rows behind it are copied too if there are any.
static void copy_transposed(float *out, const float *a, int64_t lda, const int64_t *start, int64_t strips, int64_t rows,
                            int64_t k) {
    const int64_t last = start[strips - 1], whole = last + TILE_ROWS <= rows ? strips : strips - 1;
    for (int64_t kk = 0; kk < k; kk++, a += lda, out += TILE_ROWS) {
        for (int64_t i = 0; i < start[strips]; i += 16) __builtin_prefetch(a + 12 * lda + i);
        for (int64_t s = 0; s < whole; s++) {
            float row[TILE_ROWS];
            memcpy(row, a + start[s], sizeof row);
            memcpy(out + s * TILE_ROWS * COPY_STEP, row, sizeof row);
        }
        if (whole < strips)
            for (int64_t i = last; i < rows; i++) out[whole * TILE_ROWS * COPY_STEP + i - last] = a[i];
    }
}

/// Copies k values of each of `rows` rows as pairs, to rows PAIR_STEP apart.
static void round_rows(float *out, const char *a, int64_t a_step, int64_t rows, int64_t k) {
    for (int64_t i = 0; i < rows; i++)
        round_row(out + i * PAIR_STEP, (const float *)(const void *)(a + i * a_step), k);
}

/// Copies strips of a transposed A as copy_transposed does, two steps of k as one step of pairs.
static void round_transposed(float *out, const float *a, int64_t lda, const int64_t *start, int64_t strips,
                             int64_t rows, int64_t k) {
    for (int64_t kk = 0; kk < k; kk += 2, a += 2 * lda, out += TILE_ROWS) {
        const float *odd = kk + 1 < k ? a + lda : NULL;
        for (int64_t i = 0; i < start[strips]; i += 16) {
            __builtin_prefetch(a + 12 * lda + i);
            __builtin_prefetch(a + 13 * lda + i);
        }
        for (int64_t s = 0; s < strips; s++) {
            const int64_t count = least(rows - start[s], TILE_ROWS);
            const v16 high = v_load_n(a + start[s], count);
            v_store_n(out + s * TILE_ROWS * PAIR_STEP, v_pairs(high, odd ? v_load_n(odd + start[s], count) : v_zero()),
                      TILE_ROWS);
        }
    }
}

/// Rounds k steps of at most a panel of B to steps of 32 pairs, zeros behind.
static void round_panel(float *out, const float *b, int64_t ldb, int64_t columns, int64_t k) {
    const int64_t first = least(columns, 16), second = columns - first;
    for (int64_t kk = 0; kk < k; kk += 2, out += GLIM_PANEL, b += 2 * ldb) {
        const float *odd = b + ldb;
        const int more = kk + 1 < k;
        v_store(out, v_pairs(v_load_n(b, first), more ? v_load_n(odd, first) : v_zero()));
        v_store(out + 16, second ? v_pairs(v_load_n(b + 16, second), more ? v_load_n(odd + 16, second) : v_zero())
                                 : v_zero());
    }
}

/// Copies k steps of a part of a panel of B to steps of 32, zeros behind.
static void copy_panel(float *out, const float *b, int64_t ldb, int64_t columns, int64_t k) {
    const int64_t first = least(columns, 16), second = columns - first;
    for (int64_t kk = 0; kk < k; kk++, out += GLIM_PANEL, b += ldb) {
        v_store(out, v_load_n(b, first));
        v_store(out + 16, second ? v_load_n(b + 16, second) : v_zero());
    }
}

/// Widens k steps of at most a panel of pairs to steps of 32, zeros behind.
static void widen_panel(float *out, const float *b, int64_t columns, int64_t k) {
    const int64_t first = least(columns, 16), second = columns - first;
    for (int64_t kk = 0; kk < k; kk += 2, out += 2 * GLIM_PANEL, b += GLIM_PANEL) {
        const v16 x = columns >= 32 ? v_load(b) : v_load_n(b, first);
        const v16 y = columns >= 32 ? v_load(b + 16) : second ? v_load_n(b + 16, second) : v_zero();
        v_store(out, pair_even(x));
        v_store(out + 16, pair_even(y));
        if (kk + 1 < k) {
            v_store(out + GLIM_PANEL, pair_odd(x));
            v_store(out + GLIM_PANEL + 16, pair_odd(y));
        }
    }
}
