// The kernels for 64-bit ARM.
#if defined(__aarch64__)
#define GLIM_NEON 1
#define GLIM_SET_NAME "neon"
#define GLIM_SET_TABLE glim_kernels_neon
#include "set.inc.h"
#endif
