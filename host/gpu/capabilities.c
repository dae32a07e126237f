/* Reading what a device can do. Three steps, in this order: what the driver says, lowered by the quirk table, lowered
 * by the caller's limits. Optional features are rows of one table, so that asking for them, enabling them and reading
 * them from a host program's chain cannot disagree. */
#include "host/gpu/capabilities.h"
#include "host/gpu/config.h"
#include <stdlib.h>
#include <string.h>

#define ROW(field, kind, may_lower, meaning) \
    { #field, offsetof(espl_capabilities, field), ESPL_CAPABILITY_##kind, may_lower, meaning }
const espl_capability_row espl_capability_rows[] = {
    ROW(vulkan_minor, U32, true, "of Vulkan 1.N, as much as is used"),
    ROW(cpu, BOOL, true, "a software driver: gets kernels of its own"),
    ROW(unified_memory, BOOL, true, "device memory that the host can map"),
    ROW(timeline, BOOL, true, "timeline semaphores"),
    ROW(timestamps, BOOL, true, "times of kernels can be measured"),
    ROW(f16_arithmetic, BOOL, true, "16-bit floats in registers"),
    ROW(f16_storage, BOOL, true, "16-bit values in buffers"),
    ROW(bf16, BOOL, true, "bfloat16 values"),
    ROW(i8_arithmetic, BOOL, true, "8-bit integers in registers"),
    ROW(i8_storage, BOOL, true, "8-bit values in buffers"),
    ROW(i16_arithmetic, BOOL, true, "16-bit integers in registers"),
    ROW(integer_dot, BOOL, true, "dot product of four 8-bit integers in hardware"),
    ROW(subgroup_arithmetic, BOOL, true, "sums across a subgroup"),
    ROW(subgroup_shuffle, BOOL, true, "shuffles across a subgroup"),
    ROW(subgroup_size_control, BOOL, true, "the subgroup size can be chosen"),
    ROW(cooperative_matrix, BOOL, true, "matrix units (VK_KHR_cooperative_matrix)"),
    ROW(cooperative_matrix_2, BOOL, true, "the same of workgroup scope and any size (VK_NV_cooperative_matrix2)"),
    ROW(matrix_shape_count, U32, false, "matrix shapes of subgroup scope"),
    ROW(subgroup_size, U32, false, "lanes"),
    ROW(subgroup_size_min, U32, false, "lanes"),
    ROW(subgroup_size_max, U32, false, "lanes"),
    ROW(invocations_max, U32, true, "per workgroup"),
    ROW(local_size_max[0], U32, true, "per workgroup, x"),
    ROW(local_size_max[1], U32, true, "per workgroup, y"),
    ROW(local_size_max[2], U32, true, "per workgroup, z"),
    ROW(shared_bytes_max, U32, true, "per workgroup"),
    ROW(group_count_max[0], U32, true, "workgroups, x"),
    ROW(group_count_max[1], U32, true, "workgroups, y"),
    ROW(group_count_max[2], U32, true, "workgroups, z"),
    ROW(storage_range_max, U64, true, "bytes in one binding"),
    ROW(storage_alignment, U64, false, "bytes, of a binding's offset"),
    ROW(allocation_bytes_max, U64, true, "bytes in one allocation"),
    ROW(heap_bytes, U64, true, "bytes of the heap that weights live in"),
    ROW(memory_type_count, U32, true, "kinds of memory, those listed first"),
};
#undef ROW
const size_t espl_capability_row_count = ESPL_COUNT(espl_capability_rows);

uint64_t espl_capability_value(const espl_capabilities *capabilities, const espl_capability_row *row) {
    const unsigned char *at = (const unsigned char *)capabilities + row->offset;
    bool flag;
    uint32_t small;
    uint64_t large;
    switch (row->kind) {
    case ESPL_CAPABILITY_BOOL: memcpy(&flag, at, sizeof flag); return flag;
    case ESPL_CAPABILITY_U32: memcpy(&small, at, sizeof small); return small;
    case ESPL_CAPABILITY_U64: memcpy(&large, at, sizeof large); return large;
    }
    return 0;
}

static void lower(espl_capabilities *capabilities, const espl_capability_row *row, uint64_t value) {
    if (value >= espl_capability_value(capabilities, row)) return;
    unsigned char *at = (unsigned char *)capabilities + row->offset;
    uint32_t small = (uint32_t)value;
    bool flag = value != 0;
    switch (row->kind) {
    case ESPL_CAPABILITY_BOOL: memcpy(at, &flag, sizeof flag); break;
    case ESPL_CAPABILITY_U32: memcpy(at, &small, sizeof small); break;
    case ESPL_CAPABILITY_U64: memcpy(at, &value, sizeof value); break;
    }
}

/* "name=value,name=value" */
static espl_status apply_limits(espl_context *ctx, espl_capabilities *capabilities, const char *limits) {
    while (*limits) {
        size_t name_length = strcspn(limits, "=,");
        const espl_capability_row *row = NULL;
        for (size_t i = 0; i < espl_capability_row_count && !row; i++) {
            const char *name = espl_capability_rows[i].name;
            if (strlen(name) == name_length && memcmp(name, limits, name_length) == 0) row = &espl_capability_rows[i];
        }
        if (!row || !row->may_lower)
            return espl_fail(ctx, ESPL_ARGUMENT, "limits: '%.*s' is not a capability that can be lowered",
                             (int)name_length, limits);
        const char *digits = limits + name_length + (limits[name_length] == '=');
        char *end;
        unsigned long long value = strtoull(digits, &end, 10);
        if (limits[name_length] != '=' || end == digits || (*end && *end != ','))
            return espl_fail(ctx, ESPL_ARGUMENT, "limits: '%s' needs a whole number, as in %s=0", row->name, row->name);
        lower(capabilities, row, value);
        limits = *end ? end + 1 : end;
    }
    return ESPL_OK;
}

espl_status espl_version_limit(espl_context *ctx, const char *limits, uint32_t *version) {
    espl_capabilities c = {.vulkan_minor = VK_API_VERSION_MINOR(*version)};
    if (limits) ESPL_TRY(apply_limits(ctx, &c, limits));
    ESPL_TRY(apply_limits(ctx, &c, espl_config_limits()));
    if (c.vulkan_minor < 1) return espl_fail(ctx, ESPL_UNSUPPORTED, "limits: Vulkan 1.0, 1.1 is needed");
    *version = VK_MAKE_API_VERSION(0, 1, c.vulkan_minor, 0);
    return ESPL_OK;
}

/* core: the version of Vulkan that has the struct without an extension; 0 none up to 1.3. */
static const struct {
    const char *extension;
    uint32_t core;
    size_t offset, bytes;
    VkStructureType type;
} feature_rows[] = {
#define ROW(extension, core, member, type) \
    { extension, core, offsetof(espl_features, member), sizeof(((espl_features *)0)->member), type }
    ROW("VK_KHR_16bit_storage", VK_API_VERSION_1_1, storage16,
        VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_16BIT_STORAGE_FEATURES),
    ROW("VK_KHR_8bit_storage", VK_API_VERSION_1_2, storage8, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_8BIT_STORAGE_FEATURES),
    ROW("VK_KHR_shader_float16_int8", VK_API_VERSION_1_2, arithmetic,
        VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES),
    ROW("VK_KHR_timeline_semaphore", VK_API_VERSION_1_2, timeline,
        VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_TIMELINE_SEMAPHORE_FEATURES),
    ROW("VK_KHR_vulkan_memory_model", VK_API_VERSION_1_2, memory_model,
        VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_MEMORY_MODEL_FEATURES),
    ROW("VK_EXT_subgroup_size_control", VK_API_VERSION_1_3, subgroup_size,
        VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES),
    ROW("VK_KHR_shader_integer_dot_product", VK_API_VERSION_1_3, integer_dot,
        VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES),
    ROW(VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME, 0, matrix,
        VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR),
    ROW(VK_NV_COOPERATIVE_MATRIX_2_EXTENSION_NAME, 0, matrix_2,
        VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_2_FEATURES_NV),
    ROW(VK_KHR_SHADER_BFLOAT16_EXTENSION_NAME, 0, bf16, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_BFLOAT16_FEATURES_KHR),
#undef ROW
};

static VkBaseOutStructure *feature_struct(espl_features *features, size_t row) {
    return (VkBaseOutStructure *)(void *)((unsigned char *)features + feature_rows[row].offset);
}

const VkPhysicalDeviceFeatures2 *espl_features_link(espl_device_facts *facts) {
    espl_features *features = &facts->features;
    features->base.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2;
    features->base.pNext = NULL;
    for (size_t i = 0; i < ESPL_COUNT(feature_rows); i++) {
        if (!(facts->feature_rows >> i & 1)) continue;
        VkBaseOutStructure *link = feature_struct(features, i);
        link->sType = feature_rows[i].type;
        link->pNext = features->base.pNext;
        features->base.pNext = link;
    }
    return &features->base;
}

typedef struct extension_list {
    VkExtensionProperties *rows; /* owned */
    uint32_t count;
} extension_list;

static bool has(const extension_list *list, const char *name) {
    for (uint32_t i = 0; i < list->count; i++)
        if (strcmp(list->rows[i].extensionName, name) == 0) return true;
    return false;
}

static espl_status list_extensions(espl_context *ctx, const espl_vk *vk, VkPhysicalDevice physical,
                                   extension_list *out_list) {
    *out_list = (extension_list){0};
    const char *what = "vkEnumerateDeviceExtensionProperties";
    ESPL_TRY(espl_vk_check(ctx, vk->EnumerateDeviceExtensionProperties(physical, NULL, &out_list->count, NULL), what));
    ESPL_TRY(espl_new(ctx, out_list->count * sizeof *out_list->rows, &out_list->rows));
    VkResult result =
        out_list->count ? vk->EnumerateDeviceExtensionProperties(physical, NULL, &out_list->count, out_list->rows)
                        : VK_SUCCESS;
    espl_status status = result == VK_INCOMPLETE ? ESPL_OK : espl_vk_check(ctx, result, what);
    if (status != ESPL_OK) espl_free(ctx, &out_list->rows);
    return status;
}

static void read_supported_features(const espl_vk *vk, VkPhysicalDevice physical, const extension_list *list,
                                    espl_device_facts *facts) {
    for (size_t i = 0; i < ESPL_COUNT(feature_rows); i++) {
        bool core = feature_rows[i].core && feature_rows[i].core <= facts->version;
        if (!core && !has(list, feature_rows[i].extension)) continue;
        facts->feature_rows |= 1u << i;
        if (!core) facts->extensions[facts->extension_count++] = feature_rows[i].extension;
    }
    static const char *const priorities[] = {"VK_KHR_global_priority", "VK_EXT_global_priority"};
    for (size_t i = 0; i < ESPL_COUNT(priorities) && !facts->global_priority; i++) {
        facts->global_priority = has(list, priorities[i]);
        if (facts->global_priority) facts->extensions[facts->extension_count++] = priorities[i];
    }
    /* A device that lists it must have it enabled (MoltenVK). */
    if (has(list, "VK_KHR_portability_subset"))
        facts->extensions[facts->extension_count++] = "VK_KHR_portability_subset";
    espl_features_link(facts);
    vk->GetPhysicalDeviceFeatures2(physical, &facts->features.base);
    /* Robust access costs speed and gpu.h checks every range before recording; the rest nobody here uses. */
    VkPhysicalDeviceFeatures supported = facts->features.base.features;
    facts->features.base.features = (VkPhysicalDeviceFeatures){.shaderInt16 = supported.shaderInt16};
    facts->features.matrix.cooperativeMatrixRobustBufferAccess = VK_FALSE;
}

/* Copies what a host program enabled, from single structs or from the ones that sum up a version. */
static void read_enabled_features(const espl_import_facts *import, espl_device_facts *facts) {
    espl_features *features = &facts->features;
    const VkBaseInStructure *link = (const VkBaseInStructure *)(const void *)import->features;
    if (import->features) features->base.features = import->features->features;
    for (; link; link = link->pNext) {
        const void *at = link;
        if (link->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES) {
            const VkPhysicalDeviceVulkan11Features *all = at;
            features->storage16.storageBuffer16BitAccess = all->storageBuffer16BitAccess;
        } else if (link->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES) {
            const VkPhysicalDeviceVulkan12Features *all = at;
            features->storage8.storageBuffer8BitAccess = all->storageBuffer8BitAccess;
            features->arithmetic.shaderFloat16 = all->shaderFloat16;
            features->arithmetic.shaderInt8 = all->shaderInt8;
            features->timeline.timelineSemaphore = all->timelineSemaphore;
            features->memory_model.vulkanMemoryModel = all->vulkanMemoryModel;
        } else if (link->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_FEATURES) {
            const VkPhysicalDeviceVulkan13Features *all = at;
            features->subgroup_size.subgroupSizeControl = all->subgroupSizeControl;
            features->integer_dot.shaderIntegerDotProduct = all->shaderIntegerDotProduct;
        }
        for (size_t i = 0; i < ESPL_COUNT(feature_rows); i++)
            if (link->sType == feature_rows[i].type) memcpy(feature_struct(features, i), at, feature_rows[i].bytes);
    }
    if (import->timeline) features->timeline.timelineSemaphore = VK_TRUE;
}

static void read_matrix_shapes(const espl_vk *vk, VkInstance instance, VkPhysicalDevice physical, espl_device_facts *facts) {
    PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR get =
        (PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR)vk->GetInstanceProcAddr(
            instance, "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR");
    VkCooperativeMatrixPropertiesKHR rows[ESPL_MATRIX_SHAPES_MAX];
    uint32_t count = ESPL_MATRIX_SHAPES_MAX;
    for (uint32_t i = 0; i < count; i++)
        rows[i] = (VkCooperativeMatrixPropertiesKHR){.sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR};
    if (!get || get(physical, &count, rows) < 0) return;
    const int subgroup_scope = 3;
    const bool bf16 = facts->capabilities.bf16 && facts->features.bf16.shaderBFloat16CooperativeMatrix;
    for (uint32_t i = 0; i < count; i++) {
        const VkCooperativeMatrixPropertiesKHR *row = &rows[i];
        if ((int)row->scope != subgroup_scope || (row->AType == ESPL_MATRIX_F16 && !facts->capabilities.f16_arithmetic) ||
            (row->AType == ESPL_MATRIX_BF16 && !bf16))
            continue;
        facts->shapes[facts->capabilities.matrix_shape_count++] = (espl_matrix_shape){
            row->MSize, row->NSize, row->KSize, (uint32_t)row->AType, (uint32_t)row->BType, (uint32_t)row->CType,
            (uint32_t)row->ResultType, row->saturatingAccumulation != 0};
    }
}

static uint64_t smaller(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

/* Weights live in the largest heap that is the device's own. Mapping counts only if it covers that heap: on a discrete
 * GPU without resizable BAR the mappable part is 256 MiB beside it. */
static void read_memory(espl_device_facts *facts) {
    const VkPhysicalDeviceMemoryProperties *memory = &facts->memory;
    const VkMemoryPropertyFlags mapped = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT | VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT |
                                         VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    espl_capabilities *capabilities = &facts->capabilities;
    for (uint32_t i = 0; i < memory->memoryTypeCount; i++) {
        uint64_t bytes = memory->memoryHeaps[memory->memoryTypes[i].heapIndex].size;
        if ((memory->memoryTypes[i].propertyFlags & VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT) &&
            bytes > capabilities->heap_bytes)
            capabilities->heap_bytes = bytes;
    }
    for (uint32_t i = 0; i < memory->memoryTypeCount; i++)
        if ((memory->memoryTypes[i].propertyFlags & mapped) == mapped &&
            memory->memoryHeaps[memory->memoryTypes[i].heapIndex].size == capabilities->heap_bytes)
            capabilities->unified_memory = true;
}

typedef struct property_chain {
    VkPhysicalDeviceSubgroupProperties subgroup;
    VkPhysicalDeviceMaintenance3Properties maintenance3;
    VkPhysicalDeviceIDProperties id;
    VkPhysicalDeviceDriverProperties driver;
    VkPhysicalDeviceSubgroupSizeControlProperties subgroup_size;
    VkPhysicalDeviceShaderIntegerDotProductProperties dot;
    VkPhysicalDeviceMaintenance4Properties maintenance4;
} property_chain;

static void read_properties(const espl_vk *vk, VkPhysicalDevice physical, const extension_list *list, espl_device_facts *facts,
                            property_chain *chain) {
    *chain = (property_chain){
        .subgroup.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES,
        .maintenance3.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES,
        .id.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_ID_PROPERTIES,
        .driver.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES,
        .subgroup_size.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES,
        .dot.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_PROPERTIES,
        .maintenance4.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_4_PROPERTIES};
    const struct {
        void *at;
        uint32_t core;
        const char *extension;
    } rows[] = {
        {&chain->subgroup, VK_API_VERSION_1_1, ""},
        {&chain->maintenance3, VK_API_VERSION_1_1, ""},
        {&chain->id, VK_API_VERSION_1_1, ""},
        {&chain->driver, VK_API_VERSION_1_2, "VK_KHR_driver_properties"},
        {&chain->subgroup_size, VK_API_VERSION_1_3, "VK_EXT_subgroup_size_control"},
        {&chain->dot, VK_API_VERSION_1_3, "VK_KHR_shader_integer_dot_product"},
        {&chain->maintenance4, VK_API_VERSION_1_3, "VK_KHR_maintenance4"},
    };
    VkPhysicalDeviceProperties2 properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2};
    for (size_t i = 0; i < ESPL_COUNT(rows); i++) {
        if (rows[i].core > facts->version && !has(list, rows[i].extension)) continue;
        VkBaseOutStructure *link = rows[i].at;
        link->pNext = properties.pNext;
        properties.pNext = link;
    }
    vk->GetPhysicalDeviceProperties2(physical, &properties);
    memcpy(facts->uuid, chain->id.deviceUUID, sizeof facts->uuid);
    memcpy(facts->driver_name, chain->driver.driverName, sizeof facts->driver_name);
    memcpy(facts->driver_info, chain->driver.driverInfo, sizeof facts->driver_info);
    facts->driver_id = chain->driver.driverID;
}

static void fill_capabilities(espl_device_facts *facts, const property_chain *chain) {
    const VkPhysicalDeviceLimits *limits = &facts->properties.limits;
    const espl_features *features = &facts->features;
    const VkSubgroupFeatureFlags operations =
        chain->subgroup.supportedStages & VK_SHADER_STAGE_COMPUTE_BIT ? chain->subgroup.supportedOperations : 0;
    espl_capabilities *c = &facts->capabilities;
    c->vulkan_minor = VK_API_VERSION_MINOR(facts->version);
    c->cpu = facts->properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU;
    c->timeline = features->timeline.timelineSemaphore;
    c->timestamps = facts->timestamp_bits > 0 && limits->timestampPeriod > 0;
    c->f16_arithmetic = features->arithmetic.shaderFloat16;
    c->f16_storage = features->storage16.storageBuffer16BitAccess;
    c->bf16 = features->bf16.shaderBFloat16Type;
    c->i8_arithmetic = features->arithmetic.shaderInt8;
    c->i8_storage = features->storage8.storageBuffer8BitAccess;
    c->i16_arithmetic = features->base.features.shaderInt16;
    /* The feature alone may be an emulation that is slower than doing without. */
    c->integer_dot =
        features->integer_dot.shaderIntegerDotProduct && chain->dot.integerDotProduct4x8BitPackedSignedAccelerated;
    c->subgroup_arithmetic = operations & VK_SUBGROUP_FEATURE_ARITHMETIC_BIT;
    c->subgroup_shuffle = operations & VK_SUBGROUP_FEATURE_SHUFFLE_BIT;
    c->subgroup_size_control = features->subgroup_size.subgroupSizeControl &&
                               (chain->subgroup_size.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT);
    /* GLSL's cooperative matrices use the Vulkan memory model. */
    c->cooperative_matrix = features->matrix.cooperativeMatrix && features->memory_model.vulkanMemoryModel;
    c->cooperative_matrix_2 = c->cooperative_matrix && features->matrix_2.cooperativeMatrixWorkgroupScope &&
                              features->matrix_2.cooperativeMatrixFlexibleDimensions;
    c->subgroup_size = chain->subgroup.subgroupSize;
    bool range = c->subgroup_size_control && chain->subgroup_size.maxSubgroupSize;
    c->subgroup_size_min = range ? chain->subgroup_size.minSubgroupSize : c->subgroup_size;
    c->subgroup_size_max = range ? chain->subgroup_size.maxSubgroupSize : c->subgroup_size;
    c->invocations_max = limits->maxComputeWorkGroupInvocations;
    c->shared_bytes_max = limits->maxComputeSharedMemorySize;
    for (int i = 0; i < 3; i++) {
        c->local_size_max[i] = limits->maxComputeWorkGroupSize[i];
        c->group_count_max[i] = limits->maxComputeWorkGroupCount[i];
    }
    c->storage_range_max = limits->maxStorageBufferRange;
    c->storage_alignment = limits->minStorageBufferOffsetAlignment > 4 ? limits->minStorageBufferOffsetAlignment : 4;
    c->allocation_bytes_max = chain->maintenance3.maxMemoryAllocationSize;
    if (chain->maintenance4.maxBufferSize)
        c->allocation_bytes_max = smaller(c->allocation_bytes_max, chain->maintenance4.maxBufferSize);
    read_memory(facts);
    c->memory_type_count = facts->memory.memoryTypeCount;
}

static void drop(void *feature_struct, size_t bytes) {
    memset((unsigned char *)feature_struct + sizeof(VkBaseOutStructure), 0, bytes - sizeof(VkBaseOutStructure));
}

/* A device that was told to be without a feature is made without it: the validation layer sees what still needs it. */
static void drop_features(espl_device_facts *facts) {
    const espl_capabilities *c = &facts->capabilities;
    espl_features *features = &facts->features;
    features->base.features.shaderInt16 = c->i16_arithmetic;
    features->arithmetic.shaderFloat16 = c->f16_arithmetic;
    features->arithmetic.shaderInt8 = c->i8_arithmetic;
    if (!c->timeline) drop(&features->timeline, sizeof features->timeline);
    if (!c->f16_storage) drop(&features->storage16, sizeof features->storage16);
    if (!c->i8_storage) drop(&features->storage8, sizeof features->storage8);
    if (!c->integer_dot) drop(&features->integer_dot, sizeof features->integer_dot);
    if (!c->subgroup_size_control) drop(&features->subgroup_size, sizeof features->subgroup_size);
    if (!c->cooperative_matrix) drop(&features->matrix, sizeof features->matrix);
    if (!c->cooperative_matrix_2) drop(&features->matrix_2, sizeof features->matrix_2);
    if (!c->bf16) drop(&features->bf16, sizeof features->bf16);
}

static espl_status find_family(espl_context *ctx, const espl_vk *vk, VkPhysicalDevice physical,
                               const espl_import_facts *import, espl_device_facts *facts) {
    VkQueueFamilyProperties families[16];
    uint32_t count = ESPL_COUNT(families);
    vk->GetPhysicalDeviceQueueFamilyProperties(physical, &count, families);
    facts->family = UINT32_MAX;
    /* The first one with compute: every driver has it, it is the one most exercised, and a family of compute only would
     * gain nothing, since nothing is drawn beside it in our own device. A host that draws hands over its choice. */
    for (uint32_t i = 0; i < count && facts->family == UINT32_MAX; i++)
        if (families[i].queueFlags & VK_QUEUE_COMPUTE_BIT) facts->family = i;
    if (import->imported) {
        if (import->family >= count || !(families[import->family].queueFlags & VK_QUEUE_COMPUTE_BIT))
            return espl_fail(ctx, ESPL_UNSUPPORTED, "%s: queue family %u cannot compute", facts->properties.deviceName,
                             import->family);
        facts->family = import->family;
    }
    if (facts->family == UINT32_MAX)
        return espl_fail(ctx, ESPL_UNSUPPORTED, "%s: no queue that can compute", facts->properties.deviceName);
    facts->timestamp_bits = families[facts->family].timestampValidBits;
    return ESPL_OK;
}

espl_status espl_device_facts_read(espl_context *ctx, const espl_vk *vk, VkInstance instance, VkPhysicalDevice physical,
                              uint32_t instance_version, const espl_import_facts *import, const char *limits,
                              espl_device_facts *out_facts) {
    espl_device_facts *facts = out_facts;
    memset(facts, 0, sizeof *facts);
    vk->GetPhysicalDeviceProperties(physical, &facts->properties);
    vk->GetPhysicalDeviceMemoryProperties(physical, &facts->memory);
    uint32_t version = facts->properties.apiVersion;
    if (version < VK_API_VERSION_1_1)
        return espl_fail(ctx, ESPL_UNSUPPORTED, "%s: Vulkan %u.%u, 1.1 is needed", facts->properties.deviceName,
                         VK_API_VERSION_MAJOR(version), VK_API_VERSION_MINOR(version));
    facts->version = (uint32_t)smaller(version, instance_version);
    ESPL_TRY(find_family(ctx, vk, physical, import, facts));
    extension_list list;
    ESPL_TRY(list_extensions(ctx, vk, physical, &list));
    facts->memory_budget = has(&list, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);
    property_chain chain;
    read_properties(vk, physical, &list, facts, &chain);
    if (import->imported) read_enabled_features(import, facts);
    else read_supported_features(vk, physical, &list, facts);
    espl_free(ctx, &list.rows);

    fill_capabilities(facts, &chain);
    for (size_t i = 0; i < espl_quirk_count; i++)
        if (espl_quirk_applies(&espl_quirks[i], facts))
            ESPL_TRY(apply_limits(ctx, &facts->capabilities, espl_quirks[i].limits));
    const uint64_t heap_bytes = facts->capabilities.heap_bytes;
    if (limits) ESPL_TRY(apply_limits(ctx, &facts->capabilities, limits));
    ESPL_TRY(apply_limits(ctx, &facts->capabilities, import->imported ? "" : espl_config_limits()));
    facts->heap_lowered = facts->capabilities.heap_bytes < heap_bytes;
    if (!facts->capabilities.cooperative_matrix) facts->capabilities.cooperative_matrix_2 = false;
    drop_features(facts);
    if (facts->capabilities.cooperative_matrix) read_matrix_shapes(vk, instance, physical, facts);
    return ESPL_OK;
}
