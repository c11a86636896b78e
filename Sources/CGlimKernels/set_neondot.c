// The kernels for 64-bit ARM with the dot instruction of int8, which matters to products of these alone. Where every
// machine has it, as Apple's do, set_neon.c uses it and this set is not built.
#if defined(__aarch64__) && !defined(__ARM_FEATURE_DOTPROD)
#if defined(__clang__)
#include <arm_neon.h>
#pragma clang attribute push(__attribute__((target("dotprod"))), apply_to = function)
#else
#pragma GCC target("arch=armv8.2-a+dotprod")
#endif
#define GLIM_NEON 1
#define GLIM_NEON_DOT 1
#define GLIM_SET_NAME "neondot"
#define GLIM_SET_TABLE glim_kernels_neondot
#include "set.inc.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
