// A library that gives every kernel: Glim's own sources, with another name.
#define GLIM_PORTABLE 1
#define GLIM_SET_NAME "whole"
#define GLIM_SET_TABLE whole_table
#include "set.inc.h"

const glim_kernel_library *glim_kernels_library(void) {
    static const glim_kernel_library library = {
        .version = GLIM_KERNELS_VERSION, .table_size = sizeof(glim_kernels), .table = &whole_table};
    return &library;
}
