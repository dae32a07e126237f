/* Datasets: loading by the kind of file, the two parts, rows, the order of an epoch. */
#include "host/base/os.h"
#include "host/train/data_private.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Streams of the random numbers of a seed: epochs count from 0, the split and their batches are far from them. */
#define SPLIT_STREAM   UINT64_C(0x73706c6974)
#define BATCHES_STREAM (UINT64_C(1) << 63)
#define PIECE_BYTES    ((size_t)4 << 20)

void espl_epoch_order(uint64_t seed, uint64_t epoch, uint32_t count, uint32_t *out_order) {
    espl_random random = {.seed = seed, .stream = epoch};
    for (uint32_t i = 0; i < count; i++)
        out_order[i] = i;
    for (uint32_t left = count; left > 1; left--) {
        uint32_t pick = espl_random_below(&random, left), last = out_order[left - 1];
        out_order[left - 1] = out_order[pick];
        out_order[pick] = last;
    }
}

void espl_dataset_order(const espl_dataset *dataset, espl_part part, uint64_t seed, uint64_t epoch, uint32_t *out_order) {
    const uint32_t choices = dataset->choices, questions = espl_dataset_rows(dataset, part) / choices;
    espl_epoch_order(seed, epoch, questions, out_order);
    /* From the last on, in place: a question's rows lie at or behind its number. */
    for (uint32_t q = questions; q-- > 0;) {
        const uint32_t from = out_order[q] * choices;
        for (uint32_t i = 0; i < choices; i++) out_order[q * choices + i] = from + i;
    }
}

static int by_value(const void *a, const void *b) {
    const uint64_t *left = a, *right = b;
    return *left < *right ? -1 : *left > *right;
}

static uint32_t longest_of(const espl_dataset *dataset, espl_part part, const uint32_t *rows, uint32_t count) {
    uint32_t longest = 0;
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t length = espl_dataset_row(dataset, part, rows[i]).length;
        longest = length > longest ? length : longest;
    }
    return longest;
}

void espl_dataset_sort(const espl_dataset *dataset, espl_part part, uint32_t *in_out_order, uint32_t count, uint64_t *keys) {
    const uint32_t choices = dataset->choices, questions = count / choices;
    uint64_t *before = keys + count;
    for (uint32_t i = 0; i < count; i++) before[i] = in_out_order[i];
    for (uint32_t q = 0; q < questions; q++)
        keys[q] = (uint64_t)(dataset->context - longest_of(dataset, part, in_out_order + q * choices, choices)) << 32 | q;
    qsort(keys, questions, sizeof *keys, by_value);
    for (uint32_t i = 0; i < count; i++)
        in_out_order[i] = (uint32_t)before[(keys[i / choices] & UINT32_MAX) * choices + i % choices];
}

static void swap_rows(uint32_t *a, uint32_t *b, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t row = a[i];
        a[i] = b[i];
        b[i] = row;
    }
}

void espl_dataset_group(const espl_dataset *dataset, espl_part part, const espl_grouping *by, uint32_t count,
                        uint32_t *in_out_order, uint64_t *keys) {
    const uint32_t batch = by->batch, lead = (uint32_t)((batch - by->epoch * count % batch) % batch);
    espl_random random = {.seed = by->seed, .stream = BATCHES_STREAM + by->epoch};
    uint32_t batches = count < lead ? 0 : (count - lead) / batch;
    for (uint32_t *group = in_out_order + lead, left; batches > 0; batches -= left, group += left * batch) {
        left = batches < by->group ? batches : by->group;
        espl_dataset_sort(dataset, part, group, left * batch, keys);
        for (uint32_t last = left; last > 1; last--)
            swap_rows(group + (last - 1) * batch, group + espl_random_below(&random, last) * batch, batch);
    }
}

/* ---- Rows ---- */

static espl_row row_at(const espl_dataset *dataset, uint32_t row) {
    const size_t at = (size_t)row * dataset->context;
    if (dataset->tail && row == dataset->rows - 1)
        return (espl_row){.ids = dataset->tail, .labels = dataset->tail + dataset->context,
                          .length = dataset->tail_length};
    return (espl_row){.ids = dataset->ids ? dataset->ids + at : NULL,
                      .embeddings = dataset->embeddings ? dataset->embeddings + at * dataset->width : NULL,
                      .labels = dataset->labels ? dataset->labels + (size_t)row * dataset->label_count : dataset->ids + at + 1,
                      .types = dataset->types ? dataset->types + at : NULL,
                      .values = dataset->values ? dataset->values + (size_t)row * dataset->value_count : NULL,
                      .task = dataset->tasks ? dataset->tasks[row] : 0,
                      .length = dataset->lengths ? (uint32_t)dataset->lengths[row] : dataset->context};
}

uint32_t espl_dataset_context(const espl_dataset *dataset) {
    return dataset->context;
}

uint32_t espl_dataset_rows(const espl_dataset *dataset, espl_part part) {
    uint32_t validation = dataset->rows - dataset->train_rows;
    return part == ESPL_PART_ALL ? dataset->rows : part == ESPL_PART_TRAIN ? dataset->train_rows : validation;
}

espl_dataset_shape espl_dataset_shape_of(const espl_dataset *dataset) {
    return (espl_dataset_shape){.labels = dataset->label_count,
                                .values = dataset->value_count,
                                .width = dataset->width,
                                .choices = dataset->choices,
                                .spans = dataset->spans,
                                .vocabulary = dataset->vocabulary,
                                .types = dataset->type_end,
                                .label_end = dataset->label_end};
}

uint64_t espl_dataset_hash(const espl_dataset *dataset) {
    return dataset->hash;
}

espl_row espl_dataset_row(const espl_dataset *dataset, espl_part part, uint32_t index) {
    if (part == ESPL_PART_ALL) return row_at(dataset, index);
    return row_at(dataset, dataset->parts[index + (part == ESPL_PART_VALIDATION ? dataset->train_rows : 0)]);
}

espl_dataset_info espl_dataset_describe(const espl_dataset *dataset) {
    return (espl_dataset_info){
        .train_rows = dataset->train_rows,
        .validation_rows = dataset->rows - dataset->train_rows,
        .context = dataset->context,
        .train_labels = dataset->train_labels,
        .validation_labels = dataset->validation_labels,
    };
}

/* ---- Parts ---- */

static uint64_t mix(uint64_t hash, uint64_t value) {
    hash = (hash ^ value) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ (hash >> 29);
}

static uint64_t mix_numbers(uint64_t hash, const float *numbers, size_t count) {
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &numbers[i], sizeof bits);
        hash = mix(hash, bits);
    }
    return hash;
}

static uint64_t mix_row(const espl_dataset *dataset, uint64_t hash, const espl_row *row) {
    const uint32_t columns = dataset->label_count > dataset->context ? dataset->label_count : dataset->context;
    for (uint32_t i = 0; i < columns; i++) {
        const int32_t label = i < dataset->label_count && row->labels[i] >= 0 ? row->labels[i] : ESPL_NO_LABEL;
        hash = mix(hash, (uint64_t)(uint32_t)(row->ids && i < dataset->context ? row->ids[i] : 0) << 32 | (uint32_t)label);
        if (row->types && i < dataset->context) hash = mix(hash, (uint32_t)row->types[i]);
    }
    if (dataset->lengths) hash = mix(hash, row->length);
    if (dataset->tasks) hash = mix(hash, (uint32_t)row->task);
    hash = mix_numbers(hash, row->embeddings, (size_t)dataset->context * dataset->width);
    return mix_numbers(hash, row->values, dataset->value_count);
}

/* Counts labels, finds the largest id, type and label, makes the hash. */
static void survey(espl_dataset *dataset) {
    uint64_t hash = mix(dataset->context, dataset->rows);
    int32_t id = -1, type = 0, largest = -1;
    if (dataset->choices > 1) hash = mix(hash, dataset->choices);
    for (uint32_t r = 0; r < dataset->rows; r++) {
        espl_row row = row_at(dataset, dataset->parts[r]);
        uint64_t labels = 0;
        for (uint32_t i = 0; i < dataset->context; i++) {
            id = row.ids && row.ids[i] > id ? row.ids[i] : id;
            type = row.types && row.types[i] > type ? row.types[i] : type;
        }
        for (uint32_t i = 0; i < dataset->label_count; i++) {
            const int32_t label = row.labels[i] < 0 ? ESPL_NO_LABEL : row.labels[i];
            labels += label >= 0;
            largest = label > largest ? label : largest;
        }
        hash = mix_row(dataset, hash, &row);
        *(r < dataset->train_rows ? &dataset->train_labels : &dataset->validation_labels) += labels;
    }
    dataset->vocabulary = (uint32_t)(id + 1);
    dataset->type_end = (uint32_t)type + 1;
    dataset->label_end = (uint32_t)(largest + 1);
    dataset->hash = mix(hash, dataset->train_rows);
}

/* Which rows are for validation: the last ones, or drawn by seed, whole questions; each part in the order of the file. */
espl_status espl_data_split(espl_dataset *dataset, double share, bool last, uint64_t seed) {
    const uint32_t rows = dataset->rows, questions = rows / dataset->choices;
    uint32_t validation = 0;
    if (share > 0 && questions > 1) {
        double wanted = floor(share * questions + 0.5);
        validation = wanted < 1 ? 1 : wanted > questions - 1 ? questions - 1 : (uint32_t)wanted;
    }
    dataset->train_rows = (questions - validation) * dataset->choices;
    ESPL_TRY(espl_new(dataset->ctx, rows * sizeof *dataset->parts, &dataset->parts));
    uint8_t *drawn;
    ESPL_TRY(espl_new(dataset->ctx, questions, &drawn));
    if (!last) espl_epoch_order(seed, SPLIT_STREAM, questions, dataset->parts);
    for (uint32_t i = 0; i < validation; i++)
        drawn[last ? questions - 1 - i : dataset->parts[i]] = 1;
    uint32_t train_at = 0, validation_at = dataset->train_rows;
    for (uint32_t r = 0; r < rows; r++)
        dataset->parts[drawn[r / dataset->choices] ? validation_at++ : train_at++] = r;
    espl_free(dataset->ctx, &drawn);
    survey(dataset);
    return ESPL_OK;
}

/* ---- Loading ---- */

static bool ends_with(const char *path, const char *extension) {
    size_t path_bytes = strlen(path), bytes = strlen(extension);
    if (path_bytes < bytes) return false;
    for (size_t i = 0; i < bytes; i++) {
        char letter = path[path_bytes - bytes + i];
        if (letter >= 'A' && letter <= 'Z') letter = (char)(letter - 'A' + 'a');
        if (letter != extension[i]) return false;
    }
    return true;
}

static espl_status read_file(espl_data_reader *reader, const espl_mapping *map, bool *out_is_text) {
    const char *text = (const char *)map->data;
    size_t bytes = map->bytes;
    if (bytes >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0) {
        text += 3;
        bytes -= 3;
    }
    *out_is_text = false;
    if (bytes == 0) return espl_fail(reader->ctx, ESPL_FORMAT, "%s:1: the file is empty", reader->path);
    if (ends_with(reader->path, ".jsonl")) return espl_data_read_lines(reader, text, bytes);
    if (ends_with(reader->path, ".json")) return espl_data_read_array(reader, text, bytes);
    *out_is_text = true;
    return espl_data_read_text(reader, text, bytes, PIECE_BYTES);
}

static espl_status begin_reader(espl_data_reader *reader, const char *chat_template) {
    const espl_tokenizer *tokenizer = reader->tokenizer;
    ESPL_TRY(espl_tokens_frame(reader->ctx, tokenizer, &reader->frame));
    reader->chat = chat_template ? espl_chat_recognize(chat_template, NULL) : espl_chat_guess(tokenizer);
    reader->eos = espl_tokenizer_eos(tokenizer);
    uint32_t pad = espl_tokenizer_pad(tokenizer);
    if (pad == ESPL_NO_TOKEN) pad = reader->eos;
    reader->pad = pad == ESPL_NO_TOKEN ? 0 : (int32_t)pad;
    return ESPL_OK;
}

static void finish_reader(espl_data_reader *reader) {
    espl_tokens_finish(reader->ctx, &reader->tokens);
    espl_chat_text_finish(reader->ctx, &reader->rendered);
    espl_free(reader->ctx, &reader->messages);
    espl_bytes_finish(reader->ctx, &reader->prompt);
}

espl_status espl_dataset_load_chat(espl_context *ctx, const espl_tokenizer *tokenizer, const char *chat_template,
                                   const char *path, const espl_dataset_params *params, espl_dataset **out_dataset) {
    *out_dataset = NULL;
    espl_dataset_params filled = params ? *params : (espl_dataset_params){0};
    if (filled.context == 0) filled.context = 256;
    if (filled.validation_share == 0) filled.validation_share = 0.05;
    if (!tokenizer) return espl_fail(ctx, ESPL_ARGUMENT, "%s: a dataset needs the model's tokenizer", path);
    if (!(filled.validation_share < 1))
        return espl_fail(ctx, ESPL_ARGUMENT, "a validation share of %g leaves nothing to train on",
                         filled.validation_share);
    espl_data_reader reader = {.ctx = ctx, .tokenizer = tokenizer, .path = path, .tasks_of = filled.tasks_of};
    espl_dataset *dataset = NULL;
    espl_mapping map = {0};
    bool is_text;
    espl_status status;
    ESPL_GOTO(espl_new(ctx, sizeof *dataset, &dataset));
    dataset->ctx = ctx;
    dataset->context = dataset->label_count = filled.context;
    dataset->choices = 1;
    reader.dataset = dataset;
    ESPL_GOTO(begin_reader(&reader, chat_template));
    ESPL_GOTO(espl_os_map(ctx, path, &map));
    ESPL_GOTO(read_file(&reader, &map, &is_text));
    ESPL_GOTO(espl_data_split(dataset, filled.validation_share, is_text, filled.seed));
    *out_dataset = dataset;
fail:
    if (map.data) espl_os_unmap(&map);
    finish_reader(&reader);
    if (status) espl_dataset_destroy(&dataset);
    return status;
}

espl_status espl_dataset_load(espl_context *context, const espl_tokenizer *tokenizer, const char *path,
                              const espl_dataset_params *params, espl_dataset **out_dataset) {
    *out_dataset = NULL;
    char *chat_template = NULL;
    if (params && params->model_folder) ESPL_TRY(espl_chat_load(context, params->model_folder, &chat_template));
    espl_status status = espl_dataset_load_chat(context, tokenizer, chat_template, path, params, out_dataset);
    espl_free(context, &chat_template);
    return status;
}

void espl_dataset_destroy(espl_dataset **dataset) {
    espl_dataset *gone = *dataset;
    if (!gone) return;
    espl_context *ctx = gone->ctx;
    espl_free(ctx, &gone->ids);
    espl_free(ctx, &gone->embeddings);
    espl_free(ctx, &gone->labels);
    espl_free(ctx, &gone->types);
    espl_free(ctx, &gone->lengths);
    espl_free(ctx, &gone->tasks);
    espl_free(ctx, &gone->values);
    espl_free(ctx, &gone->tail);
    espl_free(ctx, &gone->parts);
    espl_free(ctx, dataset);
}
