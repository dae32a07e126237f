/* The head alone: the task's where the model has one, else the output projection. The baseline of every comparison. */
#include "adapters/spec.h"
#include "adapters/targets.h"

static espl_status set(espl_adapter *adapter, const char *key, const char *value) {
    static const espl_spec_row rows[] = {{"save", "modules_to_save", ESPL_SPEC_LIST}};
    return espl_spec_set(adapter, rows, ESPL_COUNT(rows), key, value);
}

static espl_status declare(espl_adapter *adapter) {
    const json_t *given = json_object_get(adapter->config, "modules_to_save");
    if ((!given || json_is_null(given)) && !adapter->model->task.labels)
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
    .set = set,
    .declare = declare};
