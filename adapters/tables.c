/* The list of methods, and PEFT-Ref's tables 1 and 2 from the data of registry.c. */
#include "adapters/registry.h"
#include "adapters/table.h"
#include <stdio.h>
#include <string.h>

static espl_status add_row(espl_table *table, const char *const *texts, size_t count) {
    for (size_t i = 0; i < count; i++) ESPL_TRY(espl_table_add(table, "%s", texts[i]));
    return ESPL_OK;
}

/* ---- Methods ---- */

static void sites_text(uint32_t sites, char *text, size_t bytes) {
    static const char *const names[] = {
        [ESPL_SITE_BEGIN] = "begin",
        [ESPL_SITE_EMBED] = "embed",
        [ESPL_SITE_EMBEDDED] = "embedded",
        [ESPL_SITE_BLOCK_IN] = "block in",
        [ESPL_SITE_NORM] = "norm",
        [ESPL_SITE_WEIGHT] = "weight",
        [ESPL_SITE_BIAS] = "bias",
        [ESPL_SITE_LINEAR_IN] = "linear in",
        [ESPL_SITE_LINEAR] = "linear",
        [ESPL_SITE_KEYS] = "keys",
        [ESPL_SITE_ATTENTION_OUT] = "attention out",
        [ESPL_SITE_MLP_OUT] = "mlp out",
        [ESPL_SITE_BLOCK_OUT] = "block out",
        [ESPL_SITE_HEAD_IN] = "head in"};
    _Static_assert(ESPL_COUNT(names) == ESPL_SITE_COUNT, "a name for each site");
    size_t at = 0;
    snprintf(text, bytes, "in place");
    for (uint32_t s = 0; s < ESPL_SITE_COUNT && at < bytes; s++) {
        if (sites & 1u << s) at += (size_t)snprintf(text + at, bytes - at, "%s%s", at ? " + " : "", names[s]);
    }
}

static espl_status add_method(espl_table *table, const espl_method *m) {
    char sites[256];
    sites_text(m->properties.sites, sites, sizeof sites);
    ESPL_TRY(espl_table_add(table, "%s", m->name));
    ESPL_TRY(espl_table_add(table, "%s", m->peft_type ? m->peft_type : "-"));
    ESPL_TRY(espl_table_add(table, "%s", m->architecture ? m->architecture : "-"));
    for (uint32_t i = 0; i + 1 < ESPL_PROPERTY_COUNT; i++)
        ESPL_TRY(espl_table_add(table, "%s", m->parts ? "its parts'" : espl_property_text(&m->properties, i)));
    ESPL_TRY(espl_table_add(table, "%s", m->parts ? "its parts'" : sites));
    /* What only stands in place of the base's goes into it by copying. */
    return espl_table_add(table, "%s", m->merge || (!m->join && !m->parts) ? "yes" : "no");
}

/* Where specs are taken, this says that there is no adapter. */
static espl_status add_full(espl_table *table) {
    ESPL_TRY(espl_table_add(table, "full"));
    for (size_t i = 1; i + 2 < table->columns; i++) ESPL_TRY(espl_table_add(table, "-"));
    ESPL_TRY(espl_table_add(table, "the model itself"));
    return espl_table_add(table, "-");
}

espl_status espl_methods_list(espl_context *ctx, espl_table_format format, char **out_text) {
    espl_table table = {.ctx = ctx, .columns = ESPL_PROPERTY_COUNT + 4};
    static const char *const first[] = {"method", "PEFT type", "architecture"};
    espl_status status = add_row(&table, first, ESPL_COUNT(first));
    for (uint32_t i = 0; status == ESPL_OK && i < ESPL_PROPERTY_COUNT; i++)
        status = espl_table_add(&table, "%s", espl_property_name(i));
    if (status == ESPL_OK) status = espl_table_add(&table, "merge");
    for (size_t i = 0; status == ESPL_OK && i < espl_method_count; i++) status = add_method(&table, espl_methods[i]);
    if (status == ESPL_OK) status = add_full(&table);
    return espl_table_print(&table, status, format, out_text);
}

/* ---- Table 1 ---- */

static espl_status add_property(espl_table *table, uint32_t index) {
    ESPL_TRY(espl_table_add(table, "%s", espl_property_name(index)));
    for (size_t i = 0; i < espl_technique_count; i++) {
        const espl_technique *t = &espl_techniques[i];
        const char *note = t->notes[index];
        if (index + 1 == ESPL_PROPERTY_COUNT) ESPL_TRY(espl_table_add(table, "%s [%c]", note, t->tags[index]));
        else ESPL_TRY(espl_table_add(table, "%s%s%s [%c]", espl_property_text(&t->properties, index), note ? ": " : "",
                                     note ? note : "", t->tags[index]));
    }
    return ESPL_OK;
}

espl_status espl_methods_table1(espl_context *ctx, espl_table_format format, char **out_text) {
    espl_table table = {.ctx = ctx, .columns = espl_technique_count + 1};
    espl_status status = espl_table_add(&table, "property");
    for (size_t i = 0; status == ESPL_OK && i < espl_technique_count; i++)
        status = espl_table_add(&table, "%s", espl_techniques[i].code);
    for (uint32_t i = 0; status == ESPL_OK && i < ESPL_PROPERTY_COUNT; i++) status = add_property(&table, i);
    return espl_table_print(&table, status, format, out_text);
}

/* ---- Table 2 ---- */

/* Counted without biases, what that is beyond the formula, and biases; or why there is none. */
static espl_status add_counted(espl_table *table, espl_model *model, const espl_technique *t, uint64_t formula) {
    espl_adapter *adapter;
    espl_status status = espl_adapter_add(model, t->code, t->spec, 0, &adapter);
    if (status == ESPL_HOST_MEMORY) return status;
    if (status != ESPL_OK) {
        for (int i = 0; i < 3; i++) ESPL_TRY(espl_table_add(table, "-"));
        return espl_table_add(table, "%s", espl_context_message(model->ctx));
    }
    uint64_t weights, biases;
    espl_count_technique(t, adapter, &weights, &biases);
    espl_adapter_delete(&adapter);
    ESPL_TRY(espl_table_add(table, "%llu", (unsigned long long)weights));
    ESPL_TRY(espl_table_add(table, "%+lld", (long long)weights - (long long)formula));
    ESPL_TRY(espl_table_add(table, "%llu", (unsigned long long)biases));
    return espl_table_add(table, "%s", t->spec);
}

static espl_status add_technique(espl_table *table, espl_model *model, const espl_technique *t) {
    const uint32_t d = model->config.hidden;
    const espl_technique_sizes sizes = {.hidden = d, .module = t->reduction ? d / t->reduction : t->rank, .prompt = t->prompt};
    const uint64_t formula = t->parameters(&sizes);
    ESPL_TRY(espl_table_add(table, "%s", t->code));
    ESPL_TRY(espl_table_add(table, "%s [%s]", t->time, t->time_tag));
    ESPL_TRY(espl_table_add(table, "%s [%s]", t->formula, t->formula_tag));
    ESPL_TRY(espl_table_add(table, "%llu", (unsigned long long)sizes.module));
    ESPL_TRY(espl_table_add(table, "%llu", (unsigned long long)sizes.prompt));
    ESPL_TRY(espl_table_add(table, "%llu", (unsigned long long)formula));
    return add_counted(table, model, t, formula);
}

espl_status espl_methods_table2(espl_context *ctx, const char *model_folder, espl_table_format format, char **out_text) {
    static const char *const heading[] = {"technique", "time per token", "parameters per block", "d_h", "n", "formula", "counted",
                                          "difference", "biases", "counted with"};
    espl_table table = {.ctx = ctx, .columns = ESPL_COUNT(heading)};
    espl_model *model;
    *out_text = NULL;
    ESPL_TRY(espl_model_outline(ctx, model_folder, NULL, &model));
    espl_status status = add_row(&table, heading, ESPL_COUNT(heading));
    for (size_t i = 0; status == ESPL_OK && i < espl_technique_count; i++)
        status = add_technique(&table, model, &espl_techniques[i]);
    espl_model_destroy(&model);
    return espl_table_print(&table, status, format, out_text);
}
