/* Compositions take turns, so that what else the machine does touches all alike; a ratio is of one round. */
#include "tools/espalier/bench_compositions.h"
#include "host/base/os.h"
#include <stdio.h>
#include <string.h>

enum { PASSES = 4, ROUNDS_MAX = 1000, EACH = 4 };

/* Four of each: LoRAs, bottlenecks in all blocks, and in the upper half alone. */
static const char letters[] = {'l', 'b', 'u'};

static const struct {
    const char *name, *expression;
    size_t beside; /* the row that it is measured with */
} rows[] = {
    {"LoRA", "l0", 0},
    {"rows of 4 LoRAs", "multitask(l0,l1,l2,l3)", 0},
    {"4 LoRAs added", "l0+l1+l2+l3", 0},
    {"bottleneck", "b0", 3},
    {"rows of 4", "multitask(b0,b1,b2,b3)", 3},
    {"4 averaged", "average(b0,b1,b2,b3)", 3},
    {"4 in parallel", "parallel(b0,b1,b2,b3)", 3},
    {"upper half", "u0", 7},
    {"4 in parallel, upper", "parallel(u0,u1,u2,u3)", 7},
};
enum { ROWS = sizeof rows / sizeof *rows };

/* The fastest forward pass over the rows, whose recording is not counted. */
static espl_status pass_ms(espl_model *model, const char *expression, espl_adapter *adapter, const espl_dataset *dataset, uint32_t batch,
                           double *out_ms) {
    espl_trainer *trainer;
    double loss;
    const espl_trainer_params params = {.steps = 1, .batch = batch};
    *out_ms = 1e300;
    ESPL_TRY(espl_model_activate(model, expression));
    ESPL_TRY(espl_trainer_create(model, adapter, dataset, &params, &trainer));
    espl_status status = espl_trainer_evaluate(trainer, &loss);
    for (size_t i = 0; i < PASSES && status == ESPL_OK; i++) {
        const double begin = espl_os_seconds();
        status = espl_trainer_evaluate(trainer, &loss);
        const double ms = (espl_os_seconds() - begin) * 1e3;
        if (ms < *out_ms) *out_ms = ms;
    }
    espl_trainer_destroy(&trainer);
    return status;
}

static espl_status add(espl_model *model, size_t kind, espl_adapter *adapters[EACH]) {
    char spec[256] = "lora:r=8";
    const uint32_t lower = espl_model_describe(model).layers / 2;
    if (letters[kind] != 'l') snprintf(spec, sizeof spec, "pfeiffer:rf=16,drop=%u", letters[kind] == 'u' ? lower : 0);
    for (int i = 0; i < EACH; i++) {
        const char name[] = {letters[kind], (char)('0' + i), 0};
        ESPL_TRY(espl_adapter_add(model, name, spec, (uint64_t)i, &adapters[i]));
    }
    return ESPL_OK;
}

espl_status bench_composition_passes(espl_model *model, const espl_dataset *dataset, uint32_t batch, size_t rounds, bench_row row, void *user) {
    static double ms[ROWS][ROUNDS_MAX], ratios[ROWS][ROUNDS_MAX];
    espl_adapter *adapters[sizeof letters][EACH];
    if (rounds > ROUNDS_MAX) rounds = ROUNDS_MAX;
    for (size_t kind = 0; kind < sizeof letters; kind++) ESPL_TRY(add(model, kind, adapters[kind]));
    for (size_t r = 0; r < rounds; r++) {
        for (size_t i = 0; i < ROWS; i++) {
            const char letter = rows[rows[i].beside].expression[0];
            const size_t kind = (size_t)((const char *)memchr(letters, letter, sizeof letters) - letters);
            ESPL_TRY(pass_ms(model, rows[i].expression, adapters[kind][0], dataset, batch, &ms[i][r]));
        }
        for (size_t i = 0; i < ROWS; i++) ratios[i][r] = ms[i][r] / ms[rows[i].beside][r];
    }
    for (size_t i = 0; i < ROWS; i++) {
        char unit[40];
        row(user, rows[i].name, "ms", ms[i], rounds);
        snprintf(unit, sizeof unit, "of %s", rows[rows[i].beside].name);
        if (i != rows[i].beside) row(user, rows[i].name, unit, ratios[i], rounds);
    }
    return ESPL_OK;
}
