/* Choosing a device by number, UUID or name, or the best one. People type this, so a choice that fits nothing or too
 * much answers with the list of what there is. */
#include "host/gpu/select.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { UUID_DIGITS = 2 * VK_UUID_SIZE };

/* Best first. */
static const struct {
    VkPhysicalDeviceType type;
    const char *name;
} type_rows[] = {
    {VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU, "discrete"},
    {VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU, "integrated"},
    {VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU, "virtual"},
    {VK_PHYSICAL_DEVICE_TYPE_CPU, "software"},
    {VK_PHYSICAL_DEVICE_TYPE_OTHER, "other"},
};

static size_t rank(VkPhysicalDeviceType type) {
    for (size_t i = 0; i < ESPL_COUNT(type_rows); i++)
        if (type_rows[i].type == type) return i;
    return ESPL_COUNT(type_rows) - 1;
}

const char *espl_device_type_name(VkPhysicalDeviceType type) {
    return type_rows[rank(type)].name;
}

void espl_uuid_text(const uint8_t uuid[VK_UUID_SIZE], char out_text[37]) {
    size_t at = 0;
    for (unsigned i = 0; i < VK_UUID_SIZE; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) out_text[at++] = '-';
        out_text[at++] = "0123456789abcdef"[uuid[i] >> 4];
        out_text[at++] = "0123456789abcdef"[uuid[i] & 15];
    }
    out_text[at] = 0;
}

/* Lower-case digits without dashes; false if text is anything but 32 hexadecimal digits and dashes. */
static bool uuid_digits(const char *text, char out_digits[UUID_DIGITS + 1]) {
    size_t count = 0;
    for (; *text; text++) {
        if (*text == '-') continue;
        if (!isxdigit((unsigned char)*text) || count == UUID_DIGITS) return false;
        out_digits[count++] = (char)tolower((unsigned char)*text);
    }
    out_digits[count] = 0;
    return count == UUID_DIGITS;
}

static bool name_has(const char *name, const char *part) {
    for (; *name; name++) {
        size_t i = 0;
        while (part[i] && tolower((unsigned char)name[i]) == tolower((unsigned char)part[i])) i++;
        if (!part[i]) return true;
    }
    return false;
}

typedef struct candidate {
    const VkPhysicalDeviceProperties *properties;
    uint8_t uuid[VK_UUID_SIZE];
    size_t number; /* from 1 */
} candidate;

static bool fits(const candidate *c, const char *select) {
    char wanted[UUID_DIGITS + 1], own[37], own_digits[UUID_DIGITS + 1];
    if (select[strspn(select, "0123456789")] == 0 && strlen(select) < 10)
        return strtoul(select, NULL, 10) == c->number;
    if (uuid_digits(select, wanted)) {
        espl_uuid_text(c->uuid, own);
        return uuid_digits(own, own_digits) && strcmp(wanted, own_digits) == 0;
    }
    return name_has(c->properties->deviceName, select);
}

static void read_uuid(const espl_vk *vk, VkPhysicalDevice physical, uint8_t out_uuid[VK_UUID_SIZE]) {
    VkPhysicalDeviceIDProperties id = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_ID_PROPERTIES};
    VkPhysicalDeviceProperties2 properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &id};
    vk->GetPhysicalDeviceProperties2(physical, &properties);
    memcpy(out_uuid, id.deviceUUID, VK_UUID_SIZE);
}

static espl_status refuse(espl_context *ctx, const char *select, size_t matches, const VkPhysicalDeviceProperties *rows,
                          uint32_t count) {
    espl_bytes list = {0};
    espl_status status = ESPL_OK;
    for (uint32_t i = 0; i < count && status == ESPL_OK; i++)
        status = espl_bytes_print(ctx, &list, "%s%u: %s", i ? ", " : "", i + 1, rows[i].deviceName);
    if (status == ESPL_OK)
        status = espl_fail(ctx, ESPL_ARGUMENT, "device '%s' fits %s; there are %s", select,
                           matches ? "several, say which" : "none", list.data);
    espl_bytes_finish(ctx, &list);
    return status;
}

espl_status espl_select_device(espl_context *ctx, const espl_vk *vk, const espl_instance *instance, const char *select,
                               VkPhysicalDevice *out_physical) {
    VkPhysicalDevice *devices;
    VkPhysicalDeviceProperties *rows = NULL;
    uint32_t count, best = 0;
    size_t matches = 0;
    *out_physical = VK_NULL_HANDLE;
    ESPL_TRY(espl_instance_devices(ctx, vk, instance, &devices, &count));
    if (count == 0) {
        espl_free(ctx, &devices);
        return espl_fail(ctx, ESPL_UNSUPPORTED,
                         "no Vulkan device on this machine (a loader is there, a driver is not)");
    }
    espl_status status;
    ESPL_GOTO(espl_new(ctx, count * sizeof *rows, &rows));
    for (uint32_t i = 0; i < count; i++) vk->GetPhysicalDeviceProperties(devices[i], &rows[i]);
    for (uint32_t i = 0; i < count; i++) {
        candidate c = {.properties = &rows[i], .number = i + 1};
        /* The best one is asked for without words: it must at least be usable. */
        if (!select || !*select) {
            if (rows[i].apiVersion < VK_API_VERSION_1_1 && count > 1) continue;
            if (matches++ == 0 || rank(rows[i].deviceType) < rank(rows[best].deviceType)) best = i;
            continue;
        }
        if (rows[i].apiVersion >= VK_API_VERSION_1_1) read_uuid(vk, devices[i], c.uuid);
        if (!fits(&c, select)) continue;
        matches++;
        best = i;
    }
    if (select && *select && matches != 1) status = refuse(ctx, select, matches, rows, count);
    else *out_physical = devices[best];
fail:
    espl_free(ctx, &rows);
    espl_free(ctx, &devices);
    return status;
}
