#include "tests/ref/ref.h"

/* Philox 4x32-10 as Salmon et al. 2011 write it: the counter is index and stream, the key is seed. */
static uint32_t philox_word(uint64_t seed, uint64_t stream, uint64_t index, unsigned word) {
    uint32_t counter[4] = {(uint32_t)index, (uint32_t)(index >> 32), (uint32_t)stream, (uint32_t)(stream >> 32)};
    uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    for (int round = 0; round < 10; round++) {
        const uint64_t a = 0xD2511F53ull * counter[0], b = 0xCD9E8D57ull * counter[2];
        const uint32_t next[4] = {(uint32_t)(b >> 32) ^ counter[1] ^ key[0], (uint32_t)b,
                                  (uint32_t)(a >> 32) ^ counter[3] ^ key[1], (uint32_t)a};
        for (int i = 0; i < 4; i++)
            counter[i] = next[i];
        key[0] += 0x9E3779B9u, key[1] += 0xBB67AE85u;
    }
    return counter[word];
}

double ref_dropout_word(uint64_t seed, uint64_t stream, uint64_t index, unsigned word) {
    return philox_word(seed, stream, index, word) * 0x1p-32;
}

double ref_dropout_factor(const ref_dropout_args *args, size_t i, size_t h, size_t j, size_t keys) {
    if (args->p == 0) return 1;
    const size_t column = (keys + 31) / 32 * 32 * h + j;
    const double unit = ref_dropout_word(args->seed, args->stream, (uint64_t)i << 32 | column / 4, column % 4);
    return unit < args->p ? 0 : 1 / (1 - args->p);
}

void ref_dropout(const double *x, size_t rows, size_t cols, double p, uint64_t seed, uint64_t stream, double *y) {
    const size_t quads = (cols + 3) / 4;
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < cols; c++) {
            const double unit = ref_dropout_word(seed, stream, r * quads + c / 4, c % 4);
            y[r * cols + c] = unit < p ? 0 : x[r * cols + c] / (1 - p);
        }
}
