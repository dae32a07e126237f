/* What host and device agree on for every matmul kernel (matmul*.comp); valid C and valid GLSL.
 *
 *   C[m,n] = scale * sum over k of A(m,k) * B(k,n)  (+ bias[n]) (+ residual[m,n])
 * and in matmul_few, with MATMUL_SPEC_NORM, rows of A normalised first:
 *   A(m,k) = norm[k] * x[m,k] / sqrt(mean over k of x[m,k]^2 + eps)
 *
 * NT  A[M,K]  B[N,K]   a linear layer forward, its weight stored [out,in]
 * NN  A[M,K]  B[K,N]   the gradient of that layer's input
 * TN  A[K,M]  B[K,N]   the gradient of its weight
 *
 * Bias and norm are f32; A, and C with the residual, have a dtype each; B is f32, f16 or bf16 (-DB_F32, -DB_F16, -DB_BF16 when
 * the shader is compiled: it is what the inner loop reads most).
 * Rows are contiguous. Strides and offsets count elements and are multiples of 4; the elements between the end
 * of a row and its stride may hold anything, are read at most up to the next multiple of 4, and are never written
 * (of a 16-bit C: never beyond that multiple). Offsets count from the start of the bound window.
 * Grid: x = ceil(m / TILE_M), y = ceil(n / TILE_N), z = 1; in matmul.comp x and y change places. */
#ifndef ESPL_MATMUL_H
#define ESPL_MATMUL_H

/* Bindings of set 0. A kernel built without a flag still declares its buffer: bind any. */
#define MATMUL_BIND_A 0
#define MATMUL_BIND_B 1
#define MATMUL_BIND_BIAS 2
#define MATMUL_BIND_RESIDUAL 3
#define MATMUL_BIND_C 4
#define MATMUL_BIND_COUNT 5
#define MATMUL_BIND_NORM 5 /* matmul_few only */
#define MATMUL_BIND_COUNT_FEW 6

/* Specialization constants; 0, 1, 2 are the local size (y and z are 1). Legal tiles: the head of each kernel. */
#define MATMUL_SPEC_TILE_M 3       /* rows of C one workgroup makes */
#define MATMUL_SPEC_TILE_N 4       /* columns of C one workgroup makes */
#define MATMUL_SPEC_TILE_K 5       /* terms of the sum taken at a time, or ways the sum is split (matmul_few) */
#define MATMUL_SPEC_LANE_M 6       /* rows of C one invocation makes */
#define MATMUL_SPEC_LANE_N 7       /* columns of C one invocation makes */
#define MATMUL_SPEC_ORIENTATION 8  /* MATMUL_NT, MATMUL_NN, MATMUL_TN */
#define MATMUL_SPEC_TAIL 9         /* 0: k is a multiple of TILE_K and n of 4, and the code for other sizes is left out */
#define MATMUL_SPEC_BIAS 10        /* 1: add bias[n] */
#define MATMUL_SPEC_A_TYPE 11      /* espl_dtype of A */
#define MATMUL_SPEC_C_TYPE 12      /* of C and the residual */
#define MATMUL_SPEC_NORM 13        /* 1: rows of A are normalised; matmul_few only */
#define MATMUL_SPEC_MATRIX_M 14    /* a shape of the device's list; this one and those below matmul_coopmat only */
#define MATMUL_SPEC_MATRIX_N 15
#define MATMUL_SPEC_MATRIX_K 16
#define MATMUL_SPEC_PARTS 17       /* numbers of B's dtype that an element of A is taken as the sum of */

#define MATMUL_NT 0
#define MATMUL_NN 1
#define MATMUL_TN 2

#ifdef VULKAN
#define MATMUL_U32 uint
layout(push_constant) uniform matmul_push {
#else
#include <stdint.h>
#define MATMUL_U32 uint32_t
typedef struct matmul_push {
#endif
    MATMUL_U32 m, n, k;
    MATMUL_U32 a_offset, b_offset, bias_offset, residual_offset, c_offset;
    MATMUL_U32 a_stride, b_stride, residual_stride, c_stride;
    float scale, eps;
    /* 1: add residual[m,n], which may be C itself. Not a specialization constant: a training step needs both, and kernels
     * take long to compile on some drivers. */
    MATMUL_U32 add;
#ifdef VULKAN
} push;
#else
} matmul_push;
#endif

#endif
