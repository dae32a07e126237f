#version 450
#extension GL_GOOGLE_include_directive : require
// y[t] = scale * table[ids[t]] (+ position_table[position_from + positions[b] + i]), t = b * sequence + i; zeros for an id
// that is no row of the table. Only rows whose id and position are in the bound windows are written; those of no window
// belong to the first.
#include "embedding.h"
layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
layout(constant_id = EMBEDDING_SPEC_TYPE) const uint TYPE = 0;
layout(constant_id = EMBEDDING_SPEC_POSITION_TYPE) const uint POSITION_TYPE = 0;
layout(constant_id = EMBEDDING_SPEC_POSITION_TABLE) const uint POSITION_TABLE = 0;
layout(constant_id = EMBEDDING_SPEC_POSITIONS) const uint POSITIONS = 0;
layout(constant_id = EMBEDDING_SPEC_TABLE) const uint TABLE = 1;
layout(constant_id = EMBEDDING_SPEC_Y_TYPE) const uint Y_TYPE = 0;
#include "lib/each.glsl"
#include "lib/quad.glsl"
#include "lib/value.glsl"

layout(std430, set = 0, binding = EMBEDDING_BIND_IDS) restrict readonly buffer embedding_ids { uint ids[]; };
layout(std430, set = 0, binding = EMBEDDING_BIND_TABLE) restrict readonly buffer embedding_table { uvec2 table[]; };
layout(std430, set = 0, binding = EMBEDDING_BIND_POSITIONS) restrict readonly buffer embedding_positions
{
    uint positions[];
};
layout(std430, set = 0, binding = EMBEDDING_BIND_POSITION_TABLE) restrict readonly buffer embedding_position_table
{
    uvec2 position_table[];
};
VALUE_BUFFER(y, EMBEDDING_BIND_Y, restrict writeonly)

void main()
{
    const uint quads = (push.cols + 3) / 4;
    for (uint token = push.from + each_row(); token < push.tokens; token += each_row_step()) {
        // A negative id is a large one; likewise positions.
        const uint id = ids[token];
        const bool inside = id >= push.first && id - push.first < push.count;
        if (!inside && (push.first > 0 || id < push.vocabulary))
            continue;
        uint position = push.position_from + token % push.sequence;
        if (POSITIONS != 0)
            position += positions[token / push.sequence];
        const bool placed = position >= push.position_first && position - push.position_first < push.position_rows;
        if (POSITION_TABLE != 0 && !placed && (push.position_first > 0 || position < push.position_count))
            continue;
        for (uint i = 0; i < ITEMS; i++) {
            const uint q = each_quad(i);
            if (q >= quads)
                break;
            vec4 v = vec4(0.0);
            if (inside) {
                if (TABLE != 0)
                    v = push.scale * TYPED_LOAD(table, TYPE, (id - push.first) * push.table_stride + q);
                if (POSITION_TABLE != 0 && placed)
                    v += TYPED_LOAD(position_table, POSITION_TYPE,
                                    (position - push.position_first) * push.position_stride + q);
            }
            VALUE_STORE(y, Y_TYPE, (token - push.from) * push.y_stride + q, v, push.cols - 4 * q)
        }
    }
}
