// Cooperative matrix whose factors are of 16 bits: FACTOR, by -DB_F16 or -DB_BF16, and FACTOR_TYPE, its espl_dtype. Include
// before anything else: extensions come first.
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
#endif
