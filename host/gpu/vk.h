/* Every Vulkan function this library calls, as one list, loaded at run time. Nothing links against the loader: our own
 * devices find it by name, an imported device brings its host's vkGetInstanceProcAddr, and both end in the same table,
 * so two devices of two loaders can live in one process. */
#ifndef ESPL_GPU_VK_H
#define ESPL_GPU_VK_H

#define VK_NO_PROTOTYPES
#include <vulkan/vulkan_core.h>

#include "host/base/base.h"

/* Callable before there is an instance. */
#define ESPL_VK_GLOBAL_LIST(X)              \
    X(CreateInstance)                       \
    X(EnumerateInstanceExtensionProperties) \
    X(EnumerateInstanceLayerProperties)     \
    X(EnumerateInstanceVersion)

#define ESPL_VK_INSTANCE_LIST(X)              \
    X(CreateDevice)                           \
    X(DestroyInstance)                        \
    X(EnumerateDeviceExtensionProperties)     \
    X(EnumeratePhysicalDevices)               \
    X(GetDeviceProcAddr)                      \
    X(GetPhysicalDeviceFeatures2)             \
    X(GetPhysicalDeviceMemoryProperties)      \
    X(GetPhysicalDeviceMemoryProperties2)     \
    X(GetPhysicalDeviceProperties)            \
    X(GetPhysicalDeviceProperties2)           \
    X(GetPhysicalDeviceQueueFamilyProperties)

/* NULL where their extension is missing or not enabled. */
#define ESPL_VK_INSTANCE_OPTIONAL_LIST(X) \
    X(CreateDebugUtilsMessengerEXT)       \
    X(DestroyDebugUtilsMessengerEXT)

#define ESPL_VK_DEVICE_LIST(X)    \
    X(AllocateCommandBuffers)     \
    X(AllocateDescriptorSets)     \
    X(AllocateMemory)             \
    X(BeginCommandBuffer)         \
    X(BindBufferMemory)           \
    X(CmdBindDescriptorSets)      \
    X(CmdBindPipeline)            \
    X(CmdCopyBuffer)              \
    X(CmdDispatch)                \
    X(CmdDispatchBase)            \
    X(CmdExecuteCommands)         \
    X(CmdFillBuffer)              \
    X(CmdPipelineBarrier)         \
    X(CmdPushConstants)           \
    X(CmdResetQueryPool)          \
    X(CmdWriteTimestamp)          \
    X(CreateBuffer)               \
    X(CreateCommandPool)          \
    X(CreateComputePipelines)     \
    X(CreateDescriptorPool)       \
    X(CreateDescriptorSetLayout)  \
    X(CreateFence)                \
    X(CreatePipelineCache)        \
    X(CreatePipelineLayout)       \
    X(CreateQueryPool)            \
    X(CreateSemaphore)            \
    X(CreateShaderModule)         \
    X(DestroyBuffer)              \
    X(DestroyCommandPool)         \
    X(DestroyDescriptorPool)      \
    X(DestroyDescriptorSetLayout) \
    X(DestroyDevice)              \
    X(DestroyFence)               \
    X(DestroyPipeline)            \
    X(DestroyPipelineCache)       \
    X(DestroyPipelineLayout)      \
    X(DestroyQueryPool)           \
    X(DestroySemaphore)           \
    X(DestroyShaderModule)        \
    X(EndCommandBuffer)           \
    X(FreeCommandBuffers)         \
    X(FreeMemory)                 \
    X(GetBufferMemoryRequirements) \
    X(GetDeviceQueue)             \
    X(GetFenceStatus)             \
    X(GetPipelineCacheData)       \
    X(GetQueryPoolResults)        \
    X(MapMemory)                  \
    X(QueueSubmit)                \
    X(ResetFences)                \
    X(UpdateDescriptorSets)       \
    X(WaitForFences)

#define ESPL_VK_DEVICE_OPTIONAL_LIST(X) \
    X(CmdBeginDebugUtilsLabelEXT)       \
    X(CmdEndDebugUtilsLabelEXT)         \
    X(SetDebugUtilsObjectNameEXT)

/* Core in 1.2; loaded under the core name or the KHR one. */
#define ESPL_VK_TIMELINE_LIST(X) \
    X(GetSemaphoreCounterValue)  \
    X(WaitSemaphores)

typedef struct espl_vk {
    PFN_vkGetInstanceProcAddr GetInstanceProcAddr;
#define ESPL_VK_MEMBER(name) PFN_vk##name name;
    ESPL_VK_GLOBAL_LIST(ESPL_VK_MEMBER)
    ESPL_VK_INSTANCE_LIST(ESPL_VK_MEMBER)
    ESPL_VK_INSTANCE_OPTIONAL_LIST(ESPL_VK_MEMBER)
    ESPL_VK_DEVICE_LIST(ESPL_VK_MEMBER)
    ESPL_VK_DEVICE_OPTIONAL_LIST(ESPL_VK_MEMBER)
    ESPL_VK_TIMELINE_LIST(ESPL_VK_MEMBER)
#undef ESPL_VK_MEMBER
} espl_vk;

/* Each fills its part of the table. Fails: UNSUPPORTED naming the function that is missing. */
espl_status espl_vk_load_global(espl_context *ctx, espl_vk *vk, PFN_vkGetInstanceProcAddr get);
espl_status espl_vk_load_instance(espl_context *ctx, espl_vk *vk, VkInstance instance);
espl_status espl_vk_load_device(espl_context *ctx, espl_vk *vk, VkDevice device);

/* "VK_ERROR_DEVICE_LOST"; never NULL. */
const char *espl_vk_result_name(VkResult result);
/* ESPL_OK for VK_SUCCESS; else records "what: VK_ERROR_..." and returns the status that fits. */
espl_status espl_vk_check(espl_context *ctx, VkResult result, const char *what);

/* ---- Extensions newer than Vulkan headers 1.3.239 (Debian bookworm), written out where the header lacks them ---- */

#ifndef VK_EXT_layer_settings
#define VK_EXT_LAYER_SETTINGS_EXTENSION_NAME "VK_EXT_layer_settings"
#define VK_STRUCTURE_TYPE_LAYER_SETTINGS_CREATE_INFO_EXT ((VkStructureType)1000496000)
typedef enum VkLayerSettingTypeEXT { VK_LAYER_SETTING_TYPE_BOOL32_EXT = 0 } VkLayerSettingTypeEXT;
typedef struct VkLayerSettingEXT {
    const char *pLayerName, *pSettingName;
    VkLayerSettingTypeEXT type;
    uint32_t valueCount;
    const void *pValues;
} VkLayerSettingEXT;
typedef struct VkLayerSettingsCreateInfoEXT {
    VkStructureType sType;
    const void *pNext;
    uint32_t settingCount;
    const VkLayerSettingEXT *pSettings;
} VkLayerSettingsCreateInfoEXT;
#endif

#ifndef VK_KHR_cooperative_matrix
#define VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME "VK_KHR_cooperative_matrix"
#define VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR ((VkStructureType)1000506000)
#define VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR ((VkStructureType)1000506001)
typedef struct VkPhysicalDeviceCooperativeMatrixFeaturesKHR {
    VkStructureType sType;
    void *pNext;
    VkBool32 cooperativeMatrix, cooperativeMatrixRobustBufferAccess;
} VkPhysicalDeviceCooperativeMatrixFeaturesKHR;
typedef struct VkCooperativeMatrixPropertiesKHR {
    VkStructureType sType;
    void *pNext;
    uint32_t MSize, NSize, KSize;
    int32_t AType, BType, CType, ResultType; /* VkComponentTypeKHR */
    VkBool32 saturatingAccumulation;
    int32_t scope; /* VkScopeKHR */
} VkCooperativeMatrixPropertiesKHR;
typedef VkResult(VKAPI_PTR *PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR)(
    VkPhysicalDevice physical, uint32_t *count, VkCooperativeMatrixPropertiesKHR *rows);
#endif

#ifndef VK_NV_cooperative_matrix2
#define VK_NV_COOPERATIVE_MATRIX_2_EXTENSION_NAME "VK_NV_cooperative_matrix2"
#define VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_2_FEATURES_NV ((VkStructureType)1000593000)
typedef struct VkPhysicalDeviceCooperativeMatrix2FeaturesNV {
    VkStructureType sType;
    void *pNext;
    VkBool32 cooperativeMatrixWorkgroupScope, cooperativeMatrixFlexibleDimensions, cooperativeMatrixReductions,
        cooperativeMatrixConversions, cooperativeMatrixPerElementOperations, cooperativeMatrixTensorAddressing,
        cooperativeMatrixBlockLoads;
} VkPhysicalDeviceCooperativeMatrix2FeaturesNV;
#endif

#ifndef VK_KHR_shader_bfloat16
#define VK_KHR_SHADER_BFLOAT16_EXTENSION_NAME "VK_KHR_shader_bfloat16"
#define VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_BFLOAT16_FEATURES_KHR ((VkStructureType)1000141000)
typedef struct VkPhysicalDeviceShaderBfloat16FeaturesKHR {
    VkStructureType sType;
    void *pNext;
    VkBool32 shaderBFloat16Type, shaderBFloat16DotProduct, shaderBFloat16CooperativeMatrix;
} VkPhysicalDeviceShaderBfloat16FeaturesKHR;
#endif

#endif
