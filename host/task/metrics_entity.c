/* Entities in tag sequences, see metrics.h. Both sequences are walked side by side: every entity ends somewhere, and an
 * end in both with the same begin and type is a right one. */
#include "host/file/utf8.h"
#include "host/task/metrics.h"
#include <string.h>

typedef struct cut {
    bool ends, begins;
} cut;

/* "B-PER" is B and "PER", "B" is B and "_". The empty tag is like O. */
static espl_entity_walk parse_tag(const char *tag) {
    espl_entity_walk parsed = {.letter = 'O', .type = "_", .type_bytes = 1};
    size_t at = 0;
    if (!*tag) return parsed;
    parsed.letter = espl_utf8_next(tag, &at);
    const char *dash = strchr(tag + at, '-'), *type = dash ? dash + 1 : tag + at;
    if (!*type) return parsed;
    parsed.type = type;
    parsed.type_bytes = strlen(type);
    return parsed;
}

/* What lies between two tags, by the rules of conlleval. */
static cut between(const espl_entity_walk *before, const espl_entity_walk *after) {
    uint32_t p = before->letter, t = after->letter;
    bool same = before->type_bytes == after->type_bytes && memcmp(before->type, after->type, after->type_bytes) == 0;
    bool p_inside = p == 'B' || p == 'I', p_closed = p == 'E' || p == 'S', t_goes_on = t == 'I' || t == 'E';
    bool p_outside = p == 'O' || p == '.', t_outside = t == 'O' || t == '.';
    return (cut){
        .ends = p_closed || (p_inside && (t == 'B' || t == 'S' || t == 'O')) || (!p_outside && !same),
        .begins = t == 'B' || t == 'S' || ((p_closed || p == 'O') && t_goes_on) || (!t_outside && !same),
    };
}

/* The row of a type, added where its name belongs. */
static espl_status find_row(espl_context *ctx, espl_entity_score *score, const espl_entity_walk *walk,
                            espl_entity_row **out_row) {
    size_t at = 0;
    for (; at < score->row_count; at++) {
        int order = strncmp(score->rows[at].type, walk->type, walk->type_bytes);
        if (order == 0) order = score->rows[at].type[walk->type_bytes] != 0;
        *out_row = &score->rows[at];
        if (order == 0) return ESPL_OK;
        if (order > 0) break;
    }
    espl_entity_row row = {0};
    ESPL_TRY(espl_grow(ctx, &score->rows, &score->capacity, score->row_count + 1, sizeof *score->rows));
    ESPL_TRY(espl_copy_string(ctx, walk->type, walk->type_bytes, &row.type));
    memmove(score->rows + at + 1, score->rows + at, (score->row_count - at) * sizeof *score->rows);
    score->rows[at] = row;
    score->row_count++;
    *out_row = &score->rows[at];
    return ESPL_OK;
}

/* The next tag of both sequences. */
static espl_status step(espl_context *ctx, espl_entity_score *score, const char *tag, const char *predicted_tag) {
    espl_entity_walk *walks[2] = {&score->labelled, &score->predicted};
    const char *tags[2] = {tag, predicted_tag};
    espl_entity_walk closed[2];
    bool ends[2];
    espl_entity_row *row;
    for (int s = 0; s < 2; s++) {
        espl_entity_walk next = parse_tag(tags[s]);
        cut c = between(walks[s], &next);
        closed[s] = *walks[s];
        ends[s] = c.ends;
        next.begin = c.begins ? score->at : walks[s]->begin;
        *walks[s] = next;
    }
    score->at++;
    if (ends[0]) {
        ESPL_TRY(find_row(ctx, score, &closed[0], &row));
        row->labelled++;
        row->right += ends[1] && closed[0].begin == closed[1].begin && closed[0].type_bytes == closed[1].type_bytes &&
                      memcmp(closed[0].type, closed[1].type, closed[0].type_bytes) == 0;
    }
    if (!ends[1]) return ESPL_OK;
    ESPL_TRY(find_row(ctx, score, &closed[1], &row));
    row->predicted++;
    return ESPL_OK;
}

espl_status espl_entity_add(espl_context *ctx, espl_entity_score *score, const espl_labels *labels,
                            const uint32_t *tags, const uint32_t *predicted, uint32_t count) {
    const espl_entity_walk outside = {.letter = 'O', .type = ""};
    for (uint32_t i = 0; i < count; i++) {
        uint32_t larger = tags[i] > predicted[i] ? tags[i] : predicted[i];
        if (larger >= labels->count)
            return espl_fail(ctx, ESPL_ARGUMENT, "word %u has tag %u, there are %u tags", i, larger, labels->count);
    }
    if (score->at == 0) score->labelled = score->predicted = outside;
    for (uint32_t i = 0; i < count; i++)
        ESPL_TRY(step(ctx, score, labels->names[tags[i]], labels->names[predicted[i]]));
    return step(ctx, score, "O", "O");
}

static void divide(espl_entity_row *row) {
    double right = (double)row->right, both = (double)row->labelled + (double)row->predicted;
    row->precision = row->predicted ? right / (double)row->predicted : 0;
    row->recall = row->labelled ? right / (double)row->labelled : 0;
    row->f1 = both > 0 ? 2 * right / both : 0;
}

void espl_entity_sum(espl_entity_score *score) {
    score->total = (espl_entity_row){0};
    for (size_t i = 0; i < score->row_count; i++) {
        score->total.labelled += score->rows[i].labelled;
        score->total.predicted += score->rows[i].predicted;
        score->total.right += score->rows[i].right;
        divide(&score->rows[i]);
    }
    divide(&score->total);
}

void espl_entity_finish(espl_context *ctx, espl_entity_score *score) {
    for (size_t i = 0; i < score->row_count; i++)
        espl_free(ctx, &score->rows[i].type);
    espl_free(ctx, &score->rows);
    *score = (espl_entity_score){0};
}
