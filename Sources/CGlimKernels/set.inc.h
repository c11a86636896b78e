// One whole table, for the instruction set that the including file chose.
#include "glim_kernels.h"
#include "vec.h"
#include "gemm.inc.h"
#include "panels.inc.h"
#include "integer.inc.h"
#include "rows.inc.h"
#include "select.inc.h"
#include "attention.inc.h"
#include "adapt.inc.h"
#include "indexer_int8.inc.h"
#include "probe.inc.h"

const glim_kernels GLIM_SET_TABLE = {
    .name = GLIM_SET_NAME,
    GEMM_ENTRIES
    PANELS_ENTRIES
    INTEGER_ENTRIES
    ROWS_ENTRIES
    SELECT_ENTRIES
    ATTENTION_ENTRIES
    ADAPT_ENTRIES
    INDEXER_INT8_ENTRIES
    PROBE_ENTRIES
};
