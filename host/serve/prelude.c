/* Rows that an adapter puts before the text: run once into the front of the key-value cache when the text begins. The
 * passes over the text know of them by their position alone, so they are recorded once, as without. */
#include "host/serve/session.h"
#include <string.h>

/* The adapter whose rows they are: a second one is refused where the passes over the text are built. */
static const espl_adapter *adapter_of(const espl_session *session) {
    const espl_adapter *adapter = session->model->adapters;
    while (!adapter->active || !adapter->before)
        adapter = adapter->next;
    return adapter;
}

static espl_status build(espl_session *session) {
    espl_run *r = &session->prelude;
    const espl_adapter *adapter = adapter_of(session);
    espl_builder builder;
    ESPL_TRY(espl_session_builder(session, session->before, r, &builder));
    builder.prelude = true;
    ESPL_TRY(adapter->method->prelude(&builder, adapter));
    r->inputs = builder.inputs;
    return espl_graph_place(r->graph);
}

espl_status espl_session_place_prelude(espl_session *session) {
    espl_run *r = &session->prelude;
    if (session->before == 0 || r->graph) return ESPL_OK;
    if (session->before >= session->context)
        return espl_fail(session->ctx, ESPL_LIMIT, "%u rows of adapter \"%s\" before the text leave no room in a context of %u",
                         session->before, adapter_of(session)->name, session->context);
    ESPL_TRY(espl_graph_create(session->model->device, "rows before the text", &r->graph));
    espl_status status = build(session);
    if (status != ESPL_OK) espl_graph_destroy(&r->graph);
    return status;
}

espl_status espl_session_ready_prelude(espl_session *session) {
    espl_run *r = &session->prelude;
    ESPL_TRY(espl_session_place_prelude(session));
    const espl_status status = r->graph ? espl_graph_plan(r->graph) : ESPL_OK;
    if (status != ESPL_OK) espl_graph_destroy(&r->graph);
    return status;
}

static espl_status run(espl_session *session) {
    espl_run *r = &session->prelude;
    espl_ticket ticket;
    int32_t *ids = espl_graph_step_pointer(r->graph, r->ids);
    memset(ids, 0, session->before * sizeof *ids);
    *(int32_t *)espl_graph_step_pointer(r->graph, r->positions) = 0;
    *(int32_t *)espl_graph_step_pointer(r->graph, r->own_positions) = 0;
    const espl_step_info info = {.ids = ids, .tasks = &session->task, .batch = 1, .tokens = session->before};
    if (r->inputs) ESPL_TRY(espl_step_inputs_write(r->inputs, r->graph, &info));
    ESPL_TRY(espl_session_prepare(session, r));
    ESPL_TRY(espl_graph_submit(r->graph, ESPL_PHASE_MICRO, &ticket));
    return espl_wait(session->model->device, ticket);
}

espl_status espl_session_run_prelude(espl_session *session) {
    espl_run *r = &session->prelude;
    if (!r->graph || r->prepared) return ESPL_OK;
    const espl_status status = run(session);
    r->prepared = status == ESPL_OK;
    return status;
}
