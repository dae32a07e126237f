/* A kernel that writes beyond its binding, so that a layer that watches shaders can show that it sees this. */
#include "tests/gpu/gpu_test.h"

static espl_status write_beyond(espl_device *device) {
    enum { BOUND = 64, WRITTEN = 128 };
    espl_arena arena;
    espl_span values;
    espl_commands *commands = NULL;
    espl_ticket ticket;
    espl_status status;
    espl_arena_init(&arena, device, ESPL_ARENA_STATE, "beyond");
    ESPL_GOTO(espl_arena_take(&arena, BOUND * sizeof(float), &values));
    ESPL_GOTO(espl_commands_begin(device, "beyond", &commands));
    ESPL_GOTO(record_increment(device, commands, values, WRITTEN, 1, 1));
    ESPL_GOTO(espl_commands_end(commands));
    ESPL_GOTO(espl_submit(device, &commands, 1, &ticket));
    ESPL_GOTO(espl_wait(device, ticket));
fail:
    espl_commands_destroy(&commands);
    espl_arena_finish(&arena);
    return status;
}

int main(void) {
    espl_context *ctx;
    espl_device *device = NULL;
    if (espl_context_create(NULL, &ctx) != ESPL_OK) return 1;
    espl_status status = espl_device_create(ctx, &(espl_device_params){.cache_folder = ""}, &device);
    if (status == ESPL_OK) status = write_beyond(device);
    espl_device_destroy(&device);
    espl_context_destroy(&ctx);
    return status != ESPL_OK;
}
