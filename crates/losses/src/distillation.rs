//! Learning from other models: by their scores or by their features.

use burn::tensor::activation::{log_softmax, softmax};
use burn::tensor::{Tensor, assert_shape};

/// Each row over its length; a row of zeros stays, with a finite gradient.
///
/// # Shapes
/// - rows: `[rows, width]`
/// - output: the same
pub fn unit_rows(rows: Tensor<2>) -> Tensor<2> {
    let length = (rows.clone() * rows.clone()).sum_dim(1).clamp_min(1e-24).sqrt();
    rows / length
}

/// How far the student's scores are from the teacher's:
/// `T^2 / R sum_r KL(softmax(teacher_r / T) || softmax(student_r / T))`; 0 without rows.
///
/// The gradient is `T (softmax(student / T) - softmax(teacher / T)) / R`; the teacher gets none.
/// Source: Hinton et al., <https://arxiv.org/abs/1503.02531>; with `T` = 2 the soft head's loss of
/// Self-Supervised-to-Distillation, Li et al., ICCV 2021, <https://arxiv.org/abs/2109.04075>.
///
/// # Shapes
/// - student, teacher: logits `[rows, num_logits]`
/// - output: `[1]`
///
/// # Panics
/// If the shapes differ.
pub fn soft_label_distillation(
    student: Tensor<2>,
    teacher: Tensor<2>,
    temperature: f64,
) -> Tensor<1> {
    let [num_rows, num_logits] = student.dims();
    assert_shape!(teacher, [num_rows, num_logits]);
    let teacher = teacher.without_autodiff().div_scalar(temperature); // constant
    let log_student = log_softmax(student.div_scalar(temperature), 1);
    let by_class = softmax(teacher.clone(), 1) * (log_softmax(teacher, 1) - log_student);
    by_class.sum() * (temperature * temperature / num_rows.max(1) as f64)
}

/// How far the student's features point away from the teacher's: `1/R sum_r 1 - cos(s_r, t_r)`; 0
/// without rows.
///
/// The gradient is `-(t^ - cos s^) / (R |s|)` with `s^`, `t^` of length 1; the teacher gets none.
/// Source: Class-Balanced Distillation, Iscen et al., BMVC 2021, <https://arxiv.org/abs/2104.05279>.
///
/// # Shapes
/// - student, teacher: features `[rows, width]` of any length
/// - output: `[1]`
///
/// # Panics
/// If the shapes differ.
pub fn feature_distillation(student: Tensor<2>, teacher: Tensor<2>) -> Tensor<1> {
    let [num_rows, width] = student.dims();
    assert_shape!(teacher, [num_rows, width]);
    let teacher = unit_rows(teacher.without_autodiff()); // constant
    let cosines: Tensor<2> = (unit_rows(student) * teacher).sum_dim(1);
    cosines.neg().add_scalar(1.0).sum() / num_rows.max(1) as f64
}
