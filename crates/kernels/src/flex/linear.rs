//! Fully connected layers as products of matrices.

use burn::backend::Flex;
use burn::backend::TensorMetadata;
use burn::backend::flex::FlexTensor;
use burn::tensor::Shape;

use super::pool::Buffer;
use super::product::Product;
use super::tensor::{self, contiguous, values};
use crate::linear::LinearBackend;

fn dims(tensor: &FlexTensor) -> [usize; 2] {
    tensor.shape().dims::<2>()
}

fn forward(
    x: FlexTensor,
    weight: FlexTensor,
    bias: Option<FlexTensor>,
    is_relu: bool,
) -> FlexTensor {
    let (x, weight, bias) = (contiguous(x), contiguous(weight), bias.map(contiguous));
    let ([rows, depth], [columns, _]) = (dims(&x), dims(&weight));
    let product = Product {
        rows,
        columns,
        depth,
        a: values(&x),
        a_steps: [depth, 1],
        b: values(&weight),
        b_steps: [1, depth],
        bias: bias.as_ref().map(values),
        is_relu,
    };
    run(&product)
}

fn run(product: &Product) -> FlexTensor {
    let mut output = Buffer::new(product.rows * product.columns);
    product.run(output.as_mut_slice());
    output.into_tensor(Shape::new([product.rows, product.columns]))
}

impl LinearBackend for Flex {
    fn fused_linear(x: FlexTensor, weight: FlexTensor, is_relu: bool) -> FlexTensor {
        forward(x, weight, None, is_relu)
    }

    fn fused_linear_bias(
        x: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        is_relu: bool,
    ) -> FlexTensor {
        forward(x, weight, Some(bias), is_relu)
    }

    fn fused_linear_input(gradient: FlexTensor, weight: FlexTensor) -> FlexTensor {
        let (gradient, weight) = (contiguous(gradient), contiguous(weight));
        let ([rows, depth], [_, columns]) = (dims(&gradient), dims(&weight));
        run(&Product {
            rows,
            columns,
            depth,
            a: values(&gradient),
            a_steps: [depth, 1],
            b: values(&weight),
            b_steps: [columns, 1],
            bias: None,
            is_relu: false,
        })
    }

    fn fused_linear_weight(gradient: FlexTensor, x: FlexTensor) -> FlexTensor {
        let (gradient, x) = (contiguous(gradient), contiguous(x));
        let ([depth, rows], [_, columns]) = (dims(&gradient), dims(&x));
        run(&Product {
            rows,
            columns,
            depth,
            a: values(&gradient),
            a_steps: [1, rows],
            b: values(&x),
            b_steps: [columns, 1],
            bias: None,
            is_relu: false,
        })
    }

    fn fused_linear_mask(gradient: FlexTensor, output: FlexTensor) -> FlexTensor {
        tensor::mask(gradient, &output)
    }

    fn fused_linear_rows(gradient: FlexTensor) -> FlexTensor {
        let gradient = contiguous(gradient);
        let [_, columns] = dims(&gradient);
        let mut sums = vec![0.0_f64; columns];
        for row in values(&gradient).chunks_exact(columns.max(1)) {
            sums.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value));
        }
        let mut output = Buffer::new(columns);
        let pairs = output.as_mut_slice().iter_mut().zip(sums);
        pairs.for_each(|(to, sum)| *to = sum as f32);
        output.into_tensor(Shape::new([columns]))
    }
}
