/* What is known of every device of this machine, as JSON or as a table. Both are made from the same rows: the table of
 * capabilities, the heaps and the matrix shapes. */
#include "host/gpu/capabilities.h"
#include "host/gpu/config.h"
#include "host/gpu/select.h"
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

typedef struct device_row {
    espl_device_facts facts;
    espl_status status; /* of the facts: what cannot be used is listed with the reason */
    char reason[256];
    VkPhysicalDeviceProperties properties;
} device_row;

static const char *component_name(uint32_t component) {
    static const char *const names[] = {"f16", "f32", "f64", "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64"};
    if (component < ESPL_COUNT(names)) return names[component];
    return component == 1000141000u ? "bf16" : "other";
}

/* ---- JSON ---- */

/* jansson takes ownership in every _new call and passes NULL on, so one check at the end of each function will do. */
static json_t *heaps_json(const espl_device_facts *facts) {
    json_t *list = json_array();
    for (uint32_t i = 0; i < facts->memory.memoryHeapCount; i++) {
        const VkMemoryHeap *heap = &facts->memory.memoryHeaps[i];
        json_t *row = json_pack("{s:I, s:b}", "bytes", (json_int_t)heap->size, "device_local",
                                (heap->flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT) != 0);
        if (json_array_append_new(list, row) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static json_t *shapes_json(const espl_device_facts *facts) {
    json_t *list = json_array();
    for (uint32_t i = 0; i < facts->capabilities.matrix_shape_count; i++) {
        const espl_matrix_shape *s = &facts->shapes[i];
        json_t *row = json_pack("{s:i, s:i, s:i, s:s, s:s, s:s, s:s, s:b}", "m", (int)s->m, "n", (int)s->n, "k",
                                (int)s->k, "a", component_name(s->a), "b", component_name(s->b), "c",
                                component_name(s->c), "result", component_name(s->result), "saturating", s->saturating);
        if (json_array_append_new(list, row) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static json_t *capabilities_json(const espl_device_facts *facts) {
    json_t *object = json_object();
    for (size_t i = 0; i < espl_capability_row_count; i++) {
        const espl_capability_row *row = &espl_capability_rows[i];
        uint64_t value = espl_capability_value(&facts->capabilities, row);
        json_t *item = row->kind == ESPL_CAPABILITY_BOOL ? json_boolean(value != 0)
                       : value > INT64_MAX                ? json_integer(INT64_MAX)
                                                          : json_integer((json_int_t)value);
        if (json_object_set_new(object, row->name, item) != 0) {
            json_decref(object);
            return NULL;
        }
    }
    return object;
}

static json_t *quirks_json(const espl_device_facts *facts) {
    json_t *list = json_array();
    for (size_t i = 0; i < espl_quirk_count; i++) {
        if (!espl_quirk_applies(&espl_quirks[i], facts)) continue;
        json_t *row = json_pack("{s:s, s:s}", "limits", espl_quirks[i].limits, "reason", espl_quirks[i].reason);
        if (json_array_append_new(list, row) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static json_t *device_json(const device_row *device, uint32_t number) {
    const espl_device_facts *facts = &device->facts;
    const VkPhysicalDeviceProperties *p = &device->properties;
    char uuid[37], api[32];
    espl_uuid_text(facts->uuid, uuid);
    snprintf(api, sizeof api, "%u.%u.%u", VK_API_VERSION_MAJOR(p->apiVersion), VK_API_VERSION_MINOR(p->apiVersion),
             VK_API_VERSION_PATCH(p->apiVersion));
    json_t *object =
        json_pack("{s:i, s:s%, s:s, s:s, s:b}", "number", (int)number, "name", p->deviceName, strlen(p->deviceName),
                  "type", espl_device_type_name(p->deviceType), "vulkan", api, "usable", device->status == ESPL_OK);
    if (!object) return NULL;
    int bad = json_object_set_new(object, "vendor_id", json_integer(p->vendorID)) |
              json_object_set_new(object, "device_id", json_integer(p->deviceID)) |
              json_object_set_new(object, "driver_version", json_integer(p->driverVersion));
    if (device->status != ESPL_OK) {
        bad |= json_object_set_new(object, "reason", json_string(device->reason));
    } else {
        bad |= json_object_set_new(object, "driver", json_string(facts->driver_name)) |
               json_object_set_new(object, "driver_info", json_string(facts->driver_info)) |
               json_object_set_new(object, "uuid", json_string(uuid)) |
               json_object_set_new(object, "capabilities", capabilities_json(facts)) |
               json_object_set_new(object, "heaps", heaps_json(facts)) |
               json_object_set_new(object, "matrix_shapes", shapes_json(facts)) |
               json_object_set_new(object, "quirks", quirks_json(facts));
    }
    if (!bad) return object;
    json_decref(object);
    return NULL;
}

typedef struct dump_target {
    espl_context *ctx;
    espl_bytes *bytes;
    espl_status status;
} dump_target;

static int dump_piece(const char *data, size_t count, void *user) {
    dump_target *target = user;
    target->status = espl_bytes_append(target->ctx, target->bytes, data, count);
    return target->status == ESPL_OK ? 0 : -1;
}

static espl_status write_json(espl_context *ctx, const device_row *rows, uint32_t count, espl_bytes *text) {
    json_t *list = json_array();
    bool whole = list != NULL;
    for (uint32_t i = 0; i < count && whole; i++)
        whole = json_array_append_new(list, device_json(&rows[i], i + 1)) == 0;
    dump_target target = {.ctx = ctx, .bytes = text};
    if (whole) whole = json_dump_callback(list, dump_piece, &target, JSON_INDENT(2)) == 0;
    json_decref(list);
    if (whole) return espl_bytes_append(ctx, text, "\n", 1);
    if (target.status != ESPL_OK) return target.status;
    return espl_fail(ctx, ESPL_HOST_MEMORY, "no host memory for the list of devices");
}

/* ---- Table ---- */

static espl_status write_value(espl_context *ctx, espl_bytes *text, const espl_capability_row *row, uint64_t value) {
    if (row->kind == ESPL_CAPABILITY_BOOL)
        return espl_bytes_print(ctx, text, "    %-24s %-16s %s\n", row->name, value ? "yes" : "no", row->meaning);
    return espl_bytes_print(ctx, text, "    %-24s %-16" PRIu64 " %s\n", row->name, value, row->meaning);
}

static espl_status write_device(espl_context *ctx, espl_bytes *text, const device_row *device, uint32_t number) {
    const espl_device_facts *facts = &device->facts;
    const VkPhysicalDeviceProperties *p = &device->properties;
    char uuid[37];
    ESPL_TRY(espl_bytes_print(ctx, text, "%u: %s (%s)\n", number, p->deviceName, espl_device_type_name(p->deviceType)));
    if (device->status != ESPL_OK) return espl_bytes_print(ctx, text, "    cannot be used: %s\n", device->reason);
    espl_uuid_text(facts->uuid, uuid);
    ESPL_TRY(espl_bytes_print(ctx, text, "    %-24s %s%s%s\n    %-24s %u.%u.%u\n    %-24s %s\n", "driver",
                              facts->driver_name, facts->driver_info[0] ? ", " : "", facts->driver_info, "Vulkan",
                              VK_API_VERSION_MAJOR(p->apiVersion), VK_API_VERSION_MINOR(p->apiVersion),
                              VK_API_VERSION_PATCH(p->apiVersion), "uuid", uuid));
    for (size_t i = 0; i < espl_capability_row_count; i++)
        ESPL_TRY(write_value(ctx, text, &espl_capability_rows[i],
                             espl_capability_value(&facts->capabilities, &espl_capability_rows[i])));
    for (uint32_t i = 0; i < facts->memory.memoryHeapCount; i++)
        ESPL_TRY(espl_bytes_print(ctx, text, "    heap %-19u %-16" PRIu64 " bytes%s\n", i,
                                  (uint64_t)facts->memory.memoryHeaps[i].size,
                                  facts->memory.memoryHeaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT
                                      ? ", the device's own" : ""));
    for (uint32_t i = 0; i < facts->capabilities.matrix_shape_count; i++) {
        const espl_matrix_shape *s = &facts->shapes[i];
        ESPL_TRY(espl_bytes_print(ctx, text, "    matrix %ux%ux%u %s x %s + %s -> %s%s\n", s->m, s->n, s->k,
                                  component_name(s->a), component_name(s->b), component_name(s->c),
                                  component_name(s->result), s->saturating ? ", saturating" : ""));
    }
    for (size_t i = 0; i < espl_quirk_count; i++)
        if (espl_quirk_applies(&espl_quirks[i], facts))
            ESPL_TRY(
                espl_bytes_print(ctx, text, "    lowered: %s (%s)\n", espl_quirks[i].limits, espl_quirks[i].reason));
    return ESPL_OK;
}

static espl_status write_table(espl_context *ctx, const device_row *rows, uint32_t count, espl_bytes *text) {
    if (count == 0) return espl_bytes_print(ctx, text, "no Vulkan device\n");
    for (uint32_t i = 0; i < count; i++) ESPL_TRY(write_device(ctx, text, &rows[i], i + 1));
    return ESPL_OK;
}

/* ---- */

espl_status espl_device_list(espl_context *context, bool json, char **out_text) {
    *out_text = NULL;
    espl_vk vk = {0};
    espl_instance instance = {0};
    VkPhysicalDevice *devices = NULL;
    device_row *rows = NULL;
    uint32_t count = 0;
    espl_bytes text = {0};
    espl_status status;
    ESPL_GOTO(espl_instance_init(context, &vk, NULL, false, &instance));
    ESPL_GOTO(espl_instance_devices(context, &vk, &instance, &devices, &count));
    ESPL_GOTO(espl_new(context, count * sizeof *rows, &rows));
    for (uint32_t i = 0; i < count; i++) {
        vk.GetPhysicalDeviceProperties(devices[i], &rows[i].properties);
        rows[i].status = espl_device_facts_read(context, &vk, instance.handle, devices[i], instance.version,
                                           &(espl_import_facts){0}, NULL, &rows[i].facts);
        if (rows[i].status == ESPL_HOST_MEMORY) {
            status = rows[i].status;
            goto fail;
        }
        if (rows[i].status != ESPL_OK)
            snprintf(rows[i].reason, sizeof rows[i].reason, "%s", espl_context_message(context));
    }
    ESPL_GOTO(json ? write_json(context, rows, count, &text) : write_table(context, rows, count, &text));
    *out_text = text.data;
    text = (espl_bytes){0};
fail:
    espl_bytes_finish(context, &text);
    espl_free(context, &rows);
    espl_free(context, &devices);
    espl_instance_finish(&vk, &instance);
    return status;
}

void espl_text_free(espl_context *context, char **text) {
    espl_free(context, text);
}
