/* Number formats and counter-based random numbers. */
#include "host/base/base.h"
#include <assert.h>
#include <math.h>
#include <string.h>

static const struct {
    const char *name;
    size_t bytes;
} dtype_rows[ESPL_DTYPE_COUNT] = {
#define ESPL_DTYPE_ROW(name, text, bytes) [ESPL_DTYPE_##name] = {text, bytes},
    ESPL_DTYPE_LIST(ESPL_DTYPE_ROW)
#undef ESPL_DTYPE_ROW
};

const char *espl_dtype_name(espl_dtype dtype) {
    return dtype_rows[dtype].name;
}

size_t espl_dtype_bytes(espl_dtype dtype) {
    return dtype_rows[dtype].bytes;
}

bool espl_dtype_is_float(espl_dtype dtype) {
    return dtype == ESPL_DTYPE_F32 || dtype == ESPL_DTYPE_F16 || dtype == ESPL_DTYPE_BF16;
}

bool espl_dtype_parse(const char *text, espl_dtype *out_dtype) {
    for (size_t i = 0; i < ESPL_DTYPE_COUNT; i++) {
        if (strcmp(text, dtype_rows[i].name) == 0) {
            *out_dtype = (espl_dtype)i;
            return true;
        }
    }
    return false;
}

static uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

uint16_t espl_f16_from_f32(float value) {
    uint32_t bits = bits_of(value);
    uint32_t sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return (uint16_t)(sign | 0x7e00u);
    if (magnitude >= 0x47800000u) return (uint16_t)(sign | 0x7c00u); /* 65536 and up; below it rounding overflows */
    if (magnitude < 0x38800000u) {
        /* Subnormal half: adding 0.5 leaves the rounded value in the low bits of the sum. */
        return (uint16_t)(sign | (bits_of(float_of(magnitude) + 0.5f) - 0x3f000000u));
    }
    uint32_t rounded = magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u);
    return (uint16_t)(sign | (rounded >> 13));
}

float espl_f32_from_f16(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16, magnitude = half & 0x7fffu;
    if (magnitude >= 0x7c00u) return float_of(sign | 0x7f800000u | (magnitude & 0x3ffu) << 13);
    if (magnitude < 0x400u) return float_of(sign | bits_of((float)magnitude * 0x1p-24f));
    return float_of(sign | ((magnitude << 13) + 0x38000000u));
}

uint16_t espl_bf16_from_f32(float value) {
    uint32_t bits = bits_of(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

float espl_f32_from_bf16(uint16_t half) {
    return float_of((uint32_t)half << 16);
}

static double load_number(const unsigned char *from, espl_dtype dtype) {
    union {
        float f32;
        double f64;
        uint16_t u16;
        int32_t i32;
        int64_t i64;
    } value;
    memcpy(&value, from, dtype_rows[dtype].bytes);
    switch (dtype) {
    case ESPL_DTYPE_F32: return value.f32;
    case ESPL_DTYPE_F16: return espl_f32_from_f16(value.u16);
    case ESPL_DTYPE_BF16: return espl_f32_from_bf16(value.u16);
    case ESPL_DTYPE_I32: return value.i32;
    case ESPL_DTYPE_F64: return value.f64;
    case ESPL_DTYPE_I64: return (double)value.i64;
    default: return from[0];
    }
}

void espl_convert(const void *from, espl_dtype from_dtype, void *to, espl_dtype to_dtype, size_t count) {
    const unsigned char *source = from;
    unsigned char *target = to;
    size_t from_bytes = dtype_rows[from_dtype].bytes, to_bytes = dtype_rows[to_dtype].bytes;
    if (from_dtype == to_dtype) {
        if (count) memcpy(to, from, count * from_bytes);
        return;
    }
    for (size_t i = 0; i < count; i++, source += from_bytes, target += to_bytes) {
        double number = load_number(source, from_dtype);
        float single = (float)number;
        uint16_t half;
        switch (to_dtype) {
        case ESPL_DTYPE_F32: memcpy(target, &single, sizeof single); break;
        case ESPL_DTYPE_F64: memcpy(target, &number, sizeof number); break;
        case ESPL_DTYPE_F16: half = espl_f16_from_f32(single), memcpy(target, &half, sizeof half); break;
        case ESPL_DTYPE_BF16: half = espl_bf16_from_f32(single), memcpy(target, &half, sizeof half); break;
        default: assert(!"integers are converted to themselves only"); return;
        }
    }
}

void espl_philox(uint64_t seed, uint64_t stream, uint64_t index, uint32_t out_words[4]) {
    uint32_t c0 = (uint32_t)index, c1 = (uint32_t)(index >> 32), c2 = (uint32_t)stream, c3 = (uint32_t)(stream >> 32);
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1, c3 = (uint32_t)p0, c0 = n0, c2 = n2;
        k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
    }
    out_words[0] = c0, out_words[1] = c1, out_words[2] = c2, out_words[3] = c3;
}

uint32_t espl_random_u32(espl_random *random) {
    uint32_t words[4];
    espl_philox(random->seed, random->stream, random->index++, words);
    return words[0];
}

float espl_random_uniform(espl_random *random) {
    return (float)(espl_random_u32(random) >> 8) * 0x1p-24f;
}

float espl_random_normal(espl_random *random) {
    double u = ((double)espl_random_u32(random) + 1.0) * 0x1p-32, v = (double)espl_random_u32(random) * 0x1p-32;
    return (float)(sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v));
}

uint32_t espl_random_below(espl_random *random, uint32_t bound) {
    /* Lemire 2019: multiply, and reject the few values that would make low results likelier. */
    uint32_t threshold = (0u - bound) % bound;
    for (;;) {
        uint64_t product = (uint64_t)espl_random_u32(random) * bound;
        if ((uint32_t)product >= threshold) return (uint32_t)(product >> 32);
    }
}
