/* Tasks of generation. A row is what the papers of prefix tuning and LoRA feed to GPT-2: source, begin-of-text id, a space and
 * the reference, end-of-text id; loss on the reference and its end. What a model is worth is what it writes behind source and
 * begin-of-text id, taking the most likely id each time, until the end or until the row is full. */
#include "host/model/adapter.h"
#include "host/train/task_data.h"
#include "host/train/tokens.h"
#include <espalier/session.h>
#include <string.h>

/* How the texts of a model's rows are joined. */
typedef struct form {
    espl_context *ctx;         /* borrowed */
    espl_tokenizer *tokenizer; /* borrowed */
    espl_frame frame;
    uint32_t begin, end; /* ids before and behind a reference */
    bool space;          /* before a reference, where the tokenizer puts none by itself */
    espl_tokens tokens;  /* owned; of the newest row */
    espl_bytes text;     /* owned */
} form;

static void finish_form(form *f) {
    espl_tokens_finish(f->ctx, &f->tokens);
    espl_bytes_finish(f->ctx, &f->text);
}

/* The tokenizer's id, else that of config.json. */
static uint32_t either(uint32_t of_tokenizer, int64_t of_config) {
    return of_tokenizer == ESPL_NO_TOKEN && of_config >= 0 ? (uint32_t)of_config : of_tokenizer;
}

static espl_status make_form(espl_model *model, form *out_form) {
    static const char mark[] = "\xe2\x96\x81"; /* SentencePiece's space */
    espl_tokenizer *tokenizer = espl_model_tokenizer(model);
    const uint32_t *ids;
    size_t count;
    *out_form = (form){.ctx = model->ctx, .tokenizer = tokenizer, .space = true};
    out_form->end = either(espl_tokenizer_eos(tokenizer), model->config.eos);
    out_form->begin = either(espl_tokenizer_bos(tokenizer), model->config.bos);
    if (out_form->end == ESPL_NO_TOKEN)
        return espl_fail(model->ctx, ESPL_UNSUPPORTED, "%s: there is no end-of-text id, which would say where a generated text ends",
                         espl_model_folder(model));
    if (out_form->begin == ESPL_NO_TOKEN) out_form->begin = out_form->end;
    ESPL_TRY(espl_tokens_encode(tokenizer, "a", 1, false, &ids, &count));
    const char *piece = count ? espl_tokenizer_piece(tokenizer, ids[0]) : NULL;
    if (piece && strncmp(piece, mark, sizeof mark - 1) == 0) out_form->space = false;
    return espl_tokens_frame(model->ctx, tokenizer, &out_form->frame);
}

static espl_status put_source(form *f, const espl_example *example) {
    f->tokens.count = 0;
    for (size_t i = 0; i < f->frame.before_count; i++)
        ESPL_TRY(espl_tokens_push(f->ctx, &f->tokens, f->frame.before[i], false));
    ESPL_TRY(espl_tokens_push_text(f->ctx, &f->tokens, f->tokenizer, example->text, strlen(example->text), false));
    return espl_tokens_push(f->ctx, &f->tokens, f->begin, false);
}

static espl_status put_reference(form *f, const char *reference) {
    f->text.count = 0;
    ESPL_TRY(espl_bytes_print(f->ctx, &f->text, "%s%s", f->space ? " " : "", reference));
    ESPL_TRY(espl_tokens_push_text(f->ctx, &f->tokens, f->tokenizer, f->text.data, f->text.count, true));
    return espl_tokens_push(f->ctx, &f->tokens, f->end, true);
}

/* ---- Rows ---- */

/* Arrays of espl_rows while they are filled. */
typedef struct arrays {
    uint32_t context, count;
    int32_t *ids, *labels, *lengths; /* owned */
} arrays;

static espl_status make_arrays(const espl_task_data *data, arrays *a) {
    size_t rows = 0, places, bytes;
    for (uint32_t i = 0; i < data->set.count; i++) rows += data->set.examples[i].reference_count;
    if (rows > UINT32_MAX || !espl_mul(rows, a->context, &places) || !espl_mul(places, sizeof *a->ids, &bytes))
        return espl_fail(data->ctx, ESPL_LIMIT, "%s: %zu rows of %u tokens are too many", data->path, rows, a->context);
    ESPL_TRY(espl_new(data->ctx, bytes, &a->ids));
    ESPL_TRY(espl_new(data->ctx, bytes, &a->labels));
    return espl_new(data->ctx, rows * sizeof *a->lengths, &a->lengths);
}

static void put_row(arrays *a, const espl_tokens *tokens, uint32_t pad) {
    const size_t at = (size_t)a->count * a->context;
    for (uint32_t t = 0; t < a->context; t++) {
        a->ids[at + t] = t < tokens->count ? tokens->ids[t] : (int32_t)pad;
        a->labels[at + t] = t + 1 < tokens->count && tokens->counted[t + 1] ? tokens->ids[t + 1] : ESPL_NO_LABEL;
    }
    a->lengths[a->count++] = (int32_t)(tokens->count < a->context ? tokens->count : a->context);
}

static espl_status put_example(form *f, const espl_example *example, arrays *a, uint32_t *cut) {
    bool is_cut = false;
    for (uint32_t r = 0; r < example->reference_count; r++) {
        ESPL_TRY(put_source(f, example));
        ESPL_TRY(put_reference(f, example->references[r]));
        is_cut |= f->tokens.count > a->context;
        put_row(a, &f->tokens, f->end);
    }
    *cut += is_cut;
    return ESPL_OK;
}

espl_status espl_task_generation_rows(const espl_task_data *data, espl_model *model, uint32_t context,
                                      espl_dataset **out_dataset, uint32_t *out_cut) {
    form f;
    arrays a = {.context = context};
    espl_status status = ESPL_OK;
    *out_cut = 0;
    if (context < 2)
        return espl_fail(data->ctx, ESPL_ARGUMENT, "a context of %u has no place for a source and an answer", context);
    ESPL_TRY(make_form(model, &f));
    ESPL_GOTO(make_arrays(data, &a));
    for (uint32_t i = 0; i < data->set.count; i++) {
        status = put_example(&f, &data->set.examples[i], &a, out_cut);
        if (status) ESPL_GOTO(espl_fail_in(data->ctx, status, "%s: source %u", data->path, i + 1));
    }
    const espl_rows rows = {.rows = a.count, .tokens = context, .ids = a.ids, .lengths = a.lengths,
                            .labels = a.labels, .row_labels = context};
    ESPL_GOTO(espl_dataset_from_rows(data->ctx, &rows, 0, 0, out_dataset));
fail:
    espl_free(data->ctx, &a.ids);
    espl_free(data->ctx, &a.labels);
    espl_free(data->ctx, &a.lengths);
    finish_form(&f);
    return status;
}

/* ---- Score ---- */

/* What the model writes for a source: f->text. */
static espl_status write_answer(form *f, espl_session *session, const espl_example *example, uint32_t context) {
    const char *text;
    size_t bytes;
    ESPL_TRY(put_source(f, example));
    if (f->tokens.count >= context) f->tokens.count = context - 1;
    const size_t source = f->tokens.count;
    espl_session_reset(session);
    ESPL_TRY(espl_session_append(session, f->tokens.ids, (uint32_t)source));
    for (;;) {
        const float *logits;
        uint32_t count;
        ESPL_TRY(espl_session_logits(session, &logits, &count));
        const uint32_t best = espl_task_largest(logits, count);
        if (best == f->end) break;
        const int32_t id = (int32_t)best;
        ESPL_TRY(espl_tokens_push(f->ctx, &f->tokens, best, true));
        if (f->tokens.count == context) break;
        ESPL_TRY(espl_session_append(session, &id, 1));
    }
    ESPL_TRY(espl_tokenizer_decode(f->tokenizer, (const uint32_t *)f->tokens.ids + source, f->tokens.count - source, false,
                                   &text, &bytes));
    const size_t first = bytes && text[0] == ' ';
    f->text.count = 0;
    return espl_bytes_append(f->ctx, &f->text, text + first, bytes - first + 1);
}

static espl_status score_answers(form *f, espl_session *session, const espl_task_data *data, double *out_bleu) {
    espl_bleu bleu = {0};
    espl_status status = espl_bleu_init(f->ctx, &bleu);
    const uint32_t context = espl_dataset_context(data->dataset);
    for (uint32_t i = 0; i < data->set.count && !status; i++) {
        const espl_example *example = &data->set.examples[i];
        status = write_answer(f, session, example, context);
        if (!status) status = espl_bleu_add(f->ctx, &bleu, f->text.data, example->references, example->reference_count);
    }
    *out_bleu = espl_bleu_score(&bleu);
    espl_bleu_finish(f->ctx, &bleu);
    return status;
}

static uint32_t rows_before(const espl_model *model) {
    uint32_t rows = 0;
    for (const espl_adapter *adapter = model->adapters; adapter; adapter = adapter->next) rows += adapter->active ? adapter->before : 0;
    return rows;
}

espl_status espl_task_generation_score(espl_model *model, const espl_task_data *data, uint32_t batch,
                                       espl_task_result *result) {
    const espl_task *task = data->set.task;
    const espl_session_params params = {.context = espl_dataset_context(data->dataset) + rows_before(model)};
    espl_session *session = NULL;
    double bleu;
    form f;
    ESPL_TRY(espl_evaluate(model, data->dataset, batch, ESPL_PART_ALL, &result->loss, &result->count));
    espl_status status = ESPL_OK;
    ESPL_TRY(make_form(model, &f));
    ESPL_GOTO(espl_session_create(model, &params, &session));
    ESPL_GOTO(score_answers(&f, session, data, &bleu));
    for (uint32_t m = 0; m < task->metric_count; m++)
        result->metrics[m].value = task->metrics[m] == ESPL_METRIC_BLEU ? bleu : espl_metric_perplexity(result->loss);
fail:
    espl_session_destroy(&session);
    finish_form(&f);
    return status;
}
