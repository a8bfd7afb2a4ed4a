/* Vectors of floats, one lane beside the other, as wide as the instruction set that the including file was set to
   (MEDKIT_AVX512, MEDKIT_AVX2 or neither). Sums and products are written with operators. */
#ifndef MEDKIT_LANES_H
#define MEDKIT_LANES_H

#include "float_bits.h"

#if defined(MEDKIT_AVX512) || defined(MEDKIT_AVX2)
#include <immintrin.h>
#endif

#define NOINLINE __attribute__((noinline))

#if defined(MEDKIT_AVX512)

#define LANES 16
typedef __m512 Vec;

INLINE Vec spread(float value) { return _mm512_set1_ps(value); }
INLINE Vec fused(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); } /* a b + c */
INLINE Vec magnitude(Vec a) { return _mm512_abs_ps(a); }
INLINE Vec larger(Vec a, Vec b) { return _mm512_max_ps(a, b); }
/* a where `sign` is below zero, b elsewhere. */
INLINE Vec where_negative(Vec sign, Vec a, Vec b) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(sign, _mm512_setzero_ps(), _CMP_LT_OQ), b, a);
}

INLINE Vec from_bfloat16(const uint16_t *from) {
    __m512i bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)from));
    return _mm512_castsi512_ps(_mm512_slli_epi32(bits, 16));
}

INLINE void to_bfloat16(uint16_t *to, Vec value) {
    __m512i bits = _mm512_castps_si512(value), half = _mm512_set1_epi32(0x7fff);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1)); /* ties go to even */
    __m512i nearest = _mm512_srli_epi32(_mm512_add_epi32(bits, _mm512_add_epi32(half, odd)), 16);
    __mmask16 unordered = _mm512_cmp_ps_mask(value, value, _CMP_UNORD_Q);
    nearest = _mm512_mask_mov_epi32(nearest, unordered, _mm512_set1_epi32(0x7fc0));
    _mm256_storeu_si256((__m256i *)to, _mm512_cvtepi32_epi16(nearest));
}

INLINE Vec from_float16(const uint16_t *from) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)from)); }
INLINE void to_float16(uint16_t *to, Vec value) {
    _mm256_storeu_si256((__m256i *)to, _mm512_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

INLINE __m512 pairs(__m512 a, __m512 b, int high) {
    __m512d first = _mm512_castps_pd(a), second = _mm512_castps_pd(b);
    return _mm512_castpd_ps(high ? _mm512_unpackhi_pd(first, second) : _mm512_unpacklo_pd(first, second));
}

/* Row i, lane j becomes row j, lane i. */
INLINE void transpose(Vec rows[LANES]) {
    Vec half[LANES];
    for (int i = 0; i < 16; i += 4) {
        Vec low = _mm512_unpacklo_ps(rows[i], rows[i + 1]), high = _mm512_unpackhi_ps(rows[i], rows[i + 1]);
        Vec next_low = _mm512_unpacklo_ps(rows[i + 2], rows[i + 3]);
        Vec next_high = _mm512_unpackhi_ps(rows[i + 2], rows[i + 3]);
        half[i] = pairs(low, next_low, 0);
        half[i + 1] = pairs(low, next_low, 1);
        half[i + 2] = pairs(high, next_high, 0);
        half[i + 3] = pairs(high, next_high, 1);
    }
    for (int i = 0; i < 4; i++) { /* quarters of registers are now the cells of a 4 x 4 transposition */
        Vec even = _mm512_shuffle_f32x4(half[i], half[i + 4], 0x88), odd = _mm512_shuffle_f32x4(half[i], half[i + 4], 0xdd);
        Vec later_even = _mm512_shuffle_f32x4(half[i + 8], half[i + 12], 0x88);
        Vec later_odd = _mm512_shuffle_f32x4(half[i + 8], half[i + 12], 0xdd);
        rows[i] = _mm512_shuffle_f32x4(even, later_even, 0x88);
        rows[i + 4] = _mm512_shuffle_f32x4(odd, later_odd, 0x88);
        rows[i + 8] = _mm512_shuffle_f32x4(even, later_even, 0xdd);
        rows[i + 12] = _mm512_shuffle_f32x4(odd, later_odd, 0xdd);
    }
}

INLINE Vec reversed(Vec a) {
    __m512i order = _mm512_set_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    return _mm512_permutexvar_ps(order, a);
}

INLINE Vec sums_of_two(Vec a, Vec b) { /* lanes 0, 1 of each group: halves of a's; 2, 3: of b's */
    return _mm512_mask_blend_ps(0xcccc, a, b) + _mm512_shuffle_ps(a, b, 0x4e);
}

/* Of each group of four lanes, the sums of a, b, c and d over it. */
INLINE Vec sums_of_four(Vec a, Vec b, Vec c, Vec d) {
    Vec ab = sums_of_two(a, b), cd = sums_of_two(c, d);
    return _mm512_shuffle_ps(ab, cd, 0x88) + _mm512_shuffle_ps(ab, cd, 0xdd);
}

/* Sums over the groups of each: the first four lanes of the first, then of the second... */
INLINE Vec sums_over_groups(const Vec four[LANES / 4]) {
    Vec low = _mm512_shuffle_f32x4(four[0], four[1], 0x88) + _mm512_shuffle_f32x4(four[0], four[1], 0xdd);
    Vec high = _mm512_shuffle_f32x4(four[2], four[3], 0x88) + _mm512_shuffle_f32x4(four[2], four[3], 0xdd);
    return _mm512_shuffle_f32x4(low, high, 0x88) + _mm512_shuffle_f32x4(low, high, 0xdd);
}

#elif defined(MEDKIT_AVX2)

#define LANES 8
typedef __m256 Vec;

INLINE Vec spread(float value) { return _mm256_set1_ps(value); }
INLINE Vec fused(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); } /* a b + c */
INLINE Vec magnitude(Vec a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
INLINE Vec larger(Vec a, Vec b) { return _mm256_max_ps(a, b); }
/* a where `sign` is below zero, b elsewhere. */
INLINE Vec where_negative(Vec sign, Vec a, Vec b) {
    return _mm256_blendv_ps(b, a, _mm256_cmp_ps(sign, _mm256_setzero_ps(), _CMP_LT_OQ));
}

INLINE Vec from_bfloat16(const uint16_t *from) {
    __m256i bits = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)from));
    return _mm256_castsi256_ps(_mm256_slli_epi32(bits, 16));
}

INLINE void to_bfloat16(uint16_t *to, Vec value) {
    __m256i bits = _mm256_castps_si256(value), half = _mm256_set1_epi32(0x7fff);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1)); /* ties go to even */
    __m256i nearest = _mm256_srli_epi32(_mm256_add_epi32(bits, _mm256_add_epi32(half, odd)), 16);
    __m256i unordered = _mm256_castps_si256(_mm256_cmp_ps(value, value, _CMP_UNORD_Q));
    nearest = _mm256_blendv_epi8(nearest, _mm256_set1_epi32(0x7fc0), unordered);
    __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(nearest, nearest), 0x08);
    _mm_storeu_si128((__m128i *)to, _mm256_castsi256_si128(packed));
}

INLINE Vec from_float16(const uint16_t *from) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)from)); }
INLINE void to_float16(uint16_t *to, Vec value) {
    _mm_storeu_si128((__m128i *)to, _mm256_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

/* Row i, lane j becomes row j, lane i. */
INLINE void transpose(Vec rows[LANES]) {
    Vec half[LANES];
    for (int i = 0; i < 8; i += 4) {
        Vec low = _mm256_unpacklo_ps(rows[i], rows[i + 1]), high = _mm256_unpackhi_ps(rows[i], rows[i + 1]);
        Vec next_low = _mm256_unpacklo_ps(rows[i + 2], rows[i + 3]);
        Vec next_high = _mm256_unpackhi_ps(rows[i + 2], rows[i + 3]);
        half[i] = _mm256_shuffle_ps(low, next_low, 0x44);
        half[i + 1] = _mm256_shuffle_ps(low, next_low, 0xee);
        half[i + 2] = _mm256_shuffle_ps(high, next_high, 0x44);
        half[i + 3] = _mm256_shuffle_ps(high, next_high, 0xee);
    }
    for (int i = 0; i < 4; i++) {
        rows[i] = _mm256_permute2f128_ps(half[i], half[i + 4], 0x20);
        rows[i + 4] = _mm256_permute2f128_ps(half[i], half[i + 4], 0x31);
    }
}

INLINE Vec reversed(Vec a) { return _mm256_permutevar8x32_ps(a, _mm256_set_epi32(0, 1, 2, 3, 4, 5, 6, 7)); }

/* Of each group of four lanes, the sums of a, b, c and d over it. */
INLINE Vec sums_of_four(Vec a, Vec b, Vec c, Vec d) {
    return _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
}

/* Sums over the groups of each: the first four lanes of the first, then of the second... */
INLINE Vec sums_over_groups(const Vec four[LANES / 4]) {
    return _mm256_permute2f128_ps(four[0], four[1], 0x20) + _mm256_permute2f128_ps(four[0], four[1], 0x31);
}

#else

#define LANES 4
typedef float Vec __attribute__((vector_size(16)));
typedef int32_t Bits __attribute__((vector_size(16)));

INLINE Vec spread(float value) { return (Vec){value, value, value, value}; }
INLINE Vec fused(Vec a, Vec b, Vec c) { return a * b + c; }
INLINE Vec chosen(Bits mask, Vec a, Vec b) { return (Vec)((mask & (Bits)a) | (~mask & (Bits)b)); }
INLINE Vec magnitude(Vec a) { return (Vec)((Bits)a & 0x7fffffff); }
INLINE Vec larger(Vec a, Vec b) { return chosen(a > b, a, b); }
/* a where `sign` is below zero, b elsewhere. */
INLINE Vec where_negative(Vec sign, Vec a, Vec b) { return chosen(sign < spread(0.0f), a, b); }

INLINE Vec from_bfloat16(const uint16_t *from) {
    Vec value;
    for (int i = 0; i < LANES; i++)
        value[i] = as_float((uint32_t)from[i] << 16);
    return value;
}

INLINE void to_bfloat16(uint16_t *to, Vec value) {
    for (int i = 0; i < LANES; i++) {
        uint32_t bits = as_bits(value[i]);
        uint16_t nearest = (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16); /* ties go to even */
        to[i] = value[i] != value[i] ? 0x7fc0 : nearest;
    }
}

INLINE Vec from_float16(const uint16_t *from) {
    Vec value;
    for (int i = 0; i < LANES; i++) {
        uint32_t rest = (uint32_t)(from[i] & 0x7fff) << 13, sign = (uint32_t)(from[i] & 0x8000) << 16;
        /* A product moves the exponent, so that numbers below the normal ones come out right as well. */
        uint32_t finite = as_bits(as_float(rest) * 0x1p112f), special = rest | 0x7f800000;
        value[i] = as_float(sign | (rest < 0x0f800000 ? finite : special));
    }
    return value;
}

INLINE void to_float16(uint16_t *to, Vec value) {
    for (int i = 0; i < LANES; i++) {
        uint32_t bits = as_bits(value[i]), sign = bits >> 16 & 0x8000, rest = bits & 0x7fffffff, half;
        if (rest > 0x7f800000)
            half = 0x7e00;
        else if (rest >= 0x477ff000) /* 65520 rounds to infinity */
            half = 0x7c00;
        else if (rest < 0x38800000) /* below the normal numbers: an addition rounds at their last bit */
            half = as_bits(as_float(rest) + 0.5f) - 0x3f000000;
        else
            half = (rest - 0x38000000 + 0xfff + (rest >> 13 & 1)) >> 13;
        to[i] = (uint16_t)(sign | half);
    }
}

/* Row i, lane j becomes row j, lane i. */
INLINE void transpose(Vec rows[LANES]) {
    for (int i = 0; i < LANES; i++)
        for (int j = 0; j < i; j++) {
            float kept = rows[i][j];
            rows[i][j] = rows[j][i];
            rows[j][i] = kept;
        }
}

INLINE Vec reversed(Vec a) { return (Vec){a[3], a[2], a[1], a[0]}; }

/* Of each group of four lanes, the sums of a, b, c and d over it. */
INLINE Vec sums_of_four(Vec a, Vec b, Vec c, Vec d) {
    Vec rows[LANES] = {a, b, c, d};
    transpose(rows);
    return (rows[0] + rows[1]) + (rows[2] + rows[3]);
}

/* Sums over the groups of each: the first four lanes of the first, then of the second... */
INLINE Vec sums_over_groups(const Vec four[LANES / 4]) { return four[0]; }

#endif

INLINE Vec load(const float *from) {
    Vec value;
    memcpy(&value, from, sizeof value);
    return value;
}

INLINE void store(float *to, Vec value) { memcpy(to, &value, sizeof value); }

/* The first `count` lanes; zero in the others. */
INLINE Vec load_some(const float *from, ptrdiff_t count) {
    Vec value = spread(0.0f);
    memcpy(&value, from, (size_t)count * sizeof *from);
    return value;
}

INLINE void store_some(float *to, Vec value, ptrdiff_t count) { memcpy(to, &value, (size_t)count * sizeof *to); }

#endif
