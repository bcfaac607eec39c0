"""One factory a file, named as TFX names the component; own executors stand beside them."""
