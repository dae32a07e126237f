/* Kernels: a pipeline per shader and specialization, found by value. Layouts depend on the number of bindings alone:
 * every binding is a storage buffer and every layout has the full push range, so dispatches of different kernels with
 * the same number of bindings share one layout. */
#include "host/gpu/state.h"
#include <inttypes.h>
#include <string.h>

static uint64_t hash_words(const uint32_t *words, uint32_t count) {
    uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a, a word at a time */
    for (uint32_t i = 0; i < count; i++) hash = (hash ^ words[i]) * 0x100000001b3u;
    return hash;
}

static espl_status need_layout(espl_device *device, uint32_t count) {
    if (device->pipeline_layouts[count]) return ESPL_OK;
    VkDescriptorSetLayoutBinding bindings[ESPL_BINDINGS_MAX];
    for (uint32_t i = 0; i < count; i++)
        bindings[i] = (VkDescriptorSetLayoutBinding){.binding = i,
                                                     .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                                     .descriptorCount = 1,
                                                     .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT};
    const VkDescriptorSetLayoutCreateInfo set_info = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
                                                      .bindingCount = count,
                                                      .pBindings = bindings};
    if (!device->set_layouts[count])
        ESPL_TRY(espl_device_check(
            device,
            device->vk.CreateDescriptorSetLayout(device->handle, &set_info, NULL, &device->set_layouts[count]),
            "vkCreateDescriptorSetLayout"));
    const VkPushConstantRange push = {VK_SHADER_STAGE_COMPUTE_BIT, 0, ESPL_PUSH_BYTES_MAX};
    const VkPipelineLayoutCreateInfo info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
                                             .setLayoutCount = 1,
                                             .pSetLayouts = &device->set_layouts[count],
                                             .pushConstantRangeCount = 1,
                                             .pPushConstantRanges = &push};
    return espl_device_check(
        device, device->vk.CreatePipelineLayout(device->handle, &info, NULL, &device->pipeline_layouts[count]),
        "vkCreatePipelineLayout");
}

static espl_status need_module(espl_device *device, const espl_shader *shader, VkShaderModule *out_module) {
    for (size_t i = 0; i < device->module_count; i++)
        if (device->modules[i].shader == shader) {
            *out_module = device->modules[i].handle;
            return ESPL_OK;
        }
    ESPL_TRY(espl_grow(device->ctx, &device->modules, &device->module_capacity, device->module_count + 1,
                       sizeof *device->modules));
    const VkShaderModuleCreateInfo info = {.sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
                                           .codeSize = shader->bytes,
                                           .pCode = shader->words};
    ESPL_TRY(espl_device_check(device, device->vk.CreateShaderModule(device->handle, &info, NULL, out_module),
                               "vkCreateShaderModule"));
    espl_device_label_object(device, VK_OBJECT_TYPE_SHADER_MODULE, ESPL_HANDLE(*out_module), shader->name);
    device->modules[device->module_count++] = (espl_module){shader, *out_module};
    return ESPL_OK;
}

/* Before the driver sees it: some drivers do not fail on a workgroup that is too large, they hang. */
static espl_status check_limits(espl_device *device, const espl_kernel *kernel) {
    const espl_capabilities *c = &device->facts.capabilities;
    const espl_reflection *r = &kernel->reflection;
    const char *name = kernel->shader->name;
    uint64_t invocations = 1;
    for (int i = 0; i < 3; i++) {
        if (r->local_size[i] == 0 || r->local_size[i] > c->local_size_max[i])
            return espl_fail(device->ctx, ESPL_UNSUPPORTED, "%s: local size %c is %u, the device has 1 to %u", name,
                             "xyz"[i], r->local_size[i], c->local_size_max[i]);
        invocations *= r->local_size[i];
    }
    if (invocations > c->invocations_max)
        return espl_fail(device->ctx, ESPL_UNSUPPORTED,
                         "%s: %ux%ux%u = %" PRIu64 " invocations in a workgroup, the device has at most %u", name,
                         r->local_size[0], r->local_size[1], r->local_size[2], invocations, c->invocations_max);
    if (r->shared_bytes > c->shared_bytes_max)
        return espl_fail(device->ctx, ESPL_UNSUPPORTED,
                         "%s: %" PRIu64 " bytes of shared memory, the device has at most %u", name, r->shared_bytes,
                         c->shared_bytes_max);
    if (r->push_bytes > ESPL_PUSH_BYTES_MAX)
        return espl_fail(device->ctx, ESPL_ARGUMENT, "%s: %u bytes of push constants, at most %d are used here", name,
                         r->push_bytes, ESPL_PUSH_BYTES_MAX);
    return ESPL_OK;
}

static espl_status create_pipeline(espl_device *device, espl_kernel *kernel, VkShaderModule module) {
    VkSpecializationMapEntry entries[ESPL_SPEC_MAX];
    for (uint32_t i = 0; i < kernel->spec_count; i++)
        entries[i] = (VkSpecializationMapEntry){.constantID = i, .offset = 4 * i, .size = 4};
    const VkSpecializationInfo spec = {.mapEntryCount = kernel->spec_count,
                                       .pMapEntries = entries,
                                       .dataSize = 4 * (size_t)kernel->spec_count,
                                       .pData = kernel->spec};
    const espl_capabilities *c = &device->facts.capabilities;
    const bool full = kernel->reflection.cooperative_matrix && device->facts.features.subgroup_size.computeFullSubgroups;
    const VkPipelineShaderStageRequiredSubgroupSizeCreateInfo size = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO,
        .requiredSubgroupSize = c->subgroup_size};
    const VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .flags = VK_PIPELINE_CREATE_DISPATCH_BASE_BIT, /* it may be dispatched in parts */
        .stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                  .pNext = kernel->reflection.cooperative_matrix && c->subgroup_size_control ? &size : NULL,
                  .flags = full ? VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT : 0,
                  .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                  .module = module,
                  .pName = "main",
                  .pSpecializationInfo = kernel->spec_count ? &spec : NULL},
        .layout = device->pipeline_layouts[kernel->reflection.binding_count]};
    double start = espl_os_seconds();
    VkResult result =
        device->vk.CreateComputePipelines(device->handle, device->pipeline_cache, 1, &info, NULL, &kernel->pipeline);
    ESPL_TRY(espl_device_check(device, result, kernel->shader->name));
    espl_log(device->ctx, ESPL_LOG_DEBUG, "kernel %s made in %.1f ms", kernel->shader->name,
             1e3 * (espl_os_seconds() - start));
    return ESPL_OK;
}

espl_status espl_device_kernel(espl_device *device, const espl_shader *shader, const uint32_t *spec,
                               uint32_t spec_count, const espl_kernel **out_kernel) {
    *out_kernel = NULL;
    ESPL_TRY(espl_device_alive(device));
    if (spec_count > ESPL_SPEC_MAX)
        return espl_fail(device->ctx, ESPL_ARGUMENT, "%s: %u specialization constants, at most %d are used here",
                         shader->name, spec_count, ESPL_SPEC_MAX);
    uint64_t hash = hash_words(spec, spec_count);
    for (size_t i = 0; i < device->kernel_count; i++) {
        const espl_kernel *kernel = device->kernels[i];
        if (kernel->shader != shader || kernel->hash != hash || kernel->spec_count != spec_count) continue;
        if (spec_count && memcmp(kernel->spec, spec, 4 * (size_t)spec_count) != 0) continue;
        *out_kernel = kernel;
        return ESPL_OK;
    }
    espl_kernel *kernel = NULL;
    VkShaderModule module = VK_NULL_HANDLE;
    ESPL_TRY(espl_grow(device->ctx, &device->kernels, &device->kernel_capacity, device->kernel_count + 1,
                       sizeof(espl_kernel *)));
    ESPL_TRY(espl_new(device->ctx, sizeof *kernel, &kernel));
    kernel->shader = shader;
    kernel->hash = hash;
    kernel->spec_count = spec_count;
    if (spec_count) memcpy(kernel->spec, spec, 4 * (size_t)spec_count);
    espl_status status;
    ESPL_GOTO(espl_spirv_reflect(device->ctx, shader, kernel->spec, spec_count, &device->facts.capabilities,
                                 &kernel->reflection));
    ESPL_GOTO(check_limits(device, kernel));
    ESPL_GOTO(need_layout(device, kernel->reflection.binding_count));
    ESPL_GOTO(need_module(device, shader, &module));
    ESPL_GOTO(create_pipeline(device, kernel, module));
    espl_device_label_object(device, VK_OBJECT_TYPE_PIPELINE, ESPL_HANDLE(kernel->pipeline), shader->name);
    device->kernels[device->kernel_count++] = kernel;
    device->counters.kernels_created++;
    device->cache_file.dirty = true;
    espl_pipeline_cache_save(device, false);
    *out_kernel = kernel;
    return ESPL_OK;
fail:
    espl_free(device->ctx, &kernel);
    return status;
}

void espl_device_finish_kernels(espl_device *device) {
    for (size_t i = 0; i < device->kernel_count; i++) {
        device->vk.DestroyPipeline(device->handle, device->kernels[i]->pipeline, NULL);
        espl_free(device->ctx, &device->kernels[i]);
    }
    for (size_t i = 0; i < device->module_count; i++)
        device->vk.DestroyShaderModule(device->handle, device->modules[i].handle, NULL);
    for (size_t i = 0; i < ESPL_COUNT(device->pipeline_layouts); i++) {
        device->vk.DestroyPipelineLayout(device->handle, device->pipeline_layouts[i], NULL);
        device->vk.DestroyDescriptorSetLayout(device->handle, device->set_layouts[i], NULL);
    }
    espl_free(device->ctx, &device->kernels);
    espl_free(device->ctx, &device->modules);
}
