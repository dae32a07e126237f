/* LN-tuning: the scales (and shifts) of norms are trained, Qi et al. 2022; files as Hugging Face PEFT has them. The norms stand
 * in place of the base's, so that only one such adapter is active at a time. */
#include "adapters/spec.h"
#include "adapters/targets.h"
#include <stdio.h>
#include <string.h>

static const espl_spec_row spec_keys[] = {
    {"targets", "target_modules", ESPL_SPEC_LIST, NULL},
    {"save", "modules_to_save", ESPL_SPEC_LIST, NULL},
    {0}};

static espl_status declare(espl_adapter *adapter) {
    espl_context *ctx = adapter->model->ctx;
    const espl_store *base = &adapter->model->store;
    size_t found = 0;
    ESPL_TRY(espl_target_default(adapter, "target_modules"));
    ESPL_TRY(espl_spec_default(adapter, "modules_to_save", json_null()));
    for (size_t i = 0; i < base->entry_count; i++) {
        const espl_entry *e = &base->entries[i];
        const char *dot = strrchr(e->name, '.');
        char path[256], *name;
        bool selected;
        if (!dot) continue;
        snprintf(path, sizeof path, "%.*s", (int)(dot - e->name), e->name);
        ESPL_TRY(espl_target_selected(adapter, 0, path, &selected));
        if (!selected) continue;
        if (!e->vector)
            return espl_fail(ctx, ESPL_ARGUMENT, "ln: %s is not a norm", path);
        ESPL_TRY(espl_format(ctx, &name, "base_model.model.%s.ln_tuning_layers%s", path, dot));
        espl_status status = espl_adapter_replace(adapter, e, name);
        espl_free(ctx, &name);
        ESPL_TRY(status);
        found++;
    }
    if (!found) return espl_target_none(adapter);
    return espl_target_saved(adapter);
}

const espl_method espl_method_ln = {
    .name = "ln",
    .peft_type = "LN_TUNING",
    .properties = {.intra = ESPL_INTRA_NONE,
                   .adapted = ESPL_ADAPTED_SELECTION,
                   .input = ESPL_INPUT_WEIGHTS,
                   .insertion = ESPL_INSERTION_SEQUENTIAL,
                   .integration = ESPL_INTEGRATION_REPLACEMENT},
    .keys = {spec_keys},
    .declare = declare};
