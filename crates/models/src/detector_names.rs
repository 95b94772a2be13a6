//! Names of a detector's tensors in torchvision's files.

/// Older files of torchvision, its COCO weights among them, lack a level of some names. This is the
/// name of today.
pub(crate) fn current_name(name: &str) -> String {
    let parts: Vec<&str> = name.split('.').collect();
    let number = |part: &str| part.parse::<usize>().ok();
    match parts.as_slice() {
        ["backbone", "fpn", block @ ("inner_blocks" | "layer_blocks"), level, last] => {
            format!("backbone.fpn.{block}.{level}.0.{last}")
        }
        ["rpn", "head", "conv", last] => format!("rpn.head.conv.0.0.{last}"),
        ["roi_heads", "mask_head", layer, last] => {
            match layer.strip_prefix("mask_fcn").and_then(number) {
                Some(layer @ 1..) => format!("roi_heads.mask_head.{}.0.{last}", layer - 1),
                _ => name.to_owned(),
            }
        }
        // Convolutions and rectifiers took turns.
        ["head", tower @ ("classification_head" | "regression_head"), "conv", layer, last] => {
            match number(layer) {
                Some(layer) if layer % 2 == 0 => {
                    format!("head.{tower}.conv.{}.0.{last}", layer / 2)
                }
                _ => name.to_owned(),
            }
        }
        _ => name.to_owned(),
    }
}

/// torchvision's name of a path in a two-stage detector of ours with `num_stages` box heads, which
/// begin with `num_convs` convolutions. A cascade has no counterpart there; its box heads keep their
/// numbers.
pub(crate) fn rcnn_name(path: &str, num_stages: usize, num_convs: usize) -> String {
    let name = path.replacen("roi_heads.masks.", "roi_heads.", 1);
    let name = match num_stages {
        1 => name.replacen("roi_heads.stages.0.", "roi_heads.", 1),
        _ => name,
    };
    // Of torchvision's list, the layer after the convolutions flattens, the next one is linear.
    let linear = format!("box_head.{}.", num_convs + 1);
    name.replacen("box_head.convs.", "box_head.", 1).replacen("box_head.fc.", &linear, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_names_become_current_ones() {
        for (old, new) in [
            ("backbone.fpn.inner_blocks.2.weight", "backbone.fpn.inner_blocks.2.0.weight"),
            ("backbone.fpn.layer_blocks.0.bias", "backbone.fpn.layer_blocks.0.0.bias"),
            ("rpn.head.conv.weight", "rpn.head.conv.0.0.weight"),
            ("roi_heads.mask_head.mask_fcn4.bias", "roi_heads.mask_head.3.0.bias"),
            ("head.regression_head.conv.6.weight", "head.regression_head.conv.3.0.weight"),
        ] {
            assert_eq!(current_name(old), new);
            assert_eq!(current_name(new), new);
        }
        for name in
            ["head.classification_head.conv.1.weight", "backbone.fpn.extra_blocks.p6.weight"]
        {
            assert_eq!(current_name(name), name);
        }
    }

    #[test]
    fn paths_become_names() {
        let name = |path, stages| rcnn_name(path, stages, 4);
        let found = name("roi_heads.stages.0.box_predictor.bbox_pred.bias", 1);
        assert_eq!(found, "roi_heads.box_predictor.bbox_pred.bias");
        let found = name("roi_heads.stages.0.box_head.convs.3.1.weight", 1);
        assert_eq!(found, "roi_heads.box_head.3.1.weight");
        assert_eq!(name("roi_heads.stages.0.box_head.fc.bias", 1), "roi_heads.box_head.5.bias");
        let found = name("roi_heads.stages.2.box_head.fc6.bias", 3);
        assert_eq!(found, "roi_heads.stages.2.box_head.fc6.bias");
        let found = name("roi_heads.masks.mask_head.0.0.weight", 3);
        assert_eq!(found, "roi_heads.mask_head.0.0.weight");
    }
}
