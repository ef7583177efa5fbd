#include "parallel_opt/graph/op_rows.h"

// Operators of a traced backward. Their first operand is the gradient of the forward's result.

namespace parallel_opt::op_rows_detail {
namespace {

using enum OpClass;

constexpr OpRow kRows[] = {
    // --- products: as many gradients as results that somebody wants
    {"aten.convolution_backward", convolution, "@convolution_backward", "", "", "", "", 0},
    {"aten.convolution_backward_overrideable", convolution, "@convolution_backward", "", "", "", "",
     0},
    {"aten._slow_conv2d_backward", convolution, "@convolution_backward", "", "", "", "", 0},
    {"aten._scaled_dot_product_flash_attention_for_cpu_backward", attention,
     "grad_out=b* h q e, query=b* h q d, key=b* h k d, value=b* h k e, out=b* h q e, logsumexp=b* "
     "h q, attn_mask=m* q k -> b* h q d, b* h k d, b* h k e",
     "k"},
    {"aten._scaled_dot_product_flash_attention_backward", attention,
     "grad_out=b* h q e, query=b* h q d, key=b* h k d, value=b* h k e, out=b* h q e, logsumexp=b* "
     "h q -> b* h q d, b* h k d, b* h k e",
     "k"},
    {"aten._scaled_dot_product_efficient_attention_backward", attention,
     "grad_out_=b* h q e, query=b* h q d, key=b* h k d, value=b* h k e, out=b* h q e, logsumexp=b* "
     "h q, attn_bias=m* q k -> b* h q d, b* h k d, b* h k e, m* q k",
     "k"},
    {"aten._scaled_dot_product_cudnn_attention_backward", attention,
     "grad_out=b* h q e, query=b* h q d, key=b* h k d, value=b* h k e, out=b* h q e, logsumexp=b* "
     "h q, attn_bias=m* q k -> b* h q d, b* h k d, b* h k e, m* q k",
     "k"},
    {"aten._scaled_dot_product_fused_attention_overrideable_backward", attention,
     "grad_out=b* h q e, query=b* h q d, key=b* h k d, value=b* h k e, out=b* h q e, logsumexp=b* "
     "h q, attn_bias=m* q k -> b* h q d, b* h k d, b* h k e, m* q k",
     "k"},
    {"aten._flash_attention_backward", attention,
     "grad_out=b* q h e, query=b* q h d, key=b* k h d, value=b* k h e, out=b* q h e, logsumexp=b* "
     "h q -> b* q h d, b* k h d, b* k h e",
     "k"},
    {"aten._efficient_attention_backward", attention,
     "grad_out_=b* q h e, query=b* q h d, key=b* k h d, value=b* k h e, out=b* q h e, logsumexp=b* "
     "h q -> b* q h d, b* k h d, b* k h e",
     "k"},
    {"aten.mkldnn_rnn_layer_backward", recurrent, "@recurrent"},
    {"aten._cudnn_rnn_backward", recurrent, "@recurrent"},
    {"aten._thnn_fused_lstm_cell_backward", elementwise, "@own", "", "", "", "", 20},
    {"aten._thnn_fused_lstm_cell_backward_impl", elementwise, "@own", "", "", "", "", 20},
    {"aten._thnn_fused_gru_cell_backward", elementwise, "@own", "", "", "", "", 20},

    // --- normalisations and softmax
    {"aten.native_layer_norm_backward", normalization, "@trailing", "", "", "", "", 12},
    {"aten._fused_rms_norm_backward", normalization, "@trailing", "", "", "", "", 12},
    {"aten.native_batch_norm_backward", normalization,
     "grad_out=n c s*, input=n c s*, weight=c, running_mean=c, running_var=c, save_mean=c, "
     "save_invstd=c, save_var=c -> n c s*, c, c",
     "n s", "", "", "", 12},
    {"aten.batch_norm_backward", normalization,
     "grad_out=n c s*, input=n c s*, weight=c, running_mean=c, running_var=c, save_mean=c, "
     "save_invstd=c, save_var=c -> n c s*, c, c",
     "n s", "", "", "", 12},
    {"aten.cudnn_batch_norm_backward", normalization,
     "grad_out=n c s*, input=n c s*, weight=c, running_mean=c, running_var=c, save_mean=c, "
     "save_invstd=c, save_var=c -> n c s*, c, c",
     "n s", "", "", "", 12},
    {"aten.miopen_batch_norm_backward", normalization,
     "grad_out=n c s*, input=n c s*, weight=c, running_mean=c, running_var=c, save_mean=c, "
     "save_invstd=c, save_var=c -> n c s*, c, c",
     "n s", "", "", "", 12},
    {"aten._batch_norm_impl_index_backward", normalization,
     "grad_out=n c s*, input=n c s*, weight=c, running_mean=c, running_var=c, save_mean=c, "
     "save_invstd=c, save_var=c -> n c s*, c, c",
     "n s", "", "", "", 12},
    {"aten.native_group_norm_backward", normalization,
     "grad_out=n c s*, input=n c s*, mean=n g, rstd=n g, weight=c -> n c s*, c, c", "c s", "", "",
     "", 12},
    {"aten._weight_norm_interface_backward", normalization, "@own", "", "", "", "", 6},
    {"aten._softmax_backward_data", softmax, "@along", "", "", "", "", 5},
    {"aten._log_softmax_backward_data", softmax, "@along", "", "", "", "", 5},
    {"aten._masked_softmax_backward", softmax, "@along", "", "", "", "", 5},

    // --- losses
    {"aten.mse_loss_backward", loss, "@loss", "", "", "", "", 5},
    {"aten.l1_loss_backward", loss, "@loss", "", "", "", "", 5},
    {"aten.smooth_l1_loss_backward", loss, "@loss", "", "", "", "", 5},
    {"aten.huber_loss_backward", loss, "@loss", "", "", "", "", 5},
    {"aten.soft_margin_loss_backward", loss, "@loss", "", "", "", "", 5},
    {"aten.binary_cross_entropy_backward", loss, "@loss", "", "", "", "", 5},
    {"aten.nll_loss_backward", loss, "@own", "", "", "", "", 2},
    {"aten.nll_loss2d_backward", loss, "@own", "", "", "", "", 2},
    {"aten.multi_margin_loss_backward", loss, "@own", "", "", "", "", 2},
    {"aten.multilabel_margin_loss_backward", loss, "@own", "", "", "", "", 2},
    {"aten._ctc_loss_backward", loss, "@own", "", "", "", "", 2},

    // --- embeddings, gathers and views
    {"aten.embedding_dense_backward", embedding, "grad_output=i* c, indices=i* -> v c", "", "v", "",
     "", 1},
    {"aten.embedding_backward", embedding, "grad_output=i* c, indices=i* -> v c", "", "v", "", "",
     1},
    {"aten._embedding_bag_backward", embedding, "@own", "", "", "", "", 1},
    {"aten._embedding_bag_dense_backward", embedding, "@own", "", "", "", "", 1},
    {"aten._embedding_bag_per_sample_weights_backward", embedding, "@own", "", "", "", "", 1},
    {"aten.index_select_backward", gather, "@own", "", "", "", "", 1},
    {"aten.gather_backward", gather, "@own", "", "", "", "", 1},
    {"aten.masked_select_backward", gather, "@own", "", "", "", "", 1},
    {"aten.masked_scatter_backward", gather, "@own", "", "", "", "", 1},
    {"aten.value_selecting_reduction_backward", gather, "@own", "", "", "", "", 1},
    {"aten.slice_backward", copy, "@own", "", "", "", "", 0},
    {"aten.select_backward", copy, "@own", "", "", "", "", 0},
    {"aten.diagonal_backward", copy, "@own", "", "", "", "", 0},
    {"aten.unfold_backward", copy, "@own", "", "", "", "", 0},

    // --- pooling, padding and resampling
    {"aten.max_pool2d_with_indices_backward", pooling, "@pool"},
    {"aten.max_pool3d_with_indices_backward", pooling, "@pool"},
    {"aten.max_pool2d_backward", pooling, "@pool"},
    {"aten.mkldnn_max_pool2d_backward", pooling, "@pool"},
    {"aten.mkldnn_max_pool3d_backward", pooling, "@pool"},
    {"aten.adaptive_max_pool2d_backward", pooling, "@pool"},
    {"aten.adaptive_max_pool3d_backward", pooling, "@pool"},
    {"aten.fractional_max_pool2d_backward", pooling, "@pool"},
    {"aten.fractional_max_pool3d_backward", pooling, "@pool"},
    {"aten.avg_pool2d_backward", pooling, "@pool", "", "", "", "", 4},
    {"aten.avg_pool3d_backward", pooling, "@pool", "", "", "", "", 4},
    {"aten._adaptive_avg_pool2d_backward", pooling, "@pool", "", "", "", "", 4},
    {"aten._adaptive_avg_pool3d_backward", pooling, "@pool", "", "", "", "", 4},
    {"aten.adaptive_avg_pool3d_backward", pooling, "@pool", "", "", "", "", 4},
    {"aten.mkldnn_adaptive_avg_pool2d_backward", pooling, "@pool", "", "", "", "", 4},
    {"aten.upsample_nearest1d_backward", pooling, "@pool"},
    {"aten.upsample_nearest2d_backward", pooling, "@pool"},
    {"aten.upsample_nearest3d_backward", pooling, "@pool"},
    {"aten._upsample_nearest_exact1d_backward", pooling, "@pool"},
    {"aten._upsample_nearest_exact2d_backward", pooling, "@pool"},
    {"aten._upsample_nearest_exact3d_backward", pooling, "@pool"},
    {"aten.upsample_linear1d_backward", pooling, "@pool", "", "", "", "", 16},
    {"aten.upsample_bilinear2d_backward", pooling, "@pool", "", "", "", "", 16},
    {"aten.upsample_trilinear3d_backward", pooling, "@pool", "", "", "", "", 16},
    {"aten.upsample_bicubic2d_backward", pooling, "@pool", "", "", "", "", 16},
    {"aten._upsample_bilinear2d_aa_backward", pooling, "@pool", "", "", "", "", 16},
    {"aten._upsample_bicubic2d_aa_backward", pooling, "@pool", "", "", "", "", 16},
    {"aten._upsample_lanczos2d_aa_backward", pooling, "@pool", "", "", "", "", 16},
    {"aten.grid_sampler_2d_backward", pooling, "@own", "", "", "", "", 30},
    {"aten.grid_sampler_3d_backward", pooling, "@own", "", "", "", "", 30},
    {"aten.reflection_pad1d_backward", copy, "@pool", "", "", "", "", 1},
    {"aten.reflection_pad2d_backward", copy, "@pool", "", "", "", "", 1},
    {"aten.reflection_pad3d_backward", copy, "@pool", "", "", "", "", 1},
    {"aten.replication_pad1d_backward", copy, "@pool", "", "", "", "", 1},
    {"aten.replication_pad2d_backward", copy, "@pool", "", "", "", "", 1},
    {"aten.replication_pad3d_backward", copy, "@pool", "", "", "", "", 1},

    // --- elementwise and reductions
    {"aten.tanh_backward", elementwise, "... -> ...", "", "", "", "", 3},
    {"aten.sigmoid_backward", elementwise, "... -> ...", "", "", "", "", 3},
    {"aten.threshold_backward", elementwise, "... -> ...", "", "", "", "", 3},
    {"aten.hardtanh_backward", elementwise, "... -> ...", "", "", "", "", 3},
    {"aten.hardshrink_backward", elementwise, "... -> ...", "", "", "", "", 3},
    {"aten.softshrink_backward", elementwise, "... -> ...", "", "", "", "", 3},
    {"aten.leaky_relu_backward", elementwise, "... -> ...", "", "", "", "", 3},
    {"aten.hardsigmoid_backward", elementwise, "... -> ...", "", "", "", "", 3},
    {"aten.native_dropout_backward", elementwise, "... -> ...", "", "", "", "", 3},
    {"aten.gelu_backward", elementwise, "... -> ...", "", "", "", "", 20},
    {"aten.silu_backward", elementwise, "... -> ...", "", "", "", "", 20},
    {"aten.mish_backward", elementwise, "... -> ...", "", "", "", "", 20},
    {"aten.elu_backward", elementwise, "... -> ...", "", "", "", "", 20},
    {"aten.softplus_backward", elementwise, "... -> ...", "", "", "", "", 20},
    {"aten.log_sigmoid_backward", elementwise, "... -> ...", "", "", "", "", 20},
    {"aten.logit_backward", elementwise, "... -> ...", "", "", "", "", 20},
    {"aten.infinitely_differentiable_gelu_backward", elementwise, "... -> ...", "", "", "", "", 20},
    {"aten.hardswish_backward", elementwise, "... -> ...", "", "", "", "", 4},
    {"aten.rrelu_with_noise_backward", elementwise, "... -> ...", "", "", "", "", 4},
    {"aten._prelu_kernel_backward", elementwise, "... -> ..., ...", "", "", "", "", 4},
    {"aten.glu_backward", elementwise, "@keep", "", "", "", "", 15},
    {"aten.cumprod_backward", reduction, "@own", "", "", "", "", 4},
    {"aten.cummaxmin_backward", reduction, "@own", "", "", "", "", 4},
    {"aten._cdist_backward", reduction, "@own", "", "", "", "", 4},
    {"aten._pdist_backward", reduction, "@own", "", "", "", "", 4},
    {"aten.dist_backward", reduction, "@own", "", "", "", "", 4},
    {"aten._segment_reduce_backward", reduction, "@own", "", "", "", "", 4},
    {"aten.trace_backward", reduction, "@own", "", "", "", "", 4},
    {"aten.fake_quantize_per_tensor_affine_cachemask_backward", elementwise, "... -> ..."},
    {"aten.fake_quantize_per_channel_affine_cachemask_backward", elementwise, "... -> ..."},
    {"aten._fake_quantize_learnable_per_tensor_affine_backward", elementwise, "@own", "", "", "",
     "", 8},
    {"aten._fake_quantize_learnable_per_channel_affine_backward", elementwise, "@own", "", "", "",
     "", 8},
};

}  // namespace

std::span<const OpRow> backward_rows() { return kRows; }

}  // namespace parallel_opt::op_rows_detail
