"""The exported SavedModel: its serving graph, signatures and assets."""
