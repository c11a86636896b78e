#include "glim_kernels.h"
