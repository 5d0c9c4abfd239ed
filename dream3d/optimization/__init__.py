"""The optimization of a field: views, distillation loss, regularizers, diagnostics, checkpoints."""
