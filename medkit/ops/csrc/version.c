#include "kernels.h"

/* To be raised with every change of an argument list. */
MEDKIT_EXPORT int32_t medkit_kernels_version(void) { return 7; }
