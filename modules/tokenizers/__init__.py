"""WordPiece and byte-pair tokenizers as TensorFlow graphs."""
