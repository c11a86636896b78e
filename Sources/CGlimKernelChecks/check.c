// Compares every entry of a kernel table with the reference, bit for bit. One function a group of kernels, in check_*.c.
#include "check.h"

#include <stdarg.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define GUARD 0
#endif
#endif
#ifndef GUARD
#define GUARD 64
#endif

// A thread's own, so that two checks may run side by side.
static _Thread_local uint64_t state;
uint32_t random_bits(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 16);
}
int64_t random_in(int64_t low, int64_t high) { return low + random_bits() % (uint64_t)(high - low + 1); }

// ---- Calls

static void look_at_guards(check *c);

const glim_kernels *calling(check *c, int table, const char *kernel) {
    look_at_guards(c);
    c->running = kernel;
    snprintf(c->progress->kernel, sizeof c->progress->kernel, "%s", kernel);
    if (c->seconds) alarm(c->seconds);
    return c->tables[table];
}

// ---- Buffers

void *room(check *c, int64_t count, int64_t size) {
    if (c->count == COUNT_OF(c->buffers)) abort();
    const int64_t front = GUARD ? GUARD - size : 0, bytes = count < 0 ? 0 : count * size;
    char *base = malloc((size_t)(front + bytes + GUARD));
    memset(base, 0xA5, (size_t)(front + bytes + GUARD));
    c->buffers[c->count].base = base;
    c->buffers[c->count].front = front;
    c->buffers[c->count++].bytes = bytes;
    return base + front;
}

void *zeroed(check *c, int64_t count, int64_t size) { return memset(room(c, count, size), 0, (size_t)(count * size)); }

void *copied(check *c, const void *x, int64_t count, int64_t size) {
    return memcpy(room(c, count, size), x, (size_t)(count < 0 ? 0 : count * size));
}

/// Tells what was written outside a buffer, and mends it.
static void look_at_guards(check *c) {
    char whole[GUARD + 1];
    memset(whole, 0xA5, sizeof whole);
    for (int64_t i = 0; i < c->count; i++) {
        const int64_t front = c->buffers[i].front, bytes = c->buffers[i].bytes;
        for (int behind = 0; behind < 2; behind++) {
            char *guard = c->buffers[i].base + (behind ? front + bytes : 0);
            const int64_t length = behind ? GUARD : front;
            if (memcmp(guard, whole, (size_t)length) == 0) continue;
            int64_t j = 0;
            while (guard[j] == whole[j]) j++;
            fail(c, c->running, behind ? "wrote behind a buffer" : "wrote before a buffer", j);
            memset(guard, 0xA5, (size_t)length);
        }
    }
}

void release(check *c) {
    look_at_guards(c);
    for (int64_t i = 0; i < c->count; i++) free(c->buffers[i].base);
    c->count = 0;
}

float *filled(check *c, int64_t count) {
    float *x = room(c, count, 4);
    for (int64_t i = 0; i < count; i++) x[i] = (float)(int32_t)random_bits() * 0x1p-31f;
    return x;
}

float *matrix(check *c, int64_t rows, int64_t ld, int64_t width) {
    return filled(c, rows ? (rows - 1) * ld + width : 0);
}

float *values(check *c, int64_t count, int kind) {
    float *x = filled(c, count);
    for (int64_t i = 0; i < count; i++) {
        if (kind == LARGE) x[i] *= 100;
        if (kind < WIDE) continue;
        const uint32_t u = random_bits(), chance = u % 64;
        uint32_t bits = (u & 0x807FFFFF) | (87 + (random_bits() & 63)) << 23;
        if (chance < 8) bits = chance < 4 ? u & 0x80000000 : u & 0x807FFFFF;
        if (kind == SPECIAL && chance > 60) bits = chance == 61 ? 0x7FC00000 : (u & 0x80000000) | 0x7F800000;
        memcpy(x + i, &bits, 4);
    }
    return x;
}

outputs outputs_of(check *c, int64_t rows, int64_t ld, int64_t width, const float *from) {
    const int64_t count = rows ? (rows - 1) * ld + width : 0;
    float *before = from ? copied(c, from, count, 4) : filled(c, count);
    return (outputs){{copied(c, before, count, 4), copied(c, before, count, 4)}, before, rows, ld, width};
}

// ---- Comparison

void describe(check *c, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(c->progress->shape, sizeof c->progress->shape, format, arguments);
    va_end(arguments);
}

void fail(check *c, const char *what, const char *how, int64_t at) {
    for (int64_t i = 0; i < c->failure_count; i++) {
        glim_check_failure *known = c->failures + i;
        if (strcmp(known->what, what) || strcmp(known->how, how)) continue;
        known->times++;
        return;
    }
    if (c->failure_count == c->failure_room) return;
    glim_check_failure *new = c->failures + c->failure_count++;
    *new = (glim_check_failure){.what = what, .how = how, .at = at, .times = 1};
    memcpy(new->shape, c->progress->shape, sizeof new->shape);
}

void same(check *c, const char *what, const void *tested, const void *reference, int64_t bytes) {
    if (bytes <= 0 || memcmp(tested, reference, (size_t)bytes) == 0) return;
    int64_t i = 0;
    while (((const char *)tested)[i] == ((const char *)reference)[i]) i++;
    fail(c, what, "differs in a byte", i);
}

void same_floats(check *c, const char *what, const float *tested, const float *reference, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        if (memcmp(tested + i, reference + i, 4) == 0) continue;
        if (tested[i] == tested[i] || reference[i] == reference[i]) return fail(c, what, "differs", i);
    }
}

void same_outputs(check *c, const char *what, const outputs *o) {
    same_floats(c, what, o->at[0], o->at[1], o->rows ? (o->rows - 1) * o->ld + o->width : 0);
    for (int64_t r = 0; r + 1 < o->rows; r++) {
        const int64_t gap = r * o->ld + o->width;
        for (int t = 0; t < 2; t++) same(c, what, o->at[t] + gap, o->before + gap, 4 * (o->ld - o->width));
    }
}

int64_t glim_check_kernels(const glim_kernels *table, const glim_kernels *reference, uint64_t seed, int32_t seconds,
                           glim_check_progress *progress, glim_check_failure *failures, int64_t room) {
    state = 88172645463325252u + seed;
    memset(progress, 0, sizeof *progress);
    check c = {.tables = {table, reference}, .seconds = (unsigned)seconds, .progress = progress,
               .running = "the check itself", .failures = failures, .failure_room = room};
    check_products(&c);
    check_integers(&c);
    check_rows(&c);
    check_attention(&c);
    if (seconds) alarm(0);
    return c.failure_count;
}
