/* The model's layers recorded into the host's own command buffers, between things the host draws: logits have the bits of
 * the ordinary way, pixels are right, validation is silent. */
#include "tests/engine/engine.h"
#include <stdlib.h>
#include <string.h>

enum { VOCABULARY = 97, LENGTH = 29, PROMPT = 5 };

typedef struct stage {
    engine e;
    espl_device *device;
    espl_model *model;
    espl_session *session;        /* recorded */
    float expected[LENGTH][VOCABULARY]; /* of the ordinary way, after PROMPT tokens and after each one more */
    int32_t ids[LENGTH];
    engine_buffer copy; /* logits as the host's own command found them */
} stage;

static const float *logits_of(stage *s, espl_session *session) {
    const float *logits;
    uint32_t count;
    engine_ok(&s->e, espl_session_logits(session, &logits, &count));
    assert_int_equal(count, VOCABULARY);
    return logits;
}

static void stage_open(stage *s, bool timeline, const char *limits) {
    memset(s, 0, sizeof *s);
    engine_open(&s->e, timeline);
    const espl_device_import_params params = engine_import_params(&s->e, limits);
    engine_ok(&s->e, espl_device_import(s->e.ctx, &params, &s->device));
    engine_ok(&s->e, espl_model_load(s->device, ESPL_GOLDEN "/llama_lora", NULL, &s->model));
    espl_adapter *adapter;
    engine_ok(&s->e, espl_adapter_add(s->model, "a", "lora:r=3,targets=all-linear,init=random", 1, &adapter));
    engine_ok(&s->e, espl_adapter_add(s->model, "p", "prompt:tokens=2", 2, &adapter)); /* its rows are in the cache */
    engine_ok(&s->e, espl_model_activate(s->model, "a+p"));
    for (int i = 0; i < LENGTH; i++) s->ids[i] = (i * 31 + 7) % VOCABULARY;
    espl_session *ordinary;
    engine_ok(&s->e, espl_session_create(s->model, NULL, &ordinary));
    for (uint32_t at = 0; at < LENGTH; at += at ? 1 : PROMPT) {
        engine_ok(&s->e, espl_session_append(ordinary, s->ids + at, at ? 1 : PROMPT));
        memcpy(s->expected[at], logits_of(s, ordinary), sizeof *s->expected);
    }
    espl_session_destroy(&ordinary);
    engine_ok(&s->e, espl_session_create(s->model, NULL, &s->session));
    s->copy = engine_make_buffer(&s->e, sizeof *s->expected);
}

static void stage_close(stage *s) {
    engine_free_buffer(&s->e, &s->copy);
    espl_session_destroy(&s->session);
    espl_model_destroy(&s->model);
    espl_device_destroy(&s->device);
    engine_close(&s->e);
}

/* What a host would do with the logits on the device: no barrier of its own, this is a transfer. */
static void copy_logits(stage *s, uint32_t tokens) {
    engine *e = &s->e;
    espl_location from;
    VkBuffer buffer;
    engine_ok(e, espl_session_locate(s->session, tokens, &from));
    _Static_assert(sizeof buffer == sizeof from.buffer, "a VkBuffer has 64 bits");
    memcpy(&buffer, &from.buffer, sizeof buffer);
    assert_int_equal(from.bytes, sizeof *s->expected);
    const VkBufferCopy region = {from.offset, 0, from.bytes};
    e->CmdCopyBuffer(e->commands, buffer, s->copy.handle, 1, &region);
    const VkMemoryBarrier done = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                                  .srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT,
                                  .dstAccessMask = VK_ACCESS_HOST_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT};
    e->CmdPipelineBarrier(e->commands, VK_PIPELINE_STAGE_TRANSFER_BIT,
                          VK_PIPELINE_STAGE_HOST_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT, 0, 1, &done, 0, NULL, 0, NULL);
}

static void check_logits(stage *s, uint32_t at) {
    assert_memory_equal(logits_of(s, s->session), s->expected[at], sizeof *s->expected);
    assert_memory_equal(s->copy.host, s->expected[at], sizeof *s->expected);
}

/* One frame: draw, all layers, draw again. */
static void record_frame(stage *s, uint32_t tokens, uint32_t frame) {
    engine_begin(&s->e);
    engine_draw_frame(&s->e, frame);
    for (uint32_t i = 0; i < espl_session_layers(s->session); i++)
        engine_ok(&s->e, espl_session_record(s->session, tokens, i, s->e.commands));
    copy_logits(s, tokens);
    engine_draw_frame(&s->e, frame + 1);
}

static void in_one_frame(stage *s) {
    for (uint32_t at = 0; at < LENGTH; at += at ? 1 : PROMPT) {
        const uint32_t tokens = at ? 1 : PROMPT;
        record_frame(s, tokens, at);
        engine_ok(&s->e, espl_session_begin(s->session, s->ids + at, tokens));
        engine_submit(&s->e);
        engine_ok(&s->e, espl_session_end(s->session));
        check_logits(s, at);
        assert_int_equal(engine_wrong_pixels(&s->e, at + 1), 0);
        assert_int_equal(espl_session_position(s->session), at + tokens);
    }
}

/* The same recording for every token: what was recorded once is submitted again. */
static void recorded_once(stage *s) {
    espl_session_reset(s->session);
    engine_ok(&s->e, espl_session_append(s->session, s->ids, PROMPT));
    const espl_device_counters before = espl_device_count(s->device);
    record_frame(s, 1, 3);
    for (uint32_t at = PROMPT; at < LENGTH; at++) {
        engine_ok(&s->e, espl_session_begin(s->session, s->ids + at, 1));
        if (at == PROMPT) engine_submit(&s->e);
        else engine_submit_again(&s->e);
        engine_ok(&s->e, espl_session_end(s->session));
        check_logits(s, at);
        assert_int_equal(engine_wrong_pixels(&s->e, 4), 0);
    }
    const espl_device_counters after = espl_device_count(s->device);
    assert_int_equal(before.commands_recorded, after.commands_recorded);
    assert_int_equal(before.device_allocations, after.device_allocations);
    assert_int_equal(before.submissions, after.submissions);
}

/* A layer per frame, and the library's own work on the same weights in between. */
static void over_many_frames(stage *s) {
    espl_session *other;
    const float *logits;
    uint32_t count;
    engine_ok(&s->e, espl_session_create(s->model, NULL, &other));
    espl_session_reset(s->session);
    engine_ok(&s->e, espl_session_begin(s->session, s->ids, PROMPT));
    for (uint32_t i = 0; i < espl_session_layers(s->session); i++) {
        engine_begin(&s->e);
        engine_ok(&s->e, espl_session_record(s->session, PROMPT, i, s->e.commands));
        engine_draw_frame(&s->e, i);
        if (i + 1 == espl_session_layers(s->session)) copy_logits(s, PROMPT);
        engine_submit(&s->e);
        assert_int_equal(engine_wrong_pixels(&s->e, i), 0);
        engine_ok(&s->e, espl_session_append(other, s->ids + i, 1));
        engine_ok(&s->e, espl_session_logits(other, &logits, &count));
    }
    engine_ok(&s->e, espl_session_end(s->session));
    check_logits(s, 0);
    espl_session_destroy(&other);
}

static void misuse(stage *s) {
    engine *e = &s->e;
    const uint32_t layers = espl_session_layers(s->session);
    int32_t wrong = VOCABULARY;
    espl_location location;
    assert_int_equal(layers, espl_model_describe(s->model).layers + 2);
    espl_session_reset(s->session);
    engine_begin(e);
    engine_refused(e, espl_session_record(s->session, 1, layers, e->commands), ESPL_ARGUMENT, "there is no number 4");
    engine_refused(e, espl_session_record(s->session, 0, 0, e->commands), ESPL_ARGUMENT, "1 to 256 tokens, not 0");
    engine_refused(e, espl_session_record(s->session, 257, 0, e->commands), ESPL_ARGUMENT, "1 to 256 tokens, not 257");
    engine_refused(e, espl_session_record(s->session, 1, 0, NULL), ESPL_ARGUMENT, "no command buffer was given");
    engine_refused(e, espl_session_locate(s->session, 300, &location), ESPL_ARGUMENT, "not 300");
    engine_submit(e);
    engine_refused(e, espl_session_end(s->session), ESPL_ARGUMENT, "no pass was begun");
    engine_refused(e, espl_session_begin(s->session, &wrong, 1), ESPL_ARGUMENT, "token 97 is not in the vocabulary");
    engine_refused(e, espl_session_begin(s->session, s->ids, 0), ESPL_ARGUMENT, "not 0");
    engine_ok(e, espl_session_begin(s->session, s->ids, 2));
    engine_refused(e, espl_session_begin(s->session, s->ids, 2), ESPL_ARGUMENT, "over 2 tokens was begun and not ended");
    engine_refused(e, espl_session_append(s->session, s->ids, 2), ESPL_ARGUMENT, "begun and not ended");
    engine_refused(e, espl_session_refresh(s->session), ESPL_ARGUMENT, "begun and not ended");
    espl_session_reset(s->session);
    engine_ok(e, espl_session_append(s->session, s->ids, PROMPT));
    assert_memory_equal(logits_of(s, s->session), s->expected[0], sizeof *s->expected);
}

static void each(bool timeline, const char *limits) {
    stage s;
    stage_open(&s, timeline, limits);
    in_one_frame(&s);
    recorded_once(&s);
    over_many_frames(&s);
    misuse(&s);
    stage_close(&s);
}

static void as_it_is(void **state) {
    (void)state;
    each(true, NULL);
}

static void as_on_other_devices(void **state) {
    (void)state;
    each(false, "cpu=0,unified_memory=0");
}

static void not_on_a_device_of_our_own(void **state) {
    (void)state;
    stage s;
    espl_device *own;
    espl_model *model;
    espl_session *session;
    stage_open(&s, false, NULL);
    engine_ok(&s.e, espl_device_create(s.e.ctx, &(espl_device_params){.cache_folder = ""}, &own));
    engine_ok(&s.e, espl_model_load(own, ESPL_GOLDEN "/llama_lora", NULL, &model));
    engine_ok(&s.e, espl_session_create(model, NULL, &session));
    engine_begin(&s.e);
    engine_refused(&s.e, espl_session_record(session, 1, 0, s.e.commands), ESPL_ARGUMENT, "only on an imported device");
    engine_submit(&s.e);
    espl_session_destroy(&session);
    espl_model_destroy(&model);
    espl_device_destroy(&own);
    stage_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(as_it_is), cmocka_unit_test(as_on_other_devices),
                                       cmocka_unit_test(not_on_a_device_of_our_own)};
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
