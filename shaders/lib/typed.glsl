// Tensors whose element type is a specialization constant: bound as uvec2, read as quads of f32. A quad of f32 is two
// uvec2, one of f16 or bf16 is one. For kernels that memory bounds; the products have a variant per type (dtype.glsl).
// The numbers are those of espl_dtype.
#ifndef ESPL_TYPED_GLSL
#define ESPL_TYPED_GLSL

#define TYPED_F32 0
#define TYPED_F16 1
#define TYPED_BF16 2

vec4 typed_unpack(uint type, uvec2 w)
{
    return type == TYPED_F16 ? vec4(unpackHalf2x16(w.x), unpackHalf2x16(w.y))
                             : uintBitsToFloat(uvec4(w.x << 16, w.x & 0xffff0000u, w.y << 16, w.y & 0xffff0000u));
}

// Quad number `quad` of a buffer of uvec2.
#define TYPED_LOAD(source, type, quad)                                                                    \
    ((type) == TYPED_F32 ? vec4(uintBitsToFloat(source[2 * (quad)]), uintBitsToFloat(source[2 * (quad) + 1])) \
                         : typed_unpack(type, source[quad]))

// Round to nearest even, as espl_f16_from_f32 and espl_bf16_from_f32: packHalf2x16 may round otherwise.
uint typed_f16(float value)
{
    const uint bits = floatBitsToUint(value), sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u)
        return sign | 0x7e00u;
    if (magnitude >= 0x47800000u)
        return sign | 0x7c00u;
    if (magnitude < 0x38800000u)
        return sign | (floatBitsToUint(uintBitsToFloat(magnitude) + 0.5) - 0x3f000000u);
    return sign | ((magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13);
}

uint typed_bf16(float value)
{
    const uint bits = floatBitsToUint(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (bits >> 16) | 0x40u;
    return (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
}

uvec2 typed_pack(uint type, vec4 v)
{
    if (type == TYPED_F16)
        return uvec2(typed_f16(v.x) | (typed_f16(v.y) << 16), typed_f16(v.z) | (typed_f16(v.w) << 16));
    return uvec2(typed_bf16(v.x) | (typed_bf16(v.y) << 16), typed_bf16(v.z) | (typed_bf16(v.w) << 16));
}

#endif
