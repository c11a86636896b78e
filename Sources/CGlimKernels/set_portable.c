// The kernels in plain C: the reference, and the last resort.
#define GLIM_PORTABLE 1
#define GLIM_SET_NAME "portable"
#define GLIM_SET_TABLE glim_kernels_portable
#include "set.inc.h"
