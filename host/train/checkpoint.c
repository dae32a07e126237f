/* A checkpoint is one safetensors file, so that it is there whole or not at all: the trained tensors, AdamW's moments
 * (param.<name>, exp_avg.<name>, exp_avg_sq.<name>; of adapters beside the first param1.<name>, ...), what the method carries from
 * step to step (carried.<number>), the statistics, and a description that resume is held against. */
#include "host/train/trainer.h"
#include "host/model/adapter.h"
#include "host/base/os.h"
#include <stdio.h>
#include <string.h>

static const char description_key[] = "espalier.trainer";

/* The adapter's configuration but for what does not change its numbers. */
static json_t *describe_adapter(const espl_trainer *t, uint32_t index) {
    if (index >= t->adapter_count) return json_object();
    const espl_adapter *adapter = t->adapters[index];
    json_t *config = json_copy(adapter->config);
    if (config) {
        json_object_del(config, "base_model_name_or_path");
        json_object_del(config, "inference_mode");
    }
    return config;
}

/* Which of them has the tensors that this one shares: itself where it shares none, else the first of those that share. */
static int owner_of(const espl_trainer *t, uint32_t index) {
    uint32_t owner = index;
    for (uint32_t i = 0; i < index; i++) {
        if (t->adapters[i] == espl_adapter_owner(t->adapters[index])) owner = i;
    }
    return (int)owner;
}

/* Those that are trained beside the first, or NULL. */
static json_t *describe_also(const espl_trainer *t) {
    json_t *also = t->adapter_count > 1 ? json_array() : NULL;
    for (uint32_t i = 1; i < t->adapter_count; i++)
        json_array_append_new(also, json_pack("{s:s, s:o, s:i}", "method", t->adapters[i]->method->name, "adapter", describe_adapter(t, i),
                                              "shares", owner_of(t, i)));
    return also;
}

static uint64_t trained_values(espl_trainer *t) {
    uint64_t values = 0;
    for (uint32_t i = 0; i < t->store_count; i++) values += espl_store_values(espl_trainer_store(t, i));
    return values;
}

/* What must be the same for the steps to come to have the same bits. */
static json_t *describe(espl_trainer *t) {
    const espl_trainer_params *p = &t->params;
    const espl_dataset *data = t->dataset;
    const espl_config *c = &t->model->config;
    char hash[32];
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)espl_dataset_hash(data));
    return json_pack("{s:s, s:s, s:s, s:o, s:I, s:I, s:I, s:I, s:f, s:i, s:I, s:f, s:f, s:f, s:f, s:f, s:I, s:b, s:b, s:s, "
                     "s:I, s:f, s:f, s:f, s:o*}",
                     "model_type", c->family->model_type, "base_dtype", espl_dtype_name(t->model->dtype),
                     "method", t->adapter_count ? t->adapters[0]->method->name : "full", "adapter", describe_adapter(t, 0),
                     "steps", (json_int_t)t->steps, "batch", (json_int_t)p->batch, "accumulate", (json_int_t)p->accumulate,
                     "context", (json_int_t)espl_dataset_context(data), "learning_rate", p->learning_rate, "schedule",
                     (int)p->schedule, "warmup", (json_int_t)p->warmup, "beta1", p->beta1, "beta2", p->beta2, "epsilon",
                     p->epsilon, "weight_decay", p->weight_decay, "max_norm", p->max_norm, "seed", (json_int_t)p->seed,
                     "no_shuffle", (int)p->no_shuffle, "group_by_length", (int)p->group_by_length, "data", hash, "trained_values",
                     (json_int_t)trained_values(t), "dropout", (double)c->dropout, "attention_dropout",
                     (double)c->attention_dropout, "embedding_dropout", (double)c->embedding_dropout,
                     "also", describe_also(t));
}

static espl_status path_of(espl_trainer *t, const char *folder, char **out_path) {
    return espl_format(t->ctx, out_path, "%s/trainer.safetensors", folder);
}

static espl_status description_text(espl_trainer *t, char **out_text) {
    json_t *all = json_pack("{s:o, s:I, s:I, s:I, s:I}", "settings", describe(t), "step", (json_int_t)t->step, "rows_done",
                            (json_int_t)t->rows_done, "tokens_done", (json_int_t)t->tokens_done, "counter",
                            (json_int_t)t->train.pass[0].step[ESPL_STEP_COUNTER]);
    espl_bytes bytes = {0};
    if (!all) return espl_fail(t->ctx, ESPL_HOST_MEMORY, "no host memory for a checkpoint's description");
    espl_status status = espl_json_print(t->ctx, all, &bytes);
    espl_json_destroy(&all);
    *out_text = bytes.data;
    return status;
}

enum { GROUPS = 3, FORMAT_MAX = 32 };
static const char *const group_names[GROUPS] = {"param", "exp_avg", "exp_avg_sq"};

static espl_span group_of(espl_trainer *t, uint32_t index, size_t group) {
    const espl_optimiser *o = &t->optimisers[index];
    return group == 0 ? o->store->flat : group == 1 ? o->m : o->v;
}

/* "param.%s", of adapters beside the first "param1.%s". */
static void group_format(char format[FORMAT_MAX], uint32_t index, size_t group) {
    char number[12] = "";
    if (index) snprintf(number, sizeof number, "%u", index);
    snprintf(format, FORMAT_MAX, "%s%s.%%s", group_names[group], number);
}

/* Tensors of all that is trained, *in_out_count of them more. */
static espl_status add_groups(espl_trainer *t, espl_tensor_entry *entries, espl_store_source *sources, size_t *in_out_count) {
    for (uint32_t i = 0; i < t->store_count; i++) {
        espl_store *store = espl_trainer_store(t, i);
        for (size_t group = 0; group < GROUPS; group++) {
            char format[FORMAT_MAX];
            group_format(format, i, group);
            ESPL_TRY(espl_store_entries(store, format, group_of(t, i, group), entries + *in_out_count, sources + *in_out_count));
            *in_out_count += store->entry_count;
        }
    }
    return ESPL_OK;
}

static size_t count_tensors(espl_trainer *t) {
    size_t count = 0;
    for (uint32_t i = 0; i < t->store_count; i++) count += GROUPS * espl_trainer_store(t, i)->entry_count;
    return count;
}

espl_status espl_trainer_save(espl_trainer *t, const char *folder) {
    espl_store *first = espl_trainer_store(t, 0); /* trained with others it carries nothing */
    const size_t count = count_tensors(t) + espl_store_carried_count(first);
    espl_tensor_entry *entries = NULL;
    espl_store_source *sources = NULL;
    char *text = NULL, *path = NULL;
    float stats[ESPL_STATS_WORDS];
    size_t done = 0;
    espl_status status = ESPL_OK;
    ESPL_GOTO(espl_trainer_need_whole_step(t, "saved"));
    ESPL_GOTO(espl_os_make_folder(t->ctx, folder));
    ESPL_GOTO(espl_new(t->ctx, (count + 1) * sizeof *entries, &entries));
    ESPL_GOTO(espl_new(t->ctx, count * sizeof *sources, &sources));
    ESPL_GOTO(add_groups(t, entries, sources, &done));
    ESPL_GOTO(espl_store_carried(first, entries + done, sources + done));
    ESPL_GOTO(espl_optimiser_stats(&t->optimisers[0], stats));
    entries[count] = (espl_tensor_entry){.name = "statistics", .dtype = ESPL_DTYPE_F32, .rank = 1,
                                         .shape = {ESPL_STATS_WORDS}, .data = stats};
    ESPL_GOTO(description_text(t, &text));
    ESPL_GOTO(path_of(t, folder, &path));
    const espl_tensors_metadata_pair pairs[] = {{"format", "pt"}, {description_key, text}};
    ESPL_GOTO(espl_tensors_write(t->ctx, path, entries, count + 1, pairs, ESPL_COUNT(pairs)));
fail:
    if (entries && sources) espl_store_entries_finish(t->ctx, entries, sources, count);
    espl_free(t->ctx, &entries);
    espl_free(t->ctx, &sources);
    espl_free(t->ctx, &text);
    espl_free(t->ctx, &path);
    return status;
}

/* Every value of now is in saved; objects by their members, so that the sentence names what differs. */
static espl_status check_same(espl_trainer *t, const json_t *saved, json_t *now) {
    const char *key;
    json_t *value;
    json_object_foreach(now, key, value) {
        const json_t *other = json_object_get(saved, key);
        if (json_equal(value, other)) continue;
        if (json_is_object(value) && json_is_object(other) && json_object_size(value)) {
            ESPL_TRY(check_same(t, other, value));
            continue;
        }
        char *mine = json_dumps(value, JSON_ENCODE_ANY), *theirs = other ? json_dumps(other, JSON_ENCODE_ANY) : NULL;
        json_free_t release;
        json_get_alloc_funcs(NULL, &release);
        espl_status status = espl_fail(t->ctx, ESPL_ARGUMENT, "the checkpoint was made with %s %s, this run has %s", key,
                                       theirs ? theirs : "(none)", mine ? mine : "?");
        release(mine);
        release(theirs);
        return status;
    }
    return ESPL_OK;
}

static espl_status check_description(espl_trainer *t, const json_t *saved) {
    json_t *now = describe(t);
    espl_status status = now ? check_same(t, saved, now)
                             : espl_fail(t->ctx, ESPL_HOST_MEMORY, "no host memory for a description");
    espl_json_destroy(&now);
    return status;
}

static espl_status load_group(espl_trainer *t, const espl_tensors *set, uint32_t index, size_t group) {
    espl_store *store = espl_trainer_store(t, index);
    char format[FORMAT_MAX];
    group_format(format, index, group);
    for (size_t i = 0; i < store->entry_count; i++) {
        const espl_entry *entry = &store->entries[i];
        char name[512];
        espl_tensor_view view;
        snprintf(name, sizeof name, "%.*s%s", (int)strlen(format) - 2, format, entry->name);
        ESPL_TRY(espl_tensors_find(set, name, &view));
        const uint64_t values = espl_entry_values(store, entry);
        if (view.dtype != ESPL_DTYPE_F32 || view.bytes != values * 4)
            return espl_fail(t->ctx, ESPL_FORMAT, "%s has %zu bytes of %s, %llu values of F32 were expected", name, view.bytes,
                             espl_dtype_name(view.dtype), (unsigned long long)values);
        float *copy;
        ESPL_TRY(espl_new(t->ctx, view.bytes, &copy));
        memcpy(copy, view.data, view.bytes);
        espl_status status = espl_store_write_like(store, entry, group_of(t, index, group), copy);
        espl_free(t->ctx, &copy);
        ESPL_TRY(status);
    }
    return ESPL_OK;
}

static espl_status resume(espl_trainer *t, const espl_tensors *set, const json_t *all) {
    json_t *settings;
    uint64_t step, rows_done, tokens_done;
    uint32_t counter;
    espl_tensor_view stats;
    ESPL_TRY(espl_json_object(t->ctx, all, "settings", &settings));
    ESPL_TRY(check_description(t, settings));
    ESPL_TRY(espl_json_u64(t->ctx, all, "step", 0, &step));
    ESPL_TRY(espl_json_u64(t->ctx, all, "rows_done", 0, &rows_done));
    ESPL_TRY(espl_json_u64(t->ctx, all, "tokens_done", 0, &tokens_done));
    ESPL_TRY(espl_json_u32(t->ctx, all, "counter", 0, &counter));
    ESPL_TRY(espl_tensors_find(set, "statistics", &stats));
    if (stats.bytes != ESPL_STATS_WORDS * 4 || step > t->steps)
        return espl_fail(t->ctx, ESPL_FORMAT, "step %llu of %u, or %zu bytes of statistics, are not a checkpoint's",
                         (unsigned long long)step, t->steps, stats.bytes);
    for (uint32_t i = 0; i < t->store_count; i++) {
        for (size_t group = 0; group < GROUPS; group++) ESPL_TRY(load_group(t, set, i, group));
    }
    ESPL_TRY(espl_store_load_carried(espl_trainer_store(t, 0), set));
    float words[ESPL_STATS_WORDS];
    memcpy(words, stats.data, sizeof words);
    ESPL_TRY(espl_upload(t->model->device, t->optimisers[0].stats, words, sizeof words));
    t->step = (uint32_t)step;
    t->rows_done = rows_done;
    t->tokens_done = tokens_done;
    t->train.pass[0].step[ESPL_STEP_COUNTER] = counter;
    t->order_epoch = UINT64_MAX;
    return ESPL_OK;
}

espl_status espl_trainer_resume(espl_trainer *t, const char *folder) {
    char *path;
    espl_tensors *set = NULL;
    json_t *all = NULL;
    ESPL_TRY(espl_trainer_need_whole_step(t, "replaced by a checkpoint"));
    ESPL_TRY(path_of(t, folder, &path));
    espl_status status = espl_tensors_open(t->ctx, path, &set); /* names the path itself */
    if (status != ESPL_OK) {
        espl_free(t->ctx, &path);
        return status;
    }
    const char *text = espl_tensors_metadata(set, description_key);
    status = text ? espl_json_parse(t->ctx, text, strlen(text), "description", &all)
                  : espl_fail(t->ctx, ESPL_FORMAT, "there is no description of a trainer");
    if (status == ESPL_OK) status = resume(t, set, all);
    if (status != ESPL_OK) espl_fail_in(t->ctx, status, "%s", path);
    espl_json_destroy(&all);
    espl_tensors_destroy(&set);
    espl_free(t->ctx, &path);
    return status;
}
