/* Methods take turns, so that what else the machine does touches all alike; a ratio is of one round. */
#include "tools/espalier/bench_methods.h"
#include "host/base/os.h"
#include <stdio.h>

enum { STEPS = 4, ROUNDS_MAX = 1000 };

/* The base's frozen forward and its backward down to the embeddings: one column at the embeddings costs nothing beside. */
#define BASE "adalink:r=1,dropout=0"

static const struct {
    const char *name, *spec;
    size_t beside; /* the row that it is measured with */
} methods[] = {
    {"base", BASE, 0},
    {"lora", "lora:r=8", 0},
    {"ia3", "ia3", 0},
    {"pasta", "{\"peft_type\":\"PASTA\",\"special_token_ids\":[1,2],\"num_special\":1024,\"dropout\":0}", 0},
    {"adalink", "adalink:r=64,dropout=0", 0},
    {"dylora", "dylora:r=8", 1},
};
enum { METHODS = sizeof methods / sizeof *methods };

static espl_status step_ms(espl_model *model, espl_adapter *adapter, const espl_dataset *dataset, uint32_t batch,
                           double *out_ms) {
    espl_trainer *trainer;
    espl_progress progress;
    const espl_trainer_params params = {.steps = STEPS + 1, .batch = batch};
    *out_ms = 1e300;
    ESPL_TRY(espl_model_activate(model, espl_adapter_name(adapter)));
    ESPL_TRY(espl_trainer_create(model, adapter, dataset, &params, &trainer));
    espl_status status = espl_trainer_step(trainer, &progress); /* pages, caches, clocks */
    for (size_t i = 0; i < STEPS && status == ESPL_OK; i++) {
        const double begin = espl_os_seconds();
        status = espl_trainer_step(trainer, &progress);
        const double ms = (espl_os_seconds() - begin) * 1e3;
        if (ms < *out_ms) *out_ms = ms;
    }
    espl_trainer_destroy(&trainer);
    return status;
}

espl_status bench_method_steps(espl_model *model, const espl_dataset *dataset, uint32_t batch, size_t rounds, bench_row row,
                               void *user) {
    static double ms[METHODS][ROUNDS_MAX], ratios[METHODS][ROUNDS_MAX];
    espl_adapter *adapters[METHODS];
    if (rounds > ROUNDS_MAX) rounds = ROUNDS_MAX;
    for (size_t m = 0; m < METHODS; m++)
        ESPL_TRY(espl_adapter_add(model, methods[m].name, methods[m].spec, 1, &adapters[m]));
    for (size_t r = 0; r < rounds; r++) {
        for (size_t m = 0; m < METHODS; m++) ESPL_TRY(step_ms(model, adapters[m], dataset, batch, &ms[m][r]));
        for (size_t m = 0; m < METHODS; m++) ratios[m][r] = ms[m][r] / ms[methods[m].beside][r];
    }
    for (size_t m = 0; m < METHODS; m++) {
        char name[40], unit[40];
        snprintf(name, sizeof name, "step: %s", methods[m].name);
        row(user, name, "ms", ms[m], rounds);
        snprintf(unit, sizeof unit, "of %s", methods[methods[m].beside].name);
        if (m != methods[m].beside) row(user, name, unit, ratios[m], rounds);
    }
    return ESPL_OK;
}
