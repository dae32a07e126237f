// Cooperative matrix whose factors are of 16 bits: FACTOR, by -DB_F16 or -DB_BF16, and FACTOR_TYPE, its espl_dtype. Include
// before anything else: extensions come first. A factor in f32 is split into several:
//     each time  uvec2 w = factor_pack(rest);  rest -= typed_unpack(FACTOR_TYPE, w);
#ifndef ESPL_COOPMAT_GLSL
#define ESPL_COOPMAT_GLSL
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_shader_subgroup_basic : require
#ifdef B_F16
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#define FACTOR float16_t
#define FACTOR_TYPE TYPED_F16
#else
#extension GL_EXT_bfloat16 : require
#define FACTOR bfloat16_t
#define FACTOR_TYPE TYPED_BF16
#endif

// However a driver rounds: the next number takes what this one leaves. Cut off, three bf16 are exactly an f32.
uvec2 factor_pack(vec4 v)
{
#ifdef B_F16
    return uvec2(packHalf2x16(v.xy), packHalf2x16(v.zw));
#else
    const uvec4 bits = floatBitsToUint(v);
    return uvec2((bits.x >> 16) | (bits.y & 0xffff0000u), (bits.z >> 16) | (bits.w & 0xffff0000u));
#endif
}
#endif
