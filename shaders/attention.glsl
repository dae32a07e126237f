// What the three attention kernels share: who owns which part of a head, loads of a quad of it, and which keys a query
// sees. Include after the buffers q, k, v, positions, lengths are known, which is here.
#include "attention.h"
#include "lib/exp.glsl"
#include "lib/value.glsl"
#define KEPT_SPEC ATTENTION_SPEC_DROPOUT
#define KEPT_BIND ATTENTION_BIND_MASK
#include "lib/kept.glsl"

// Unrolled by hand of the driver: these index arrays that must become registers.
#define EACH(i, n) [[unroll]] for (uint i = 0; i < n; ++i)

layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
layout(constant_id = 3) const uint HEAD = 64;
layout(constant_id = 4) const uint GROUP = 1;
layout(constant_id = 5) const uint ROW_LANES = 8;
layout(constant_id = 6) const uint LANE_ROWS = 1;
layout(constant_id = 7) const uint DIM_SPLIT = 1;
layout(constant_id = 8) const uint KEY_SPLIT = 1;
layout(constant_id = 9) const uint BLOCK = 8;
layout(constant_id = 10) const uint CAUSAL = 1;
layout(constant_id = 11) const uint POSITIONS = 0;
layout(constant_id = 12) const uint LENGTHS = 0;
layout(constant_id = 13) const uint Q_TYPE = 0;
layout(constant_id = 14) const uint K_TYPE = 0;
layout(constant_id = 15) const uint V_TYPE = 0;
layout(constant_id = 16) const uint O_TYPE = 0;

VALUE_BUFFER(q, ATTENTION_BIND_Q, restrict readonly)
VALUE_BUFFER(k, ATTENTION_BIND_K, restrict readonly)
VALUE_BUFFER(v, ATTENTION_BIND_V, restrict readonly)
layout(std430, binding = ATTENTION_BIND_POSITIONS) restrict readonly buffer positions_buffer { int positions[]; };
layout(std430, binding = ATTENTION_BIND_LENGTHS) restrict readonly buffer lengths_buffer { int lengths[]; };

// A head is QUADS quads; a lane has every DIM_SPLIT-th of them, PART_QUADS in all. Where HEAD is no multiple of 4,
// heads start anywhere and are read and written by elements.
const uint QUADS = (HEAD + 3) / 4;
const uint PART_QUADS = (QUADS + DIM_SPLIT - 1) / DIM_SPLIT;
const bool ALIGNED = HEAD % 4 == 0;
const uint TILE = ROW_LANES * LANE_ROWS;
const uint LANES = ROW_LANES * DIM_SPLIT * KEY_SPLIT;
const float NONE = -3.0e38; // below any score

// For gradients, which are f32 and have no other declaration, what VALUE_LOAD and VALUE_ELEMENT are for values.
#define F32_LOAD(array, type, quad) array[quad]
#define F32_ELEMENT(array, type, element) array[(element) / 4][(element) % 4]

// The rest of a lane's last quads are zeros: dimension d exists if d < HEAD.
#define LOADER(name, LOAD, ELEMENT, array, type)                                                                   \
    vec4 name(uint head, uint quad)                                                                                \
    {                                                                                                              \
        if (ALIGNED) {                                                                                             \
            if (QUADS % DIM_SPLIT == 0) return LOAD(array, type, head / 4 + quad);                                 \
            return quad < QUADS ? LOAD(array, type, head / 4 + min(quad, QUADS - 1)) : vec4(0);                    \
        }                                                                                                          \
        vec4 value = vec4(0);                                                                                      \
        EACH(e, 4) {                                                                                               \
            const uint d = 4 * quad + e, at = head + min(d, HEAD - 1);                                             \
            value[e] = d < HEAD ? ELEMENT(array, type, at) : 0.0;                                                  \
        }                                                                                                          \
        return value;                                                                                              \
    }
#define VALUE_LOADER(name, array, type) LOADER(name, VALUE_LOAD, VALUE_ELEMENT, array, type)
#define F32_LOADER(name, array) LOADER(name, F32_LOAD, F32_ELEMENT, array, 0)

#define F32_STORER(name, array)                                                                               \
    void name(uint head, uint quad, vec4 value)                                                                    \
    {                                                                                                              \
        if (ALIGNED) {                                                                                             \
            if (QUADS % DIM_SPLIT == 0 || quad < QUADS) array[head / 4 + quad] = value;                            \
        } else {                                                                                                   \
            EACH(e, 4)                                                                                             \
                if (4 * quad + e < HEAD) array[(head + 4 * quad + e) / 4][(head + 4 * quad + e) % 4] = value[e];   \
        }                                                                                                          \
    }

VALUE_LOADER(load_q, q, Q_TYPE)
VALUE_LOADER(load_k, k, K_TYPE)
VALUE_LOADER(load_v, v, V_TYPE)

int first_position(uint batch)
{
    return POSITIONS != 0 ? positions[push.first + batch] : 0;
}

// Keys at and after it do not exist for this row of the batch.
uint key_count(uint batch)
{
    return LENGTHS != 0 ? uint(clamp(lengths[push.first + batch], 0, int(push.capacity))) : push.capacity;
}

// A query at this absolute position sees the keys [x, y).
uvec2 keys_seen(int position, uint count)
{
    const uint end = CAUSAL != 0 ? min(count, uint(max(position + 1, 0))) : count;
    const int begin = push.window != 0 ? max(position - int(min(push.window, 0x7fffffffu)) + 1, 0) : 0;
    return uvec2(min(uint(begin), end), end);
}
