/* A float as the integer of its bits, and back. */
#ifndef MEDKIT_FLOAT_BITS_H
#define MEDKIT_FLOAT_BITS_H

#include <string.h>

#include "kernels.h"

INLINE float as_float(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

INLINE uint32_t as_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

#endif
