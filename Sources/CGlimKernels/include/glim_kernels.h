// Every numeric inner loop of the project, and nothing else.
//
// Rules: no allocation, no globals, no threads, no printing, no errors. Sizes and strides are in elements.
// The caller has checked every length, so a kernel cannot fail. Pointers need no alignment.
//
// Numerics: every function is one fixed sequence of IEEE operations per output, written against 16 virtual
// lanes (vec.h), so every instruction set gives the same bits. No output depends on how many rows the call has.
//
// Also for GCC, and for C++: a library for another chip may be made with either.
#pragma once
#include <stdint.h>
#if defined(__clang__)
#pragma clang assume_nonnull begin
#else
#define _Nonnull
#define _Nullable
#endif
#if defined(__cplusplus)
extern "C" {
#endif

/// Of this header. It counts up with every change of the table or of what a kernel computes, so that a library made
/// with another one is refused (glim_kernel_library).
#define GLIM_KERNELS_VERSION 1

/// Columns of a weight panel.
#define GLIM_PANEL 32
/// Products sum k in blocks of this many: a block is one ascending chain of fused multiply-adds from zero, and
/// blocks are added in ascending order.
#define GLIM_K_BLOCK 256
/// Positions of a cache page, and keys of an attention block.
#define GLIM_PAGE 64
/// Query rows of an attention block; gradients of keys are sums over such blocks.
#define GLIM_ATTENTION_ROWS 96
/// Columns of a block of the log-sum-exp over the vocabulary.
#define GLIM_VOCABULARY_BLOCK 1024

/// matmul flags.
#define GLIM_ACCUMULATE 1    ///< C += A·B instead of C = A·B
#define GLIM_A_TRANSPOSED 2  ///< element (row, k) of A is a[k * lda + row] instead of a[row * lda + k]

/// One group of a quantised row.
typedef struct {
    float scale;  ///< what its integers are multiplied by
    int32_t sum;  ///< of its integers: packed weights are unsigned, and this times their offset makes up for it
} glim_row_group;

/// One implementation of every kernel, for one instruction set.
typedef struct glim_kernels {
    /// "avx512bf16", "avx512", "avx2", "neondot", "neon", "portable", or another's, of letters, digits, '-' and '_'. One
    /// that ends in "bf16" says that its matmul_bf16 multiplies pairs by an instruction.
    const char *name;

    // ---- Products (gemm.inc.h)

    /// C[i, j] (+)= sum_k A[i, k] · B[k, j].
    /// B is panels of 32 columns: element (k, j) is b[(j / 32) * b_panel + k * ldb + j % 32]; C likewise with
    /// c_panel and ldc. So packed weights have ldb = 32, b_panel = 32·k; a row-major matrix has b_panel = 32.
    /// Reads and writes nothing beyond column n - 1.
    void (*matmul_f32)(float *c, int64_t ldc, int64_t c_panel, const float *a, int64_t lda, const float *b,
                       int64_t ldb, int64_t b_panel, int64_t m, int64_t n, int64_t k, int32_t flags);
    /// The same with B packed by pack_bf16 (b_panel = 32·2·ceil(k/2)), widened exactly: equals matmul_f32 on the
    /// widened weights to the bit. Never A transposed.
    void (*matmul_f32_bf16)(float *c, int64_t ldc, int64_t c_panel, const float *a, int64_t lda,
                            const uint16_t *b, int64_t b_panel, int64_t m, int64_t n, int64_t k, int32_t flags);
    /// The same with A rounded to bf16 too (to nearest even, denormals to zero), f32 accumulation: a chain of ascending k
    /// with denormal inputs and results of each step flushed to zero, as the bf16 dot instruction has it. A step of k
    /// that a pair lacks is a zero in both.
    void (*matmul_bf16)(float *c, int64_t ldc, int64_t c_panel, const float *a, int64_t lda, const uint16_t *b,
                        int64_t b_panel, int64_t m, int64_t n, int64_t k, int32_t flags);
    /// matmul_f32 with A transposed, both operands rounded to bf16 and summed as in matmul_bf16: the gradient of a
    /// weight, k running over tokens.
    void (*matmul_bf16_rows)(float *c, int64_t ldc, int64_t c_panel, const float *a, int64_t lda, const float *b,
                             int64_t ldb, int64_t b_panel, int64_t m, int64_t n, int64_t k, int32_t flags);

    // ---- Layouts of weights (panels.inc.h)

    /// Row-major [n, k] (row stride ld) to panels [ceil(n/32)][k][32], columns past n zero.
    void (*pack_f32)(float *out, const float *x, int64_t ld, int64_t n, int64_t k);
    /// The inverse.
    void (*unpack_f32)(float *out, int64_t ld, const float *packed, int64_t n, int64_t k);
    /// Panels of W [n, k] to panels first ..< last of its transpose, each [n][32].
    void (*transpose_panels_f32)(float *out, const float *packed, int64_t n, int64_t k, int64_t first, int64_t last);
    /// Row-major f32 [n, k] to bf16 panels [ceil(n/32)][ceil(k/2)][32][2], round to nearest even. Each pair is
    /// stored odd k first, because the bf16 dot instruction adds its second element first.
    void (*pack_bf16)(uint16_t *out, const float *x, int64_t ld, int64_t n, int64_t k);
    /// The inverse, widened.
    void (*unpack_bf16)(float *out, int64_t ld, const uint16_t *packed, int64_t n, int64_t k);
    /// Panels of f32, each [k][32], to panels of bf16 as pack_bf16 has them; denormals become zeros, as for matmul_bf16.
    void (*round_panels)(uint16_t *out, const float *packed, int64_t panels, int64_t k);
    /// out[i, :] = row rows[i] of the [n, k] matrix packed by pack_f32.
    void (*gather_rows_f32)(float *out, int64_t ldo, const float *packed, const int32_t *rows, int64_t count,
                            int64_t k);
    /// The same from pack_bf16, widened.
    void (*gather_rows_bf16)(float *out, int64_t ldo, const uint16_t *packed, const int32_t *rows, int64_t count,
                             int64_t k);
    /// Row rows[i] of packed += x[i, :], for columns first..<last of the row only, in ascending i.
    void (*scatter_rows_f32)(float *packed, const float *x, int64_t ldx, const int32_t *rows, int64_t count,
                             int64_t k, int64_t first, int64_t last);

    // ---- Products of integers (integer.inc.h)
    // `group` values of k share a scale: a multiple of 32, and k or more for one scale a column. There are
    // ceil(k / group) groups, the last one shorter where k is no multiple. Rows of activations and weights are as long
    // as glim_integer_k(k), zeros behind. Scales of weights are packed by pack_f32 as [n, groups].

    /// C[i, j] (+)= sum over groups of dot · scale, where dot is the exact sum of A · B within the group:
    /// sum = fma(float(dot), weight scale · row scale, sum), groups ascending, from zero or from what C holds.
    /// A and its groups [m, groups] by quantize_rows (-127 … 127; lda = glim_integer_stride(k) is fastest); B by
    /// pack_int8. C as in matmul_f32. k up to 131,072 a group.
    void (*matmul_int8)(float *c, int64_t ldc, int64_t c_panel, const int8_t *a, int64_t lda,
                        const glim_row_group *a_groups, const uint8_t *b, const float *b_scales, int64_t m, int64_t n,
                        int64_t k, int64_t group, int32_t flags);
    /// The same with B by pack_int4: equals matmul_int8 on the same weights to the bit.
    void (*matmul_int4)(float *c, int64_t ldc, int64_t c_panel, const int8_t *a, int64_t lda,
                        const glim_row_group *a_groups, const uint8_t *b, const float *b_scales, int64_t m, int64_t n,
                        int64_t k, int64_t group, int32_t flags);
    /// Rows of f32 to int8, a scale for each row and group: scale = max|x| / 127, out = x · (1 / scale) rounded to
    /// nearest even. Below the smallest normal number the scale is zero; where the group holds an infinity or NaN it
    /// is NaN; then the integers are zero. Writes glim_integer_k(k) values a row and groups [rows, groups].
    void (*quantize_rows)(int8_t *out, int64_t ldo, glim_row_group *groups, const float *x, int64_t ldx, int64_t rows,
                          int64_t k, int64_t group);
    /// What quantize_rows made, multiplied out: out = integer · scale, k values a row.
    void (*restore_rows)(float *out, int64_t ldo, const int8_t *x, int64_t ldx, const glim_row_group *groups,
                         int64_t rows, int64_t k, int64_t group);
    /// The scales of weights [n, groups] for integers of 8 or 4 bits: max|x| / 127.5 or / 7.5, half the range of the
    /// integers. Where that is zero the scale is 2^-23; where the group holds an infinity or NaN it is NaN.
    void (*weight_scales)(float *scales, const float *x, int64_t ldx, int64_t n, int64_t k, int64_t group,
                          int32_t bits);
    /// Weights to integers: x / scale, brought within -128 … 127 or -8 … 7, rounded to nearest even. Writes k values a
    /// row. NaN becomes the lowest.
    void (*quantize_weights)(int8_t *out, int64_t ldo, const float *scales, const float *x, int64_t ldx, int64_t n,
                             int64_t k, int64_t group, int32_t bits);
    /// Row-major [n, k] to panels [ceil(n/32)][glim_integer_k(k) / 4][32][4], plus 128; columns past n zero.
    void (*pack_int8)(uint8_t *out, const int8_t *x, int64_t ld, int64_t n, int64_t k);
    /// Row-major [n, k] of -8 … 7 to panels [ceil(n/32)][glim_integer_k(k) / 8][32][4], plus 8: of each eight k the
    /// first four in the low halves of bytes, the others in the high ones.
    void (*pack_int4)(uint8_t *out, const int8_t *x, int64_t ld, int64_t n, int64_t k);
    /// The inverses, times the scale.
    void (*unpack_int8)(float *out, int64_t ld, const uint8_t *packed, const float *scales, int64_t n, int64_t k,
                        int64_t group);
    void (*unpack_int4)(float *out, int64_t ld, const uint8_t *packed, const float *scales, int64_t n, int64_t k,
                        int64_t group);

    // ---- Rows (rows.inc.h)

    /// out[r, i] = x[r, i] · inv[r] · weight[i], inv[r] = 1 / sqrt(mean_i x² + eps). `inv` may be null. out may be x.
    void (*rms_norm)(float *out, int64_t ldo, float *_Nullable inv, const float *x, int64_t ldx, const float *weight,
                     int64_t rows, int64_t width, float eps);
    /// dx (+)= …, dweight += … in ascending rows. flags: GLIM_ACCUMULATE for dx.
    void (*rms_norm_backward)(float *dx, int64_t lddx, float *dweight, const float *dy, int64_t lddy, const float *x,
                              int64_t ldx, const float *weight, const float *inv, int64_t rows, int64_t width,
                              int32_t flags);
    /// Biased variance; stats [rows, 2] = mean, 1 / sqrt(var + eps); may be null. out may be x.
    void (*layer_norm)(float *out, int64_t ldo, float *_Nullable stats, const float *x, int64_t ldx,
                       const float *weight, const float *bias, int64_t rows, int64_t width, float eps);
    void (*layer_norm_backward)(float *dx, int64_t lddx, float *dweight, float *dbias, const float *dy, int64_t lddy,
                                const float *x, int64_t ldx, const float *weight, const float *stats, int64_t rows,
                                int64_t width, int32_t flags);
    /// Rotates `dims` values of each head in place: head h of row r starts at x + r·ldx + h·head_stride.
    /// cosine, sine: [positions, dims/2]. half_split 0: pairs (2j, 2j+1), stays interleaved; 1: pairs (j, j + dims/2).
    /// inverse 1 rotates back (the pullback).
    void (*rope)(float *x, int64_t ldx, int64_t head_stride, int64_t heads, int64_t rows, const int32_t *positions,
                 const float *cosine, const float *sine, int64_t dims, int32_t half_split, int32_t inverse);
    /// out = silu(gate) · up. out may be either.
    void (*swiglu)(float *out, const float *gate, const float *up, int64_t count);
    /// dgate = dout · up · silu'(gate), dup = dout · silu(gate). May be in place over gate and up.
    void (*swiglu_backward)(float *dgate, float *dup, const float *dout, const float *gate, const float *up,
                            int64_t count);
    void (*add)(float *out, const float *a, const float *b, int64_t count);
    void (*multiply)(float *out, const float *a, const float *b, int64_t count);
    void (*scale)(float *out, const float *a, float by, int64_t count);
    /// To nearest even, in place.
    void (*round_to_bf16)(float *x, int64_t count);
    /// The same to bf16.
    void (*store_bf16)(uint16_t *out, const float *x, int64_t count);
    /// y += by · x
    void (*add_scaled)(float *y, const float *x, float by, int64_t count);
    /// Σ a·b over 16 fixed lanes, one tree at the end.
    float (*dot)(const float *a, const float *b, int64_t count);
    /// Σ x² in double, fixed lanes.
    double (*sum_squares)(const float *x, int64_t count);
    /// out = 1 / (1 + exp(-x))
    void (*sigmoid)(float *out, const float *x, int64_t count);
    /// Softmax of each row over its first `width` values.
    void (*softmax)(float *out, int64_t ldo, const float *x, int64_t ldx, int64_t rows, int64_t width);

    /// Sigmoid router with bias-corrected choice (`noaux_tc`).
    /// probabilities [rows, experts] = sigmoid(logits); choice = probabilities + bias, restricted to the
    /// groups_kept groups whose two best choices sum highest; the `chosen` highest win, ties to the lower expert.
    /// ids [rows, chosen] ascending; weights = probability / (Σ chosen + 1e-20) · scale (without the division
    /// where normalise is 0).
    void (*route)(int32_t *ids, float *weights, float *probabilities, const float *logits, const float *bias,
                  int64_t rows, int64_t experts, int64_t chosen, int64_t groups, int64_t groups_kept, float scale,
                  int32_t normalise);
    /// dlogits from dweights [rows, chosen], plus dprobabilities [rows, experts] where not null.
    void (*route_backward)(float *dlogits, const float *dweights, const float *_Nullable dprobabilities,
                           const float *probabilities, const int32_t *ids, int64_t rows, int64_t experts,
                           int64_t chosen, float scale, int32_t normalise);

    /// The positions of the min(k, count) largest scores, ascending; ties go to the lower position.
    /// Returns how many. NaN counts as smallest. -0 equals +0.
    int64_t (*top_k)(int32_t *out, const float *scores, int64_t count, int64_t k);

    /// log_sum_exp[r] over the vocabulary, merged over blocks of GLIM_VOCABULARY_BLOCK in ascending order.
    void (*log_sum_exp)(float *out, const float *logits, int64_t ld, int64_t rows, int64_t vocabulary);
    /// In place: logits[r, i] = (exp(logits[r, i] - log_sum_exp[r]) - [i == targets[r]]) · scale; zero rows where the
    /// target is negative.
    void (*cross_entropy_backward)(float *logits, int64_t ld, const float *log_sum_exp, const int32_t *targets,
                                   float scale, int64_t rows, int64_t vocabulary);

    /// Decoupled AdamW. g is used as g · gradient_scale. correction1 = 1 - beta1^t, correction2 = 1 - beta2^t.
    /// w -= lr · (m/correction1 / (sqrt(v/correction2) + epsilon) + decay · w), the decay read before the step.
    void (*adamw)(float *w, float *m, float *v, const float *g, int64_t count, float lr, float beta1, float beta2,
                  float epsilon, float decay, float correction1, float correction2, float gradient_scale);

    // ---- Attention (attention.inc.h)
    // Keys are rows of `width` values in pages of 64 positions: position s is pages[s / 64] + (s % 64) · ldk.
    // The value of a key is its first value_width entries (absorbed MLA: latent | rotated part).
    // With bf16 they are numbers of bf16 (and ldk counts these), widened exactly.
    // Query rows are [tokens, heads] rows of `width`; row (t, h) sees positions 0 … first + t.
    // A block is 64 keys (selected ones where there is a selection) in ascending position; the softmax is online:
    // m, l and out are rescaled once a block.

    /// out [tokens, heads, value_width], lse [tokens, heads] (natural log, of scaled scores; may be null). One float
    /// `largest` (may be null) is raised to the largest scaled score; scale is positive there.
    void (*attention)(float *out, float *_Nullable lse, float *_Nullable largest, const float *q, int64_t tokens,
                      int64_t heads, const float *_Nonnull const *_Nonnull pages, int64_t ldk, int32_t bf16,
                      int64_t first, int64_t width, int64_t value_width, float scale, float *scratch);
    /// One token, over selected positions (ascending, all visible). With every visible position selected the result
    /// equals attention's to the bit.
    void (*attention_selected)(float *out, float *_Nullable lse, float *_Nullable largest, const float *q,
                               int64_t heads, const float *_Nonnull const *_Nonnull pages, int64_t ldk, int32_t bf16,
                               const int32_t *selected, int64_t count, int64_t width, int64_t value_width, float scale,
                               float *scratch);
    /// Pullback of attention for a block of tokens: dq is set; dkeys [positions, width] (row stride lddk) accumulates
    /// key and value parts. Calls in ascending order of tokens give one fixed sum.
    void (*attention_backward)(float *dq, float *dkeys, int64_t lddk, const float *dout, const float *q,
                               const float *out, const float *lse, int64_t tokens, int64_t heads,
                               const float *_Nonnull const *_Nonnull pages, int64_t ldk, int64_t first,
                               int64_t width, int64_t value_width, float scale, float *scratch);
    void (*attention_selected_backward)(float *dq, float *dkeys, int64_t lddk, const float *dout, const float *q,
                                        const float *out, const float *lse, int64_t heads,
                                        const float *_Nonnull const *_Nonnull pages, int64_t ldk,
                                        const int32_t *selected, int64_t count, int64_t width, int64_t value_width,
                                        float scale, float *scratch);
    /// Indexer scores: scores[t · lds + s] = Σ_h weights[t, h] · relu(q[t, h] · key[s] · scale), heads ascending, for
    /// s in 0 … first + t. q [tokens, heads, width]; weights [tokens, heads].
    void (*index_scores)(float *scores, int64_t lds, const float *q, const float *weights, int64_t tokens,
                         int64_t heads, const float *_Nonnull const *_Nonnull pages, int64_t ldk, int32_t bf16,
                         int64_t first, int64_t width, float scale, float *scratch);
    /// Pullback: dq, dweights are set, dkeys [positions, width] (row stride lddk) accumulates, from dscores laid out
    /// as scores (entries past first + t are not read).
    void (*index_scores_backward)(float *dq, float *dweights, float *dkeys, int64_t lddk, const float *dscores,
                                  int64_t lds, const float *q, const float *weights, int64_t tokens, int64_t heads,
                                  const float *_Nonnull const *_Nonnull pages, int64_t ldk, int64_t first,
                                  int64_t width, float scale, float *scratch);

    /// Writes rows of keys at positions first ..< first + rows of a page of keys in int8: as two panels by pack_int8,
    /// each row with a scale as quantize_rows finds it; the scales stand behind. Of a page, 64 · glim_integer_k(width)
    /// bytes and 64 floats.
    void (*pack_index_keys)(void *page, const float *x, int64_t ldx, int64_t first, int64_t rows, int64_t width);
    /// Indexer scores over such pages: scores[t · lds + s] = scale of key s · sum, where sum = fma(scale of the head,
    /// relu(float(q[t, h] · key[s])), sum) over heads ascending from zero, the products exact, for s in 0 … first + t.
    /// q [tokens, heads] and its sums by quantize_rows, whose scales were made what heads are multiplied by.
    void (*index_scores_int8)(float *scores, int64_t lds, const int8_t *q, int64_t ldq,
                              const glim_row_group *q_heads, int64_t tokens, int64_t heads,
                              const float *_Nonnull const *_Nonnull pages, int64_t first, int64_t width);

    // ---- What indexers learn from (adapt.inc.h)

    /// shares[t · lds + s] = Σ_h exp(q[t, h] · key[s] · scale - lse[t, h]), heads ascending, for s in 0 … first + t: the
    /// attention that key s gets from all heads. q [tokens, heads, width]; lse [tokens, heads], by attention.
    /// Scratch is attention's.
    void (*attention_shares)(float *shares, int64_t lds, const float *q, const float *lse, int64_t tokens,
                             int64_t heads, const float *_Nonnull const *_Nonnull pages, int64_t ldk, int64_t first,
                             int64_t width, float scale, float *scratch);
    /// KL(p ‖ softmax(scores)), nats, where p = shares / Σ shares; scores become its gradient, softmax(scores) - p.
    /// Of one entry: 0.
    double (*index_divergence)(float *scores, const float *shares, int64_t count);

    // ---- Probes (probe.inc.h): for measuring the machine, never for results

    /// The sum of an array, read as fast as memory gives it.
    float (*probe_read)(const float *x, int64_t count);
    /// Multiply-adds from registers alone; `out` is one float, read and written. Returns how many operations it did.
    double (*probe_fma)(float *out, int64_t rounds);
    /// The same with the multiply-adds of matmul_bf16.
    double (*probe_bf16)(float *out, int64_t rounds);
    /// The same of the instruction, or sequence, that multiplies and adds int8.
    double (*probe_int8)(int32_t *out, int64_t rounds);
} glim_kernels;

/// The k of packed integers: padded to a multiple of 32.
static inline int64_t glim_integer_k(int64_t k) { return (k + 31) / 32 * 32; }

/// The best distance of quantised rows: an odd number of cache lines, so that no two rows near each other share sets.
static inline int64_t glim_integer_stride(int64_t k) { return ((k + 63) / 64 | 1) * 64; }

/// Floats that a position takes of a page of index keys in int8.
static inline int64_t glim_index_key_floats(int64_t width) { return glim_integer_k(width) / 4 + 1; }

/// Floats of scratch that an attention or indexer call needs, for `rows` = tokens · heads of one call.
static inline int64_t glim_attention_scratch(int64_t rows, int64_t width) {
    // rows of a block; for each a turned query, a turned gradient, two score tiles and some sums; for each key of a
    // block its gathered row, and that one's gradient
    const int64_t block = rows < GLIM_ATTENTION_ROWS ? (rows + 31) / 32 * 32 : GLIM_ATTENTION_ROWS;
    return block * (2 * width + 2 * GLIM_PAGE + 3) + GLIM_PAGE * 2 * width;
}

/// Tells the processor that this thread only waits.
static inline void glim_relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/// The tables this machine can run: 0 is the best, the last is always "portable".
int32_t glim_kernels_count(void);
const glim_kernels *glim_kernels_at(int32_t i);

// ---- Tables from outside (library.c; the guide is GlimTensor's "Kernels for another chip")

/// What a shared library with kernels tells of them. Its own layout never changes.
typedef struct {
    uint32_t version;                    ///< GLIM_KERNELS_VERSION
    uint32_t table_size;                 ///< sizeof(glim_kernels)
    int32_t partial;                     ///< 1: kernels that are null are taken from Glim; 0: all must be there
    const glim_kernels *_Nullable table;
} glim_kernel_library;

/// The one function that a shared library exports; Glim has none. Null says that this machine lacks what the kernels
/// need: the library is then refused, but not wrong.
const glim_kernel_library *_Nullable glim_kernels_library(void);

/// How many kernels a table has, and the name of each, in the order above.
int32_t glim_kernel_count(void);
const char *glim_kernel_name(int32_t i);
/// The name that a table from outside bears, if any.
const char *_Nullable glim_kernels_given_name(const glim_kernels *table);
/// Whether such a table has kernel i itself.
int32_t glim_kernel_is_given(const glim_kernels *table, int32_t i);
/// out = such a table, with what it lacks from the rest.
void glim_kernels_complete(glim_kernels *out, const glim_kernels *table, const glim_kernels *rest);

#if defined(__cplusplus)
}
#endif
#if defined(__clang__)
#pragma clang assume_nonnull end
#endif
