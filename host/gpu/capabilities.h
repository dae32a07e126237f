/* Reading what a physical device can do, once, into a struct of plain values that kernels are chosen by. */
#ifndef ESPL_GPU_CAPABILITIES_H
#define ESPL_GPU_CAPABILITIES_H

#include "host/gpu/gpu.h"
#include "host/gpu/vk.h"

enum { ESPL_MATRIX_SHAPES_MAX = 64, ESPL_EXTENSIONS_MAX = 16 };

/* Every optional feature that some kernel can use. For a device of our own: what it supports and will be enabled; for
 * an imported one: what its host enabled. The pNext pointers are set by espl_features_link only. */
typedef struct espl_features {
    VkPhysicalDeviceFeatures2 base;
    VkPhysicalDevice16BitStorageFeatures storage16;
    VkPhysicalDevice8BitStorageFeatures storage8;
    VkPhysicalDeviceShaderFloat16Int8Features arithmetic;
    VkPhysicalDeviceTimelineSemaphoreFeatures timeline;
    VkPhysicalDeviceVulkanMemoryModelFeatures memory_model;
    VkPhysicalDeviceSubgroupSizeControlFeatures subgroup_size;
    VkPhysicalDeviceShaderIntegerDotProductFeatures integer_dot;
    VkPhysicalDeviceCooperativeMatrixFeaturesKHR matrix;
    VkPhysicalDeviceCooperativeMatrix2FeaturesNV matrix_2;
    VkPhysicalDeviceShaderBfloat16FeaturesKHR bf16;
} espl_features;

typedef struct espl_device_facts {
    uint32_t version; /* of the API that may be used */
    uint32_t family;  /* the first with compute; UINT32_MAX if there is none */
    uint32_t timestamp_bits;
    bool memory_budget;
    bool global_priority; /* a queue may be given a place among those of all programs */
    bool heap_lowered; /* by limits: nobody but us knows that it is full */
    VkPhysicalDeviceProperties properties;
    VkPhysicalDeviceMemoryProperties memory;
    char driver_name[VK_MAX_DRIVER_NAME_SIZE];
    char driver_info[VK_MAX_DRIVER_INFO_SIZE];
    VkDriverId driver_id;
    uint8_t uuid[VK_UUID_SIZE];
    uint32_t feature_rows;                       /* bit i: row i of the feature table may be chained */
    const char *extensions[ESPL_EXTENSIONS_MAX]; /* to enable; borrowed, static */
    uint32_t extension_count;
    espl_features features;
    espl_capabilities capabilities;
    espl_matrix_shape shapes[ESPL_MATRIX_SHAPES_MAX];
} espl_device_facts;

/* What the host says of an imported device; zeroed for our own. */
typedef struct espl_import_facts {
    bool imported, timeline;
    uint32_t family;
    const VkPhysicalDeviceFeatures2 *features; /* borrowed; may be NULL */
} espl_import_facts;

/* limits: text as in espl_device_params. Fails: UNSUPPORTED below Vulkan 1.1 or without a compute queue;
 * ARGUMENT if limits is not understood. */
espl_status espl_device_facts_read(espl_context *ctx, const espl_vk *vk, VkInstance instance, VkPhysicalDevice physical,
                              uint32_t instance_version, const espl_import_facts *import, const char *limits,
                              espl_device_facts *out_facts);

/* Lowers version, one of Vulkan 1.N, to what limits and the environment allow. Fails: UNSUPPORTED below 1.1; ARGUMENT if
 * limits is not understood. */
espl_status espl_version_limit(espl_context *ctx, const char *limits, uint32_t *version);

/* Chains the feature structs of the facts for vkCreateDevice; borrowed from the facts, valid while it stays in place.
 */
const VkPhysicalDeviceFeatures2 *espl_features_link(espl_device_facts *facts);

/* One value of espl_capabilities, for reports and limits. */
typedef enum espl_capability_kind {
    ESPL_CAPABILITY_BOOL,
    ESPL_CAPABILITY_U32,
    ESPL_CAPABILITY_U64
} espl_capability_kind;
typedef struct espl_capability_row {
    const char *name;
    size_t offset;
    espl_capability_kind kind;
    bool may_lower; /* a smaller value is a weaker device, or for cpu one that gets the kernels of others */
    const char *meaning;
} espl_capability_row;
extern const espl_capability_row espl_capability_rows[];
extern const size_t espl_capability_row_count;
uint64_t espl_capability_value(const espl_capabilities *capabilities, const espl_capability_row *row);

/* Drivers that claim what they do wrong. */
typedef struct espl_quirk {
    VkDriverId driver;
    const char *name_part;     /* of the device's name; NULL: any */
    uint32_t fixed_in_version; /* driver versions from here on are fine; 0: none is known to be */
    const char *limits;        /* what is lowered, as in espl_device_params.limits */
    const char *reason;        /* what was seen, and where it is written down */
} espl_quirk;
extern const espl_quirk espl_quirks[];
extern const size_t espl_quirk_count;
bool espl_quirk_applies(const espl_quirk *quirk, const espl_device_facts *facts);

#endif
