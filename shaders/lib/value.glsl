// Values, what forward operators make and keep: f32 or, in fast mode, f16 or bf16, two in a word. Which is a specialization
// constant per operand (an espl_dtype, 0 is f32), so there is one module for all.
//     VALUE_BUFFER(x, RMSNORM_BIND_X, restrict readonly)
//     vec4 v = VALUE_LOAD(x, X_TYPE, quad);
//     VALUE_STORE(y, Y_TYPE, quad, v, left)      (after lib/quad.glsl)
// The two declarations alias one binding and a specialized kernel uses one of them. A 16-bit quad is stored whole: its last
// columns may be padding, never anything else, for parts of a row begin at multiples of 4.
#ifndef ESPL_VALUE_GLSL
#define ESPL_VALUE_GLSL
#include "typed.glsl"

#define VALUE_BUFFER(name, at_binding, access)                                                   \
    layout(std430, set = 0, binding = at_binding) access buffer name##_f32_buffer { vec4 name[]; }; \
    layout(std430, set = 0, binding = at_binding) access buffer name##_16_buffer { uvec2 name##_16[]; };

#define VALUE_LOAD(name, type, quad) ((type) == TYPED_F32 ? name[quad] : typed_unpack(type, name##_16[quad]))

// One element, for rows whose parts begin anywhere.
#define VALUE_ELEMENT(name, type, element)                             \
    ((type) == TYPED_F32 ? name[(element) / 4][(element) % 4]           \
                         : typed_unpack(type, name##_16[(element) / 4])[(element) % 4])

// In f16 what is too large becomes the largest number: one such element must not make a run infinite. NaN stays.
uvec2 value_pack(uint type, vec4 v)
{
    if (type == TYPED_F16) {
        const uvec4 bits = floatBitsToUint(v), magnitude = bits & 0x7fffffffu;
        const uvec4 bounded = min(magnitude, uvec4(0x477fe000u)) | (bits & 0x80000000u);
        v = uintBitsToFloat(mix(bounded, bits, greaterThan(magnitude, uvec4(0x7f800000u))));
    }
    return typed_pack(type, v);
}

#define VALUE_STORE(name, type, quad, v, left)          \
    if ((type) == TYPED_F32)                            \
        QUAD_STORE(name, quad, v, left)                 \
    else                                                \
        name##_16[quad] = value_pack(type, v);

#endif
