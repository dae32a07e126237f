/* Examples: texts in blocks that never move, labels as indices, references gathered by source. */
#include "host/task/read_private.h"
#include <stdlib.h>
#include <string.h>

enum { FIRST_BLOCK = 4096, LARGEST_BLOCK = 1 << 20 };

struct espl_task_block {
    struct espl_task_block *next;
    size_t used, bytes;
    char data[];
};

/* ---- Memory of a set ---- */

static espl_status keep_bytes(espl_task_set *set, size_t bytes, size_t align, void *out_pointer) {
    struct espl_task_block *block = set->blocks;
    size_t at = block ? (block->used + align - 1) / align * align : 0, needed;
    if (!block || at > block->bytes || block->bytes - at < bytes) {
        size_t capacity = block ? block->bytes * 2 : FIRST_BLOCK;
        if (capacity > LARGEST_BLOCK) capacity = LARGEST_BLOCK;
        if (capacity < bytes) capacity = bytes;
        if (!espl_add(capacity, sizeof *block, &needed))
            return espl_fail(set->ctx, ESPL_LIMIT, "a text of %zu bytes is too long", bytes);
        ESPL_TRY(espl_new(set->ctx, needed, &block));
        *block = (struct espl_task_block){.next = set->blocks, .bytes = capacity};
        set->blocks = block;
        at = 0;
    }
    block->used = at + bytes;
    char *kept = block->data + at;
    memcpy(out_pointer, &kept, sizeof kept);
    return ESPL_OK;
}

static espl_status keep_array(espl_task_set *set, size_t count, size_t item_bytes, void *out_pointer) {
    size_t bytes;
    if (!espl_mul(count, item_bytes, &bytes)) return espl_fail(set->ctx, ESPL_LIMIT, "%zu items are too many", count);
    return keep_bytes(set, bytes, item_bytes, out_pointer);
}

static espl_status keep_text(espl_task_set *set, const char *data, size_t bytes, const char **out_text) {
    char *text = NULL;
    size_t needed;
    if (!espl_add(bytes, 1, &needed)) return espl_fail(set->ctx, ESPL_LIMIT, "a text of %zu bytes is too long", bytes);
    ESPL_TRY(keep_bytes(set, needed, 1, &text));
    memcpy(text, data, bytes);
    text[bytes] = 0;
    *out_text = text;
    return ESPL_OK;
}

void espl_task_set_finish(espl_task_set *set) {
    for (struct espl_task_block *block = set->blocks, *next; block; block = next) {
        next = block->next;
        espl_free(set->ctx, &block);
    }
    if (set->ctx) espl_free(set->ctx, &set->examples);
    *set = (espl_task_set){0};
}

static espl_status new_example(espl_task_reader *reader, espl_example **out_example) {
    espl_task_set *set = reader->set;
    if (set->count == UINT32_MAX) return espl_fail(reader->ctx, ESPL_LIMIT, "there are more than %u rows", UINT32_MAX);
    ESPL_TRY(espl_grow(reader->ctx, &set->examples, &reader->example_capacity, (size_t)set->count + 1,
                       sizeof *set->examples));
    *out_example = &set->examples[set->count];
    **out_example = (espl_example){0};
    set->count++;
    return ESPL_OK;
}

/* ---- Labels ---- */

static espl_status fail_label(espl_task_reader *reader, const char *what, espl_task_text label) {
    espl_bytes list = {0};
    espl_status status = ESPL_OK;
    for (size_t i = 0; i < reader->labels.count && i < 12 && !status; i++)
        status = espl_bytes_print(reader->ctx, &list, "%s%s", i ? ", " : "", espl_map_key(&reader->labels, i));
    if (!status && reader->labels.count > 12) status = espl_bytes_append(reader->ctx, &list, ", ...", 5);
    if (!status)
        status = espl_fail(reader->ctx, ESPL_FORMAT, "%s \"%.*s\" is none of %s", what, espl_task_text_shown(label),
                           label.data, list.data ? list.data : "no labels");
    espl_bytes_finish(reader->ctx, &list);
    return status;
}

static espl_status find_label(espl_task_reader *reader, const char *what, espl_task_text label, uint32_t *out_index) {
    const espl_map_entry *entry = espl_map_find(&reader->labels, label.data, label.bytes);
    if (entry) {
        *out_index = entry->value;
        return ESPL_OK;
    }
    if (!reader->gather) return fail_label(reader, what, label);
    if (label.bytes == 0) return espl_fail(reader->ctx, ESPL_FORMAT, "the %s is empty", what);
    *out_index = (uint32_t)reader->labels.count;
    return espl_map_add(reader->ctx, &reader->labels, label.data, label.bytes, *out_index, NULL);
}

static int by_bytes(const void *a, const void *b) {
    const char *const *x = a, *const *y = b;
    return strcmp(*x, *y);
}

/* Gathered labels are put into byte order; examples were given indices in the order of the file. */
static espl_status complete_labels(espl_task_reader *reader) {
    espl_task_set *set = reader->set;
    size_t count = reader->labels.count;
    const char **names;
    uint32_t *new_index = NULL;
    if (count == 0) return ESPL_OK;
    ESPL_TRY(keep_array(set, count, sizeof *names, &names));
    for (size_t i = 0; i < count; i++)
        ESPL_TRY(keep_text(set, espl_map_key(&reader->labels, i), reader->labels.entries[i].bytes, &names[i]));
    set->labels = (espl_labels){names, (uint32_t)count};
    if (!reader->gather) return ESPL_OK;
    qsort(names, count, sizeof *names, by_bytes);
    ESPL_TRY(espl_new(reader->ctx, count * sizeof *new_index, &new_index));
    for (uint32_t i = 0; i < count; i++)
        new_index[espl_map_find(&reader->labels, names[i], strlen(names[i]))->value] = i;
    for (uint32_t e = 0; e < set->count; e++) {
        espl_example *example = &set->examples[e];
        uint32_t *tags;
        memcpy(&tags, &example->tags, sizeof tags); /* the set's own memory, constant only for its readers */
        for (uint32_t w = 0; w < example->word_count; w++)
            tags[w] = new_index[tags[w]];
        example->label = new_index[example->label];
    }
    espl_free(reader->ctx, &new_index);
    return ESPL_OK;
}

/* ---- Rows ---- */

static espl_status read_value(espl_task_reader *reader, espl_task_text text, double *out_value) {
    const espl_task *task = reader->task;
    json_t *number = NULL;
    espl_status status = espl_json_parse(reader->ctx, text.data, text.bytes, "value", &number);
    if (status == ESPL_HOST_MEMORY) return status;
    bool is_number = !status && json_is_number(number);
    *out_value = is_number ? json_number_value(number) : 0;
    espl_json_destroy(&number);
    if (!is_number)
        return espl_fail(reader->ctx, ESPL_FORMAT, "\"%.*s\" is no number", espl_task_text_shown(text), text.data);
    if ((task->low != 0 || task->high != 0) && (*out_value < task->low || *out_value > task->high))
        return espl_fail(reader->ctx, ESPL_FORMAT, "the value %g does not lie in %g to %g", *out_value, task->low,
                         task->high);
    return ESPL_OK;
}

/* The example of a source, new or already there, gets one more reference. */
static espl_status add_reference(espl_task_reader *reader, espl_task_text source, espl_task_text target) {
    espl_task_set *set = reader->set;
    espl_example *example = NULL;
    if (reader->task->source == ESPL_SOURCE_MEANING) {
        reader->tag.count = 0;
        ESPL_TRY(espl_linearize_meaning(reader->ctx, source, &reader->tag));
        source = (espl_task_text){reader->tag.data, reader->tag.count};
    }
    const espl_map_entry *entry = espl_map_find(&reader->sources, source.data, source.bytes);
    uint32_t index = entry ? entry->value : set->count;
    if (!entry) {
        ESPL_TRY(espl_map_add(reader->ctx, &reader->sources, source.data, source.bytes, index, NULL));
        ESPL_TRY(new_example(reader, &example));
        ESPL_TRY(keep_text(set, source.data, source.bytes, &example->text));
    }
    ESPL_TRY(espl_grow(reader->ctx, &reader->references, &reader->reference_capacity, reader->reference_count + 1,
                       sizeof *reader->references));
    espl_reference *reference = &reader->references[reader->reference_count];
    reference->example = index;
    ESPL_TRY(keep_text(set, target.data, target.bytes, &reference->text));
    reader->reference_count++;
    set->examples[index].reference_count++;
    return ESPL_OK;
}

static espl_status complete_references(espl_task_reader *reader) {
    espl_example *examples = reader->set->examples;
    for (size_t r = 0; r < reader->reference_count; r++) {
        espl_example *example = &examples[reader->references[r].example];
        const char **texts;
        if (!example->references) {
            ESPL_TRY(keep_array(reader->set, example->reference_count, sizeof *texts, &texts));
            example->references = texts;
            example->reference_count = 0;
        }
        memcpy(&texts, &example->references, sizeof texts);
        texts[example->reference_count++] = reader->references[r].text;
    }
    return ESPL_OK;
}

espl_status espl_task_add(espl_task_reader *reader, const espl_task_text fields[ESPL_TASK_ROLE_COUNT]) {
    espl_task_text text = fields[ESPL_TASK_ROLE_TEXT], pair = fields[ESPL_TASK_ROLE_PAIR], label = fields[ESPL_TASK_ROLE_LABEL];
    espl_example example = {0}, *added = NULL;
    if (reader->task->kind == ESPL_TASK_GENERATION) return add_reference(reader, text, fields[ESPL_TASK_ROLE_TARGET]);
    if (reader->task->kind == ESPL_TASK_REGRESSION)
        ESPL_TRY(read_value(reader, label, &example.value));
    else
        ESPL_TRY(find_label(reader, "label", label, &example.label));
    ESPL_TRY(keep_text(reader->set, text.data, text.bytes, &example.text));
    if (pair.data) ESPL_TRY(keep_text(reader->set, pair.data, pair.bytes, &example.pair));
    reader->set->pairs |= pair.data != NULL;
    ESPL_TRY(new_example(reader, &added));
    *added = example;
    return ESPL_OK;
}

/* ---- Sentences ---- */

static bool same_type(espl_task_text a, espl_task_text b) {
    return a.bytes == b.bytes && memcmp(a.data + 1, b.data + 1, a.bytes - 1) == 0;
}

/* IOB1 begins with I- unless an entity of the same type ends right before. */
static espl_status to_bio2(espl_task_reader *reader, espl_task_text before, espl_task_text *in_out_tag) {
    if (in_out_tag->data[0] != 'I' || (before.data && same_type(before, *in_out_tag))) return ESPL_OK;
    reader->tag.count = 0;
    ESPL_TRY(espl_bytes_append(reader->ctx, &reader->tag, "B", 1));
    ESPL_TRY(espl_bytes_append(reader->ctx, &reader->tag, in_out_tag->data + 1, in_out_tag->bytes - 1));
    in_out_tag->data = reader->tag.data;
    return ESPL_OK;
}

static bool is_tag(espl_task_text tag) {
    if (tag.bytes == 1) return tag.data[0] == 'O';
    return tag.bytes > 2 && (tag.data[0] == 'B' || tag.data[0] == 'I') && tag.data[1] == '-';
}

espl_status espl_task_add_sentence(espl_task_reader *reader, const espl_task_text *words, const espl_task_text *tags,
                                   size_t count, size_t *out_word) {
    espl_task_set *set = reader->set;
    const char **kept_words;
    uint32_t *indices = NULL;
    espl_example *example = NULL;
    *out_word = 0;
    if (count > UINT32_MAX) return espl_fail(reader->ctx, ESPL_LIMIT, "a sentence of %zu words is too long", count);
    ESPL_TRY(keep_array(set, count, sizeof *kept_words, &kept_words));
    ESPL_TRY(keep_array(set, count, sizeof *indices, &indices));
    for (size_t w = 0; w < count; w++) {
        espl_task_text tag = tags[w];
        *out_word = w;
        if (words[w].bytes == 0) return espl_fail(reader->ctx, ESPL_FORMAT, "word %zu of the sentence is empty", w + 1);
        if (!is_tag(tag))
            return espl_fail(reader->ctx, ESPL_FORMAT, "tag \"%.*s\" of word %zu is not O, B-type or I-type",
                             espl_task_text_shown(tag), tag.data, w + 1);
        if (reader->bio2) ESPL_TRY(to_bio2(reader, w ? tags[w - 1] : (espl_task_text){0}, &tag));
        ESPL_TRY(find_label(reader, "tag", tag, &indices[w]));
        ESPL_TRY(keep_text(set, words[w].data, words[w].bytes, &kept_words[w]));
    }
    ESPL_TRY(new_example(reader, &example));
    *example = (espl_example){.words = kept_words, .tags = indices, .word_count = (uint32_t)count};
    return ESPL_OK;
}

espl_status espl_task_complete(espl_task_reader *reader) {
    ESPL_TRY(complete_labels(reader));
    return complete_references(reader);
}
