//! Fused forms for the devices of CubeCL: CUDA, ROCm, Vulkan, Metal, WebGPU and CubeCL's own CPU
//! runtime. Each kernel is written once and compiled for the device at its first launch, for each
//! set of `comptime` arguments anew.
//!
//! A sum is made by one unit, or by the units of one cube in a fixed order, and no kernel uses
//! atomics: the same input gives the same bits on the same device. No kernel reads more than seven
//! buffers; WebGPU promises eight, and CubeCL takes one for shapes.

mod loss;
mod reduce;
mod roi_align;
mod roi_lists;
mod rows;
mod sigmoid_entry;
mod sigmoid_kernels;
mod sigmoid_loss;
mod softmax_kernels;
mod softmax_loss;
mod softmax_row;
mod tensor;
