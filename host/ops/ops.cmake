espl_op(add SHADERS add)
espl_op(cast SHADERS cast)
espl_op(fill SHADERS fill)
espl_op(colsum SHADERS colsum)
espl_op(embedding SHADERS embedding embedding_bwd)
espl_op(rmsnorm SHADERS rmsnorm rmsnorm_bwd rmsnorm_dw)
espl_op(layernorm SHADERS layernorm layernorm_bwd layernorm_dw)
espl_op(activation SHADERS activation activation_bwd)
espl_op(dropout SHADERS dropout dropout_mask)
espl_op(sum SHADERS sum)
espl_op(grad_norm SHADERS grad_norm_partial grad_norm)
espl_op(adamw SHADERS adamw)
espl_op(matmul SHADERS
    matmul:B_F32@f32 matmul:B_F16@f16 matmul:B_BF16@bf16
    matmul_col:B_F32@f32 matmul_col:B_F16@f16 matmul_col:B_BF16@bf16
    matmul_few:B_F32@f32 matmul_few:B_F16@f16 matmul_few:B_BF16@bf16
    matmul_tile:B_F32@f32 matmul_tile:B_F16@f16 matmul_tile:B_BF16@bf16
    matmul_coopmat:B_F16@f16?GL_KHR_cooperative_matrix
    matmul_coopmat:B_BF16@bf16?GL_KHR_cooperative_matrix,GL_EXT_bfloat16)
espl_op(cross_entropy SHADERS cross_entropy)
espl_op(mse SHADERS mse)
espl_op(group_cross_entropy SHADERS group_cross_entropy)
espl_op(pick SHADERS pick pick_bwd)
espl_op(attention SHADERS attention attention_bwd_q attention_bwd_kv
    attention_coopmat:B_F16@f16?GL_KHR_cooperative_matrix
    attention_coopmat:B_BF16@bf16?GL_KHR_cooperative_matrix,GL_EXT_bfloat16)
espl_op(relative_attention SHADERS relative_attention relative_attention_bwd_q relative_attention_bwd_kv
    relative_attention_bwd_r)
espl_op(rotary SHADERS rotary)
espl_op(scale SHADERS scale scale_ds)
espl_op(concat SHADERS concat slice)
espl_op(mean SHADERS mean mean_bwd)
espl_op(unfold SHADERS unfold unfold_bwd)
espl_op(phm SHADERS phm phm_bwd)
espl_op(row_norm SHADERS row_norm row_norm_bwd)
espl_op(fusion SHADERS fusion_dot fusion_softmax fusion_mix)
espl_op(orthogonal SHADERS orthogonal)
espl_op(diff_weight SHADERS diff_weight diff_gate diff_penalty)
espl_op(hard_concrete SHADERS hard_concrete sparsity)
espl_op(householder SHADERS householder householder_bwd)
espl_op(importance SHADERS importance prune)
