/* The 16-bit floating-point types, in integers and one number at a time, for the compiler to vectorise. */
#ifndef MEDKIT_HALF_TYPES_H
#define MEDKIT_HALF_TYPES_H

#include "float_bits.h"

INLINE float from_bfloat16(uint16_t stored) { return as_float((uint32_t)stored << 16); }

/* Ties to even. A NaN becomes the usual one: the rounding could make a number of its low bits. */
INLINE uint16_t to_bfloat16(float value) {
    const uint32_t bits = as_bits(value);
    const uint32_t nearest = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    return value == value ? nearest : 0x7fc0;
}

/* In integers, for compilers vectorise no conversion of float16. Its exponents 0 and 31 mean subnormal and not
   finite; between them the two exponents differ by 112. */
INLINE float from_float16(uint16_t stored) {
    const uint32_t magnitude = (uint32_t)(stored & 0x7fff) << 13;
    const uint32_t normal = magnitude + (112u << 23);
    const uint32_t subnormal = as_bits(as_float(normal + (1u << 23)) - 0x1p-14f);
    const uint32_t special = magnitude | 0xffu << 23;
    const uint32_t bits = magnitude < 1u << 23 ? subnormal : magnitude < 31u << 23 ? normal : special;
    return as_float(bits | (uint32_t)(stored & 0x8000) << 16);
}

INLINE uint16_t to_float16(float value) {
    const uint32_t bits = as_bits(value), magnitude = bits & 0x7fffffff;
    const uint32_t normal = (magnitude - (112u << 23) + 0xfff + (magnitude >> 13 & 1)) >> 13; /* ties to even */
    const uint32_t subnormal = as_bits(as_float(magnitude) + 0.5f) - as_bits(0.5f);           /* the sum rounds */
    const uint32_t special = magnitude > 0xffu << 23 ? 0x7e00 : 0x7c00;
    const uint32_t finite = magnitude < as_bits(0x1p-14f) ? subnormal : normal;
    const uint32_t nearest = magnitude < as_bits(0x1p16f) ? finite : special;
    return nearest | (bits >> 16 & 0x8000);
}

#endif
