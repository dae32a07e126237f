/* What every folder stands on: failing with a sentence, memory that goes through the context's allocator, sizes that
 * cannot wrap, half floats, and growing arrays. No Vulkan, no file formats. */
#ifndef ESPL_BASE_H
#define ESPL_BASE_H

#include <espalier/context.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

#if defined(__MINGW32__) && !defined(__clang__)
/* Its printf is C's own under -std=c11; the plain name would stand for that of the system's old library. */
#define ESPL_PRINTF(text, first) __attribute__((__format__(__gnu_printf__, text, first)))
#elif defined(__GNUC__)
#define ESPL_PRINTF(text, first) __attribute__((__format__(__printf__, text, first)))
#else
#define ESPL_PRINTF(text, first)
#endif

#define ESPL_TRY(expr)                                   \
    do {                                                 \
        espl_status try_status_ = (expr);                \
        if (try_status_ != ESPL_OK) return try_status_;  \
    } while (0)

/* For functions with a fail: label and a variable `status`. */
#define ESPL_GOTO(expr)                          \
    do {                                         \
        status = (expr);                         \
        if (status != ESPL_OK) goto fail;        \
    } while (0)

#define ESPL_COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Records the sentence, tells it to the log at level DEBUG (who called may still handle it), returns status:
 * `return espl_fail(ctx, ESPL_IO, "...")`. */
espl_status espl_fail(espl_context *ctx, espl_status status, const char *format, ...) ESPL_PRINTF(3, 4);
/* Puts "what: " before the sentence just recorded and returns status; for callers that know which file it was. A sentence that
 * begins with this file, or with one in this folder, stays as it is. */
espl_status espl_fail_in(espl_context *ctx, espl_status status, const char *format, ...) ESPL_PRINTF(3, 4);
void espl_log(espl_context *ctx, espl_log_level level, const char *format, ...) ESPL_PRINTF(3, 4);

/* Zeroed memory; *out is NULL on failure and when bytes is 0. Fails: HOST_MEMORY with the number of bytes. */
espl_status espl_new(espl_context *ctx, size_t bytes, void *out_pointer);
/* Keeps the old content; new bytes are not zeroed. */
espl_status espl_resize(espl_context *ctx, void *in_out_pointer, size_t bytes);
/* Frees and clears: espl_free(ctx, &pointer). */
void espl_free(espl_context *ctx, void *in_out_pointer);
/* Copies bytes and adds a zero byte. */
espl_status espl_copy_string(espl_context *ctx, const char *text, size_t bytes, char **out_text);
/* "dir/name" or formatted text in memory of the context. */
espl_status espl_format(espl_context *ctx, char **out_text, const char *format, ...) ESPL_PRINTF(3, 4);

/* Growing array: makes room for count + extra items of item_bytes in *items; *capacity is in items. */
espl_status espl_grow(espl_context *ctx, void *in_out_items, size_t *in_out_capacity, size_t needed_count,
                      size_t item_bytes);

/* Growing bytes, always followed by a zero byte once anything was appended. */
typedef struct espl_bytes {
    char *data; /* owned */
    size_t count;
    size_t capacity;
} espl_bytes;
espl_status espl_bytes_append(espl_context *ctx, espl_bytes *bytes, const void *data, size_t count);
espl_status espl_bytes_print(espl_context *ctx, espl_bytes *bytes, const char *format, ...) ESPL_PRINTF(3, 4);
void espl_bytes_finish(espl_context *ctx, espl_bytes *bytes);

/* false if the product or sum does not fit. */
bool espl_mul(size_t a, size_t b, size_t *out_product);
bool espl_add(size_t a, size_t b, size_t *out_sum);

static inline uint64_t espl_round_up(uint64_t value, uint64_t multiple) {
    return (value + multiple - 1) / multiple * multiple;
}
static inline uint32_t espl_ceil_div(uint32_t value, uint32_t divisor) {
    return (uint32_t)(((uint64_t)value + divisor - 1) / divisor);
}

/* Number formats that tensors are stored in, on disk and on the device. */
#define ESPL_DTYPE_LIST(X) \
    X(F32, "F32", 4)       \
    X(F16, "F16", 2)       \
    X(BF16, "BF16", 2)     \
    X(I32, "I32", 4)       \
    X(F64, "F64", 8)       \
    X(I64, "I64", 8)       \
    X(U8, "U8", 1)

typedef enum espl_dtype {
#define ESPL_DTYPE_ENUM(name, text, bytes) ESPL_DTYPE_##name,
    ESPL_DTYPE_LIST(ESPL_DTYPE_ENUM)
#undef ESPL_DTYPE_ENUM
    ESPL_DTYPE_COUNT
} espl_dtype;

const char *espl_dtype_name(espl_dtype dtype);
size_t espl_dtype_bytes(espl_dtype dtype);
/* F32, F16 or BF16: what values and weights that kernels compute with may be. */
bool espl_dtype_is_float(espl_dtype dtype);
/* false if text names none. */
bool espl_dtype_parse(const char *text, espl_dtype *out_dtype);

/* Round to nearest even; infinities, NaN and subnormals are kept. */
uint16_t espl_f16_from_f32(float value);
float espl_f32_from_f16(uint16_t half);
uint16_t espl_bf16_from_f32(float value);
float espl_f32_from_bf16(uint16_t half);
/* Converts count values between any two dtypes that hold real numbers; I32 and I64 only to themselves or to floats. */
void espl_convert(const void *from, espl_dtype from_dtype, void *to, espl_dtype to_dtype, size_t count);

/* Counter-based random numbers, the same function as shaders/lib/rng.glsl: a value depends on (seed, stream, index)
 * alone, so any order of use and any number of threads gives the same bits. Philox 4x32-10, Salmon et al. 2011. */
void espl_philox(uint64_t seed, uint64_t stream, uint64_t index, uint32_t out_words[4]);
typedef struct espl_random {
    uint64_t seed, stream, index;
} espl_random;
uint32_t espl_random_u32(espl_random *random);
/* [0, 1) with 24 bits. */
float espl_random_uniform(espl_random *random);
/* Box-Muller. */
float espl_random_normal(espl_random *random);
/* Uniform in 0 .. bound-1 without bias; bound > 0. */
uint32_t espl_random_below(espl_random *random, uint32_t bound);

#endif
