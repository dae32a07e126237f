/* A small host program: its own device and queue, an image that it draws a triangle into, and a lock around the
 * queue. The validation layer listens to everything on the device, synchronisation included. */
#ifndef ESPL_ENGINE_H
#define ESPL_ENGINE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>

#include "host/gpu/gpu.h"
#include "tests/gpu/vulkan_host.h"
#include <espalier/espalier.h>

enum { ENGINE_SIZE = 61, ENGINE_PIXELS = ENGINE_SIZE * ENGINE_SIZE }; /* of the image, each way */

#define ENGINE_FUNCTIONS(X)                                                                                             \
    X(AllocateCommandBuffers) X(AllocateMemory) X(BeginCommandBuffer) X(BindBufferMemory) X(BindImageMemory)            \
    X(CmdBeginRenderPass) X(CmdBindPipeline) X(CmdCopyBuffer) X(CmdCopyImageToBuffer) X(CmdDraw) X(CmdEndRenderPass)    \
    X(CmdPipelineBarrier) X(CmdPushConstants) X(CreateBuffer) X(CreateCommandPool)      \
    X(CreateFence) X(CreateFramebuffer) X(CreateGraphicsPipelines) X(CreateImage) X(CreateImageView)    \
    X(CreatePipelineLayout) X(CreateRenderPass) X(CreateShaderModule) X(DestroyBuffer) X(DestroyCommandPool)            \
    X(DestroyFence) X(DestroyFramebuffer) X(DestroyImage)             \
    X(DestroyImageView) X(DestroyPipeline) X(DestroyPipelineLayout) X(DestroyRenderPass)             \
    X(DestroyShaderModule) X(EndCommandBuffer)        \
    X(FreeMemory) X(GetBufferMemoryRequirements) X(GetImageMemoryRequirements)                        \
    X(GetPhysicalDeviceMemoryProperties)       \
    X(MapMemory) X(QueueSubmit) X(ResetCommandBuffer) X(ResetFences) X(WaitForFences)

typedef struct engine_buffer {
    VkBuffer handle;
    VkDeviceMemory memory;
    unsigned char *host; /* coherent */
} engine_buffer;

/* What there is to draw with. */
typedef struct engine_draw {
    VkImage image;
    VkDeviceMemory memory;
    VkImageView view;
    VkRenderPass pass;
    VkFramebuffer framebuffer;
    VkPipelineLayout layout;
    VkPipeline pipeline;
    engine_buffer pixels;
} engine_draw;

typedef struct engine {
    espl_context *ctx;
    vulkan_host own;
#define ENGINE_MEMBER(name) PFN_vk##name name;
    ENGINE_FUNCTIONS(ENGINE_MEMBER)
#undef ENGINE_MEMBER
    bool timeline; /* enabled */
    VkCommandPool pool;
    VkCommandBuffer commands;
    VkFence fence;
    engine_draw draw;
    pthread_mutex_t lock;
    bool drawer_last;     /* who used the queue last */
    int locks, turns;     /* uses of the queue by the library; how often the queue went from one to the other */
} engine;

/* Ends the program with 77 when there is no device that draws and computes. timeline: with that one feature, if there. */
void engine_open(engine *e, bool timeline);
/* Everything of the library's is gone by now; fails the test if validation had something to say. */
void engine_close(engine *e);
/* What the library is given. limits: NULL for those of the environment, which a host's device does not read by itself. The
 * host and limits are borrowed. */
espl_device_import_params engine_import_params(engine *e, const char *limits);
void engine_ok(engine *e, espl_status status);
void engine_refused(engine *e, espl_status status, espl_status expected, const char *part);

/* A frame: begin, draw or anything else, submit (with the lock), which waits for it. */
void engine_begin(engine *e);
void engine_submit(engine *e);
void engine_submit_again(engine *e);
/* A triangle whose colours depend on the frame's number, and the copy that the processor reads. */
void engine_draw_frame(engine *e, uint32_t frame);
/* Pixels that are not as they should be after that frame. */
size_t engine_wrong_pixels(const engine *e, uint32_t frame);

engine_buffer engine_make_buffer(engine *e, VkDeviceSize bytes);
void engine_free_buffer(engine *e, engine_buffer *buffer);
VkDeviceMemory engine_allocate(engine *e, const VkMemoryRequirements *needs, VkMemoryPropertyFlags flags);
/* draw.c */
void engine_make_draw(engine *e);
void engine_free_draw(engine *e);

/* ---- Something to train ---- */

typedef struct engine_training {
    espl_device *device;
    espl_model *model;
    espl_adapter *adapter;
    espl_dataset *dataset;
    espl_trainer *trainer;
} engine_training;

/* LoRA on a tiny Llama of tests/golden, on a device that becomes the training's own. */
engine_training engine_training_open(engine *e, espl_device *device, uint32_t steps, double piece_ms);
void engine_training_close(engine_training *t);
/* All trained values, from malloc. */
float *engine_parameters(engine *e, engine_training *t, size_t *out_count);

#endif
