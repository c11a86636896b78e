// What the checks of the kernel tables share: buffers that notice a step outside, values, comparison.
#pragma once
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "glim_kernel_checks.h"

#pragma STDC FP_CONTRACT OFF

/// One table against the reference. Buffers belong to it until `release`.
typedef struct {
    const glim_kernels *tables[2];  ///< the tested one, and the reference
    unsigned seconds;               ///< that a call may take; 0 is any
    glim_check_progress *progress;  ///< what runs, and the shape that is being checked
    const char *running;            ///< the same kernel, for messages
    glim_check_failure *failures;
    int64_t failure_count, failure_room, count;
    struct {
        char *base;
        int64_t front, bytes;
    } buffers[64];
} check;

#define COUNT_OF(array) ((int64_t)(sizeof(array) / sizeof *(array)))

// ---- Calls

/// The table to call, with a note of what is called. Looks first whether the call before kept to its buffers.
const glim_kernels *calling(check *c, int table, const char *kernel);
/// CALL(0, rope)(…) calls the tested table's kernel; BOTH(rope)(…) calls each table's, t being its number.
#define CALL(table, kernel) calling(c, table, #kernel)->kernel
#define BOTH(kernel) for (int t = 0; t < 2; t++) CALL(t, kernel)

// ---- Random: the same numbers for every table, by the seed

uint32_t random_bits(void);
int64_t random_in(int64_t low, int64_t high);
#define ANY_OF(array) ((array)[random_in(0, COUNT_OF(array) - 1)])

// ---- Buffers: exactly sized under AddressSanitizer, else between guards. Aligned to an element and no more.

void *room(check *c, int64_t count, int64_t size);
void *zeroed(check *c, int64_t count, int64_t size);
void *copied(check *c, const void *x, int64_t count, int64_t size);
/// Frees all, having looked at the guards.
void release(check *c);

/// -1 … 1.
float *filled(check *c, int64_t count);
/// A matrix that ends with its last row's last value, -1 … 1.
float *matrix(check *c, int64_t rows, int64_t ld, int64_t width);
/// The shapes of values that kernels of rows meet.
enum { ORDINARY, LARGE, WIDE, SPECIAL, KINDS };
/// -1 … 1; -100 … 100; all magnitudes with zeros and denormals; these with infinities and NaN.
float *values(check *c, int64_t count, int kind);

/// Where a kernel writes a matrix: one for each table, the same before.
typedef struct {
    float *at[2], *before;
    int64_t rows, ld, width;
} outputs;

/// Filled as `from` (a whole matrix of this shape), or at random where that is null.
outputs outputs_of(check *c, int64_t rows, int64_t ld, int64_t width, const float *from);

// ---- Comparison

/// Says what shape is checked next; to come before the calls.
void describe(check *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
/// `what` names its kernel; both are literals.
void fail(check *c, const char *what, const char *how, int64_t at);
void same(check *c, const char *what, const void *tested, const void *reference, int64_t bytes);
/// The same bits, but that a NaN equals any other.
void same_floats(check *c, const char *what, const float *tested, const float *reference, int64_t count);
/// Equal, and nothing written between the rows.
void same_outputs(check *c, const char *what, const outputs *o);

void check_products(check *c);
void check_integers(check *c);
void check_rows(check *c);
void check_attention(check *c);
