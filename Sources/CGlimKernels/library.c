// Kernels by name: what tables from outside give, and what they leave to others.
#include <stddef.h>
#include <string.h>

#include "glim_kernels.h"

typedef void (*kernel)(void);

#define ENTRY(name) {#name, offsetof(glim_kernels, name)}
static const struct {
    const char *name;
    size_t offset;
} entries[] = {
    ENTRY(matmul_f32), ENTRY(matmul_f32_bf16), ENTRY(matmul_bf16), ENTRY(matmul_bf16_rows), ENTRY(pack_f32),
    ENTRY(unpack_f32), ENTRY(transpose_panels_f32), ENTRY(pack_bf16), ENTRY(unpack_bf16), ENTRY(round_panels),
    ENTRY(gather_rows_f32), ENTRY(gather_rows_bf16), ENTRY(scatter_rows_f32), ENTRY(matmul_int8), ENTRY(matmul_int4),
    ENTRY(quantize_rows), ENTRY(restore_rows), ENTRY(weight_scales), ENTRY(quantize_weights), ENTRY(pack_int8),
    ENTRY(pack_int4), ENTRY(unpack_int8), ENTRY(unpack_int4), ENTRY(rms_norm), ENTRY(rms_norm_backward),
    ENTRY(layer_norm), ENTRY(layer_norm_backward), ENTRY(rope), ENTRY(swiglu), ENTRY(swiglu_backward), ENTRY(add),
    ENTRY(multiply), ENTRY(scale), ENTRY(round_to_bf16), ENTRY(store_bf16), ENTRY(add_scaled), ENTRY(dot),
    ENTRY(sum_squares), ENTRY(sigmoid), ENTRY(softmax), ENTRY(route), ENTRY(route_backward), ENTRY(top_k),
    ENTRY(log_sum_exp), ENTRY(cross_entropy_backward), ENTRY(adamw), ENTRY(attention), ENTRY(attention_selected),
    ENTRY(attention_backward), ENTRY(attention_selected_backward), ENTRY(index_scores), ENTRY(index_scores_backward),
    ENTRY(pack_index_keys), ENTRY(index_scores_int8), ENTRY(attention_shares), ENTRY(index_divergence),
    ENTRY(probe_read), ENTRY(probe_fma), ENTRY(probe_bf16), ENTRY(probe_int8),
};
#define COUNT (sizeof entries / sizeof *entries)
_Static_assert(sizeof(glim_kernels) == offsetof(glim_kernels, matmul_f32) + COUNT * sizeof(kernel),
               "every kernel of the table has its entry here");

static kernel at(const glim_kernels *table, size_t i) {
    kernel it;
    memcpy(&it, (const char *)table + entries[i].offset, sizeof it);
    return it;
}

int32_t glim_kernel_count(void) { return (int32_t)COUNT; }

const char *glim_kernel_name(int32_t i) { return entries[i].name; }

const char *glim_kernels_given_name(const glim_kernels *table) { return table->name; }

int32_t glim_kernel_is_given(const glim_kernels *table, int32_t i) { return at(table, (size_t)i) != 0; }

void glim_kernels_complete(glim_kernels *out, const glim_kernels *table, const glim_kernels *rest) {
    *out = *rest;
    out->name = table->name;
    for (size_t i = 0; i < COUNT; i++) {
        const kernel own = at(table, i);
        if (own) memcpy((char *)out + entries[i].offset, &own, sizeof own);
    }
}
