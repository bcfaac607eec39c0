"""The pipeline's components: one factory per file, named like TFX's component, and executors."""
