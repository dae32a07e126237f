/* The pipeline cache on disk: the driver's bytes behind a header of ours. Drivers check only who wrote a cache, not
 * whether it arrived whole, and some crash on one that did not; so the header carries length and hash, and anything
 * that does not fit is ignored and written anew. One file per device, driver version and cache UUID. */
#include "host/gpu/state.h"
#include <string.h>

static const double seconds_between_saves = 30;
static const char file_magic[8] = "ESPLVKPC";

typedef struct cache_header {
    char magic[8];
    uint64_t bytes, hash;
} cache_header;

static uint64_t hash_bytes(const unsigned char *data, size_t count) {
    uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a */
    for (size_t i = 0; i < count; i++) hash = (hash ^ data[i]) * 0x100000001b3u;
    return hash;
}

/* "<folder>/<vendor>-<device>-<driver version>-<uuid>.pipelines" */
static espl_status make_path(espl_device *device, const char *folder) {
    const VkPhysicalDeviceProperties *p = &device->facts.properties;
    char uuid[2 * VK_UUID_SIZE + 1];
    for (unsigned i = 0; i < VK_UUID_SIZE; i++) {
        uuid[2 * i] = "0123456789abcdef"[p->pipelineCacheUUID[i] >> 4];
        uuid[2 * i + 1] = "0123456789abcdef"[p->pipelineCacheUUID[i] & 15];
    }
    uuid[2 * VK_UUID_SIZE] = 0;
    return espl_format(device->ctx, &device->cache_file.path, "%s/%08x-%08x-%08x-%s.pipelines", folder, p->vendorID,
                       p->deviceID, p->driverVersion, uuid);
}

/* Whether the driver's own header names this device; the specification fixes its layout. */
static bool driver_header_fits(const espl_device *device, const unsigned char *data, size_t bytes) {
    VkPipelineCacheHeaderVersionOne header;
    if (bytes < sizeof header) return false;
    memcpy(&header, data, sizeof header);
    const VkPhysicalDeviceProperties *p = &device->facts.properties;
    return header.headerVersion == VK_PIPELINE_CACHE_HEADER_VERSION_ONE && header.vendorID == p->vendorID &&
           header.deviceID == p->deviceID &&
           memcmp(header.pipelineCacheUUID, p->pipelineCacheUUID, VK_UUID_SIZE) == 0;
}

/* The driver's bytes within a file, NULL if the file is not whole or not for this device. */
static const unsigned char *find_data(const espl_device *device, const espl_mapping *file, size_t *out_bytes) {
    cache_header header;
    if (file->bytes < sizeof header) return NULL;
    memcpy(&header, file->data, sizeof header);
    const unsigned char *data = file->data + sizeof header;
    *out_bytes = file->bytes - sizeof header;
    if (memcmp(header.magic, file_magic, sizeof file_magic) != 0 || header.bytes != *out_bytes) return NULL;
    if (header.hash != hash_bytes(data, *out_bytes)) return NULL;
    return driver_header_fits(device, data, *out_bytes) ? data : NULL;
}

static VkResult create(espl_device *device, const unsigned char *data, size_t bytes) {
    const VkPipelineCacheCreateInfo info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO,
                                            .initialDataSize = data ? bytes : 0,
                                            .pInitialData = data};
    return device->vk.CreatePipelineCache(device->handle, &info, NULL, &device->pipeline_cache);
}

espl_status espl_pipeline_cache_create(espl_device *device, const char *folder) {
    espl_mapping file = {0};
    char *found = NULL;
    size_t bytes = 0;
    espl_status status;
    if (!folder) ESPL_TRY(espl_os_cache_folder(device->ctx, &found));
    const char *chosen = folder ? folder : found;
    if (chosen && *chosen) ESPL_GOTO(make_path(device, chosen));
    const unsigned char *data = NULL;
    const char *path = device->cache_file.path;
    if (path && espl_os_is_file(path) && espl_os_map(device->ctx, path, &file) == ESPL_OK) {
        data = find_data(device, &file, &bytes);
        espl_log(device->ctx, data ? ESPL_LOG_DEBUG : ESPL_LOG_INFO,
                 data ? "%s: %zu bytes of compiled kernels" : "%s: not usable (%zu bytes), will be written anew", path,
                 file.bytes);
    }
    VkResult result = create(device, data, bytes);
    if (result != VK_SUCCESS && result != VK_ERROR_DEVICE_LOST && data) result = create(device, NULL, 0);
    device->cache_file.saved_at = espl_os_seconds();
    status = espl_device_check(device, result, "vkCreatePipelineCache");
fail:
    if (file.data) espl_os_unmap(&file);
    espl_free(device->ctx, &found);
    return status;
}

static espl_status save(espl_device *device) {
    espl_context *ctx = device->ctx;
    const char *path = device->cache_file.path;
    size_t bytes = 0;
    unsigned char *data = NULL;
    ESPL_TRY(espl_device_check(
        device, device->vk.GetPipelineCacheData(device->handle, device->pipeline_cache, &bytes, NULL),
        "vkGetPipelineCacheData"));
    ESPL_TRY(espl_new(ctx, sizeof(cache_header) + bytes, &data));
    char *folder = NULL;
    espl_status status;
    ESPL_GOTO(espl_device_check(device,
                                device->vk.GetPipelineCacheData(device->handle, device->pipeline_cache, &bytes,
                                                                data + sizeof(cache_header)),
                                "vkGetPipelineCacheData"));
    cache_header header = {.bytes = bytes, .hash = hash_bytes(data + sizeof header, bytes)};
    memcpy(header.magic, file_magic, sizeof file_magic);
    memcpy(data, &header, sizeof header);
    ESPL_GOTO(espl_copy_string(ctx, path, (size_t)(espl_os_file_name(path) - path), &folder));
    ESPL_GOTO(espl_os_make_folder(ctx, folder));
    status = espl_os_write_file(ctx, path, data, sizeof header + bytes);
fail:
    espl_free(ctx, &folder);
    espl_free(ctx, &data);
    return status;
}

void espl_pipeline_cache_save(espl_device *device, bool now) {
    espl_cache_file *file = &device->cache_file;
    if (!file->path || !file->dirty || device->lost || !device->pipeline_cache) return;
    if (!now && espl_os_seconds() - file->saved_at < seconds_between_saves) return;
    if (save(device) != ESPL_OK)
        espl_log(device->ctx, ESPL_LOG_WARNING, "compiled kernels were not kept: %s",
                 espl_context_message(device->ctx));
    file->dirty = false;
    file->saved_at = espl_os_seconds();
}

void espl_pipeline_cache_finish(espl_device *device) {
    if (device->handle) device->vk.DestroyPipelineCache(device->handle, device->pipeline_cache, NULL);
    espl_free(device->ctx, &device->cache_file.path);
}
