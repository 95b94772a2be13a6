//! Datasets, transforms, samplers and the seekable loader for long-tailed images.
