/* Work inside a host program's own command buffer. A part is a command buffer of secondary level, recorded once like any
 * other; appending it is one command, so that a host may record anew each frame at no cost, and nothing that the part
 * refers to belongs to one recording. */
#include "host/gpu/state.h"

espl_status espl_commands_append(espl_commands *commands, void *command_buffer) {
    espl_device *device = commands->device;
    ESPL_TRY(espl_device_alive(device));
    if (!device->imported)
        return espl_fail(device->ctx, ESPL_ARGUMENT,
                         "%s: only on an imported device is there a host's command buffer to record into",
                         commands->name);
    if (!command_buffer || commands->kind != ESPL_COMMANDS_PART || !commands->ended)
        return espl_fail(device->ctx, ESPL_ARGUMENT, "%s: %s", commands->name,
                         !command_buffer ? "no command buffer was given"
                                         : "not recorded as a part of a host's command buffer");
    device->vk.CmdExecuteCommands(command_buffer, 1, &commands->buffer);
    return ESPL_OK;
}

uint64_t espl_span_buffer(espl_span span) {
    return span.block ? ESPL_HANDLE(span.block->buffer) : 0;
}
