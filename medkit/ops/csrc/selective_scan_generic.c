/* The selective scan for any processor. */
#define LEVEL generic
#include "selective_scan_forward.h"

#include "selective_scan_backward.h"
