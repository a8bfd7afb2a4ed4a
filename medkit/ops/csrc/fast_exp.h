/* 2^x and what follows from it, for vectors of lanes.h.

   exp2_each gives 2^x to a relative error of 2.5e-7 for -126 <= x < 128, and 2^x - 1 to one of 5e-7 beside half a unit
   in the last place of 2^x where x is near 0: there a decay is repeated many times and a slope that is off would add
   up. It is 1 at x = 0, from 0 to 2^-126 below x = -126, and infinite from x = 128 up.

   It splits x = r + f, r a whole number, or with AVX-512 a multiple of 1/STEPS, and f at most half of that, and
   multiplies 2^r, by moving the exponent and with AVX-512 from a table of one octave, with a polynomial for 2^f (minimax,
   as in J.-M. Muller, Elementary Functions, 3rd ed., ch. 3). Adding MAGIC leaves r in the last bits of the sum, where
   rounding to nearest puts it. */
#ifndef MEDKIT_FAST_EXP_H
#define MEDKIT_FAST_EXP_H

#include "lanes.h"

#define LOG2_E 1.44269504f
#define LN_2 0.693147181f

#if defined(MEDKIT_AVX512)

#define STEPS 16
#define MAGIC (0x1.8p23f / STEPS)

static const float OCTAVE[STEPS] = { /* 2^(i / 16) */
    0x1p+0f, 0x1.0b5586p+0f, 0x1.172b84p+0f, 0x1.2387a6p+0f, 0x1.306fep+0f, 0x1.3dea64p+0f, 0x1.4bfdaep+0f,
    0x1.5ab07ep+0f, 0x1.6a09e6p+0f, 0x1.7a1148p+0f, 0x1.8ace54p+0f, 0x1.9c4918p+0f, 0x1.ae89fap+0f, 0x1.c199bep+0f,
    0x1.d5818ep+0f, 0x1.ea4afap+0f};

typedef Vec Octave;

INLINE Octave octave(void) { return load(OCTAVE); }

/* The steps of all go side by side: one waits for the other within each. */
INLINE void exp2_each(Vec *x, int count, Octave octave) {
    Vec shifted[4], whole[4], power[4], rest[4];
    for (int i = 0; i < count; i++)
        shifted[i] = x[i] + spread(MAGIC);
    for (int i = 0; i < count; i++)
        whole[i] = shifted[i] - spread(MAGIC);
    for (int i = 0; i < count; i++)
        x[i] = x[i] - whole[i];
    for (int i = 0; i < count; i++)
        power[i] = _mm512_permutexvar_ps(_mm512_castps_si512(shifted[i]), octave);
    for (int i = 0; i < count; i++)
        rest[i] = fused(spread(0.055505738f), x[i], spread(0.24023356f));
    for (int i = 0; i < count; i++)
        rest[i] = fused(rest[i], x[i], spread(LN_2));
    for (int i = 0; i < count; i++)
        rest[i] = rest[i] * x[i];
    for (int i = 0; i < count; i++)
        power[i] = fused(power[i], rest[i], power[i]);
    for (int i = 0; i < count; i++)
        x[i] = _mm512_scalef_ps(power[i], whole[i]);
}

#else

#define MAGIC 0x1.8p23f

typedef struct {
    char none;
} Octave;

INLINE Octave octave(void) { return (Octave){0}; }

#if defined(MEDKIT_AVX2)
INLINE Vec within_exponents(Vec x) { /* a NaN stays one */
    return _mm256_min_ps(spread(128.0f), _mm256_max_ps(spread(-127.0f), x));
}
INLINE Vec move_exponent(Vec value, Vec shifted) {
    __m256i exponent = _mm256_slli_epi32(_mm256_castps_si256(shifted), 23);
    __m256 moved = _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(value), exponent));
    return _mm256_blendv_ps(moved, value, _mm256_cmp_ps(value, value, _CMP_UNORD_Q));
}
#else
INLINE Vec within_exponents(Vec x) {
    Vec high = chosen(x > spread(128.0f), spread(128.0f), x);
    return chosen(high < spread(-127.0f), spread(-127.0f), high);
}
INLINE Vec move_exponent(Vec value, Vec shifted) {
    return chosen(value == value, (Vec)((Bits)value + ((Bits)shifted << 23)), value);
}
#endif

INLINE void exp2_each(Vec *x, int count, Octave octave) {
    (void)octave;
    for (int i = 0; i < count; i++) {
        Vec within = within_exponents(x[i]), shifted = within + spread(MAGIC);
        Vec rest = within - (shifted - spread(MAGIC));
        Vec sum = fused(spread(0.0013400447f), rest, spread(0.0096663730f));
        sum = fused(sum, rest, spread(0.055503331f));
        sum = fused(sum, rest, spread(0.24022348f));
        sum = fused(sum, rest, spread(LN_2));
        x[i] = move_exponent(fused(sum, rest, spread(1.0f)), shifted);
    }
}

#endif

INLINE Vec exp2_of(Vec x) {
    exp2_each(&x, 1, octave());
    return x;
}

/* log(1 + t) to a relative error of 2e-7 for 0 <= t <= 1. */
INLINE Vec log1p_of(Vec t) {
    static const float terms[] = {-0.0032440247f, 0.019851459f, -0.056959528f, 0.10603654f, -0.15305592f,
                                  0.19675939f,    -0.24954134f, 0.33329964f,   -0.49999902f, 1.0f};
    Vec sum = spread(terms[0]);
    for (int i = 1; i < 10; i++)
        sum = fused(sum, t, spread(terms[i]));
    return sum * t;
}

/* log(1 + e^x), which is x in single precision from x = 20 up. */
INLINE Vec softplus_of(Vec x) {
    return larger(x, spread(0.0f)) + log1p_of(exp2_of(magnitude(x) * spread(-LOG2_E)));
}

/* 1 / (1 + e^-x), the derivative of softplus. */
INLINE Vec sigmoid_of(Vec x) {
    Vec small = exp2_of(magnitude(x) * spread(-LOG2_E)), one = spread(1.0f);
    return where_negative(x, small, one) / (one + small);
}

#endif
