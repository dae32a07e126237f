/* The head alone: the task's where the model has one, that of masked tokens, else the output projection. The baseline of every
 * comparison. */
#include "adapters/spec.h"
#include "adapters/targets.h"
#include <string.h>

static const espl_spec_row spec_keys[] = {
    {"save", "modules_to_save", ESPL_SPEC_LIST, NULL},
    {0}};

static bool has_module(const espl_model *model, const char *name) {
    const size_t bytes = strlen(name);
    for (size_t i = 0; i < model->store.entry_count; i++) {
        const char *entry = model->store.entries[i].name;
        if (strncmp(entry, name, bytes) == 0 && entry[bytes] == '.' && !strchr(entry + bytes + 1, '.')) return true;
    }
    return false;
}

/* Its map, norm and bias; the vocabulary's matrix only where it is not the embedding. */
static espl_status save_masked(espl_adapter *adapter) {
    const espl_model *model = adapter->model;
    const espl_head_names *names = model->task.names;
    const char *const modules[] = {names->dense, names->norm, names->out};
    const char *last = strrchr(names->out_bias, '.');
    espl_bytes list = {0};
    espl_status status = ESPL_OK;
    for (size_t i = 0; i < ESPL_COUNT(modules); i++) {
        if (modules[i] && has_module(model, modules[i]))
            ESPL_GOTO(espl_bytes_print(model->ctx, &list, "%s%s", list.count ? "+" : "", modules[i]));
    }
    ESPL_GOTO(espl_bytes_print(model->ctx, &list, "%s%.*s", list.count ? "+" : "", (int)(last - names->out_bias), names->out_bias));
    status = espl_spec_list(adapter, "modules_to_save", list.data);
fail:
    espl_bytes_finish(model->ctx, &list);
    return status;
}

static espl_status declare(espl_adapter *adapter) {
    const json_t *given = json_object_get(adapter->config, "modules_to_save");
    const espl_head_kind kind = adapter->model->task.kind;
    if ((!given || json_is_null(given)) && kind == ESPL_HEAD_MASKED) ESPL_TRY(save_masked(adapter));
    else if ((!given || json_is_null(given)) && !adapter->model->task.labels)
        ESPL_TRY(espl_spec_list(adapter, "modules_to_save", "lm_head"));
    return espl_target_saved(adapter);
}

const espl_method espl_method_head = {
    .name = "head",
    .peft_type = "HEAD",
    .properties = {.intra = ESPL_INTRA_DENSE,
                   .adapted = ESPL_ADAPTED_SELECTION,
                   .input = ESPL_INPUT_HIDDEN,
                   .insertions = ESPL_INSERTIONS_ONE,
                   .integration = ESPL_INTEGRATION_REPLACEMENT},
    .keys = {spec_keys},
    .declare = declare};
