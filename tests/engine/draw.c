/* The drawing half of the host program: a graphics pipeline, an image of whole numbers, and what must be in it. */
#include "tests/engine/engine.h"

#define must(expr) assert_int_equal((expr), VK_SUCCESS)

extern const espl_shader espl_shader_draw_vertex, espl_shader_draw_fragment;

/* Whole numbers, so that a pixel is right or wrong. */
static const VkFormat format = VK_FORMAT_R8G8B8A8_UINT;

typedef struct push_block {
    uint32_t frame, size;
} push_block;

/* ---- Memory ---- */

VkDeviceMemory engine_allocate(engine *e, const VkMemoryRequirements *needs, VkMemoryPropertyFlags flags) {
    VkPhysicalDeviceMemoryProperties memory;
    VkDeviceMemory made = VK_NULL_HANDLE;
    e->GetPhysicalDeviceMemoryProperties(e->own.physical, &memory);
    uint32_t type = 0;
    while (type < memory.memoryTypeCount && !(needs->memoryTypeBits >> type & 1 &&
                                              (memory.memoryTypes[type].propertyFlags & flags) == flags))
        type++;
    assert_true(type < memory.memoryTypeCount);
    const VkMemoryAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                       .allocationSize = needs->size,
                                       .memoryTypeIndex = type};
    must(e->AllocateMemory(e->own.device, &info, NULL, &made));
    return made;
}

engine_buffer engine_make_buffer(engine *e, VkDeviceSize bytes) {
    engine_buffer buffer = {0};
    void *host;
    VkMemoryRequirements needs;
    const VkBufferCreateInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
                                     .size = bytes,
                                     .usage = VK_BUFFER_USAGE_TRANSFER_DST_BIT};
    must(e->CreateBuffer(e->own.device, &info, NULL, &buffer.handle));
    e->GetBufferMemoryRequirements(e->own.device, buffer.handle, &needs);
    buffer.memory = engine_allocate(e, &needs, VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT);
    must(e->BindBufferMemory(e->own.device, buffer.handle, buffer.memory, 0));
    must(e->MapMemory(e->own.device, buffer.memory, 0, VK_WHOLE_SIZE, 0, &host));
    buffer.host = host;
    return buffer;
}

void engine_free_buffer(engine *e, engine_buffer *buffer) {
    e->DestroyBuffer(e->own.device, buffer->handle, NULL);
    e->FreeMemory(e->own.device, buffer->memory, NULL);
    *buffer = (engine_buffer){0};
}

/* ---- Making ---- */

static void make_image(engine *e, engine_draw *d) {
    VkMemoryRequirements needs;
    const VkImageCreateInfo image = {.sType = VK_STRUCTURE_TYPE_IMAGE_CREATE_INFO,
                                     .imageType = VK_IMAGE_TYPE_2D,
                                     .format = format,
                                     .extent = {ENGINE_SIZE, ENGINE_SIZE, 1},
                                     .mipLevels = 1,
                                     .arrayLayers = 1,
                                     .samples = VK_SAMPLE_COUNT_1_BIT,
                                     .usage = VK_IMAGE_USAGE_COLOR_ATTACHMENT_BIT | VK_IMAGE_USAGE_TRANSFER_SRC_BIT};
    must(e->CreateImage(e->own.device, &image, NULL, &d->image));
    e->GetImageMemoryRequirements(e->own.device, d->image, &needs);
    d->memory = engine_allocate(e, &needs, 0);
    must(e->BindImageMemory(e->own.device, d->image, d->memory, 0));
    const VkImageViewCreateInfo view = {.sType = VK_STRUCTURE_TYPE_IMAGE_VIEW_CREATE_INFO,
                                        .image = d->image,
                                        .viewType = VK_IMAGE_VIEW_TYPE_2D,
                                        .format = format,
                                        .subresourceRange = {VK_IMAGE_ASPECT_COLOR_BIT, 0, 1, 0, 1}};
    must(e->CreateImageView(e->own.device, &view, NULL, &d->view));
}

static void make_pass(engine *e, engine_draw *d) {
    const VkAttachmentDescription attachment = {.format = format,
                                                .samples = VK_SAMPLE_COUNT_1_BIT,
                                                .loadOp = VK_ATTACHMENT_LOAD_OP_CLEAR,
                                                .storeOp = VK_ATTACHMENT_STORE_OP_STORE,
                                                .stencilLoadOp = VK_ATTACHMENT_LOAD_OP_DONT_CARE,
                                                .stencilStoreOp = VK_ATTACHMENT_STORE_OP_DONT_CARE,
                                                .finalLayout = VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL};
    const VkAttachmentReference reference = {0, VK_IMAGE_LAYOUT_COLOR_ATTACHMENT_OPTIMAL};
    const VkSubpassDescription subpass = {.pipelineBindPoint = VK_PIPELINE_BIND_POINT_GRAPHICS,
                                          .colorAttachmentCount = 1,
                                          .pColorAttachments = &reference};
    /* The copy of the frame before is over; this frame's copy sees what was drawn. */
    const VkSubpassDependency around[] = {
        {VK_SUBPASS_EXTERNAL, 0, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_PIPELINE_STAGE_COLOR_ATTACHMENT_OUTPUT_BIT,
         VK_ACCESS_TRANSFER_READ_BIT, VK_ACCESS_COLOR_ATTACHMENT_WRITE_BIT, 0},
        {0, VK_SUBPASS_EXTERNAL, VK_PIPELINE_STAGE_COLOR_ATTACHMENT_OUTPUT_BIT, VK_PIPELINE_STAGE_TRANSFER_BIT,
         VK_ACCESS_COLOR_ATTACHMENT_WRITE_BIT, VK_ACCESS_TRANSFER_READ_BIT, 0}};
    const VkRenderPassCreateInfo pass = {.sType = VK_STRUCTURE_TYPE_RENDER_PASS_CREATE_INFO,
                                         .attachmentCount = 1,
                                         .pAttachments = &attachment,
                                         .subpassCount = 1,
                                         .pSubpasses = &subpass,
                                         .dependencyCount = ESPL_COUNT(around),
                                         .pDependencies = around};
    must(e->CreateRenderPass(e->own.device, &pass, NULL, &d->pass));
    const VkFramebufferCreateInfo framebuffer = {.sType = VK_STRUCTURE_TYPE_FRAMEBUFFER_CREATE_INFO,
                                                 .renderPass = d->pass,
                                                 .attachmentCount = 1,
                                                 .pAttachments = &d->view,
                                                 .width = ENGINE_SIZE,
                                                 .height = ENGINE_SIZE,
                                                 .layers = 1};
    must(e->CreateFramebuffer(e->own.device, &framebuffer, NULL, &d->framebuffer));
}

static VkPipelineShaderStageCreateInfo make_stage(engine *e, const espl_shader *shader, VkShaderStageFlagBits stage) {
    const VkShaderModuleCreateInfo info = {.sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
                                           .codeSize = shader->bytes,
                                           .pCode = shader->words};
    VkShaderModule module;
    must(e->CreateShaderModule(e->own.device, &info, NULL, &module));
    return (VkPipelineShaderStageCreateInfo){.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                                             .stage = stage,
                                             .module = module,
                                             .pName = "main"};
}

static void make_pipeline(engine *e, engine_draw *d) {
    const VkPushConstantRange push = {VK_SHADER_STAGE_VERTEX_BIT | VK_SHADER_STAGE_FRAGMENT_BIT, 0, sizeof(push_block)};
    const VkPipelineLayoutCreateInfo layout = {.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
                                               .pushConstantRangeCount = 1,
                                               .pPushConstantRanges = &push};
    must(e->CreatePipelineLayout(e->own.device, &layout, NULL, &d->layout));
    const VkPipelineShaderStageCreateInfo stages[] = {
        make_stage(e, &espl_shader_draw_vertex, VK_SHADER_STAGE_VERTEX_BIT),
        make_stage(e, &espl_shader_draw_fragment, VK_SHADER_STAGE_FRAGMENT_BIT)};
    const VkPipelineVertexInputStateCreateInfo input = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_VERTEX_INPUT_STATE_CREATE_INFO};
    const VkPipelineInputAssemblyStateCreateInfo assembly = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_INPUT_ASSEMBLY_STATE_CREATE_INFO,
        .topology = VK_PRIMITIVE_TOPOLOGY_TRIANGLE_LIST};
    const VkViewport viewport = {0, 0, ENGINE_SIZE, ENGINE_SIZE, 0, 1};
    const VkRect2D scissor = {{0, 0}, {ENGINE_SIZE, ENGINE_SIZE}};
    const VkPipelineViewportStateCreateInfo view = {.sType = VK_STRUCTURE_TYPE_PIPELINE_VIEWPORT_STATE_CREATE_INFO,
                                                    .viewportCount = 1,
                                                    .pViewports = &viewport,
                                                    .scissorCount = 1,
                                                    .pScissors = &scissor};
    const VkPipelineRasterizationStateCreateInfo raster = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_RASTERIZATION_STATE_CREATE_INFO, .lineWidth = 1};
    const VkPipelineMultisampleStateCreateInfo samples = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_MULTISAMPLE_STATE_CREATE_INFO,
        .rasterizationSamples = VK_SAMPLE_COUNT_1_BIT};
    const VkPipelineColorBlendAttachmentState plain = {.colorWriteMask = 0xf};
    const VkPipelineColorBlendStateCreateInfo blend = {.sType = VK_STRUCTURE_TYPE_PIPELINE_COLOR_BLEND_STATE_CREATE_INFO,
                                                       .attachmentCount = 1,
                                                       .pAttachments = &plain};
    const VkGraphicsPipelineCreateInfo info = {.sType = VK_STRUCTURE_TYPE_GRAPHICS_PIPELINE_CREATE_INFO,
                                               .stageCount = ESPL_COUNT(stages),
                                               .pStages = stages,
                                               .pVertexInputState = &input,
                                               .pInputAssemblyState = &assembly,
                                               .pViewportState = &view,
                                               .pRasterizationState = &raster,
                                               .pMultisampleState = &samples,
                                               .pColorBlendState = &blend,
                                               .layout = d->layout,
                                               .renderPass = d->pass};
    must(e->CreateGraphicsPipelines(e->own.device, VK_NULL_HANDLE, 1, &info, NULL, &d->pipeline));
    for (size_t i = 0; i < ESPL_COUNT(stages); i++) e->DestroyShaderModule(e->own.device, stages[i].module, NULL);
}

void engine_make_draw(engine *e) {
    make_image(e, &e->draw);
    make_pass(e, &e->draw);
    make_pipeline(e, &e->draw);
    e->draw.pixels = engine_make_buffer(e, ENGINE_PIXELS * 4);
}

void engine_free_draw(engine *e) {
    engine_draw *d = &e->draw;
    engine_free_buffer(e, &d->pixels);
    e->DestroyPipeline(e->own.device, d->pipeline, NULL);
    e->DestroyPipelineLayout(e->own.device, d->layout, NULL);
    e->DestroyFramebuffer(e->own.device, d->framebuffer, NULL);
    e->DestroyRenderPass(e->own.device, d->pass, NULL);
    e->DestroyImageView(e->own.device, d->view, NULL);
    e->DestroyImage(e->own.device, d->image, NULL);
    e->FreeMemory(e->own.device, d->memory, NULL);
}

/* ---- A frame ---- */

void engine_draw_frame(engine *e, uint32_t frame) {
    const engine_draw *d = &e->draw;
    const VkClearValue clear = {.color.uint32 = {9, 9, 9, 9}};
    const VkRenderPassBeginInfo pass = {.sType = VK_STRUCTURE_TYPE_RENDER_PASS_BEGIN_INFO,
                                        .renderPass = d->pass,
                                        .framebuffer = d->framebuffer,
                                        .renderArea.extent = {ENGINE_SIZE, ENGINE_SIZE},
                                        .clearValueCount = 1,
                                        .pClearValues = &clear};
    const push_block push = {frame, ENGINE_SIZE};
    e->CmdBeginRenderPass(e->commands, &pass, VK_SUBPASS_CONTENTS_INLINE);
    e->CmdBindPipeline(e->commands, VK_PIPELINE_BIND_POINT_GRAPHICS, d->pipeline);
    e->CmdPushConstants(e->commands, d->layout, VK_SHADER_STAGE_VERTEX_BIT | VK_SHADER_STAGE_FRAGMENT_BIT, 0,
                        sizeof push, &push);
    e->CmdDraw(e->commands, 3, 1, 0, 0);
    e->CmdEndRenderPass(e->commands);
    const VkBufferImageCopy region = {.imageSubresource = {VK_IMAGE_ASPECT_COLOR_BIT, 0, 0, 1},
                                      .imageExtent = {ENGINE_SIZE, ENGINE_SIZE, 1}};
    e->CmdCopyImageToBuffer(e->commands, d->image, VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL, d->pixels.handle, 1, &region);
    const VkMemoryBarrier done = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                                  .srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT,
                                  .dstAccessMask = VK_ACCESS_HOST_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT};
    e->CmdPipelineBarrier(e->commands, VK_PIPELINE_STAGE_TRANSFER_BIT,
                          VK_PIPELINE_STAGE_HOST_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT, 0, 1, &done, 0, NULL, 0, NULL);
}

static uint32_t pixel_at(uint32_t x, uint32_t y, uint32_t frame) {
    if (x + y >= ENGINE_SIZE) return 0x09090909;
    return ((x * 3 + frame) & 255) | ((y * 5 + frame) & 255) << 8 | ((x ^ y) & 255) << 16 | (frame & 255) << 24;
}

size_t engine_wrong_pixels(const engine *e, uint32_t frame) {
    size_t wrong = 0;
    for (uint32_t i = 0; i < ENGINE_PIXELS; i++) {
        const unsigned char *p = e->draw.pixels.host + 4 * (size_t)i;
        const uint32_t got = p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
        wrong += got != pixel_at(i % ENGINE_SIZE, i / ENGINE_SIZE, frame);
    }
    return wrong;
}
