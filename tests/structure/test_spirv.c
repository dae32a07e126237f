/* Every portable kernel keeps to the small subset that any back end could take (shaders/README.md): read here from the
 * SPIR-V itself. A kernel that needs more is a variant of its own, chosen by capability, and has its extensions in
 * host/ops/ops.cmake; it must need them. */
#include "shaders/shaders.h"
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* Instructions of SPIR-V 1.3 that portable kernels may have, as ranges of opcodes with what they are. */
static const struct {
    uint32_t first, last;
} allowed[] = {
    {0, 8},     /* nop, undef, source, names, lines */
    {10, 19},   /* extension (names checked below), extended instructions, memory model, entry, modes, capability; void */
    {20, 24},   /* bool, int, float, vector, matrix types */
    {28, 33},   /* array, runtime array, struct, opaque-free pointer and function types */
    {41, 46},   /* constants */
    {48, 52},   /* specialization constants */
    {54, 57},   /* functions and calls */
    {59, 59},   /* variable */
    {61, 62},   /* load, store */
    {65, 66},   /* access chains */
    {71, 75},   /* decorations */
    {77, 84},   /* vector and composite */
    {109, 114}, /* conversions between numbers */
    {124, 124}, /* bitcast */
    {126, 148}, /* arithmetic, dot */
    {149, 152}, /* integer sum with carry, wide product */
    {154, 191}, /* any, all, comparisons, select */
    {194, 200}, /* bits */
    {201, 205}, /* bit fields, reversal, count */
    {224, 224}, /* control barrier */
    {245, 255}, /* phi, merges, branches, kill-free ends */
    {317, 317}, /* no line */
    {330, 330}, /* module processed */
    {331, 331}, /* execution mode by id */
};

enum { OP_EXTENSION = 10, OP_EXT_INST_IMPORT = 11, OP_CAPABILITY = 17, OP_KILL = 252, OP_CONTROL_BARRIER = 224 };
enum { CAPABILITY_SHADER = 1 };

/* Things outside of the subset; said where `loud`. */
static int check(const espl_shader *shader, bool loud) {
    int wrong = 0;
    const size_t count = shader->bytes / 4;
    for (size_t i = 5; i < count; i += shader->words[i] >> 16) {
        const uint32_t op = shader->words[i] & 0xffff;
        int fits = op != OP_KILL;
        if (fits) {
            fits = 0;
            for (size_t j = 0; j < sizeof allowed / sizeof allowed[0]; j++) fits |= allowed[j].first <= op && op <= allowed[j].last;
        }
        if (op == OP_CAPABILITY && shader->words[i + 1] != CAPABILITY_SHADER) {
            if (loud) printf("%s: capability %u\n", shader->name, shader->words[i + 1]);
            wrong++;
        }
        if (op == OP_EXTENSION && strcmp((const char *)&shader->words[i + 1], "SPV_KHR_storage_buffer_storage_class") != 0) {
            if (loud) printf("%s: extension %s\n", shader->name, (const char *)&shader->words[i + 1]);
            wrong++;
        }
        if (op == OP_EXT_INST_IMPORT && strcmp((const char *)&shader->words[i + 2], "GLSL.std.450") != 0) {
            if (loud) printf("%s: instructions %s\n", shader->name, (const char *)&shader->words[i + 2]);
            wrong++;
        }
        if (!fits) {
            if (loud) printf("%s: opcode %u\n", shader->name, op);
            wrong++;
        }
        if (shader->words[i] >> 16 == 0) return wrong + 1;
    }
    return wrong;
}

int main(void) {
    int wrong = 0, portable = 0, optional = 0;
#define ADDRESS(name) &espl_shader_##name,
    static const espl_shader *const portables[] = {ESPL_SHADER_LIST(ADDRESS) NULL};
    static const espl_shader *const optionals[] = {ESPL_OPTIONAL_SHADER_LIST(ADDRESS) NULL};
#undef ADDRESS
    for (; portables[portable]; portable++) wrong += check(portables[portable], true);
    for (; optionals[optional]; optional++) {
        if (check(optionals[optional], false)) continue;
        printf("%s: is said to need extensions and is portable\n", optionals[optional]->name);
        wrong++;
    }
    printf("%d portable shaders, %d beyond that, %d things wrong\n", portable, optional, wrong);
    return wrong != 0 || portable == 0;
}
