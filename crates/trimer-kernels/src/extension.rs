//! The operations as a Burn backend extension, and the little that all of them share.

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::flex::{FlexTensor, Layout};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, ExtensionType, Flex, backend_extension};
use burn::tensor::{DType, Shape};

use crate::fused::fusion::Layout as FusionLayout;
use crate::fusion::FusionParts;
use crate::pool::Buffer;
use crate::similarity::{self, Links};
use crate::{
    attention, beside, block, elementwise, fusion, layer_norm, linear, outer, parties, recurrent,
};

/// The parameters of LFMIM's block as backend primitives, in the order of [`crate::BlockWeights`].
#[derive(ExtensionType, Debug, Clone)]
pub struct BlockParameters<B: Backend> {
    pub(crate) ln_1_weight: FloatTensor<B>,
    pub(crate) ln_1_bias: FloatTensor<B>,
    pub(crate) in_proj_weight: FloatTensor<B>,
    pub(crate) in_proj_bias: FloatTensor<B>,
    pub(crate) out_proj_weight: FloatTensor<B>,
    pub(crate) out_proj_bias: FloatTensor<B>,
    pub(crate) ln_12_weight: FloatTensor<B>,
    pub(crate) ln_12_bias: FloatTensor<B>,
    pub(crate) ln_2_weight: FloatTensor<B>,
    pub(crate) ln_2_bias: FloatTensor<B>,
    pub(crate) fc_weight: FloatTensor<B>,
    pub(crate) fc_bias: FloatTensor<B>,
    pub(crate) proj_weight: FloatTensor<B>,
    pub(crate) proj_bias: FloatTensor<B>,
    pub(crate) ln_22_weight: FloatTensor<B>,
    pub(crate) ln_22_bias: FloatTensor<B>,
}

impl<B: Backend> BlockParameters<B> {
    pub(crate) fn into_array(self) -> [FloatTensor<B>; 16] {
        [
            self.ln_1_weight,
            self.ln_1_bias,
            self.in_proj_weight,
            self.in_proj_bias,
            self.out_proj_weight,
            self.out_proj_bias,
            self.ln_12_weight,
            self.ln_12_bias,
            self.ln_2_weight,
            self.ln_2_bias,
            self.fc_weight,
            self.fc_bias,
            self.proj_weight,
            self.proj_bias,
            self.ln_22_weight,
            self.ln_22_bias,
        ]
    }
}

/// Inputs and weights of the recurrence of DialogueRNN as backend primitives, in the order of
/// [`crate::PartyInputs`] and [`crate::PartyWeights`].
#[derive(ExtensionType, Debug, Clone)]
pub struct PartyTensors<B: Backend> {
    pub(crate) global: FloatTensor<B>,
    pub(crate) party: FloatTensor<B>,
    pub(crate) query: FloatTensor<B>,
    pub(crate) global_from_party: FloatTensor<B>,
    pub(crate) global_hh: FloatTensor<B>,
    pub(crate) global_bias_hh: FloatTensor<B>,
    pub(crate) party_from_context: FloatTensor<B>,
    pub(crate) party_hh: FloatTensor<B>,
    pub(crate) party_bias_hh: FloatTensor<B>,
}

impl<B: Backend> PartyTensors<B> {
    pub(crate) fn into_array(self) -> [FloatTensor<B>; 9] {
        [
            self.global,
            self.party,
            self.query,
            self.global_from_party,
            self.global_hh,
            self.global_bias_hh,
            self.party_from_context,
            self.party_hh,
            self.party_bias_hh,
        ]
    }
}

/// The fused operations. Use the functions of the crate instead, which fall back to plain compositions where this
/// extension is not implemented.
#[backend_extension(Flex, Autodiff)]
pub trait KernelOps: Backend {
    /// See [`crate::lfmim_block()`].
    fn lfmim_block(
        x: FloatTensor<Self>,
        #[extension_type] parameters: BlockParameters<Self>,
        call: block::Call,
    ) -> FloatTensor<Self>;

    /// See [`crate::layer_norm()`].
    fn fused_layer_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self>;

    /// See [`crate::attention()`].
    fn fused_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        call: attention::Call,
    ) -> FloatTensor<Self>;

    /// See [`crate::linear()`].
    fn fused_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        call: linear::Call,
    ) -> FloatTensor<Self>;

    /// See [`crate::fuse_streams()`].
    fn fuse_streams(
        #[extension_type] parts: FusionParts<Self>,
        layout: FusionLayout,
    ) -> FloatTensor<Self>;

    /// See [`crate::dropout()`] and [`crate::add_rows_dropout()`].
    fn fused_dropout(x: FloatTensor<Self>, call: elementwise::Call) -> FloatTensor<Self>;

    /// See [`crate::outer()`].
    fn fused_outer(
        left: FloatTensor<Self>,
        right: FloatTensor<Self>,
        call: outer::Call,
    ) -> FloatTensor<Self>;

    /// See [`crate::side_by_side()`].
    fn fused_side_by_side(
        left: FloatTensor<Self>,
        right: FloatTensor<Self>,
        sets: usize,
    ) -> FloatTensor<Self>;

    /// See [`crate::similarity_links()`].
    fn similarity_links(x: FloatTensor<Self>, links: Links) -> FloatTensor<Self>;

    /// See [`crate::propagate_links()`].
    fn propagate_links(
        weights: FloatTensor<Self>,
        h: FloatTensor<Self>,
        links: Links,
    ) -> FloatTensor<Self>;

    /// See [`crate::recurrent()`]; hidden states, then the final state, along the time axis.
    fn fused_recurrent(
        projected: FloatTensor<Self>,
        weight_hh: FloatTensor<Self>,
        bias_hh: FloatTensor<Self>,
        hidden: FloatTensor<Self>,
        cell: FloatTensor<Self>,
        call: recurrent::Call,
    ) -> FloatTensor<Self>;

    /// See [`crate::party_recurrence()`].
    fn fused_parties(
        #[extension_type] tensors: PartyTensors<Self>,
        call: parties::Call,
    ) -> FloatTensor<Self>;
}

impl KernelOps for Flex {
    fn lfmim_block(
        x: FloatTensor<Self>,
        parameters: BlockParameters<Self>,
        call: block::Call,
    ) -> FloatTensor<Self> {
        block::infer(x, parameters, &call)
    }

    fn fused_layer_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self> {
        layer_norm::infer(x, gamma, beta, eps)
    }

    fn fused_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        call: attention::Call,
    ) -> FloatTensor<Self> {
        attention::infer(q, k, v, &call)
    }

    fn fused_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        call: linear::Call,
    ) -> FloatTensor<Self> {
        linear::infer(x, weight, bias, &call)
    }

    fn fuse_streams(parts: FusionParts<Self>, layout: FusionLayout) -> FloatTensor<Self> {
        fusion::infer(parts, &layout)
    }

    fn fused_dropout(x: FloatTensor<Self>, call: elementwise::Call) -> FloatTensor<Self> {
        elementwise::infer(x, &call)
    }

    fn fused_outer(
        left: FloatTensor<Self>,
        right: FloatTensor<Self>,
        call: outer::Call,
    ) -> FloatTensor<Self> {
        outer::infer(left, right, &call)
    }

    fn fused_side_by_side(
        left: FloatTensor<Self>,
        right: FloatTensor<Self>,
        sets: usize,
    ) -> FloatTensor<Self> {
        beside::infer(left, right, sets)
    }

    fn similarity_links(x: FloatTensor<Self>, links: Links) -> FloatTensor<Self> {
        similarity::op::links(x, &links)
    }

    fn propagate_links(
        weights: FloatTensor<Self>,
        h: FloatTensor<Self>,
        links: Links,
    ) -> FloatTensor<Self> {
        similarity::op::propagate(weights, h, &links)
    }

    fn fused_recurrent(
        projected: FloatTensor<Self>,
        weight_hh: FloatTensor<Self>,
        bias_hh: FloatTensor<Self>,
        hidden: FloatTensor<Self>,
        cell: FloatTensor<Self>,
        call: recurrent::Call,
    ) -> FloatTensor<Self> {
        recurrent::op::infer([projected, weight_hh, bias_hh, hidden, cell], &call)
    }

    fn fused_parties(tensors: PartyTensors<Self>, call: parties::Call) -> FloatTensor<Self> {
        parties::op::infer(tensors.into_array(), &call)
    }
}

impl<C: CheckpointStrategy> KernelOps for Autodiff<Flex, C> {
    fn lfmim_block(
        x: FloatTensor<Self>,
        parameters: BlockParameters<Self>,
        call: block::Call,
    ) -> FloatTensor<Self> {
        block::record::<C>(x, parameters, call)
    }

    fn fused_layer_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self> {
        layer_norm::record::<C>(x, gamma, beta, eps)
    }

    fn fused_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        call: attention::Call,
    ) -> FloatTensor<Self> {
        attention::record::<C>(q, k, v, call)
    }

    fn fused_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        call: linear::Call,
    ) -> FloatTensor<Self> {
        linear::record::<C>(x, weight, bias, call)
    }

    fn fuse_streams(parts: FusionParts<Self>, layout: FusionLayout) -> FloatTensor<Self> {
        fusion::record::<C>(parts, layout)
    }

    fn fused_dropout(x: FloatTensor<Self>, call: elementwise::Call) -> FloatTensor<Self> {
        elementwise::record::<C>(x, call)
    }

    fn fused_outer(
        left: FloatTensor<Self>,
        right: FloatTensor<Self>,
        call: outer::Call,
    ) -> FloatTensor<Self> {
        outer::record::<C>(left, right, call)
    }

    fn fused_side_by_side(
        left: FloatTensor<Self>,
        right: FloatTensor<Self>,
        sets: usize,
    ) -> FloatTensor<Self> {
        beside::record::<C>(left, right, sets)
    }

    fn similarity_links(x: FloatTensor<Self>, links: Links) -> FloatTensor<Self> {
        similarity::op::record_links::<C>(x, links)
    }

    fn propagate_links(
        weights: FloatTensor<Self>,
        h: FloatTensor<Self>,
        links: Links,
    ) -> FloatTensor<Self> {
        similarity::op::record_propagate::<C>(weights, h, links)
    }

    fn fused_recurrent(
        projected: FloatTensor<Self>,
        weight_hh: FloatTensor<Self>,
        bias_hh: FloatTensor<Self>,
        hidden: FloatTensor<Self>,
        cell: FloatTensor<Self>,
        call: recurrent::Call,
    ) -> FloatTensor<Self> {
        recurrent::op::record::<C>([projected, weight_hh, bias_hh, hidden, cell], call)
    }

    fn fused_parties(tensors: PartyTensors<Self>, call: parties::Call) -> FloatTensor<Self> {
        parties::op::record::<C>(tensors.into_array(), call)
    }
}

/// The values of a contiguous f32 tensor.
pub(crate) fn values(x: &FlexTensor) -> &[f32] {
    x.as_slice::<f32>()
        .expect("made contiguous, and checked to be f32 by the caller of the extension")
}

/// The tensor with its values in order.
pub(crate) fn contiguous(x: FlexTensor) -> FlexTensor {
    if x.is_contiguous() {
        x
    } else {
        x.to_contiguous()
    }
}

/// A tensor of these values.
pub(crate) fn tensor(values: Buffer, shape: Shape) -> FlexTensor {
    FlexTensor::new(values.into_bytes(), Layout::contiguous(shape), DType::F32)
}
