//! ResNets, classifier heads and weight files for long-tailed recognition.
